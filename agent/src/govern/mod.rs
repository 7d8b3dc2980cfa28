//! Who decides on the levels of a daemon's workers: `analysis::level` decides, and this feeds it with what the machine
//! shows and keeps what it must remember.
//!
//! ```text
//! config ─> policy ─┐
//! machine, titles, devices ─> facts ─┤
//! shim's statistics, /proc ─> cost ──┼─> analysis::level::Decider ─> Order of each worker
//! exits of processes ─> death ───────┤             │
//! vLLM's metrics ─> pace of servers ─┤             │
//! another profiler in a worker ──────┘             └─> state (on disk: what tripped)
//! ```

mod config;
pub mod cost;
mod facts;
pub mod faults;
mod oom;
mod state;

pub use config::{LevelsConfig, Maximum};
pub use cost::Reading;
pub use facts::{Described, gpu_names};
pub use faults::ShimConfig;
pub use oom::OomWatch;
pub use state::StateFile;

use std::collections::BTreeMap;

use analysis::ids::{Ns, ProcessKey};
use analysis::level::bound::{self, Bound};
use analysis::level::breaker::{Breaker, Death, Sample, Trip};
use analysis::level::coexist::Owner;
use analysis::level::operator::Policy;
use analysis::level::{Change, Decider, GroupKey, Level, Settings};

use cost::Meter;
use facts::Machine;

use crate::commands::one_line;

/// How often levels are decided on, unless something calls for it at once.
pub const EVERY_NS: u64 = 1_000_000_000;

/// How often what must be remembered is written when nothing happens: how long a rise has been watched is part of it.
const SAVE_NS: u64 = 300_000_000_000;

/// Rises there can be in a row.
const LEVELS: usize = 3;

/// What is known of a worker at an instant.
#[derive(Clone, Debug)]
pub struct Look {
    pub worker: ProcessKey,
    /// By the shim.
    pub level: Level,
    /// Another profiler has CUPTI.
    pub taken: bool,
    pub reading: Reading,
}

/// What is to be asked of a worker's shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    pub worker: ProcessKey,
    pub level: Level,
    /// Per second and thread.
    pub stack_rate: u32,
}

/// What metrics tell of a worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Standing {
    pub worker: ProcessKey,
    pub level: Level,
    /// In turns: the share of the time it is armed.
    pub duty: Option<f64>,
    /// A word: what binds.
    pub reason: &'static str,
}

/// What metrics tell of all.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Governed {
    pub workers: Vec<Standing>,
    pub raised: u64,
    pub lowered: u64,
    pub trips: u64,
    /// Looks at the pace of servers that were of use.
    pub samples: u64,
    /// The breaker stands open: the highest level it allows.
    pub open: Option<Level>,
    /// Time spent on observing, ns: in callbacks of workers, by their shims beside them, by the agent.
    pub callback_ns: u64,
    pub shim_ns: u64,
    pub agent_ns: u64,
}

/// Something to be said to whoever operates the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Saying {
    Changed(String),
    /// The breaker opened: to be said loudly.
    Tripped(String),
}

/// See the module's text.
#[derive(Debug)]
pub struct Governor {
    decider: Decider,
    policy: Policy,
    machine: Machine,
    state: Option<StateFile>,
    groups: BTreeMap<String, GroupKey>,
    meters: BTreeMap<ProcessKey, Meter>,
    decided: Option<Ns>,
    saved: Option<Ns>,
    /// Something that must not be forgotten is not written yet.
    unsaved: bool,
    /// Levels go up without waits.
    eager: bool,
    governed: Governed,
    sayings: Vec<Saying>,
}

impl Governor {
    /// `state`: where the breaker's memory is kept; without it a restart forgets.
    pub fn new(config: &LevelsConfig, state: Option<StateFile>, now: Ns) -> Self {
        let mut sayings = Vec::new();
        let restored = state.as_ref().map(|state| state.read(now));
        let breaker = match restored {
            Some(Ok(breaker)) => breaker,
            Some(Err(problem)) => {
                let problem = one_line(&problem);
                let text = format!("{problem}; the crash breaker begins closed");
                sayings.push(Saying::Tripped(text));
                Breaker::default()
            }
            None => Breaker::default(),
        };
        let settings: Settings = config.settings();
        Self {
            decider: Decider::new(settings, config.policy(), breaker),
            policy: config.policy(),
            machine: Machine::read(),
            state,
            groups: BTreeMap::new(),
            meters: BTreeMap::new(),
            decided: None,
            saved: None,
            unsaved: false,
            eager: config.dwell_seconds == 0 && config.canary_seconds == 0,
            governed: Governed::default(),
            sayings,
        }
    }

    /// A worker was found, or described anew.
    pub fn meet(&mut self, worker: ProcessKey, described: &Described) {
        let next = u32::try_from(self.groups.len()).unwrap_or(u32::MAX);
        let group = *self.groups.entry(described.server.clone()).or_insert(GroupKey(next));
        let _room = self.decider.on_worker(worker, self.machine.facts(group, described));
        // Servers come and go; a group without workers is nothing.
        if self.groups.len() > 4 * analysis::level::WORKERS {
            self.groups.retain(|_, kept| *kept == group);
        }
    }

    /// What the operator's policy says of a worker that has no shim yet.
    pub fn allows(&self, described: &Described) -> Bound {
        let facts = self.machine.facts(GroupKey(0), described);
        self.policy.bound(&facts.traits, facts.identity)
    }

    /// The crash breaker holds workers of this node down, also where none has a shim.
    pub fn is_tripped(&self, now: Ns) -> bool {
        // Looking makes it forget what is over: a copy, so that it is the decider's to forget.
        self.decider.breaker().clone().bound(now).is_some()
    }

    /// UUIDs of devices by their minor numbers; empty unless all are known.
    pub fn uuids(&self, minors: &[u32]) -> Vec<String> {
        self.machine.uuids(minors)
    }

    /// A worker ended.
    pub fn bury(&mut self, now: Ns, worker: ProcessKey, death: Death) {
        self.meters.remove(&worker);
        let trip = self.decider.on_end(now, worker, death);
        self.heed(trip);
        // At once: what comes next may be the end of this machine.
        if self.unsaved {
            self.save(now);
        }
    }

    /// How many tokens a server made; `server` as [`Described`] has it.
    pub fn on_pace(&mut self, server: &str, sample: Sample) {
        let Some(&group) = self.groups.get(server) else { return };
        self.governed.samples += 1;
        let trip = self.decider.on_sample(group, sample);
        self.heed(trip);
        if self.unsaved {
            self.save(sample.at);
        }
    }

    /// Whether it is time to decide.
    pub fn is_due(&self, now: Ns) -> bool {
        self.decided.is_none_or(|at| now.0.saturating_sub(at.0) >= EVERY_NS)
    }

    /// What every worker is to be asked. `agent_ns` and `agent_bytes`: the agent's own processor time so far, and its
    /// memory.
    pub fn decide(
        &mut self,
        now: Ns,
        looks: &[Look],
        agent_ns: u64,
        agent_bytes: u64,
    ) -> Vec<Order> {
        self.decided = Some(now);
        let share = u64::try_from(looks.len().max(1)).unwrap_or(1);
        for look in looks {
            let worker = look.worker;
            self.decider.on_level(now, worker, look.level);
            let owner = if look.taken { Owner::Present } else { Owner::GoneSince(now) };
            self.decider.on_owner(now, worker, owner);
            let meter = self.meters.entry(worker).or_default();
            let reading = Reading {
                agent_ns: agent_ns / share,
                agent_bytes: agent_bytes / share,
                ..look.reading
            };
            if let Some((cost, spent)) = meter.read(now, reading) {
                self.governed.callback_ns += spent.callbacks;
                self.governed.shim_ns += spent.shim;
                self.governed.agent_ns += spent.agent;
                self.decider.on_cost(now, worker, cost);
            }
        }
        let mut said = self.decider.decide(now);
        // Without waits between them, levels are taken one after the other at this instant.
        for _ in 0..LEVELS {
            if !self.eager || said.changes.is_empty() {
                break;
            }
            let more = self.decider.decide(now);
            if more.changes.is_empty() {
                break;
            }
            said.changes.extend(more.changes);
            said.decisions = more.decisions;
        }
        let orders = said.decisions.iter().map(|decision| Order {
            worker: decision.worker,
            level: decision.ask,
            stack_rate: decision.stack_rate,
        });
        let orders = orders.collect();
        self.governed.workers = said
            .decisions
            .iter()
            .map(|decision| Standing {
                worker: decision.worker,
                level: decision.level,
                duty: decision.duty.map(share_of),
                reason: decision.reason.name(),
            })
            .collect();
        for change in &said.changes {
            self.changed(change);
        }
        let due = self.saved.is_none_or(|at| now.0.saturating_sub(at.0) >= SAVE_NS);
        // Where nothing was ever observed there is nothing to remember.
        if self.unsaved || due && !said.decisions.is_empty() || !said.changes.is_empty() {
            self.save(now);
        }
        orders
    }

    /// The agent ends in order.
    pub fn leave(&mut self, now: Ns) {
        if let Some(state) = &self.state {
            state.write(self.decider.breaker().leaving(now));
        }
    }

    /// What to tell, since the last time.
    pub fn take_sayings(&mut self) -> Vec<Saying> {
        std::mem::take(&mut self.sayings)
    }

    pub fn governed(&self) -> &Governed {
        &self.governed
    }

    fn changed(&mut self, change: &Change) {
        let Change { worker, from, to, reason, .. } = change;
        if to.level > from.level {
            self.governed.raised += 1;
        } else if to.level < from.level {
            self.governed.lowered += 1;
        }
        let process = worker.0;
        self.sayings.push(Saying::Changed(format!(
            "worker {process}: {}, was {} ({reason})",
            cost::rung_text(*to),
            cost::rung_text(*from)
        )));
    }

    fn heed(&mut self, trip: Option<Trip>) {
        let Some(Trip { level, cause, .. }) = trip else { return };
        self.governed.trips += 1;
        self.sayings.push(Saying::Tripped(format!(
            "the crash breaker opened: {cause} soon after its level went up to {}; no worker of this node goes there again for a week or more",
            bound::name(level)
        )));
        self.unsaved = true;
    }

    fn save(&mut self, now: Ns) {
        self.saved = Some(now);
        self.unsaved = false;
        let saved = self.decider.breaker().save(now);
        self.governed.open = saved.cap.as_ref().and_then(|cap| Level::from_word(cap.level));
        if let Some(state) = &self.state {
            state.write(saved);
        }
    }
}

/// Share of the time that a duty is armed.
fn share_of(duty: analysis::level::duty::Duty) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "seconds in nanoseconds")]
    let (on, period) = (duty.on_ns as f64, duty.period_ns.max(1) as f64);
    on / period
}

#[cfg(test)]
mod tests;
