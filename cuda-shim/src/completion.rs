//! CUPTI's buffer callbacks: hand out an empty buffer, copy a full one into the ring.

use std::ffi::c_void;
use std::sync::atomic::Ordering;

use cupti_sys::result::MAX_LIMIT_REACHED;

use crate::boundary::at_boundary;
use crate::buffers::{BUFFER_BYTES, Origin};
use crate::gate::{ALIVE, BUFFERS};
use crate::neighbour;
use crate::records::{self, SHORTEST_RECORD, Step};
use crate::shim::Shim;
use crate::teller::{now_ns, producer_of};

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
    size: usize,
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
            // Another tool's, which CUPTI had still: what is written there since is ours.
            Origin::Foreign if neighbour::owns_buffers() => {
                if shim.gate.has(BUFFERS) {
                    copy_records(shim, buffer, valid.min(size));
                }
                neighbour::give_back(context, stream, buffer, size, 0);
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
    if buffer.is_null() {
        return;
    }
    let producer = producer_of(shim.thread());
    // SAFETY: `valid` bytes that CUPTI has written, ours until the buffer is put back; nobody writes them meanwhile.
    let bytes = unsafe { std::slice::from_raw_parts(buffer, valid) };
    let mut names_full = 0_u64;
    let copied = records::copy(
        bytes,
        shim.fields,
        producer,
        |offset| step(shim, buffer, valid, offset),
        |name| {
            // SAFETY: CUPTI's name pointers live at least until this buffer is returned.
            let id = shim.names.as_ref().map_or(0, |names| unsafe { names.intern(name) });
            // A record may have no name.
            names_full += u64::from(id == 0 && !name.is_null());
            id
        },
        |batch| shim.push(producer, batch),
    );
    let stats = shim.region.stats();
    stats.activities_discarded.fetch_add(copied.unread, Ordering::Relaxed);
    stats.activities.fetch_add(copied.seen, Ordering::Relaxed);
    stats.activities_foreign.fetch_add(copied.foreign, Ordering::Relaxed);
    stats.names_full.fetch_add(names_full, Ordering::Relaxed);
}

/// The library's step from the record at `offset`; `None`: to the first.
fn step(shim: &Shim, buffer: *mut u8, valid: usize, offset: Option<usize>) -> Step {
    let from = offset.map_or(std::ptr::null_mut(), |offset| buffer.wrapping_add(offset));
    // SAFETY: the buffer is completed and ours until it is put back; `from` comes from this call.
    match unsafe { shim.cupti.next_record(buffer, valid, from) } {
        Ok(next) => Step::Record((next as usize).wrapping_sub(buffer as usize)),
        Err(MAX_LIMIT_REACHED) => Step::End,
        // A record that this library cannot step over hides what lies behind it.
        Err(_) => Step::Lost,
    }
}
