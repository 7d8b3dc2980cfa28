use proptest::prelude::*;

use super::*;

const S: u64 = 1_000_000_000;

/// Callback time that is this many per mille of the default budget.
fn callbacks(permille: u64) -> Cost {
    Cost { callback_ns: permille * 5_000, ..Cost::default() }
}

/// A worker whose costs depend on its rung; looked at once a second.
struct Worker {
    keeper: Keeper,
    now: u64,
    /// Second and rung of every change.
    changes: Vec<(u64, usize)>,
}

impl Worker {
    fn new() -> Self {
        Self { keeper: Keeper::new(Budget::default()), now: 0, changes: Vec::new() }
    }

    fn run(&mut self, seconds: u64, cost: impl Fn(usize) -> Cost) {
        for _ in 0..seconds {
            self.now += 1;
            let rung = self.keeper.rung();
            if self.keeper.on_cost(Ns(self.now * S), rung, self.now / 60, cost(rung)) {
                self.changes.push((self.now, self.keeper.rung()));
            }
        }
    }

    fn level(&self) -> Option<(Level, Reason)> {
        self.keeper.bound().map(|bound| (bound.level, bound.reason))
    }
}

#[test]
fn within_the_budget_nothing_is_given_up() {
    let mut worker = Worker::new();
    worker.run(10_000, |_| callbacks(1000));
    assert_eq!((worker.changes, worker.keeper.bound()), (vec![], None));
}

#[test]
fn stacks_become_rarer_before_the_level_falls() {
    let mut worker = Worker::new();
    // 900 for counting, and 800 for all stacks.
    let cost = |rung: usize| callbacks(900 + 8 * u64::from(LADDER[rung].stacks_percent));
    worker.run(600, cost);
    assert_eq!(worker.changes, [(11, 1), (22, 2), (33, 3)]);
    assert_eq!(worker.level(), Some((Level::Stacks, Reason::Budget(Resource::Callbacks))));
    // A load of a quarter for a while: the cheapest stacks would do, and then all of them.
    worker.run(1600, |rung| Cost { callback_ns: cost(rung).callback_ns / 4, ..Cost::default() });
    assert_eq!(worker.keeper.rung(), 0, "{:?}", worker.changes);
}

#[test]
fn turns_come_before_watching() {
    let mut worker = Worker::new();
    let cost = |rung: usize| match LADDER[rung] {
        Rung { level: Level::Counting | Level::Stacks, duty, .. } => {
            callbacks(duty.map_or(3000, |duty| 3000 * duty.on_ns / duty.period_ns))
        }
        Rung { level: Level::Dormant | Level::Watching, .. } => callbacks(0),
    };
    worker.run(4000, cost);
    assert_eq!(LADDER[worker.keeper.rung()].duty, Some(Duty::percent(20)));
    let seen = worker.changes.len();
    // Less than the day after which a rung is tried again.
    worker.run(80_000, cost);
    assert_eq!(worker.changes.len(), seen, "{:?}", worker.changes);
}

#[test]
fn far_above_the_budget_it_is_watched_at_once() {
    let mut worker = Worker::new();
    worker.run(20, |_| callbacks(5000));
    assert_eq!(worker.changes[0], (11, first_of(Level::Watching)));
    assert_eq!(worker.level().map(|(level, _)| level), Some(Level::Watching));
}

#[test]
fn a_rung_that_is_always_too_dear_is_tried_seven_times_in_all() {
    let mut keeper = Keeper::new(Budget::default());
    let mut changes = 0;
    // A year, looked at each minute.
    for minute in 0..525_600 {
        let rung = keeper.rung();
        let cost = callbacks(if rung == 0 { 1200 } else { 300 });
        changes += u32::from(keeper.on_cost(Ns(minute * 60 * S), rung, minute, cost));
    }
    assert_eq!((changes, keeper.rung()), (13, 1));
}

#[test]
fn one_dear_second_is_no_window() {
    let mut worker = Worker::new();
    worker.run(5, |_| callbacks(100));
    worker.run(1, |_| callbacks(8000));
    worker.run(100, |_| callbacks(100));
    assert_eq!(worker.changes, []);
}

#[test]
fn every_resource_is_kept() {
    let cheap = Cost::default();
    for (cost, resource) in [
        (Cost { callback_ns: 5_100_000, ..cheap }, Resource::Callbacks),
        (Cost { shim_ns: 20_100_000, ..cheap }, Resource::ShimTime),
        (Cost { agent_ns: 10_100_000, ..cheap }, Resource::AgentTime),
        (Cost { memory_bytes: (128 << 20) + (1 << 20), ..cheap }, Resource::Memory),
        (Cost { bus_bytes: (64 << 20) + (1 << 20), ..cheap }, Resource::Bus),
    ] {
        let mut worker = Worker::new();
        worker.run(11, |_| cost);
        assert_eq!(worker.level(), Some((Level::Stacks, Reason::Budget(resource))), "{cost:?}");
    }
}

#[test]
fn what_it_costs_on_a_rung_below_its_own_is_no_reason_to_rise() {
    let mut keeper = Keeper::new(Budget::default());
    for second in 0..30 {
        keeper.on_cost(Ns(second * S), keeper.rung(), 0, callbacks(1100));
    }
    let rung = keeper.rung();
    assert!(rung > 0);
    for second in 30..5000 {
        assert!(!keeper.on_cost(Ns(second * S), first_of(Level::Watching), 0, callbacks(0)));
    }
    assert_eq!(keeper.rung(), rung);
    // But being too dear there is a reason to go below.
    for second in 5000..5030 {
        keeper.on_cost(Ns(second * S), first_of(Level::Watching), 0, callbacks(1100));
    }
    assert_eq!(LADDER[keeper.rung()].level, Level::Dormant);
}

#[test]
fn a_worker_held_below_its_rung_by_others_does_not_climb_unseen() {
    let mut keeper = Keeper::new(Budget::default());
    for second in 0..12 {
        keeper.on_cost(Ns(second * S), keeper.rung(), 0, callbacks(5000));
    }
    // Nothing is known of the price of the rungs in between.
    assert_eq!(keeper.rung(), first_of(Level::Watching));
    for second in 12..5000 {
        assert!(!keeper.on_cost(Ns(second * S), first_of(Level::Dormant), 0, callbacks(0)));
    }
    for second in 5000..5400 {
        keeper.on_cost(Ns(second * S), keeper.rung(), 0, callbacks(0));
    }
    assert_eq!(keeper.rung(), first_of(Level::Watching) - 1);
}

#[test]
fn a_budget_of_nothing_is_kept_by_nothing_only() {
    assert_eq!((share(0, 0), share(1, 0), share(u64::MAX, 1)), (0, 1_000_000, 1_000_000));
}

#[test]
fn the_ladder_goes_down() {
    for pair in LADDER.windows(2) {
        assert!(pair[0].level >= pair[1].level, "{pair:?}");
    }
    assert_eq!(first_of(Level::Stacks), 0);
    assert_eq!(LADDER[first_of(Level::Counting)], rung(Level::Counting, 0, None));
    assert_eq!(first_of(Level::Dormant), LADDER.len() - 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever each rung costs, as long as it costs that: few changes, and then none.
    #[test]
    fn constant_load_never_swings(
        costs in prop::collection::vec((0..3000u64, 0..3000u64, 0..6000u64), LADDER.len()),
    ) {
        let cost = |rung: usize| {
            let (callbacks, shim, memory) = costs[rung];
            Cost {
                callback_ns: callbacks * 5_000,
                shim_ns: shim * 20_000,
                memory_bytes: (memory << 20) / 16,
                ..Cost::default()
            }
        };
        let mut worker = Worker::new();
        // Every rung may be left downwards and be taken upwards once, minutes each.
        worker.run(30_000, cost);
        let seen = worker.changes.len();
        prop_assert!(seen <= 3 * LADDER.len(), "{:?}", worker.changes);
        worker.run(30_000, cost);
        prop_assert_eq!(worker.changes.len(), seen, "{:?}", worker.changes);
        // Not above the budget at the end, if any rung at all is within it, in whole thousandths.
        let dear = |rung: usize| {
            let (callbacks, shim, memory) = costs[rung];
            callbacks > 1000 || shim > 1000 || memory * 1000 / 2048 > 1000
        };
        let rung = worker.keeper.rung();
        prop_assert!(!dear(rung) || rung + 1 == LADDER.len());
    }

    #[test]
    fn nothing_panics(
        told in prop::collection::vec((any::<u64>(), 0..20usize, any::<[u64; 5]>()), 0..200),
    ) {
        let mut keeper = Keeper::new(Budget::default());
        for (now, in_force, [callback_ns, shim_ns, agent_ns, memory_bytes, bus_bytes]) in told {
            let cost = Cost { callback_ns, shim_ns, agent_ns, memory_bytes, bus_bytes };
            keeper.on_cost(Ns(now), in_force, now % 7, cost);
            prop_assert!(keeper.rung() < LADDER.len());
        }
    }
}
