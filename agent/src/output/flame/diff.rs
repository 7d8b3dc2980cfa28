//! Differential flame graphs: `cpu.diff.svg`, `gpu.diff.svg`, `offcpu.diff.svg`, `memory.diff.svg`. As wide as the later
//! observation; colours tell what each frame's share was in the earlier one.
//!
//! Frames are matched by what they are called, from the root down, and not by what differs from run to
//! run: a Python frame's line (a line that moved is no new function; all lines of a function are one
//! frame here), the numbers of processes, threads and graphs, and addresses without a name. Stacks
//! that only the earlier observation has stand under `[only before]`, as wide as if both had been
//! equally long, so that nothing vanishes; where a branch has so few samples that chance explains that
//! it was not met again, it is left out, and the picture says how much that is.

use std::collections::{HashMap, HashSet};
use std::io;

use analysis::ids::{ProcessKey, Thread};

use super::change::{GONE, GREW, NEW, SAME, SHRANK, Scale};
use super::draw::{self, Look, NodeLook, Picture};
use super::prune::{self, SEED, Source, Tree, extend};
use super::{Which, title};
use crate::capture::Capture;
use crate::output::rows::{Row, Tint, Titles};
use crate::output::words;

/// What the earlier observation alone has.
const ONLY_BEFORE: &str = "[only before]";

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    Cpu,
    Gpu,
    OffCpu,
    /// Live bytes, which are what they are however long somebody looked.
    Memory,
}

impl Compared {
    const fn which(self) -> Which {
        match self {
            Self::Cpu => Which::Cpu,
            Self::Gpu => Which::Gpu,
            Self::OffCpu => Which::OffCpu,
            Self::Memory => Which::Memory,
        }
    }

    const fn what(self) -> &'static str {
        match self {
            Self::Cpu => "CPU time, after against before",
            Self::Gpu => "GPU time, after against before",
            Self::OffCpu => "time off the CPU, after against before",
            Self::Memory => "live memory, after against before",
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::Cpu => "samples",
            Self::Gpu | Self::OffCpu => "ns",
            Self::Memory => "bytes",
        }
    }

    /// What a frame's colour says.
    const fn colour(self) -> &'static str {
        match self {
            Self::Cpu | Self::Gpu | Self::OffCpu => {
                "share of all of it against before, as if both had been equally long"
            }
            Self::Memory => "bytes against before",
        }
    }

    fn scale(self, before: u64, after: u64) -> Scale {
        let sampled = self == Self::Cpu;
        match self {
            Self::Cpu | Self::Gpu | Self::OffCpu => Scale { before, after, sampled },
            // A byte is a byte.
            Self::Memory => {
                let all = before.max(after);
                Scale { before: all, after: all, sampled }
            }
        }
    }
}

/// The picture of `after` in the colours of its change against `before`.
pub fn diff(compared: Compared, before: &Capture, after: &Capture) -> io::Result<Vec<u8>> {
    let titles = [Titles::of(before), Titles::of(after)];
    let [before_side, after_side] = [
        Side::new(before, &titles[0], compared.which()),
        Side::new(after, &titles[1], compared.which()),
    ];
    let scale = compared.scale(before_side.total(), after_side.total());
    let both = Both::new(&before_side, &after_side, scale);
    let tree = prune::prune(&both)?;
    let looks = both.looks(&tree);
    let [gone, chance] = both.gone().map(|value| words::percent(value, scale.before));
    let chance = if chance < 0.05 {
        String::new()
    } else {
        format!(", {chance:.1} % was not met again by chance")
    };
    let picture = Picture {
        title: title(after, compared.what()),
        subtitle: format!(
            "Width: after. Colour: {}. {gone:.1} % of before stands under {ONLY_BEFORE}{chance}",
            compared.colour()
        ),
        unit: compared.unit().to_owned(),
        empty: "neither observation has any".to_owned(),
        legend: legend(scale.sampled),
    };
    draw::draw(&tree, &picture, &Look::ByNode(&looks))
}

fn legend(sampled: bool) -> Vec<(String, [u8; 3])> {
    let same = if sampled { "as before, or no more than chance" } else { "as before" };
    [
        ("grew (full: twice as much or more)", GREW),
        ("shrank (full: half or less)", SHRANK),
        (same, SAME),
        ("new", NEW),
        ("only before", GONE),
    ]
    .map(|(text, colour)| (text.to_owned(), colour))
    .to_vec()
}

/// Rows of one observation, with frames by what they are called.
struct Side<'c> {
    capture: &'c Capture,
    titles: &'c Titles,
    which: Which,
    processes: HashMap<ProcessKey, String>,
}

impl<'c> Side<'c> {
    fn new(capture: &'c Capture, titles: &'c Titles, which: Which) -> Self {
        let named = |info| {
            let title = words::role_and_rank(info);
            if info.title.is_empty() { title } else { format!("{title} ({})", info.title) }
        };
        let processes = capture.processes.iter().map(|(&process, info)| (process, named(info)));
        Self { capture, titles, which, processes: processes.collect() }
    }

    fn total(&self) -> u64 {
        let mut total = 0u64;
        self.visit(|_, value| total = total.saturating_add(value));
        total
    }

    fn visit(&self, mut each: impl FnMut(&[&str], u64)) {
        let mut names: Vec<&str> = Vec::new();
        let mut row = |row: Row<'_, 'c>| {
            names.clear();
            for frame in row.frames {
                names.push(match frame.tint {
                    Tint::Process => self.process(row.process),
                    Tint::Thread => self.thread(row.process, row.thread),
                    Tint::Marker if frame.name.starts_with("[graph ") => "[graph]",
                    // Where the loader put it tells nothing.
                    Tint::Host if frame.name.starts_with("0x") => "[code without a name]",
                    _ => frame.name,
                });
            }
            each(&names, row.value);
        };
        self.which.rows(self.capture, self.titles, &mut row);
    }

    fn process(&self, process: Option<ProcessKey>) -> &str {
        let known = process.and_then(|process| self.processes.get(&process));
        known.map_or("process", String::as_str)
    }

    /// By its name; numbers differ from run to run.
    fn thread(&self, process: Option<ProcessKey>, thread: Option<Thread>) -> &str {
        let (Some(process), Some(thread)) = (process, thread) else {
            return "thread";
        };
        if let Some(name) = self.capture.threads.get(&(process, thread)) {
            return name;
        }
        let info = self.capture.processes.get(&process);
        if info.is_some_and(|info| info.pid == thread.0) { "main thread" } else { "thread" }
    }
}

/// The later observation whole, and of the earlier one the stacks that the later one lacks.
struct Both<'s, 'c> {
    before: &'s Side<'c>,
    after: &'s Side<'c>,
    scale: Scale,
    /// Hashes of every stack of the later one, from the root to each of its frames.
    known: HashSet<u64>,
    /// Of the earlier one, by the hash up to the first frame that the later one lacks.
    lacking: HashMap<u64, u64>,
}

/// What the later observation knows of a stack of the earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Kept,
    /// It lacks it, and not by chance.
    Gone,
    Chance,
}

impl<'s, 'c> Both<'s, 'c> {
    fn new(before: &'s Side<'c>, after: &'s Side<'c>, scale: Scale) -> Self {
        let mut known = HashSet::new();
        after.visit(|stack, _| {
            let mut hash = SEED;
            for frame in stack {
                hash = extend(hash, frame);
                known.insert(hash);
            }
        });
        let mut both = Self { before, after, scale, known, lacking: HashMap::new() };
        let mut lacking: HashMap<u64, u64> = HashMap::new();
        before.visit(|stack, value| {
            if let Some(branch) = both.branch(stack) {
                let sum = lacking.entry(branch).or_default();
                *sum = sum.saturating_add(value);
            }
        });
        both.lacking = lacking;
        both
    }

    /// Where a stack leaves what the later observation knows: the hash up to that frame.
    fn branch(&self, stack: &[&str]) -> Option<u64> {
        let mut hash = SEED;
        stack.iter().find_map(|frame| {
            hash = extend(hash, frame);
            (!self.known.contains(&hash)).then_some(hash)
        })
    }

    fn fate(&self, stack: &[&str]) -> Fate {
        let Some(branch) = self.branch(stack) else {
            return Fate::Kept;
        };
        let value = self.lacking.get(&branch).copied().unwrap_or(0);
        if self.scale.is_chance(value, 0) { Fate::Chance } else { Fate::Gone }
    }

    /// Of the earlier one, what is gone, and what may be so by chance.
    fn gone(&self) -> [u64; 2] {
        let [mut gone, mut chance] = [0u64; 2];
        self.before.visit(|stack, value| match self.fate(stack) {
            Fate::Kept => {}
            Fate::Gone => gone = gone.saturating_add(value),
            Fate::Chance => chance = chance.saturating_add(value),
        });
        [gone, chance]
    }

    /// How each frame of the picture looks.
    fn looks(&self, tree: &Tree) -> Vec<NodeLook> {
        let before = self.before_values(tree);
        let mut is_gone = vec![false; tree.nodes.len()];
        let mut looks = Vec::with_capacity(tree.nodes.len());
        // A node's parent stands in front of it.
        for (index, node) in tree.nodes.iter().enumerate() {
            let gone = is_gone.get(index) == Some(&true) || tree.name(node) == Some(ONLY_BEFORE);
            for &child in node.children.iter().filter(|_| gone) {
                if let Some(flag) = is_gone.get_mut(child as usize) {
                    *flag = true;
                }
            }
            let was = before.get(index).copied().unwrap_or(0);
            let (colour, note) = if gone {
                let share = words::percent(was, self.scale.before);
                (GONE, format!("before {share:.2} %, gone"))
            } else {
                self.scale.change(was, node.total)
            };
            looks.push(NodeLook { colour, note });
        }
        looks
    }

    /// What the earlier observation has at each node.
    fn before_values(&self, tree: &Tree) -> Vec<u64> {
        let mut names: HashMap<&str, u32> = HashMap::new();
        for (id, name) in (0..).zip(&tree.names) {
            names.insert(name, id);
        }
        let mut children: HashMap<(u32, u32), u32> = HashMap::new();
        for (parent, node) in (0..).zip(&tree.nodes) {
            for &child in &node.children {
                if let Some(below) = tree.nodes.get(child as usize) {
                    children.insert((parent, below.name), child);
                }
            }
        }
        let mut values = vec![0u64; tree.nodes.len()];
        let mut descend = |stack: &mut dyn Iterator<Item = &str>, value: u64| {
            let mut node = 0u32;
            for frame in stack {
                let name = names.get(frame).copied();
                let Some(&child) = name.and_then(|name| children.get(&(node, name))) else {
                    break;
                };
                node = child;
                if let Some(sum) = values.get_mut(node as usize) {
                    *sum = sum.saturating_add(value);
                }
            }
        };
        self.before.visit(|stack, value| {
            descend(&mut stack.iter().copied(), value);
            if self.fate(stack) == Fate::Gone {
                descend(&mut std::iter::once(ONLY_BEFORE).chain(stack.iter().copied()), value);
            }
        });
        if let Some(root) = values.first_mut() {
            *root = self.scale.before;
        }
        values
    }
}

impl Source for Both<'_, '_> {
    fn visit(&self, each: &mut dyn FnMut(&[&str], u64)) -> io::Result<()> {
        self.after.visit(|stack, value| each(stack, value));
        // Scaled as a running sum, so that no stack is rounded away with the others like it.
        let (mut sum, mut told) = (0u64, 0u64);
        self.before.visit(|stack, value| {
            if self.fate(stack) != Fate::Gone {
                return;
            }
            sum = sum.saturating_add(value);
            let scaled = self.scale.as_after(sum);
            let width = scaled.saturating_sub(told);
            told = scaled;
            let names: Vec<&str> =
                std::iter::once(ONLY_BEFORE).chain(stack.iter().copied()).collect();
            each(&names, width);
        });
        Ok(())
    }

    fn colour(&self, _: &str) -> [u8; 3] {
        SAME
    }
}

#[cfg(test)]
mod tests;
