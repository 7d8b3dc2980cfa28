//! What a worker's observation costs against what it may cost, and what is given up for it.
//!
//! Things are given up in an order, the [`LADDER`]: first stacks become rarer, then there are none,
//! then the worker is armed in turns, ever shorter ones, at last it is only watched. Costs are judged
//! over windows: above the budget, one rung down (far above it, down to `watching`); below 70 % of it
//! for five minutes, one rung up.
//!
//! It cannot swing. When a rung proves too dear, its price is kept: what it cost, and what the rung
//! below costs. It is taken again only when the price, scaled by what the rung below costs at
//! the time, is below 90 % of the budget:
//!
//! ```text
//! cost of the rung, expected = cost below, measured x (too dear, measured / cost below, measured then)
//! ```
//! With a load that does not change, this is what it was, so no rung is taken twice. As the two halves
//! of a price may have been measured under different loads, a rung is tried all the same after a day,
//! two, four, ... of it, six times: for any load that stays as it is, the number of changes is bounded.

use std::fmt;

use crate::decode::Level;
use crate::ids::Ns;
use crate::level::after;
use crate::level::bound::{Bound, Reason};
use crate::level::duty::Duty;

/// Window of a worker that is armed all the time: a hundred flushes.
pub const WINDOW_NS: u64 = 10_000_000_000;

/// Window of a worker that is armed in turns: five whole periods. Each holds the same armed time, though
/// at random phases; a window that began anywhere would say more of where it lies than of what it
/// costs. Five, because at 5 % of a minute a single one is three samples.
pub const PERIODS: u64 = 5;

/// Below this share of the budget, per mille, a rung up may be tried.
pub const LOW_PERMILLE: u64 = 700;

/// For this long: the load of a server has its ups and downs within minutes.
pub const LOW_NS: u64 = 300_000_000_000;

/// A rung whose price is known is taken again when it is expected to cost at most this, per mille of
/// the budget: the tenth is for what the expectation is off.
pub const EXPECTED_PERMILLE: u64 = 900;

/// After this long, doubled with each time the rung was too dear, it is tried whatever is expected.
pub const RETRY_NS: u64 = 24 * 3_600_000_000_000;

/// So often: the last time a month after the one before. A rung that was too dear seven times is.
pub const RETRIES: u32 = 6;

/// From this share of the budget on, per mille, the rungs in between are left out.
pub const FAR_PERMILLE: u64 = 4000;

/// What observing a worker costs, measured over the time since the one before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Its threads in callbacks, ns of CPU time per second.
    pub callback_ns: u64,
    /// The shim's threads and CUPTI's, ns of CPU time per second.
    pub shim_ns: u64,
    /// The agent's, for this worker, ns of CPU time per second.
    pub agent_ns: u64,
    /// Resident, in the worker and for it in the agent, bytes.
    pub memory_bytes: u64,
    /// To and from the device, bytes per second.
    pub bus_bytes: u64,
}

/// What it may cost, in the units of [`Cost`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Of a worker's time, per mille.
    pub callback_permille: u32,
    /// Of one processor, per mille.
    pub shim_permille: u32,
    /// Of one processor, per mille.
    pub agent_permille: u32,
    pub memory_bytes: u64,
    /// Per second.
    pub bus_bytes: u64,
}

impl Default for Budget {
    /// Callbacks run on the threads that launch: 0.5 % is what a server may lose at all. The shim
    /// and the agent have processors beside it: 2 % and 1 % of one. Memory: a ring, its tables and
    /// CUPTI's buffers are 60 MB, and as much again. The bus: 64 MB/s are 0.1 % of PCI Express 5.0.
    fn default() -> Self {
        Self {
            callback_permille: 5,
            shim_permille: 20,
            agent_permille: 10,
            memory_bytes: 128 << 20,
            bus_bytes: 64 << 20,
        }
    }
}

/// What there is a budget of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Callbacks,
    ShimTime,
    AgentTime,
    Memory,
    Bus,
}

impl fmt::Display for Resource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Callbacks => "time in callbacks",
            Self::ShimTime => "the shim's processor time",
            Self::AgentTime => "the agent's processor time",
            Self::Memory => "memory",
            Self::Bus => "bus traffic",
        })
    }
}

/// A rung: the level, and what part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rung {
    pub level: Level,
    /// Of the stacks asked for, percent.
    pub stacks_percent: u32,
    /// `None`: armed all the time.
    pub duty: Option<Duty>,
}

const fn rung(level: Level, stacks_percent: u32, duty: Option<Duty>) -> Rung {
    Rung { level, stacks_percent, duty }
}

/// From the dearest to the cheapest. Shares are about halves: finer ones would not be told apart by
/// a window, coarser ones would give up more than needed. Three seconds in sixty are the shortest turn
/// that still leaves most of itself after arming.
pub const LADDER: [Rung; 11] = [
    rung(Level::Stacks, 100, None),
    rung(Level::Stacks, 50, None),
    rung(Level::Stacks, 20, None),
    rung(Level::Stacks, 10, None),
    rung(Level::Counting, 0, None),
    rung(Level::Counting, 0, Some(Duty::percent(50))),
    rung(Level::Counting, 0, Some(Duty::percent(20))),
    rung(Level::Counting, 0, Some(Duty::percent(10))),
    rung(Level::Counting, 0, Some(Duty::percent(5))),
    rung(Level::Watching, 0, None),
    rung(Level::Dormant, 0, None),
];

/// The first rung of a level or a lower one.
pub fn first_of(level: Level) -> usize {
    LADDER.iter().position(|rung| rung.level <= level).unwrap_or(LADDER.len() - 1)
}

/// What a rung cost, when it was too dear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Price {
    /// Usage on it, per mille of the budget.
    dear: u64,
    /// Usage one rung below, over the first window there.
    below: Option<u64>,
    /// When that was.
    at: Ns,
    /// How often it was too dear before.
    times: u32,
}

impl Price {
    /// Whether the rung may be taken from the one below, which costs `usage`.
    fn allows(&self, now: Ns, usage: u64) -> bool {
        let below = u128::from(self.below.unwrap_or(usage).max(1));
        // expected = usage x dear / below, in whole numbers and without division.
        let expected = u128::from(usage.max(1)) * u128::from(self.dear);
        expected <= u128::from(EXPECTED_PERMILLE) * below
            || self.times < RETRIES && now >= after(self.at, RETRY_NS << self.times)
    }
}

/// Keeps one worker within its budget.
#[derive(Clone, Debug)]
pub struct Keeper {
    budget: Budget,
    rung: usize,
    /// Why the rung above is not taken.
    resource: Resource,
    prices: [Option<Price>; LADDER.len()],
    /// Rung in force over the window.
    judged: usize,
    window: Window,
    low_since: Option<Ns>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Window {
    begin: Option<Ns>,
    /// Period of the last sample, and how many have ended since the window began with one.
    period: u64,
    ended: Option<u64>,
    sum: [u64; RESOURCES.len()],
    count: u64,
}

const RESOURCES: [Resource; 5] =
    [Resource::Callbacks, Resource::ShimTime, Resource::AgentTime, Resource::Memory, Resource::Bus];

impl Keeper {
    pub fn new(budget: Budget) -> Self {
        Self {
            budget,
            rung: 0,
            resource: Resource::Callbacks,
            prices: [None; LADDER.len()],
            judged: 0,
            window: Window::default(),
            low_since: None,
        }
    }

    /// Its place on the [`LADDER`].
    pub fn rung(&self) -> usize {
        self.rung
    }

    /// `None` while it gives nothing up.
    pub fn bound(&self) -> Option<Bound> {
        let rung = LADDER.get(self.rung).filter(|_| self.rung > 0)?;
        Some(Bound { level: rung.level, reason: Reason::Budget(self.resource) })
    }

    /// Takes in what was measured since the last time, while the worker was on the rung `in_force`,
    /// which other bounds may hold below its own. `period` is the group's ([`crate::level::duty`]);
    /// it matters to rungs in turns. True when its own rung changed.
    pub fn on_cost(&mut self, now: Ns, in_force: usize, period: u64, cost: Cost) -> bool {
        let in_force = in_force.clamp(self.rung, LADDER.len() - 1);
        if in_force != self.judged {
            self.judged = in_force;
            self.window = Window { period, ..Window::default() };
            self.low_since = None;
        }
        let usages = self.usages(cost);
        for (sum, usage) in self.window.sum.iter_mut().zip(usages) {
            *sum = sum.saturating_add(usage);
        }
        self.window.count += 1;
        let in_turns = LADDER.get(in_force).is_some_and(|rung| rung.duty.is_some());
        let full = if in_turns {
            self.window.period_ends(period)
        } else {
            let begin = *self.window.begin.get_or_insert(now);
            now >= after(begin, WINDOW_NS)
        };
        if !full {
            return false;
        }
        let (usage, resource) = self.window.dearest();
        self.window = Window { begin: Some(now), period, ended: Some(0), ..Window::default() };
        self.judge(now, usage, resource)
    }

    fn judge(&mut self, now: Ns, usage: u64, resource: Resource) -> bool {
        let above = self.judged.checked_sub(1).and_then(|above| self.prices.get_mut(above));
        if let Some(price) = above.and_then(Option::as_mut) {
            price.below.get_or_insert(usage);
        }
        if usage > 1000 {
            self.low_since = None;
            return self.give_up(now, usage, resource);
        }
        // What the rung above would cost is told from here only when here is right below it.
        if self.rung == 0 || self.judged != self.rung {
            return false;
        }
        if usage >= LOW_PERMILLE {
            self.low_since = None;
            return false;
        }
        let since = *self.low_since.get_or_insert(now);
        if now < after(since, LOW_NS) {
            return false;
        }
        let up = self.rung - 1;
        let price = self.prices.get(up).copied().flatten();
        if price.is_some_and(|price| !price.allows(now, usage)) {
            return false;
        }
        self.rung = up;
        self.low_since = None;
        true
    }

    /// Down from the rung in force.
    fn give_up(&mut self, now: Ns, usage: u64, resource: Resource) -> bool {
        if let Some(price) = self.prices.get_mut(self.judged) {
            let times = price.map_or(0, |price| price.times.saturating_add(1));
            *price = Some(Price { dear: usage, below: None, at: now, times });
        }
        let next = (self.judged + 1).min(LADDER.len() - 1);
        let far = first_of(Level::Watching);
        let rung = if usage >= FAR_PERMILLE { next.max(far) } else { next };
        self.resource = resource;
        let changed = rung != self.rung;
        self.rung = rung;
        changed
    }

    /// Per mille of the budget, by resource.
    fn usages(&self, cost: Cost) -> [u64; RESOURCES.len()] {
        let Budget { callback_permille, shim_permille, agent_permille, memory_bytes, bus_bytes } =
            self.budget;
        let of_time = |permille: u32| u64::from(permille) * 1_000_000;
        [
            share(cost.callback_ns, of_time(callback_permille)),
            share(cost.shim_ns, of_time(shim_permille)),
            share(cost.agent_ns, of_time(agent_permille)),
            share(cost.memory_bytes, memory_bytes),
            share(cost.bus_bytes, bus_bytes),
        ]
    }
}

impl Window {
    /// Takes in the period of a sample; whether enough whole ones are in the window.
    fn period_ends(&mut self, period: u64) -> bool {
        if std::mem::replace(&mut self.period, period) == period {
            return false;
        }
        let Some(ended) = &mut self.ended else {
            // It began inside a period: from here on it holds whole ones.
            *self = Self { period, ended: Some(0), ..Self::default() };
            return false;
        };
        *ended += 1;
        *ended >= PERIODS
    }

    /// The resource nearest to its budget, or farthest beyond.
    fn dearest(&self) -> (u64, Resource) {
        let mean = self.sum.map(|sum| sum.checked_div(self.count).unwrap_or(0));
        let all = mean.into_iter().zip(RESOURCES);
        all.reduce(|first, second| if second.0 > first.0 { second } else { first })
            .unwrap_or((0, Resource::Callbacks))
    }
}

/// Per mille, at most a million: more is no different, and sums of it fit. A budget of nothing is
/// kept by nothing only.
fn share(used: u64, allowed: u64) -> u64 {
    const MOST: u128 = 1_000_000;
    let share = match u128::from(used) * 1000 {
        0 => 0,
        used => used.checked_div(u128::from(allowed)).unwrap_or(MOST).min(MOST),
    };
    u64::try_from(share).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
