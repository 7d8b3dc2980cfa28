//! Inputs as bytes that take little memory and little time to make, and back.
//!
//! Frames as in a recording, but for ring records: these follow each other closely, so each word is stored as its
//! difference to the word before it in a column of its own, records of one kind beside each other. What is left is
//! mostly zeros, which zstd passes over several times faster than over the records themselves.

use std::sync::Arc;

use analysis::ids::ProcessKey;
use wire::shim::Payload;
use zstd::bulk::{Compressor, Decompressor};

use crate::pipeline::Input;
use crate::recording::{self, FrameError};

/// Kind of a frame of ring records; a recording has no such kind.
const COLUMNS: u8 = 0;

/// Bytes in front of a frame's body: kind and length.
const HEAD: usize = 5;

/// Words of a record.
const WORDS: usize = size_of::<Payload>() / 8;

/// Kinds of records that have a predecessor of their own; the others share.
const KINDS: usize = 8;

/// Chunks are closed far below; bounds what a damaged length makes of memory.
const RAW_MAX: usize = 256 << 20;

/// Speed over size.
const LEVEL: i32 = 1;

/// Why packed bytes do not come back: memory is damaged, or this code is.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("decompress what the flight recorder kept")]
    Compression(#[source] std::io::Error),
    #[error("what the flight recorder kept stops in the middle of a frame")]
    Short,
    #[error("what the flight recorder kept is not a frame")]
    Frame(#[from] FrameError),
}

/// Compressed frames.
#[derive(Clone, Debug)]
pub(super) struct Packed {
    bytes: Arc<[u8]>,
    raw: usize,
}

impl Packed {
    /// What it takes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Every input, in order.
    pub(super) fn unpack<E: From<UnpackError>>(
        &self,
        each: &mut impl FnMut(Input) -> Result<(), E>,
    ) -> Result<(), E> {
        let raw = Decompressor::new()
            .and_then(|mut decompressor| {
                decompressor.decompress(&self.bytes, self.raw.min(RAW_MAX))
            })
            .map_err(UnpackError::Compression)?;
        let mut rest = raw.as_slice();
        while !rest.is_empty() {
            let (kind, body, after) = split_frame(rest).ok_or(UnpackError::Short)?;
            rest = after;
            let input = if kind == COLUMNS {
                records(body).ok_or(UnpackError::Short)?
            } else {
                recording::decode_frame(kind, body).map_err(UnpackError::Frame)?
            };
            each(input)?;
        }
        Ok(())
    }
}

/// Compresses for every log; one is enough.
pub(super) struct Press(Option<Compressor<'static>>);

impl std::fmt::Debug for Press {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Press")
    }
}

impl Press {
    pub(super) fn new() -> Self {
        Self(Compressor::new(LEVEL).ok())
    }

    fn press(&mut self, raw: &[u8]) -> Option<Arc<[u8]>> {
        let compressor = self.0.as_mut()?;
        compressor.compress(raw).ok().map(Arc::from)
    }
}

/// Frames that are not compressed yet.
#[derive(Debug, Default)]
pub(super) struct Frames {
    raw: Vec<u8>,
}

impl Frames {
    pub(super) fn len(&self) -> usize {
        self.raw.len()
    }

    /// Appends one input.
    pub(super) fn push(&mut self, input: &Input) {
        if let Input::Records { process, payloads } = input {
            return self.push_records(*process, payloads);
        }
        recording::encode_frames(input, |kind, body| {
            // Longer than a recording takes: left out there, too.
            if let Ok(length) = u32::try_from(body.len()) {
                self.raw.push(kind);
                self.raw.extend(length.to_le_bytes());
                self.raw.extend(body);
            }
        });
    }

    fn push_records(&mut self, process: ProcessKey, payloads: &[Payload]) {
        let count = payloads.len();
        let Ok(length) = u32::try_from(8 + count * WORDS * 8) else {
            return;
        };
        self.raw.reserve(HEAD + 8 + count * WORDS * 8);
        self.raw.push(COLUMNS);
        self.raw.extend(length.to_le_bytes());
        self.raw.extend(process.0.to_le_bytes());
        self.raw.extend(u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes());
        // The first word tells the kind, and is itself told by the one before it.
        let mut last = 0;
        for payload in payloads {
            self.raw.extend((payload[0] ^ last).to_le_bytes());
            last = payload[0];
        }
        for column in 1..WORDS {
            let mut last = [0_u64; KINDS];
            for payload in payloads {
                let last = &mut last[slot(payload[0])];
                let word = payload[column];
                self.raw.extend(word.wrapping_sub(*last).to_le_bytes());
                *last = word;
            }
        }
    }

    /// Everything so far, compressed. `None`: nothing, or no memory to compress it in.
    pub(super) fn pack(&self, press: &mut Press) -> Option<Packed> {
        if self.raw.is_empty() {
            return None;
        }
        Some(Packed { bytes: press.press(&self.raw)?, raw: self.raw.len() })
    }

    /// Forgets what was packed; its memory serves what comes next, but for that of a flood.
    pub(super) fn clear(&mut self) {
        const KEPT: usize = 2 << 20;
        self.raw.clear();
        self.raw.shrink_to(KEPT);
    }
}

/// Which predecessor a record with this first word has.
fn slot(head: u64) -> usize {
    usize::try_from(head & u64::from(u16::MAX)).unwrap_or(0) % KINDS
}

/// Kind and body of the first frame, and what follows it.
fn split_frame(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
    let [kind, length @ ..] = *head;
    let length = usize::try_from(u32::from_le_bytes(length)).ok()?;
    let (body, rest) = rest.split_at_checked(length)?;
    Some((kind, body, rest))
}

fn records(body: &[u8]) -> Option<Input> {
    let (process, body) = body.split_first_chunk::<4>()?;
    let (count, body) = body.split_first_chunk::<4>()?;
    let count = usize::try_from(u32::from_le_bytes(*count)).ok()?;
    let (words, rest) = body.as_chunks::<8>();
    if !rest.is_empty() || words.len() != count.checked_mul(WORDS)? {
        return None;
    }
    let mut payloads = vec![Payload::default(); count];
    let mut last = 0;
    for (payload, word) in payloads.iter_mut().zip(words) {
        last ^= u64::from_le_bytes(*word);
        payload[0] = last;
    }
    for column in 1..WORDS {
        let mut last = [0_u64; KINDS];
        let words = words.get(column * count..)?;
        for (payload, word) in payloads.iter_mut().zip(words) {
            let last = &mut last[slot(payload[0])];
            *last = last.wrapping_add(u64::from_le_bytes(*word));
            payload[column] = *last;
        }
    }
    Some(Input::Records { process: ProcessKey(u32::from_le_bytes(*process)), payloads })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unpacked(packed: &Packed) -> Vec<Input> {
        let mut inputs = Vec::new();
        let ended: Result<(), UnpackError> = packed.unpack(&mut |input| {
            inputs.push(input);
            Ok(())
        });
        ended.unwrap();
        inputs
    }

    #[test]
    fn records_that_follow_each_other_take_little() {
        let payloads: Vec<Payload> = (0..10_000_u64)
            .map(|n| {
                [1 | 3 << 16, 1_000 + n * 20_000, 9_000 + n * 20_000, 77, n | (n % 20) << 32, 7, 9]
            })
            .collect();
        let mut frames = Frames::default();
        let input = Input::Records { process: ProcessKey(3), payloads };
        frames.push(&input);
        let packed = frames.pack(&mut Press::new()).unwrap();
        assert!(packed.len() < 10_000 * 2, "{} bytes", packed.len());
        assert_eq!(unpacked(&packed), [input]);
    }

    proptest! {
        #[test]
        fn whatever_goes_in_comes_out(
            payloads in prop::collection::vec(any::<Payload>(), 0..60),
            kinds in prop::collection::vec(0_u64..9, 60),
            event in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let payloads = payloads.into_iter().zip(kinds).map(|(mut payload, kind)| {
                payload[0] = payload[0] & !0xffff | kind;
                payload
            });
            let inputs = [
                Input::Records { process: ProcessKey(9), payloads: payloads.collect() },
                Input::KernelEvent(event),
                Input::Note("n".to_owned()),
            ];
            let mut frames = Frames::default();
            for input in &inputs {
                frames.push(input);
            }
            prop_assert_eq!(unpacked(&frames.pack(&mut Press::new()).unwrap()), inputs);
        }

        #[test]
        fn damaged_frames_are_refused(raw in prop::collection::vec(any::<u8>(), 1..200)) {
            let bytes = Press::new().press(&raw).unwrap();
            let packed = Packed { bytes, raw: raw.len() };
            let _total: Result<(), UnpackError> = packed.unpack(&mut |_input| Ok(()));
        }
    }
}
