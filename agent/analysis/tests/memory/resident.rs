//! Memory that has pages beside what takes it.

use analysis::ids::{Ns, StackId, Thread};
use analysis::memory::live::Known;
use analysis::memory::verdict::{Kind, Missing};
use analysis::memory::{Event, Finding, Live, Place, Resident, What, findings};

const SECOND: u64 = 1_000_000_000;
const MIB: u64 = 1 << 20;

/// Traffic of 64 MiB in the heap, of which `leaked` bytes a second stay; each second the kernel counts what `pages` says
/// of it.
fn after(seconds: u64, leaked: u64, pages: impl Fn(u64) -> Resident) -> Vec<Finding> {
    let mut live = Live::new(SECOND);
    let heap =
        |time, what| Event { time: Ns(time), thread: Thread(1), stack: Some(StackId(1)), what };
    let place = Place::HostHeap;
    for second in 0..seconds {
        let time = second * SECOND;
        for block in 0..16 {
            let address = (1 << 40) + block * 4096;
            let bytes = 4 * MIB - (second * 7 + block) % 5 * 1000;
            live.apply(&heap(time, What::Freed { place, address }));
            live.apply(&heap(time, What::Allocated { place, address, bytes, stands_for: bytes }));
        }
        if leaked > 0 {
            let (address, bytes) = (second * 16, leaked);
            live.apply(&Event {
                stack: Some(StackId(2)),
                ..heap(time, What::Allocated { place, address, bytes, stands_for: bytes })
            });
        }
        live.resident(Ns(time), pages(second));
        live.tick(Ns(time));
    }
    findings(&live, Ns(seconds * SECOND), &Known::default())
}

fn pages(anonymous: u64, heap: u64) -> Resident {
    Resident { anonymous, heap: Some(heap), ..Resident::default() }
}

fn told(findings: &[Finding]) -> Vec<(Place, Kind)> {
    findings.iter().map(|found| (found.place, found.kind)).collect()
}

/// Some noise, as threads come and go.
fn noise(second: u64) -> u64 {
    second * 13 % 7 * 50_000
}

#[test]
fn what_the_heap_explains_is_told_once() {
    let found = after(300, MIB, |second| {
        let heap = 80 * MIB + second * MIB + noise(second);
        pages(heap + 20 * MIB, heap)
    });
    assert_eq!(told(&found), [(Place::HostHeap, Kind::Leak)]);
}

#[test]
fn a_heap_that_grows_while_what_lives_in_it_does_not_is_fragmented() {
    let found = after(300, 0, |second| {
        let heap = 80 * MIB + second * MIB + noise(second);
        pages(heap + 20 * MIB, heap)
    });
    assert_eq!(told(&found), [(Place::HostHeap, Kind::Fragmentation)]);
    assert!(found[0].next_step.contains("MALLOC_ARENA_MAX"), "{found:?}");
}

#[test]
fn what_nobody_explains_is_told_with_the_time_that_is_left() {
    let found = after(300, 0, |second| {
        let anonymous = 200 * MIB + second * MIB + noise(second);
        let headroom = Some(1024 * MIB - anonymous);
        Resident { headroom, ..pages(anonymous, 80 * MIB) }
    });
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!((found[0].place, found[0].kind), (Place::Resident, Kind::Leak));
    assert_ne!(found[1].kind, Kind::Leak, "{found:?}");
    // At 500 MiB, with 524 left, a MiB a second.
    let until = found[0].until_limit.unwrap();
    assert!((500.0..550.0).contains(&until.seconds), "{until:?}");
    assert!(found[0].next_step.contains("mmap"), "{found:?}");
}

/// Half a leak is the heap's: both are told.
#[test]
fn what_is_explained_in_part_is_said() {
    let found = after(300, MIB / 4, |second| {
        pages(200 * MIB + second * MIB + noise(second), 80 * MIB + second * MIB / 4)
    });
    let mut places = told(&found);
    places.sort_by_key(|(place, _)| *place);
    assert_eq!(places, [(Place::HostHeap, Kind::Leak), (Place::Resident, Kind::Leak)]);
    let pages = found.iter().find(|one| one.place == Place::Resident).unwrap();
    let share = pages.evidence.iter().find(|text| text.ends_with("that of the other findings"));
    assert!(
        share.is_some_and(|text| text.starts_with("25 %") || text.starts_with("24 %")),
        "{pages:?}"
    );
}

#[test]
fn a_process_that_stays_as_it_is_says_so() {
    let found = after(300, 0, |second| pages(100 * MIB + noise(second), 80 * MIB));
    let kinds: Vec<Kind> = found.iter().map(|one| one.kind).collect();
    assert_eq!(kinds.len(), 2, "{found:?}");
    assert!(kinds.iter().all(|kind| matches!(kind, Kind::Stable | Kind::Sawtooth)), "{found:?}");
}

/// The kernel counts all pages; of those whose first touch was sampled, it is known who has them.
#[test]
fn who_touches_the_pages_is_named_where_no_allocator_explains_them() {
    let mut live = Live::new(SECOND);
    let stack = |number| Some(StackId(number));
    for second in 0..300_u64 {
        let at = Ns(second * SECOND);
        // One page in 64 is told; one site's stay, the other's are given back.
        for page in 0..4 {
            let address = (second * 8 + page) * 4096;
            let (bytes, stands_for) = (4096, 64 * 4096);
            let what = What::Allocated { place: Place::Resident, address, bytes, stands_for };
            let who = if page == 3 { stack(2) } else { stack(1) };
            live.apply(&Event { time: at, thread: Thread(1), stack: who, what });
        }
        let what = What::Freed { place: Place::Resident, address: (second * 8 + 3) * 4096 };
        live.apply(&Event { time: at, thread: Thread(0), stack: None, what });
        let anonymous = 200 * MIB + second * 3 * 64 * 4096 + noise(second);
        live.resident(at, pages(anonymous, 80 * MIB));
        live.tick(at);
    }
    let found = findings(&live, Ns(300 * SECOND), &Known::default());
    assert_eq!(told(&found), [(Place::Resident, Kind::Leak)]);
    assert_eq!(found[0].culprit.stack(), stack(1));
    let rate = found[0].rate.unwrap();
    let truth = 3.0 * 64.0 * 4096.0;
    assert!(rate.low <= truth && truth <= rate.high, "{rate:?}");
    assert!(found[0].next_step.contains("munmap"), "{found:?}");
    // The sites are samples: how much there is, the kernel says.
    assert!(live.of(Place::Resident).unwrap().live.bytes >= 200 * MIB);
}

/// Pages come and go by themselves.
#[test]
fn a_rise_by_a_few_pages_is_not_called_a_leak() {
    let risen =
        |a_second: u64| after(60, 0, move |second| pages(100 * MIB + second * a_second, 80 * MIB));
    let verdict = |found: &[Finding]| {
        found.iter().find(|one| one.place == Place::Resident).map(|one| one.kind)
    };
    let few = risen(8192);
    assert!(matches!(verdict(&few), Some(Kind::Undecided(Missing::Amount { .. }))), "{few:?}");
    assert_eq!(verdict(&risen(40_960)), Some(Kind::Leak));
}

/// After a fork pages are copied when they are written to: touched for the first time, and no more than there were.
#[test]
fn pages_that_are_touched_again_are_no_growth() {
    let mut live = Live::new(SECOND);
    for second in 0..120_u64 {
        let at = Ns(second * SECOND);
        let (address, bytes, stands_for) = (second * 4096, 4096, 64 * 4096);
        let what = What::Allocated { place: Place::Resident, address, bytes, stands_for };
        live.apply(&Event { time: at, thread: Thread(1), stack: Some(StackId(1)), what });
        live.resident(at, pages(200 * MIB + noise(second), 80 * MIB));
        live.tick(at);
    }
    let found = findings(&live, Ns(120 * SECOND), &Known::default());
    assert!(found.iter().all(|one| !one.is_problem()), "{found:?}");
}
