//! A server that hangs, as a dump tells it.

use analysis::hang::{Confidence, Hang, Kind};
use serde::{Deserialize, Serialize};

use super::stacks::Reader;
use super::threads::ProcessThreads;
use crate::observe::Hanging;

/// See the module's text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HangEvidence {
    /// PID of the server's first process, or of a worker that belongs to none.
    pub server: u32,
    pub confidence: Confidence,
    /// By the server's own figures; `None`: it was not asked, or did not answer.
    pub running_requests: Option<f64>,
    /// Those first that the others may wait for: with the oldest launch that does not end.
    pub workers: Vec<StuckWorker>,
    /// What the threads of all its processes did when the dump was written.
    pub processes: Vec<ProcessThreads>,
}

/// A worker that does not go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StuckWorker {
    pub pid: u32,
    pub title: String,
    /// `device`: work that was launched does not end. `host`: nothing is launched.
    pub kind: Kind,
    /// When work of its device ended last, `CLOCK_MONOTONIC` ns.
    pub since_ns: u64,
    /// Entry of the oldest launch that is open.
    pub oldest_open_launch_ns: Option<u64>,
}

impl HangEvidence {
    /// Looks at the threads, too.
    pub(super) fn of(hanging: &Hanging) -> Self {
        let Hanging { hang, workers, processes } = hanging;
        let Hang { server, confidence, running, workers: stuck } = hang;
        let told = stuck.iter().zip(workers).map(|(stuck, (pid, title))| StuckWorker {
            pid: *pid,
            title: title.clone(),
            kind: stuck.kind,
            since_ns: stuck.since.0,
            oldest_open_launch_ns: stuck.oldest_open.map(|at| at.0),
        });
        let mut reader = Reader::new();
        let mut read =
            |(pid, title): &(u32, String)| ProcessThreads::read(*pid, title.clone(), &mut reader);
        Self {
            server: *server,
            confidence: *confidence,
            running_requests: *running,
            workers: told.collect(),
            processes: processes.iter().map(&mut read).collect(),
        }
    }
}

/// One sentence.
pub(super) fn sentence(hanging: &Hanging) -> String {
    let Hanging { hang, workers, .. } = hanging;
    let first = hang.workers.first().zip(workers.first());
    let unknown = || format!("the server of process {} generates no token", hang.server);
    let what = first.map_or_else(unknown, |(stuck, (pid, title))| {
        let what = match stuck.kind {
            Kind::Device => "launched work that does not end, and nothing else ended since",
            Kind::Host => "launches nothing",
        };
        format!("{title} (pid {pid}) {what}")
    });
    let others = match hang.workers.len() {
        0 | 1 => String::new(),
        count => format!(", {} more workers stand still", count - 1),
    };
    let requests = hang.running.map_or_else(
        || "whether requests run is not known".to_owned(),
        |running| format!("{running} requests run"),
    );
    let confidence = match hang.confidence {
        Confidence::Low => "low",
        Confidence::Medium => "medium",
        Confidence::High => "high",
    };
    format!("{what}{others}; {requests} (confidence {confidence}).")
}
