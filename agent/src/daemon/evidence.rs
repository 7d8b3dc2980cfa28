//! The configuration's `[evidence]`: what is looked at to tell why a worker ended, or that it hangs.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use crate::logs::LogSettings;

/// Lines of a log in a dump at most: they are bounded by bytes, too.
const LINES_MAX: usize = 1000;

/// Shortest time without progress that may be called a hang: prefills of a million tokens and compilation take tens of
/// seconds.
const HANG_SECONDS: std::ops::RangeInclusive<u64> = 2..=86_400;

/// `[evidence]`. Unknown keys are errors.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct EvidenceConfig {
    /// The kernel's log, where the driver tells errors of devices. Empty: it is not read.
    pub kernel_log: PathBuf,
    /// Lines of a worker's own log that a dump has; 0: none.
    pub log_lines: usize,
    /// Where container runtimes keep logs: `pods/` and `containers/` lie there.
    pub logs: PathBuf,
    /// Without progress for so long while there is work, a worker hangs; 0: this is not looked for.
    pub hang_seconds: u64,
}

impl Default for EvidenceConfig {
    fn default() -> Self {
        Self {
            kernel_log: PathBuf::from("/dev/kmsg"),
            log_lines: 50,
            logs: PathBuf::from("/var/log"),
            hang_seconds: 60,
        }
    }
}

impl EvidenceConfig {
    /// What is wrong with it, as `key is value: what to use`.
    pub(super) fn problem(&self) -> Option<String> {
        let (least, most) = (HANG_SECONDS.start(), HANG_SECONDS.end());
        if self.log_lines > LINES_MAX {
            return Some(format!("evidence.log_lines is {}: use 0 to {LINES_MAX}", self.log_lines));
        }
        (self.hang_seconds > 0 && !HANG_SECONDS.contains(&self.hang_seconds)).then(|| {
            format!(
                "evidence.hang_seconds is {}: use {least} to {most}, or 0 to look for none",
                self.hang_seconds
            )
        })
    }

    /// `None`: a dump has no lines of logs.
    pub fn logs(&self) -> Option<LogSettings> {
        (self.log_lines > 0)
            .then(|| LogSettings { folder: self.logs.clone(), lines: self.log_lines })
    }

    /// `None`: hangs are not looked for.
    pub fn hang(&self) -> Option<Duration> {
        (self.hang_seconds > 0).then_some(Duration::from_secs(self.hang_seconds))
    }

    /// What it means, for `--check`.
    pub fn sentence(&self) -> String {
        let errors = match self.kernel_log.as_os_str() {
            none if none.is_empty() => "errors of devices are not looked for".to_owned(),
            path => format!("reads errors of devices from {}", path.display()),
        };
        let lines = match self.log_lines {
            0 => "a dump has no lines of logs".to_owned(),
            lines => format!("a dump has the last {lines} lines of a worker's log, redacted"),
        };
        let hang = match self.hang_seconds {
            0 => "hangs are not looked for".to_owned(),
            seconds => format!("{seconds} s without progress are a hang"),
        };
        format!("{errors}; {lines}; {hang}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_told() {
        let wrong = |text: &str| toml::from_str::<EvidenceConfig>(text).unwrap().problem();
        assert_eq!(wrong(""), None);
        assert_eq!(wrong("hang_seconds = 0"), None);
        assert!(wrong("hang_seconds = 1").unwrap().contains("use 2 to 86400"));
        assert!(wrong("log_lines = 5000").unwrap().contains("use 0 to 1000"));
        assert!(toml::from_str::<EvidenceConfig>("kmsg = \"x\"").is_err());
        let none: EvidenceConfig = toml::from_str("log_lines = 0\nhang_seconds = 0").unwrap();
        assert_eq!((none.logs(), none.hang()), (None, None));
    }
}
