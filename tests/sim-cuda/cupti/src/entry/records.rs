//! Walks the records of a buffer.

use sim_channel::raw::Out;

use crate::result::{Cupti, INVALID_KIND, INVALID_PARAMETER, MAX_LIMIT_REACHED, code, loaded};
use crate::{layout, subscriber, version};

#[unsafe(no_mangle)]
extern "C" fn cuptiActivityGetNextRecord(
    buffer: *const u8,
    valid: usize,
    record: Out<*const u8>,
) -> i32 {
    code(loaded().and_then(|()| next(buffer, valid, record)))
}

#[unsafe(no_mangle)]
extern "C" fn cuptiActivityGetNextRecord_v2(
    subscriber: usize,
    buffer: *const u8,
    valid: usize,
    record: Out<*const u8>,
) -> i32 {
    code(subscriber::check(subscriber).and_then(|()| next(buffer, valid, record)))
}

/// Steps by the stride of the record's kind in this version; a null `*record` means the first one.
fn next(buffer: *const u8, valid: usize, record: Out<*const u8>) -> Cupti {
    let present = record.get().ok_or(INVALID_PARAMETER)?;
    if buffer.is_null() {
        return Err(INVALID_PARAMETER);
    }
    let offset = if present.is_null() {
        0
    } else {
        let at = present.addr().checked_sub(buffer.addr()).ok_or(INVALID_PARAMETER)?;
        at + stride(buffer, valid, at)?
    };
    if offset >= valid {
        return Err(MAX_LIMIT_REACHED);
    }
    stride(buffer, valid, offset)?;
    let stored = record.put(buffer.wrapping_add(offset));
    if stored { Ok(()) } else { Err(INVALID_PARAMETER) }
}

fn stride(buffer: *const u8, valid: usize, offset: usize) -> Cupti<usize> {
    if offset + 4 > valid {
        return Err(MAX_LIMIT_REACHED);
    }
    let place = buffer.wrapping_add(offset).cast::<[u8; 4]>();
    // SAFETY: the caller guarantees `valid` readable bytes; four of them begin at `offset`.
    let kind = u32::from_ne_bytes(unsafe { place.read() });
    layout::stride(version::current(), kind).ok_or(INVALID_KIND)
}

#[unsafe(no_mangle)]
extern "C" fn cuptiActivityGetStructSize(kind: u32, asked: u32, size: Out<usize>) -> i32 {
    let current = version::current();
    let wanted = match asked {
        0 => Some(current),
        // Versions before 13.0 are refused, and so are those it cannot know.
        asked => version::VERSIONS.into_iter().find(|version| {
            version.api == asked && version.major >= 13 && version.api <= current.api
        }),
    };
    let size_of = wanted
        .ok_or(INVALID_PARAMETER)
        .and_then(|version| layout::stride(version, kind).ok_or(INVALID_KIND));
    code(loaded().and_then(|()| super::callback::put(size, size_of?)))
}
