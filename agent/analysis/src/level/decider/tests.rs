use proptest::prelude::*;

use super::*;
use crate::level::breaker::Cause;
use crate::level::budget::Resource;
use crate::level::operator::{KillSwitch, Percent};
use Level::{Counting, Dormant, Stacks, Watching};

const S: u64 = 1_000_000_000;

/// A node whose shims do at the next second what they are asked for.
struct Node {
    decider: Decider,
    now: u64,
    last: Decisions,
    /// Second, worker, levels, and why.
    changes: Vec<(u64, u32, Level, Level, Reason)>,
    /// Shims that do nothing.
    stuck: Vec<u32>,
}

impl Node {
    /// Workers of these groups.
    fn new(groups: &[u32]) -> Self {
        let settings = Settings { stack_rate: 100, ..Settings::careful(Identity::of("node")) };
        let policy = Policy::up_to(Stacks);
        let mut node = Self {
            decider: Decider::new(settings, policy, Breaker::default()),
            now: 0,
            last: Decisions::default(),
            changes: Vec::new(),
            stuck: Vec::new(),
        };
        for (worker, &group) in (0..).zip(groups) {
            assert!(node.add(worker, group));
        }
        node
    }

    fn add(&mut self, worker: u32, group: u32) -> bool {
        let facts = Facts {
            group: GroupKey(group),
            identity: Identity::of(&format!("pod-{group}")),
            traits: Traits::default(),
            machine: Machine::default(),
        };
        self.decider.on_worker(ProcessKey(worker), facts)
    }

    fn run(&mut self, seconds: u64, cost: impl Fn(&Decision) -> Cost) {
        for _ in 0..seconds {
            self.now += 1;
            let now = Ns(self.now * S);
            for decision in self.last.decisions.clone() {
                if !self.stuck.contains(&decision.worker.0) {
                    self.decider.on_level(now, decision.worker, decision.ask);
                }
                self.decider.on_cost(now, decision.worker, cost(&decision));
            }
            self.look();
        }
    }

    fn quietly(&mut self, seconds: u64) {
        self.run(seconds, |_| Cost::default());
    }

    fn look(&mut self) {
        self.last = self.decider.decide(Ns(self.now * S));
        for change in &self.last.changes {
            self.changes.push((
                self.now,
                change.worker.0,
                change.from.level,
                change.to.level,
                change.reason,
            ));
        }
    }

    fn of(&self, worker: u32) -> Decision {
        *self.last.decisions.iter().find(|said| said.worker.0 == worker).unwrap()
    }

    fn levels(&self) -> Vec<Level> {
        self.last.decisions.iter().map(|decision| decision.level).collect()
    }
}

#[test]
fn one_server_rises_step_by_step_as_its_own_canary() {
    let mut node = Node::new(&[0]);
    node.quietly(3000);
    let expected = [
        (1, 0, Dormant, Watching, Reason::Dwell),
        // Confirmed at 2, stood for a minute.
        (62, 0, Watching, Counting, Reason::Dwell),
        // Confirmed at 63, stood for ten.
        (663, 0, Counting, Stacks, Reason::Maximum),
    ];
    assert_eq!(node.changes, expected);
    let expected = Decision {
        worker: ProcessKey(0),
        level: Stacks,
        ask: Stacks,
        stack_rate: 100,
        duty: None,
        turn: None,
        reason: Reason::Maximum,
        since: Ns(663 * S),
    };
    assert_eq!(node.of(0), expected);
}

#[test]
fn the_others_follow_the_canary_and_its_ranks_rise_together() {
    let mut node = Node::new(&[0, 0, 1, 1]);
    node.quietly(200);
    let counting: Vec<u32> = node
        .last
        .decisions
        .iter()
        .filter(|said| said.level == Counting)
        .map(|said| said.worker.0)
        .collect();
    assert!(counting == [0, 1] || counting == [2, 3], "{counting:?}");
    let other = if counting == [0, 1] { 2 } else { 0 };
    assert_eq!(node.of(other).reason, Reason::Canary);
    node.quietly(460);
    assert_eq!(node.of(other).level, Watching);
    node.quietly(10);
    assert_eq!(node.of(other).level, Counting);
    node.quietly(2000);
    assert_eq!(node.levels(), [Stacks; 4]);
}

#[test]
fn a_canary_whose_shim_does_nothing_is_replaced() {
    for stuck in [0, 1] {
        let mut node = Node::new(&[0, 1]);
        node.stuck.push(stuck);
        node.quietly(3000);
        assert_eq!(node.of(1 - stuck).level, Stacks);
        assert_eq!(node.of(stuck).level, Watching);
        assert_eq!(node.of(stuck).reason, Reason::Dwell);
    }
}

#[test]
fn the_kill_switch_is_immediate_and_the_way_back_is_slow() {
    let mut node = Node::new(&[0]);
    node.quietly(1000);
    let pulled = Policy { switch: KillSwitch::Pulled, ..Policy::up_to(Stacks) };
    node.decider.on_policy(pulled);
    node.look();
    assert_eq!((node.of(0).ask, node.of(0).reason), (Dormant, Reason::KillSwitch));
    node.decider.on_policy(Policy::up_to(Stacks));
    node.quietly(59);
    assert_eq!((node.of(0).level, node.of(0).reason), (Dormant, Reason::Dwell));
    node.quietly(1);
    assert_eq!(node.of(0).level, Watching);
    // Cleared before, so nobody has to stand anything but the minute.
    node.quietly(130);
    assert_eq!(node.of(0).level, Stacks);
}

#[test]
fn outside_the_fleet_nothing_is_woken() {
    let mut node = Node::new(&[0]);
    node.decider.on_policy(Policy { fleet: Percent::of(0), ..Policy::up_to(Stacks) });
    node.quietly(1000);
    assert_eq!(node.changes, []);
    assert_eq!((node.of(0).level, node.of(0).reason), (Dormant, Reason::OutsideFleet));
}

#[test]
fn another_owner_makes_its_worker_dormant_and_no_other() {
    let mut node = Node::new(&[0, 1]);
    node.quietly(3000);
    node.decider.on_owner(Ns(node.now * S), ProcessKey(0), Owner::Present);
    node.look();
    assert_eq!(node.levels(), [Dormant, Stacks]);
    let now = Ns(node.now * S);
    node.decider.on_owner(now, ProcessKey(0), Owner::GoneSince(now));
    node.quietly(59);
    assert_eq!(node.of(0).level, Dormant);
    node.quietly(200);
    assert_eq!(node.levels(), [Stacks, Stacks]);
}

#[test]
fn a_crash_after_a_rise_holds_the_node_below_and_the_canary_begins_anew() {
    let mut node = Node::new(&[0, 1]);
    node.quietly(100);
    let canary = (0..2).find(|&worker| node.of(worker).level == Counting).unwrap();
    let trip = node.decider.on_end(Ns(node.now * S), ProcessKey(canary), Death::Signal(11));
    assert_eq!(trip.map(|trip| trip.level), Some(Counting));
    node.quietly(2000);
    assert_eq!(node.levels(), [Watching]);
    assert_eq!(node.of(1 - canary).reason, Reason::Tripped(Cause::Signal(11)));
    node.decider.on_reset();
    node.quietly(300);
    assert_eq!(node.levels(), [Counting]);
    node.quietly(400);
    assert_eq!(node.levels(), [Stacks]);
}

#[test]
fn a_quirk_of_its_machine_binds() {
    let mut node = Node::new(&[0]);
    let facts = Facts {
        group: GroupKey(0),
        identity: Identity::of("pod-0"),
        traits: Traits::default(),
        machine: Machine { cupti: Some(130_000), ..Machine::default() },
    };
    assert!(node.decider.on_worker(ProcessKey(0), facts));
    node.quietly(1000);
    assert_eq!(node.levels(), [Watching]);
    assert_eq!(node.of(0).reason, Reason::Quirk("cupti-13.0-disable-deadlock"));
}

#[test]
fn a_group_gives_up_what_its_dearest_rank_has_to() {
    let mut node = Node::new(&[0, 0]);
    // Worker 1 costs 1.5 times its budget while its stacks are whole.
    let cost = |said: &Decision| {
        let dear = said.worker.0 == 1 && said.stack_rate == 100;
        Cost { callback_ns: if dear { 7_500_000 } else { 4_000_000 }, ..Cost::default() }
    };
    node.run(2000, cost);
    for worker in [0, 1] {
        let said = node.of(worker);
        assert_eq!((said.level, said.stack_rate), (Stacks, 50));
        assert_eq!(said.reason, Reason::Budget(Resource::Callbacks));
    }
    // Stacks were whole when it rose, and rarer a window later, for both.
    let fell = node.changes.iter().filter(|change| change.2 == change.3).count();
    assert_eq!(fell, 2);
}

#[test]
fn where_counting_is_too_dear_groups_are_armed_in_turns() {
    let mut node = Node::new(&[0, 0]);
    let cost = |said: &Decision| {
        let armed = said.ask >= Counting;
        Cost { shim_ns: if armed { 45_000_000 } else { 0 }, ..Cost::default() }
    };
    node.run(4000, cost);
    let said = node.of(0);
    assert_eq!((said.level, said.duty), (Counting, Some(Duty::percent(20))));
    assert_eq!(said.reason, Reason::Budget(Resource::ShimTime));
    let changes = node.changes.len();
    let mut armed = 0;
    for _ in 0..6000 {
        node.run(1, cost);
        assert_eq!(node.of(0).ask, node.of(1).ask);
        assert!(node.of(0).ask == Counting || node.of(0).ask == Watching);
        armed += u32::from(node.of(0).ask == Counting);
    }
    assert!((1100..1300).contains(&armed), "{armed} of 6000 s");
    assert_eq!(node.changes.len(), changes);
}

#[test]
fn a_server_that_ends_leaves_nothing() {
    let mut node = Node::new(&[0]);
    let sample = |at| Sample { at: Ns(at), tokens_per_second: 1.0, running: 1 };
    assert_eq!(node.decider.on_sample(GroupKey(0), sample(0)), None);
    assert_eq!(node.decider.on_end(Ns(S), ProcessKey(0), Death::Exit(0)), None);
    assert_eq!(node.decider.on_sample(GroupKey(0), sample(S)), None);
    node.decider.on_cost(Ns(S), ProcessKey(0), Cost::default());
    node.decider.on_level(Ns(S), ProcessKey(0), Stacks);
    node.look();
    assert_eq!(node.last, Decisions::default());
}

#[test]
fn no_more_workers_than_there_is_room_for() {
    let workers = u32::try_from(WORKERS).unwrap();
    let mut node = Node::new(&vec![0; WORKERS]);
    assert!(!node.add(workers, 0));
    assert!(node.add(0, 0));
    assert_eq!(node.decider.refused(), 1);
}

/// Something that happens to a node.
#[derive(Clone, Debug)]
enum Event {
    Wait(u64),
    Owner(u32, bool),
    End(u32, i32),
    Add(u32, u32),
    Maximum(u32),
    Kill,
    Reset,
    Cost(u32, u64),
    Slow(u32, u32),
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (1..700u64).prop_map(Event::Wait),
        1 => (0..6u32, any::<bool>()).prop_map(|(worker, present)| Event::Owner(worker, present)),
        1 => (0..6u32, 0..16i32).prop_map(|(worker, signal)| Event::End(worker, signal)),
        2 => (0..6u32, 0..3u32).prop_map(|(worker, group)| Event::Add(worker, group)),
        1 => (0..4u32).prop_map(Event::Maximum),
        1 => Just(Event::Kill),
        1 => Just(Event::Reset),
        1 => (0..6u32, 0..20_000_000u64).prop_map(|(worker, cost)| Event::Cost(worker, cost)),
        1 => (0..3u32, 0..1000u32).prop_map(|(group, rate)| Event::Slow(group, rate)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever happens: never above a bound, up one level at a time, not twice within a minute, and
    /// every change is told.
    #[test]
    fn rises_are_slow_and_falls_are_whole(
        events in prop::collection::vec(any_event(), 1..60),
    ) {
        let mut node = Node::new(&[0, 0, 1]);
        let mut policy = Policy::up_to(Stacks);
        let mut before: BTreeMap<ProcessKey, (Rung, Option<u64>)> = BTreeMap::new();
        let mut costs: BTreeMap<u32, u64> = BTreeMap::new();
        for event in events {
            let now = Ns(node.now * S);
            let mut wait = 0;
            match event {
                Event::Wait(seconds) => wait = seconds,
                Event::Owner(worker, true) => {
                    node.decider.on_owner(now, ProcessKey(worker), Owner::Present);
                }
                Event::Owner(worker, false) => {
                    node.decider.on_owner(now, ProcessKey(worker), Owner::GoneSince(now));
                }
                Event::End(worker, signal) => {
                    node.decider.on_end(now, ProcessKey(worker), Death::Signal(signal));
                    before.remove(&ProcessKey(worker));
                    node.last.decisions.retain(|said| said.worker.0 != worker);
                }
                Event::Add(worker, group) => {
                    node.add(worker, group);
                }
                Event::Maximum(word) => policy.maximum = Level::from_word(word).unwrap(),
                Event::Kill => {
                    policy.switch = match policy.switch {
                        KillSwitch::Pulled => KillSwitch::Released,
                        KillSwitch::Released => KillSwitch::Pulled,
                    };
                }
                Event::Reset => node.decider.on_reset(),
                Event::Cost(worker, cost) => {
                    costs.insert(worker, cost);
                }
                Event::Slow(group, rate) => {
                    let tokens_per_second = f64::from(rate);
                    let sample = Sample { at: now, tokens_per_second, running: 4 };
                    node.decider.on_sample(GroupKey(group), sample);
                }
            }
            node.decider.on_policy(policy.clone());
            for _ in 0..=wait {
                node.run(1, |said| Cost {
                    callback_ns: costs.get(&said.worker.0).copied().unwrap_or(0),
                    ..Cost::default()
                });
                let mut told: BTreeMap<ProcessKey, Change> = BTreeMap::new();
                for change in &node.last.changes {
                    prop_assert!(told.insert(change.worker, *change).is_none());
                }
                for said in &node.last.decisions {
                    let entry = before.entry(said.worker).or_insert((whole(Dormant), None));
                    let (from, rose) = *entry;
                    let to = told.get(&said.worker).map_or(from, |change| change.to);
                    prop_assert!(told.get(&said.worker).is_none_or(|change| change.from == from));
                    prop_assert_eq!(said.level, to.level);
                    prop_assert!(said.level <= policy.maximum);
                    prop_assert!(policy.switch == KillSwitch::Released || said.level == Dormant);
                    prop_assert!(said.ask <= said.level);
                    prop_assert!((said.level == Stacks) == (said.stack_rate > 0));
                    if to.level > from.level {
                        prop_assert_eq!(to.level, above(from.level));
                        prop_assert!(rose.is_none_or(|rose| node.now - rose >= 60));
                        *entry = (to, Some(node.now));
                    } else {
                        *entry = (to, rose);
                    }
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Costs that depend on what is asked of the shim alone, the whole way through: canary, dwell,
    /// turns at random phases. Changes come to an end.
    #[test]
    fn a_node_under_constant_load_comes_to_rest(
        stacks in 0..4000u64, counting in 0..8000u64, watching in 0..900u64,
    ) {
        let mut node = Node::new(&[0, 0, 1]);
        let cost = |said: &Decision| {
            let permille = match said.ask {
                Stacks => counting + stacks * u64::from(said.stack_rate) / 100 + watching,
                Counting => counting + watching,
                Watching => watching,
                Dormant => 0,
            };
            Cost { callback_ns: permille * 5_000, ..Cost::default() }
        };
        // Most of a day: after one, rungs are tried again.
        node.run(60_000, cost);
        for worker in 0..3 {
            let changes = node.changes.iter().filter(|change| change.1 == worker);
            prop_assert!(changes.count() <= 3 * LADDER.len(), "{:?}", node.changes);
        }
    }
}
