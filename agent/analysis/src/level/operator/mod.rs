//! What the operator allows: a maximum, deny patterns, the kill switch, a part of the fleet.
//!
//! Deny patterns fail closed: where a worker's image, say, could not be read and some pattern is
//! about images, it is denied, because whoever wrote the pattern meant it as a promise.

mod fleet;
mod pattern;

use std::fmt;

pub use fleet::{Identity, Percent};
pub use pattern::Pattern;

use crate::decode::Level;
use crate::level::bound::{Bound, Reason};

/// What a deny pattern is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Name of a device the worker uses, as NVML tells it.
    Gpu,
    /// Image or name of its container.
    Image,
    /// Model its server serves.
    Model,
    /// Its process title.
    Title,
}

impl fmt::Display for Subject {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Gpu => "GPU",
            Self::Image => "image",
            Self::Model => "model",
            Self::Title => "process title",
        })
    }
}

/// One entry of the deny-list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deny {
    pub subject: Subject,
    pub pattern: Pattern,
}

/// The operator's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// No worker is higher than this.
    pub maximum: Level,
    /// A match is `dormant`.
    pub deny: Vec<Deny>,
    pub switch: KillSwitch,
    /// Part of the fleet that may be above `dormant`.
    pub fleet: Percent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KillSwitch {
    /// Workers are observed.
    Released,
    /// Every worker is dormant at once.
    Pulled,
}

/// A property of a worker, as far as it could be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Trait {
    /// Could not be read, or not yet.
    #[default]
    Unread,
    /// It has none: a process outside containers has no image.
    Absent,
    /// All of its values; a worker may use several devices.
    Is(Vec<String>),
}

impl Trait {
    pub fn one(value: impl Into<String>) -> Self {
        Self::Is(vec![value.into()])
    }
}

/// What deny patterns are matched with.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Traits {
    pub gpu: Trait,
    pub image: Trait,
    pub model: Trait,
    pub title: Trait,
}

impl Traits {
    fn of(&self, subject: Subject) -> &Trait {
        match subject {
            Subject::Gpu => &self.gpu,
            Subject::Image => &self.image,
            Subject::Model => &self.model,
            Subject::Title => &self.title,
        }
    }
}

impl Policy {
    /// Nothing denied, the whole fleet, up to this level.
    pub fn up_to(maximum: Level) -> Self {
        Self { maximum, deny: Vec::new(), switch: KillSwitch::Released, fleet: Percent::ALL }
    }

    /// What it says about a worker of these traits and this identity.
    pub fn bound(&self, traits: &Traits, identity: Identity) -> Bound {
        let dormant = |reason| Bound { level: Level::Dormant, reason };
        if self.switch == KillSwitch::Pulled {
            return dormant(Reason::KillSwitch);
        }
        if !self.fleet.contains(identity) {
            return dormant(Reason::OutsideFleet);
        }
        for Deny { subject, pattern } in &self.deny {
            match traits.of(*subject) {
                Trait::Unread => return dormant(Reason::DeniedUnread(*subject)),
                Trait::Is(values) if values.iter().any(|value| pattern.matches(value)) => {
                    return dormant(Reason::Denied(*subject));
                }
                Trait::Is(_) | Trait::Absent => {}
            }
        }
        Bound { level: self.maximum, reason: Reason::Maximum }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(policy: &Policy, traits: &Traits, level: Level, reason: Reason) {
        let bound = policy.bound(traits, Identity::of("node-1"));
        assert_eq!(bound, Bound { level, reason }, "{policy:?} {traits:?}");
    }

    fn read() -> Traits {
        Traits {
            gpu: Trait::Is(vec!["NVIDIA H200".into(), "NVIDIA A10".into()]),
            image: Trait::Absent,
            model: Trait::one("meta-llama/Llama-3.1-8B"),
            title: Trait::one("VLLM::Worker_TP0"),
        }
    }

    #[test]
    fn the_maximum_holds_where_nothing_else_does() {
        check(&Policy::up_to(Level::Counting), &read(), Level::Counting, Reason::Maximum);
        let unread = Traits::default();
        check(&Policy::up_to(Level::Stacks), &unread, Level::Stacks, Reason::Maximum);
    }

    #[test]
    fn the_kill_switch_comes_before_everything() {
        let policy = Policy {
            switch: KillSwitch::Pulled,
            fleet: Percent::of(0),
            ..Policy::up_to(Level::Stacks)
        };
        check(&policy, &read(), Level::Dormant, Reason::KillSwitch);
    }

    #[test]
    fn deny_patterns_match_their_subject_only() {
        let deny = |subject, pattern: &str| Policy {
            deny: vec![Deny { subject, pattern: Pattern::parse(pattern) }],
            ..Policy::up_to(Level::Stacks)
        };
        let denied = |subject| (Level::Dormant, Reason::Denied(subject));
        let free = (Level::Stacks, Reason::Maximum);
        for (subject, pattern, (level, reason)) in [
            (Subject::Gpu, "*a10", denied(Subject::Gpu)),
            (Subject::Gpu, "*b200*", free),
            (Subject::Model, "meta-llama/*", denied(Subject::Model)),
            (Subject::Title, "meta-llama/*", free),
            (Subject::Image, "*", free),
            (Subject::Title, "VLLM::Worker_TP?", denied(Subject::Title)),
        ] {
            check(&deny(subject, pattern), &read(), level, reason);
        }
        let unread = Traits { model: Trait::Unread, ..read() };
        let policy = deny(Subject::Model, "secret");
        check(&policy, &unread, Level::Dormant, Reason::DeniedUnread(Subject::Model));
    }

    #[test]
    fn outside_the_fleet_is_dormant() {
        let policy = Policy { fleet: Percent::of(0), ..Policy::up_to(Level::Stacks) };
        check(&policy, &read(), Level::Dormant, Reason::OutsideFleet);
    }
}
