//! Every dependency may be used under a licence of our list: read from `cargo metadata`, so that it
//! is checked everywhere. `deny.toml` holds the same list for cargo-deny.

use anyhow::Result;

use crate::tidy::{Finding, Text};
use crate::workspace::Workspace;

/// Licences that let a binary be distributed under MIT or Apache-2.0. CDDL-1.0 (inferno) binds the
/// files it stands in and asks nothing of code beside them.
const ACCEPTED: [&str; 16] = [
    "MIT",
    "MIT-0",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "ISC",
    "Zlib",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "CC0-1.0",
    "0BSD",
    "BSL-1.0",
    "Unlicense",
    "CDDL-1.0",
];

pub(crate) fn check(workspace: &Workspace, _: &[Text]) -> Result<Vec<Finding>> {
    let metadata = workspace.metadata(&[])?;
    let mut findings = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default();
        let version = package["version"].as_str().unwrap_or_default();
        match package["license"].as_str() {
            Some(expression) if is_accepted(expression) => {}
            Some(expression) => findings.push(Finding::of(
                "Cargo.lock",
                format!("{name} {version} is licensed `{expression}`, which is not on the list in licences.rs"),
            )),
            None => findings.push(Finding::of("Cargo.lock", format!("{name} {version} names no licence"))),
        }
    }
    Ok(findings)
}

/// SPDX expressions as crates write them: AND binds stronger than OR, parentheses, the old `/`.
fn is_accepted(expression: &str) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut at = 0;
    any(&words, &mut at) && at == words.len()
}

fn any(words: &[&str], at: &mut usize) -> bool {
    let mut accepted = all(words, at);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        accepted |= all(words, at);
    }
    accepted
}

fn all(words: &[&str], at: &mut usize) -> bool {
    let mut accepted = one(words, at);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        accepted &= one(words, at);
    }
    accepted
}

fn one(words: &[&str], at: &mut usize) -> bool {
    let Some(word) = words.get(*at) else {
        return false;
    };
    *at += 1;
    if *word == "(" {
        let accepted = any(words, at);
        *at += 1;
        return accepted;
    }
    if words.get(*at) == Some(&"WITH") {
        let name = format!("{word} WITH {}", words.get(*at + 1).unwrap_or(&""));
        *at += 2;
        return ACCEPTED.contains(&name.as_str());
    }
    ACCEPTED.contains(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_read_as_spdx_means_them() {
        let check =
            |expression, expected| assert_eq!(is_accepted(expression), expected, "{expression}");
        check("MIT OR Apache-2.0", true);
        check("MIT/Apache-2.0", true);
        check("GPL-3.0-only", false);
        check("GPL-3.0-only OR MIT", true);
        check("(MIT OR Apache-2.0) AND Unicode-3.0", true);
        check("MIT AND GPL-2.0-only", false);
        check("Apache-2.0 WITH LLVM-exception", true);
        check("GPL-2.0 WITH Classpath-exception-2.0", false);
        check("", false);
    }
}
