//! A change of the wire layouts needs an entry in `docs/wire.md`: the entry of the current
//! `WIRE_VERSION` holds a fingerprint of `wire/src` without its comments.

use crate::tidy::source::split;
use crate::tidy::{Finding, Text};

const DOCUMENT: &str = "docs/wire.md";

pub(crate) fn check(texts: &[Text]) -> Vec<Finding> {
    let sources: Vec<&Text> = texts
        .iter()
        .filter(|text| text.is_rust() && text.name().starts_with("wire/src/"))
        .collect();
    let Some(version) = sources.iter().find_map(|text| version(&text.content)) else {
        return vec![Finding::of("wire/src/lib.rs", "names no WIRE_VERSION")];
    };
    let entry = format!("| {version} | `{:016x}` |", fingerprint(&sources));
    let document =
        texts.iter().find(|text| text.name() == DOCUMENT).map_or("", |text| &text.content);
    if document.lines().any(|line| line.starts_with(&entry)) {
        return Vec::new();
    }
    let what = format!(
        "has no line `{entry} ...`: where layouts or meanings changed, raise WIRE_VERSION and add an entry; \
         where they did not, put the fingerprint into the entry there is"
    );
    vec![Finding::of(DOCUMENT, what)]
}

fn version(source: &str) -> Option<u32> {
    let line = source.lines().find(|line| line.starts_with("pub const WIRE_VERSION"))?;
    line.split('=').nth(1)?.trim().trim_end_matches(';').parse().ok()
}

/// FNV-1a over names and code: no secret to keep, only a change to notice. Comments, tests and what
/// rustfmt may change (white space, trailing commas) do not count.
fn fingerprint(sources: &[&Text]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut feed = |bytes: &[u8]| {
        for byte in bytes.iter().filter(|byte| **byte != b',') {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    for text in sources {
        feed(text.name().as_bytes());
        for line in split(&text.content) {
            if line.code.trim() == "#[cfg(test)]" {
                break;
            }
            line.code.split_whitespace().for_each(|word| feed(word.as_bytes()));
            line.strings.iter().for_each(|string| feed(string.as_bytes()));
        }
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(content: &str) -> Text {
        Text { path: "wire/src/lib.rs".into(), content: content.to_owned() }
    }

    #[test]
    fn the_fingerprint_sees_code_and_no_comments() {
        let print = |content: &str| fingerprint(&[&text(content)]);
        assert_eq!(print("pub a: u32, // why"), print("pub a:  u32,"));
        assert_eq!(print("f(\n    a,\n    b,\n)"), print("f(a, b)"));
        assert_ne!(print("pub a: u32,"), print("pub a: u64,"));
    }

    #[test]
    fn the_version_is_read_from_the_source() {
        assert_eq!(version("/// doc\npub const WIRE_VERSION: u32 = 7;"), Some(7));
        assert_eq!(version("const OTHER: u32 = 7;"), None);
    }
}
