//! Which process is entered next, when, and which never again. Facts and time come in; nothing is looked at.
//!
//! One server goes first: the one of the lowest draw. Once one of its processes has the shim and lives for
//! `canary_seconds`, the others may follow; if all of them end before, another goes first. Processes of one server
//! follow each other at once while that goes well; between servers, and after a failure, there is a rest.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use analysis::ids::Ns;
use analysis::level::operator::Identity;

use super::config::AttachConfig;
use crate::inject::Outcome;

/// Processes remembered. A node has tens of workers; more come and go only where somebody makes them.
const KNOWN_MAX: usize = 4096;

/// A process: its number, and its start, which tells it from another of that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Process {
    pub(super) pid: u32,
    /// Clock ticks since boot.
    pub(super) start: u64,
}

/// A process that has no shim and may be entered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) process: Process,
    /// Processes of one server are entered one after the other.
    pub(super) server: String,
    /// Of the server, the same over restarts: who goes first.
    pub(super) draw: Identity,
    pub(super) age: Duration,
}

/// Why nothing is entered at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// The operator's switch, or a breaker that is open.
    Shut,
}

#[derive(Clone, Debug, Default)]
struct History {
    tries: u32,
    flying: bool,
    /// Never again.
    done: bool,
}

/// The server that goes first.
#[derive(Clone, Debug)]
struct Canary {
    server: String,
    /// Its processes that have the shim, and since when the first has.
    entered: BTreeSet<Process>,
    since: Option<Ns>,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Plan {
    config: AttachConfig,
    known: BTreeMap<Process, History>,
    servers: BTreeMap<Process, String>,
    canary: Option<Canary>,
    /// Some server stood it.
    proven: bool,
    /// The latest begin or end of a try.
    stirred: Option<Ns>,
    /// The server whose process was the latest to get the shim: its others follow without a rest, because ranks that
    /// are counted from different instants on cannot be compared until then.
    under_way: Option<String>,
    /// A process ended while it was entered: nothing is, any more.
    halted: bool,
    counts: BTreeMap<Outcome, u64>,
}

impl Plan {
    pub(super) fn new(config: AttachConfig) -> Self {
        let counts = Outcome::ALL.into_iter().filter(|&outcome| outcome != Outcome::Rehearsed);
        Self {
            config,
            known: BTreeMap::new(),
            servers: BTreeMap::new(),
            canary: None,
            proven: false,
            stirred: None,
            under_way: None,
            halted: false,
            counts: counts.map(|outcome| (outcome, 0)).collect(),
        }
    }

    /// The process to enter at this instant, if any; it is under way from here on.
    pub(super) fn next(
        &mut self,
        now: Ns,
        gate: Gate,
        candidates: &[Candidate],
        lives: impl Fn(Process) -> bool,
    ) -> Option<Process> {
        self.known.retain(|&process, history| history.flying || lives(process));
        self.servers.retain(|process, _| self.known.contains_key(process));
        self.watch_canary(now, candidates, &lives);
        let flying = self.known.values().filter(|history| history.flying).count();
        let rest = Ns(self.config.rest_seconds.saturating_mul(1_000_000_000));
        let rested = self.stirred.is_none_or(|at| now.0.saturating_sub(at.0) >= rest.0);
        if gate == Gate::Shut || self.halted || flying >= self.config.at_once {
            return None;
        }
        let first = self.canary.as_ref().filter(|_| !self.proven);
        let next = candidates
            .iter()
            .filter(|candidate| self.may(candidate))
            .filter(|candidate| rested || self.under_way.as_ref() == Some(&candidate.server))
            .filter(|candidate| first.is_none_or(|canary| canary.server == candidate.server))
            .min_by_key(|candidate| (candidate.draw, candidate.process))?;
        if self.known.len() >= KNOWN_MAX && !self.known.contains_key(&next.process) {
            return None;
        }
        if !self.proven && self.canary.is_none() {
            let server = next.server.clone();
            self.canary = Some(Canary { server, entered: BTreeSet::new(), since: None });
        }
        let history = self.known.entry(next.process).or_default();
        history.tries += 1;
        history.flying = true;
        self.servers.insert(next.process, next.server.clone());
        self.stirred = Some(now);
        Some(next.process)
    }

    /// What became of a try. `true`: this process is left alone from here on.
    pub(super) fn on_outcome(&mut self, now: Ns, process: Process, outcome: Outcome) -> bool {
        self.stirred = Some(now);
        *self.counts.entry(outcome).or_default() += 1;
        self.halted |= outcome == Outcome::Ended;
        let server = self.servers.get(&process);
        self.under_way = server.filter(|_| outcome == Outcome::Attached).cloned();
        if let Some(canary) = &mut self.canary
            && outcome == Outcome::Attached
            && server == Some(&canary.server)
        {
            canary.entered.insert(process);
            canary.since = canary.since.or(Some(now));
        }
        let history = self.known.entry(process).or_default();
        history.flying = false;
        history.done = outcome.is_final() || history.tries >= self.config.tries;
        history.done
    }

    /// Nothing is entered until the daemon starts again.
    pub(super) fn is_halted(&self) -> bool {
        self.halted
    }

    pub(super) fn counts(&self) -> &BTreeMap<Outcome, u64> {
        &self.counts
    }

    fn may(&self, candidate: &Candidate) -> bool {
        let history = self.known.get(&candidate.process);
        candidate.age >= self.config.min_age()
            && history.is_none_or(|history| !history.flying && !history.done)
    }

    fn watch_canary(
        &mut self,
        now: Ns,
        candidates: &[Candidate],
        lives: &impl Fn(Process) -> bool,
    ) {
        let Some(canary) = self.canary.as_mut().filter(|_| !self.proven) else { return };
        canary.entered.retain(|&process| lives(process));
        if canary.entered.is_empty() {
            let server = canary.server.clone();
            let goes_on = self.known.iter().any(|(process, history)| {
                history.flying && self.servers.get(process) == Some(&server)
            }) || candidates
                .iter()
                .any(|candidate| candidate.server == server && self.may(candidate));
            if goes_on {
                if let Some(canary) = &mut self.canary {
                    canary.since = None;
                }
            } else {
                self.canary = None;
            }
            return;
        }
        let stands = Ns(self.config.canary_seconds.saturating_mul(1_000_000_000));
        self.proven = canary.since.is_some_and(|at| now.0.saturating_sub(at.0) >= stands.0);
    }
}

#[cfg(test)]
mod tests;
