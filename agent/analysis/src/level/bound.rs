//! An upper bound on a worker's level, and the one reason that binds.

use std::fmt;

use crate::decode::Level;
use crate::level::breaker::Cause;
use crate::level::budget::Resource;
use crate::level::operator::Subject;

/// Why a worker is not higher.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reason {
    /// The operator turned everything off.
    KillSwitch,
    /// It is the level the operator asked for.
    Maximum,
    /// A deny pattern of this subject matched.
    Denied(Subject),
    /// There is a deny pattern of this subject, and the worker's own could not be read.
    DeniedUnread(Subject),
    /// Not among the percentage of the fleet that is switched on.
    OutsideFleet,
    /// A row of the quirk table, by name.
    Quirk(&'static str),
    /// Another tool owns CUPTI.
    OtherOwner,
    /// Another tool owned CUPTI a short time ago.
    OwnerJustLeft,
    /// The crash breaker of the node stands open.
    Tripped(Cause),
    /// More of this would be used than the budget allows.
    Budget(Resource),
    /// The level below has not been stood long enough, or the shim has not confirmed it.
    Dwell,
    /// The canary has not stood the level long enough.
    Canary,
}

impl Reason {
    /// For labels of metrics: a fixed set of words.
    pub fn name(self) -> &'static str {
        match self {
            Self::KillSwitch => "kill_switch",
            Self::Maximum => "maximum",
            Self::Denied(_) => "denied",
            Self::DeniedUnread(_) => "denied_unread",
            Self::OutsideFleet => "outside_fleet",
            Self::Quirk(_) => "quirk",
            Self::OtherOwner => "other_owner",
            Self::OwnerJustLeft => "owner_just_left",
            Self::Tripped(_) => "tripped",
            Self::Budget(_) => "budget",
            Self::Dwell => "dwell",
            Self::Canary => "canary",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::KillSwitch => formatter.write_str("the kill switch is on"),
            Self::Maximum => formatter.write_str("the level asked for"),
            Self::Denied(subject) => write!(formatter, "a deny pattern matches its {subject}"),
            Self::DeniedUnread(subject) => {
                write!(formatter, "there are deny patterns, and its {subject} could not be read")
            }
            Self::OutsideFleet => formatter.write_str("outside the part of the fleet switched on"),
            Self::Quirk(name) => write!(formatter, "quirk `{name}`"),
            Self::OtherOwner => formatter.write_str("another tool owns CUPTI"),
            Self::OwnerJustLeft => formatter.write_str("another tool owned CUPTI just before"),
            Self::Tripped(cause) => write!(formatter, "the node's breaker is open: {cause}"),
            Self::Budget(resource) => write!(formatter, "over its budget of {resource}"),
            Self::Dwell => formatter.write_str("the level below has to be stood first"),
            Self::Canary => formatter.write_str("the canary has to stand the level first"),
        }
    }
}

/// At most this level, because of this.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bound {
    pub level: Level,
    pub reason: Reason,
}

impl Bound {
    /// The lower of two; of two alike the first, so that the order of sources decides which reason
    /// is told.
    #[must_use]
    pub fn lower(self, other: Self) -> Self {
        if other.level < self.level { other } else { self }
    }

    /// The lowest of itself and all others.
    #[must_use]
    pub fn lowest(self, others: impl IntoIterator<Item = Self>) -> Self {
        others.into_iter().fold(self, Self::lower)
    }
}

/// One level down; `Dormant` stays.
pub fn below(level: Level) -> Level {
    match level {
        Level::Dormant | Level::Watching => Level::Dormant,
        Level::Counting => Level::Watching,
        Level::Stacks => Level::Counting,
    }
}

/// One level up; `Stacks` stays.
pub fn above(level: Level) -> Level {
    match level {
        Level::Dormant => Level::Watching,
        Level::Watching => Level::Counting,
        Level::Counting | Level::Stacks => Level::Stacks,
    }
}

/// In reports, recordings and labels.
pub fn name(level: Level) -> &'static str {
    match level {
        Level::Dormant => "dormant",
        Level::Watching => "watching",
        Level::Counting => "counting",
        Level::Stacks => "stacks",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_wins_and_of_two_alike_the_first() {
        let bound = |level, reason| Bound { level, reason };
        let maximum = bound(Level::Stacks, Reason::Maximum);
        let quirk = bound(Level::Counting, Reason::Quirk("x"));
        let owner = bound(Level::Dormant, Reason::OtherOwner);
        let killed = bound(Level::Dormant, Reason::KillSwitch);
        assert_eq!(maximum.lowest([]), maximum);
        assert_eq!(maximum.lowest([quirk]), quirk);
        assert_eq!(maximum.lowest([quirk, owner, killed]), owner);
        assert_eq!(killed.lowest([owner, maximum]), killed);
    }

    #[test]
    fn up_and_down_are_one_step() {
        let all = [Level::Dormant, Level::Watching, Level::Counting, Level::Stacks];
        for pair in all.windows(2) {
            assert_eq!((above(pair[0]), below(pair[1])), (pair[1], pair[0]));
        }
        assert_eq!((below(Level::Dormant), above(Level::Stacks)), (Level::Dormant, Level::Stacks));
    }
}
