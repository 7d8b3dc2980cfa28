//! Notices when a worker's records rot, and decides what to do before more of them do.
//!
//! CUPTI keeps the timestamps of running kernels in buffers on the device. Some versions do not get
//! them back from graph nodes: when they run out, every further node comes without timestamps, or
//! not at all, until the kinds are switched off and on again, if that helps. Nothing tells it but
//! the records. So they are counted:
//! - share = (invalid + dropped) / (records + dropped), over a window;
//! - a window with a bad share: the worker is re-armed, at once the first time, then after 2 s and
//!   4 s;
//! - bad again after that: the worker is left at `watching` for ten minutes, then tried again.
//!
//! ```text
//! Judging ── bad ──> Waiting ── due ──> Lowering ── lowered ──> Raising ── raised ──> Settling
//!    ^                  └─ tries used up ─> Resting ── ten minutes ──────> Raising        │
//!    └────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//! Pure: time and levels come in as arguments. Until it acts, and while it does, the time is
//! `unobserved` by the rules for invalid records and for what is not armed; never idle.

use analysis::ids::Ns;
use wire::shim::Level;

/// Share of records without timestamps from which on a window is bad, percent. A flush that comes
/// too early or a reset clock costs single records, per mille at most; when buffers are exhausted
/// all graph nodes fail, which are most of the kernels of a decoding worker and still a third of
/// one that captures its graphs piecewise.
const BAD_PERCENT: u64 = 10;

/// Records a window needs to be judged: at the 10 % above, 20 bad ones are no accident.
const ENOUGH: u64 = 200;

/// Shortest window. A shim marks ten times a second, so it holds ten flushes.
const WINDOW_NS: u64 = 1_000_000_000;

/// After re-arming, records of the time before are still on their way: two flushes and a turn.
const SETTLE_NS: u64 = 500_000_000;

/// Re-armings that may follow each other without a healthy minute between them.
const TRIES: u32 = 3;

/// Before the second re-arming; doubled for each further one. An agent that re-arms all the time
/// sees as little as one that does nothing.
const BACK_OFF_NS: u64 = 2_000_000_000;

/// Health for this long makes the next exhaustion a first one: more than three re-armings a minute
/// are no way to observe.
const HEALTHY_NS: u64 = 60_000_000_000;

/// How long a worker is left alone when re-arming does not help. Arbitrary: long enough to cost
/// nothing, short enough that a restarted or relieved worker is seen again.
const REST_NS: u64 = 600_000_000_000;

/// Records of a worker by what became of them; disjoint.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// That came, the invalid ones included.
    pub records: u64,
    /// Of these: without usable timestamps.
    pub invalid: u64,
    /// That CUPTI says it dropped.
    pub dropped: u64,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        self.records = self.records.saturating_add(other.records);
        self.invalid = self.invalid.saturating_add(other.invalid);
        self.dropped = self.dropped.saturating_add(other.dropped);
    }

    fn all(self) -> u64 {
        self.records.saturating_add(self.dropped)
    }

    /// Share of what is of no use, percent, rounded down.
    pub fn bad_percent(self) -> u64 {
        let bad = self.invalid.saturating_add(self.dropped);
        bad.saturating_mul(100).checked_div(self.all()).unwrap_or(0)
    }

    fn enough(self) -> bool {
        self.all() >= ENOUGH
    }

    fn bad(self) -> bool {
        self.enough() && self.bad_percent() >= BAD_PERCENT
    }
}

/// What to ask of the shim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Down, to be raised again: the first half of a re-arming.
    Lower(Tally),
    /// Down for ten minutes: re-arming did not help.
    FallBack(Tally),
    /// Back to the level that was asked for.
    Raise,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Since then.
    Judging(Ns),
    /// Records rot; re-armed at this time.
    Waiting(Ns),
    Lowering,
    Raising,
    /// Armed; judged from this time on.
    Settling(Ns),
    /// Left alone until then.
    Resting(Ns),
}

/// The guard of one worker.
#[derive(Clone, Copy, Debug)]
pub struct Guard {
    /// Level asked for.
    wanted: Level,
    state: State,
    window: Tally,
    tries: u32,
    /// When it was re-armed last.
    rearmed: Ns,
}

impl Guard {
    /// Below `counting` there are no records, and the guard never acts.
    pub fn new(wanted: Level) -> Self {
        Self { wanted, state: State::Raising, window: Tally::default(), tries: 0, rearmed: Ns(0) }
    }

    /// The worker is left alone.
    pub fn rests(&self) -> bool {
        matches!(self.state, State::Resting(_))
    }

    /// The worker is held below `counting`, for a moment or for minutes.
    pub fn holds(&self) -> bool {
        matches!(self.state, State::Resting(_) | State::Lowering)
    }

    /// Re-armings of this exhaustion so far.
    pub fn tries(&self) -> u32 {
        self.tries
    }

    /// Takes in what came since the last turn and the shim's level; what to ask of the shim, if
    /// anything.
    pub fn turn(&mut self, now: Ns, level: Level, came: Tally) -> Option<Step> {
        if self.wanted < Level::Counting {
            return None;
        }
        self.window.add(came);
        match self.state {
            State::Judging(since) => self.judge(now, since),
            State::Waiting(until) if now >= until => {
                // It may have come right by itself; with too few records nothing shows that.
                if self.window.enough() && !self.window.bad() {
                    self.begin(now);
                    return None;
                }
                Some(self.lower(now))
            }
            State::Lowering if level < Level::Counting => {
                self.state = State::Raising;
                Some(Step::Raise)
            }
            State::Raising if level >= self.wanted => {
                self.state = State::Settling(after(now, SETTLE_NS));
                None
            }
            State::Settling(until) if now >= until => {
                self.begin(now);
                None
            }
            State::Resting(until) if now >= until => {
                self.tries = 0;
                self.state = State::Raising;
                Some(Step::Raise)
            }
            State::Waiting(_)
            | State::Lowering
            | State::Raising
            | State::Settling(_)
            | State::Resting(_) => None,
        }
    }

    fn judge(&mut self, now: Ns, since: Ns) -> Option<Step> {
        if now < after(since, WINDOW_NS) || !self.window.enough() {
            return None;
        }
        let window = self.window;
        self.begin(now);
        if !window.bad() {
            if now >= after(self.rearmed, HEALTHY_NS) {
                self.tries = 0;
            }
            return None;
        }
        self.window = window;
        match self.tries {
            0 => Some(self.lower(now)),
            TRIES.. => {
                self.state = State::Resting(after(now, REST_NS));
                Some(Step::FallBack(window))
            }
            tries => {
                self.window = Tally::default();
                self.state = State::Waiting(after(now, BACK_OFF_NS << (tries - 1)));
                None
            }
        }
    }

    fn lower(&mut self, now: Ns) -> Step {
        self.tries += 1;
        self.rearmed = now;
        self.state = State::Lowering;
        Step::Lower(self.window)
    }

    /// A new window begins.
    fn begin(&mut self, now: Ns) {
        self.window = Tally::default();
        self.state = State::Judging(now);
    }
}

fn after(time: Ns, ns: u64) -> Ns {
    Ns(time.0.saturating_add(ns))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A worker at 2 000 records/s whose shim answers at the next turn.
    struct Worker {
        guard: Guard,
        level: Level,
        now: u64,
        /// Turn of 100 ms and what was asked.
        asked: Vec<(u64, &'static str)>,
    }

    impl Worker {
        fn new() -> Self {
            let guard = Guard::new(Level::Stacks);
            Self { guard, level: Level::Stacks, now: 0, asked: Vec::new() }
        }

        /// So many turns in each of which `invalid` percent of the records are of no use.
        fn run(&mut self, turns: u64, invalid: impl Fn(&Self) -> u64) {
            for _ in 0..turns {
                self.now += 1;
                let came = if self.level >= Level::Counting {
                    let bad = 2 * invalid(self);
                    Tally { records: 200, invalid: bad, dropped: 0 }
                } else {
                    Tally::default()
                };
                match self.guard.turn(Ns(self.now * 100_000_000), self.level, came) {
                    Some(Step::Lower(_)) => {
                        self.level = Level::Watching;
                        self.asked.push((self.now, "lower"));
                    }
                    Some(Step::Raise) => {
                        self.level = Level::Stacks;
                        self.asked.push((self.now, "raise"));
                    }
                    Some(Step::FallBack(_)) => {
                        self.level = Level::Watching;
                        self.asked.push((self.now, "fall back"));
                    }
                    None => {}
                }
            }
        }
    }

    #[test]
    fn single_invalid_records_are_left_alone() {
        let mut worker = Worker::new();
        worker.run(1000, |_| 9);
        assert_eq!(worker.asked, []);
    }

    #[test]
    fn a_worker_that_recovers_is_armed_again_after_a_second() {
        let mut worker = Worker::new();
        worker.run(20, |_| 0);
        // Judged from turn 6 on, so the window that sees the change ends at 26 or 36.
        worker.run(30, |worker| if worker.asked.is_empty() { 60 } else { 0 });
        assert_eq!(worker.asked, [(26, "lower"), (27, "raise")]);
        assert_eq!(worker.guard.tries(), 1);
        worker.run(700, |_| 0);
        assert_eq!((worker.asked.len(), worker.guard.tries()), (2, 0));
        // Exhausted again much later: a first time again.
        worker.run(30, |worker| if worker.asked.len() == 2 { 60 } else { 0 });
        assert_eq!(worker.asked.len(), 4);
    }

    #[test]
    fn a_worker_that_does_not_recover_is_left_alone_and_tried_again_later() {
        let mut worker = Worker::new();
        worker.run(400, |_| 50);
        let expected = [
            (16, "lower"),
            (17, "raise"),
            // Seen raised, settled and judged, then 2 s and 4 s.
            (53, "lower"),
            (54, "raise"),
            (110, "lower"),
            (111, "raise"),
            (127, "fall back"),
        ];
        assert_eq!(worker.asked, expected);
        assert!(worker.guard.rests());
        worker.run(6000, |_| 0);
        assert_eq!(worker.asked[expected.len()..], [(6127, "raise")]);
        assert!(!worker.guard.rests());
    }

    #[test]
    fn a_worker_that_recovers_by_itself_while_it_waits_is_not_disturbed() {
        let mut worker = Worker::new();
        worker.run(34, |_| 50);
        assert_eq!(worker.asked, [(16, "lower"), (17, "raise")]);
        worker.run(300, |_| 0);
        assert_eq!(worker.asked.len(), 2);
    }

    #[test]
    fn few_records_are_not_judged() {
        let mut guard = Guard::new(Level::Counting);
        let mut asked = 0;
        for turn in 0..100 {
            let came = Tally { records: 1, invalid: 1, dropped: 0 };
            asked += u32::from(guard.turn(Ns(turn * 100_000_000), Level::Counting, came).is_some());
        }
        assert_eq!(asked, 0);
    }

    #[test]
    fn dropped_records_count_as_bad_ones() {
        let tally = |records, invalid, dropped| Tally { records, invalid, dropped };
        assert!(tally(180, 0, 20).bad());
        assert!(!tally(182, 0, 18).bad());
        assert!(tally(0, 0, 200).bad());
        assert_eq!(Tally::default().bad_percent(), 0);
        assert_eq!(tally(u64::MAX, u64::MAX, u64::MAX).bad_percent(), 1);
    }

    #[test]
    fn below_counting_it_never_acts() {
        let mut guard = Guard::new(Level::Dormant);
        let came = Tally { records: 1000, invalid: 1000, dropped: 0 };
        for turn in 0..100 {
            assert_eq!(guard.turn(Ns(turn * 1_000_000_000), Level::Counting, came), None);
        }
    }
}
