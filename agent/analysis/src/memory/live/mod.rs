//! What one process has allocated and not freed, by address, by place and by the code that asked for it.
//!
//! Fed with its calls in about the order they returned; [`Live::tick`] at a steady rate writes down how much is live. Every
//! table is bounded, and what found no room, or was not seen, is counted: verdicts are to say so.

mod sites;
mod tally;
mod virtual_memory;

use std::collections::HashMap;

use self::sites::{Key, SiteId, Sites};
pub use self::tally::{Counts, Tally};
pub use self::virtual_memory::Held;
use self::virtual_memory::VirtualMemory;
use super::event::{Event, Place, What};
use super::resident::Resident;
use super::series::Series;
use super::verdict::Verdict;
use crate::ids::{Ns, StackId, Thread};

/// Blocks at most, of all places together: some 10 MiB. Caching allocators ask the driver for hundreds or thousands of
/// blocks, and of the host heap a few sampled ones a second are taken.
const BLOCKS: usize = 1 << 17;

/// Of pages that allocators keep in reserve: each of glibc's heaps has up to 128 KiB at its top, and each of Python's arenas
/// 256 KiB or 1 MiB.
const SLACK: u64 = 1 << 20;

/// Memory that is there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block {
    pub place: Place,
    pub bytes: u64,
    /// Bytes it stands for, where blocks are sampled; else `bytes`.
    pub stands_for: u64,
    pub born: Ns,
    pub thread: Thread,
    pub stack: Option<StackId>,
    site: Option<SiteId>,
}

impl Block {
    fn counts(&self) -> Counts {
        Counts { bytes: self.stands_for, blocks: 1 }
    }
}

/// What is not known of a process's memory. Each makes live bytes wrong by as much as those calls were about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unseen {
    /// Frees of what was never seen allocated: it is older than the observation, or its event was lost. Harmless.
    pub unknown: u64,
    /// Addresses and handles that were given out again while they were live: their free was not seen. It was before
    /// that, at a time that is not known.
    pub frees: u64,
    /// Blocks that found no room and are not counted as live.
    pub no_room: u64,
    /// Events that were lost on their way: what they allocated is missing, what they freed still counts.
    pub lost: u64,
}

impl Unseen {
    /// Sentences for a finding; none where all was seen.
    pub fn sentences(&self) -> Vec<String> {
        let told = [
            (
                self.lost,
                "events were lost: what they freed still counts, what they allocated does not",
            ),
            (self.no_room, "blocks found no room in the table and are not counted"),
            (
                self.frees,
                "blocks were freed unseen, and counted until their address was given out again",
            ),
            (self.unknown, "frees were of memory that is older than the observation"),
        ];
        let some = told.iter().filter(|(count, _)| *count > 0);
        some.map(|(count, what)| format!("{count} {what}")).collect()
    }
}

/// What is known besides allocations.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// Requests served: a counter that only rises.
    pub requests: Option<&'a Series>,
    /// Bytes at which something gives way: a control group's, a device's.
    pub limit: Option<u64>,
}

/// A verdict on a place, or on one site of it.
#[derive(Clone, Debug)]
pub struct Judged {
    pub place: Place,
    pub of: Of,
    pub live: Counts,
    pub verdict: Verdict,
}

/// Whose memory it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Of {
    /// All of its place.
    Whole,
    /// What this stack asked for; `None`: whose calls' stacks were not taken.
    Site(Option<StackId>),
    /// All of its place that has no site of its own.
    Others,
}

/// Memory of one process.
#[derive(Clone, Debug)]
pub struct Live {
    step_ns: u64,
    /// By what frees it, and address.
    blocks: HashMap<(Place, u64), Block>,
    virtual_memory: VirtualMemory,
    sites: Sites,
    whole: HashMap<Place, Tally>,
    /// As the kernel counted it last.
    resident: Option<Resident>,
    /// What the C library's heaps have of pages; empty where nobody looked.
    heap_pages: Series,
    unseen: Unseen,
}

impl Live {
    /// Nothing is live. `step_ns`: how often [`Self::tick`] is to be called, at least 1 ns.
    pub fn new(step_ns: u64) -> Self {
        Self {
            step_ns,
            blocks: HashMap::new(),
            virtual_memory: VirtualMemory::default(),
            sites: Sites::new(step_ns),
            whole: HashMap::new(),
            resident: None,
            heap_pages: Series::new(step_ns),
            unseen: Unseen::default(),
        }
    }

    /// A call returned.
    pub fn apply(&mut self, event: &Event) {
        match event.what {
            What::Allocated { place, address, bytes, stands_for } => {
                let key = (freed_as(place), address);
                if let Some(before) = self.blocks.remove(&key) {
                    self.unseen.frees += 1;
                    self.freed(&before);
                }
                if self.blocks.len() >= BLOCKS {
                    self.unseen.no_room += 1;
                } else {
                    let block = self.allocated(event, place, bytes, stands_for);
                    self.blocks.insert(key, block);
                }
            }
            What::Freed { place, address } => {
                let key = (freed_as(place), address);
                match self.blocks.get(&key).copied() {
                    // The address was given out again before the thread that freed it came to say so: that block was
                    // taken for freed already.
                    Some(block) if block.born > event.time => {
                        self.unseen.frees = self.unseen.frees.saturating_sub(1);
                    }
                    Some(block) => {
                        self.blocks.remove(&key);
                        self.freed(&block);
                    }
                    None => self.unseen.unknown += 1,
                }
            }
            What::Created { handle, bytes } => {
                let no_room = self.unseen.no_room;
                let block = self.allocated(event, Place::Virtual, bytes, bytes);
                let mut ended = self.virtual_memory.created(handle, block, &mut self.unseen);
                if self.unseen.no_room > no_room {
                    ended.push(block);
                }
                self.ended(&ended);
            }
            What::Retained { handle, address } => {
                let ended =
                    self.virtual_memory.retained(handle, address, event.time, &mut self.unseen);
                self.ended(&ended);
            }
            What::Released { handle } => {
                let ended = self.virtual_memory.released(handle, event.time, &mut self.unseen);
                self.ended(&ended);
            }
            What::Mapped { address, bytes, handle } => {
                let ended = self.virtual_memory.mapped(
                    address,
                    bytes,
                    handle,
                    event.time,
                    &mut self.unseen,
                );
                self.ended(&ended);
            }
            What::Unmapped { address, bytes } => {
                let ended =
                    self.virtual_memory.unmapped(address, bytes, event.time, &mut self.unseen);
                self.ended(&ended);
            }
        }
    }

    /// The kernel counts so much.
    pub fn resident(&mut self, now: Ns, resident: Resident) {
        self.whole(Place::Resident).set(resident.anonymous);
        if let Some(heap) = resident.heap {
            self.heap_pages.add(now, heap);
        }
        self.resident = Some(resident);
    }

    /// What the kernel counted last.
    pub fn kinds(&self) -> Option<Resident> {
        self.resident
    }

    /// What code with this stack has live; `None`: code whose stack was not taken. Those that have no site of their own
    /// are [`Of::Others`] together. The most live bytes first.
    pub fn sites(&self) -> Vec<(Place, Of, &Tally)> {
        let sites = self.sites.iter();
        let sites = sites.map(|(key, tally)| (key.place, Of::Site(key.stack), tally));
        let others = Place::ALL.into_iter();
        let others =
            others.filter_map(|place| Some((place, Of::Others, self.sites.others(place)?)));
        let mut all: Vec<_> = sites.chain(others).collect();
        all.sort_by_key(|(place, of, tally)| (std::cmp::Reverse(tally.live.bytes), *place, *of));
        all
    }

    /// Places that memory was taken from.
    pub fn places(&self) -> impl Iterator<Item = (Place, &Tally)> {
        Place::ALL.into_iter().filter_map(|place| Some((place, self.whole.get(&place)?)))
    }

    /// Code with stack `from` is the same as that with `into`: what it asked for counts for that one, from the beginning.
    /// Who finds that out does not tell of `from` again.
    pub fn unite(&mut self, from: StackId, into: StackId) {
        if from == into {
            return;
        }
        for place in Place::ALL {
            let key = |stack| Key { place, stack: Some(stack) };
            self.sites.unite(key(from), key(into));
        }
    }

    /// So many events never came.
    pub fn lost(&mut self, events: u64) {
        self.unseen.lost = self.unseen.lost.saturating_add(events);
    }

    /// Writes down what is live. Time that goes back is refused, and counted by each series.
    pub fn tick(&mut self, now: Ns) {
        self.whole.values_mut().for_each(|tally| tally.tick(now));
        self.sites.tick(now);
    }

    /// What is kept for a place, of which some may be free.
    fn reserved(&self, place: Place, of: Of) -> Option<&Series> {
        let known = place == Place::HostHeap && of == Of::Whole;
        (known && !self.heap_pages.points().is_empty()).then_some(&self.heap_pages)
    }

    /// A control group's limit is one of memory that has pages.
    fn limited<'k>(&self, place: Place, known: &Known<'k>) -> Known<'k> {
        match place {
            Place::Resident => {
                Known { limit: self.resident.and_then(|resident| resident.limit()), ..*known }
            }
            _ => *known,
        }
    }

    fn allocated(&mut self, event: &Event, place: Place, bytes: u64, stands_for: u64) -> Block {
        let live = self.whole(place).live.bytes;
        let site = self.sites.site(Key { place, stack: event.stack }, live);
        let Event { time: born, thread, stack, .. } = *event;
        let block = Block { place, bytes, stands_for, born, thread, stack, site };
        if !is_counted_by_the_kernel(place) {
            self.whole(place).allocated(&block);
        }
        self.sites.tally(&block).allocated(&block);
        block
    }

    fn ended(&mut self, blocks: &[Block]) {
        for block in blocks {
            self.freed(block);
        }
    }

    fn freed(&mut self, block: &Block) {
        if !is_counted_by_the_kernel(block.place) {
            self.whole(block.place).freed(block);
        }
        self.sites.tally(block).freed(block);
    }

    fn whole(&mut self, place: Place) -> &mut Tally {
        let step_ns = self.step_ns;
        self.whole.entry(place).or_insert_with(|| Tally::new(step_ns))
    }

    /// All of a place; `None` where nothing was ever taken from it.
    pub fn of(&self, place: Place) -> Option<&Tally> {
        self.whole.get(&place)
    }

    /// Blocks that have an address, with it, in no order. What is held by handles and mappings: [`Self::held`].
    pub fn blocks(&self) -> impl Iterator<Item = (u64, &Block)> {
        self.blocks.iter().map(|((_, address), block)| (*address, block))
    }

    /// Memory of the virtual-memory API by what holds it.
    pub fn held(&self) -> Held {
        self.virtual_memory.held()
    }

    /// What is not known.
    pub fn unseen(&self) -> Unseen {
        self.unseen
    }

    /// Sites that gave way to others and are part of [`Of::Others`].
    pub fn merged(&self) -> u64 {
        self.sites.merged
    }

    /// Says of every place and every site what its memory is: places first, and of a place the most live bytes first.
    ///
    /// 35 us each (docs/memory.md), so some 10 ms at most.
    pub fn judge(&self, now: Ns, known: &Known<'_>) -> Vec<Judged> {
        let whole = self.places().map(|(place, tally)| (place, Of::Whole, tally));
        let judged = whole.chain(self.sites()).map(|(place, of, tally)| Judged {
            place,
            of,
            live: tally.live,
            verdict: tally.judge(
                now,
                self.reserved(place, of),
                &self.limited(place, known),
                if is_counted_by_the_kernel(place) { SLACK } else { 0 },
            ),
        });
        let mut judged: Vec<Judged> = judged.collect();
        judged.sort_by_key(|one| {
            (one.of != Of::Whole, one.place, std::cmp::Reverse(one.live.bytes), one.of)
        });
        judged
    }
}

/// What is seen of its blocks says who has them, not how much there is.
fn is_counted_by_the_kernel(place: Place) -> bool {
    place == Place::Resident
}

/// `cuMemFree` frees managed memory too.
fn freed_as(place: Place) -> Place {
    if place == Place::Managed { Place::Device } else { place }
}
