//! No source file above 600 lines: a file that long mixes IO, state and policy.

use crate::tidy::{Finding, Text};

const LIMIT: usize = 600;

/// Files that may be longer, and why.
const EXCEPTIONS: [(&str, &str); 0] = [];

pub(crate) fn check(texts: &[Text]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for text in texts.iter().filter(|text| is_source(text)) {
        let lines = text.content.lines().count();
        let excepted = EXCEPTIONS.iter().any(|(file, _)| text.name() == *file);
        if lines > LIMIT && !excepted {
            let what = format!("{lines} lines, {LIMIT} at most: split it where state meets IO");
            findings.push(Finding::of(&text.path, what));
        }
        if lines <= LIMIT && excepted {
            findings.push(Finding::of(
                &text.path,
                "is short enough: take it off the exceptions in length.rs",
            ));
        }
    }
    findings
}

fn is_source(text: &Text) -> bool {
    text.path
        .extension()
        .is_some_and(|extension| ["rs", "py", "c", "sh"].iter().any(|kind| extension == *kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(name: &str, lines: usize) -> Text {
        Text { path: name.into(), content: "x\n".repeat(lines) }
    }

    #[test]
    fn the_limit_holds_for_sources_only() {
        let texts = [source("a.rs", 600), source("b.rs", 601), source("c.md", 5000)];
        let findings = check(&texts);
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].file, std::path::Path::new("b.rs"));
    }
}
