//! Levels: the only place that changes what CUPTI does for us. Runs on the shim's own thread (and, while the first
//! `cuInit` waits for an agent, on that thread before the other exists).

use std::sync::atomic::Ordering;
use std::time::Duration;

use cupti_sys::callback::{
    Call, DOMAIN_DRIVER, DOMAIN_RESOURCE, DOMAIN_RUNTIME, DRIVER_CALLS, DRIVER_GRAPH_UPDATES,
    RUNTIME_CALLS,
};
use cupti_sys::record::{CONCURRENT_KERNEL, MEMCPY, MEMCPY_PEER, MEMSET};
use cupti_sys::result::{
    CuptiResult, INVALID_PARAMETER, MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED, NOT_SUPPORTED,
};
use wire::shim::{Level, MARK_ARMED, MARK_LAST, MarkRecord, OffReason, feature, record_kind};

use crate::attendance::Attendance;
use crate::bell;
use crate::completion::{on_completed, on_requested};
use crate::config::Config;
use crate::devices::{Driver, Published};
use crate::exit::Machine;
use crate::gate::{BUFFERS, CALLS, MEMORY, RESOURCES, STACKS};
use crate::graphs;
use crate::heap::Sampling;
use crate::holding::Holding;
use crate::memory;
use crate::neighbour::{Doors, PRESENCE};
use crate::shim::Shim;
use crate::teller::{now_ns, producer_of};

/// Between two turns while armed: how late a record may be, and how many of them one flush brings.
pub(crate) const TURN_ARMED: Duration = Duration::from_millis(100);
/// Between two turns otherwise: how long an agent waits for an answer. Four wake-ups a second cost nothing measurable.
pub(crate) const TURN_IDLE: Duration = Duration::from_millis(250);
/// Between two looks at which devices are open, once they are known.
const DEVICES_TURN: Duration = Duration::from_millis(250);
/// Before CUPTI is asked again after another tool held it.
const RETRY_TAKEN: Duration = Duration::from_secs(10);

/// Kinds of the counting level. Never `KERNEL` (3), which serialises kernels.
const KINDS: [u32; 4] = [CONCURRENT_KERNEL, MEMCPY, MEMSET, MEMCPY_PEER];

/// Launches that every CUPTI can tell of: `cudaLaunchKernel`, `cudaGraphLaunch`, `cuLaunchKernel`, `cuGraphLaunch`.
const KNOWN_CALLS: [(u32, u32); 4] =
    [(DOMAIN_RUNTIME, 211), (DOMAIN_RUNTIME, 311), (DOMAIN_DRIVER, 307), (DOMAIN_DRIVER, 514)];

/// State of the level machine.
#[derive(Debug)]
pub(crate) struct Control {
    shim: &'static Shim,
    driver: Driver,
    /// Level while no agent was ever there, and until when.
    initial: Level,
    unattended_until_ns: u64,
    level: Level,
    doors: Doors,
    /// How long another tool has been quiet when the shim comes back.
    quiet: Duration,
    holding: Option<Holding>,
    registered: bool,
    devices: Published,
    devices_due_ns: u64,
    attendance: Attendance,
    heap: Sampling,
    /// Callbacks on graphs are on.
    graphs: bool,
    /// Callbacks on memory calls are on.
    memory: bool,
    /// After a refusal: not before then. `u64::MAX` = never.
    retry_ns: u64,
}

impl Control {
    pub(crate) fn new(
        shim: &'static Shim,
        driver: Driver,
        doors: Doors,
        initial: Level,
        config: &Config,
    ) -> Self {
        Self {
            shim,
            driver,
            initial,
            unattended_until_ns: now_ns().saturating_add(nanos(config.unattended)),
            level: Level::Dormant,
            doors,
            quiet: config.yields.unwrap_or_default(),
            holding: None,
            registered: false,
            devices: Published::NotYet,
            devices_due_ns: 0,
            attendance: Attendance::new(shim.region.control()),
            heap: Sampling::default(),
            graphs: false,
            memory: false,
            retry_ns: 0,
        }
    }

    pub(crate) fn level(&self) -> Level {
        self.level
    }

    fn tell_devices(&mut self, now: u64) {
        if self.devices != Published::All && now >= self.devices_due_ns {
            self.devices = self.driver.publish(self.shim.region.stats());
            self.devices_due_ns = now.saturating_add(nanos(DEVICES_TURN));
        }
    }

    fn wanted(&self, now: u64) -> Level {
        if self.attendance.is_there(now) {
            return self.attendance.level();
        }
        if !self.attendance.ever() && now < self.unattended_until_ns {
            return self.initial;
        }
        Level::Dormant
    }

    /// An agent is there.
    pub(crate) fn is_attended(&self) -> bool {
        self.attendance.is_there(now_ns())
    }

    /// As far as what was left off allows it: armed once, and not again.
    fn withheld(&self, wanted: Level) -> Level {
        let arms = wanted >= Level::Counting && self.level < Level::Counting;
        let armed_before = self.shim.region.stats().armings.load(Ordering::Relaxed) > 0;
        if arms && armed_before && self.attendance.without(feature::REARMING) {
            return Level::Watching;
        }
        wanted
    }

    fn say_withheld(&self, withheld: bool) {
        let reason = &self.shim.region.stats().off_reason;
        let (from, to) = if withheld {
            (OffReason::None, OffReason::Withheld)
        } else {
            (OffReason::Withheld, OffReason::None)
        };
        // Whatever else it says comes first.
        let _other =
            reason.compare_exchange(from as u32, to as u32, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Callbacks on graphs come and go with the agent's wish, at any level that has them.
    fn follow_graphs(&mut self) {
        let Some(holding) = self.holding else { return };
        let wanted = !self.attendance.without(feature::GRAPHS);
        if std::mem::replace(&mut self.graphs, wanted) == wanted {
            return;
        }
        switch(holding, graph_callbacks(), wanted);
    }

    /// Likewise callbacks on memory calls.
    fn follow_memory(&mut self) {
        let Some(holding) = self.holding else { return };
        let wanted = self.attendance.wants_memory();
        if std::mem::replace(&mut self.memory, wanted) == wanted {
            return;
        }
        if wanted {
            self.shim.gate.open(MEMORY);
        } else {
            self.shim.gate.shut(MEMORY);
        }
        switch(holding, memory_callbacks(), wanted);
    }

    fn change(&mut self, wanted: Level, now: u64) {
        if wanted > self.level && now < self.retry_ns {
            return;
        }
        let result = self.step_to(wanted);
        let stats = self.shim.region.stats();
        match result {
            Ok(()) => {
                stats.off_reason.store(OffReason::None as u32, Ordering::Relaxed);
                stats.cupti_error.store(0, Ordering::Relaxed);
            }
            Err(error) => {
                self.give_up(error, now);
            }
        }
        stats.level.store(self.level as u32, Ordering::Release);
    }

    fn step_to(&mut self, wanted: Level) -> Result<(), CuptiResult> {
        if wanted >= Level::Watching && self.holding.is_none() {
            self.watch()?;
        }
        if wanted >= Level::Counting && self.level < Level::Counting {
            self.arm()?;
        }
        if wanted >= Level::Stacks {
            self.shim.gate.open(STACKS);
        } else {
            self.shim.gate.shut(STACKS);
        }
        if wanted < Level::Counting && self.level >= Level::Counting {
            self.disarm();
        }
        if wanted < Level::Watching {
            self.unsubscribe();
        }
        self.level = wanted;
        Ok(())
    }

    /// Back to dormant after a refusal, with the reason in the stats page.
    fn give_up(&mut self, error: CuptiResult, now: u64) {
        if self.level >= Level::Counting {
            self.disarm();
        } else {
            self.disable_activity();
        }
        self.unsubscribe();
        self.level = Level::Dormant;
        let taken = error == MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED;
        let reason = if taken { OffReason::CuptiTaken } else { OffReason::CuptiRefused };
        self.retry_ns = if taken { now.saturating_add(nanos(RETRY_TAKEN)) } else { u64::MAX };
        let stats = self.shim.region.stats();
        stats.cupti_error.store(error, Ordering::Relaxed);
        stats.off_reason.store(reason as u32, Ordering::Relaxed);
    }

    fn watch(&mut self) -> Result<(), CuptiResult> {
        let neighbours = !self.attendance.without(feature::NEIGHBOURS);
        self.holding = Some(Holding::take(self.shim, neighbours.then_some(&mut self.doors))?);
        self.shim.gate.open(RESOURCES);
        self.graphs = false;
        self.follow_graphs();
        Ok(())
    }

    /// Kinds first, then callbacks, then the clock: every launch entered after `armed_ns` is
    /// recorded, and its work too.
    fn arm(&mut self) -> Result<(), CuptiResult> {
        let cupti = &self.shim.cupti;
        if !self.registered {
            if !self.attendance.without(feature::ZEROED_BUFFERS) {
                cupti.promise_zeroed_buffers();
            }
            cupti.register_clock(now_ns)?;
            cupti.register_buffers(on_requested, on_completed)?;
            self.registered = true;
        }
        if let Some(names) = &self.shim.names {
            names.forget_pointers();
        }
        self.shim.gate.open(BUFFERS);
        for kind in KINDS {
            match cupti.enable(kind) {
                // Copies between devices are a kind of their own that old libraries may refuse.
                Err(error) if kind != MEMCPY_PEER => return Err(error),
                _ => {}
            }
        }
        self.shim.gate.open(CALLS);
        self.enable_calls()?;
        let stats = self.shim.region.stats();
        stats.armings.fetch_add(1, Ordering::Relaxed);
        stats.armed_ns.store(now_ns(), Ordering::Release);
        Ok(())
    }

    fn disarm(&mut self) {
        // Before the gate is shut: every launch up to the last mark's instant is recorded.
        let flush_ns = now_ns();
        self.stop_calls();
        self.flush_and_mark(flush_ns, MARK_LAST, false);
        self.disable_activity();
    }

    fn stop_calls(&self) {
        self.shim.gate.shut(CALLS | STACKS);
        if let Some(holding) = self.holding {
            call_callbacks().for_each(|(domain, id)| holding.disable(domain, id));
        }
    }

    fn disable_activity(&self) {
        for kind in KINDS {
            let _was_off = self.shim.cupti.disable(kind);
        }
        self.shim.gate.shut(BUFFERS | CALLS | STACKS);
    }

    fn unsubscribe(&mut self) {
        self.shim.gate.shut(RESOURCES | MEMORY);
        self.memory = false;
        if let Some(holding) = self.holding.take() {
            holding.leave(graph_callbacks().chain(memory_callbacks()));
        }
    }

    /// Without them work would come whose launch nobody knows, and what still runs would pass for idle time.
    fn enable_calls(&self) -> Result<(), CuptiResult> {
        let Some(holding) = self.holding else { return Ok(()) };
        for (domain, id) in call_callbacks() {
            match holding.enable(domain, id) {
                // An id this CUPTI does not know is a call that cannot happen.
                Err(INVALID_PARAMETER | NOT_SUPPORTED) if !KNOWN_CALLS.contains(&(domain, id)) => {}
                result => result?,
            }
        }
        Ok(())
    }

    /// Another tool has CUPTI, or asks for it: nothing of ours is left there, no buffer and not the clock.
    fn make_way(&mut self, wanted: Level) {
        let stats = self.shim.region.stats();
        if self.level >= Level::Counting {
            let flush_ns = now_ns();
            self.stop_calls();
            let _failed = self.shim.cupti.flush(false);
            for kind in KINDS {
                let _was_off = self.shim.cupti.disable(kind);
            }
            // Forced: a buffer that stayed with CUPTI would come back to the other's function. What runs at this
            // moment is lost with it, and invalid.
            self.flush_and_mark(flush_ns, MARK_LAST, true);
            self.shim.gate.shut(BUFFERS);
        }
        if self.registered {
            let _refused = self.shim.cupti.register_clock_of(PRESENCE.clock());
            self.registered = false;
        }
        if self.level > Level::Dormant {
            self.unsubscribe();
            self.level = Level::Dormant;
            stats.yields.fetch_add(1, Ordering::Relaxed);
            stats.level.store(Level::Dormant as u32, Ordering::Release);
        }
        let reason = if wanted > Level::Dormant { OffReason::CuptiTaken } else { OffReason::None };
        stats.off_reason.store(reason as u32, Ordering::Relaxed);
    }

    /// Everything that ended before `flush_ns` is in front of the mark, and so is every launch.
    fn flush_and_mark(&self, flush_ns: u64, flags: u32, forced: bool) {
        let stats = self.shim.region.stats();
        let launches = stats.launches.load(Ordering::Relaxed);
        // A failed flush leaves its records with CUPTI; their launches hold the watermark.
        let _failed = self.shim.cupti.flush(forced);
        // Where everything is dropped, no buffer comes back that would ask.
        // SAFETY: null and 0 ask for what belongs to no context, which is what CUPTI counts.
        let dropped = unsafe { self.shim.cupti.dropped(std::ptr::null_mut(), 0) };
        stats.cupti_dropped.fetch_add(dropped, Ordering::Relaxed);
        // Wrapping: the agent maps these counters writable, too.
        let discarded = stats.activities_discarded.load(Ordering::Relaxed);
        let lost = stats
            .lost
            .iter()
            .map(|lost| lost.load(Ordering::Relaxed))
            .fold(discarded, u64::wrapping_add);
        let producer = producer_of(self.shim.thread());
        let record = MarkRecord {
            kind: record_kind::MARK,
            producer,
            flags: MARK_ARMED | flags,
            flush_ns,
            armed_ns: stats.armed_ns.load(Ordering::Relaxed),
            lost,
            cupti_dropped: stats.cupti_dropped.load(Ordering::Relaxed),
            launches,
            reserved: 0,
        };
        self.shim.push(producer, &[zerocopy::transmute!(record)]);
    }
}

impl Machine for Control {
    /// One turn: read the control page, change the level if asked, flush and mark if armed.
    /// Returns how long to sleep.
    fn turn(&mut self) -> Duration {
        let asked = bell::asked();
        let now = now_ns();
        self.shim.region.stats().turns.fetch_add(1, Ordering::Relaxed);
        self.attendance.listen(now);
        let asked_level = self.wanted(now);
        let wanted = self.withheld(asked_level);
        let holds = PRESENCE.holds(now, self.quiet);
        if !holds && (wanted > Level::Dormant || self.attendance.is_there(now)) {
            // Also of a worker that is left alone: its device is not idle for that.
            self.tell_devices(now);
        }
        if holds {
            self.make_way(wanted);
        } else if wanted != self.level {
            self.change(wanted, now);
        } else if wanted == Level::Dormant && !PRESENCE.stays() {
            // Nothing is left to follow.
            self.doors.lift();
        }
        self.follow_graphs();
        self.follow_memory();
        let heap = self.attendance.is_there(now) && asked_level >= Level::Watching;
        self.heap.follow(self.shim.teller, heap && self.attendance.wants_heap(), now);
        self.say_withheld(wanted < asked_level);
        bell::answer(asked);
        if self.level >= Level::Counting {
            self.flush_and_mark(now_ns(), 0, false);
            TURN_ARMED
        } else {
            TURN_IDLE
        }
    }

    /// The last turn, at the process's exit: what CUPTI still holds is flushed, finished or not.
    fn finish(&mut self) {
        if self.level >= Level::Counting {
            let flush_ns = now_ns();
            self.shim.gate.shut(CALLS | STACKS);
            self.flush_and_mark(flush_ns, MARK_LAST, true);
        }
        self.shim.gate.close();
    }
}

/// Turns callbacks on or off. An id this CUPTI does not know costs its feature only, or is a call that cannot happen.
fn switch(holding: Holding, callbacks: impl Iterator<Item = (u32, u32)>, on: bool) {
    for (domain, id) in callbacks {
        if on {
            let _unknown = holding.enable(domain, id);
        } else {
            holding.disable(domain, id);
        }
    }
}

/// Domain and id of every callback of the watching level.
fn graph_callbacks() -> impl Iterator<Item = (u32, u32)> {
    let resources = graphs::RESOURCES.iter().map(|&id| (DOMAIN_RESOURCE, id));
    resources.chain(DRIVER_GRAPH_UPDATES.iter().map(|&id| (DOMAIN_DRIVER, id)))
}

/// Of those that tell of memory.
fn memory_callbacks() -> impl Iterator<Item = (u32, u32)> {
    memory::ids().map(|id| (DOMAIN_DRIVER, id))
}

/// And of those that the counting level adds.
fn call_callbacks() -> impl Iterator<Item = (u32, u32)> {
    let of = |domain| move |&(id, _): &(u32, Call)| (domain, id);
    let runtime = RUNTIME_CALLS.iter().map(of(DOMAIN_RUNTIME));
    runtime.chain(DRIVER_CALLS.iter().map(of(DOMAIN_DRIVER)))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
