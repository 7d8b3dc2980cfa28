//! Why workers end, or do not go on: errors of their devices, their logs, and who makes no progress.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use analysis::hang::{self, Hangs, Said};
use analysis::ids::{Ns, ProcessKey};
use wire::shim::Level;

use super::{ObserveError, Observer};
use crate::collect::Report;
use crate::commands::screen;
use crate::kernel_log::{Errors, KernelLog, PciAddress, Xid};
use crate::logs::{LogSettings, LogSource};
use crate::observe::clock::now;
use crate::observe::target::Target;
use crate::observe::uuid_text;
use crate::proc;

/// Between two looks at whether workers go on.
const LOOK_NS: u64 = 1_000_000_000;

/// Processes of a server whose threads are told; a node's server has some tens.
const PROCESSES_MAX: usize = 64;

/// What is to be looked at.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Errors of devices.
    pub kernel_log: Option<KernelLog>,
    pub logs: Option<LogSettings>,
    /// Without progress for so long, a worker hangs.
    pub hang: Option<Duration>,
}

/// A server that hangs, with the names of its processes.
#[derive(Clone, Debug, PartialEq)]
pub struct Hanging {
    pub hang: hang::Hang,
    /// PIDs and titles of its workers, in the hang's order.
    pub workers: Vec<(u32, String)>,
    /// PIDs and titles of all its processes.
    pub processes: Vec<(u32, String)>,
}

/// A worker's logs, for whoever writes a dump.
#[derive(Clone, Debug)]
pub struct WorkerLogs {
    pub pid: u32,
    pub sources: Arc<Vec<LogSource>>,
}

/// What is kept of it.
#[derive(Debug, Default)]
pub(super) struct Looker {
    kernel_log: Option<KernelLog>,
    errors: Errors,
    /// Places on the bus by UUID. Devices do not move.
    places: BTreeMap<String, PciAddress>,
    logs: Option<LogSettings>,
    hangs: Option<Hangs>,
    looked: Option<Ns>,
    hanging: Vec<Hanging>,
}

impl Observer {
    /// What is to be looked at from here on.
    #[must_use]
    pub fn with_evidence(mut self, evidence: Evidence) -> Self {
        let Evidence { kernel_log, logs, hang } = evidence;
        let nanoseconds = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let places = proc::gpus().into_iter();
        self.evidence = Looker {
            kernel_log,
            places: places
                .filter_map(|gpu| Some((gpu.uuid, PciAddress::parse(&gpu.bus)?)))
                .collect(),
            logs,
            hangs: hang.map(|after| Hangs::new(nanoseconds(after))),
            ..Looker::default()
        };
        self
    }

    /// Servers that were found to hang since the last call.
    pub fn take_hanging(&mut self) -> Vec<Hanging> {
        std::mem::take(&mut self.evidence.hanging)
    }

    /// Logs of the workers that live.
    pub fn worker_logs(&self) -> Vec<WorkerLogs> {
        let logs =
            |target: &Target| WorkerLogs { pid: target.pid, sources: Arc::clone(&target.logs) };
        self.targets.iter().filter(|target| !target.logs.is_empty()).map(logs).collect()
    }

    /// Where a worker's log is; none of one that launches nothing.
    pub(super) fn logs_of(&self, pid: u32) -> Arc<Vec<LogSource>> {
        let sources =
            self.evidence.logs.as_ref().map(|settings| {
                LogSource::find(pid, self.node.container_of(pid).as_ref(), settings)
            });
        Arc::new(sources.unwrap_or_default())
    }

    /// Errors of devices, as the kernel tells them.
    pub(super) fn hear_of_devices(&mut self) -> Result<(), ObserveError> {
        let Some(log) = &mut self.evidence.kernel_log else { return Ok(()) };
        for xid in log.read() {
            if self.evidence.errors.hear(now(), xid) {
                let Xid { number, device, pid } = xid;
                let whose = pid.map(|pid| format!(", process {pid}")).unwrap_or_default();
                let text = format!("GPU {device} had an error, Xid {number}{whose}");
                screen::say(&format!("warplens: {text}"));
                self.note(format!("{text}."))?;
            }
        }
        Ok(())
    }

    /// The device's error that a worker ended by.
    pub(super) fn error_of(&self, target: &Target) -> Option<Xid> {
        let devices = target.ring.iter().flat_map(crate::shim::WorkerRing::devices);
        let places: Vec<PciAddress> = devices
            .filter(|device| device.opened)
            .filter_map(|device| {
                self.evidence.places.get(&uuid_text(device.uuid, target.simulated)).copied()
            })
            .collect();
        self.evidence.errors.explain(now(), target.pid, &places)
    }

    /// A server told what it does.
    pub(super) fn hear_for_hangs(&mut self, report: &Report) {
        let Ok(reading) = &report.outcome else { return };
        if let Some(hangs) = &mut self.evidence.hangs {
            let (running, generated) = (reading.running(), reading.generated());
            hangs.on_said(report.server, Said { at: report.at, running, generated });
        }
    }

    pub(super) fn forget_for_hangs(&mut self, worker: ProcessKey) {
        if let Some(hangs) = &mut self.evidence.hangs {
            hangs.on_end(worker);
        }
    }

    /// Who does not go on, once a second.
    pub(super) fn look_for_hangs(&mut self) {
        let now = now();
        let due = self.evidence.looked.is_none_or(|at| now.0.saturating_sub(at.0) >= LOOK_NS);
        let Some(hangs) = self.evidence.hangs.as_mut().filter(|_| due) else { return };
        self.evidence.looked = Some(now);
        for target in &self.targets {
            let Some(ring) = target.ring.as_ref().filter(|ring| ring.memory().is_full()) else {
                continue;
            };
            let status = ring.status();
            let look = hang::Look {
                counted: status.level >= Some(Level::Counting)
                    && target.asked.level >= Level::Counting,
                launched: status.launches.wrapping_add(status.graph_launches),
                ended: status.activities,
                lost: status.lost.wrapping_add(status.cupti_dropped),
                oldest_open: self.pipeline.oldest_open(target.key),
            };
            hangs.on_look(now, target.key, server_of(target), look);
        }
        let found = hangs.look(now);
        for hang in found {
            let hanging = self.named(hang);
            self.evidence.hanging.push(hanging);
        }
    }

    fn named(&self, hang: hang::Hang) -> Hanging {
        let name = |key: ProcessKey| {
            let target = self.targets.iter().find(|target| target.key == key);
            target.map(|target| (target.pid, target.info.title.clone())).unwrap_or_default()
        };
        let workers: Vec<_> = hang.workers.iter().map(|stuck| name(stuck.worker)).collect();
        let server = self.node.servers().iter().find(|server| server.id == hang.server);
        let members = server.map(|server| {
            let members = server.members.iter().take(PROCESSES_MAX);
            members.map(|member| (member.pid, member.title.clone())).collect()
        });
        Hanging { processes: members.unwrap_or_else(|| workers.clone()), hang, workers }
    }
}

/// A process that belongs to no server is one by itself.
fn server_of(target: &Target) -> u32 {
    if target.info.server == 0 { target.pid } else { target.info.server }
}
