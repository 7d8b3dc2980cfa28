//! The part of `report.json` (schema `warplens.report/v1`) that is judged.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;

use crate::judge::JudgeError;

/// A report.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    pub schema: String,
    pub simulated: bool,
    pub devices: Vec<Device>,
    #[serde(default)]
    pub workers: Vec<Worker>,
    #[serde(default)]
    pub defects: Vec<serde_json::Value>,
    #[serde(default)]
    pub notes: Vec<String>,
}

/// One device. Times in ns.
#[derive(Clone, Debug, Deserialize)]
pub struct Device {
    pub device: u32,
    pub uuid: Option<String>,
    pub window: Window,
    pub window_ns: u64,
    pub kernels: u64,
    pub copies: Option<u64>,
    pub exclusive_ns: BTreeMap<String, u64>,
    pub inclusive_ns: BTreeMap<String, u64>,
    pub compute_communication_overlap_ns: u64,
    #[serde(default)]
    pub idle_cause_ns: BTreeMap<String, u64>,
    #[serde(default)]
    pub unobserved_reason_ns: BTreeMap<String, u64>,
    #[serde(default)]
    pub kinds_ns: BTreeMap<String, BTreeMap<String, u64>>,
    pub records: Records,
    #[serde(default)]
    pub top_kernels: Vec<Kernel>,
    /// Every kernel; reports without it are judged by `top_kernels`.
    pub kernel_totals: Option<Vec<Kernel>>,
}

/// Half-open interval of `CLOCK_MONOTONIC`, ns.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Window {
    pub start_ns: u64,
    pub end_ns: u64,
}

/// Records by what became of them.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Records {
    pub classified: u64,
    pub unclassified: u64,
    pub invalid: u64,
    pub lost: u64,
}

/// One kernel's total in the window.
#[derive(Clone, Debug, Deserialize)]
pub struct Kernel {
    pub name: String,
    pub class: String,
    pub kind: String,
    pub count: u64,
    pub total_ns: u64,
}

/// One process on one device.
#[derive(Clone, Debug, Deserialize)]
pub struct Worker {
    pub pid: u32,
    #[serde(default)]
    pub title: String,
    pub uuid: Option<String>,
    pub kernels: u64,
    #[serde(default)]
    pub launches: u64,
    #[serde(default)]
    pub launches_failed: u64,
}

impl Report {
    /// Reads and checks the schema's name.
    ///
    /// # Errors
    /// When the file cannot be read or is something else.
    pub fn read(path: &Path) -> Result<Self, JudgeError> {
        let text = std::fs::read_to_string(path).map_err(|source| JudgeError::Read {
            what: "the report",
            path: path.to_owned(),
            source,
        })?;
        let parse = |message: String| JudgeError::Parse {
            what: "the report",
            path: path.to_owned(),
            message,
        };
        let report: Self = serde_json::from_str(&text).map_err(|error| parse(error.to_string()))?;
        if report.schema != "warplens.report/v1" {
            return Err(parse(format!("schema `{}` is not warplens.report/v1", report.schema)));
        }
        Ok(report)
    }
}

impl Device {
    /// The UUID's digits, without `SIM-` and dashes.
    pub fn uuid_digits(&self) -> Option<String> {
        self.uuid.as_deref().map(digits)
    }

    /// Every kernel the report lists.
    pub fn kernels_listed(&self) -> &[Kernel] {
        self.kernel_totals.as_deref().unwrap_or(&self.top_kernels)
    }
}

/// The hexadecimal digits of a UUID as reports write it.
pub fn digits(uuid: &str) -> String {
    let bare = uuid.strip_prefix("SIM-").or_else(|| uuid.strip_prefix("GPU-")).unwrap_or(uuid);
    bare.chars().filter(|&character| character != '-').collect::<String>().to_lowercase()
}
