//! `unsafe` stands only where the design allows it, and every block in the kernel programs has its
//! SAFETY line (clippy sees to it elsewhere).

use crate::tidy::source::{has_word, split};
use crate::tidy::{Finding, Text};

/// Where `unsafe` may be written: what talks to the kernel, the driver or another process's memory.
const ALLOWED: [&str; 13] = [
    "ebpf/",
    "agent/src/bpf",
    "agent/src/shim",
    "agent/src/nvml",
    "agent/src/inject",
    "agent/src/elf",
    "agent/src/perf",
    // A scheduling class.
    "agent/src/observe/priority.rs",
    // The tests of agent/src/bpf are the probed program: they hold the probe's target.
    "agent/tests/bpf/",
    // Loads a library and deletes it, to see it named.
    "agent/src/symbols/tests.rs",
    "cuda-shim/",
    "tests/sim-cuda/",
    "tests/programs/",
];

/// Lines above a block in which its SAFETY comment may begin.
const COMMENT_REACH: usize = 8;

pub(crate) fn check(texts: &[Text]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for text in texts.iter().filter(|text| text.is_rust()) {
        let name = text.name();
        let allowed = ALLOWED.iter().any(|prefix| name.starts_with(prefix));
        let lines = split(&text.content);
        for (index, line) in
            lines.iter().enumerate().filter(|(_, line)| has_word(&line.code, "unsafe"))
        {
            if !allowed {
                let what = "`unsafe` outside the folders that may have it (xtask/src/tidy/unsafety.rs lists them)";
                findings.push(Finding::at(text, index + 1, what));
            } else if name.starts_with("ebpf/") && line.code.contains("unsafe {") {
                let above = &lines[index.saturating_sub(COMMENT_REACH)..=index];
                if !above.iter().any(|line| line.comment.contains("SAFETY:")) {
                    findings.push(Finding::at(
                        text,
                        index + 1,
                        "an unsafe block without a SAFETY line",
                    ));
                }
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_listed_folders_may_write_it() {
        let found = |name: &str, content: &str| {
            let text = Text { path: name.into(), content: content.to_owned() };
            check(&[text]).len()
        };
        assert_eq!(found("agent/src/pipeline.rs", "unsafe { f() }"), 1);
        assert_eq!(
            found("agent/src/pipeline.rs", "#![deny(unsafe_code)] // unsafe\n\"unsafe\""),
            0
        );
        assert_eq!(found("cuda-shim/src/lib.rs", "unsafe { f() }"), 0);
        assert_eq!(found("ebpf/src/main.rs", "unsafe { f() }"), 1);
        assert_eq!(
            found("ebpf/src/main.rs", "// SAFETY: the kernel checks it.\nunsafe { f() }"),
            0
        );
    }
}
