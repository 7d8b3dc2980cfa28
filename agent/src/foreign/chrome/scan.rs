//! Where JSON values begin and end in a piece of text that may stop anywhere.
//!
//! Nothing is built and nothing recurses: a value that nobody asked for costs one look at each of
//! its bytes, its strings eight bytes at a time. Brackets are counted, not matched by kind, and
//! scalars are whatever stands up to the next delimiter: `NaN`, which Python writes, is one.

/// Why a value has no end here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// The text ends first.
    More,
    /// At this byte stands what cannot stand there.
    Bad(usize),
}

pub(super) type Found<T> = Result<T, Stop>;

/// Position of the first byte from `at` on that is not white space.
pub(super) fn space(text: &[u8], mut at: usize) -> Found<usize> {
    loop {
        match text.get(at) {
            Some(b' ' | b'\n' | b'\r' | b'\t') => at += 1,
            Some(_) => return Ok(at),
            None => return Err(Stop::More),
        }
    }
}

/// Position behind the string whose opening quote is at `at`.
pub(super) fn string(text: &[u8], at: usize) -> Found<usize> {
    let mut at = at + 1;
    loop {
        at = special(text, at)?;
        match text.get(at) {
            Some(b'"') => return Ok(at + 1),
            // The byte behind a backslash is never the end.
            Some(_) => at += 2,
            None => return Err(Stop::More),
        }
    }
}

/// Position of the first quote or backslash from `at` on.
fn special(text: &[u8], mut at: usize) -> Found<usize> {
    const LOW: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    // Bit 7 of each byte that is zero; above the lowest such byte, others may be set, too.
    let zeros = |word: u64| word.wrapping_sub(LOW) & !word & HIGH;
    while let Some(bytes) = text.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*bytes);
        let quote = LOW * u64::from(b'"');
        let backslash = LOW * u64::from(b'\\');
        let found = zeros(word ^ quote) | zeros(word ^ backslash);
        if found != 0 {
            return Ok(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = text.get(at..).unwrap_or_default();
    let found = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'));
    found.map(|offset| at + offset).ok_or(Stop::More)
}

const PLAIN: u8 = 0;
const QUOTE: u8 = 1;
const OPEN: u8 = 2;
const CLOSE: u8 = 3;

/// What each byte means inside a nested value.
const MEANING: [u8; 256] = {
    let mut table = [PLAIN; 256];
    table[b'"' as usize] = QUOTE;
    table[b'{' as usize] = OPEN;
    table[b'[' as usize] = OPEN;
    table[b'}' as usize] = CLOSE;
    table[b']' as usize] = CLOSE;
    table
};

/// Position behind the value that begins at `at`.
pub(super) fn value(text: &[u8], at: usize) -> Found<usize> {
    match text.get(at) {
        None => Err(Stop::More),
        Some(b'"') => string(text, at),
        Some(b'{' | b'[') => nested(text, at + 1, 1),
        Some(_) => scalar(text, at),
    }
}

/// Position behind the bracket that closes the `depth` ones that are open at `at`.
pub(super) fn nested(text: &[u8], mut at: usize, mut depth: usize) -> Found<usize> {
    loop {
        let Some(&byte) = text.get(at) else {
            return Err(Stop::More);
        };
        match MEANING[usize::from(byte)] {
            PLAIN => at += 1,
            QUOTE => at = string(text, at)?,
            OPEN => {
                depth += 1;
                at += 1;
            }
            _ => {
                depth -= 1;
                at += 1;
                if depth == 0 {
                    return Ok(at);
                }
            }
        }
    }
}

fn scalar(text: &[u8], at: usize) -> Found<usize> {
    let mut end = at;
    loop {
        match text.get(end) {
            None => return Err(Stop::More),
            Some(byte) if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.') => {
                end += 1;
            }
            Some(_) if end == at => return Err(Stop::Bad(at)),
            Some(_) => return Ok(end),
        }
    }
}

/// Calls `each` with the key (without its quotes) and the position of the value of every member of
/// the object that begins at `at`; it answers with the position behind the value. The result is
/// the position behind the object.
pub(super) fn members<'t>(
    text: &'t [u8],
    at: usize,
    mut each: impl FnMut(&'t [u8], usize) -> Found<usize>,
) -> Found<usize> {
    let mut at = space(text, at + 1)?;
    loop {
        match text.get(at) {
            None => return Err(Stop::More),
            Some(b'}') => return Ok(at + 1),
            Some(b',') => at = space(text, at + 1)?,
            Some(b'"') => {
                let end = string(text, at)?;
                let key = text.get(at + 1..end - 1).unwrap_or_default();
                let colon = space(text, end)?;
                if text.get(colon) != Some(&b':') {
                    return Err(Stop::Bad(colon));
                }
                let begin = space(text, colon + 1)?;
                at = space(text, each(key, begin)?)?;
            }
            Some(_) => return Err(Stop::Bad(at)),
        }
    }
}

/// A string's text, without its quotes and escapes. `None` where it is not one.
pub(super) fn unquoted(value: &[u8]) -> Option<std::borrow::Cow<'_, str>> {
    use std::borrow::Cow;

    let inner = value.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if inner.contains(&b'\\') {
        // Escapes are rare; a wrong one leaves the text as it stands.
        return Some(
            serde_json::from_slice(value).map_or_else(
                |_| Cow::Owned(String::from_utf8_lossy(inner).into_owned()),
                Cow::Owned,
            ),
        );
    }
    Some(String::from_utf8_lossy(inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: Found<usize>) {
        assert_eq!(value(text.as_bytes(), 0), expected, "{text}");
    }

    #[test]
    fn values_end_where_they_end() {
        check("12.5e3,", Ok(6));
        check("NaN}", Ok(3));
        check("-Infinity]", Ok(9));
        check("\"a\\\"b\" ", Ok(6));
        check("\"long enough for a word \\\\\",", Ok(27));
        check("{\"a\":[1,{\"]\":\"}\"}]}x", Ok(19));
        check("[]", Ok(2));
    }

    #[test]
    fn what_goes_on_is_told_from_what_is_wrong() {
        for text in ["", "12", "\"abc", "\"abc\\", "{\"a\":[1]", "\"a long string without an end"] {
            check(text, Err(Stop::More));
        }
        check(",", Err(Stop::Bad(0)));
        check("\u{1}", Err(Stop::Bad(0)));
    }

    #[test]
    fn escapes_are_undone() {
        for (text, expected) in [
            (r#""plain""#, Some("plain")),
            (r#""a\"b\u003c\\""#, Some("a\"b<\\")),
            (r#""wrong \q""#, Some("wrong \\q")),
            ("12", None),
        ] {
            assert_eq!(unquoted(text.as_bytes()).as_deref(), expected, "{text}");
        }
    }
}
