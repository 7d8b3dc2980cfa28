//! `manifest.json`: what is in a bundle, so that its sender can look before it leaves.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Name inside the bundle.
pub const MANIFEST_JSON: &str = "manifest.json";

pub const SCHEMA: &str = "warplens.bundle/v1";

/// The file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub schema: String,
    /// Of the agent that packed it.
    pub warplens: String,
    /// Also what services are called was taken out.
    pub anonymous: bool,
    /// In the order in which they lie in the file, this one left out.
    pub files: Vec<Entry>,
    /// What was taken out: how many different ones, by kind.
    pub redacted: BTreeMap<String, usize>,
    /// What could not be had, and why.
    pub missing: Vec<String>,
}

/// A file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Below the bundle's folder.
    pub path: String,
    pub bytes: u64,
    /// What it is.
    pub what: String,
}
