//! What the decider keeps of a worker.

use crate::decode::Level;
use crate::ids::Ns;
use crate::level::after;
use crate::level::budget::{Keeper, Rung};
use crate::level::coexist::Coexistence;
use crate::level::decider::{Facts, Settings, whole};

#[derive(Clone, Debug)]
pub(super) struct Worker {
    pub(super) facts: Facts,
    pub(super) owners: Coexistence,
    pub(super) keeper: Keeper,
    /// Decided.
    pub(super) rung: Rung,
    /// When the level was decided; `None`: it was found like this.
    pub(super) since: Option<Ns>,
    /// By the shim.
    pub(super) in_force: Level,
    /// When the shim said first that it had each level, as long as that was decided, too.
    reached: [Option<Ns>; 4],
    fell: Option<Ns>,
    pub(super) dwell_ns: u64,
}

impl Worker {
    pub(super) fn new(facts: Facts, settings: Settings) -> Self {
        Self {
            facts,
            owners: Coexistence::default(),
            keeper: Keeper::new(settings.budget),
            rung: whole(Level::Dormant),
            since: None,
            in_force: Level::Dormant,
            reached: [None; 4],
            fell: None,
            dwell_ns: settings.dwell_ns,
        }
    }

    pub(super) fn on_level(&mut self, now: Ns, level: Level) {
        self.in_force = level;
        let highest = level.min(self.rung.level) as usize;
        for reached in self.reached.iter_mut().take(highest + 1) {
            reached.get_or_insert(now);
        }
    }

    pub(super) fn set(&mut self, now: Ns, rung: Rung) {
        let from = self.rung.level;
        self.rung = rung;
        if rung.level == from {
            return;
        }
        self.since = Some(now);
        if rung.level < from {
            self.fell = Some(now);
            for reached in self.reached.iter_mut().skip(rung.level as usize + 1) {
                *reached = None;
            }
        }
    }

    /// No fall a short time ago.
    pub(super) fn rested(&self, now: Ns) -> bool {
        self.fell.is_none_or(|fell| now >= after(fell, self.dwell_ns))
    }

    /// Whether it has had the level for so long.
    pub(super) fn stood(&self, now: Ns, level: Level, ns: u64) -> bool {
        let reached = self.reached.get(level as usize).copied().flatten();
        reached.is_some_and(|reached| now >= after(reached, ns))
    }

    /// Its shim does not do what it is asked for.
    pub(super) fn stuck(&self, now: Ns) -> bool {
        let reached = self.reached.get(self.rung.level as usize).copied().flatten();
        self.since.is_some_and(|since| reached.is_none() && now >= after(since, self.dwell_ns))
    }
}
