//! The offsets that CPython publishes about itself from 3.13 on: `_Py_DebugOffsets`, the first bytes
//! of `_PyRuntime`. The structure grew from 3.13 to 3.14, so it is read by version.

use super::offsets::{Code, Frame, Gil, Offsets, Thread};
use super::version::Version;

/// The first 8 bytes of `_PyRuntime` from 3.13 on.
pub(super) const COOKIE: &[u8; 8] = b"xdebugpy";

/// Words of the structure that are read: both versions' are longer.
pub(super) const WORDS: usize = 71;

/// The last field of any structure that is read lies below this: the interpreter's state is the
/// largest with 110 kB, and an offset beyond is nonsense that would only cost reads.
const OFFSET_MAX: u64 = 1 << 20;

/// What the structure says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Published {
    Offsets(Box<Offsets>),
    /// Built without the global lock: frames look different.
    FreeThreaded,
    /// It is not there, or not as this version has it.
    Malformed(&'static str),
}

/// Positions of fields, in words; what follows a field in both versions is counted from it.
struct Positions {
    threads_head: usize,
    ceval_gil: usize,
    thread: usize,
    frame: usize,
    code: usize,
    bytes: usize,
}

const V3_13: Positions =
    Positions { threads_head: 9, ceval_gil: 14, thread: 19, frame: 28, code: 34, bytes: 64 };
const V3_14: Positions =
    Positions { threads_head: 9, ceval_gil: 15, thread: 22, frame: 31, code: 39, bytes: 0 };

/// Reads the structure. What it does not tell comes from the table.
pub(super) fn parse(version: Version, words: &[u64; WORDS]) -> Published {
    let positions = match version {
        Version::V3_13 => V3_13,
        Version::V3_14 => V3_14,
        Version::V3_10 | Version::V3_11 | Version::V3_12 => {
            return Published::Malformed("this version publishes none");
        }
    };
    if words[0] != u64::from_le_bytes(*COOKIE) {
        return Published::Malformed("the cookie is missing");
    }
    if Version::of_hex(words[1]) != Some(version) {
        return Published::Malformed("the version is another one");
    }
    if words[2] != 0 {
        return Published::FreeThreaded;
    }
    match offsets(&Offsets::of(version), &positions, words) {
        Some(offsets) => Published::Offsets(Box::new(offsets)),
        None => Published::Malformed("an offset is out of range"),
    }
}

fn offsets(table: &Offsets, at: &Positions, words: &[u64; WORDS]) -> Option<Offsets> {
    let word = |index: usize| words.get(index).copied().filter(|&offset| offset < OFFSET_MAX);
    let narrow = |index: usize| u32::try_from(word(index)?).ok();
    let size = |index: usize| usize::try_from(word(index)?).ok();
    // `bytes` is only laid out as far as 3.13: the line table is one.
    if at.bytes != 0 && (word(at.bytes + 1)?, word(at.bytes + 2)?) != (16, 32) {
        return None;
    }
    Some(Offsets {
        tss_key: table.tss_key,
        // `interpreters.main` lies behind `interpreters.head`.
        interpreters_main: word(5)? + 8,
        threads_head: word(at.threads_head)?,
        gil: Gil::Pointer(word(at.ceval_gil)?),
        thread: Thread {
            next: word(at.thread + 2)?,
            identity: word(at.thread + 5)?,
            native_id: Some(word(at.thread + 6)?),
            frame: narrow(at.thread + 4)?,
            cframe: table.thread.cframe,
        },
        frame: Frame {
            previous: narrow(at.frame + 1)?,
            code: narrow(at.frame + 2)?,
            instruction: narrow(at.frame + 3)?,
            owner: narrow(at.frame + 5)?,
            ..table.frame
        },
        code: Code {
            filename: size(at.code + 1)?,
            name: size(at.code + 2)?,
            qualname: Some(size(at.code + 3)?),
            line_table: size(at.code + 4)?,
            first_line: size(at.code + 5)?,
            instructions: size(at.code + 9)?,
            version: table.code.version,
        },
        ascii: table.ascii,
        compact: table.compact,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As 3.13.0 publishes it, up to what is read: `gdb` prints the structure of the running program.
    fn words_3_13() -> [u64; WORDS] {
        let mut words = [0; WORDS];
        words[0] = u64::from_le_bytes(*COOKIE);
        words[1] = 0x030d_00f0;
        let table: [(usize, &[u64]); 6] = [
            (3, &[283_320, 2128, 632]),
            (6, &[110_000, 7272, 7264, 7344, 0, 0, 0, 0, 16, 7752, 0, 7768, 7760]),
            (19, &[0, 0, 8, 16, 72, 152, 160]),
            (28, &[80, 8, 0, 56, 72, 70]),
            (34, &[0, 112, 120, 128, 136, 68, 0, 0, 0, 200]),
            (64, &[33, 16, 32, 40, 32, 16, 40]),
        ];
        for (at, values) in table {
            words[at..at + values.len()].copy_from_slice(values);
        }
        words
    }

    #[test]
    fn what_is_published_is_what_was_measured() {
        let published = Box::new(Offsets::of(Version::V3_13));
        assert_eq!(parse(Version::V3_13, &words_3_13()), Published::Offsets(published));
    }

    #[test]
    fn a_build_without_the_lock_is_told() {
        let mut words = words_3_13();
        words[2] = 1;
        assert_eq!(parse(Version::V3_13, &words), Published::FreeThreaded);
    }

    #[test]
    fn nonsense_is_refused() {
        let refused = |version, at: usize, value| {
            let mut words = words_3_13();
            words[at] = value;
            assert!(matches!(parse(version, &words), Published::Malformed(_)), "{at} {value}");
        };
        refused(Version::V3_13, 0, 0);
        refused(Version::V3_13, 1, 0x030e_00f0);
        refused(Version::V3_14, 1, 0x030d_00f0);
        refused(Version::V3_12, 1, 0x030c_00f0);
        for at in [5, 9, 14, 21, 23, 24, 25, 29, 30, 31, 33, 35, 36, 37, 38, 39, 43] {
            refused(Version::V3_13, at, u64::MAX);
            refused(Version::V3_13, at, OFFSET_MAX);
        }
        refused(Version::V3_13, 65, 24);
    }
}
