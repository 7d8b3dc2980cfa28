//! The configuration's `[flight]`: how much of the latest past is kept, and where it is written.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::flight::{FlightSettings, Keep, limits};

const MIB: u64 = 1 << 20;

/// Shortest and longest window, seconds: at its beginning it takes up to a second until it is proven that what was
/// launched before is gone; more than an hour is what `record` is for.
const SECONDS: std::ops::RangeInclusive<u64> = 5..=3600;

/// What the ring may be given, bytes: less than a chunk of a busy second keeps nothing.
const BYTES: std::ops::RangeInclusive<u64> = MIB..=4096 * MIB;

/// Dumps kept at most: each is looked at before one is written.
const KEEP_MAX: usize = 1000;

/// Settings of the flight recorder.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct FlightConfig {
    /// How far back it reaches; 0 turns it off.
    pub seconds: u64,
    /// What the window may take in memory, compressed.
    pub bytes: u64,
    /// Where dumps are written: a folder of the daemon's own.
    pub dir: PathBuf,
    /// Dumps kept there; the oldest go.
    pub keep: usize,
    /// What all of them may take.
    pub keep_bytes: u64,
    /// What is left free on that file system.
    pub free_bytes: u64,
    /// Also an end of a worker whose reason nobody can tell is a crash.
    pub unknown_end_is_crash: bool,
}

impl Default for FlightConfig {
    fn default() -> Self {
        Self {
            seconds: 60,
            bytes: 64 * MIB,
            dir: PathBuf::from("/var/lib/warplens/dumps"),
            keep: 10,
            keep_bytes: 2048 * MIB,
            free_bytes: 1024 * MIB,
            unknown_end_is_crash: false,
        }
    }
}

impl FlightConfig {
    /// What is wrong with it, as `key is value: what to use`.
    pub(super) fn problem(&self) -> Option<String> {
        if self.seconds > 0 && !SECONDS.contains(&self.seconds) {
            let (least, most) = (SECONDS.start(), SECONDS.end());
            return Some(format!(
                "flight.seconds is {}: use {least} to {most}, or 0 for none",
                self.seconds
            ));
        }
        if !BYTES.contains(&self.bytes) {
            let (least, most) = (BYTES.start(), BYTES.end());
            return Some(format!("flight.bytes is {}: use {least} to {most}", self.bytes));
        }
        if !(1..=KEEP_MAX).contains(&self.keep) {
            return Some(format!("flight.keep is {}: use 1 to {KEEP_MAX}", self.keep));
        }
        if !self.dir.is_absolute() {
            return Some(format!("flight.dir is {}: use an absolute path", self.dir.display()));
        }
        None
    }

    /// `None`: it is off.
    pub fn settings(&self) -> Option<FlightSettings> {
        let Self { seconds, bytes, dir, keep, keep_bytes, free_bytes, unknown_end_is_crash } =
            self.clone();
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        (seconds > 0).then(|| FlightSettings {
            limits: limits(Duration::from_secs(seconds), bytes),
            dir,
            keep: Keep { dumps: keep, bytes: keep_bytes, free_bytes },
            unknown_end_is_crash,
            log_lines: 0,
        })
    }

    /// What it means, for `--check`.
    pub fn sentence(&self) -> String {
        match self.seconds {
            0 => "the flight recorder is off".to_owned(),
            seconds => format!(
                "the last {seconds} s are kept in memory, {} MiB at most; dumps go to {}, {} at most",
                self.bytes / MIB,
                self.dir.display(),
                self.keep
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_told() {
        let good = FlightConfig::default();
        assert_eq!(good.problem(), None);
        let wrong = |config: FlightConfig| config.problem().unwrap();
        assert!(wrong(FlightConfig { seconds: 3601, ..good.clone() }).contains("flight.seconds"));
        assert!(wrong(FlightConfig { bytes: 5, ..good.clone() }).contains("flight.bytes is 5"));
        assert!(wrong(FlightConfig { keep: 0, ..good.clone() }).contains("flight.keep"));
        assert!(wrong(FlightConfig { dir: "x".into(), ..good.clone() }).contains("absolute"));
        assert!(good.settings().is_some());
        assert_eq!(FlightConfig { seconds: 0, ..good }.settings(), None);
    }
}
