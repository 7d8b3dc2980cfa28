//! The configuration's `[memory]`.

use std::time::Duration;

use serde::Deserialize;

use crate::observe::Watched;

/// Between two readings, seconds.
const SECONDS: std::ops::RangeInclusive<u64> = 1..=3600;

/// `[memory]`. Unknown keys are errors.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryConfig {
    /// Read what the kernel counts of every process of a server.
    pub resident: bool,
    /// Have shims tell each call of CUDA that takes memory or gives it back, with its stack where stacks may be taken.
    pub calls: bool,
    /// Between two readings, and between two points of what verdicts rest on.
    pub seconds: u64,
}

impl Default for MemoryConfig {
    fn default() -> Self {
        Self { resident: true, calls: false, seconds: 10 }
    }
}

impl MemoryConfig {
    /// What is wrong with it, as `key is value: what to use`.
    pub fn problem(&self) -> Option<String> {
        let (least, most) = (SECONDS.start(), SECONDS.end());
        (!SECONDS.contains(&self.seconds))
            .then(|| format!("memory.seconds is {}: use {least} to {most}", self.seconds))
    }

    /// `None`: memory is not watched. Calls are not told without what the kernel counts.
    pub fn watched(&self) -> Option<Watched> {
        let Self { resident, calls, seconds } = *self;
        (resident || calls).then_some(Watched {
            step: Duration::from_secs(seconds),
            calls,
            heap: false,
            touches: false,
        })
    }

    /// What it means, for `--check`.
    pub fn sentence(&self) -> String {
        match self.watched() {
            None => "does not watch memory".to_owned(),
            Some(Watched { calls, .. }) => {
                let more = if calls { ", and every call of CUDA that takes memory" } else { "" };
                format!("reads what processes have of memory every {} s{more}", self.seconds)
            }
        }
    }
}
