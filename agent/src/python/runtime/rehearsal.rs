//! An interpreter read from memory alone, without a process around it: for fuzzing, which hands in memory that no process
//! would have.

use std::ops::Range;

use wire::kernel::PythonLayout;

use super::super::merge::{Native, merge};
use super::super::symbols::PythonSymbols;
use super::super::walk;
use super::{
    Bound, Interpreter, Lock, Memory, Object, Offsets, Slot, Slots, THREADS_CHECKED, key, layout,
    offsets, seams, thread_slot, threads, version, word,
};
use crate::stack::Place;

/// Threads whose frames are read: each costs as much as the next.
const THREADS: usize = 4;

/// Reads what [`super::Runtime`] reads, of an interpreter whose `_PyRuntime` is at `runtime` and whose loop is the code at
/// `evaluation`: version, offsets, lock, threads, frames, code objects, names, lines. The places of all threads' stacks.
pub fn rehearse(memory: &impl Memory, runtime: u64, evaluation: Range<u64>) -> Vec<Place> {
    let object = Object {
        path: "libpython3.12.so.1.0".to_owned(),
        runtime,
        code: vec![evaluation.clone()],
        // Up to 3.12 it lies beside; here, right in front.
        version: runtime.checked_sub(8),
        has_iter_send: true,
        code_type: None,
        evaluation: vec![evaluation.clone()],
        passing: Vec::new(),
    };
    read(memory, &object).unwrap_or_default()
}

fn read(memory: &impl Memory, object: &Object) -> Option<Vec<Place>> {
    let version = version(memory, object).ok()?;
    let offsets: Offsets = offsets(memory, version, object.runtime).ok()?;
    let main = word(memory, object.runtime, offsets.interpreters_main)?;
    let lock = Lock::find(memory, &offsets, object.runtime, main)?;
    let _addresses = (lock.range(), lock.holder(), lock.locked());
    let threads: Vec<Bound> = threads(memory, main, &offsets, THREADS_CHECKED);
    let key = key(memory, object.runtime, &offsets);
    let slot = match thread_slot::find(memory, Slots::default(), key, &threads) {
        Slot::At(offset) => offset,
        Slot::NoThread | Slot::KeyTooLarge(_) | Slot::NotFound => 0,
    };
    let layout: PythonLayout = layout(&offsets, lock, slot);
    let whole = |address: u64| object.code.iter().find(|code| code.contains(&address)).cloned();
    let seams = seams(memory, version, object, whole);
    let interpreter = Interpreter { memory, version, offsets: &offsets, code_type: None };
    let mut symbols = PythonSymbols::new();
    let mut places = Vec::new();
    for thread in threads.iter().take(THREADS) {
        let (frames, end) = walk::frames(memory, &layout, thread.state);
        let native = Native { addresses: &[thread.thread_id, object.code[0].start], cut: None };
        places.extend(merge(&seams, native, &frames, end, |frame| {
            Place::Python(symbols.number_in(1, &interpreter, frame, 0))
        }));
    }
    let bits: Vec<u64> = places.iter().copied().map(Place::to_bits).collect();
    let named = symbols.resolve(&bits);
    debug_assert!(named.len() <= places.len());
    Some(places)
}
