//! Memory of the entered process in which a thread finds what it is to call, and leaves what was answered.
//!
//! It is mapped once and found again by what it begins with, so a process that is entered a thousand times has one.

use std::mem::offset_of;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::proc::Mapping;

use super::arch;
use super::memory::Memory;

/// What a room begins with.
const MAGIC: [u8; 16] = *b"warplens room 1\0";

/// Bytes of a room; behind what [`Order`] says, vector registers are kept: 11 KiB with tiles.
pub(super) const BYTES: u64 = 32 << 10;
const VECTORS: usize = 4096;

/// Bytes of a mask of signals, as the kernel has it.
#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(dead_code, reason = "read by an architecture's code")
)]
pub(super) const MASK_BYTES: usize = 8;

/// Every signal but those that code brings upon itself (`SIGILL`, `SIGTRAP`, `SIGBUS`, `SIGFPE`, `SIGSEGV`).
const BLOCKED: u64 = !(1 << 3 | 1 << 4 | 1 << 6 | 1 << 7 | 1 << 10);

/// States of a room, as the thread sets them; 0: nobody is at it.
pub(super) const BUSY: u64 = 1;
pub(super) const DONE: u64 = 2;

const CALLS_MAX: usize = 8;
const TEXT_MAX: usize = 1024;

/// A call. The `_from` fields and the conditions are offsets of words in the room; 0 is none.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Call {
    function: u64,
    function_from: u64,
    first: u64,
    first_from: u64,
    second: u64,
    only_if: u64,
    unless: u64,
    result: u64,
}

#[derive(Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Layout {
    magic: [u8; 16],
    state: u64,
    count: u64,
    /// Number of a signal that the thread sends itself at the end, for whoever traces it; 0: none.
    wake: u64,
    blocked: u64,
    mask: u64,
    unused: u64,
    calls: [Call; CALLS_MAX],
    text: [u8; TEXT_MAX],
}

/// Where the code finds what, bytes from the room's start.
pub(super) struct Offset;

#[cfg_attr(
    not(target_arch = "x86_64"),
    expect(dead_code, reason = "read by an architecture's code")
)]
impl Offset {
    pub(super) const STATE: usize = offset_of!(Layout, state);
    pub(super) const COUNT: usize = offset_of!(Layout, count);
    pub(super) const WAKE: usize = offset_of!(Layout, wake);
    pub(super) const BLOCKED: usize = offset_of!(Layout, blocked);
    pub(super) const MASK: usize = offset_of!(Layout, mask);
    pub(super) const CALLS: usize = offset_of!(Layout, calls);
    pub(super) const VECTORS: usize = VECTORS;
    pub(super) const CALL_BYTES: usize = size_of::<Call>();
    pub(super) const CALL_FUNCTION: usize = offset_of!(Call, function);
    pub(super) const CALL_FUNCTION_FROM: usize = offset_of!(Call, function_from);
    pub(super) const CALL_FIRST: usize = offset_of!(Call, first);
    pub(super) const CALL_FIRST_FROM: usize = offset_of!(Call, first_from);
    pub(super) const CALL_SECOND: usize = offset_of!(Call, second);
    pub(super) const CALL_ONLY_IF: usize = offset_of!(Call, only_if);
    pub(super) const CALL_UNLESS: usize = offset_of!(Call, unless);
    pub(super) const CALL_RESULT: usize = offset_of!(Call, result);
}

const _FITS: () = assert!(size_of::<Layout>() <= VECTORS);

/// The answer of a call in an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer(usize);

impl Answer {
    fn offset(self) -> u64 {
        (Offset::CALLS + self.0 * Offset::CALL_BYTES + Offset::CALL_RESULT) as u64
    }
}

/// What is passed first.
#[derive(Clone, Copy, Debug)]
pub(super) enum First<'a> {
    Value(u64),
    /// The address of these bytes.
    Text(&'a [u8]),
    Of(Answer),
}

/// What is called.
#[derive(Clone, Copy, Debug)]
pub(super) enum Function {
    At(u64),
    Of(Answer),
}

/// When it is called.
#[derive(Clone, Copy, Debug)]
pub(super) enum When {
    Always,
    /// That answer is not zero.
    If(Answer),
    /// That answer is zero.
    Unless(Answer),
}

/// Calls that a thread makes one after the other.
#[derive(Debug)]
pub(super) struct Order {
    layout: Box<Layout>,
    text_used: usize,
    room: u64,
}

impl Order {
    /// For this room; `wake`: a signal for the tracer at the end.
    pub(super) fn new(room: u64, wake: Option<u32>) -> Self {
        let layout = Layout {
            magic: MAGIC,
            blocked: BLOCKED,
            wake: wake.map_or(0, u64::from),
            ..Layout::new_zeroed()
        };
        Self { layout: Box::new(layout), text_used: 0, room }
    }

    /// Adds a call; what does not fit is left out, and its answer stays 0.
    pub(super) fn call(
        &mut self,
        when: When,
        function: Function,
        first: First<'_>,
        second: u64,
    ) -> Answer {
        let (only_if, unless) = match when {
            When::Always => (0, 0),
            When::If(answer) => (answer.offset(), 0),
            When::Unless(answer) => (0, answer.offset()),
        };
        let (function, function_from) = match function {
            Function::At(address) => (address, 0),
            Function::Of(answer) => (0, answer.offset()),
        };
        let (first, first_from) = match first {
            First::Value(value) => (value, 0),
            First::Text(bytes) => (self.text(bytes), 0),
            First::Of(answer) => (0, answer.offset()),
        };
        let at = usize::try_from(self.layout.count).unwrap_or(CALLS_MAX);
        if let Some(call) = self.layout.calls.get_mut(at) {
            *call = Call {
                function,
                function_from,
                first,
                first_from,
                second,
                only_if,
                unless,
                result: 0,
            };
            self.layout.count += 1;
        }
        Answer(at)
    }

    /// Keeps these bytes; their address, 0 where there is no room for them.
    pub(super) fn text(&mut self, bytes: &[u8]) -> u64 {
        let begin = self.text_used;
        let Some(place) = self.layout.text.get_mut(begin..begin + bytes.len()) else {
            return 0;
        };
        place.copy_from_slice(bytes);
        self.text_used += bytes.len();
        self.room + (offset_of!(Layout, text) + begin) as u64
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.layout.as_bytes()
    }
}

/// What a thread left.
#[derive(Debug)]
pub(super) struct Answers(Box<Layout>);

impl Answers {
    /// `None`: it is not through yet, or the memory is gone.
    pub(super) fn read(memory: &Memory, room: u64) -> Option<Self> {
        let layout = layout(memory, room)?;
        (layout.state == DONE).then(|| Self(Box::new(layout)))
    }

    pub(super) fn of(&self, answer: Answer) -> u64 {
        self.0.calls.get(answer.0).map_or(0, |call| call.result)
    }
}

fn layout(memory: &Memory, room: u64) -> Option<Layout> {
    let bytes = memory.read(room, size_of::<Layout>());
    Layout::read_from_bytes(&bytes).ok().filter(|layout| layout.magic == MAGIC)
}

/// A room of an earlier visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Free(u64),
    /// Somebody is at it.
    Taken,
    None,
}

pub(super) fn find(mappings: &[Mapping], memory: &Memory) -> Found {
    let may_be = |map: &&Mapping| {
        map.end - map.start == BYTES && map.writable && !map.executable && map.path.is_empty()
    };
    let mut rooms = mappings
        .iter()
        .filter(may_be)
        .filter_map(|map| layout(memory, map.start).map(|layout| (map.start, layout.state)));
    match rooms.next() {
        Some((_, BUSY)) => Found::Taken,
        Some((room, _)) => Found::Free(room),
        None => Found::None,
    }
}

/// Whether a mapping is what was asked for at `address`, still empty.
pub(super) fn was_mapped(mappings: &[Mapping], address: u64) -> bool {
    mappings.iter().any(|map| map.start == address && map.end == address + BYTES && map.writable)
}

/// What marks the memory as a room.
pub(super) fn mark() -> &'static [u8] {
    &MAGIC
}

/// Where one can be mapped: in the middle of the highest large gap, where the kernel puts nothing for long; not
/// below a stack, which grows.
pub(super) fn choose(mappings: &[Mapping]) -> Option<u64> {
    const PAGE: u64 = 4096;
    const LARGE: u64 = 1 << 30;
    /// Above it, addresses are the kernel's.
    const END: u64 = 1 << 47;
    let free = mappings.windows(2).rev().filter_map(|pair| match pair {
        [low, high] if !high.path.starts_with("[stack") && high.start < END => {
            Some((low.end, high.start))
        }
        _ => None,
    });
    let is_large = |&(low, high): &(u64, u64)| high.saturating_sub(low) > LARGE;
    let (low, high) = free.into_iter().find(is_large)?;
    Some((low + (high - low) / 2) & !(PAGE - 1))
}

/// Whether this processor's vector registers fit.
pub(super) fn is_large_enough() -> bool {
    arch::vector_bytes() > 0 && VECTORS as u64 + arch::vector_bytes() <= BYTES
}

#[cfg(test)]
mod tests {
    use crate::proc::parse_maps;

    use super::*;

    #[test]
    fn calls_and_texts_lie_where_the_code_looks() {
        let mut order = Order::new(0x7000, Some(23));
        let first = order.call(When::Always, Function::At(0x10), First::Text(b"abc\0"), 5);
        let second = order.call(When::If(first), Function::Of(first), First::Of(first), 0);
        order.call(When::Unless(second), Function::At(0x20), First::Value(9), 0);
        let word = |at: usize| u64::from_ne_bytes(order.bytes()[at..at + 8].try_into().unwrap());
        let call = |index: usize, at: usize| word(Offset::CALLS + index * Offset::CALL_BYTES + at);
        assert_eq!((word(Offset::STATE), word(Offset::COUNT), word(Offset::WAKE)), (0, 3, 23));
        let text = usize::try_from(call(0, Offset::CALL_FIRST) - 0x7000).unwrap();
        assert_eq!(&order.bytes()[text..text + 4], b"abc\0");
        assert_eq!((call(0, Offset::CALL_FUNCTION), call(0, Offset::CALL_SECOND)), (0x10, 5));
        let result = (Offset::CALLS + Offset::CALL_RESULT) as u64;
        assert_eq!(call(1, Offset::CALL_ONLY_IF), result);
        assert_eq!(call(1, Offset::CALL_FUNCTION_FROM), result);
        assert_eq!(call(1, Offset::CALL_FIRST_FROM), result);
        assert_eq!(call(2, Offset::CALL_UNLESS), result + Offset::CALL_BYTES as u64);
        assert_eq!(call(2, Offset::CALL_FIRST), 9);
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut order = Order::new(0, None);
        for _ in 0..CALLS_MAX {
            order.call(When::Always, Function::At(1), First::Value(0), 0);
        }
        let before = order.bytes().to_vec();
        order.call(When::Always, Function::At(2), First::Text(&[0; TEXT_MAX + 1]), 0);
        assert_eq!(order.bytes(), before);
    }

    #[test]
    fn a_place_is_in_the_middle_of_a_large_gap() {
        let maps = parse_maps(
            "1000-2000 r-xp 0 00:00 1 /program\n\
             5000000-6000000 rw-p 0 00:00 0 [heap]\n\
             7f0000000000-7f0000001000 r-xp 0 00:00 2 /library\n\
             7f0000400000-7f0000401000 r-xp 0 00:00 2 /other\n\
             7f0000402000-7f0000403000 rw-p 0 00:00 0\n\
             7ffd00000000-7ffd00021000 rw-p 0 00:00 0 [stack]\n",
        );
        // Between heap and library: those above are small, or below the stack.
        assert_eq!(choose(&maps), Some(u64::midpoint(0x600_0000, 0x7f00_0000_0000)));
        assert_eq!(choose(&maps[2..]), None);
        assert!(is_large_enough());
    }
}
