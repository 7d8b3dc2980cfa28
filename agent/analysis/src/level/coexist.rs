//! Another owner of CUPTI: dormant while it is there, back only after it was gone for a while.
//!
//! A process has one subscriber of CUPTI, so whoever profiles on purpose comes before us. Tools come
//! and go in quick succession (a profile is started, stopped and started again), and each return of
//! ours could make their next start fail. So the wait after a leave doubles with every return within
//! an hour:
//!
//! ```text
//! Free ── present ──> Owned ── gone ──> Settling ── waited ──> Free
//!                       ^─── present ──────┘
//! wait = 30 s x 2^min(returns, 6)
//! ```

use crate::decode::Level;
use crate::ids::Ns;
use crate::level::after;
use crate::level::bound::{Bound, Reason};

/// Wait after the first leave. vLLM's `start_profile` and `stop_profile` are called by hand or by a
/// benchmark's loop, seconds apart.
pub const SETTLE_NS: u64 = 30_000_000_000;

/// Doublings at most: 30 s become 32 minutes, so that a worker is seen again within the hour.
pub const DOUBLINGS: u32 = 6;

/// Without an owner for this long, a return is a first one. Longer than the longest wait, so that a
/// tool that comes every time we are back meets the longest wait forever.
pub const QUIET_NS: u64 = 3_600_000_000_000;

/// What was seen of another owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Present,
    /// None, since this time.
    GoneSince(Ns),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Free,
    Owned,
    /// Until then.
    Settling(Ns),
}

/// One worker's other owners.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coexistence {
    state: State,
    /// How often one came back within an hour.
    returns: u32,
    /// When the last one left.
    left: Option<Ns>,
}

impl Default for Coexistence {
    fn default() -> Self {
        Self { state: State::Free, returns: 0, left: None }
    }
}

impl Coexistence {
    /// Takes in what was seen; the same may be told as often as it is looked at.
    pub fn on_owner(&mut self, now: Ns, owner: Owner) {
        match (owner, self.state) {
            (Owner::Present, State::Owned)
            | (Owner::GoneSince(_), State::Free | State::Settling(_)) => {}
            (Owner::Present, State::Free | State::Settling(_)) => {
                let soon = self.left.is_some_and(|left| now < after(left, QUIET_NS));
                self.returns = if soon { self.returns.saturating_add(1) } else { 0 };
                self.state = State::Owned;
            }
            (Owner::GoneSince(since), State::Owned) => {
                // Clocks of the one who looks: a leave in the future is one at this moment.
                let since = since.min(now);
                self.left = Some(since);
                let wait = SETTLE_NS << self.returns.min(DOUBLINGS);
                self.state = State::Settling(after(since, wait));
            }
        }
    }

    /// `None`: nobody else, and for long enough.
    pub fn bound(&mut self, now: Ns) -> Option<Bound> {
        if let State::Settling(until) = self.state
            && now >= until
        {
            self.state = State::Free;
        }
        let reason = match self.state {
            State::Free => return None,
            State::Owned => Reason::OtherOwner,
            State::Settling(_) => Reason::OwnerJustLeft,
        };
        Some(Bound { level: Level::Dormant, reason })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: u64 = 1_000_000_000;

    fn reason(owners: &mut Coexistence, second: u64) -> Option<Reason> {
        owners.bound(Ns(second * S)).map(|bound| {
            assert_eq!(bound.level, Level::Dormant);
            bound.reason
        })
    }

    #[test]
    fn dormant_while_owned_and_back_after_the_wait() {
        let mut owners = Coexistence::default();
        assert_eq!(reason(&mut owners, 0), None);
        owners.on_owner(Ns(S), Owner::Present);
        assert_eq!(reason(&mut owners, 1), Some(Reason::OtherOwner));
        assert_eq!(reason(&mut owners, 10_000), Some(Reason::OtherOwner));
        owners.on_owner(Ns(10_005 * S), Owner::GoneSince(Ns(10_000 * S)));
        assert_eq!(reason(&mut owners, 10_029), Some(Reason::OwnerJustLeft));
        assert_eq!(reason(&mut owners, 10_030), None);
    }

    #[test]
    fn returns_double_the_wait_up_to_half_an_hour_and_are_forgotten_after_one() {
        let mut owners = Coexistence::default();
        let mut now = 0;
        let mut waits = Vec::new();
        for _ in 0..9 {
            owners.on_owner(Ns(now * S), Owner::Present);
            owners.on_owner(Ns(now * S), Owner::GoneSince(Ns(now * S)));
            let left = now;
            while reason(&mut owners, now).is_some() {
                now += 1;
            }
            waits.push(now - left);
        }
        assert_eq!(waits, [30, 60, 120, 240, 480, 960, 1920, 1920, 1920]);
        now += 3600;
        owners.on_owner(Ns(now * S), Owner::Present);
        owners.on_owner(Ns(now * S), Owner::GoneSince(Ns(now * S)));
        assert_eq!(reason(&mut owners, now + 30), None);
    }

    #[test]
    fn a_leave_told_again_does_not_prolong_the_wait() {
        let mut owners = Coexistence::default();
        owners.on_owner(Ns(0), Owner::Present);
        for second in 0..30 {
            owners.on_owner(Ns(second * S), Owner::GoneSince(Ns(0)));
            assert_eq!(reason(&mut owners, second), Some(Reason::OwnerJustLeft));
        }
        assert_eq!(reason(&mut owners, 30), None);
    }

    proptest! {
        /// Whatever is told, with whatever times: bound while present, and free at last.
        #[test]
        fn bound_while_present_and_free_at_last(
            told in prop::collection::vec((0..4000u64, prop::option::of(0..u64::MAX)), 0..60),
        ) {
            let mut owners = Coexistence::default();
            let mut now = 0;
            for (wait, gone) in told {
                now += wait * S;
                owners.on_owner(Ns(now), gone.map_or(Owner::Present, |at| Owner::GoneSince(Ns(at))));
                if gone.is_none() {
                    prop_assert!(owners.bound(Ns(now)).is_some());
                }
            }
            owners.on_owner(Ns(now), Owner::GoneSince(Ns(now)));
            let longest = SETTLE_NS << DOUBLINGS;
            prop_assert!(owners.bound(Ns(now + longest)).is_none());
        }
    }
}
