//! Stacks that turn out to be the same code.

use analysis::ids::{Ns, StackId, Thread};
use analysis::memory::live::{Counts, Known, Live, Of};
use analysis::memory::verdict::Kind;
use analysis::memory::{Event, Place, What, findings};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;

fn event(time: u64, stack: u32, what: What) -> Event {
    Event { time: Ns(time), thread: Thread(7), stack: Some(StackId(stack)), what }
}

fn allocated(address: u64, bytes: u64) -> What {
    What::Allocated { place: Place::HostHeap, address, bytes, stands_for: bytes }
}

fn told(live: &Live) -> Vec<(Of, Counts, Counts)> {
    live.sites().into_iter().map(|(_, of, tally)| (of, tally.live, tally.allocated)).collect()
}

/// A leak through five call sites of one line is one finding, with all of its growth.
#[test]
fn a_leak_through_several_call_sites_is_one() {
    let mut live = Live::new(SECOND);
    for second in 0..120_u64 {
        for site in 0..5_u32 {
            let at = second * SECOND + u64::from(site);
            // Told as the first one's once the names are known.
            let stack = if second < 3 { site } else { 0 };
            live.apply(&event(at, stack, allocated(second * 8 + u64::from(site), 100_000)));
            // Traffic, so that troughs are seen.
            live.apply(&event(at, stack, allocated(u64::MAX, 40_000 + second % 7 * 1000)));
            let freed = What::Freed { place: Place::HostHeap, address: u64::MAX };
            live.apply(&event(at + 1, stack, freed));
        }
        if second == 3 {
            for site in 1..5 {
                live.unite(StackId(site), StackId(0));
            }
        }
        live.tick(Ns(second * SECOND + SECOND / 2));
    }
    let found = findings(&live, Ns(120 * SECOND), &Known::default());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].kind, found[0].culprit.stack()), (Kind::Leak, Some(StackId(0))));
    let rate = found[0].rate.unwrap();
    assert!(rate.low <= 500_000.0 && 500_000.0 <= rate.high, "{rate:?}");
}

#[test]
fn one_whose_heir_is_not_there_is_called_by_its_name() {
    let mut live = Live::new(SECOND);
    live.apply(&event(0, 1, allocated(8, 10)));
    live.unite(StackId(1), StackId(0));
    live.apply(&event(0, 0, allocated(16, 10)));
    let both = Counts { bytes: 20, blocks: 2 };
    assert_eq!(told(&live), [(Of::Site(Some(StackId(0))), both, both)]);
    live.unite(StackId(0), StackId(0));
    live.unite(StackId(5), StackId(0));
    assert_eq!(told(&live).len(), 1);
}

proptest! {
    /// Whenever it is found out, everything comes to what one stack would have.
    #[test]
    fn it_is_as_if_they_had_been_one(
        steps in prop::collection::vec((0_u32..4, 0_u64..40, 1_u64..1000), 1..300),
        found_out in 0_usize..300,
    ) {
        let (mut apart, mut one) = (Live::new(SECOND), Live::new(SECOND));
        for (at, &(stack, address, bytes)) in steps.iter().enumerate() {
            let time = at as u64 * SECOND / 3;
            let what = match bytes % 3 {
                0 => What::Freed { place: Place::HostHeap, address },
                _ => allocated(address, bytes),
            };
            // Stack 3 is other code.
            let same = if stack < 3 { 0 } else { 3 };
            let known = if at > found_out { same } else { stack };
            apart.apply(&event(time, known, what));
            one.apply(&event(time, same, what));
            if at == found_out {
                apart.unite(StackId(2), StackId(1));
                apart.unite(StackId(1), StackId(0));
                apart.unite(StackId(2), StackId(0));
            }
            apart.tick(Ns(time));
            one.tick(Ns(time));
        }
        if found_out < steps.len() {
            prop_assert_eq!(told(&apart), told(&one));
            for ((_, of, left), (_, _, right)) in apart.sites().iter().zip(one.sites()) {
                let last = |tally: &analysis::memory::live::Tally| {
                    tally.series().points().last().map(|point| point.last)
                };
                prop_assert_eq!(last(left), last(right), "{:?}", of);
                prop_assert_eq!(left.series().start(), right.series().start());
            }
        }
    }
}
