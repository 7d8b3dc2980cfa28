//! What each process's calls leave allocated: calls meet their stacks here, and [`Live`] its time.

use std::collections::{BTreeMap, HashMap};

use analysis::event::MemoryCall;
use analysis::ids::{Ns, ProcessKey, StackId, Thread};
use analysis::memory::live::Known;
use analysis::memory::{Event, Live, Place, Resident, What, findings};

use super::twins::Same;
use crate::capture::{LiveSite, ProcessMemory};

/// How often what is live is written down, unless it is said otherwise, ns.
const STEP_NS: u64 = 1_000_000_000;

/// Steps made up for at once, where nothing was told for long: a series has no more points.
const STEPS_MAX: u64 = 512;

/// Stacks that wait for the record of their call. It follows in microseconds, unless it was lost.
const STACKS_MAX: usize = 4096;

/// How far ahead of the agent's clock a process may be: the clock is told once a step, and what was told is older. Whoever
/// says that it is later has a clock that is wrong, or writes into its ring.
const AHEAD_NS: u64 = 60_000_000_000;

/// Processes whose memory is kept, ended ones too. A process may have 20 MiB of tables.
const PROCESSES_MAX: usize = 64;

/// Bytes of a page.
const PAGE: u64 = 4096;

/// The first touch of a page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    pub(super) thread: Thread,
    pub(super) stack: StackId,
    pub(super) address: u64,
    /// Of 4 KiB that it stands for.
    pub(super) pages: u32,
}

#[derive(Debug)]
pub(super) struct Memory {
    step_ns: u64,
    of: BTreeMap<ProcessKey, Process>,
    /// The latest instant that the agent's clock or the kernel told.
    clock: Option<Ns>,
    refused: u64,
}

#[derive(Debug)]
struct Process {
    live: Live,
    /// By the call's number, with the thread that made it.
    stacks: HashMap<u32, (StackId, Thread)>,
    serials: Serials,
    /// Losses as the last tick found them, and those of them that [`Live`] knows.
    missing: u64,
    told: u64,
    ticked: Ns,
    /// Calls before this were made while nobody was told, or somebody else.
    from: Ns,
    /// The latest instant known of it.
    now: Ns,
    without_stack: u64,
    ended: bool,
}

impl Default for Memory {
    fn default() -> Self {
        Self { step_ns: STEP_NS, of: BTreeMap::new(), clock: None, refused: 0 }
    }
}

impl Process {
    fn new(step_ns: u64, now: Ns) -> Self {
        Self {
            live: Live::new(step_ns),
            stacks: HashMap::new(),
            serials: Serials::default(),
            missing: 0,
            told: 0,
            ticked: now,
            from: Ns(0),
            now,
            without_stack: 0,
            ended: false,
        }
    }

    /// Ticks up to `now`: nothing changed since the last call that was told.
    fn until(&mut self, now: Ns, step_ns: u64) {
        if self.ended || now <= self.now {
            return;
        }
        self.now = now;
        let made_up = STEPS_MAX.saturating_mul(step_ns);
        self.ticked = self.ticked.max(Ns(now.0.saturating_sub(made_up)));
        while let Some(next) = self.ticked.0.checked_add(step_ns).filter(|&next| next <= now.0) {
            self.tick(Ns(next));
        }
    }

    fn tick(&mut self, now: Ns) {
        // Threads overtake each other between their number and their record: what is missing twice is lost.
        let missing = self.serials.missing();
        let lost = self.missing.min(missing).saturating_sub(self.told);
        self.missing = missing;
        self.told += lost;
        self.live.lost(lost);
        self.live.tick(now);
        self.ticked = now;
    }
}

impl Memory {
    /// How often what is live is written down, ns; 0: as always. Comes before any call.
    pub(super) fn step(&mut self, ns: u64) {
        self.step_ns = if ns == 0 { STEP_NS } else { ns };
    }

    /// Who observes has the process's ring from here on. What was left in it is not told.
    pub(super) fn attached(&mut self, process: ProcessKey, at: Ns) {
        if let Some(known) = self.process(process, at) {
            known.from = at;
        }
    }

    /// The stack of a call, which comes before its record.
    pub(super) fn stack(&mut self, process: ProcessKey, serial: u32, stack: (StackId, Thread)) {
        let Some(known) = self.process(process, Ns(0)) else { return };
        if known.stacks.len() >= STACKS_MAX {
            let latest = known.serials.latest;
            known.stacks.retain(|&serial, _| is_after(serial, latest));
        }
        if known.stacks.len() < STACKS_MAX {
            known.stacks.insert(serial, stack);
        }
    }

    /// A page was touched for the first time, and is there.
    pub(super) fn touched(&mut self, process: ProcessKey, at: Ns, page: Page) {
        let at = self.credible(at);
        let Page { thread, stack, address, pages } = page;
        if let Some(known) = self.process(process, at).filter(|known| !known.ended) {
            let (place, bytes) = (Place::Resident, PAGE);
            let stands_for = PAGE.saturating_mul(u64::from(pages));
            let what = What::Allocated { place, address, bytes, stands_for };
            known.live.apply(&Event { time: at, thread, stack: Some(stack), what });
        }
    }

    /// These pages, told of before, are there no more.
    pub(super) fn gone(&mut self, process: ProcessKey, at: Ns, pages: &[u64]) {
        let at = self.credible(at);
        let Some(known) = self.of.get_mut(&process) else { return };
        for &address in pages {
            let what = What::Freed { place: Place::Resident, address };
            known.live.apply(&Event { time: at, thread: Thread(0), stack: None, what });
        }
    }

    /// Two stacks are of the same code.
    pub(super) fn unite(&mut self, same: Same) {
        let Some(known) = self.of.get_mut(&same.process) else { return };
        let waiting = known.stacks.values_mut().filter(|(stack, _)| *stack == same.stack);
        waiting.for_each(|(stack, _)| *stack = same.first);
        known.live.unite(same.stack, same.first);
    }

    pub(super) fn call(&mut self, call: &MemoryCall) {
        let time = self.credible(call.time);
        self.process_at(call.process, time);
        let Some(known) = self.process(call.process, time).filter(|known| known.from <= time)
        else {
            return;
        };
        known.serials.came(call.serial);
        let taken = known.stacks.remove(&call.serial).filter(|_| call.has_stack);
        known.without_stack += u64::from(taken.is_none() && takes(call));
        let (stack, thread) = taken.unzip();
        let thread = thread.unwrap_or(Thread(0));
        known.live.apply(&Event { time, thread, stack, what: call.what });
    }

    /// The kernel counts so much of a process.
    pub(super) fn resident(&mut self, process: ProcessKey, at: Ns, resident: Resident) {
        let at = self.credible(at);
        if let Some(known) = self.process(process, at).filter(|known| !known.ended) {
            known.live.resident(at, resident);
        }
    }

    /// The agent's clock says that it is so late, or the kernel's.
    pub(super) fn at(&mut self, now: Ns) {
        if self.clock.is_some_and(|clock| now <= clock) {
            return;
        }
        self.clock = Some(now);
        for known in self.of.values_mut() {
            known.until(now, self.step_ns);
        }
    }

    /// A process says that it is so late: nobody else goes by it.
    pub(super) fn process_at(&mut self, process: ProcessKey, now: Ns) {
        let now = self.credible(now);
        if let Some(known) = self.of.get_mut(&process) {
            known.until(now, self.step_ns);
        }
    }

    fn credible(&self, told: Ns) -> Ns {
        self.clock.map_or(told, |clock| told.min(Ns(clock.0.saturating_add(AHEAD_NS))))
    }

    pub(super) fn ended(&mut self, process: ProcessKey, at: Ns) {
        self.process_at(process, at);
        if let Some(known) = self.of.get_mut(&process) {
            known.tick(known.now);
            known.ended = true;
            known.stacks = HashMap::new();
            if !known.is_known() {
                self.of.remove(&process);
            }
        }
    }

    /// Processes that found no room.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    /// What is there, and what is wrong with it, of processes of which something is known.
    pub(super) fn tell(&self) -> Vec<ProcessMemory> {
        let known = self.of.iter().filter(|(_, known)| known.is_known());
        known.map(|(&process, known)| known.tell(process)).collect()
    }

    fn process(&mut self, process: ProcessKey, at: Ns) -> Option<&mut Process> {
        if !self.of.contains_key(&process) {
            if self.of.len() >= PROCESSES_MAX && !self.forget_one() {
                self.refused += 1;
                return None;
            }
            let now = self.clock.map_or(at, |clock| at.max(clock));
            self.of.insert(process, Process::new(self.step_ns, now));
        }
        self.of.get_mut(&process)
    }

    /// Makes room, if a process ended.
    fn forget_one(&mut self) -> bool {
        let ended = self.of.iter().find(|(_, known)| known.ended).map(|(&key, _)| key);
        ended.is_some_and(|ended| self.of.remove(&ended).is_some())
    }
}

impl Process {
    /// It had calls, or the kernel counted its memory.
    fn is_known(&self) -> bool {
        self.serials.came > 0 || self.live.kinds().is_some()
    }

    fn tell(&self, process: ProcessKey) -> ProcessMemory {
        let sites = self.live.sites().into_iter();
        let sites = sites.map(|(place, of, tally)| LiveSite {
            place,
            of,
            live: tally.live,
            allocated: tally.allocated,
        });
        let (touched, sites) = sites
            .filter(|site| site.allocated.blocks > 0)
            .partition(|site| site.place == Place::Resident);
        ProcessMemory {
            process,
            findings: findings(&self.live, self.now, &Known::default()),
            sites,
            touched,
            held: self.live.held(),
            resident: self.live.kinds(),
            unseen: self.live.unseen(),
            without_stack: self.without_stack,
            ended: self.ended,
        }
    }
}

fn takes(call: &MemoryCall) -> bool {
    matches!(call.what, What::Allocated { .. } | What::Created { .. } | What::Retained { .. })
}

/// Numbers that wrap: whether `one` came after `other`.
fn is_after(one: u32, other: u32) -> bool {
    one.wrapping_sub(other).cast_signed() > 0
}

/// Which numbers of calls came.
#[derive(Clone, Copy, Debug, Default)]
struct Serials {
    came: u64,
    /// From the first to the latest.
    span: u64,
    latest: u32,
}

impl Serials {
    fn came(&mut self, serial: u32) {
        if self.came == 0 {
            (self.span, self.latest) = (1, serial);
        } else if is_after(serial, self.latest) {
            self.span += u64::from(serial.wrapping_sub(self.latest));
            self.latest = serial;
        }
        self.came += 1;
    }

    fn missing(&self) -> u64 {
        self.span.saturating_sub(self.came)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROCESS: ProcessKey = ProcessKey(1);
    const SECOND: u64 = 1_000_000_000;

    fn call(serial: u32, at: u64, what: What) -> MemoryCall {
        let has_stack = true;
        let (thread, context, ordinal) = (1, 1, None);
        MemoryCall {
            process: PROCESS,
            serial,
            has_stack,
            thread,
            context,
            ordinal,
            time: Ns(at),
            what,
        }
    }

    fn allocated(address: u64) -> What {
        What::Allocated { place: Place::Device, address, bytes: 100, stands_for: 100 }
    }

    #[test]
    fn a_call_meets_its_stack_and_no_other() {
        let mut memory = Memory::default();
        memory.stack(PROCESS, 2, (StackId(7), Thread(5)));
        memory.stack(PROCESS, 1, (StackId(6), Thread(5)));
        memory.call(&call(1, 10, allocated(0x10)));
        memory.call(&call(2, 20, allocated(0x20)));
        memory.call(&call(3, 30, allocated(0x30)));
        let told = memory.tell().remove(0);
        let mut stacks: Vec<_> =
            told.sites.iter().map(|site| (site.stack(), site.live.bytes)).collect();
        stacks.sort();
        assert_eq!(stacks, [(None, 100), (Some(StackId(6)), 100), (Some(StackId(7)), 100)]);
        assert_eq!(told.without_stack, 1);
    }

    #[test]
    fn what_was_left_in_a_ring_is_not_told() {
        let mut memory = Memory::default();
        memory.attached(PROCESS, Ns(10));
        memory.call(&call(1, 9, allocated(0x10)));
        assert!(memory.tell().is_empty());
        memory.call(&call(2, 10, allocated(0x20)));
        assert_eq!(memory.tell()[0].sites.len(), 1);
    }

    #[test]
    fn what_is_missing_for_two_seconds_is_lost() {
        let mut memory = Memory::default();
        // Begins anywhere, also where numbers wrap; 1 overtakes 0, and 3 never comes.
        for (at, serial) in [(1, u32::MAX), (2, 1), (3, 0), (4, 2), (5, 4)] {
            memory.call(&call(serial, at, allocated(at)));
        }
        memory.at(Ns(SECOND));
        assert_eq!(memory.tell()[0].unseen.lost, 0, "it may be under way");
        memory.at(Ns(2 * SECOND));
        memory.at(Ns(3 * SECOND));
        assert_eq!(memory.tell()[0].unseen.lost, 1);
    }

    #[test]
    fn a_process_that_lies_about_the_time_is_not_believed_and_alone() {
        const OTHER: ProcessKey = ProcessKey(2);
        let mut memory = Memory::default();
        memory.at(Ns(SECOND));
        for process in [PROCESS, OTHER] {
            memory.call(&MemoryCall { process, ..call(1, SECOND, allocated(0x10)) });
        }
        memory.call(&call(2, u64::MAX, allocated(0x20)));
        memory.process_at(PROCESS, Ns(u64::MAX));
        let now = |memory: &Memory, process| memory.of[&process].now;
        assert_eq!(now(&memory, PROCESS), Ns(SECOND + AHEAD_NS));
        assert_eq!(now(&memory, OTHER), Ns(SECOND));
        memory.at(Ns(2 * AHEAD_NS));
        assert_eq!(now(&memory, PROCESS), now(&memory, OTHER));
    }

    /// Also where there is no clock yet.
    #[test]
    fn the_end_of_time_comes_at_once() {
        let mut memory = Memory::default();
        memory.call(&call(1, 1, allocated(0x10)));
        memory.call(&call(2, u64::MAX, allocated(0x20)));
        assert_eq!(memory.tell()[0].sites.len(), 1);
        memory.at(Ns(u64::MAX));
        assert_eq!(memory.of[&PROCESS].now, Ns(u64::MAX));
    }

    #[test]
    fn stacks_without_a_call_do_not_pile_up() {
        let mut memory = Memory::default();
        for serial in 0..3 * 4096 {
            memory.stack(PROCESS, serial, (StackId(1), Thread(5)));
        }
        let kept = |memory: &Memory| memory.of[&PROCESS].stacks.len();
        assert_eq!(kept(&memory), STACKS_MAX);
        // Those before the latest call give way.
        memory.call(&call(3 * 4096, 1, allocated(0x10)));
        memory.stack(PROCESS, 3 * 4096 + 1, (StackId(1), Thread(5)));
        assert_eq!(kept(&memory), 1);
    }

    #[test]
    fn processes_that_ended_give_way() {
        let mut memory = Memory::default();
        for key in 0..200 {
            let process = ProcessKey(key);
            memory.call(&MemoryCall { process, ..call(1, 1, allocated(0x10)) });
            memory.ended(process, Ns(u64::from(key)));
        }
        assert_eq!((memory.of.len(), memory.refused()), (PROCESSES_MAX, 0));
    }
}
