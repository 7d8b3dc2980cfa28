//! What the shim does with bytes that others write, without a driver around it: for fuzzing. Buffers come from another
//! library, and cursors, names and the control page lie in memory that an agent maps writable.

pub mod heap;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use wire::limits::{NAMES_BYTES, RING_SLOTS};
use wire::ring::Producer;
use wire::shim::{Cursors, Level, Payload, Slot};
use zerocopy::FromBytes;

use crate::activity::Fields;
use crate::names::Names;
use crate::records::{self, Step};
use crate::region::reserve;
use crate::sampling::{Candidate, Sampler};

/// Copies a buffer of activity records that begin where `steps` say, those beyond at the end; the records copied.
pub fn activity(buffer: &[u8], with_source: bool, steps: &[u32]) -> u64 {
    let fields = if with_source { Fields::WithSource } else { Fields::Common };
    let mut steps = steps.iter();
    let step = |_from: Option<usize>| match steps.next() {
        Some(&u32::MAX) => Step::Lost,
        Some(&at) => Step::Record(at as usize),
        None => Step::End,
    };
    let mut pushed = 0;
    let intern = |name: *const std::ffi::c_char| u32::from(!name.is_null());
    let copied =
        records::copy(buffer, fields, 7, step, intern, |batch| pushed += batch.len() as u64);
    // Each record is copied, not ours, or unread.
    assert!(pushed + copied.foreign <= copied.seen);
    pushed
}

/// Shared memory with whatever an agent wrote into it.
#[derive(Debug)]
pub struct Shared {
    cursors: &'static Cursors,
    area: &'static [AtomicU64],
    names: Names,
    ring: Producer<'static>,
    sampler: Box<Sampler>,
}

/// What an agent may do to it.
#[derive(Clone, Copy, Debug, FromBytes)]
#[repr(C)]
pub struct Wild {
    pub head: u64,
    pub tail: u64,
    pub names: u64,
    pub graphs: u64,
    /// Where a word of the names area is overwritten, and by what.
    pub place: u64,
    pub word: u64,
    pub time_ns: u64,
    pub level: u32,
    pub stack_rate: u32,
    pub observer: u32,
    pub reserved: u32,
}

impl Shared {
    /// The one of this process: it lives as long.
    pub fn get() -> &'static std::sync::Mutex<Self> {
        static SHARED: OnceLock<std::sync::Mutex<Shared>> = OnceLock::new();
        SHARED.get_or_init(|| std::sync::Mutex::new(Self::new()))
    }

    fn new() -> Self {
        let word = || AtomicU64::new(0);
        let area: &'static [AtomicU64] =
            Box::leak((0..NAMES_BYTES / size_of::<AtomicU64>()).map(|_| word()).collect());
        let slot = || Slot { payload: std::array::from_fn(|_| word()), stamp: word() };
        let slots: &'static [Slot] = Box::leak((0..RING_SLOTS).map(|_| slot()).collect());
        // SAFETY: all-zero bytes are a valid Cursors, which holds only atomics.
        let cursors: &'static Cursors = Box::leak(Box::new(unsafe { std::mem::zeroed() }));
        // SAFETY: all zero is a valid sampler.
        let sampler = Box::new(unsafe { std::mem::zeroed() });
        let ring = Producer::new(cursors, slots);
        #[expect(clippy::expect_used, reason = "RING_SLOTS of them, two lines above")]
        let ring = ring.expect("as many slots as a ring has");
        Self { cursors, area, names: Names::new(area, cursors), ring, sampler }
    }

    /// What the shim does after an agent has written: takes the level, counts a launch, pushes records, keeps a name, makes an
    /// entry of the graph table.
    pub fn after(&mut self, wild: &Wild, name: &[u8]) {
        let set =
            |cursor: &wire::shim::Cursor, value| cursor.position.store(value, Ordering::Relaxed);
        set(&self.cursors.head, wild.head);
        set(&self.cursors.tail, wild.tail);
        set(&self.cursors.names, wild.names);
        set(&self.cursors.graphs, wild.graphs);
        let place = usize::try_from(wild.place).unwrap_or(0) % self.area.len();
        self.area[place].store(wild.word, Ordering::Relaxed);
        let _level = Level::from_word(wild.level);
        let weight = self.sampler.decide(Candidate {
            key: wild.word,
            is_graph: wild.level & 1 == 1,
            now_ns: wild.time_ns,
            rate: wild.stack_rate,
            generation: wild.observer,
        });
        assert!(weight <= 1 << 16, "{weight}");
        let record: Payload = [wild.head; 7];
        let _pushed = self.ring.push(&[record; 3]);
        let _id = self.names.intern_bytes(name);
        let index = reserve(&self.cursors.graphs, 1, 1000);
        assert!(index.is_none_or(|index| index < 1000));
    }
}
