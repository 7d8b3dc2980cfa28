//! What the pieces of the soak add up to, over all runs: kept in the repository, beside what makes the document of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::stops::Stops;
use crate::kept;
use crate::workspace::Workspace;

/// When and on what a piece ran.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Stamp {
    /// Such as `1234567` or `1234567 with changes`.
    pub(super) commit: String,
    /// The day.
    pub(super) date: String,
}

/// Kernel records of one reader since its last finding.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Records {
    pub(super) pieces: u64,
    pub(super) kernels: u64,
    pub(super) replayed: u64,
    pub(super) seconds: f64,
    /// Figures compared with the truth, each exactly.
    pub(super) compared: u64,
    /// Of all pieces the most: memory that grew, KiB; the ring's fill; processor time.
    pub(super) agent_grown_kib: u64,
    pub(super) worker_grown_kib: u64,
    pub(super) agent_late_kib: u64,
    pub(super) ring_permille: u64,
    pub(super) agent_percent: f64,
    pub(super) worker_percent: f64,
    pub(super) commits: Vec<Stamp>,
}

/// Entries into one program since its last finding.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Entries {
    pub(super) processes: u64,
    pub(super) rehearsals: u64,
    pub(super) cycles: u64,
    pub(super) rehearsed: Stops,
    pub(super) attached: Stops,
    pub(super) without_place: u64,
    pub(super) records: u64,
    /// The most that any process had more of: descriptors, threads, mappings, KiB of its own.
    pub(super) leaked: [u64; 4],
    pub(super) commits: Vec<Stamp>,
}

/// Chaos of the tier `chaos` since its last finding.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Chaos {
    pub(super) rounds: u64,
    pub(super) tests: u64,
    pub(super) seconds: f64,
    pub(super) commits: Vec<Stamp>,
}

/// Something that was not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Finding {
    pub(super) part: String,
    pub(super) seed: u32,
    pub(super) what: Vec<String>,
    pub(super) stamp: Stamp,
    /// What came of it, written in by hand.
    #[serde(default)]
    pub(super) outcome: String,
}

/// Everything that counts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Ledger {
    /// By who read.
    pub(super) records: BTreeMap<String, Records>,
    /// By program.
    pub(super) attach: BTreeMap<String, Entries>,
    pub(super) chaos: Chaos,
    pub(super) findings: Vec<Finding>,
}

/// Adds a stamp that is not there yet.
pub(super) fn note(stamps: &mut Vec<Stamp>, stamp: &Stamp) {
    if !stamps.contains(stamp) {
        stamps.push(stamp.clone());
    }
}

fn path(workspace: &Workspace) -> PathBuf {
    workspace.root.join("tests/soak/ledger.json")
}

impl Ledger {
    /// An empty one where there is no file.
    pub(super) fn read(workspace: &Workspace) -> Result<Self> {
        kept::read(&path(workspace))
    }

    pub(super) fn write(&self, workspace: &Workspace) -> Result<()> {
        kept::write(&path(workspace), self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_what_is_foreign_is_refused() {
        let mut ledger = Ledger::default();
        let stamp = Stamp { commit: "a".into(), date: "d".into() };
        let records = ledger.records.entry("daemon".into()).or_default();
        records.kernels = 5;
        note(&mut records.commits, &stamp);
        note(&mut records.commits, &stamp);
        assert_eq!(records.commits.len(), 1);
        ledger.attach.entry("python".into()).or_default().attached.add(1_234_567);
        let text = serde_json::to_string(&ledger).unwrap();
        assert_eq!(serde_json::from_str::<Ledger>(&text).unwrap(), ledger);
        assert!(serde_json::from_str::<Ledger>("{\"minutes\": 1}").is_err());
    }
}
