//! Memory that has pages beside what takes it.

use analysis::ids::{Ns, StackId, Thread};
use analysis::memory::live::Known;
use analysis::memory::verdict::Kind;
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
