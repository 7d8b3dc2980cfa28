//! How bringing the shim into a process came out, as a word: of `attach --json`, of metrics, and for who decides whether
//! to try again.

use serde::{Deserialize, Serialize};

use super::error::InjectError;

/// See the module's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The shim is there and of use.
    Attached,
    /// It was there already.
    Present,
    /// A thread was sent through the code that would load the shim.
    Rehearsed,
    /// The shim is there and off: it says why.
    Off,
    /// The process has not loaded a CUDA driver, or never will.
    NoDriver,
    /// No thread was found at a safe place.
    NoSafeThread,
    /// It cannot be entered by its architecture, its C library or how it is protected.
    Unsupported,
    /// It answered a call with an error.
    Refused,
    /// A call takes longer than it may, and goes on by itself.
    Late,
    /// A privilege is missing.
    NotPermitted,
    /// The process was not there any more.
    Gone,
    /// It ended while it was entered.
    Ended,
    /// A step failed that usually does not.
    Failed,
}

impl Outcome {
    pub const ALL: [Self; 13] = [
        Self::Attached,
        Self::Present,
        Self::Rehearsed,
        Self::Off,
        Self::NoDriver,
        Self::NoSafeThread,
        Self::Unsupported,
        Self::Refused,
        Self::Late,
        Self::NotPermitted,
        Self::Gone,
        Self::Ended,
        Self::Failed,
    ];

    /// Of a refusal.
    pub fn of(error: &InjectError) -> Self {
        match error {
            error if error.is_privilege() => Self::NotPermitted,
            InjectError::Process { .. } => Self::Gone,
            InjectError::Ended { .. } => Self::Ended,
            InjectError::Present { .. } => Self::Present,
            InjectError::NoDriver { .. } => Self::NoDriver,
            InjectError::Unsupported { .. } => Self::Unsupported,
            InjectError::NoSafeThread { .. } => Self::NoSafeThread,
            InjectError::Another { .. } | InjectError::Trace { .. } => Self::Failed,
            InjectError::Late { .. } => Self::Late,
            InjectError::Refused { .. } => Self::Refused,
        }
    }

    /// Another try would come out the same, or should not be made.
    pub fn is_final(self) -> bool {
        match self {
            Self::NoDriver | Self::NoSafeThread | Self::Failed => false,
            Self::Attached
            | Self::Present
            | Self::Rehearsed
            | Self::Off
            | Self::Unsupported
            | Self::Refused
            | Self::Late
            | Self::NotPermitted
            | Self::Gone
            | Self::Ended => true,
        }
    }

    /// The spelling in JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Attached => "attached",
            Self::Present => "present",
            Self::Rehearsed => "rehearsed",
            Self::Off => "off",
            Self::NoDriver => "no_driver",
            Self::NoSafeThread => "no_safe_thread",
            Self::Unsupported => "unsupported",
            Self::Refused => "refused",
            Self::Late => "late",
            Self::NotPermitted => "not_permitted",
            Self::Gone => "gone",
            Self::Ended => "ended",
            Self::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn words_are_those_of_json() {
        for outcome in Outcome::ALL {
            let text = serde_json::to_string(&outcome).unwrap();
            assert_eq!(text, format!("\"{}\"", outcome.as_str()));
        }
    }

    #[test]
    fn a_missing_privilege_is_told_from_a_process_that_is_gone() {
        let of = |kind: io::ErrorKind| {
            Outcome::of(&InjectError::Process { pid: 1, source: kind.into() })
        };
        assert_eq!(of(io::ErrorKind::PermissionDenied), Outcome::NotPermitted);
        assert_eq!(of(io::ErrorKind::NotFound), Outcome::Gone);
    }
}
