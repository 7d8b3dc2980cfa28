//! Levels of a daemon's workers: told to the governor, and asked of the shims.

use analysis::event::ProcessInfo;
use analysis::level::breaker::{Death, OomCount, Verdict};
use wire::shim::{Level, OffReason, tell};

use super::flight::HowEnded;
use super::{ObserveError, Observer, Watched};
use crate::commands::screen;
use crate::govern::{
    Described, Governed, Governor, Look, OomWatch, Reading, Saying, Standing, cost,
};
use crate::kernel_log::Xid;
use crate::observe::clock::now;
use crate::observe::target::{Asked, Target};
use crate::output::prometheus::WorkerLevel;
use crate::shim::WorkerRing;

/// CUPTI's buffers of a shim, bytes: what it hands out at most (`cuda-shim/src/buffers.rs`).
const POOL_BYTES: u64 = 8 << 20;

impl Observer {
    /// Levels are decided by `governor` from here on.
    #[must_use]
    pub fn governed_by(mut self, governor: Governor) -> Self {
        self.governor = Some(governor);
        self
    }

    /// What was decided and what it cost; `None` without a governor.
    pub fn governed(&self) -> Option<&Governed> {
        self.governor.as_ref().map(Governor::governed)
    }

    /// Levels of workers that live, with what names them.
    pub fn worker_levels(&self) -> Option<Vec<WorkerLevel>> {
        let governed = self.governed()?;
        let named = |standing: &Standing| {
            let target = self.targets.iter().find(|target| target.key == standing.worker)?;
            Some(WorkerLevel {
                pid: target.pid,
                role: target.info.role.clone(),
                rank: target.info.rank.clone(),
                level: standing.level,
                duty: standing.duty,
                reason: standing.reason,
            })
        };
        Some(governed.workers.iter().filter_map(named).collect())
    }

    /// Alerts since the last call.
    pub fn take_alerts(&mut self) -> Vec<String> {
        std::mem::take(&mut self.alerts)
    }

    /// What a worker that was just met is to be asked: with a governor, what that says of it.
    pub(super) fn first_asked(&self) -> Asked {
        if self.governor.is_some() {
            // Nothing changes until it has been decided on, which is at once.
            let level = Level::Watching.min(self.settings.level);
            return Asked { level, rate: 0, tell: self.tell() };
        }
        let (level, rate) = (self.settings.level, self.settings.stack_rate);
        Asked { level, rate, tell: self.tell() }
    }

    /// What shims are to tell beside their level.
    fn tell(&self) -> u32 {
        let Some(Watched { calls, heap, .. }) = self.settings.memory else { return 0 };
        let [calls, heap] = [(calls, tell::MEMORY), (heap, tell::HEAP)]
            .map(|(wanted, bit)| if wanted { bit } else { 0 });
        calls | heap
    }

    /// Has levels decided on, if it is time or `at_once`.
    pub(super) fn govern(&mut self, at_once: bool) -> Result<(), ObserveError> {
        let (now, tell) = (now(), self.tell());
        let Some(governor) = &mut self.governor else { return Ok(()) };
        if !at_once && !governor.is_due(now) {
            return Ok(());
        }
        let mut looks = Vec::new();
        for target in &mut self.targets {
            let Some(ring) = target.ring.as_ref().filter(|ring| ring.memory().is_full()) else {
                continue;
            };
            let status = ring.status();
            governor.meet(target.key, &described(target, status.cupti_version));
            target.shim_thread = target.shim_thread.or_else(|| cost::shim_thread(target.pid));
            let ran = target.shim_thread.and_then(|thread| cost::thread_ns(target.pid, thread));
            looks.push(Look {
                worker: target.key,
                // A guard's own doing is no disobedience.
                level: status.level.unwrap_or(Level::Dormant),
                taken: status.off_reason == Some(OffReason::CuptiTaken),
                reading: Reading {
                    callback_ns: status.callback_ns,
                    shim_ns: ran.unwrap_or(0).saturating_add(status.completion_ns),
                    records: status.activities,
                    shim_bytes: ring.memory().bytes().saturating_add(POOL_BYTES),
                    ..Reading::default()
                },
            });
        }
        let orders = governor.decide(now, &looks, cost::own_ns(), cost::own_bytes());
        for order in orders {
            let Some(target) = self.targets.iter_mut().find(|target| target.key == order.worker)
            else {
                continue;
            };
            let asked = Asked { level: order.level, rate: order.stack_rate, tell };
            if asked != target.asked {
                target.asked = asked;
                target.ask();
            }
        }
        self.say_what_was_decided()
    }

    pub(super) fn say_what_was_decided(&mut self) -> Result<(), ObserveError> {
        let Some(governor) = &mut self.governor else { return Ok(()) };
        for saying in governor.take_sayings() {
            match saying {
                Saying::Changed(text) => screen::say(&format!("warplens: {text}")),
                Saying::Tripped(text) => {
                    screen::say(&format!("warplens: {text}"));
                    self.note(format!("{text}."))?;
                    self.alerts.push(text);
                }
            }
        }
        Ok(())
    }

    /// A target with a ring is gone.
    pub(super) fn tell_governor_of_end(
        &mut self,
        target: &Target,
        how: HowEnded,
        xid: Option<Xid>,
    ) -> Result<(), ObserveError> {
        if target.ring.is_some()
            && let Some(governor) = &mut self.governor
        {
            governor.bury(now(), target.key, death(how, xid, target.oom.as_ref()));
        }
        self.say_what_was_decided()
    }

    /// The agent ends in order: what happens to workers from here on is not its doing.
    pub(super) fn leave_governor(&mut self) {
        if let Some(mut governor) = self.governor.take() {
            governor.leave(now());
        }
    }
}

fn described(target: &Target, cupti: u32) -> Described {
    let info = &target.info;
    let devices = target.ring.iter().flat_map(WorkerRing::devices);
    Described {
        server: server_of(info),
        name: names(info),
        info: Some(info.clone()),
        devices: devices
            .map(|device| crate::observe::uuid_text(device.uuid, target.simulated))
            .collect(),
        cupti,
    }
}

/// Ranks of one server are armed together; a process that belongs to none is one by itself.
pub(super) fn server_of(info: &ProcessInfo) -> String {
    match info.server {
        0 => format!("process {}", info.pid),
        server => server_name(server),
    }
}

/// What a process is called over restarts.
pub(super) fn names(info: &ProcessInfo) -> String {
    let service = &info.service;
    format!("{}/{}/{}/{}/{}", service.namespace, service.pod, service.model, info.title, info.rank)
}

/// A server as the governor knows it.
pub(super) fn server_name(server: u32) -> String {
    format!("server {server}")
}

/// An error that names the worker is how it ended, unless it had finished; one of its device alone, unless it was asked to end.
fn death(how: HowEnded, xid: Option<Xid>, oom: Option<&OomWatch>) -> Death {
    let death = by_status(how, oom);
    let finished = death == Death::Exit(0);
    let asked = death.verdict() == Verdict::Innocent;
    match xid {
        Some(xid) if !finished && (xid.pid.is_some() || !asked) => Death::GpuError(xid.number),
        Some(_) | None => death,
    }
}

fn by_status(how: HowEnded, oom: Option<&OomWatch>) -> Death {
    const KILL: u8 = 9;
    match how {
        HowEnded::Code(code) => Death::Exit(code.into()),
        HowEnded::Signal { number: KILL, .. } => {
            Death::Killed(oom.map_or(OomCount::Unread, OomWatch::look))
        }
        HowEnded::Signal { number, .. } => Death::Signal(number.into()),
        HowEnded::Unknown => Death::Unseen,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel_log::PciAddress;

    #[test]
    fn an_error_of_the_device_is_how_a_worker_ended() {
        let xid = |pid| {
            let device = PciAddress { domain: 0, bus: 3, device: 0 };
            Some(Xid { number: 79, device, pid })
        };
        let check =
            |how, xid, expected| assert_eq!(death(how, xid, None), expected, "{how:?} {xid:?}");
        let signal = |number| HowEnded::Signal { number, core: false };
        for how in [HowEnded::Code(1), signal(6), signal(9), HowEnded::Unknown] {
            check(how, xid(Some(7)), Death::GpuError(79));
            check(how, xid(None), Death::GpuError(79));
        }
        // The engine asks the others to end, and asks the one whose device failed, too.
        check(signal(15), xid(None), Death::Signal(15));
        check(signal(15), xid(Some(7)), Death::GpuError(79));
        check(HowEnded::Code(0), xid(Some(7)), Death::Exit(0));
        check(signal(6), None, Death::Signal(6));
    }
}
