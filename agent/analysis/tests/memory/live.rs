//! What is live, against a model that keeps everything, and verdicts on what a process does.

use std::collections::BTreeMap;

use analysis::ids::{Ns, StackId, Thread};
use analysis::memory::finding::Culprit;
use analysis::memory::live::{Held, Judged, Known, Of, Unseen};
use analysis::memory::verdict::Kind;
use analysis::memory::{Event, Live, Place, What, findings};
use proptest::prelude::*;

const SECOND: u64 = 1_000_000_000;
const MIB: u64 = 1 << 20;

fn event(time: u64, stack: u32, what: What) -> Event {
    Event { time: Ns(time), thread: Thread(7), stack: Some(StackId(stack)), what }
}

fn allocated(place: Place, address: u64, bytes: u64) -> What {
    What::Allocated { place, address, bytes, stands_for: bytes }
}

fn bytes(live: &Live, place: Place) -> u64 {
    live.of(place).map_or(0, |tally| tally.live.bytes)
}

fn of(judged: &[Judged], place: Place, of: Of) -> Option<&Judged> {
    judged.iter().find(|one| one.place == place && one.of == of)
}

#[test]
fn each_place_is_freed_by_calls_of_its_own() {
    let mut live = Live::new(SECOND);
    for (index, place) in Place::ALL.into_iter().enumerate() {
        if !matches!(place, Place::Virtual | Place::Resident) {
            let address = u64::from(place == Place::Managed);
            live.apply(&event(0, u32::try_from(index).unwrap(), allocated(place, address, 10)));
        }
    }
    assert_eq!(live.blocks().count(), 5);
    // Registered memory is the heap's as well.
    live.apply(&event(1, 0, What::Freed { place: Place::HostHeap, address: 0 }));
    assert_eq!((bytes(&live, Place::HostHeap), bytes(&live, Place::Registered)), (0, 10));
    // Managed memory by the call for any of the device's.
    live.apply(&event(1, 0, What::Freed { place: Place::Device, address: 1 }));
    assert_eq!((bytes(&live, Place::Managed), bytes(&live, Place::Device)), (0, 10));
    assert_eq!(live.unseen(), Unseen::default());
}

#[test]
fn memory_is_there_while_a_handle_or_a_mapping_holds_it() {
    let mut live = Live::new(SECOND);
    let held = |live: &Live| {
        let Held { by_both, by_mapping_alone, by_handle_alone } = live.held();
        (by_both, by_mapping_alone, by_handle_alone, bytes(live, Place::Virtual))
    };
    let does = |live: &mut Live, what| live.apply(&event(0, 1, what));
    does(&mut live, What::Created { handle: 5, bytes: 64 });
    assert_eq!(held(&live), (0, 0, 64, 64));
    does(&mut live, What::Mapped { address: 1000, bytes: 64, handle: 5 });
    does(&mut live, What::Mapped { address: 2000, bytes: 64, handle: 5 });
    assert_eq!(held(&live), (64, 0, 0, 64));
    does(&mut live, What::Released { handle: 5 });
    assert_eq!(held(&live), (0, 64, 0, 64));
    // The handle's number names other memory, the old one is mapped still.
    does(&mut live, What::Created { handle: 5, bytes: 1 });
    does(&mut live, What::Unmapped { address: 1000, bytes: 64 });
    assert_eq!(held(&live), (0, 64, 1, 65));
    // A reference by address.
    does(&mut live, What::Retained { handle: 6, address: 2063 });
    does(&mut live, What::Unmapped { address: 2000, bytes: 64 });
    assert_eq!(held(&live), (0, 0, 65, 65));
    does(&mut live, What::Released { handle: 6 });
    does(&mut live, What::Released { handle: 5 });
    assert_eq!(held(&live), (0, 0, 0, 0));
    assert_eq!(live.unseen(), Unseen::default());
    // Of what is older than the observation nothing is known.
    does(&mut live, What::Released { handle: 9 });
    does(&mut live, What::Mapped { address: 0, bytes: 8, handle: 9 });
    does(&mut live, What::Unmapped { address: 0, bytes: 8 });
    does(&mut live, What::Retained { handle: 9, address: 3 });
    assert_eq!((live.unseen().unknown, held(&live)), (4, (0, 0, 0, 0)));
}

/// A thread that gives memory back may come to say so after another one was given it.
#[test]
fn a_release_that_was_overtaken_ends_what_it_was_about() {
    let mut live = Live::new(SECOND);
    live.apply(&event(10, 1, allocated(Place::Device, 8, 100)));
    // Freed at 20, given out at 21, and told the other way round.
    live.apply(&event(21, 2, allocated(Place::Device, 8, 30)));
    live.apply(&event(20, 1, What::Freed { place: Place::Device, address: 8 }));
    assert_eq!((bytes(&live, Place::Device), live.unseen()), (30, Unseen::default()));
    live.apply(&event(30, 2, What::Freed { place: Place::Device, address: 8 }));
    assert_eq!((bytes(&live, Place::Device), live.unseen()), (0, Unseen::default()));

    live.apply(&event(40, 1, What::Created { handle: 5, bytes: 64 }));
    live.apply(&event(41, 1, What::Mapped { address: 1000, bytes: 64, handle: 5 }));
    // Released and unmapped at 50, as number and addresses are given out again at 51.
    live.apply(&event(51, 2, What::Created { handle: 5, bytes: 7 }));
    live.apply(&event(50, 1, What::Released { handle: 5 }));
    live.apply(&event(52, 2, What::Mapped { address: 1000, bytes: 64, handle: 5 }));
    live.apply(&event(50, 1, What::Unmapped { address: 1000, bytes: 64 }));
    assert_eq!((bytes(&live, Place::Virtual), live.unseen()), (7, Unseen::default()));
}

#[test]
fn what_comes_and_goes_between_two_ticks_is_written_down() {
    let mut live = Live::new(SECOND);
    live.apply(&event(1, 1, allocated(Place::Device, 8, 100)));
    live.tick(Ns(SECOND));
    live.apply(&event(SECOND + 1, 2, allocated(Place::Device, 9, 900)));
    live.apply(&event(SECOND + 2, 2, What::Freed { place: Place::Device, address: 9 }));
    live.tick(Ns(2 * SECOND));
    let points = live.of(Place::Device).unwrap().series().points();
    let amounts: Vec<_> = points.iter().map(|point| (point.least, point.greatest)).collect();
    // What it began from is no trough.
    assert_eq!(amounts, [(100, 100), (100, 1000)]);
}

#[test]
fn what_was_not_seen_is_said() {
    let mut live = Live::new(SECOND);
    live.apply(&event(0, 1, allocated(Place::Device, 8, 100)));
    live.apply(&event(1, 2, allocated(Place::Device, 8, 30)));
    live.apply(&event(2, 2, What::Freed { place: Place::Pinned, address: 8 }));
    live.lost(3);
    assert_eq!(bytes(&live, Place::Device), 30);
    let said = live.unseen().sentences();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].starts_with("3 events were lost"), "{said:?}");
}

#[test]
fn tables_are_bounded_and_say_what_found_no_room() {
    let mut live = Live::new(SECOND);
    let blocks = 300_000;
    for index in 0..blocks {
        let stack = u32::try_from(index % 5000).unwrap();
        live.apply(&event(index, stack, allocated(Place::HostHeap, index * 16, 16)));
    }
    let kept = u64::try_from(live.blocks().count()).unwrap();
    assert_eq!(kept + live.unseen().no_room, blocks);
    assert!(live.unseen().no_room > 0);
    assert_eq!(bytes(&live, Place::HostHeap), kept * 16);
    for index in 0..blocks {
        live.apply(&event(index, 0, What::Freed { place: Place::HostHeap, address: index * 16 }));
    }
    assert_eq!((live.blocks().count(), bytes(&live, Place::HostHeap)), (0, 0));
    // Whoever gave way is part of the others, whose blocks are gone as well.
    live.tick(Ns(0));
    let judged = live.judge(Ns(0), &Known::default());
    assert!(judged.iter().all(|one| one.live.bytes == 0 && one.live.blocks == 0), "{judged:?}");
    for handle in 0..100_000 {
        live.apply(&event(0, 1, What::Created { handle, bytes: 2 }));
        live.apply(&event(0, 1, What::Mapped { address: handle * 2, bytes: 2, handle }));
    }
    let held = live.held();
    assert_eq!(held.by_both, bytes(&live, Place::Virtual));
    assert!(held.by_both < 200_000);
    for handle in 0..100_000 {
        live.apply(&event(0, 1, What::Unmapped { address: handle * 2, bytes: 2 }));
        live.apply(&event(0, 1, What::Released { handle }));
    }
    assert_eq!(bytes(&live, Place::Virtual), 0);
}

#[test]
fn a_large_site_stays_whoever_comes() {
    let mut live = Live::new(SECOND);
    live.apply(&event(0, 0, allocated(Place::Device, 0, 1000)));
    for index in 1..10_000 {
        let stack = u32::try_from(index).unwrap();
        live.apply(&event(index, stack, allocated(Place::Device, index, 1)));
        live.apply(&event(index, stack, What::Freed { place: Place::Device, address: index }));
    }
    live.tick(Ns(0));
    let judged = live.judge(Ns(0), &Known::default());
    assert_eq!(of(&judged, Place::Device, Of::Site(Some(StackId(0)))).unwrap().live.bytes, 1000);
    assert_eq!(of(&judged, Place::Device, Of::Whole).unwrap().live.bytes, 1000);
    assert!(live.merged() > 9000);
}

/// Sleep and wake: everything is released, and what one site maps is never unmapped.
#[test]
fn a_piece_a_cycle_that_stays_mapped_is_found_within_three() {
    let mut live = Live::new(SECOND);
    let (mut now, mut found) = (0, None);
    for cycle in 0..6_u64 {
        for handle in 0..4 {
            let address = (cycle * 4 + handle) * 64 * MIB;
            let stack = if handle == 0 { 1 } else { 2 };
            live.apply(&event(now, stack, What::Created { handle, bytes: 64 * MIB }));
            live.apply(&event(now, 3, What::Mapped { address, bytes: 64 * MIB, handle }));
        }
        for second in 0..20 {
            live.tick(Ns(now + second * SECOND));
        }
        now += 20 * SECOND;
        for handle in 0..4 {
            let address = (cycle * 4 + handle) * 64 * MIB;
            if handle > 0 {
                live.apply(&event(now, 4, What::Unmapped { address, bytes: 64 * MIB }));
            }
            live.apply(&event(now, 4, What::Released { handle }));
        }
        for second in 0..20 {
            live.tick(Ns(now + second * SECOND));
        }
        now += 20 * SECOND;
        let first = &findings(&live, Ns(now), &Known::default())[0];
        println!("cycle {cycle}: {first:?}");
        if first.is_problem() && found.is_none() {
            found = Some(cycle + 1);
        }
        assert_eq!(bytes(&live, Place::Virtual), (cycle + 1) * 64 * MIB);
    }
    assert!(found.is_some_and(|cycles| cycles <= 3), "{found:?}");
    assert_eq!(live.held().by_mapping_alone, 6 * 64 * MIB);
    let found = &findings(&live, Ns(now), &Known::default())[0];
    assert_eq!(
        (found.kind, found.culprit),
        (Kind::Leak, Culprit::Site(Some(StackId(1)))),
        "{found:?}"
    );
    assert!(
        found
            .evidence
            .iter()
            .any(|what| what == "384 MiB are released, and mapped still (`cuMemUnmap` is missing)"),
        "{found:?}"
    );
    assert!(found.next_step.starts_with("unmap what was released"), "{found:?}");
    let judged = live.judge(Ns(now), &Known::default());
    let honest = of(&judged, Place::Virtual, Of::Site(Some(StackId(2)))).unwrap();
    assert_ne!(honest.verdict.kind, Kind::Leak, "{:?}", honest.verdict);
    assert_eq!(honest.live.bytes, 0);
}

#[test]
fn of_two_sites_the_one_that_leaks_is_named() {
    let mut live = Live::new(SECOND);
    for second in 0..300 {
        for block in 0..32 {
            let number = second * 32 + block;
            let address = (1 << 40) + number * 4096;
            let time = second * SECOND + block;
            live.apply(&event(time, 1, allocated(Place::HostHeap, address, 4000)));
            if second >= 5 + block % 7 {
                let address = (1 << 40) + (number - (5 + block % 7) * 32) * 4096;
                live.apply(&event(time, 9, What::Freed { place: Place::HostHeap, address }));
            }
        }
        live.apply(&event(second * SECOND, 2, allocated(Place::HostHeap, second * 4096, 4096)));
        live.tick(Ns(second * SECOND));
    }
    let judged = live.judge(Ns(300 * SECOND), &Known::default());
    let leak = of(&judged, Place::HostHeap, Of::Site(Some(StackId(2)))).unwrap();
    assert_eq!(leak.verdict.kind, Kind::Leak, "{:?}", leak.verdict);
    let rate = leak.verdict.rate.unwrap();
    assert!(rate.low <= 4096.0 && 4096.0 <= rate.high, "{rate:?}");
    let honest = of(&judged, Place::HostHeap, Of::Site(Some(StackId(1)))).unwrap();
    assert!(
        !matches!(honest.verdict.kind, Kind::Leak | Kind::Undecided(_)),
        "{:?}",
        honest.verdict
    );
    let known = Known { limit: Some(1 << 30), ..Known::default() };
    let found = findings(&live, Ns(300 * SECOND), &known);
    assert_eq!(found[0].culprit, Culprit::Site(Some(StackId(2))), "{found:?}");
    assert!(found[0].until_limit.is_some() && found[0].is_problem(), "{found:?}");
    assert_eq!(found.len(), 1, "{found:?}");
}

/// Growth in many places of the code, each too small to be one of those told: the place is, with no stack.
#[test]
fn growth_that_no_site_explains_is_its_places() {
    let mut live = Live::new(SECOND);
    for second in 0..600 {
        for site in 0..40 {
            let address = (second * 40 + u64::from(site)) * 64;
            live.apply(&event(second * SECOND, site, allocated(Place::HostHeap, address, 64)));
        }
        live.tick(Ns(second * SECOND));
    }
    let found = findings(&live, Ns(600 * SECOND), &Known::default());
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!((found[0].kind, found[0].culprit), (Kind::Leak, Culprit::Place), "{found:?}");
    assert_eq!(found[0].live_bytes, 600 * 40 * 64);
}

/// Silence does not count: what is well is said to be.
#[test]
fn every_place_is_told() {
    let mut live = Live::new(SECOND);
    for place in [Place::Device, Place::Pinned] {
        live.apply(&event(0, 1, allocated(place, 0, 1 << 30)));
    }
    (0..200).for_each(|second| live.tick(Ns(second * SECOND)));
    let found = findings(&live, Ns(200 * SECOND), &Known::default());
    assert_eq!(found.len(), 2);
    assert!(
        found.iter().all(|one| one.kind == Kind::Stable && one.next_step == "none"),
        "{found:?}"
    );
}

/// Physical memory as the driver keeps it, with no bound and no number that is used again.
#[derive(Default)]
struct Model {
    /// Bytes, references of handles, mappings.
    pieces: Vec<(u64, u32, u32)>,
    /// The piece, and how often the handle is to be released.
    handles: BTreeMap<u64, (usize, u32)>,
    mappings: BTreeMap<u64, usize>,
}

impl Model {
    fn live(&self) -> u64 {
        let there =
            self.pieces.iter().filter(|(_, references, mappings)| references + mappings > 0);
        there.map(|(bytes, ..)| bytes).sum()
    }
}

proptest! {
    /// Calls as a driver lets them succeed.
    #[test]
    fn virtual_memory_is_what_the_model_says(calls in prop::collection::vec((0..5_u8, 0..6_u64, 0..8_u64), 1..200)) {
        let (mut live, mut model) = (Live::new(SECOND), Model::default());
        for (call, handle, place) in calls {
            let address = place * 4096;
            let what = match call {
                0 if !model.handles.contains_key(&handle) => {
                    let bytes = 1 << (model.pieces.len() % 40);
                    model.handles.insert(handle, (model.pieces.len(), 1));
                    model.pieces.push((bytes, 1, 0));
                    What::Created { handle, bytes }
                }
                1 if model.handles.contains_key(&handle) => {
                    let (piece, left) = model.handles[&handle];
                    model.pieces[piece].1 -= 1;
                    model.handles.insert(handle, (piece, left - 1));
                    if left == 1 {
                        model.handles.remove(&handle);
                    }
                    What::Released { handle }
                }
                2 if model.handles.contains_key(&handle) && !model.mappings.contains_key(&address) => {
                    let (piece, _) = model.handles[&handle];
                    model.pieces[piece].2 += 1;
                    model.mappings.insert(address, piece);
                    What::Mapped { address, bytes: 4096, handle }
                }
                3 if model.mappings.contains_key(&address) => {
                    let piece = model.mappings.remove(&address).unwrap();
                    model.pieces[piece].2 -= 1;
                    What::Unmapped { address, bytes: 4096 }
                }
                4 if model.mappings.contains_key(&address) => {
                    let piece = model.mappings[&address];
                    let held = model.handles.entry(handle).or_insert((piece, 0));
                    if held.0 != piece {
                        continue;
                    }
                    held.1 += 1;
                    model.pieces[piece].1 += 1;
                    What::Retained { handle, address: address + 100 }
                }
                _ => continue,
            };
            live.apply(&event(0, 1, what));
            prop_assert_eq!(bytes(&live, Place::Virtual), model.live());
            let held = live.held();
            prop_assert_eq!(held.by_both + held.by_mapping_alone + held.by_handle_alone, model.live());
        }
        prop_assert_eq!(live.unseen(), Unseen::default());
    }

    /// Any calls in any order: nothing panics, and tallies agree with blocks.
    #[test]
    fn whatever_is_told_sums_agree(
        calls in prop::collection::vec((0..7_u8, 0..6_usize, 0..8_u64, any::<u64>(), 0..300_u32), 1..300)
    ) {
        let mut live = Live::new(1);
        for (time, (call, place, address, number, stack)) in (0_u64..).zip(calls) {
            let place = Place::ALL[place];
            let bytes = number % (1 << 40);
            let what = match call {
                0 => What::Allocated { place, address, bytes, stands_for: bytes },
                1 => What::Freed { place, address },
                2 => What::Created { handle: address, bytes },
                3 => What::Released { handle: address },
                4 => What::Mapped { address: number % 64, bytes: number % 9, handle: address },
                5 => What::Unmapped { address: number, bytes: u64::MAX },
                _ => What::Retained { handle: address, address: number % 64 },
            };
            live.apply(&event(time, stack, what));
            live.tick(Ns(time));
        }
        let judged = live.judge(Ns(u64::MAX), &Known::default());
        let held = live.held();
        for place in Place::ALL {
            let here = live.blocks().filter(|(_, block)| block.place == place);
            let mut sum: u64 = here.map(|(_, block)| block.stands_for).sum();
            if place == Place::Virtual {
                sum += held.by_both + held.by_mapping_alone + held.by_handle_alone;
            }
            prop_assert_eq!(bytes(&live, place), sum);
            let parts = judged.iter().filter(|one| one.place == place && one.of != Of::Whole);
            prop_assert_eq!(parts.map(|one| one.live.bytes).sum::<u64>(), sum);
        }
    }
}
