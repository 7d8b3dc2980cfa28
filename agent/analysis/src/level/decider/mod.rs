//! One decision for each worker of a node, from all that is known.
//!
//! A fall is immediate. A rise is one level at a time:
//! - to `watching` at once, for the first time: graphs are captured at a server's start, and a shim
//!   starts there by itself;
//! - to any level, a minute after the last fall;
//! - to `counting` and `stacks`, a minute after the shim has confirmed the level below, and the canary
//!   first.
//!
//! The canary is the group whose identity draws the lowest number among those that may have the
//! level. It alone rises until it has stood the level for ten minutes; then the level is cleared for
//! the node until something trips. It stands each level before it takes the one above, so that what
//! is blamed on a level is of that level.
//!
//! Costs of one rank are kept by all: a group is on the rung of its dearest rank, because ranks that
//! are looked at differently cannot be compared.

mod canary;
mod worker;

use std::collections::BTreeMap;

use crate::decode::Level;
use crate::ids::{Ns, ProcessKey};
use crate::level::bound::{Bound, Reason, above};
use crate::level::breaker::{Breaker, Death, Sample, Trip, WATCH_NS};
use crate::level::budget::{Budget, Cost, LADDER, Rung, first_of};
use crate::level::coexist::Owner;
use crate::level::decider::canary::Canary;
use crate::level::decider::worker::Worker;
use crate::level::duty::{self, Duty, Turn, turn};
use crate::level::operator::{Identity, Policy, Traits};
use crate::level::quirk::{self, Machine};
use crate::level::{GroupKey, WORKERS};

/// Between a shim's word that it has reached a level and the next rise, and after a fall. Six windows
/// of the budget keeper, so that a level that is too dear is not left for a dearer one.
pub const DWELL_NS: u64 = 60_000_000_000;

/// What does not change while the agent runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The node's, for whose turn it is.
    pub node: Identity,
    /// Stacks per second and thread at level `Stacks`, when nothing is given up.
    pub stack_rate: u32,
    /// Of each worker.
    pub budget: Budget,
    /// Between a shim's word that it has reached a level and the next rise, and after a fall. 0: its word is not waited for.
    pub dwell_ns: u64,
    /// How long the canary stands a level before others follow. 0: nobody goes first.
    pub stands_ns: u64,
}

impl Settings {
    /// With the waits that were thought right: [`DWELL_NS`], and as long as the breaker watches a rise, so that what it
    /// would blame on it has come.
    pub fn careful(node: Identity) -> Self {
        Self {
            node,
            stack_rate: 20,
            budget: Budget::default(),
            dwell_ns: DWELL_NS,
            stands_ns: WATCH_NS,
        }
    }
}

/// What a worker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub group: GroupKey,
    /// By which the fleet's percentage and the canary are chosen: of the node, or of the worker.
    pub identity: Identity,
    pub traits: Traits,
    pub machine: Machine,
}

/// What a worker is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Decision {
    pub worker: ProcessKey,
    /// Decided.
    pub level: Level,
    /// To be asked of the shim at this instant: `level`, or `watching` while it is not its turn.
    pub ask: Level,
    /// Per second and thread; 0 below `Stacks`.
    pub stack_rate: u32,
    /// Armed in turns: figures are estimates.
    pub duty: Option<Duty>,
    /// Until when `ask` holds, where it changes by itself.
    pub turn: Option<Turn>,
    /// What binds.
    pub reason: Reason,
    /// When the level was decided.
    pub since: Ns,
}

/// A worker's level, or what is given up of it, changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    pub worker: ProcessKey,
    pub from: Rung,
    pub to: Rung,
    /// What binds at `to`: why it is not higher.
    pub reason: Reason,
    pub at: Ns,
}

/// What [`Decider::decide`] says.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decisions {
    /// One for each worker, by key.
    pub decisions: Vec<Decision>,
    pub changes: Vec<Change>,
}

/// Decides for a node.
#[derive(Clone, Debug)]
pub struct Decider {
    settings: Settings,
    policy: Policy,
    breaker: Breaker,
    canary: Canary,
    workers: BTreeMap<ProcessKey, Worker>,
    refused: u64,
}

/// What a group has in common.
#[derive(Clone, Copy, Debug, Default)]
struct Kept {
    /// Rung of its dearest rank.
    rung: usize,
    bound: Option<Bound>,
}

impl Decider {
    /// `breaker`: restored, or a fresh one.
    pub fn new(settings: Settings, policy: Policy, breaker: Breaker) -> Self {
        Self {
            settings,
            policy,
            breaker,
            canary: Canary::default(),
            workers: BTreeMap::new(),
            refused: 0,
        }
    }

    /// The operator's configuration changed, or the kill switch was pulled.
    pub fn on_policy(&mut self, policy: Policy) {
        self.policy = policy;
    }

    /// A worker was found, or more is known of it. False: there is no room, which is counted; it is
    /// to be left dormant.
    pub fn on_worker(&mut self, worker: ProcessKey, facts: Facts) -> bool {
        if let Some(known) = self.workers.get_mut(&worker) {
            known.facts = facts;
            return true;
        }
        if self.workers.len() >= WORKERS {
            self.refused = self.refused.saturating_add(1);
            return false;
        }
        self.workers.insert(worker, Worker::new(facts, self.settings));
        true
    }

    /// A worker ended.
    pub fn on_end(&mut self, now: Ns, worker: ProcessKey, death: Death) -> Option<Trip> {
        let ended = self.workers.remove(&worker)?;
        let trip = self.breaker.died(now, worker, death);
        let group = ended.facts.group;
        if self.workers.values().all(|other| other.facts.group != group) {
            self.breaker.group_ended(group);
        }
        self.on_trip(trip)
    }

    /// Another owner of CUPTI was seen in a worker, or that there is none.
    pub fn on_owner(&mut self, now: Ns, worker: ProcessKey, owner: Owner) {
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.owners.on_owner(now, owner);
        }
    }

    /// The level that a worker's shim says is in force.
    pub fn on_level(&mut self, now: Ns, worker: ProcessKey, level: Level) {
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.on_level(now, level);
        }
    }

    /// What observing a worker cost since the last time.
    pub fn on_cost(&mut self, now: Ns, worker: ProcessKey, cost: Cost) {
        let Some(group) = self.workers.get(&worker).map(|worker| worker.facts.group) else {
            return;
        };
        let kept = self.kept(group);
        if let Some(worker) = self.workers.get_mut(&worker) {
            // In turns, the shim's level goes up and down by itself.
            let level = match worker.rung.duty {
                Some(_) => worker.rung.level,
                None => worker.rung.level.min(worker.in_force),
            };
            let period = worker
                .rung
                .duty
                .map_or(0, |duty| duty::period(duty, self.settings.node, group, now));
            worker.keeper.on_cost(now, kept.rung.max(first_of(level)), period, cost);
        }
    }

    /// How many tokens a server made.
    pub fn on_sample(&mut self, group: GroupKey, sample: Sample) -> Option<Trip> {
        if self.workers.values().all(|worker| worker.facts.group != group) {
            return None;
        }
        let trip = self.breaker.on_sample(group, sample);
        self.on_trip(trip)
    }

    /// The operator closes the breaker.
    pub fn on_reset(&mut self) {
        self.breaker.reset();
    }

    /// To be saved.
    pub fn breaker(&self) -> &Breaker {
        &self.breaker
    }

    /// Workers and samples there was no room for.
    pub fn refused(&self) -> u64 {
        self.refused.saturating_add(self.breaker.refused())
    }

    /// What every worker is to be. To be asked about once a second, and when something was told that
    /// must be acted on at once.
    pub fn decide(&mut self, now: Ns) -> Decisions {
        let tripped = self.breaker.bound(now);
        let mut groups: BTreeMap<GroupKey, Kept> = BTreeMap::new();
        for worker in self.workers.values() {
            groups.entry(worker.facts.group).or_default().add(worker);
        }
        let bounds: Vec<Bound> = self
            .workers
            .values_mut()
            .map(|worker| {
                let Facts { group, identity, traits, machine } = &worker.facts;
                let kept = groups.get(group).and_then(|kept| kept.bound);
                let operator = self.policy.bound(traits, *identity);
                let owners = worker.owners.bound(now);
                operator
                    .lowest([quirk::bound(machine), owners, tripped, kept].into_iter().flatten())
            })
            .collect();
        let bounded: Vec<_> = self.workers.values().zip(bounds.iter().copied()).collect();
        self.canary.look(now, self.settings.stands_ns, &bounded);
        let mut said = Decisions::default();
        for ((&key, worker), bound) in self.workers.iter_mut().zip(bounds) {
            let kept = groups.get(&worker.facts.group).copied().unwrap_or_default();
            let (level, reason) = step(now, worker, bound, &self.canary);
            let rung = kept.rung_at(level);
            // What is given up within a level binds as well, though not the level.
            let reason = match kept.bound {
                Some(kept) if gives_up(rung) && level == bound.level => kept.reason,
                Some(_) | None => reason,
            };
            let from = worker.rung;
            if from != rung {
                said.changes.push(Change { worker: key, from, to: rung, reason, at: now });
                worker.set(now, rung);
                if rung.level > from.level {
                    self.breaker.rose(now, key, worker.facts.group, rung.level);
                } else if rung.level < from.level {
                    self.breaker.fell(worker.facts.group);
                }
            }
            said.decisions.push(decision(self.settings, now, key, worker, reason));
        }
        said
    }

    fn on_trip(&mut self, trip: Option<Trip>) -> Option<Trip> {
        if let Some(trip) = &trip {
            self.canary.tripped(trip.level);
        }
        trip
    }

    fn kept(&self, group: GroupKey) -> Kept {
        let mut kept = Kept::default();
        for worker in self.workers.values().filter(|worker| worker.facts.group == group) {
            kept.add(worker);
        }
        kept
    }
}

impl Kept {
    fn add(&mut self, worker: &Worker) {
        let rung = worker.keeper.rung();
        if rung > self.rung {
            *self = Self { rung, bound: worker.keeper.bound() };
        }
    }

    /// The group's own rung, if the level is its.
    fn rung_at(&self, level: Level) -> Rung {
        match LADDER.get(self.rung) {
            Some(&rung) if rung.level == level => rung,
            Some(_) | None => whole(level),
        }
    }
}

/// A level of which nothing is given up.
fn whole(level: Level) -> Rung {
    Rung { level, stacks_percent: if level == Level::Stacks { 100 } else { 0 }, duty: None }
}

fn gives_up(rung: Rung) -> bool {
    rung != whole(rung.level)
}

/// The level to be at, and why not higher.
fn step(now: Ns, worker: &Worker, bound: Bound, canary: &Canary) -> (Level, Reason) {
    let level = worker.rung.level;
    if bound.level <= level {
        return (bound.level, bound.reason);
    }
    let next = above(level);
    let stood = worker.dwell_ns == 0 || worker.stood(now, level, worker.dwell_ns);
    if !worker.rested(now) || level > Level::Dormant && !stood {
        return (level, Reason::Dwell);
    }
    if !canary.allows(worker.facts.group, next) {
        return (level, Reason::Canary);
    }
    // What binds above the step is the reason that is told for it.
    (next, if next == bound.level { bound.reason } else { Reason::Dwell })
}

fn decision(
    settings: Settings,
    now: Ns,
    key: ProcessKey,
    worker: &Worker,
    reason: Reason,
) -> Decision {
    let Rung { level, stacks_percent, duty } = worker.rung;
    let turn = duty.map(|duty| turn(duty, settings.node, worker.facts.group, now));
    let ask = match turn {
        Some(Turn::Off(_)) => level.min(Level::Watching),
        Some(Turn::On(_)) | None => level,
    };
    // At least one where any are asked for: none at all would be another level.
    let rate = u64::from(settings.stack_rate) * u64::from(stacks_percent);
    let stack_rate = u32::try_from(rate.div_ceil(100)).unwrap_or(u32::MAX);
    let since = worker.since.unwrap_or(now);
    Decision { worker: key, level, ask, stack_rate, duty, turn, reason, since }
}

#[cfg(test)]
mod tests;
