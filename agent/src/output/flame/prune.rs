//! Which frames of a set of stacks are wide enough to be seen, with exact widths, in memory that
//! depends on the picture and not on the number of stacks.
//!
//! Two passes over the stacks. The first adds each prefix's value to a cell of a fixed table,
//! chosen by the prefix's hash: a cell is at least as large as any prefix in it. The second builds
//! the tree, and goes down a stack only while the prefix's cell reaches the visible width. What
//! hash collisions let in too much is dropped by its exact value at the end.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::io;

/// Stacks that can be walked more than once, in the same order or another.
pub trait Source {
    /// Calls `each` with every stack, root first, and its value.
    fn visit(&self, each: &mut dyn FnMut(&[&str], u64)) -> io::Result<()>;

    /// Red, green, blue of a frame.
    fn colour(&self, frame: &str) -> [u8; 3];
}

/// Cells of the table: 8 MiB. With 10^6 stacks 30 deep, the mean cell then holds 3e-5 of
/// the total, below [`VISIBLE`].
const CELLS: usize = 1 << 20;

/// Share of the total under which a frame is not drawn: an eighth of a pixel of 1200.
const VISIBLE: f64 = 1e-4;

/// Frames, summed over all stacks, up to which everything is kept: a viewer that zooms in then
/// finds every frame, and the file stays below 20 MB.
const KEEP_ALL: u64 = 20_000;

/// A drawn frame.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: u32,
    pub(super) total: u64,
    pub(super) children: Vec<u32>,
}

/// Frames to draw. Node 0 is the root of all, nameless.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) nodes: Vec<Node>,
    pub(super) names: Vec<String>,
    /// Value a frame needs to be drawn; 0 when everything is.
    pub(super) threshold: u64,
}

impl Tree {
    pub(super) fn name(&self, node: &Node) -> Option<&str> {
        self.names.get(node.name as usize).map(String::as_str)
    }
}

pub(super) fn prune(source: &dyn Source) -> io::Result<Tree> {
    let (mut total, mut frames) = (0u64, 0u64);
    let mut cells = vec![0u64; CELLS];
    source.visit(&mut |stack, value| {
        total = total.saturating_add(value);
        frames = frames.saturating_add(stack.len() as u64);
        let mut hash = SEED;
        for frame in stack {
            hash = extend(hash, frame);
            if let Some(cell) = cells.get_mut(cell_of(hash)) {
                *cell = cell.saturating_add(value);
            }
        }
    })?;
    let threshold = if frames <= KEEP_ALL { 0 } else { visible(total) };
    let mut builder = Builder::new(total);
    source.visit(&mut |stack, value| {
        let mut hash = SEED;
        let mut node = 0;
        for frame in stack {
            hash = extend(hash, frame);
            if cells.get(cell_of(hash)).is_some_and(|&cell| cell < threshold) {
                break;
            }
            node = builder.child_at(node, frame, hash);
            builder.add(node, value);
        }
    })?;
    Ok(builder.finish(threshold))
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a threshold, far below 2^53 and never negative"
)]
fn visible(total: u64) -> u64 {
    (total as f64 * VISIBLE) as u64
}

struct Builder {
    nodes: Vec<Node>,
    names: Vec<String>,
    name_ids: HashMap<String, u32, BuildHasherDefault<Quick>>,
    child_ids: HashMap<(u32, u32), u32, BuildHasherDefault<Quick>>,
    /// A node and its parent by the hash of its prefix: a guess that is checked.
    guesses: HashMap<u64, (u32, u32), BuildHasherDefault<Quick>>,
}

impl Builder {
    fn new(total: u64) -> Self {
        Self {
            nodes: vec![Node { name: u32::MAX, total, children: Vec::new() }],
            names: Vec::new(),
            name_ids: HashMap::default(),
            child_ids: HashMap::default(),
            guesses: HashMap::default(),
        }
    }

    fn child_at(&mut self, parent: u32, frame: &str, hash: u64) -> u32 {
        if let Some(&(node, of)) = self.guesses.get(&hash)
            && of == parent
            && self.name(node) == Some(frame)
        {
            return node;
        }
        let node = self.child(parent, frame);
        self.guesses.entry(hash).or_insert((node, parent));
        node
    }

    fn name(&self, node: u32) -> Option<&str> {
        let name = self.nodes.get(node as usize)?.name;
        self.names.get(name as usize).map(String::as_str)
    }

    fn child(&mut self, parent: u32, frame: &str) -> u32 {
        let name = if let Some(&name) = self.name_ids.get(frame) {
            name
        } else {
            let name = id(self.names.len());
            self.names.push(frame.to_owned());
            self.name_ids.insert(frame.to_owned(), name);
            name
        };
        *self.child_ids.entry((parent, name)).or_insert_with(|| {
            let node = id(self.nodes.len());
            self.nodes.push(Node { name, total: 0, children: Vec::new() });
            if let Some(parent) = self.nodes.get_mut(parent as usize) {
                parent.children.push(node);
            }
            node
        })
    }

    fn add(&mut self, node: u32, value: u64) {
        if let Some(node) = self.nodes.get_mut(node as usize) {
            node.total = node.total.saturating_add(value);
        }
    }

    fn finish(self, threshold: u64) -> Tree {
        let Self { mut nodes, names, .. } = self;
        let totals: Vec<u64> = nodes.iter().map(|node| node.total).collect();
        for node in &mut nodes {
            node.children.retain(|&child| {
                totals.get(child as usize).is_some_and(|&total| total >= threshold)
            });
        }
        Tree { nodes, names, threshold }
    }
}

/// Nodes and names stay far below 2^32: the visible width bounds them.
fn id(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

pub(super) const SEED: u64 = 0x9e37_79b9_7f4a_7c15;
const MULTIPLIER: u64 = 0xf135_7aea_2e62_a9c5;

fn mix(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(26) ^ word).wrapping_mul(MULTIPLIER)
}

fn mix_bytes(mut hash: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        hash = mix(hash, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    mix(mix(hash, u64::from_le_bytes(last)), bytes.len() as u64)
}

/// Hash of a prefix one frame longer. The 16-byte parts of a name are mixed independently of each
/// other, which a processor does at once; each has its own key, so that their order counts.
pub(super) fn extend(hash: u64, frame: &str) -> u64 {
    let bytes = frame.as_bytes();
    let (parts, rest) = bytes.as_chunks::<16>();
    let mut last = [0; 16];
    for (to, from) in last.iter_mut().zip(rest) {
        *to = *from;
    }
    let mut key = SEED;
    let mut sum = fold(last, key ^ bytes.len() as u64);
    for part in parts {
        key = key.wrapping_add(MULTIPLIER);
        sum ^= fold(*part, key);
    }
    mix(hash, sum)
}

/// 16 bytes as one product, its halves folded together.
fn fold(bytes: [u8; 16], key: u64) -> u64 {
    let product = u128::from_le_bytes(bytes) ^ (u128::from(key) << 64 | u128::from(!key));
    let (low, high) = (product & u128::from(u64::MAX), product >> 64);
    let product = low * high;
    low_half(product) ^ low_half(product >> 64)
}

#[expect(clippy::cast_possible_truncation, reason = "the low half is what is asked for")]
fn low_half(number: u128) -> u64 {
    number as u64
}

/// The high bits: a multiplication mixes upwards.
fn cell_of(hash: u64) -> usize {
    usize::try_from(hash >> (64 - CELLS.trailing_zeros())).unwrap_or(0)
}

/// The same mixing for the hash tables: keys are ours, speed is what matters.
#[derive(Default)]
struct Quick(u64);

impl Hasher for Quick {
    fn finish(&self) -> u64 {
        self.0.rotate_left(20)
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = mix_bytes(self.0, bytes);
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = mix(self.0, number);
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = mix(self.0, u64::from(number));
    }

    fn write_u8(&mut self, number: u8) {
        self.0 = mix(self.0, u64::from(number));
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug)]
    struct List(Vec<(Vec<&'static str>, u64)>);

    impl Source for List {
        fn visit(&self, each: &mut dyn FnMut(&[&str], u64)) -> io::Result<()> {
            for (stack, value) in &self.0 {
                each(stack, *value);
            }
            Ok(())
        }

        fn colour(&self, _: &str) -> [u8; 3] {
            [0; 3]
        }
    }

    /// Every prefix with its total, by the obvious way.
    fn brute_force(list: &List) -> BTreeMap<String, u64> {
        let mut totals = BTreeMap::new();
        for (stack, value) in &list.0 {
            for end in 1..=stack.len() {
                *totals.entry(stack[..end].join(";")).or_default() += value;
            }
        }
        totals
    }

    fn paths(tree: &Tree) -> BTreeMap<String, u64> {
        let mut paths = BTreeMap::new();
        let mut open = vec![(0u32, String::new())];
        while let Some((node, path)) = open.pop() {
            for &child in &tree.nodes[node as usize].children {
                let node = &tree.nodes[child as usize];
                let name = &tree.names[node.name as usize];
                let path = if path.is_empty() { name.clone() } else { format!("{path};{name}") };
                paths.insert(path.clone(), node.total);
                open.push((child, path));
            }
        }
        paths
    }

    fn stacks() -> impl Strategy<Value = List> {
        let name = prop::sample::select(vec!["a", "b", "c", "dd", "a long frame name, really"]);
        prop::collection::vec((prop::collection::vec(name, 0..6), 0u64..1_000_000), 0..40)
            .prop_map(List)
    }

    proptest! {
        #[test]
        fn few_stacks_are_all_kept_exactly(list in stacks()) {
            let tree = prune(&list).unwrap();
            prop_assert_eq!(tree.threshold, 0);
            prop_assert_eq!(paths(&tree), brute_force(&list));
        }
    }

    #[test]
    fn many_stacks_keep_exactly_the_visible_frames() {
        const NAMES: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];
        // A fixed pseudo-random walk: deep, skewed, with a long tail of narrow stacks.
        let mut state = 7u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize
        };
        let list = List(
            (0..20_000)
                .map(|_| {
                    let depth = 3 + next() % 9;
                    let stack = (0..depth).map(|_| NAMES[next() % (1 + next() % 12)]).collect();
                    (stack, 1 + (next() % 1_000) as u64)
                })
                .collect(),
        );
        let tree = prune(&list).unwrap();
        assert!(tree.threshold > 0, "the list is long enough to be pruned");
        let expected: BTreeMap<String, u64> =
            brute_force(&list).into_iter().filter(|&(_, total)| total >= tree.threshold).collect();
        assert_eq!(paths(&tree), expected);
    }
}
