//! Who may import whom: `wire <- analysis <- agent`, `wire <- ebpf`, `wire, cupti-sys <- cuda-shim`,
//! `tests -> all`, `xtask -> none of them`; and which file alone may name a thing.

use anyhow::Result;
use serde_json::Value;

use crate::tidy::source::{has_word, split};
use crate::tidy::{Finding, Text};
use crate::workspace::Workspace;

/// What a package may depend on among our own, beyond itself.
const OURS: [(&str, &[&str]); 6] = [
    ("warplens-wire", &[]),
    ("warplens-analysis", &["warplens-wire"]),
    ("warplens", &["warplens-analysis", "warplens-wire"]),
    ("warplens-cupti-sys", &[]),
    ("warplens-cuda-shim", &["warplens-wire", "warplens-cupti-sys"]),
    ("xtask", &[]),
];

/// What a pure package must not depend on: it does no IO, reads no clock and spawns nothing.
const IMPURE: [&str; 9] =
    ["tokio", "aya", "libc", "rustix", "nix", "crossbeam-channel", "axum", "rusqlite", "reqwest"];

/// Names that only one place may use: `(crate, folder it holds for, the place)`.
const ONE_PLACE: [(&str, &str, &str); 3] = [
    ("wire", "agent/analysis/src/", "agent/analysis/src/decode"),
    ("aya", "agent/src/", "agent/src/bpf"),
    ("cudarc", "agent/src/", "agent/src/commands/doctor"),
];

pub(crate) fn check(workspace: &Workspace, texts: &[Text]) -> Result<Vec<Finding>> {
    let metadata = workspace.metadata(&["--no-deps"])?;
    let mut findings = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        findings.extend(package_findings(package));
    }
    for text in texts.iter().filter(|text| text.is_rust()) {
        findings.extend(place_findings(text));
    }
    Ok(findings)
}

fn package_findings(package: &Value) -> Vec<Finding> {
    let name = package["name"].as_str().unwrap_or_default();
    let manifest = format!("{name}'s Cargo.toml");
    let Some((_, allowed)) = OURS.iter().find(|(ours, _)| *ours == name) else {
        return Vec::new();
    };
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    dependencies
        // What only its tests use does not reach its users.
        .filter(|dependency| dependency["kind"] != "dev")
        .filter_map(|dependency| dependency["name"].as_str())
        .filter_map(|dependency| {
            let is_ours = OURS.iter().any(|(ours, _)| *ours == dependency)
                || dependency.starts_with("warplens");
            if is_ours && !allowed.contains(&dependency) {
                Some(format!("{name} must not import {dependency}"))
            } else if name == "warplens-analysis" && IMPURE.contains(&dependency) {
                Some(format!("{name} is pure and must not import {dependency}"))
            } else {
                None
            }
        })
        .map(|what| Finding::of(&manifest, what))
        .collect()
}

fn place_findings(text: &Text) -> Vec<Finding> {
    let name = text.name();
    let mut findings = Vec::new();
    for (word, folder, place) in &ONE_PLACE {
        if !name.starts_with(folder) || name.starts_with(place) {
            continue;
        }
        for (index, line) in split(&text.content).iter().enumerate() {
            let path = format!("{word}::");
            let names_it = line.code.match_indices(&path).any(|(at, _)| {
                has_word(&line.code[at..at + word.len()], word)
                    && !line.code[..at]
                        .ends_with(|before: char| before.is_alphanumeric() || "_:".contains(before))
            });
            if names_it {
                findings.push(Finding::at(
                    text,
                    index + 1,
                    format!("`{word}` belongs in {place} alone"),
                ));
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_import_is_found_and_a_test_dependency_is_not() {
        let package = |kind: Value, dependency: &str| serde_json::json!({"name": "warplens-analysis", "dependencies": [{"name": dependency, "kind": kind}]});
        assert_eq!(package_findings(&package(Value::Null, "tokio")).len(), 1);
        assert_eq!(package_findings(&package(Value::Null, "warplens")).len(), 1);
        assert_eq!(package_findings(&package(Value::Null, "warplens-wire")).len(), 0);
        assert_eq!(package_findings(&package("dev".into(), "tokio")).len(), 0);
    }

    #[test]
    fn a_name_stays_in_its_place() {
        let found = |name: &str, content: &str| {
            place_findings(&Text { path: name.into(), content: content.to_owned() }).len()
        };
        assert_eq!(found("agent/src/pipeline.rs", "use aya::Ebpf;"), 1);
        assert_eq!(found("agent/src/bpf/load.rs", "use aya::Ebpf;"), 0);
        assert_eq!(found("agent/analysis/src/session.rs", "use wire::shim::Payload;"), 1);
        assert_eq!(found("agent/analysis/src/session.rs", "use crate::wire::x; // wire::shim"), 0);
    }
}
