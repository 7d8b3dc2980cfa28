//! Where threads of a process sleep, by their code: read from outside, nobody is stopped for it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::{Duration, Instant};

use analysis::decode::{self, KernelEvent};
use analysis::ids::ProcessKey;

use crate::capture::Frame;
use crate::observe::now;
use crate::output::words;
use crate::stack::{Maker, Place};
use crate::symbols::Symbols;

/// Threads of one process whose stacks are read: each is 32 KiB of its memory.
const THREADS_MAX: usize = 128;

/// For all processes of a server together, names among it. What is not named by then shows as an address.
const PATIENCE: Duration = Duration::from_secs(20);

/// Reads stacks of sleeping threads.
pub(super) struct Reader {
    maker: Maker,
    symbols: Symbols,
    until: Instant,
}

impl Reader {
    pub(super) fn new() -> Self {
        let until = Instant::now() + PATIENCE;
        Self { maker: Maker::new(), symbols: Symbols::new(), until }
    }

    /// Frames of each of these threads that sleeps and may be looked at, root first.
    pub(super) fn read(&mut self, pid: u32, tids: &[u32]) -> BTreeMap<u32, Vec<String>> {
        // Without Python, or with one that cannot be read, native frames are told.
        let _none = self.maker.find_python(pid);
        let mut places: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for &tid in tids.iter().take(THREADS_MAX) {
            if Instant::now() >= self.until {
                break;
            }
            let event = self.maker.sleeper(pid, tid, now().0);
            if let Some(Ok(KernelEvent::OffCpuStack { addresses, .. })) =
                event.as_deref().map(decode::kernel_event)
            {
                places.insert(tid, addresses);
            }
        }
        let names = self.names(pid, &places);
        let text = |bits: &u64| match names.get(bits).map(Vec::as_slice) {
            // The innermost of what the compiler inlined comes first.
            Some(frames) if !frames.is_empty() => frames.iter().map(words::frame).collect(),
            _ => vec![unnamed(Place::from_bits(*bits))],
        };
        let told = places.iter().map(|(&tid, places)| {
            let mut frames: Vec<String> = places.iter().flat_map(text).collect();
            frames.reverse();
            (tid, frames)
        });
        told.collect()
    }

    fn names(&mut self, pid: u32, places: &BTreeMap<u32, Vec<u64>>) -> HashMap<u64, Vec<Frame>> {
        let all: BTreeSet<u64> = places.values().flatten().copied().collect();
        let of = |wanted: fn(Place) -> bool| -> Vec<u64> {
            all.iter().copied().filter(|&bits| wanted(Place::from_bits(bits))).collect()
        };
        let python = of(|place| matches!(place, Place::Python(_)));
        let user = of(|place| matches!(place, Place::User(_)));
        let mut symbols = self.maker.name_python(&python);
        symbols.extend(self.symbols.ask(ProcessKey(pid), pid, &user));
        let left = self.until.saturating_duration_since(Instant::now());
        let answers = self.symbols.answers(left).into_iter();
        symbols.extend(answers.flat_map(|(_, symbols)| symbols));
        symbols.into_iter().map(|symbol| (symbol.address, symbol.frames)).collect()
    }
}

fn unnamed(place: Place) -> String {
    match place {
        Place::User(address) | Place::Kernel(address) => format!("0x{address:x}"),
        Place::Python(number) => format!("[Python function {number}]"),
        Place::Remark(remark) => remark.text().to_owned(),
    }
}
