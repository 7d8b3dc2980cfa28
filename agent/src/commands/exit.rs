//! Exit codes, in one place.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Ok = 0,
    /// It could not do what was asked.
    Failed = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// It worked and found something at or above `--fail-on`.
    Findings = 3,
    /// A privilege is missing; the message says which.
    Privilege = 77,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
