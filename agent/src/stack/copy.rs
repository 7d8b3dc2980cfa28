//! The bytes of one `STACK_COPY` record as its parts. Total: whatever the bytes are, they are a copy
//! or they are none.

use std::mem::size_of;

use wire::kernel::{PythonFrame, StackCopy, event_kind};
use wire::limits::{KERNEL_FRAMES, PYTHON_FRAMES};
use zerocopy::FromBytes;

/// What a stack is unwound from. Holds bytes of a user's stack: it has no `Debug` that shows them, and
/// nobody keeps one.
#[derive(Clone)]
pub struct Record<'b> {
    pub head: StackCopy,
    pub python: Vec<PythonFrame>,
    /// From `head.stack_start` on.
    pub bytes: &'b [u8],
}

impl<'b> Record<'b> {
    /// `None`: no record of this kind, or one that is shorter than it says.
    pub fn parse(record: &'b [u8]) -> Option<Self> {
        let (head, rest) = StackCopy::read_from_prefix(record).ok()?;
        if head.kind != event_kind::STACK_COPY {
            return None;
        }
        let count = usize::try_from(head.python_frames).ok().filter(|&n| n <= PYTHON_FRAMES)?;
        let (frames, rest) = rest.split_at_checked(count * size_of::<PythonFrame>())?;
        let (bytes, _) = rest.split_at_checked(usize::try_from(head.stack_bytes).ok()?)?;
        let python = frames
            .chunks_exact(size_of::<PythonFrame>())
            .filter_map(|frame| PythonFrame::read_from_bytes(frame).ok())
            .collect();
        Some(Self { head, python, bytes })
    }

    /// Whether `record` is of this kind.
    pub fn is_one(record: &[u8]) -> bool {
        record.first_chunk().copied().map(u32::from_ne_bytes) == Some(event_kind::STACK_COPY)
    }

    /// Instruction pointers of the kernel, leaf first.
    pub fn kernel(&self) -> &[u64] {
        let count = usize::try_from(self.head.kernel_frames).unwrap_or(0).min(KERNEL_FRAMES);
        &self.head.kernel[..count]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};
    use zerocopy::{FromZeros, IntoBytes};

    use super::*;

    fn record(python: u32, stack: u32) -> Vec<u8> {
        let mut head = StackCopy::new_zeroed();
        head.kind = event_kind::STACK_COPY;
        head.python_frames = python;
        head.stack_bytes = stack;
        head.kernel_frames = 2;
        head.kernel[..2].copy_from_slice(&[7, 8]);
        let mut bytes = head.as_bytes().to_vec();
        for at in 0..u64::from(python) {
            bytes.extend(PythonFrame { code: at, instruction: 2 * at }.as_bytes());
        }
        bytes.extend((0..stack).map(|at| at.to_le_bytes()[0]));
        bytes
    }

    #[test]
    fn the_parts_are_where_they_belong() {
        let bytes = record(3, 16);
        let copied = Record::parse(&bytes).unwrap();
        assert_eq!(copied.kernel(), [7, 8]);
        assert_eq!(copied.python[2], PythonFrame { code: 2, instruction: 4 });
        assert_eq!(copied.bytes, (0..16).collect::<Vec<u8>>());
        assert!(Record::is_one(&bytes));
    }

    #[test]
    fn a_short_record_is_none() {
        let bytes = record(3, 16);
        for length in 0..bytes.len() {
            assert!(Record::parse(&bytes[..length]).is_none(), "{length}");
        }
        assert!(Record::parse(&record(257, 0)).is_none());
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..2048)) {
            let _ = Record::parse(&bytes).map(|copied| copied.kernel().len());
            if let Some(kind) = bytes.first_chunk_mut() {
                *kind = event_kind::STACK_COPY.to_ne_bytes();
            }
            let _ = Record::parse(&bytes).map(|copied| copied.kernel().len());
        }
    }
}
