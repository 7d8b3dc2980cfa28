//! Whom the kernel programs watch, and where they hang in them.

use std::fs;
use std::io;
use std::num::NonZeroU32;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use aya::maps::MapError;
use aya::programs::perf_event::PerfEvent;
use aya::programs::uprobe::{UProbeAttachLocation, UProbeAttachPoint, UProbeLink, UProbeScope};
use aya::programs::{ProgramError, UProbe};
use wire::kernel::watched;
use wire::limits::TARGETS;
use wire::shim::PROBE_SYMBOL;

use crate::elf::{self, Site};
use crate::observe::now;
use crate::perf::{PerfError, Phase, Sampler};

use super::error::BpfError;
use super::host::KernelVersion;
use super::load::Bpf;
use super::probe::Probe;
use super::threads::Adopted;

/// Links of one process. Dropping them detaches.
#[derive(Debug, Default)]
pub(super) struct Attached {
    pub(super) probe: Option<UProbeLink>,
    pub(super) verify: Vec<UProbeLink>,
}

/// Where a probe was put, and what a hit costs the probed thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbeSite {
    /// Offset in the file.
    pub offset: u64,
    pub site: Site,
}

impl Bpf {
    /// Lets the programs look at this process. Its launches need [`Bpf::attach_probe`] beside.
    pub fn watch(&mut self, pid: u32) -> Result<(), BpfError> {
        self.watch_for(pid, watched::STACKS)
    }

    /// [`Bpf::watch`] without the stacks of sleeping threads.
    pub fn watch_on_cpu(&mut self, pid: u32) -> Result<(), BpfError> {
        self.watch_for(pid, watched::ON_CPU_ONLY)
    }

    /// Lets the programs tell when threads of this process sleep, and no more.
    pub fn watch_threads(&mut self, pid: u32) -> Result<(), BpfError> {
        self.watch_for(pid, watched::THREADS_ONLY)
    }

    fn watch_for(&mut self, pid: u32, word: u32) -> Result<(), BpfError> {
        if let Err(source) = self.watched.insert(pid, word, 0) {
            return Err(match system_error(&source) {
                Some(libc::E2BIG) => BpfError::Full { pid, capacity: TARGETS },
                _ => BpfError::map("WATCHED", source),
            });
        }
        // After the insertion: a process that ends later removes itself.
        if !fs::exists(format!("/proc/{pid}")).unwrap_or(false) {
            self.unwatch(pid)?;
            return Err(BpfError::Gone { pid });
        }
        self.attached.entry(pid).or_default();
        if !self.tells_threads {
            return Ok(());
        }
        let whom = if word == watched::STACKS { Adopted::All } else { Adopted::First };
        self.adopt_sleepers(pid, whom, now().0)
    }

    /// Detaches everything from this process and forgets its counts. Not an error when it has
    /// ended or was never watched.
    pub fn unwatch(&mut self, pid: u32) -> Result<(), BpfError> {
        self.attached.remove(&pid);
        absent_is_fine(self.watched.remove(&pid))
            .map_err(|source| BpfError::map("WATCHED", source))?;
        self.forget_python(pid)?;
        absent_is_fine(self.verify.remove(&pid)).map_err(|source| BpfError::map("VERIFY", source))
    }

    /// Hangs the stack program at the shim's probe point in `library`: the path the agent opens
    /// it by, `/proc/PID/map_files/START-END`, which also reaches deleted files and memfds.
    pub fn attach_probe(&mut self, pid: u32, library: &Path) -> Result<ProbeSite, BpfError> {
        let symbol = elf::find(library, &[PROBE_SYMBOL])
            .map_err(|source| BpfError::Library { library: library.to_owned(), source })?
            .remove(PROBE_SYMBOL)
            .ok_or_else(|| BpfError::NoSymbol {
                program: LAUNCH_STACK[0],
                pid,
                symbol: PROBE_SYMBOL.to_owned(),
                library: library.to_owned(),
            })?;
        let site = Site::choose(&symbol.code, KernelVersion::running());
        let offset = symbol.offset + u64::from(site.skip);
        self.attach_probe_at(pid, library, offset)?;
        Ok(ProbeSite { offset, site })
    }

    /// Hangs the stack program at a file offset. Four integer arguments are read there:
    /// correlation id, weight, thread number, function key.
    pub fn attach_probe_at(
        &mut self,
        pid: u32,
        library: &Path,
        offset: u64,
    ) -> Result<(), BpfError> {
        self.allowed(Probe::LaunchStacks)?;
        let link = self.attach_uprobe(
            self.variant(LAUNCH_STACK),
            pid,
            library,
            (PROBE_SYMBOL, offset),
            None,
        )?;
        self.attached.entry(pid).or_default().probe = Some(link);
        Ok(())
    }

    /// Attaches the entry or return program `program` for one process.
    pub(super) fn attach_uprobe(
        &mut self,
        program: &'static str,
        pid: u32,
        library: &Path,
        (symbol, offset): (&str, u64),
        cookie: Option<u64>,
    ) -> Result<UProbeLink, BpfError> {
        let scope = UProbeScope::OneProcess(NonZeroU32::new(pid).ok_or(BpfError::Gone { pid })?);
        let failed = |source: ProgramError| {
            let target = format!("`{symbol}` in {} for process {pid}", library.display());
            BpfError::probe(program, target, source)
        };
        let loaded: &mut UProbe = self.program(program)?;
        if loaded.fd().is_err() {
            loaded.load().map_err(|source| BpfError::program(program, source))?;
        }
        let point =
            UProbeAttachPoint { location: UProbeAttachLocation::AbsoluteOffset(offset), cookie };
        let id = loaded.attach(point, library, scope).map_err(failed)?;
        loaded.take_link(id).map_err(failed)
    }

    /// Samples the stacks of watched processes `hz` times a second on every CPU that is online;
    /// returns how many CPUs that is. Replaces a sampling that is under way.
    pub fn start_cpu_sampling(&mut self, hz: u32) -> Result<usize, BpfError> {
        self.start_cpu_sampling_in(hz, Phase::Jittered)
    }

    /// [`Bpf::start_cpu_sampling`] with a frequency that varies or does not.
    pub fn start_cpu_sampling_in(&mut self, hz: u32, phase: Phase) -> Result<usize, BpfError> {
        self.stop_cpu_sampling();
        self.allowed(Probe::CpuSamples)?;
        let start = |program: BorrowedFd<'_>| Sampler::start(program, hz, phase, now());
        let sampler = self.with_program(CPU_SAMPLE, start)?;
        Ok(self.sampling.insert(sampler).cpus())
    }

    /// Varies the sampling, and samples CPUs that came online. To be called several times a second;
    /// does nothing where the CPU is not sampled.
    pub fn turn_cpu_sampling(&mut self) -> Result<(), BpfError> {
        let Some(mut sampler) = self.sampling.take() else {
            return Ok(());
        };
        let outcome = self.with_program(CPU_SAMPLE, |program| sampler.turn(program, now()));
        self.sampling = Some(sampler);
        outcome
    }

    /// Takes stacks of first touches of pages by watched processes, some hundred a second and CPU; returns how many CPUs
    /// that is.
    pub fn start_touches(&mut self) -> Result<usize, BpfError> {
        self.allowed(Probe::PageTouches)?;
        let start = |program: BorrowedFd<'_>| Sampler::touches(program, now());
        let sampler = self.with_program(PAGE_TOUCH, start)?;
        Ok(self.touching.insert(sampler).cpus())
    }

    /// As [`Bpf::turn_cpu_sampling`].
    pub fn turn_touches(&mut self) -> Result<(), BpfError> {
        let Some(mut sampler) = self.touching.take() else {
            return Ok(());
        };
        let outcome = self.with_program(PAGE_TOUCH, |program| sampler.turn(program, now()));
        self.touching = Some(sampler);
        outcome
    }

    /// Does something with the one of these programs that this kernel can run, brought into it where it is not yet.
    fn with_program<T>(
        &mut self,
        variants: Variants,
        then: impl FnOnce(BorrowedFd<'_>) -> Result<T, PerfError>,
    ) -> Result<T, BpfError> {
        let name = self.variant(variants);
        let program: &mut PerfEvent = self.program(name)?;
        if program.fd().is_err() {
            program.load().map_err(|source| BpfError::program(name, source))?;
        }
        let fd = program.fd().map_err(|source| BpfError::program(name, source))?;
        Ok(then(fd.as_fd())?)
    }

    /// The one this kernel can run.
    fn variant(&self, [walking, plain]: Variants) -> &'static str {
        if self.walks_python { walking } else { plain }
    }

    /// Whether the kernel lets a program walk Python's frames: its verifier says.
    pub(super) fn try_python(&mut self) -> Result<(), BpfError> {
        let [name, _] = CPU_SAMPLE;
        let program: &mut PerfEvent = self.program(name)?;
        program.load().map_err(|source| BpfError::program(name, source))
    }

    /// Ends [`Bpf::start_cpu_sampling`].
    pub fn stop_cpu_sampling(&mut self) {
        self.sampling = None;
    }
}

/// A program that walks Python's frames, and the same one without that.
type Variants = [&'static str; 2];
const LAUNCH_STACK: Variants = ["launch_stack", "launch_stack_plain"];
const CPU_SAMPLE: Variants = ["cpu_sample", "cpu_sample_plain"];
const PAGE_TOUCH: Variants = ["page_touch", "page_touch_plain"];

pub(super) fn absent_is_fine(outcome: Result<(), MapError>) -> Result<(), MapError> {
    match outcome {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(error) if system_error(&error) == Some(libc::ENOENT) => Ok(()),
        other => other,
    }
}

pub(super) fn system_error(error: &MapError) -> Option<i32> {
    match error {
        MapError::SyscallError(call) => call.io_error.raw_os_error(),
        MapError::IoError(error) => io::Error::raw_os_error(error),
        _ => None,
    }
}
