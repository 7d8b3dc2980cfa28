//! Modules and kernels. A kernel is a name and a duration; PTX text is searched for `.entry NAME`.
//!
//! The name's ending `__simNNNN` makes it run NNNN ns and is left out of records; otherwise
//! `WARPLENS_SIM_KERNELS` may give a mean; otherwise a hash of the name picks 2 to 200 us.

use std::collections::{BTreeMap, HashMap};
use std::ffi::c_char;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

use sim_channel::{lock, random};

use crate::config;
use crate::error::{CuError, INVALID_IMAGE, INVALID_PTX, NOT_FOUND};
use crate::pool::{Pool, Tag};
use crate::truth;

/// A loaded module.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) handle: usize,
    /// CUPTI's number, and what a record names to keep its name alive.
    pub(crate) number: usize,
    /// Made for a kernel that exists by being named.
    pub(crate) implicit: bool,
    names: Vec<(String, usize)>,
    arena: Arena,
    functions: Mutex<HashMap<String, Arc<Function>>>,
    /// Records that still point into the arena.
    pending: AtomicU64,
    unloaded: AtomicBool,
}

/// A kernel.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) handle: usize,
    pub(crate) module: Arc<Module>,
    name_offset: usize,
    /// Number of the name in the truth file.
    pub(crate) truth_name: u32,
    timing: Timing,
    hash: u64,
    launches: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timing {
    Exactly(u64),
    Around(config::Duration),
}

static MODULES: Pool<Module> = Pool::new(Tag::Module);
static FUNCTIONS: Pool<Function> = Pool::new(Tag::Function);
/// Modules by number, for as long as records may name them.
static NUMBERED: Mutex<BTreeMap<usize, Arc<Module>>> = Mutex::new(BTreeMap::new());
static NUMBERS: AtomicUsize = AtomicUsize::new(0);

/// Loads an image.
pub(crate) fn load(image: &[u8]) -> Result<Arc<Module>, CuError> {
    if image.starts_with(b"\x7fELF") || image.starts_with(&[0x50, 0xed, 0x55, 0xba]) {
        return Err(INVALID_IMAGE);
    }
    let text = std::str::from_utf8(image).map_err(|_error| INVALID_PTX)?;
    if !text.contains(".version") {
        return Err(INVALID_PTX);
    }
    Ok(create(&entries(text), false))
}

/// Names after `.entry` in PTX text.
fn entries(ptx: &str) -> Vec<String> {
    let code = ptx.lines().map(|line| line.split("//").next().unwrap_or(""));
    let text: Vec<&str> = code.collect();
    text.join("\n")
        .split(".entry")
        .skip(1)
        .filter_map(|rest| {
            let name: String = rest
                .trim_start()
                .chars()
                .take_while(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | '%'))
                .collect();
            (!name.is_empty()).then_some(name)
        })
        .collect()
}

fn create(names: &[String], implicit: bool) -> Arc<Module> {
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed) + 1;
    let shown: Vec<&str> = names.iter().map(|name| split(name).0).collect();
    let (arena, offsets) = Arena::filled(&shown);
    let (_, module) = MODULES.insert(|handle| Module {
        handle,
        number,
        implicit,
        names: names.iter().cloned().zip(offsets).collect(),
        arena,
        functions: Mutex::default(),
        pending: AtomicU64::new(0),
        unloaded: AtomicBool::new(false),
    });
    lock(&NUMBERED).insert(number, Arc::clone(&module));
    module
}

pub(crate) fn get(handle: usize) -> Result<Arc<Module>, CuError> {
    MODULES.get(handle)
}

/// Makes a module's and its functions' handles invalid. Its names stay until no record needs them.
pub(crate) fn unload(handle: usize) -> Result<(), CuError> {
    let module = MODULES.remove(handle)?;
    for (_, function) in lock(&module.functions).drain() {
        // Only handed out here, so it is there.
        drop(FUNCTIONS.remove(function.handle));
    }
    module.unloaded.store(true, Ordering::SeqCst);
    if module.pending.load(Ordering::SeqCst) == 0 {
        forget(module.number);
    }
    Ok(())
}

/// `count` records that named a module's kernels are gone.
pub(crate) fn release(number: usize, count: u64) {
    let module = lock(&NUMBERED).get(&number).cloned();
    let Some(module) = module else { return };
    let left = module.pending.fetch_sub(count, Ordering::SeqCst) - count;
    if left == 0 && module.unloaded.load(Ordering::SeqCst) {
        forget(number);
    }
}

fn forget(number: usize) {
    lock(&NUMBERED).remove(&number);
}

pub(crate) fn function(handle: usize) -> Result<Arc<Function>, CuError> {
    FUNCTIONS.get(handle)
}

/// Name of a function as records show it; null for no function. For ENTER callbacks.
pub(crate) fn symbol(handle: usize) -> *const c_char {
    function(handle).map_or(std::ptr::null(), |function| function.name())
}

/// A kernel that exists by being named: what the simulated runtime registers.
pub(crate) fn named(name: &str) -> Arc<Function> {
    static NAMED: OnceLock<Mutex<HashMap<String, Arc<Function>>>> = OnceLock::new();
    let mut known = lock(NAMED.get_or_init(Mutex::default));
    if let Some(function) = known.get(name) {
        return Arc::clone(function);
    }
    let module = create(&[name.to_owned()], true);
    // The module has the one name it was made with.
    let function = match module.function(name) {
        Ok(function) => function,
        Err(_) => Function::insert(&module, name, 0),
    };
    known.insert(name.to_owned(), Arc::clone(&function));
    function
}

impl Module {
    /// A kernel of the module.
    pub(crate) fn function(self: &Arc<Self>, name: &str) -> Result<Arc<Function>, CuError> {
        let mut functions = lock(&self.functions);
        if let Some(function) = functions.get(name) {
            return Ok(Arc::clone(function));
        }
        let offset = self.names.iter().find(|(own, _)| own == name).ok_or(NOT_FOUND)?.1;
        let function = Function::insert(self, name, offset);
        functions.insert(name.to_owned(), Arc::clone(&function));
        Ok(function)
    }

    /// Kernels in the module.
    pub(crate) fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.names.iter().map(|(name, _)| name.as_str())
    }

    /// One more record points into the arena.
    pub(crate) fn hold(&self) {
        self.pending.fetch_add(1, Ordering::SeqCst);
    }
}

impl Function {
    fn insert(module: &Arc<Module>, name: &str, name_offset: usize) -> Arc<Self> {
        let (shown, fixed) = split(name);
        let hash = random::hash(shown.as_bytes());
        let timing = match (fixed, config::get().kernels.get(shown)) {
            (Some(ns), _) => Timing::Exactly(ns),
            (None, Some(&duration)) => Timing::Around(duration),
            // 2 to 200 us, as kernels of real models take.
            (None, None) => Timing::Exactly(2_000 + hash % 198_000),
        };
        let truth_name = truth::name(shown);
        FUNCTIONS
            .insert(|handle| Self {
                handle,
                module: Arc::clone(module),
                name_offset,
                truth_name,
                timing,
                hash,
                launches: AtomicU64::new(0),
            })
            .1
    }

    /// The name as records show it.
    pub(crate) fn name(&self) -> *const c_char {
        self.module.arena.text(self.name_offset)
    }

    /// How long the next launch runs, ns.
    pub(crate) fn next_duration(&self) -> u64 {
        match self.timing {
            Timing::Exactly(ns) => ns,
            Timing::Around(duration) => {
                let launch = self.launches.fetch_add(1, Ordering::Relaxed);
                let spread = duration.mean_ns * duration.jitter_percent.min(100) / 100;
                let draw = random::mix(config::get().seed ^ self.hash ^ random::mix(launch));
                duration.mean_ns - spread + draw % (2 * spread + 1)
            }
        }
    }
}

/// A name without its `__simNNNN` ending, and NNNN.
fn split(name: &str) -> (&str, Option<u64>) {
    match name.rsplit_once("__sim") {
        Some((shown, digits)) if !digits.is_empty() && !shown.is_empty() => match digits.parse() {
            Ok(ns) => (shown, Some(ns)),
            Err(_) => (name, None),
        },
        _ => (name, None),
    }
}

/// The names of one module, NUL-terminated, at addresses that the next module of about the same size
/// gets once this one is gone: so a profiler that trusts a name pointer too long is found out.
#[derive(Debug)]
struct Arena(Box<[u8]>);

static FREE_ARENAS: Mutex<Vec<Box<[u8]>>> = Mutex::new(Vec::new());

impl Arena {
    fn filled(names: &[&str]) -> (Self, Vec<usize>) {
        let needed: usize = names.iter().map(|name| name.len() + 1).sum();
        let size = needed.next_power_of_two().max(256);
        let mut free = lock(&FREE_ARENAS);
        let reused = free.iter().rposition(|bytes| bytes.len() == size);
        let mut bytes = match reused {
            Some(index) => free.remove(index),
            None => vec![0; size].into_boxed_slice(),
        };
        drop(free);
        let mut offsets = Vec::with_capacity(names.len());
        let mut at = 0;
        for name in names {
            offsets.push(at);
            bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
            at += name.len();
            bytes[at] = 0;
            at += 1;
        }
        (Self(bytes), offsets)
    }

    fn text(&self, offset: usize) -> *const c_char {
        self.0.get(offset..).map_or(std::ptr::null(), |rest| rest.as_ptr().cast())
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        lock(&FREE_ARENAS).push(std::mem::take(&mut self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_found_and_comments_are_not() {
        let ptx = ".version 8.0\n.visible .entry spin(\n .param .u64 a)\n{}\n// .entry no\n.entry  b_2 () {}";
        assert_eq!(entries(ptx), ["spin", "b_2"]);
    }

    #[test]
    fn the_ending_sets_the_duration_and_is_not_shown() {
        let check = |name, expected| assert_eq!(split(name), expected, "{name}");
        check("gemm__sim1500", ("gemm", Some(1500)));
        check("gemm__sim", ("gemm__sim", None));
        check("gemm__simx1", ("gemm__simx1", None));
        check("a__sim1__sim2", ("a__sim1", Some(2)));
        check("__sim5", ("__sim5", None));
    }

    #[test]
    fn names_of_an_unloaded_module_give_their_addresses_to_the_next() {
        let first = load(b".version 8\n.entry first_kernel()").unwrap();
        let address = first.function("first_kernel").unwrap().name();
        first.hold();
        unload(first.handle).unwrap();
        let number = first.number;
        drop(first);
        let other = load(b".version 8\n.entry other_kernel()").unwrap();
        assert_ne!(other.function("other_kernel").unwrap().name(), address, "still pending");
        release(number, 1);
        let second = load(b".version 8\n.entry second_kernel()").unwrap();
        assert_eq!(second.function("second_kernel").unwrap().name(), address);
    }
}
