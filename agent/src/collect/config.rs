//! The configuration's `[collect]`.

use std::time::Duration;

use serde::Deserialize;

/// Between two turns, seconds: more often would cost the server more than it tells.
const SECONDS: std::ops::RangeInclusive<u64> = 1..=3600;

/// `[collect]`. Unknown keys are errors.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct CollectConfig {
    /// Read `/metrics` of the vLLM servers of this node.
    pub vllm: bool,
    /// Between two turns.
    pub seconds: u64,
}

impl Default for CollectConfig {
    fn default() -> Self {
        Self { vllm: true, seconds: 10 }
    }
}

impl CollectConfig {
    /// What is wrong with it, as `key is value: what to use`.
    pub fn problem(&self) -> Option<String> {
        let (least, most) = (SECONDS.start(), SECONDS.end());
        (!SECONDS.contains(&self.seconds))
            .then(|| format!("collect.seconds is {}: use {least} to {most}", self.seconds))
    }

    /// `None`: it is off.
    pub fn every(&self) -> Option<Duration> {
        self.vllm.then_some(Duration::from_secs(self.seconds))
    }

    /// What it means, for `--check`.
    pub fn sentence(&self) -> String {
        if self.vllm {
            format!("reads /metrics of vLLM servers every {} s", self.seconds)
        } else {
            "asks no vLLM server for its metrics".to_owned()
        }
    }
}
