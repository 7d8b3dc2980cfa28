//! What this implementation is like: read once from `WARPLENS_SIM_FOREIGN`, items separated by commas:
//! `seed=N`, `version=N` (what `cuptiGetVersion` answers), `fail=FUNCTION:CODE:EVERY` (every so many
//! calls of it answer that code), and names of habits.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock};

use sim_channel::lock;
use sim_channel::random::{Random, hash, mix};

/// Declares the habits with the names they are asked for by.
macro_rules! habits {
    ($($(#[$about:meta])* $habit:ident = $name:literal,)*) => {
        /// Something that the interface leaves open, or hardly forbids.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Habit { $($(#[$about])* $habit,)* }

        const NAMES: &[(&str, Habit)] = &[$(($name, Habit::$habit),)*];
    };
}

habits! {
    /// Records are up to 1 KiB longer than any known.
    LongRecords = "long-records",
    /// Records as CUDA 11 had them, too short for what is read: beyond the interface.
    ShortRecords = "short-records",
    /// Records of kinds nobody asked for, known and unknown, stand between.
    Strangers = "strangers",
    /// Kernel names that are null, not UTF-8, or 4 KiB and more.
    OddNames = "odd-names",
    /// Contexts and streams are 0 or huge.
    OddIds = "odd-ids",
    /// Some records come without timestamps.
    NoTimes = "no-times",
    /// Buffers are asked for at registration and whenever a kind is enabled, and come back empty.
    EarlyBuffers = "early-buffers",
    /// A hundred buffers are asked for, and come back empty at the last moment.
    HoardedBuffers = "hoarded-buffers",
    /// Two buffers are asked for in a row, whenever one is needed; the other comes back empty.
    Pairs = "pairs",
    /// Buffers are asked for and come back on threads that never did anything else.
    FreshThreads = "fresh-threads",
    /// The same, with the smallest stack a thread can have.
    TinyStacks = "tiny-stacks",
    /// The same on application threads, in the middle of a launch.
    LaunchingThreads = "launching-threads",
    /// The same on several threads at once.
    Crowd = "crowd",
    /// Buffers come back with a few records each.
    SmallFills = "small-fills",
    /// Buffers come back in any order.
    Shuffled = "shuffled",
    /// Buffers come back without a record, and null ones without a byte.
    Empties = "empties",
    /// One record in thirty is dropped, and counted.
    Drops = "drops",
    /// From some instant on everything is dropped and counted, and no buffer comes back any more.
    DropsAll = "drops-all",
    /// Buffers come back up to 60 ms after the flush that should have brought them.
    LateBuffers = "late-buffers",
    /// What is filled at the end comes back when the library's own destructors run.
    AtExit = "at-exit",
    /// Callbacks come for every id, asked for or not.
    UnaskedCallbacks = "unasked-callbacks",
    /// Callbacks without arguments, names or results.
    BareCallbacks = "bare-callbacks",
    /// One ENTER in ten has no EXIT, and threads end between the two.
    LostExits = "lost-exits",
    /// One EXIT in ten has no ENTER.
    LostEnters = "lost-enters",
    /// Driver calls nest further calls with the same correlation id.
    NestedCallbacks = "nested-callbacks",
    /// Callbacks of unknown domains and ids, without data, on threads that never called CUDA.
    StrangerCallbacks = "stranger-callbacks",
    /// Graph callbacks come twice, in any order, and without their data.
    OddGraphs = "odd-graphs",
    /// A flush takes half a second, now and then.
    SlowFlush = "slow-flush",
    /// Every callback that is switched on or off takes a third of a millisecond.
    SlowSwitches = "slow-switches",
    /// A flush waits for another thread that hands the buffers back.
    FlushElsewhere = "flush-elsewhere",
    /// One more callback is under way when the subscription has ended.
    AfterUnsubscribe = "after-unsubscribe",
}

/// What `WARPLENS_SIM_FOREIGN` says.
#[derive(Debug, Default)]
pub(crate) struct Character {
    pub(crate) seed: u64,
    pub(crate) version: Option<u32>,
    habits: Vec<Habit>,
    /// By function: the code, and every how many calls.
    failures: HashMap<String, (i32, u64)>,
}

/// The character of this process's library.
pub(crate) fn character() -> &'static Character {
    static CHARACTER: OnceLock<Character> = OnceLock::new();
    CHARACTER.get_or_init(|| {
        Character::parse(&std::env::var("WARPLENS_SIM_FOREIGN").unwrap_or_default())
    })
}

/// Whether it has a habit.
pub(crate) fn has(habit: Habit) -> bool {
    character().habits.contains(&habit)
}

/// The code that this call of `function` answers instead of doing anything.
pub(crate) fn failure(function: &str) -> Option<i32> {
    static CALLS: Mutex<Option<HashMap<String, u64>>> = Mutex::new(None);
    let &(code, every) = character().failures.get(function)?;
    let mut calls = lock(&CALLS);
    let count = calls.get_or_insert_default().entry(function.to_owned()).or_default();
    *count += 1;
    count.is_multiple_of(every.max(1)).then_some(code)
}

/// A number in `0..bound` that depends on the seed, on what it is for, and on `which`.
pub(crate) fn chosen(what: &str, which: u64, bound: u64) -> u64 {
    mix(character().seed ^ hash(what.as_bytes()) ^ mix(which)).checked_rem(bound).unwrap_or(0)
}

/// A number in `0..bound`, another one each time.
pub(crate) fn drawn(bound: u64) -> u64 {
    static RANDOM: Mutex<Option<Random>> = Mutex::new(None);
    lock(&RANDOM).get_or_insert_with(|| Random::new(character().seed)).below(bound)
}

impl Character {
    /// An unknown word is a mistake in a test: it ends the process, so that no test passes for want of a habit.
    fn parse(text: &str) -> Self {
        let mut character = Self::default();
        for item in text.split(',').filter(|item| !item.is_empty()) {
            let understood = match item.split_once('=') {
                Some(("seed", number)) => number.parse().map(|seed| character.seed = seed).is_ok(),
                Some(("version", number)) => {
                    character.version = number.parse().ok();
                    character.version.is_some()
                }
                Some(("fail", failure)) => character.add_failure(failure).is_some(),
                _ => NAMES
                    .iter()
                    .find(|(name, _)| *name == item)
                    .map(|(_, habit)| character.habits.push(*habit))
                    .is_some(),
            };
            if !understood {
                std::process::abort();
            }
        }
        character
    }

    fn add_failure(&mut self, text: &str) -> Option<()> {
        let mut parts = text.split(':');
        let function = parts.next()?.to_owned();
        let code = parts.next()?.parse().ok()?;
        let every = parts.next()?.parse().ok()?;
        self.failures.insert(function, (code, every));
        Some(())
    }
}
