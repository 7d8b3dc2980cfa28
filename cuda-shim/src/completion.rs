//! CUPTI's buffer callbacks: hand out an empty buffer, copy a full one into the ring.

use std::ffi::c_void;
use std::sync::atomic::Ordering;

use cupti_sys::record::KIND;
use cupti_sys::result::MAX_LIMIT_REACHED;
use wire::limits::BATCH;
use wire::shim::Payload;

use crate::activity;
use crate::boundary::at_boundary;
use crate::buffers::{BUFFER_BYTES, Origin};
use crate::gate::{ALIVE, BUFFERS};
use crate::shim::{Shim, now_ns, producer_of};

/// Shortest record of a kind the shim enables, bytes: how many records unread bytes hold at most.
const SHORTEST_RECORD: usize = 88;

/// CUPTI wants an empty buffer.
pub(crate) extern "C" fn on_requested(
    buffer: *mut *mut u8,
    size: *mut usize,
    max_records: *mut usize,
) {
    at_boundary((), || {
        let Some(shim) = Shim::get() else { return };
        let (address, pooled) = shim.pool.take();
        // A forked child has a copy of the pool, but no stats page.
        if !pooled && shim.gate.has(ALIVE) {
            shim.region.stats().buffers_refused.fetch_add(1, Ordering::Relaxed);
        }
        // SAFETY: CUPTI passes three live out pointers.
        unsafe { buffer.write(address) };
        // SAFETY: as above.
        unsafe { size.write(BUFFER_BYTES) };
        // SAFETY: as above. 0 = as many as fit.
        unsafe { max_records.write(0) };
    });
}

/// CUPTI returns a buffer with `valid` bytes of records.
pub(crate) extern "C" fn on_completed(
    context: *mut c_void,
    stream: u32,
    buffer: *mut u8,
    _size: usize,
    valid: usize,
) {
    at_boundary((), || {
        // In a forked child, whose exit may make CUPTI flush, there is nothing to write to.
        let Some(shim) = Shim::get().filter(|shim| shim.gate.has(ALIVE)) else { return };
        let stats = shim.region.stats();
        let begin = now_ns();
        match shim.pool.origin(buffer) {
            Origin::Pool(index) => {
                let valid = valid.min(BUFFER_BYTES);
                if shim.gate.has(BUFFERS) {
                    copy_records(shim, buffer, valid);
                } else if valid > 0 {
                    // Behind the last mark: its launches are known to be without a record.
                    stats.callbacks_ignored.fetch_add(1, Ordering::Relaxed);
                }
                shim.pool.put(index, valid);
            }
            // Several hand-outs shared these bytes: nothing in them can be read.
            Origin::Discard => {
                let records = valid.div_ceil(SHORTEST_RECORD) as u64;
                stats.activities_discarded.fetch_add(records, Ordering::Relaxed);
            }
            Origin::Foreign => {
                stats.callbacks_ignored.fetch_add(1, Ordering::Relaxed);
            }
        }
        if shim.gate.has(BUFFERS) {
            // SAFETY: context and stream are this callback's.
            let dropped = unsafe { shim.cupti.dropped(context, stream) };
            if dropped > 0 {
                stats.cupti_dropped.fetch_add(dropped, Ordering::Relaxed);
            }
        }
        stats.completion_ns.fetch_add(now_ns().saturating_sub(begin), Ordering::Relaxed);
    });
}

fn copy_records(shim: &Shim, buffer: *mut u8, valid: usize) {
    let producer = producer_of(shim.thread());
    let mut batch = [Payload::default(); BATCH];
    let mut filled = 0;
    let mut seen = 0_u64;
    let mut foreign = 0_u64;
    let mut names_full = 0_u64;
    let mut record = std::ptr::null_mut();
    // Where the next record may begin at the earliest.
    let mut behind = 0;
    let unread = loop {
        // SAFETY: the buffer is completed and ours until it is put back; `record` comes from this call.
        match unsafe { shim.cupti.next_record(buffer, valid, record) } {
            Ok(next) => record = next,
            Err(MAX_LIMIT_REACHED) => break 0,
            // A record that this library cannot step over hides what lies behind it.
            Err(_) => break valid.saturating_sub(behind),
        }
        let offset = (record as usize).wrapping_sub(buffer as usize);
        if offset < behind || offset > valid || valid - offset < KIND + 4 {
            // The library stepped backwards or outside the buffer: believe no more of it.
            break valid.saturating_sub(behind);
        }
        seen += 1;
        behind = offset + KIND + 4;
        // SAFETY: `offset + 4 <= valid`, records are 8-byte aligned.
        let kind = unsafe { record.wrapping_add(KIND).cast::<u32>().read_unaligned() };
        let Some(needed) =
            activity::needed(kind, shim.fields).filter(|&needed| needed <= valid - offset)
        else {
            foreign += 1;
            continue;
        };
        behind = offset + needed;
        // SAFETY: `offset + needed <= valid`, bytes that CUPTI has written.
        let bytes = unsafe { std::slice::from_raw_parts(record, needed) };
        let payload = activity::translate(kind, shim.fields, bytes, producer, |name| {
            // SAFETY: CUPTI's name pointers live at least until this buffer is returned.
            let id = shim.names.as_ref().map_or(0, |names| unsafe { names.intern(name) });
            names_full += u64::from(id == 0);
            id
        });
        if let Some(payload) = payload {
            batch[filled] = payload;
            filled += 1;
        }
        if filled == BATCH {
            shim.push(producer, &batch);
            filled = 0;
        }
    };
    if filled > 0 {
        shim.push(producer, &batch[..filled]);
    }
    let stats = shim.region.stats();
    let unread = (unread / SHORTEST_RECORD) as u64;
    stats.activities_discarded.fetch_add(unread, Ordering::Relaxed);
    stats.activities.fetch_add(seen, Ordering::Relaxed);
    stats.activities_foreign.fetch_add(foreign, Ordering::Relaxed);
    stats.names_full.fetch_add(names_full, Ordering::Relaxed);
}
