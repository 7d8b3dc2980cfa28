//! Sleeps and samples in, rows out.

use proptest::prelude::*;

use super::*;

const PROCESS: ProcessKey = ProcessKey(1);
const THREAD: Thread = Thread(70);
const WHO: (ProcessKey, Thread) = (PROCESS, THREAD);

fn blocked(tid: Thread, from: u64, to: u64, signature: u64) -> Blocked {
    Blocked { process: PROCESS, tid, from: Ns(from), to: Ns(to), signature }
}

fn taken(signature: u64, stack: u32, reason: WaitReason) -> Taken {
    Taken { signature, stack: StackId(stack), reason, holds_gil: false }
}

/// `(stack, reason, ns)` of the thread.
fn rows(host: &Host) -> Vec<(Option<u32>, WaitReason, u64)> {
    let waits = host.waits(|_, reason| reason);
    waits.iter().map(|wait| (wait.stack.map(|id| id.0), wait.reason, wait.ns)).collect()
}

fn check(sleeps: &[(u64, u64, u64)], expected: &[(Option<u32>, WaitReason, u64)]) {
    let mut host = Host::default();
    host.taken(WHO, Ns(1), taken(7, 0, WaitReason::Lock));
    host.taken(WHO, Ns(1), taken(8, 1, WaitReason::Gil));
    for &(from, to, signature) in sleeps {
        host.waited(&blocked(THREAD, from, to, signature));
    }
    assert_eq!(rows(&host), expected, "{sleeps:?}");
}

#[test]
fn pieces_of_a_sleep_are_one_sleep() {
    const LOCK: (Option<u32>, WaitReason) = (Some(0), WaitReason::Lock);
    const GIL: (Option<u32>, WaitReason) = (Some(1), WaitReason::Gil);
    let lock = |ns| (LOCK.0, LOCK.1, ns);
    let gil = |ns| (GIL.0, GIL.1, ns);
    check(&[(10, 20, 7), (30, 35, 7)], &[lock(15)]);
    check(&[(10, 20, 7), (30, 35, 8)], &[lock(10), gil(5)]);
    // Looked at twice, then over; and a look that is told after the end.
    check(&[(10, 20, 7), (10, 25, 7), (10, 40, 7), (10, 30, 7)], &[lock(30)]);
    // A look that is told after the next sleep.
    check(&[(10, 40, 7), (50, 60, 8), (10, 30, 7)], &[lock(30), gil(10)]);
    // What the look did not know of the place.
    check(&[(10, 20, 0), (10, 40, 7)], &[lock(30)]);
    check(&[(10, 20, 7), (10, 40, 0)], &[lock(30)]);
    // Only the last told place counts.
    check(&[(10, 20, 7), (10, 40, 8)], &[gil(30)]);
    // No thread sleeps twice at once.
    check(&[(10, 40, 7), (20, 60, 8)], &[lock(30), gil(20)]);
    check(&[(10, 40, 7), (20, 30, 8), (20, 70, 8)], &[lock(30), gil(30)]);
    // Backwards.
    check(&[(40, 10, 7)], &[]);
    check(&[(u64::MAX, 0, 7), (0, u64::MAX, 7)], &[]);
    check(&[(0, u64::MAX, 7)], &[lock(u64::MAX)]);
}

#[test]
fn time_without_a_stack_says_so() {
    check(&[(10, 20, 9), (30, 35, 0)], &[(None, WaitReason::Unknown, 15)]);
}

#[test]
fn stacks_of_a_place_share_its_time_and_no_other() {
    let mut host = Host::default();
    for (stack, hits) in [(0, 1), (1, 2), (2, 4)] {
        for _ in 0..hits {
            host.taken(WHO, Ns(1), taken(7, stack, WaitReason::Lock));
        }
    }
    host.taken(WHO, Ns(1), taken(8, 5, WaitReason::Io));
    // The same signature of another thread is another place.
    host.taken((PROCESS, Thread(71)), Ns(1), taken(7, 9, WaitReason::Gil));
    host.waited(&blocked(THREAD, 100, 200, 7));
    host.waited(&blocked(THREAD, 300, 303, 8));
    let lock = WaitReason::Lock;
    assert_eq!(
        rows(&host),
        [
            (Some(0), lock, 14),
            (Some(1), lock, 28),
            (Some(2), lock, 58),
            (Some(5), WaitReason::Io, 3)
        ]
    );
}

#[test]
fn names_that_come_later_refine_the_reason() {
    let mut host = Host::default();
    host.taken(WHO, Ns(1), taken(7, 0, WaitReason::Lock));
    host.taken(WHO, Ns(1), taken(7, 1, WaitReason::Lock));
    host.waited(&blocked(THREAD, 0, 10, 7));
    let waits =
        host.waits(|stack, reason| if stack == StackId(1) { WaitReason::Queue } else { reason });
    let reasons: Vec<_> = waits.iter().map(|wait| (wait.reason, wait.ns)).collect();
    assert_eq!(reasons, [(WaitReason::Lock, 5), (WaitReason::Queue, 5)]);
}

#[test]
fn nothing_counts_after_the_end() {
    let mut host = Host::default();
    host.limit(Ns(100));
    host.taken(WHO, Ns(90), taken(7, 0, WaitReason::Lock));
    host.taken(WHO, Ns(101), taken(7, 1, WaitReason::Lock));
    host.waited(&blocked(THREAD, 50, 150, 7));
    host.waited(&blocked(THREAD, 160, 170, 7));
    host.sampled(WHO, Ns(100), StackId(3), true);
    host.sampled(WHO, Ns(101), StackId(3), true);
    assert_eq!(rows(&host), [(Some(0), WaitReason::Lock, 50)]);
    assert_eq!(host.cpu()[0].samples, 1);
}

#[test]
fn the_lock_is_held_on_and_off_the_cpu() {
    let mut host = Host::default();
    for (holds_gil, stack) in [(true, 0), (true, 0), (true, 1), (false, 0)] {
        host.sampled(WHO, Ns(1), StackId(stack), holds_gil);
    }
    // Has nothing to do with it.
    host.sampled((PROCESS, Thread(71)), Ns(1), StackId(0), false);
    let holding = Taken { holds_gil: true, ..taken(7, 2, WaitReason::Io) };
    host.taken(WHO, Ns(1), holding);
    host.taken(WHO, Ns(1), taken(8, 3, WaitReason::Gil));
    host.waited(&blocked(THREAD, 0, 30, 7));
    host.waited(&blocked(THREAD, 40, 45, 8));
    let (cpu, waits) = (host.cpu(), host.waits(|_, reason| reason));
    assert_eq!(
        gil(&cpu, &waits),
        [GilRow {
            process: PROCESS,
            thread: THREAD,
            samples_on_cpu: 4,
            samples_holding: 3,
            waited_ns: 5,
            held_off_cpu_ns: 30,
        }]
    );
}

#[test]
fn a_thread_that_turns_out_to_launch_has_its_sleeps_told() {
    let mut host = Host::default();
    let first = blocked(Thread(5), 0, 10, 0);
    assert!(host.explains(&first, 5), "the first thread's always");
    let early = blocked(THREAD, 20, 30, 0);
    assert!(!host.explains(&early, 5));
    assert!(!host.explains(&blocked(Thread(99), 20, 30, 0), 5));
    assert_eq!(host.launches(WHO), [early]);
    assert_eq!(host.launches(WHO), [], "once");
    assert!(host.explains(&blocked(THREAD, 40, 50, 0), 5));
}

#[test]
fn full_tables_are_counted_and_lose_no_time() {
    let mut host = Host::default();
    for signature in 1..=PLACES_MAX as u64 + 5 {
        host.waited(&blocked(THREAD, signature * 10, signature * 10 + 3, signature));
    }
    let total: u64 = rows(&host).iter().map(|row| row.2).sum();
    assert_eq!(total, 3 * (PLACES_MAX as u64 + 5));
    assert_eq!(host.refused().places, 5);
    host.taken(WHO, Ns(1), taken(u64::MAX, 0, WaitReason::Lock));
    assert_eq!(host.refused().stacks, 1);
    let mut host = Host::default();
    for stack in 0..u32::try_from(STACKS_MAX).unwrap() + 2 {
        host.taken(WHO, Ns(1), taken(7, stack, WaitReason::Lock));
    }
    assert_eq!(host.refused().stacks, 2);
}

proptest! {
    #[test]
    fn shares_sum_to_the_total(total: u64, weights in prop::collection::vec(0_u64..1_000, 1..20)) {
        let parts = shares(total, &weights);
        let all: u64 = weights.iter().sum();
        let sum: u64 = parts.iter().sum();
        prop_assert_eq!(sum, if all == 0 { 0 } else { total });
        for (part, weight) in parts.iter().zip(&weights) {
            let exact = u128::from(total) * u128::from(*weight) / u128::from(all.max(1));
            prop_assert!(u128::from(*part).abs_diff(exact) <= 1, "{} of {:?}", part, weights);
        }
    }

    /// Whatever a recording claims, a thread never sleeps longer than the time it spans.
    #[test]
    fn no_time_counts_twice(
        sleeps in prop::collection::vec((0_u64..100, 0_u64..100, 0_u64..4), 0..60),
    ) {
        let mut host = Host::default();
        for (from, to, signature) in sleeps {
            host.waited(&blocked(THREAD, from, to, signature));
        }
        let total: u64 = rows(&host).iter().map(|row| row.2).sum();
        prop_assert!(total <= 100, "{}", total);
    }
}
