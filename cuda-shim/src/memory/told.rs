//! How a call that took memory or gave it back is told, whoever saw it.

use std::sync::atomic::Ordering;

use wire::kernel::WEIGHT_MEMORY;
use wire::shim::{
    MEMORY_STACK, MemoryRecord, NO_DEVICE, memory_operation as operation, record_kind,
};

use super::budget::Budget;
use crate::probe::warplens_probe_launch;
use crate::teller::{Teller, producer_of};
use crate::thread_local::ThreadLocal;

/// Stacks of this process.
static STACKS: Budget = Budget::new();

/// What a call did; fields as those of [`MemoryRecord`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Done {
    pub(crate) operation: u8,
    pub(crate) place: u8,
    pub(crate) address: u64,
    pub(crate) bytes: u64,
    pub(crate) handle: u64,
    pub(crate) device: u32,
}

impl Done {
    /// For the fields that a call does not have.
    pub(crate) const NOTHING: Self =
        Self { operation: 0, place: 0, address: 0, bytes: 0, handle: 0, device: NO_DEVICE };
}

/// Tells what a call of this thread did, with its stack if it took memory and there are any left.
pub(crate) fn tell(teller: &Teller, thread: &ThreadLocal, done: &Done, time_ns: u64, context: u32) {
    let serial = teller.region.stats().memory_calls.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
    // Wraps after four thousand million calls, as a counter of records may.
    #[expect(clippy::cast_possible_truncation, reason = "wraps")]
    let serial = serial as u32;
    let takes = matches!(
        done.operation,
        operation::ALLOCATED | operation::CREATED | operation::IMPORTED | operation::RETAINED
    );
    let number = thread.number.get();
    let stack = takes && STACKS.take(time_ns);
    if stack {
        // Before the record: whoever reads it has the stack already.
        let key = if done.address == 0 { done.handle } else { done.address };
        warplens_probe_launch(serial.into(), WEIGHT_MEMORY.into(), number.into(), key);
    }
    let producer = producer_of(thread);
    let record = MemoryRecord {
        kind: record_kind::MEMORY,
        producer,
        operation: done.operation,
        place: done.place,
        flags: if stack { MEMORY_STACK } else { 0 },
        time_ns,
        address: done.address,
        bytes: done.bytes,
        handle: done.handle,
        serial,
        thread: number,
        context,
        device: done.device,
    };
    teller.push(producer, &[zerocopy::transmute!(record)]);
}
