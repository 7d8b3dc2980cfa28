//! Which line an instruction belongs to: the table of a code object (PEP 626).
//!
//! Tables come from other processes: any bytes give a line, no line, or nothing, and every byte is looked
//! at once.

use super::version::Version;

/// An instruction by its distance from the first one, bytes.
pub fn line(version: Version, table: &[u8], first_line: u32, offset: u64) -> Option<u32> {
    match version {
        Version::V3_10 => pairs(table, first_line, offset),
        Version::V3_11 | Version::V3_12 | Version::V3_13 | Version::V3_14 => {
            locations(table, first_line, offset)
        }
    }
}

/// Bytes of an instruction.
const UNIT: u64 = 2;

/// In 3.10: pairs of a length in bytes and a difference of lines; -128 stands for no line.
fn pairs(table: &[u8], first_line: u32, offset: u64) -> Option<u32> {
    let mut line = i64::from(first_line);
    let mut end = 0_u64;
    for &[length, difference] in table.as_chunks::<2>().0 {
        end += u64::from(length);
        let difference = difference.cast_signed();
        let has_line = difference != i8::MIN;
        if has_line {
            line += i64::from(difference);
        }
        if offset < end {
            return has_line.then(|| u32::try_from(line).ok())?;
        }
    }
    None
}

/// From 3.11 on: entries of a head byte and numbers of 6 bits a byte.
fn locations(table: &[u8], first_line: u32, offset: u64) -> Option<u32> {
    let mut bytes = table.iter().copied();
    let mut line = i64::from(first_line);
    let mut end = 0_u64;
    while let Some(head) = bytes.next() {
        // Every entry begins with a set bit, and nothing else has it.
        if head & 0x80 == 0 {
            return None;
        }
        end += (u64::from(head & 7) + 1) * UNIT;
        let mut has_line = true;
        match head >> 3 & 0xf {
            15 => has_line = false,
            14 => {
                line = line.checked_add(signed(&mut bytes)?)?;
                for _ in 0..3 {
                    unsigned(&mut bytes)?;
                }
            }
            13 => line = line.checked_add(signed(&mut bytes)?)?,
            kind @ 10..=12 => {
                line += i64::from(kind - 10);
                bytes.nth(1)?;
            }
            _ => {
                bytes.next()?;
            }
        }
        if offset < end {
            return has_line.then(|| u32::try_from(line).ok())?;
        }
    }
    None
}

fn unsigned(bytes: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let mut value = 0_u64;
    // Six bytes hold more than any line or column: 36 bits.
    for shift in 0..6 {
        let byte = bytes.next()?;
        value |= u64::from(byte & 0x3f) << (6 * shift);
        if byte & 0x40 == 0 {
            return Some(value);
        }
    }
    None
}

fn signed(bytes: &mut impl Iterator<Item = u8>) -> Option<i64> {
    let value = unsigned(bytes)?;
    let magnitude = i64::try_from(value >> 1).ok()?;
    Some(if value & 1 == 1 { -magnitude } else { magnitude })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn pairs_of_3_10() {
        // The example of PEP 626's `lnotab_notes.txt`, with a stretch without a line.
        let table = [6, 1, 44, 1, 0, 100, 4, 0x80, 2, 0xff];
        let line = |offset| line(Version::V3_10, &table, 10, offset);
        assert_eq!(line(0), Some(11));
        assert_eq!(line(5), Some(11));
        assert_eq!(line(6), Some(12));
        assert_eq!(line(49), Some(12));
        assert_eq!(line(50), None);
        assert_eq!(line(54), Some(111));
        assert_eq!(line(56), None);
    }

    #[test]
    fn locations_of_3_11() {
        let table = [
            0x80 | 13 << 3, // 1 unit, +3 lines
            6,
            0x80 | 1, // 2 units, same line, short columns
            0,
            0x80 | 11 << 3, // 1 unit, +1 line
            0,
            0,
            0x80 | 15 << 3, // 1 unit, no line
            0x80 | 14 << 3, // 1 unit, -2 lines, three numbers
            5,
            0,
            0x41,
            1,
            2,
        ];
        let line = |offset| line(Version::V3_12, &table, 10, offset);
        let lines: Vec<Option<u32>> = (0..14).step_by(2).map(line).collect();
        assert_eq!(lines, [Some(13), Some(13), Some(13), Some(14), None, Some(12), None],);
        assert_eq!(line(1), Some(13));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(table in proptest::collection::vec(any::<u8>(), 0..512), first: u32, offset in 0..4096_u64) {
            for version in Version::ALL {
                let _line = line(version, &table, first, offset);
                prop_assert_eq!(line(version, &table, first, u64::MAX), None);
            }
        }

        /// What was written as pairs is read back, for every instruction.
        #[test]
        fn written_pairs_are_read(entries in proptest::collection::vec((1_u8..=127, -127_i8..=127), 1..40)) {
            let table: Vec<u8> = entries.iter().flat_map(|&(units, line)| [units * 2 % 255, line.cast_unsigned()]).collect();
            let mut at = 0_u64;
            let mut expected = 100_000_i64;
            for pair in table.as_chunks::<2>().0 {
                expected += i64::from(pair[1].cast_signed());
                for offset in at..at + u64::from(pair[0]) {
                    prop_assert_eq!(line(Version::V3_10, &table, 100_000, offset).map(i64::from), Some(expected));
                }
                at += u64::from(pair[0]);
            }
        }
    }
}
