//! First touches of a process's pages, from when the kernel tells of one until the page is gone.
//!
//! Most pages go as fast as they came, and many are a file's: what is told waits a step, and only what is the process's own
//! by then is passed on, as what it turned out to be (a huge page came with one touch).

use std::collections::{BTreeMap, BTreeSet};
use std::mem::offset_of;

use wire::kernel::StackEvent;

use crate::proc::{PAGE, Page, Pages};

/// Touches that wait at most: more than come in a step of a second from 16 CPUs.
const FRESH_MAX: usize = 4096;

/// Pages followed of one process, and those of them that are looked at in one step: a look takes half a microsecond.
const FOLLOWED_MAX: usize = 1 << 16;
const LOOKED_MAX: usize = 4096;

/// Of one process.
#[derive(Debug, Default)]
pub(super) struct Touched {
    /// Events as they came, oldest first.
    fresh: Vec<Vec<u8>>,
    /// Addresses of pages that were passed on and are there.
    followed: BTreeSet<u64>,
    /// Where the next look begins.
    next: u64,
    /// Touches that found no room.
    refused: u64,
}

/// What a step came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) gone: Vec<u64>,
    /// Events of pages that are there.
    pub(super) events: Vec<Vec<u8>>,
}

impl Touched {
    /// The event of a touch.
    pub(super) fn add(&mut self, event: Vec<u8>) {
        if self.fresh.len() < FRESH_MAX {
            self.fresh.push(event);
        } else {
            self.refused += 1;
        }
    }

    /// A step has passed.
    pub(super) fn settle(&mut self, pages: &Pages) -> Settled {
        self.settle_by(|address| pages.look(address))
    }

    fn settle_by(&mut self, look: impl Fn(u64) -> Page) -> Settled {
        let mut settled = Settled::default();
        self.look_again(&look, &mut settled.gone);
        let fresh = std::mem::take(&mut self.fresh);
        let fresh = fresh.into_iter().filter_map(|bytes| Some((address(&bytes)?, bytes)));
        // Of a page that was touched, given back and touched again, the last one counts.
        let fresh: BTreeMap<u64, Vec<u8>> = fresh.collect();
        for (address, mut bytes) in fresh {
            // Whoever touches a page for the first time twice gave it back between.
            if self.followed.remove(&address) {
                settled.gone.push(address);
            }
            let Page::Own { pages } = look(address) else { continue };
            if self.followed.len() >= FOLLOWED_MAX {
                self.refused += 1;
                continue;
            }
            make_up(&mut bytes, address, pages);
            self.followed.insert(address);
            settled.events.push(bytes);
        }
        settled
    }

    /// Looks at some that are followed, in turns.
    fn look_again(&mut self, look: &impl Fn(u64) -> Page, gone: &mut Vec<u64>) {
        let some: Vec<u64> = self.followed.range(self.next..).copied().take(LOOKED_MAX).collect();
        self.next = match some.last() {
            Some(last) if some.len() == LOOKED_MAX => last.saturating_add(1),
            _ => 0,
        };
        for address in some {
            if !matches!(look(address), Page::Own { .. }) {
                self.followed.remove(&address);
                gone.push(address);
            }
        }
    }

    /// Touches that found no room, since the start.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }
}

const KEY: usize = offset_of!(StackEvent, key);
const WEIGHT: usize = offset_of!(StackEvent, weight);

/// Of the page that was touched, by an event's bytes.
fn address(event: &[u8]) -> Option<u64> {
    let key = event.get(KEY..)?.first_chunk()?;
    Some(u64::from_ne_bytes(*key) & !(PAGE - 1))
}

/// Has the event name its page, and stand for `pages` as many as before.
fn make_up(event: &mut [u8], address: u64, pages: u32) {
    if let Some(key) = event.get_mut(KEY..).and_then(<[u8]>::first_chunk_mut) {
        *key = address.to_ne_bytes();
    }
    if let Some(weight) = event.get_mut(WEIGHT..).and_then(<[u8]>::first_chunk_mut) {
        *weight = u32::from_ne_bytes(*weight).saturating_mul(pages).to_ne_bytes();
    }
}

#[cfg(test)]
mod tests {
    use zerocopy::{FromZeros as _, IntoBytes as _};

    use super::*;

    fn event(address: u64, weight: u32) -> Vec<u8> {
        StackEvent { key: address, weight, ..StackEvent::new_zeroed() }.as_bytes().to_vec()
    }

    fn told(settled: &Settled) -> Vec<(u64, u32)> {
        let weight = |bytes: &[u8]| u32::from_ne_bytes(*bytes[WEIGHT..].first_chunk().unwrap());
        settled.events.iter().map(|bytes| (address(bytes).unwrap(), weight(bytes))).collect()
    }

    #[test]
    fn only_what_stays_and_is_its_own_is_passed_on() {
        let mut touched = Touched::default();
        let mut there: BTreeMap<u64, Page> = BTreeMap::new();
        for (address, page) in [
            (0x1000, Page::Own { pages: 1 }),
            (0x2000, Page::OfFile),
            (0x20_0000, Page::Own { pages: 512 }),
            (0x4000, Page::Gone),
        ] {
            touched.add(event(address + 5, 4));
            there.insert(address, page);
        }
        let look = |there: &BTreeMap<u64, Page>| {
            let there = there.clone();
            move |address: u64| there.get(&address).copied().unwrap_or(Page::Gone)
        };
        let settled = touched.settle_by(look(&there));
        assert_eq!(told(&settled), [(0x1000, 4), (0x20_0000, 2048)]);
        assert!(settled.gone.is_empty());
        assert_eq!(touched.settle_by(look(&there)), Settled::default());
        // Given back and touched again before anybody looked, twice, and given back for good.
        touched.add(event(0x1000, 8));
        touched.add(event(0x1000, 2));
        there.insert(0x20_0000, Page::Gone);
        let settled = touched.settle_by(look(&there));
        assert_eq!(
            (settled.gone.clone(), told(&settled)),
            (vec![0x20_0000, 0x1000], vec![(0x1000, 2)])
        );
    }

    #[test]
    fn tables_are_bounded_and_all_are_looked_at_in_turns() {
        let mut touched = Touched::default();
        let own = |_address: u64| Page::Own { pages: 1 };
        for page in 0..=FOLLOWED_MAX as u64 {
            touched.add(event(page * PAGE, 1));
            if page % 1000 == 999 {
                touched.settle_by(own);
            }
        }
        touched.settle_by(own);
        assert_eq!((touched.followed.len(), touched.refused()), (FOLLOWED_MAX, 1));
        for _ in 0..=FOLLOWED_MAX / LOOKED_MAX {
            touched.settle_by(|_| Page::Gone);
        }
        assert!(touched.followed.is_empty());
        for page in 0..=FRESH_MAX as u64 {
            touched.add(event(page * PAGE, 1));
        }
        assert_eq!((touched.fresh.len(), touched.refused()), (FRESH_MAX, 2));
        // Bytes that are no event are nothing.
        touched.fresh = vec![vec![1; 7]];
        assert_eq!(touched.settle_by(own), Settled::default());
    }
}
