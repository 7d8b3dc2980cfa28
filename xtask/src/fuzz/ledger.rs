//! How long each reader was fuzzed without a finding, over all runs: kept in the repository, and shown in a document.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::kept;
use crate::workspace::Workspace;

/// What a reader has behind it since its last finding.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Entry {
    /// Processor time, seconds: runs beside other work count for what they were given.
    pub(super) seconds: f64,
    pub(super) inputs: u64,
    /// Of the latest run.
    pub(super) commit: String,
    /// In all.
    pub(super) findings: u64,
}

/// By reader.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Ledger(BTreeMap<String, Entry>);

/// One run of one reader.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) seconds: f64,
    pub(super) inputs: u64,
    pub(super) found: bool,
}

fn path(workspace: &Workspace) -> PathBuf {
    workspace.root.join("tests/fuzz/ledger.json")
}

impl Ledger {
    /// An empty one where there is no file.
    pub(super) fn read(workspace: &Workspace) -> Result<Self> {
        kept::read(&path(workspace))
    }

    /// Processor time without a finding, seconds.
    pub(super) fn seconds(&self, reader: &str) -> f64 {
        self.0.get(reader).map_or(0.0, |entry| entry.seconds)
    }

    /// A finding begins the count anew: what it hid was never reached.
    pub(super) fn add(&mut self, reader: &str, run: Run, commit: &str) {
        let entry = self.0.entry(reader.to_owned()).or_default();
        if run.found {
            *entry = Entry { findings: entry.findings + 1, ..Entry::default() };
        } else {
            entry.seconds += run.seconds;
            entry.inputs += run.inputs;
        }
        commit.clone_into(&mut entry.commit);
    }

    /// The file, and the document with its table.
    pub(super) fn write(&self, workspace: &Workspace) -> Result<()> {
        kept::write(&path(workspace), self)?;
        let document = workspace.root.join("docs/fuzzing.md");
        fs::write(&document, self.document())
            .with_context(|| format!("write {}", document.display()))
    }

    fn document(&self) -> String {
        let mut text = include_str!("preface.md").to_owned();
        text.push_str("\n| reader | processor time without a finding | inputs | findings before | latest commit |\n|---|---|---|---|---|\n");
        for (reader, entry) in &self.0 {
            let Entry { seconds, inputs, commit, findings } = entry;
            let minutes = seconds / 60.0;
            // Writing to a string cannot fail.
            let _never = writeln!(
                text,
                "| `{reader}` | {minutes:.1} min | {inputs} | {findings} | `{commit}` |"
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_adds_up_and_a_finding_begins_anew() {
        let mut ledger = Ledger::default();
        let run = |seconds, inputs, found| Run { seconds, inputs, found };
        ledger.add("elf", run(60.0, 1000, false), "a");
        ledger.add("elf", run(30.0, 500, false), "b");
        assert!((ledger.seconds("elf") - 90.0).abs() < 1e-9);
        ledger.add("elf", run(10.0, 7, true), "c");
        assert!(ledger.seconds("elf").abs() < 1e-9);
        ledger.add("elf", run(5.0, 9, false), "d");
        assert!(ledger.document().ends_with("| `elf` | 0.1 min | 9 | 1 | `d` |\n"));
        assert!(ledger.seconds("unknown").abs() < 1e-9);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let mut ledger = Ledger::default();
        ledger.add("config", Run { seconds: 1.5, inputs: 3, found: false }, "x");
        let text = serde_json::to_string(&ledger).unwrap();
        let back: Ledger = serde_json::from_str(&text).unwrap();
        assert_eq!(back.0, ledger.0);
        assert!(serde_json::from_str::<Ledger>("{\"config\":{\"minutes\":1}}").is_err());
    }
}
