//! Stacks as addresses, interned once; symbols beside them; joined only when somebody asks.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use analysis::ids::{ProcessKey, StackId};

use super::Symbol;
use crate::capture::{Frame, Language, Stack};
use crate::python::passes_calls;
use crate::stack::Place;
use wire::shim::PROBE_SYMBOL;

/// Functions that a sampled block is asked for with, as the shim's stand-ins for them are called, too.
const ALLOCATING: [&str; 9] = [
    "malloc",
    "calloc",
    "realloc",
    "reallocarray",
    "memalign",
    "aligned_alloc",
    "valloc",
    "pvalloc",
    "posix_memalign",
];

/// What the kernel calls a file in memory, as the shim is where it was brought in.
const IN_MEMORY: &str = "memfd:";

/// Modules below a launch call: what they do on the way to the probe point is not the user's code.
const BELOW_A_LAUNCH: [&str; 4] = ["libwarplens", "libcupti", "libcuda.so", "libcudart.so"];

/// Distinct stacks kept. A vLLM worker shows a few thousand; 127 addresses each make this 270 MiB
/// at the very worst, 20 MiB at the usual depth and count.
const STACKS_MAX: usize = 1 << 18;

/// Distinct addresses kept with their frames. A vLLM worker shows tens of thousands.
const SYMBOLS_MAX: usize = 1 << 20;

/// Addresses of one process whose meaning is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unresolved {
    pub process: ProcessKey,
    pub pid: u32,
    pub addresses: Vec<u64>,
}

#[derive(Debug, Default)]
pub(super) struct StackTable {
    ids: HashMap<(ProcessKey, Arc<[u64]>), StackId>,
    /// The same by id.
    by_id: Vec<(ProcessKey, Arc<[u64]>)>,
    symbols: HashMap<(ProcessKey, u64), Vec<Arc<Frame>>>,
    /// Asked for once each, whether or not an answer came.
    asked: HashSet<(ProcessKey, u64)>,
    unasked: Vec<(ProcessKey, u64)>,
    refused: u64,
    symbols_refused: u64,
}

impl StackTable {
    /// The id of this stack, leaf first; `None` for no addresses or a full table.
    pub(super) fn intern(&mut self, process: ProcessKey, addresses: Vec<u64>) -> Option<StackId> {
        if addresses.is_empty() {
            return None;
        }
        let room = self.ids.len() < STACKS_MAX;
        let next = StackId(u32::try_from(self.ids.len()).unwrap_or(u32::MAX));
        match self.ids.entry((process, addresses.into())) {
            Entry::Occupied(entry) => Some(*entry.get()),
            Entry::Vacant(entry) if room => {
                for &address in entry.key().1.iter() {
                    let key = (process, address);
                    if matches!(Place::from_bits(address), Place::Remark(_)) {
                        continue;
                    }
                    if self.asked.len() < SYMBOLS_MAX && self.asked.insert(key) {
                        self.unasked.push(key);
                    }
                }
                self.by_id.push(entry.key().clone());
                Some(*entry.insert(next))
            }
            Entry::Vacant(_) => {
                self.refused += 1;
                None
            }
        }
    }

    pub(super) fn add_symbols(&mut self, process: ProcessKey, symbols: Vec<Symbol>) {
        for Symbol { address, frames } in symbols {
            let key = (process, address);
            if self.symbols.len() >= SYMBOLS_MAX && !self.symbols.contains_key(&key) {
                self.symbols_refused += 1;
            } else {
                let frames = frames.into_iter().map(Arc::new).collect();
                self.symbols.insert(key, frames);
            }
        }
    }

    pub(super) fn take_unresolved(
        &mut self,
        pid: impl Fn(ProcessKey) -> Option<u32>,
    ) -> Vec<Unresolved> {
        let mut by_process: BTreeMap<ProcessKey, Vec<u64>> = BTreeMap::new();
        for key in self.unasked.drain(..) {
            if !self.symbols.contains_key(&key) {
                by_process.entry(key.0).or_default().push(key.1);
            }
        }
        by_process
            .into_iter()
            .filter_map(|(process, addresses)| {
                Some(Unresolved { process, pid: pid(process)?, addresses })
            })
            .collect()
    }

    /// Every stack with its frames, root first.
    pub(super) fn resolved(&self) -> HashMap<StackId, Stack> {
        self.ids
            .iter()
            .map(|((process, addresses), &id)| (id, self.stack(*process, addresses)))
            .collect()
    }

    /// One stack with the names that are known; whether all of them are.
    pub(super) fn one(&self, id: StackId) -> Option<(Stack, bool)> {
        let (process, addresses) = self.addresses(id)?;
        Some((self.stack(*process, addresses), self.is_named(id)))
    }

    /// Whether the names of all its frames are known.
    pub(super) fn is_named(&self, id: StackId) -> bool {
        self.addresses(id).is_some_and(|(process, addresses)| {
            addresses.iter().all(|&address| {
                self.symbols.contains_key(&(*process, address))
                    || Place::from_bits(address).own_frame().is_some()
            })
        })
    }

    fn addresses(&self, id: StackId) -> Option<&(ProcessKey, Arc<[u64]>)> {
        self.by_id.get(usize::try_from(id.0).ok()?)
    }

    fn stack(&self, process: ProcessKey, addresses: &[u64]) -> Stack {
        let mut frames = Vec::with_capacity(addresses.len());
        let mut cut = false;
        for &address in addresses {
            let known = self.symbols.get(&(process, address)).filter(|frames| !frames.is_empty());
            if let Some(known) = known {
                frames.extend(known.iter().cloned());
                continue;
            }
            let place = Place::from_bits(address);
            frames.push(Arc::new(place.own_frame().unwrap_or_else(|| unnamed(place))));
            cut |= matches!(place, Place::Remark(remark) if remark.is_cut());
        }
        drop_own_programs(&mut frames);
        drop_passing_calls(&mut frames);
        trim_launch(&mut frames);
        frames.reverse();
        let whole = frames.first().is_some_and(|root| begins_a_stack(root));
        Stack { frames, cut: cut || !whole }
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    pub(super) fn symbols_refused(&self) -> u64 {
        self.symbols_refused
    }
}

/// A stack of the kernel (leaf first) that was taken by a program of ours ends in that program: what the
/// kernel did to get there is not the thread's doing.
fn drop_own_programs(frames: &mut Vec<Arc<Frame>>) {
    const WAY: [&str; 4] = ["bpf_prog_", "bpf_trace_run", "__bpf_trace_", "__traceiter_"];
    let kernel = frames.iter().take_while(|frame| frame.language == Language::Kernel).count();
    let ours = |frame: &Arc<Frame>| WAY.iter().any(|start| frame.function.starts_with(start));
    let last = frames.iter().take(kernel).rposition(ours);
    frames.drain(..last.map_or(0, |last| last + 1));
}

/// Functions of the interpreter that only pass a call on say nothing beside the Python function that
/// calls or is called. Those that the compiler inlined come to light with the names.
fn drop_passing_calls(frames: &mut Vec<Arc<Frame>>) {
    let passes =
        |frame: &Frame| frame.language == Language::Native && passes_calls(&frame.function);
    let is_python = |frame: &Frame| frame.language == Language::Python;
    if !frames.iter().any(|frame| is_python(frame)) {
        return;
    }
    let mut kept: Vec<Arc<Frame>> = Vec::with_capacity(frames.len());
    let mut run: Vec<Arc<Frame>> = Vec::new();
    for frame in frames.drain(..) {
        if passes(&frame) {
            run.push(frame);
            continue;
        }
        let touches = is_python(&frame) || kept.last().is_some_and(|last| is_python(last));
        if touches {
            run.clear();
        }
        kept.append(&mut run);
        kept.push(frame);
    }
    if !kept.last().is_some_and(|last| is_python(last)) {
        kept.append(&mut run);
    }
    *frames = kept;
}

/// The stack of a launch or of an allocation (leaf first) ends at the function of CUDA or of the allocator that was
/// called: the frames between it and the probe point are dropped.
fn trim_launch(frames: &mut Vec<Arc<Frame>>) {
    if frames.first().is_none_or(|leaf| leaf.function != PROBE_SYMBOL) {
        return;
    }
    let below = |frame: &Frame| {
        let module = frame.module.as_deref().unwrap_or("");
        let module = module.strip_prefix(IN_MEMORY).unwrap_or(module);
        BELOW_A_LAUNCH.iter().any(|name| module.starts_with(name))
    };
    let inside = frames.iter().take_while(|frame| below(frame)).count();
    // The outermost of them that has the name of a function that is called stays, to say what was.
    let known = |frame: &Frame| {
        frame.function.starts_with("cu") || ALLOCATING.contains(&frame.function.as_str())
    };
    let called = frames[..inside].iter().rposition(|frame| known(frame)).unwrap_or(inside);
    frames.drain(..called);
}

fn unnamed(place: Place) -> Frame {
    let (language, function) = match place {
        Place::User(address) => (Language::Native, format!("0x{address:x}")),
        Place::Kernel(address) => (Language::Kernel, format!("0x{address:x}")),
        Place::Python(number) => (Language::Python, format!("[Python function {number}]")),
        Place::Remark(remark) => (Language::Remark, remark.text().to_owned()),
    };
    Frame { language, function, ..Frame::default() }
}

/// Whether nothing calls this frame. Where a walk ended early without saying so, something does.
fn begins_a_stack(root: &Frame) -> bool {
    match root.language {
        Language::Native => starts_a_thread(&root.function) || is_nameless_libc(root),
        // Python's frames come from a list with an end of its own, and a thread of the kernel has no
        // other root.
        Language::Python | Language::Kernel => true,
        // What is no cut says nothing of the root.
        Language::Remark => false,
    }
}

/// Where a distribution strips libc, the function that starts a thread has no name.
fn is_nameless_libc(root: &Frame) -> bool {
    const LIBC: [&str; 4] = ["libc.so", "libc-", "ld-linux", "ld-musl"];
    let module = root.module.as_deref().unwrap_or_default();
    LIBC.iter().any(|start| module.starts_with(start))
        && root.function.strip_prefix(module).is_some_and(|rest| rest.starts_with("+0x"))
}

/// Whether nothing calls this function: a walk that ends elsewhere lost its way.
fn starts_a_thread(function: &str) -> bool {
    const FIRST: [&str; 8] = [
        "_start",
        "__libc_start_main",
        "__libc_start_call_main",
        "clone",
        "__clone",
        "clone3",
        "start_thread",
        "thread_start",
    ];
    let bare = function.split_once('@').map_or(function, |(bare, _)| bare);
    FIRST.contains(&bare) || bare.starts_with("__libc_start_main_") || bare.starts_with("__clone3")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trimmed(leaf_first: &[(&str, &str)]) -> Vec<String> {
        let frame = |&(function, module): &(&str, &str)| {
            let (function, module) = (function.to_owned(), Some(module.to_owned()));
            Arc::new(Frame { function, module, ..Frame::default() })
        };
        let mut frames: Vec<Arc<Frame>> = leaf_first.iter().map(frame).collect();
        trim_launch(&mut frames);
        frames.iter().map(|frame| frame.function.clone()).collect()
    }

    /// Loaded from a file, or brought in as a file in memory.
    #[test]
    fn a_stack_ends_at_what_was_called() {
        for shim in ["libwarplens_cuda.so", "memfd:libwarplens_cuda.so"] {
            let launch = trimmed(&[
                (PROBE_SYMBOL, shim),
                ("on_launch", shim),
                ("libcupti.so.12+0x12", "libcupti.so.12"),
                ("cuLaunchKernel", "libcuda.so.1"),
                ("cudaLaunchKernel", "libcudart.so.12"),
                ("launch_gemm", "vllm"),
            ]);
            assert_eq!(launch, ["cudaLaunchKernel", "launch_gemm"]);
            let block = [(PROBE_SYMBOL, shim), ("tell", shim), ("malloc", shim), ("parse", "app")];
            assert_eq!(trimmed(&block), ["malloc", "parse"]);
            let nameless = [(PROBE_SYMBOL, shim), ("tell", shim), ("parse", "app")];
            assert_eq!(trimmed(&nameless), ["parse"]);
        }
        let other = [("malloc", "libc.so.6"), ("parse", "app")];
        assert_eq!(trimmed(&other), ["malloc", "parse"]);
    }
}
