use std::array::from_fn;

use proptest::prelude::{any, prop, prop_assert, proptest};
use wire::shim::graph_kind;

use super::*;

/// The memory of a worker.
struct Memory {
    used: Cursor,
    entries: Vec<GraphSlot>,
    captures: Vec<AtomicU32>,
    filled: Cursor,
    stacks: Vec<AtomicU64>,
}

fn cursor() -> Cursor {
    Cursor { position: AtomicU64::new(0), reserved: from_fn(|_| AtomicU64::new(0)) }
}

impl Memory {
    fn new() -> Self {
        let slot = || {
            let [node, original_node, graphs, time_ns, kind_and_type] =
                from_fn(|_| AtomicU64::new(0));
            GraphSlot { node, original_node, graphs, time_ns, kind_and_type }
        };
        Self {
            used: cursor(),
            entries: (0..GRAPH_ENTRIES).map(|_| slot()).collect(),
            captures: (0..GRAPH_ENTRIES).map(|_| AtomicU32::new(0)).collect(),
            filled: cursor(),
            stacks: (0..CAPTURE_WORDS).map(|_| AtomicU64::new(0)).collect(),
        }
    }

    fn area(&self) -> Area<'_> {
        let Self { used, entries, captures, filled, stacks } = self;
        Area { used, entries, captures, filled, stacks }
    }

    /// What the shim does for a new node.
    fn create(&self, node: u64) -> u32 {
        let position = self.used.position.fetch_add(1, Ordering::Relaxed);
        let slot = &self.entries[usize::try_from(position).unwrap()];
        slot.node.store(node, Ordering::Relaxed);
        slot.kind_and_type.store(graph_kind::NODE_CREATED.into(), Ordering::Release);
        u32::try_from(position).unwrap()
    }
}

#[test]
fn a_second_agent_has_the_stacks_of_the_first() {
    let memory = Memory::new();
    let mut first = Captures::new(Some(memory.area()));
    let entries: Vec<u32> = (1..=4).map(|node| memory.create(node)).collect();
    first.keep(memory.area(), entries[0], &[1, 2, 3]);
    first.keep(memory.area(), entries[1], &[4]);
    first.keep(memory.area(), entries[3], &[1, 2, 3]);
    let news = first.read(memory.area());
    assert_eq!((news.first, news.entries.len()), (0, 4));
    assert_eq!(news.stacks, [], "its own stacks it has from the kernel");

    let mut second = Captures::new(Some(memory.area()));
    let later = memory.create(5);
    let news = second.read(memory.area());
    assert_eq!(news.entries.iter().map(|words| words[0]).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
    let expected = [(vec![entries[0], entries[3]], vec![1, 2, 3]), (vec![entries[1]], vec![4])];
    assert_eq!(news.stacks, expected);
    let filled = memory.filled.position.load(Ordering::Relaxed);
    second.keep(memory.area(), later, &[1, 2, 3]);
    assert_eq!(
        memory.filled.position.load(Ordering::Relaxed),
        filled,
        "a known stack takes no room"
    );
    assert_eq!(second.read(memory.area()), GraphNews { first: 5, ..GraphNews::default() });
    let third = Captures::new(Some(memory.area())).read(memory.area());
    assert_eq!(third.stacks[0].0, [entries[0], entries[3], later]);
}

#[test]
fn an_entry_that_is_being_written_is_read_when_it_is_done() {
    let memory = Memory::new();
    let mut captures = Captures::default();
    memory.create(1);
    memory.used.position.store(2, Ordering::Relaxed);
    assert_eq!(captures.read(memory.area()).entries.len(), 1);
    memory.entries[1].kind_and_type.store(1, Ordering::Release);
    let news = captures.read(memory.area());
    assert_eq!((news.first, news.entries.len()), (1, 1));
}

#[test]
fn a_full_area_is_counted_and_keeps_what_it_has() {
    let memory = Memory::new();
    let mut captures = Captures::default();
    let mut kept = 0;
    for node in 0..6000_u64 {
        let entry = memory.create(node + 1);
        let addresses: Vec<u64> = (0..100).map(|frame| node << 8 | frame).collect();
        captures.keep(memory.area(), entry, &addresses);
        kept += u64::from(captures.refused() == 0);
    }
    assert_eq!(kept, (CAPTURE_WORDS as u64 - 1) / 101);
    assert_eq!(captures.refused(), 6000 - kept);
    let mut next = Captures::new(Some(memory.area()));
    let news = next.read(memory.area());
    assert_eq!((news.entries.len(), news.stacks.len() as u64), (6000, kept));
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(24))]
    /// A process that writes anything anywhere: no panic, and nothing longer than a stack.
    #[test]
    fn hostile_memory_reads_as_nothing_or_as_a_stack(
        cursors in any::<[u64; 2]>(),
        entries in prop::collection::vec(any::<[u64; 5]>(), 0..20),
        captures in prop::collection::vec(any::<u32>(), 0..20),
        lengths in prop::collection::vec((0_u32..1 << 20, any::<u64>()), 0..20),
    ) {
        let memory = Memory::new();
        for (slot, words) in memory.entries.iter().zip(&entries) {
            slot.node.store(words[0], Ordering::Relaxed);
            slot.kind_and_type.store(words[4], Ordering::Relaxed);
        }
        for (slot, place) in memory.captures.iter().zip(&captures) {
            slot.store(*place, Ordering::Relaxed);
        }
        let places = lengths.iter().map(|&(place, _)| place).chain([u32::MAX, 1 << 19]);
        for (slot, place) in memory.captures.iter().skip(captures.len()).zip(places) {
            slot.store(place, Ordering::Relaxed);
        }
        for &(place, length) in &lengths {
            if let Some(word) = memory.stacks.get(place as usize) {
                word.store(length % 256, Ordering::Relaxed);
            }
        }
        for (used, filled) in [(cursors[0], cursors[1]), (u64::MAX, 1 << 19), (30, 0)] {
            memory.used.position.store(used, Ordering::Relaxed);
            memory.filled.position.store(filled, Ordering::Relaxed);
            let mut reader = Captures::new(Some(memory.area()));
            let news = reader.read(memory.area());
            prop_assert!(news.entries.len() <= GRAPH_ENTRIES);
            for (positions, addresses) in news.stacks {
                prop_assert!(!positions.is_empty());
                prop_assert!((1..=STACK_FRAMES).contains(&addresses.len()));
            }
            reader.keep(memory.area(), u32::MAX, &[1]);
            reader.keep(memory.area(), 3, &[7, 8]);
        }
    }
}
