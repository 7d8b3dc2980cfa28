//! Levels: the only place that changes what CUPTI does for us. Runs on the shim's own thread (and, while the first
//! `cuInit` waits for an agent, on that thread before the other exists).

use std::ffi::c_void;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cupti_sys::callback::{
    DOMAIN_DRIVER, DOMAIN_RESOURCE, DOMAIN_RUNTIME, DRIVER_CALLS, DRIVER_GRAPH_UPDATES,
    RUNTIME_CALLS,
};
use cupti_sys::record::{CONCURRENT_KERNEL, MEMCPY, MEMCPY_PEER, MEMSET};
use cupti_sys::result::{CuptiResult, MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED};
use wire::shim::{Level, MARK_ARMED, MARK_LAST, MarkRecord, OffReason, record_kind};

use crate::calls::on_callback;
use crate::completion::{on_completed, on_requested};
use crate::cupti::Subscription;
use crate::devices::Driver;
use crate::gate::{BUFFERS, CALLS, RESOURCES, STACKS};
use crate::graphs;
use crate::shim::{Shim, now_ns, producer_of};

/// No heartbeat for this long: the agent is gone.
const HEARTBEAT_LIMIT: Duration = Duration::from_secs(3);
/// Between two turns while armed: how late a record may be, and how many of them one flush brings.
pub(crate) const TURN_ARMED: Duration = Duration::from_millis(100);
/// Between two turns otherwise: how long an agent waits for an answer. Four wake-ups a second cost nothing measurable.
pub(crate) const TURN_IDLE: Duration = Duration::from_millis(250);
/// Before CUPTI is asked again after another tool held it.
const RETRY_TAKEN: Duration = Duration::from_secs(10);

/// Kinds of the counting level. Never `KERNEL` (3), which serialises kernels.
const KINDS: [u32; 4] = [CONCURRENT_KERNEL, MEMCPY, MEMSET, MEMCPY_PEER];

/// State of the level machine.
#[derive(Debug)]
pub(crate) struct Control {
    shim: &'static Shim,
    driver: Driver,
    /// Level while no agent was ever there, and until when.
    initial: Level,
    unattended_until_ns: u64,
    level: Level,
    subscription: Option<Subscription>,
    registered: bool,
    devices_known: bool,
    heartbeat: u64,
    heartbeat_ns: Option<u64>,
    /// After a refusal: not before then. `u64::MAX` = never.
    retry_ns: u64,
}

impl Control {
    pub(crate) fn new(
        shim: &'static Shim,
        driver: Driver,
        initial: Level,
        unattended: Duration,
    ) -> Self {
        Self {
            shim,
            driver,
            initial,
            unattended_until_ns: now_ns().saturating_add(nanos(unattended)),
            level: Level::Dormant,
            subscription: None,
            registered: false,
            devices_known: false,
            heartbeat: shim.region.control().heartbeat.load(Ordering::Relaxed),
            heartbeat_ns: None,
            retry_ns: 0,
        }
    }

    pub(crate) fn level(&self) -> Level {
        self.level
    }

    /// An agent is there: its heartbeat moved within the limit.
    pub(crate) fn attended(&self, now: u64) -> bool {
        self.heartbeat_ns.is_some_and(|at| now.saturating_sub(at) < nanos(HEARTBEAT_LIMIT))
    }

    /// One turn: read the control page, change the level if asked, flush and mark if armed.
    /// Returns how long to sleep.
    pub(crate) fn turn(&mut self) -> Duration {
        let now = now_ns();
        self.shim.region.stats().turns.fetch_add(1, Ordering::Relaxed);
        self.listen(now);
        let wanted = self.wanted(now);
        if wanted != self.level {
            self.change(wanted, now);
        }
        if self.level >= Level::Counting {
            if !self.devices_known {
                self.devices_known = self.driver.publish(self.shim.region.stats());
            }
            self.flush_and_mark(0, false);
            TURN_ARMED
        } else {
            TURN_IDLE
        }
    }

    /// The last turn, at the process's exit: what CUPTI still holds is flushed, finished or not.
    pub(crate) fn finish(&mut self) {
        if self.level >= Level::Counting {
            self.shim.gate.shut(CALLS | STACKS);
            self.flush_and_mark(MARK_LAST, true);
        }
        self.shim.gate.close();
    }

    fn listen(&mut self, now: u64) {
        let heartbeat = self.shim.region.control().heartbeat.load(Ordering::Acquire);
        if heartbeat != self.heartbeat {
            self.heartbeat = heartbeat;
            self.heartbeat_ns = Some(now);
        }
    }

    fn wanted(&self, now: u64) -> Level {
        if self.attended(now) {
            let word = self.shim.region.control().level.load(Ordering::Relaxed);
            return Level::from_word(word).unwrap_or(Level::Dormant);
        }
        if self.heartbeat_ns.is_none() && now < self.unattended_until_ns {
            return self.initial;
        }
        Level::Dormant
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
        if wanted >= Level::Watching && self.subscription.is_none() {
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
        let cupti = &self.shim.cupti;
        let user_data = std::ptr::from_ref(self.shim).cast_mut().cast::<c_void>();
        let subscription = cupti.subscribe(on_callback, user_data)?;
        self.subscription = Some(subscription);
        self.shim.gate.open(RESOURCES);
        for &id in graphs::RESOURCES {
            // An id this CUPTI does not know costs its feature only.
            let _unknown = cupti.enable_callback(subscription, DOMAIN_RESOURCE, id);
        }
        for &id in DRIVER_GRAPH_UPDATES {
            let _unknown = cupti.enable_callback(subscription, DOMAIN_DRIVER, id);
        }
        Ok(())
    }

    /// Kinds first, then callbacks, then the clock: every launch entered after `armed_ns` is
    /// recorded, and its work too.
    fn arm(&mut self) -> Result<(), CuptiResult> {
        let cupti = &self.shim.cupti;
        if !self.registered {
            cupti.promise_zeroed_buffers();
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
        self.for_calls(|cupti, subscription, domain, id| {
            cupti.enable_callback(subscription, domain, id)
        });
        let stats = self.shim.region.stats();
        stats.armings.fetch_add(1, Ordering::Relaxed);
        stats.armed_ns.store(now_ns(), Ordering::Release);
        Ok(())
    }

    fn disarm(&mut self) {
        self.shim.gate.shut(CALLS | STACKS);
        self.for_calls(|cupti, subscription, domain, id| {
            cupti.disable_callback(subscription, domain, id)
        });
        self.flush_and_mark(MARK_LAST, false);
        self.disable_activity();
    }

    fn disable_activity(&self) {
        for kind in KINDS {
            let _was_off = self.shim.cupti.disable(kind);
        }
        self.shim.gate.shut(BUFFERS | CALLS | STACKS);
    }

    fn unsubscribe(&mut self) {
        self.shim.gate.shut(RESOURCES);
        if let Some(subscription) = self.subscription.take() {
            // Refused only when the subscription is gone already.
            let _gone = self.shim.cupti.unsubscribe(subscription);
        }
    }

    fn for_calls(
        &self,
        apply: impl Fn(&crate::cupti::Cupti, Subscription, u32, u32) -> Result<(), CuptiResult>,
    ) {
        let Some(subscription) = self.subscription else {
            return;
        };
        for (domain, calls) in [(DOMAIN_RUNTIME, RUNTIME_CALLS), (DOMAIN_DRIVER, DRIVER_CALLS)] {
            for &(id, _) in calls {
                // An id this CUPTI does not know is a call that cannot happen.
                let _unknown = apply(&self.shim.cupti, subscription, domain, id);
            }
        }
    }

    fn flush_and_mark(&self, flags: u32, forced: bool) {
        let flush_ns = now_ns();
        let stats = self.shim.region.stats();
        let launches = stats.launches.load(Ordering::Relaxed);
        // A failed flush leaves its records with CUPTI; their launches hold the watermark.
        let _failed = self.shim.cupti.flush(forced);
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

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
