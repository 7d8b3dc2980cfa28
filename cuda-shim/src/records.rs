//! A buffer of activity records -> ring records, in batches. Pure over bytes: where records begin the library tells step by
//! step, and no step is believed that leads backwards or out of the buffer.

use std::ffi::c_char;

use cupti_sys::record::KIND;
use wire::limits::BATCH;
use wire::shim::Payload;

use crate::activity::{self, Fields};

/// Shortest record of a kind the shim enables, bytes: how many records unread bytes hold at most.
pub(crate) const SHORTEST_RECORD: usize = 88;

/// Where the library's step from a record leads.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    /// To a record at this offset.
    Record(usize),
    /// To the end.
    End,
    /// Nowhere: what is left cannot be read.
    Lost,
}

impl Step {
    /// The same, if it leads to a record behind `earliest` and within `valid` bytes; nothing more of the buffer is believed
    /// otherwise.
    fn checked(self, earliest: usize, valid: usize) -> Self {
        match self {
            Self::Record(at) if at >= earliest && at <= valid && valid - at >= KIND + 4 => self,
            Self::Record(_) => Self::Lost,
            Self::End | Self::Lost => self,
        }
    }
}

/// What a buffer held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Copied {
    /// Records of any kind.
    pub(crate) seen: u64,
    /// Of kinds that nobody of ours asked for.
    pub(crate) foreign: u64,
    /// Records that could not be read, at most.
    pub(crate) unread: u64,
}

/// Translates the records of `buffer`. `step` tells where the record behind the one at an offset begins, and for `None` the
/// first; `intern` turns a name pointer into an id; `push` gets batches of at most [`BATCH`].
pub(crate) fn copy(
    buffer: &[u8],
    fields: Fields,
    producer: u16,
    mut step: impl FnMut(Option<usize>) -> Step,
    mut intern: impl FnMut(*const c_char) -> u32,
    mut push: impl FnMut(&[Payload]),
) -> Copied {
    let valid = buffer.len();
    let mut batch = [Payload::default(); BATCH];
    let mut filled = 0;
    let mut copied = Copied::default();
    // Bytes that are behind us for sure.
    let mut read = 0;
    let mut at = step(None).checked(0, valid);
    while let Step::Record(offset) = at {
        read = offset + KIND + 4;
        // The next record first: how long this one is, the library's own step says.
        let next = step(Some(offset)).checked(read, valid);
        let end = if let Step::Record(next) = next { next } else { valid };
        copied.seen += 1;
        let mut record = buffer.get(offset..end).unwrap_or_default();
        let kind = activity::kind(record);
        if let (Step::Lost, Some(needed)) = (next, kind.and_then(activity::needed)) {
            // How long it is nobody says: what every version has is believed.
            record = record.get(..needed).unwrap_or(record);
        }
        match kind.filter(|&kind| activity::needed(kind).is_some()) {
            Some(kind) => {
                match activity::translate(kind, fields, record, producer, &mut intern) {
                    Some(payload) => {
                        read = offset + activity::needed(kind).unwrap_or(0);
                        batch[filled] = payload;
                        filled += 1;
                    }
                    // Shorter than any that is known.
                    None => copied.unread += 1,
                }
            }
            None => copied.foreign += 1,
        }
        if filled == BATCH {
            push(&batch);
            filled = 0;
        }
        at = next;
    }
    if matches!(at, Step::Lost) {
        copied.unread += (valid.saturating_sub(read) / SHORTEST_RECORD) as u64;
    }
    if filled > 0 {
        push(&batch[..filled]);
    }
    copied
}

#[cfg(test)]
mod tests {
    use cupti_sys::record::{CONCURRENT_KERNEL, MEMSET, kernel, memset};

    use super::*;

    fn buffer(kinds: &[(u32, usize)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for &(kind, length) in kinds {
            let start = bytes.len();
            bytes.resize(start + length, 0);
            bytes[start..start + 4].copy_from_slice(&kind.to_ne_bytes());
        }
        bytes
    }

    fn copied(bytes: &[u8], steps: &[Step]) -> (Copied, Vec<usize>) {
        let (mut steps, mut batches) = (steps.iter().copied(), Vec::new());
        let copied = copy(
            bytes,
            Fields::Common,
            0,
            |_| steps.next().unwrap_or(Step::End),
            |_| 1,
            |batch| batches.push(batch.len()),
        );
        (copied, batches)
    }

    #[test]
    fn records_of_all_kinds_are_counted_and_known_ones_copied() {
        let (long, short) = (kernel::NEEDED, memset::NEEDED + 4);
        let bytes = buffer(&[(CONCURRENT_KERNEL, long), (3, 40), (MEMSET, short)]);
        let steps = [Step::Record(0), Step::Record(long), Step::Record(long + 40)];
        let expected = Copied { seen: 3, foreign: 1, unread: 0 };
        assert_eq!(copied(&bytes, &steps), (expected, vec![2]));
    }

    #[test]
    fn full_batches_are_passed_on_at_once() {
        let bytes = buffer(&[(MEMSET, memset::NEEDED); BATCH + 3]);
        let steps: Vec<_> =
            (0..BATCH + 3).map(|index| Step::Record(index * memset::NEEDED)).collect();
        let (copied, batches) = copied(&bytes, &steps);
        assert_eq!((copied.seen, batches), (BATCH as u64 + 3, vec![BATCH, 3]));
    }

    #[test]
    fn steps_that_lead_back_or_out_end_the_buffer() {
        let bytes = buffer(&[(MEMSET, 200), (MEMSET, 200)]);
        for wild in [0, 3, 397, 400, usize::MAX] {
            let (copied, batches) = copied(&bytes, &[Step::Record(0), Step::Record(wild)]);
            assert_eq!((copied.seen, batches), (1, vec![1]), "{wild}");
            assert_eq!(copied.unread, 3, "{wild}: what is behind the first may be three more");
        }
        assert_eq!(copied(&[], &[Step::Record(0)]).0, Copied::default());
    }
}
