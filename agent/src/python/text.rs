//! Strings of another process's Python.

use super::memory::Memory;
use super::offsets::Offsets;

/// Characters of a name or path that are kept: no path is longer, and no name that people write.
const LENGTH_MAX: usize = 4096;

const LENGTH: usize = 16;
const STATE: usize = 32;

/// Bits of the state: width of a character, and how the string is laid out.
const KIND_SHIFT: u32 = 2;
const KIND_MASK: u32 = 7;
const COMPACT: u32 = 0x20;
const ASCII: u32 = 0x40;

/// The `str` at this address, fit to be shown: control characters and what turns the direction of text
/// are replaced, and a string that is too long ends with an ellipsis.
pub(super) fn read(memory: &impl Memory, offsets: &Offsets, address: u64) -> Option<String> {
    let mut head = [0; STATE + 4];
    if address == 0 || !memory.read(address, &mut head) {
        return None;
    }
    let length = u64::from_le_bytes(*head.get(LENGTH..)?.first_chunk()?);
    let state = u32::from_le_bytes(*head.get(STATE..)?.first_chunk()?);
    if state & COMPACT == 0 || length > i64::MAX.cast_unsigned() {
        return None;
    }
    let kept = usize::try_from(length).ok()?.min(LENGTH_MAX);
    let width = match state >> KIND_SHIFT & KIND_MASK {
        1 => 1,
        2 => 2,
        4 => 4,
        _ => return None,
    };
    let data = if state & ASCII == 0 { offsets.compact } else { offsets.ascii };
    let mut bytes = vec![0; kept * width];
    if !memory.read(address.checked_add(data)?, &mut bytes) {
        return None;
    }
    let characters = bytes.chunks_exact(width).map(|bytes| {
        let code = bytes.iter().rev().fold(0, |code, &byte| code << 8 | u32::from(byte));
        char::from_u32(code).filter(|&character| is_shown(character)).unwrap_or('\u{fffd}')
    });
    let mut text: String = characters.collect();
    if (kept as u64) < length {
        text.push('…');
    }
    Some(text)
}

fn is_shown(character: char) -> bool {
    let turns = matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks = matches!(character, '\u{2028}' | '\u{2029}');
    !character.is_control() && !turns && !breaks
}

#[cfg(test)]
mod tests {
    use super::super::memory::fake::Fake;
    use super::super::version::Version;
    use super::*;

    fn string(version: Version, state: u32, length: u64, data: &[u8]) -> (Fake, Offsets) {
        let offsets = Offsets::of(version);
        let mut memory = Fake::default();
        memory.put(0x1000, &[0; 80]);
        memory.put_u64(0x1000 + 16, length);
        memory.put_u32(0x1000 + 32, state);
        let at = if state & ASCII == 0 { offsets.compact } else { offsets.ascii };
        memory.put(0x1000 + at, data);
        (memory, offsets)
    }

    fn text(state: u32, length: u64, data: &[u8]) -> Option<String> {
        let texts = Version::ALL.map(|version| {
            let (memory, offsets) = string(version, state, length, data);
            read(&memory, &offsets, 0x1000)
        });
        let [first, ..] = &texts;
        assert!(texts.iter().all(|text| text == first), "{texts:?}");
        first.clone()
    }

    const fn kind(width: u32) -> u32 {
        width << KIND_SHIFT | COMPACT
    }

    #[test]
    fn strings_of_every_width_are_read() {
        assert_eq!(text(kind(1) | ASCII, 3, b"abc").as_deref(), Some("abc"));
        assert_eq!(text(kind(1), 2, &[0xe9, b'x']).as_deref(), Some("éx"));
        assert_eq!(text(kind(2), 2, &[0xac, 0x20, b'x', 0]).as_deref(), Some("€x"));
        assert_eq!(text(kind(4), 1, &[0x0d, 0xf4, 0x01, 0]).as_deref(), Some("\u{1f40d}"));
        assert_eq!(text(kind(1) | ASCII, 0, b"").as_deref(), Some(""));
    }

    #[test]
    fn what_is_no_text_is_replaced() {
        assert_eq!(text(kind(1) | ASCII, 4, b"a\nb\x1b").as_deref(), Some("a\u{fffd}b\u{fffd}"));
        // Half of a surrogate pair, a change of direction, a number that is no character.
        assert_eq!(text(kind(2), 1, &[0x00, 0xd8]).as_deref(), Some("\u{fffd}"));
        assert_eq!(text(kind(2), 1, &[0x2e, 0x20]).as_deref(), Some("\u{fffd}"));
        assert_eq!(text(kind(4), 1, &[0xff; 4]).as_deref(), Some("\u{fffd}"));
    }

    #[test]
    fn lengths_that_make_no_sense_are_refused() {
        assert_eq!(text(kind(1) | ASCII, u64::MAX, b"abc"), None);
        assert_eq!(text(kind(1) | ASCII, 1 << 40, b"abc"), None);
        assert_eq!(text(kind(3), 1, b"abc"), None);
        assert_eq!(text(0, 3, b"abc"), None);
        let long = [b'x'; LENGTH_MAX];
        let cut = text(kind(1) | ASCII, 1 << 40, &long).unwrap();
        assert_eq!((cut.chars().count(), cut.ends_with('…')), (LENGTH_MAX + 1, true));
        let (memory, offsets) = string(Version::V3_12, kind(1) | ASCII, 3, b"abc");
        assert_eq!(read(&memory, &offsets, u64::MAX - 8), None);
        assert_eq!(read(&memory, &offsets, 0), None);
    }
}
