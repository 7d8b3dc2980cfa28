//! Memory calls as a shim tells them.

use wire::shim::{
    MEMORY_STACK, MemoryRecord, NO_DEVICE, memory_operation as operation, memory_place as place,
};

use crate::defect::Defect;
use crate::event::MemoryCall;
use crate::ids::{Ns, ProcessKey};
use crate::memory::{Place, What};

pub(super) fn call(process: ProcessKey, record: &MemoryRecord) -> Result<MemoryCall, Defect> {
    let malformed = |field| Defect::MalformedRecord { kind: record.kind, field, count: 1 };
    let MemoryRecord { address, bytes, handle, .. } = *record;
    let what = match record.operation {
        operation::ALLOCATED => {
            let place = place_of(record.place).ok_or(malformed("place"))?;
            let stands_for = if place == Place::HostHeap { sampled(bytes, handle) } else { bytes };
            What::Allocated { place, address, bytes, stands_for }
        }
        operation::FREED => {
            let place = place_of(record.place).ok_or(malformed("place"))?;
            What::Freed { place, address }
        }
        // Somebody else's memory: it costs nothing more here.
        operation::CREATED | operation::IMPORTED => What::Created { handle, bytes },
        operation::RETAINED => What::Retained { handle, address },
        operation::RELEASED => What::Released { handle },
        operation::MAPPED => What::Mapped { address, bytes, handle },
        operation::UNMAPPED => What::Unmapped { address, bytes },
        _ => return Err(malformed("operation")),
    };
    Ok(MemoryCall {
        process,
        serial: record.serial,
        has_stack: record.flags & MEMORY_STACK != 0,
        thread: record.thread,
        context: record.context,
        ordinal: (record.device != NO_DEVICE).then_some(record.device),
        time: Ns(record.time_ns),
        what,
    })
}

/// Where blocks with an address are taken from.
fn place_of(number: u8) -> Option<Place> {
    match number {
        place::DEVICE | place::POOL => Some(Place::Device),
        place::MANAGED => Some(Place::Managed),
        place::PINNED => Some(Place::Pinned),
        place::REGISTERED => Some(Place::Registered),
        place::HEAP => Some(Place::HostHeap),
        _ => None,
    }
}

/// What a block of `bytes` stands for that was chosen as each byte was with the same chance, one in `mean`: its bytes
/// divided by its chance, `1 - exp(-bytes / mean)` (Horvitz and Thompson).
fn sampled(bytes: u64, mean: u64) -> u64 {
    if bytes == 0 || mean == 0 {
        return bytes;
    }
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    let (bytes_f, mean_f) = (bytes as f64, mean as f64);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative; a cast saturates"
    )]
    let stands_for = (bytes_f / -(-bytes_f / mean_f).exp_m1()).round() as u64;
    stands_for.max(bytes)
}

#[cfg(test)]
mod tests {
    use wire::shim::record_kind;

    use super::*;

    fn record() -> MemoryRecord {
        MemoryRecord {
            kind: record_kind::MEMORY,
            producer: 0,
            operation: operation::ALLOCATED,
            place: place::PINNED,
            flags: MEMORY_STACK,
            time_ns: 9,
            address: 0x1000,
            bytes: 64,
            handle: 0,
            serial: 7,
            thread: 3,
            context: 2,
            device: NO_DEVICE,
        }
    }

    #[test]
    fn a_block_has_its_place_and_its_stack() {
        let what =
            What::Allocated { place: Place::Pinned, address: 0x1000, bytes: 64, stands_for: 64 };
        let expected = MemoryCall {
            process: ProcessKey(1),
            serial: 7,
            has_stack: true,
            thread: 3,
            context: 2,
            ordinal: None,
            time: Ns(9),
            what,
        };
        assert_eq!(call(ProcessKey(1), &record()), Ok(expected));
    }

    /// Small blocks stand for the distance between two samples, large ones for themselves.
    #[test]
    fn a_sampled_block_stands_for_what_was_not_chosen() {
        let of = |bytes, mean| {
            let heap = MemoryRecord { place: place::HEAP, bytes, handle: mean, ..record() };
            match call(ProcessKey(1), &heap).map(|call| call.what) {
                Ok(What::Allocated { place: Place::HostHeap, stands_for, .. }) => stands_for,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(of(64, 65_536), 65_568);
        assert_eq!(of(65_536, 65_536), 103_676);
        assert_eq!(of(1 << 30, 65_536), 1 << 30);
        assert_eq!((of(0, 65_536), of(64, 0), of(u64::MAX, 1)), (0, 64, u64::MAX));
        assert_eq!(of(1, u64::MAX), u64::MAX);
    }

    #[test]
    fn what_it_cannot_be_is_malformed() {
        let field = |record: MemoryRecord| match call(ProcessKey(1), &record) {
            Err(Defect::MalformedRecord { field, .. }) => field,
            other => panic!("{other:?}"),
        };
        assert_eq!(field(MemoryRecord { operation: 0, ..record() }), "operation");
        assert_eq!(field(MemoryRecord { operation: 200, ..record() }), "operation");
        // Virtual memory is created and released by its handle.
        assert_eq!(field(MemoryRecord { place: place::VIRTUAL, ..record() }), "place");
        let freed = MemoryRecord { operation: operation::FREED, place: 0, ..record() };
        assert_eq!(field(freed), "place");
    }
}
