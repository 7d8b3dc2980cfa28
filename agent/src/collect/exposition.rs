//! Prometheus' text format, and `OpenMetrics` as far as it is the same: bytes in, samples out. Nothing is copied but label
//! values with escapes, no line can fail the others, and every input ends in time proportional to its length.
//!
//! The libraries there are for it parse by regular expressions, which takes longer than a turn may cost, or have a
//! licence that cannot be used here.

use std::borrow::Cow;

/// Samples taken of one text. vLLM shows some 600; a server may add series without end.
const SAMPLES_MAX: usize = 1 << 16;

/// Labels of one sample.
const LABELS_MAX: usize = 64;

/// One line with a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'t> {
    pub name: &'t str,
    pub labels: Vec<(&'t str, Cow<'t, str>)>,
    pub value: f64,
}

impl Sample<'_> {
    /// Empty where it has no such label, which is the same to Prometheus.
    pub fn label(&self, name: &str) -> &str {
        self.labels.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }
}

/// A text's samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exposition<'t> {
    pub samples: Vec<Sample<'t>>,
    /// Lines that are none, and samples there was no room for.
    pub refused: usize,
}

/// Reads a whole text. Comments (help, types, units) are passed over.
pub fn parse(bytes: &[u8]) -> Exposition<'_> {
    let mut exposition = Exposition::default();
    for line in bytes.split(|&byte| byte == b'\n') {
        let line = line.trim_ascii();
        if line.is_empty() || line.starts_with(b"#") {
            continue;
        }
        let sample = std::str::from_utf8(line).ok().and_then(sample);
        match sample.filter(|_| exposition.samples.len() < SAMPLES_MAX) {
            Some(sample) => exposition.samples.push(sample),
            None => exposition.refused += 1,
        }
    }
    exposition
}

/// `name{label="value",...} value [timestamp] [# exemplar]`.
fn sample(line: &str) -> Option<Sample<'_>> {
    let end = line.find(|c: char| c == '{' || c.is_ascii_whitespace())?;
    let (name, rest) = line.split_at(end);
    if !is_name(name) {
        return None;
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => labels(rest)?,
        None => (Vec::new(), rest),
    };
    let mut words = rest.split_ascii_whitespace();
    let value = words.next()?.parse().ok()?;
    // What may follow is a time in milliseconds or seconds, and an exemplar.
    let follows = words.next().is_none_or(|word| word == "#" || word.parse::<f64>().is_ok());
    follows.then_some(Sample { name, labels, value })
}

type Labels<'t> = Vec<(&'t str, Cow<'t, str>)>;

/// What stands between braces, the first one gone, and the rest of the line.
fn labels(mut rest: &str) -> Option<(Labels<'_>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_ascii_start();
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, after) = rest.split_once('=')?;
        let name = name.trim_ascii_end();
        if !is_name(name) || labels.len() >= LABELS_MAX {
            return None;
        }
        let (value, after) = quoted(after.trim_ascii_start().strip_prefix('"')?)?;
        labels.push((name, value));
        rest = after.trim_ascii_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.starts_with('}') => {}
            None => return None,
        }
    }
}

/// A quoted text whose first quote is gone, and what follows it.
fn quoted(text: &str) -> Option<(Cow<'_, str>, &str)> {
    let end = text.find(['"', '\\'])?;
    let (plain, rest) = text.split_at(end);
    if let Some(rest) = rest.strip_prefix('"') {
        return Some((Cow::Borrowed(plain), rest));
    }
    let mut value = plain.to_owned();
    let mut characters = rest.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((Cow::Owned(value), &rest[at + 1..])),
            '\\' => match characters.next()?.1 {
                'n' => value.push('\n'),
                // An escape that means nothing stands for itself.
                other @ ('"' | '\\') => value.push(other),
                other => value.extend(['\\', other]),
            },
            other => value.push(other),
        }
    }
    None
}

fn is_name(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'.');
    !text.is_empty() && text.bytes().all(fits) && !text.as_bytes()[0].is_ascii_digit()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Name, labels and value.
    type Found<'t> = (&'t str, &'t [(&'t str, &'t str)], f64);

    fn check(line: &str, expected: Option<Found<'_>>) {
        let found = parse(line.as_bytes());
        let Some((name, labels, value)) = expected else {
            assert_eq!((found.samples.len(), found.refused), (0, 1), "{line}");
            return;
        };
        let labels = labels.iter().map(|(name, value)| (*name, Cow::Borrowed(*value))).collect();
        assert_eq!(found.samples, [Sample { name, labels, value }], "{line}");
        assert_eq!(found.refused, 0, "{line}");
    }

    #[test]
    fn lines_as_servers_write_them() {
        check("up 1", Some(("up", &[], 1.0)));
        check("up{} 1 1700000000000", Some(("up", &[], 1.0)));
        let line = "vllm:num_requests_running{engine=\"0\",model_name=\"tiny\"} 12.0";
        let labels = [("engine", "0"), ("model_name", "tiny")];
        check(line, Some(("vllm:num_requests_running", &labels, 12.0)));
        check("a{ le = \"1\" , } +Inf", Some(("a", &[("le", "1")], f64::INFINITY)));
        check("a 1e3 # {id=\"x\"} 0.5", Some(("a", &[], 1000.0)));
        check(r#"a{m="x\"y\\z\n{}é"} -2"#, Some(("a", &[("m", "x\"y\\z\n{}é")], -2.0)));
        assert!(parse(b"a NaN").samples[0].value.is_nan());
        assert_eq!(parse(b"# TYPE a counter\n\n# EOF\n"), Exposition::default());
    }

    #[test]
    fn lines_that_are_none() {
        for line in [
            "a",
            "a b",
            "a{ 1",
            "a{b} 1",
            "a{b=1} 1",
            "a{b=\"} 1",
            "a{b=\"\\",
            "a{b=\"1\" c=\"2\"} 1",
            "{a=\"1\"} 1",
            "9a 1",
            "a 1 x",
            "ä 1",
        ] {
            check(line, None);
        }
        let found = parse(b"\xff\xfe 1\nup 1");
        assert_eq!((found.samples.len(), found.refused), (1, 1), "one bad line of two");
    }

    #[test]
    fn what_has_no_end_is_bounded() {
        let text = "a 1\n".repeat(SAMPLES_MAX + 5);
        let found = parse(text.as_bytes());
        assert_eq!((found.samples.len(), found.refused), (SAMPLES_MAX, 5));
        check(&format!("a{{{}}} 1", "b=\"\",".repeat(LABELS_MAX + 1)), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let found = parse(&bytes);
            prop_assert!(found.samples.len() + found.refused <= bytes.len());
        }

        #[test]
        fn what_is_written_is_read(name in "[a-z:_][a-z0-9:_]{0,9}", label in "[a-z]{1,5}", text: String, value: f64) {
            let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            // The end of a line is the only thing that no escape hides.
            prop_assume!(!escaped.contains('\r'));
            let line = format!("{name}{{{label}=\"{escaped}\"}} {value}");
            let found = parse(line.as_bytes());
            prop_assert_eq!(found.samples[0].label(&label), text);
            prop_assert_eq!(found.samples[0].value.to_bits(), value.to_bits());
        }
    }
}
