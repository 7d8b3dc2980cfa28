//! Brings the kernel programs into the kernel and opens their maps.

use std::collections::BTreeMap;

use aya::maps::{HashMap, Map, MapData, PerCpuArray};
use aya::programs::{Program, ProgramError, RawTracePoint};
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfLoader};
use wire::kernel::{OFF_CPU_MIN_NAME, task};
use wire::limits::SCRATCH_PLACES;

use super::attach::Attached;
use super::error::BpfError;
use super::host::in_initial_pid_namespace;
use super::intake::Intake;
use super::kernel::TaskOffsets;
use super::pod::Counts;
use super::probe::{Off, Probe};
use super::python::Pythons;
use super::symbol;
use super::threads::{Sleepers, THREAD_SWITCH};
use crate::perf::Sampler;

/// The object `cargo xtask ebpf` built, or nothing where it has not been built.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/programs.o"));

/// Whether this binary holds the kernel programs.
pub(super) fn is_built() -> bool {
    !OBJECT.is_empty()
}

/// The loaded programs. Dropping it detaches everything.
pub struct Bpf {
    pub(super) ebpf: Ebpf,
    pub(super) intake: Intake,
    pub(super) watched: HashMap<MapData, u32, u32>,
    pub(super) counters: PerCpuArray<MapData, u64>,
    pub(super) verify: HashMap<MapData, u32, Counts>,
    pub(super) sleepers: Sleepers,
    pub(super) kernel_symbol_text: symbol::Text,
    pub(super) launchers: HashMap<MapData, u32, u32>,
    pub(super) off_cpu_min_ns: u64,
    pub(super) pythons: Pythons,
    pub(super) tells_threads: bool,
    pub(super) walks_python: bool,
    /// What hangs in each watched process.
    pub(super) attached: BTreeMap<u32, Attached>,
    /// While the CPU is sampled.
    pub(super) sampling: Option<Sampler>,
    /// While first touches of pages are.
    pub(super) touching: Option<Sampler>,
    /// Features that could not be had.
    missing: Vec<BpfError>,
    pub(super) off: Off,
}

/// What can be chosen when the programs are loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Size of the ring buffer of stacks, a power of two of at least one page.
    pub ring_bytes: u32,
    /// Shortest sleep that is told of threads that neither launch nor are a process's first, ns.
    pub off_cpu_min_ns: u64,
    /// Walk Python's frames where the kernel can.
    pub python: bool,
    /// See threads sleep where the kernel tells.
    pub threads: bool,
    /// Not used, by the operator.
    pub off: Off,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            ring_bytes: wire::limits::RING_BYTES,
            off_cpu_min_ns: wire::kernel::OFF_CPU_MIN_NS,
            python: true,
            threads: true,
            off: Off::default(),
        }
    }
}

impl Bpf {
    /// [`Bpf::load_with`] what is usual.
    pub fn load() -> Result<Self, BpfError> {
        Self::load_with(Setup::default())
    }

    /// [`Bpf::load`] without what an operator switched off.
    pub fn load_without(off: Off) -> Result<Self, BpfError> {
        Self::load_with(Setup { off, ..Setup::default() })
    }

    /// Loads every program and attaches those that see processes start and end, and threads sleep. Nothing is loaded
    /// where an operator left nothing.
    pub fn load_with(setup: Setup) -> Result<Self, BpfError> {
        if setup.off.is_everything() {
            return Err(BpfError::NothingWanted);
        }
        if !is_built() {
            return Err(BpfError::NotBuilt);
        }
        if !in_initial_pid_namespace() {
            return Err(BpfError::PidNamespace);
        }
        let offsets = TaskOffsets::read();
        // Without an offset the programs that read it are not attached.
        let pid = offsets.pid.as_ref().copied().unwrap_or(0);
        let ran = offsets.ran.as_ref().copied().unwrap_or(0);
        let fsbase = offsets.fsbase.as_ref().copied().unwrap_or(0);
        let exit_code = offsets.exit_code.as_ref().copied().unwrap_or(0);
        let cpus = nr_cpus().map_err(|(path, source)| BpfError::Cpus { path, source })?;
        let places = u32::try_from(cpus).unwrap_or(1).saturating_mul(SCRATCH_PLACES);
        let mut ebpf = EbpfLoader::new()
            .map_max_entries("EVENTS", setup.ring_bytes)
            .map_max_entries("SCRATCH", places)
            .override_global(task::PID_OFFSET, &pid, true)
            .override_global(task::RAN_OFFSET, &ran, true)
            .override_global(task::FSBASE_OFFSET, &fsbase, true)
            .override_global(task::EXIT_CODE_OFFSET, &exit_code, true)
            .override_global(OFF_CPU_MIN_NAME, &setup.off_cpu_min_ns, true)
            .load(OBJECT)
            .map_err(BpfError::load)?;
        let mut bpf = Self {
            intake: Intake::new(take(&mut ebpf, "WAITS")?, take(&mut ebpf, "EVENTS")?),
            watched: take(&mut ebpf, "WATCHED")?,
            counters: take(&mut ebpf, "COUNTERS")?,
            verify: take(&mut ebpf, "VERIFY")?,
            sleepers: take(&mut ebpf, "SLEEPERS")?,
            kernel_symbol_text: take(&mut ebpf, "KERNEL_SYMBOL")?,
            pythons: take(&mut ebpf, "PYTHONS")?,
            launchers: take(&mut ebpf, "LAUNCHERS")?,
            off_cpu_min_ns: setup.off_cpu_min_ns,
            tells_threads: false,
            walks_python: false,
            attached: BTreeMap::new(),
            sampling: None,
            touching: None,
            missing: Vec::new(),
            off: setup.off,
            ebpf,
        };
        for (probe, reason) in bpf.off.iter() {
            bpf.missing.push(BpfError::SwitchedOff { probe, reason: reason.to_owned() });
        }
        let wanted = |probe| bpf.off.reason(probe).is_none();
        let processes = wanted(Probe::Processes);
        let threads = setup.threads && wanted(Probe::ThreadStates);
        let python = setup.python && wanted(Probe::Python);
        if processes {
            for outcome in
                [bpf.attach_tracepoint("process_exec", "sched_process_exec"), bpf.attach_exit()]
            {
                bpf.missing.extend(outcome.err());
            }
            bpf.missing.extend(offsets.exit_code.err());
        }
        if python {
            match offsets.fsbase.and_then(|_| bpf.try_python()) {
                Ok(()) => bpf.walks_python = true,
                Err(error) => bpf.missing.push(error),
            }
        }
        if threads {
            let known = offsets.pid.and(offsets.ran);
            match known.and_then(|_| bpf.attach_tracepoint(THREAD_SWITCH, "sched_switch")) {
                Ok(()) => bpf.tells_threads = true,
                Err(error) => bpf.missing.push(error),
            }
        }
        Ok(bpf)
    }

    /// The operator did not switch it off.
    pub(super) fn allowed(&self, probe: Probe) -> Result<(), BpfError> {
        match self.off.reason(probe) {
            None => Ok(()),
            Some(reason) => Err(BpfError::SwitchedOff { probe, reason: reason.to_owned() }),
        }
    }

    /// Features that could not be had, with reasons. Those that are attached on demand report
    /// when they are asked for.
    pub fn missing(&self) -> &[BpfError] {
        &self.missing
    }

    /// The end of a process is exact where the kernel tells a last thread's exit from others
    /// (6.15); before that, the exit of the first thread stands for it.
    fn attach_exit(&mut self) -> Result<(), BpfError> {
        self.attach_tracepoint("process_exit", "sched_process_exit")
            .or_else(|_| self.attach_tracepoint("leader_exit", "sched_process_exit"))
    }

    fn attach_tracepoint(
        &mut self,
        program: &'static str,
        tracepoint: &'static str,
    ) -> Result<(), BpfError> {
        let loaded: &mut RawTracePoint = self.program(program)?;
        loaded.load().map_err(|source| BpfError::program(program, source))?;
        match loaded.attach(tracepoint) {
            Ok(_) => Ok(()),
            Err(source) => {
                Err(BpfError::attach(program, format!("tracepoint `{tracepoint}`"), source))
            }
        }
    }

    /// The program of this name and type.
    pub(super) fn program<P>(&mut self, name: &'static str) -> Result<&mut P, BpfError>
    where
        for<'p> &'p mut P: TryFrom<&'p mut Program, Error = ProgramError>,
    {
        let program = self.ebpf.program_mut(name).ok_or(BpfError::Incomplete { name })?;
        program.try_into().map_err(|source| BpfError::program(name, source))
    }
}

impl std::fmt::Debug for Bpf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Bpf")
            .field("attached", &self.attached.keys())
            .field("sampling", &self.sampling)
            .field("touching", &self.touching)
            .field("missing", &self.missing)
            .finish_non_exhaustive()
    }
}

fn take<M: TryFrom<Map, Error = aya::maps::MapError>>(
    ebpf: &mut Ebpf,
    name: &'static str,
) -> Result<M, BpfError> {
    let map = ebpf.take_map(name).ok_or(BpfError::Incomplete { name })?;
    M::try_from(map).map_err(|source| BpfError::map(name, source))
}

#[cfg(test)]
mod tests {
    use super::super::host::Host;
    use super::*;
    use aya::maps::PerCpuValues;

    /// Kernels that tell the last thread's exit never use this program otherwise.
    #[test]
    fn the_program_for_older_kernels_attaches_too() {
        let features = Host::read().features();
        if let Some(obstacle) = features.iter().find_map(|feature| feature.obstacle.as_ref()) {
            println!("SKIP bpf: {obstacle}");
            return;
        }
        let mut bpf = Bpf::load().unwrap();
        assert!(bpf.missing().is_empty(), "{:?}", bpf.missing());
        bpf.attach_tracepoint("leader_exit", "sched_process_exit").unwrap();
    }

    /// Every CPU's word about this place.
    fn set_busy(bpf: &mut Bpf, place: u32, word: u64) {
        let words = PerCpuValues::try_from(vec![word; nr_cpus().unwrap()]).unwrap();
        let mut busy: PerCpuArray<_, u64> =
            PerCpuArray::try_from(bpf.ebpf.map_mut("BUSY").unwrap()).unwrap();
        busy.set(place, words, 0).unwrap();
    }

    fn spin_until(bpf: &Bpf, mut done: impl FnMut(&super::super::Counters) -> bool) {
        let start = std::time::Instant::now();
        while !done(&bpf.counters().unwrap()) {
            assert!(start.elapsed().as_secs() < 20, "{:?}", bpf.counters());
        }
    }

    #[test]
    fn a_stack_without_a_place_to_put_it_together_in_is_counted_and_places_are_given_back() {
        let features = Host::read().features();
        if let Some(obstacle) = features.iter().find_map(|feature| feature.obstacle.as_ref()) {
            println!("SKIP bpf: {obstacle}");
            return;
        }
        let mut bpf = Bpf::load().unwrap();
        bpf.watch_on_cpu(std::process::id()).unwrap();
        set_busy(&mut bpf, 0, 1);
        bpf.start_cpu_sampling(999).unwrap();
        spin_until(&bpf, |counters| counters.scratch_busy >= 3);
        assert_eq!(bpf.counters().unwrap().cpu_samples, 0);
        bpf.stop_cpu_sampling();
        set_busy(&mut bpf, 0, 0);
        let busy = bpf.counters().unwrap().scratch_busy;
        bpf.start_cpu_sampling(999).unwrap();
        spin_until(&bpf, |counters| counters.cpu_samples >= 3);
        bpf.stop_cpu_sampling();
        assert_eq!(bpf.counters().unwrap().scratch_busy, busy);
        let words: PerCpuArray<_, u64> =
            PerCpuArray::try_from(bpf.ebpf.map("BUSY").unwrap()).unwrap();
        for place in 0..SCRATCH_PLACES {
            assert!(words.get(&place, 0).unwrap().iter().all(|&word| word == 0), "{place}");
        }
    }

    #[test]
    fn a_program_that_is_not_in_the_object_is_named() {
        if !is_built() {
            println!("SKIP bpf: the binary was built without the kernel programs");
            return;
        }
        let Ok(mut bpf) = Bpf::load() else {
            println!("SKIP bpf: the kernel programs cannot be loaded here");
            return;
        };
        let message =
            bpf.attach_tracepoint("no_such_program", "sched_process_exit").unwrap_err().to_string();
        assert!(message.contains("no `no_such_program`"), "{message}");
    }
}
