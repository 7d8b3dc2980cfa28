//! A process without CUDA: nothing but its heap is told, and nothing of it while no agent asks.

use std::sync::atomic::Ordering;
use std::time::Duration;

use wire::shim::{Level, OffReason};

use crate::attendance::Attendance;
use crate::control::TURN_IDLE;
use crate::exit::Machine;
use crate::heap::Sampling;
use crate::teller::{Teller, now_ns};

/// State of such a process's turns.
#[derive(Debug)]
pub(crate) struct Plain {
    teller: &'static Teller,
    attendance: Attendance,
    heap: Sampling,
}

impl Plain {
    /// `teller` is the process's from here on.
    pub(crate) fn new(teller: Teller) -> Self {
        let teller = teller.publish();
        Self {
            teller,
            attendance: Attendance::new(teller.region.control()),
            heap: Sampling::default(),
        }
    }
}

impl Machine for Plain {
    fn turn(&mut self) -> Duration {
        let now = now_ns();
        let stats = self.teller.region.stats();
        stats.turns.fetch_add(1, Ordering::Relaxed);
        self.attendance.listen(now);
        let there = self.attendance.is_there(now);
        let asked = if there { self.attendance.level() } else { Level::Dormant };
        // What runs on a device is not to be had here.
        let level = asked.min(Level::Watching);
        let reason = if asked > level { OffReason::NoDriver } else { OffReason::None };
        let wanted = level == Level::Watching && self.attendance.wants_heap();
        self.heap.follow(self.teller, wanted, now);
        stats.off_reason.store(reason as u32, Ordering::Relaxed);
        stats.level.store(level as u32, Ordering::Release);
        TURN_IDLE
    }

    fn finish(&mut self) {
        self.teller.gate.close();
    }
}
