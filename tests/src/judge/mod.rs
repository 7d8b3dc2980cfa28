//! Judges a report against the ground truth of the simulated CUDA, in integer nanoseconds.
//!
//! Shares no code with the profiler's own accounting: it sorts every edge of every interval and
//! adds up the elementary intervals between them. What the profiler cannot know (which work ran
//! before it was armed) is taken from its report and checked to be sound.

pub mod captures;
pub mod compare;
pub mod handed;
pub mod honest;
pub mod host;
pub mod idle;
pub mod invalid;
pub mod kernels;
pub mod pprof;
pub mod report;
pub mod shares;
pub mod sweep;
#[cfg(test)]
mod tests;
pub mod truth;

use std::path::Path;

use serde::Serialize;

use crate::judge::kernels::KernelTable;
use crate::judge::report::Report;
use crate::judge::truth::GroundTruth;

/// Why nothing could be judged.
#[derive(Debug, thiserror::Error)]
pub enum JudgeError {
    #[error("read {what} {path}: check the path")]
    Read { what: &'static str, path: std::path::PathBuf, source: std::io::Error },
    #[error("parse {what} {path}: {message}")]
    Parse { what: &'static str, path: std::path::PathBuf, message: String },
    #[error("no truth file in {path}: start the worker with WARPLENS_SIM_TRUTH set to it")]
    NoTruth { path: std::path::PathBuf },
    #[error("read the ground truth")]
    Truth(#[from] sim_truth::ReadError),
}

/// One quantity, as it was and as the report says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Device UUID, or `-`.
    pub device: String,
    pub what: String,
    pub truth: i128,
    pub report: i128,
}

impl Row {
    pub fn agrees(&self) -> bool {
        self.truth == self.report
    }
}

/// The outcome of a comparison.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Verdict {
    /// Truth files read.
    pub processes: usize,
    pub devices: usize,
    /// Everything compared.
    pub rows: Vec<Row>,
    /// What was not compared, or only partly, and why.
    pub notes: Vec<String>,
}

impl Verdict {
    /// The rows that disagree.
    pub fn differences(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(|row| !row.agrees())
    }

    /// Something was compared, and all of it agrees.
    pub fn exact(&self) -> bool {
        !self.rows.is_empty() && self.differences().next().is_none()
    }
}

/// Compares the report at `report` with the truth files in `directory`.
///
/// # Errors
/// When one of the inputs cannot be read.
pub fn judge(directory: &Path, report: &Path, kernels: &Path) -> Result<Verdict, JudgeError> {
    let table = KernelTable::read(kernels)?;
    let truth = GroundTruth::read(directory)?;
    let report = Report::read(report)?;
    Ok(compare::compare(&truth, &report, &table))
}
