//! Every constant of a `limits.rs` says why it has its value.

use crate::tidy::{Finding, Text};

/// Words a reason needs at least: fewer only name the constant again.
const REASON_WORDS: usize = 6;

pub(crate) fn check(texts: &[Text]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for text in
        texts.iter().filter(|text| text.path.file_name().is_some_and(|name| name == "limits.rs"))
    {
        let mut words = 0;
        for (index, line) in text.content.lines().map(str::trim).enumerate() {
            if let Some(doc) = line.strip_prefix("///") {
                words += doc.split_whitespace().count();
            } else if line.starts_with("pub const ") {
                if words < REASON_WORDS {
                    findings.push(Finding::at(
                        text,
                        index + 1,
                        "a limit without the reason for its value",
                    ));
                }
                words = 0;
            } else if !line.starts_with('#') {
                words = 0;
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_needs_a_reason() {
        let found = |content: &str| {
            let text = Text { path: "x/src/limits.rs".into(), content: content.to_owned() };
            check(&[text]).len()
        };
        assert_eq!(
            found(
                "/// Devices one process can show. CUDA itself allows 64.\npub const A: usize = 64;"
            ),
            0
        );
        assert_eq!(found("/// Devices.\npub const A: usize = 64;"), 1);
        assert_eq!(found("pub const A: usize = 64;"), 1);
    }
}
