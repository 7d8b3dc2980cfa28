//! Who may ask for a dump, and the thread that writes: the observer only hands over what it has in memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use analysis::classify::Classifier;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tokio::sync::oneshot;

use super::policy::Policy;
use super::ring::Limits;
use super::snapshot::Snapshot;
use super::store::{Keep, Store};
use super::why::{Trigger, WorkerLog};
use super::write::{Written, write};
use crate::commands::screen;
use crate::logs::Redacting;
use crate::observe::{ObserveError, Observer, WorkerLogs, now};

/// How nice the writing thread is: the past can wait for everybody's present.
const NICE: i32 = 10;

/// Dumps that wait to be written; each holds a window in memory.
const JOBS: usize = 2;

/// Questions that wait for the observer's next round.
const ASKS: usize = 8;

/// Workers whose logs are read for one dump.
const LOGS_MAX: usize = 64;

/// How long the end of the daemon waits for a dump that is being written.
const FAREWELL: Duration = Duration::from_secs(20);

/// Settings of the flight recorder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FlightSettings {
    pub limits: Limits,
    pub dir: PathBuf,
    pub keep: Keep,
    /// Also ends of workers that nobody can tell the reason of are crashes.
    pub unknown_end_is_crash: bool,
    /// Of each log of a worker; 0: none.
    pub log_lines: usize,
}

/// What became of dumps. Each only grows.
#[derive(Debug, Default)]
struct Counts {
    written: AtomicU64,
    failed: AtomicU64,
    suppressed: AtomicU64,
}

/// What became of dumps, at an instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub written: u64,
    pub failed: u64,
    /// Not written because the same worker had one shortly before, or others waited already.
    pub suppressed: u64,
}

type Answer = Result<Written, String>;

#[derive(Debug)]
struct Ask {
    trigger: Trigger,
    reply: oneshot::Sender<Answer>,
}

#[derive(Debug)]
struct Job {
    snapshot: Snapshot,
    trigger: Trigger,
    logs: Vec<WorkerLogs>,
    reply: Option<oneshot::Sender<Answer>>,
}

/// Asks for dumps; for as many holders as like.
#[derive(Clone, Debug)]
pub struct Desk {
    asks: Sender<Ask>,
    counts: Arc<Counts>,
}

impl Desk {
    /// A dump of what was observed until now; the answer comes when it is written. `None`: too many wait.
    pub fn ask(&self, trigger: Trigger) -> Option<oneshot::Receiver<Answer>> {
        let (reply, answer) = oneshot::channel();
        match self.asks.try_send(Ask { trigger, reply }) {
            Ok(()) => Some(answer),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                self.counts.suppressed.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }

    pub fn counted(&self) -> Counted {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { written, failed, suppressed } = &*self.counts;
        Counted { written: read(written), failed: read(failed), suppressed: read(suppressed) }
    }
}

/// The observer's side: hands windows to the writing thread.
#[derive(Debug)]
pub struct Flight {
    asks: Receiver<Ask>,
    jobs: Sender<Job>,
    policy: Policy,
    /// Of workers that ended, until that is told.
    logs: Vec<WorkerLogs>,
    /// Already counted.
    suppressed: u64,
    counts: Arc<Counts>,
    writer: JoinHandle<()>,
}

impl Flight {
    /// Starts the writing thread.
    pub fn start(
        settings: &FlightSettings,
        classifier: Classifier,
    ) -> std::io::Result<(Self, Desk)> {
        let (asks, questions) = bounded(ASKS);
        let (jobs, to_do) = bounded(JOBS);
        let counts = Arc::new(Counts::default());
        let lines = settings.log_lines;
        let store = Store { dir: settings.dir.clone(), keep: settings.keep };
        let thread_counts = Arc::clone(&counts);
        let writer = thread::Builder::new()
            .name("warplens-flight".to_owned())
            .spawn(move || write_all(&to_do, &store, &classifier, &thread_counts, lines))?;
        let desk = Desk { asks, counts: Arc::clone(&counts) };
        let policy = Policy::new(settings.unknown_end_is_crash);
        let logs = Vec::new();
        Ok((Self { asks: questions, jobs, policy, logs, suppressed: 0, counts, writer }, desk))
    }

    /// To be called each round by the thread that observes.
    pub fn round(&mut self, observer: &mut Observer) -> Result<(), ObserveError> {
        self.hear(observer);
        for alert in observer.take_alerts() {
            // A crash that is about to be told of is what the alert is about.
            if !self.policy.gathers() {
                self.hand_over(observer, Trigger::Alert(alert), None)?;
            }
        }
        if let Some(endings) = self.policy.due(now()) {
            self.hand_over(observer, Trigger::Crash(endings), None)?;
        }
        for hanging in observer.take_hanging() {
            if self.policy.may_tell_hang(hanging.hang.server, now()) {
                self.hand_over(observer, Trigger::Hang(Box::new(hanging)), None)?;
            }
        }
        self.count_suppressed();
        while let Ok(Ask { trigger, reply }) = self.asks.try_recv() {
            self.hand_over(observer, trigger, Some(reply))?;
        }
        Ok(())
    }

    /// The observation ends: what is due is written, and waited for, for a while.
    pub fn end(mut self, observer: &mut Observer) -> Result<(), ObserveError> {
        self.hear(observer);
        if let Some(endings) = self.policy.take(now()) {
            self.hand_over(observer, Trigger::Crash(endings), None)?;
        }
        let Self { jobs, writer, .. } = self;
        drop(jobs);
        let begin = Instant::now();
        while !writer.is_finished() && begin.elapsed() < FAREWELL {
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn hear(&mut self, observer: &mut Observer) {
        let ended = observer.take_logs_of_ended();
        let room = LOGS_MAX.saturating_sub(self.logs.len());
        self.logs.extend(ended.into_iter().filter(|logs| !logs.sources.is_empty()).take(room));
        for ending in observer.take_endings() {
            self.policy.hear(ending, now());
        }
    }

    fn count_suppressed(&mut self) {
        let suppressed = self.policy.suppressed();
        self.counts.suppressed.fetch_add(suppressed - self.suppressed, Ordering::Relaxed);
        self.suppressed = suppressed;
    }

    fn hand_over(
        &mut self,
        observer: &mut Observer,
        trigger: Trigger,
        reply: Option<oneshot::Sender<Answer>>,
    ) -> Result<(), ObserveError> {
        // Looked at first: taking a window closes a chunk early.
        if self.jobs.is_full() {
            self.counts.suppressed.fetch_add(1, Ordering::Relaxed);
            refuse(reply, "two dumps wait to be written: ask again later");
            return Ok(());
        }
        let Some(snapshot) = observer.flight()? else {
            refuse(reply, "the flight recorder is off");
            return Ok(());
        };
        let mut logs = observer.worker_logs();
        if matches!(trigger, Trigger::Crash(_)) {
            logs.splice(0..0, self.logs.drain(..));
        }
        logs.truncate(LOGS_MAX);
        if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) =
            self.jobs.try_send(Job { snapshot, trigger, logs, reply })
        {
            self.counts.failed.fetch_add(1, Ordering::Relaxed);
            refuse(job.reply, "the writing thread takes no more");
        }
        Ok(())
    }
}

fn refuse(reply: Option<oneshot::Sender<Answer>>, reason: &str) {
    if let Some(reply) = reply {
        // Whoever asked may have gone away.
        let _gone = reply.send(Err(reason.to_owned()));
    } else {
        screen::say(&format!("warplens: no dump: {reason}"));
    }
}

fn write_all(
    jobs: &Receiver<Job>,
    store: &Store,
    classifier: &Classifier,
    counts: &Counts,
    lines: usize,
) {
    // For this thread alone; where it may not, it competes as the others do.
    let _same = rustix::process::setpriority_process(None, NICE);
    for (number, Job { snapshot, trigger, logs, reply }) in (0..).zip(jobs) {
        let logs = || last_lines(&logs, lines);
        let written = write(store, &snapshot, &trigger, classifier, number, logs);
        drop(snapshot);
        match &written {
            Ok(written) => {
                counts.written.fetch_add(1, Ordering::Relaxed);
                screen::say(&format!(
                    "warplens: dump written ({}): {}",
                    written.trigger,
                    written.path.display()
                ));
            }
            Err(why) => {
                counts.failed.fetch_add(1, Ordering::Relaxed);
                screen::say(&format!("warplens: dump failed ({}): {why}", trigger.name()));
            }
        }
        if let Some(reply) = reply {
            // Whoever asked may have gone away.
            let _gone = reply.send(written);
        }
    }
}

/// Read here, on the thread that may wait.
fn last_lines(logs: &[WorkerLogs], lines: usize) -> Vec<WorkerLog> {
    let Some(mut redacting) = Redacting::of_this_machine(lines).filter(|_| !logs.is_empty()) else {
        return Vec::new();
    };
    let mut read = |WorkerLogs { pid, sources }: &WorkerLogs| WorkerLog {
        pid: *pid,
        logs: sources.iter().map(|source| redacting.read(source)).collect(),
    };
    logs.iter().map(&mut read).collect()
}
