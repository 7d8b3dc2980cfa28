//! Comments say why things are as they are; git knows how they came to be.

use crate::tidy::source::{has_word, split};
use crate::tidy::{Finding, Text};

/// Words of history and of unfinished work. In lower case.
const WORDS: [&str; 11] = [
    "no longer",
    "previously",
    "formerly",
    "recently",
    "for now",
    "at the moment",
    "right now",
    "refactored",
    "todo",
    "fixme",
    "xxx",
];

pub(crate) fn check(texts: &[Text]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for text in texts.iter().filter(|text| text.is_rust()) {
        for (index, line) in split(&text.content).iter().enumerate() {
            let comment = without_quotes(&line.comment).to_lowercase();
            findings.extend(WORDS.iter().filter(|word| has_word(&comment, word)).map(|word| {
                Finding::at(
                    text,
                    index + 1,
                    format!("`{word}` in a comment: say what is, not what was or will be"),
                )
            }));
            for name in ["todo!(", "unimplemented!("] {
                if line.code.contains(name) {
                    findings.push(Finding::at(
                        text,
                        index + 1,
                        format!("`{name}..)`: finish it or return an error"),
                    ));
                }
            }
        }
    }
    findings
}

/// What stands in backticks is a name, not a word.
fn without_quotes(comment: &str) -> String {
    comment.split('`').step_by(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn history_is_found_in_comments_only() {
        let found = |content: &str| {
            let text = Text { path: "a.rs".into(), content: content.to_owned() };
            check(&[text]).len()
        };
        assert_eq!(found("// The shim No Longer does this."), 1);
        assert_eq!(found("let text = \"no longer\";"), 0);
        assert_eq!(found("// `todo` is a field."), 0);
        assert_eq!(found("fn f() { todo!() }"), 1);
    }
}
