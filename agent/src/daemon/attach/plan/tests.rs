use super::*;

const S: u64 = 1_000_000_000;

fn config() -> AttachConfig {
    AttachConfig {
        enabled: true,
        min_age_seconds: 60,
        rest_seconds: 10,
        canary_seconds: 100,
        ..AttachConfig::default()
    }
}

fn process(pid: u32) -> Process {
    Process { pid, start: u64::from(pid) }
}

fn candidate(pid: u32, server: &str) -> Candidate {
    Candidate {
        process: process(pid),
        server: server.to_owned(),
        draw: Identity::of(server),
        age: Duration::from_secs(1000),
    }
}

/// Two servers of two workers each, the one that goes first in front.
fn node() -> Vec<Candidate> {
    let mut names = ["a", "b"];
    names.sort_by_key(|name| Identity::of(name));
    let [first, second] = names;
    vec![candidate(1, first), candidate(2, first), candidate(3, second), candidate(4, second)]
}

fn next(plan: &mut Plan, at: u64, candidates: &[Candidate]) -> Option<u32> {
    plan.next(Ns(at * S), Gate::Open, candidates, |_| true).map(|process| process.pid)
}

#[test]
fn one_at_a_time_with_a_rest_and_the_first_server_before_the_others() {
    let mut plan = Plan::new(config());
    let mut node = node();
    assert_eq!(next(&mut plan, 0, &node), Some(1));
    assert_eq!(next(&mut plan, 50, &node), None, "one is under way");
    assert!(plan.on_outcome(Ns(50 * S), process(1), Outcome::Attached));
    node.remove(0);
    assert_eq!(next(&mut plan, 51, &node), Some(2), "the other rank follows at once");
    plan.on_outcome(Ns(52 * S), process(2), Outcome::Attached);
    node.remove(0);
    assert_eq!(next(&mut plan, 149, &node), None, "the first server has not stood it yet");
    assert_eq!(next(&mut plan, 150, &node), Some(3));
    plan.on_outcome(Ns(151 * S), process(3), Outcome::NoSafeThread);
    assert_eq!(next(&mut plan, 160, &node), None, "a rest after a failure");
    assert_eq!(next(&mut plan, 161, &node), Some(3));
    plan.on_outcome(Ns(162 * S), process(3), Outcome::Attached);
    assert_eq!(plan.counts()[&Outcome::Attached], 3);
    let other = [candidate(9, "another server")];
    assert_eq!(next(&mut plan, 171, &other), None, "a rest between servers");
    assert_eq!(next(&mut plan, 172, &other), Some(9));
    assert!(!plan.counts().contains_key(&Outcome::Rehearsed));
}

#[test]
fn another_goes_first_where_the_first_ended_or_could_not_be_entered() {
    let mut plan = Plan::new(config());
    let mut node = node();
    assert_eq!(next(&mut plan, 0, &node), Some(1));
    plan.on_outcome(Ns(0), process(1), Outcome::Attached);
    let gone = |process: Process| process.pid > 2;
    let two = node.split_off(2);
    let second = plan.next(Ns(20 * S), Gate::Open, &two, gone).map(|process| process.pid);
    assert_eq!(second, Some(3), "the first server is gone");
    // Its shim counts from its own attachment on.
    plan.on_outcome(Ns(120 * S), process(3), Outcome::Attached);
    assert_eq!(next(&mut plan, 140, &[candidate(9, "c")]), None);

    let mut plan = Plan::new(config());
    let node = self::node();
    for pid in [1, 2] {
        let at = u64::from(pid) * 20;
        assert_eq!(next(&mut plan, at, &node), Some(pid));
        assert!(plan.on_outcome(Ns(at * S), process(pid), Outcome::Unsupported));
    }
    assert_eq!(next(&mut plan, 60, &node), Some(3), "no process of the first can be entered");
}

#[test]
fn tries_are_few_and_refusals_for_good() {
    let mut plan = Plan::new(config());
    let node = [candidate(1, "a")];
    for (at, last) in [(0, false), (10, false), (20, true)] {
        assert_eq!(next(&mut plan, at, &node), Some(1));
        assert_eq!(plan.on_outcome(Ns(at * S), process(1), Outcome::NoSafeThread), last);
    }
    assert_eq!(next(&mut plan, 1000, &node), None);
    // Another process of the same number is another.
    let mut other = node[0].clone();
    other.process.start += 1;
    let found = plan.next(Ns(1010 * S), Gate::Open, &[other], |process| process.start == 2);
    assert_eq!(found.map(|process| process.start), Some(2));
    assert_eq!(plan.known.len(), 1, "who is gone is forgotten");
    for outcome in Outcome::ALL {
        let mut plan = Plan::new(config());
        next(&mut plan, 0, &node);
        assert_eq!(plan.on_outcome(Ns(0), process(1), outcome), outcome.is_final());
        let again = !outcome.is_final();
        assert_eq!(next(&mut plan, 100, &node).is_some(), again, "{outcome:?}");
    }
}

#[test]
fn a_shut_gate_a_young_process_and_one_that_died_of_it() {
    let mut plan = Plan::new(config());
    let node = node();
    let shut = plan.next(Ns(0), Gate::Shut, &node, |_| true);
    assert_eq!(shut, None);
    let young = Candidate { age: Duration::from_secs(59), ..node[0].clone() };
    assert_eq!(next(&mut plan, 0, &[young]), None);
    assert_eq!(next(&mut plan, 0, &node), Some(1));
    plan.on_outcome(Ns(0), process(1), Outcome::Ended);
    assert!(plan.is_halted());
    assert_eq!(next(&mut plan, 5000, &node), None);
}

#[test]
fn as_many_at_once_as_asked_for() {
    let mut plan = Plan::new(AttachConfig { at_once: 2, rest_seconds: 0, ..config() });
    let node = node();
    assert_eq!(next(&mut plan, 0, &node), Some(1));
    assert_eq!(next(&mut plan, 0, &node), Some(2));
    assert_eq!(next(&mut plan, 0, &node), None);
}
