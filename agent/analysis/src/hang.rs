//! Workers that stopped making progress while there is work. Pure: facts come with their time, once a second or so.
//!
//! A worker makes progress when its device ends work, and its server when tokens are generated. It hangs when it made
//! progress before, makes none for [`Hangs::new`]'s time, and one of these holds all the while:
//!
//! | kind | what is known | what it is not |
//! |---|---|---|
//! | [`Kind::Device`] | work launched long ago has no record, and nothing on its device ended since | a giant prefill, whose kernels end one after the other; a compilation or a sleep, which launch nothing |
//! | [`Kind::Host`] | its server has running requests and generates no token, by its own figures, and no worker of it launched or ended anything | an idle server, which runs no request; a long kernel, which is launched |
//!
//! Where no worker is counted the server's figures alone tell, with low confidence: a prefill looks the same.
//! A server that is looked at but does not say that requests run is idle, and never hangs. A compilation for longer than
//! the time, while requests wait for it, cannot be told from a stuck host, hence [`Confidence`].
//!
//! One episode of a server is told once, with all its workers, and is over when one of them makes progress.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::ids::{Ns, ProcessKey};
use crate::level::WORKERS;

/// What is known of a worker at an instant. Counters only grow, but lie in its hands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// It is counted: without that nothing is known of what it does.
    pub counted: bool,
    /// Launch calls so far.
    pub launched: u64,
    /// Records of ended work so far.
    pub ended: u64,
    /// Records that were lost so far: a launch without a record may have ended then.
    pub lost: u64,
    /// Entry of the oldest launch that is open for long.
    pub oldest_open: Option<Ns>,
}

/// What a server said of itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Said {
    /// When.
    pub at: Ns,
    /// Requests that run.
    pub running: f64,
    /// Tokens generated so far.
    pub generated: f64,
}

/// What does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Work on the device does not end.
    Device,
    /// Nothing is launched.
    Host,
}

/// How sure it is that it hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidence {
    /// One of several explanations.
    Low,
    /// Only a very long kernel or compilation would look the same.
    Medium,
    /// The device and the server's own figures say the same.
    High,
}

/// A worker that does not go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stuck {
    pub worker: ProcessKey,
    pub kind: Kind,
    /// Its last progress.
    pub since: Ns,
    /// Entry of the oldest launch that is open.
    pub oldest_open: Option<Ns>,
}

/// A server that hangs.
#[derive(Clone, Debug, PartialEq)]
pub struct Hang {
    /// As it was told of.
    pub server: u32,
    pub confidence: Confidence,
    /// Requests that run, where the server says so.
    pub running: Option<f64>,
    /// Its workers that do not go on, those first that the others may wait for. None where none is counted.
    pub workers: Vec<Stuck>,
}

#[derive(Clone, Copy, Debug)]
struct Worker {
    server: u32,
    last: Look,
    /// It ended work since it is known.
    progressed: bool,
    /// When it ended work, or launched, last.
    ended_at: Ns,
    launched_at: Ns,
    lost_since: bool,
}

#[derive(Clone, Copy, Debug)]
struct Server {
    said: Said,
    /// Since when requests have been running, and not one token was generated.
    waits: Option<Ns>,
    /// It generated tokens since it is known.
    progressed: bool,
}

/// See the module's text.
#[derive(Clone, Debug)]
pub struct Hangs {
    after_ns: u64,
    workers: BTreeMap<ProcessKey, Worker>,
    servers: BTreeMap<u32, Server>,
    /// Servers whose hang was told.
    told: BTreeSet<u32>,
}

impl Hangs {
    /// Without progress for `after_ns`, a worker hangs.
    pub fn new(after_ns: u64) -> Self {
        Self { after_ns, workers: BTreeMap::new(), servers: BTreeMap::new(), told: BTreeSet::new() }
    }

    /// A look at a worker of a server.
    pub fn on_look(&mut self, now: Ns, worker: ProcessKey, server: u32, look: Look) {
        let room = self.workers.len() < WORKERS;
        let fresh = Worker {
            server,
            last: look,
            progressed: false,
            ended_at: now,
            launched_at: now,
            lost_since: false,
        };
        let known = match self.workers.get_mut(&worker) {
            Some(known) => known,
            None if room => self.workers.entry(worker).or_insert(fresh),
            None => return,
        };
        if !look.counted || !known.last.counted {
            // What it does, or did meanwhile, is not known: whatever comes after begins anew.
            *known = fresh;
            return;
        }
        known.server = server;
        if look.ended != known.last.ended {
            known.ended_at = now;
            known.progressed = true;
            known.lost_since = false;
            self.told.remove(&server);
        }
        if look.launched != known.last.launched {
            known.launched_at = now;
        }
        known.lost_since |= look.lost != known.last.lost;
        known.last = look;
    }

    /// A worker ended.
    pub fn on_end(&mut self, worker: ProcessKey) {
        let Some(ended) = self.workers.remove(&worker) else { return };
        if !self.has_workers(ended.server) {
            self.servers.remove(&ended.server);
            self.told.remove(&ended.server);
        }
    }

    /// A server said something of itself.
    pub fn on_said(&mut self, server: u32, said: Said) {
        if !self.has_workers(server) {
            self.servers.remove(&server);
            return;
        }
        let known =
            self.servers.entry(server).or_insert(Server { said, waits: None, progressed: false });
        #[expect(clippy::float_cmp, reason = "a counter that did not change is the same number")]
        let generated = said.generated != known.said.generated;
        if generated {
            known.progressed = true;
        }
        if generated || said.running < 1.0 {
            known.waits = None;
            self.told.remove(&server);
        } else {
            known.waits.get_or_insert(said.at);
        }
        known.said = said;
    }

    /// Servers that hang since the last call, each once in an episode.
    pub fn look(&mut self, now: Ns) -> Vec<Hang> {
        let servers: BTreeSet<u32> = self.workers.values().map(|worker| worker.server).collect();
        let mut found = Vec::new();
        for server in servers {
            if !self.told.contains(&server)
                && let Some(hang) = self.hang(now, server)
            {
                self.told.insert(server);
                found.push(hang);
            }
        }
        found
    }

    fn has_workers(&self, server: u32) -> bool {
        self.workers.values().any(|worker| worker.server == server)
    }

    fn hang(&self, now: Ns, server: u32) -> Option<Hang> {
        let known = self.servers.get(&server).filter(|known| {
            // What it said long ago says nothing of now.
            now.0.saturating_sub(known.said.at.0) <= 2 * self.after_ns
        });
        let long = |since: Ns| now.0.saturating_sub(since.0) >= self.after_ns;
        // By its own figures it goes on, or has nothing to do.
        if known.is_some_and(|known| !known.waits.is_some_and(long)) {
            return None;
        }
        // Who was never seen to make a token may be loading a model: its figures say nothing then.
        let waits = known.is_some_and(|known| known.progressed);
        let all = || self.workers.iter().filter(|(_, worker)| worker.server == server);
        let workers = || all().filter(|(_, worker)| worker.last.counted);
        if workers().next().is_none() {
            // The server's own figures are all there is.
            let running = known.filter(|_| waits).map(|known| known.said.running)?;
            let confidence = Confidence::Low;
            return Some(Hang { server, confidence, running: Some(running), workers: Vec::new() });
        }
        let open = |worker: &Worker| worker.last.oldest_open.is_some_and(long);
        let still = |worker: &Worker| worker.progressed && long(worker.ended_at);
        let device = workers().any(|(_, worker)| still(worker) && open(worker));
        let host = waits && workers().all(|(_, worker)| still(worker) && long(worker.launched_at));
        let lost = workers().any(|(_, worker)| worker.lost_since);
        let confidence = match (device, waits, host) {
            (true, true, _) if !lost => Confidence::High,
            // A launch whose record was lost looks like one that does not end.
            (true, true, _) => Confidence::Low,
            (true, false, _) if !lost => Confidence::Medium,
            (false, _, true) => Confidence::Medium,
            _ => return None,
        };
        let mut stuck: Vec<Stuck> = workers()
            .filter(|(_, worker)| still(worker))
            .map(|(&key, worker)| Stuck {
                worker: key,
                kind: if open(worker) { Kind::Device } else { Kind::Host },
                since: worker.ended_at,
                oldest_open: worker.last.oldest_open,
            })
            .collect();
        stuck.sort_by_key(|stuck| (stuck.oldest_open.is_none(), stuck.oldest_open, stuck.since));
        let running = known.map(|known| known.said.running);
        Some(Hang { server, confidence, running, workers: stuck })
    }
}

#[cfg(test)]
mod tests;
