//! Who rises first, and whether it has stood it.

use std::collections::BTreeMap;

use crate::decode::Level;
use crate::ids::Ns;
use crate::level::GroupKey;
use crate::level::bound::{Bound, below};
use crate::level::decider::worker::Worker;

/// Of each level: which group goes first, and whether the others may follow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Gate {
    first: Option<GroupKey>,
    cleared: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Canary {
    counting: Gate,
    stacks: Gate,
}

/// A group, as far as it may go first.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    draw: u64,
    may: bool,
    stood: bool,
}

impl Canary {
    /// Chooses who goes first, and clears what was stood for `stands_ns`.
    pub(super) fn look(&mut self, now: Ns, stands_ns: u64, workers: &[(&Worker, Bound)]) {
        for level in [Level::Counting, Level::Stacks] {
            if self.gate(level).cleared {
                continue;
            }
            let mut groups: BTreeMap<GroupKey, Candidate> = BTreeMap::new();
            for (worker, bound) in workers {
                let group = groups.entry(worker.facts.group).or_insert(Candidate {
                    draw: u64::MAX,
                    may: true,
                    stood: true,
                });
                group.draw = group.draw.min(worker.facts.identity.draw(level as u64));
                // Who may not, or does not, would hold up all others forever.
                group.may &= bound.level >= level && !worker.stuck(now);
                group.stood &= worker.stood(now, level, stands_ns);
            }
            let gate = self.gate_mut(level);
            // Who goes first goes on, or servers that come and go would begin it anew forever.
            let first = groups
                .iter()
                .filter(|(_, group)| group.may)
                .min_by_key(|(key, group)| (gate.first != Some(**key), group.draw, **key));
            gate.first = first.map(|(key, _)| *key);
            gate.cleared = stands_ns == 0 || first.is_some_and(|(_, group)| group.stood);
        }
    }

    /// Whether a group may take a level. The one that goes first has stood the level below.
    pub(super) fn allows(&self, group: GroupKey, level: Level) -> bool {
        if level < Level::Counting {
            return true;
        }
        let gate = self.gate(level);
        let under = below(level);
        let ripe = under < Level::Counting || self.gate(under).cleared;
        gate.cleared || ripe && gate.first == Some(group)
    }

    /// Nobody has stood this level, nor those above.
    pub(super) fn tripped(&mut self, level: Level) {
        for gate in [Level::Counting, Level::Stacks] {
            if gate >= level {
                *self.gate_mut(gate) = Gate::default();
            }
        }
    }

    fn gate(&self, level: Level) -> Gate {
        if level == Level::Stacks { self.stacks } else { self.counting }
    }

    fn gate_mut(&mut self, level: Level) -> &mut Gate {
        if level == Level::Stacks { &mut self.stacks } else { &mut self.counting }
    }
}
