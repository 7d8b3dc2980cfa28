//! Turns: each asks every server that is not still being asked.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use analysis::ids::Ns;
use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Reading, fetch, reading, route};
use crate::commands::one_line;
use crate::observe::now;

/// For one answer, from connecting to its last byte. vLLM's takes 36 ms under load.
const PATIENCE: Duration = Duration::from_secs(5);

/// A server that starts does not answer at first: only after so many failures in a row is it told.
const TELL_AFTER: u32 = 3;

/// Reports that wait for the observing thread: all that servers can make while it is stuck for a turn.
const REPORTS: usize = 512;

/// A server that can be asked, as discovery knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Served {
    /// PID of its first process.
    pub server: u32,
    /// When that started, clock ticks since boot.
    pub start: u64,
    pub port: u16,
    /// Where its own sockets listen.
    pub listening: Vec<SocketAddr>,
}

/// What became of asking one.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    pub server: u32,
    pub start: u64,
    /// When the answer was there.
    pub at: Ns,
    /// Or why there is none, one line.
    pub outcome: Result<Reading, String>,
}

/// Counts for `/metrics`. Only grow.
#[derive(Debug, Default)]
struct Counts {
    read: AtomicU64,
    failed: AtomicU64,
}

/// The observer's side: says whom to ask, and hears what they said.
#[derive(Debug)]
pub struct Collection {
    servers: watch::Sender<Vec<Served>>,
    reports: Receiver<Report>,
    counts: Arc<Counts>,
    /// How often each server did not answer, since it did last.
    failures: BTreeMap<(u32, u64), u32>,
    sayings: Vec<String>,
}

impl Collection {
    /// What to hold, and what to run until it is dropped.
    pub fn new(every: Duration) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (servers, whom) = watch::channel(Vec::new());
        let (reporter, reports) = bounded(REPORTS);
        let counts = Arc::new(Counts::default());
        let running = run(every, whom, reporter, Arc::clone(&counts));
        let (failures, sayings) = (BTreeMap::new(), Vec::new());
        (Self { servers, reports, counts, failures, sayings }, running)
    }

    /// The servers there are.
    pub fn publish(&mut self, servers: Vec<Served>) {
        self.failures.retain(|key, _| servers.iter().any(|known| key_of(known) == *key));
        self.servers.send_if_modified(|known| {
            let changed = *known != servers;
            *known = servers;
            changed
        });
    }

    /// What came since the last call.
    pub fn take(&mut self) -> Vec<Report> {
        let reports: Vec<Report> = self.reports.try_iter().collect();
        for report in &reports {
            let key = (report.server, report.start);
            // Of one that went meanwhile nothing is kept.
            if !self.servers.borrow().iter().any(|known| key_of(known) == key) {
                continue;
            }
            let failures = self.failures.entry(key).or_default();
            match &report.outcome {
                Ok(_) => *failures = 0,
                Err(why) => {
                    *failures = failures.saturating_add(1);
                    if *failures == TELL_AFTER {
                        let server = report.server;
                        self.sayings.push(format!(
                            "vLLM server {server} tells no figures, so its pace is not known: {why}"
                        ));
                    }
                }
            }
        }
        reports
    }

    /// Every server answered when it was asked last; `None` while there is none.
    pub fn well(&self) -> Option<bool> {
        (!self.failures.is_empty()).then(|| self.failures.values().all(|&failures| failures == 0))
    }

    /// What to tell whoever operates the node, since the last call.
    pub fn take_sayings(&mut self) -> Vec<String> {
        std::mem::take(&mut self.sayings)
    }

    /// Answers that were read, and those that were not. Only grow.
    pub fn counts(&self) -> (u64, u64) {
        let Counts { read, failed } = &*self.counts;
        (read.load(Ordering::Relaxed), failed.load(Ordering::Relaxed))
    }
}

fn key_of(served: &Served) -> (u32, u64) {
    (served.server, served.start)
}

async fn run(
    every: Duration,
    mut whom: watch::Receiver<Vec<Served>>,
    reporter: Sender<Report>,
    counts: Arc<Counts>,
) {
    let mut turns = tokio::time::interval(every);
    turns.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut asked = BTreeSet::new();
    let mut asking: JoinSet<(u32, u64)> = JoinSet::new();
    loop {
        tokio::select! {
            _ = turns.tick() => {}
            // Somebody was met, and is asked at the turn of the others.
            changed = whom.changed() => match changed {
                Ok(()) => continue,
                Err(_gone) => return,
            },
            Some(done) = asking.join_next() => {
                match done {
                    Ok(key) => { asked.remove(&key); }
                    // Only by a panic, and then it is not known whose.
                    Err(_panicked) => asked.clear(),
                }
                continue;
            }
        }
        let servers = whom.borrow_and_update().clone();
        for served in servers {
            let key = key_of(&served);
            if !asked.insert(key) {
                continue;
            }
            let (reporter, counts) = (reporter.clone(), Arc::clone(&counts));
            asking.spawn(async move {
                let outcome = ask(&served, PATIENCE).await;
                let count = if outcome.is_ok() { &counts.read } else { &counts.failed };
                count.fetch_add(1, Ordering::Relaxed);
                let Served { server, start, .. } = served;
                // An observer that is stuck misses what it could not hear.
                let _full = reporter.try_send(Report { server, start, at: now(), outcome });
                key
            });
        }
    }
}

async fn ask(served: &Served, patience: Duration) -> Result<Reading, String> {
    let address = route::route(served.server, served.port, &served.listening)
        .map_err(|error| one_line(&error))?;
    let answer = tokio::time::timeout(patience, fetch::get(address, "/metrics")).await;
    let body = answer
        .map_err(|_elapsed| format!("{address} took more than {} s", patience.as_secs()))?
        .map_err(|error| one_line(&error))?;
    reading(&body).map_err(|error| format!("{address}: {error}"))
}

#[cfg(test)]
#[path = "collection_tests.rs"]
mod tests;
