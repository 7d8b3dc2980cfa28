//! What each command does: from arguments to an [`Exit`]. `main` only parses and prints errors.

pub mod agent;
pub mod analyze;
pub mod attach;
pub mod bundle;
pub mod classify;
pub mod detach;
pub mod diff;
pub mod doctor;
pub mod dump;
mod exit;
pub mod findings;
pub mod gaps;
pub mod leaks;
mod load;
pub mod record;
pub mod run;
pub mod screen;
pub mod servers;
pub mod session;
pub mod signals;
mod target;
pub mod view;

pub use exit::Exit;

use std::io;

use crate::foreign::FormatError;
use crate::foreign::chrome::ChromeError;
use crate::foreign::nsys::{ExportError, NsysError};
use crate::output::perfetto::TraceError;
use crate::output::{FolderError, OutputError};
use crate::recording::{ReadError, WriteError};
use crate::rules::RulesError;
use crate::switch::Switch;

/// Why a command failed. Each message is one line: what, where, what to do.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    #[error(transparent)]
    Format(#[from] FormatError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Chrome(#[from] ChromeError),
    #[error(transparent)]
    Nsys(#[from] NsysError),
    #[error(transparent)]
    NsysExport(#[from] ExportError),
    #[error(transparent)]
    Output(#[from] OutputError),
    #[error(transparent)]
    Trace(#[from] TraceError),
    #[error(transparent)]
    Config(#[from] crate::daemon::ConfigError),
    #[error(transparent)]
    Rules(#[from] RulesError),
    #[error("{command}: {source}")]
    Selector { command: String, source: crate::proc::SelectorError },
    #[error(transparent)]
    Observe(#[from] crate::observe::ObserveError),
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Inputs(#[from] analyze::InputsError),
    #[error(transparent)]
    Report(#[from] crate::output::json::ReadReportError),
    #[error("write to standard output: check where it leads")]
    Stdout(#[source] io::Error),
    #[error("read standard input: check where it comes from")]
    Stdin(#[source] io::Error),
    /// The arguments parse and yet make no sense.
    #[error("{0}")]
    Usage(String),
    /// A privilege is missing.
    #[error("{what}: {privilege} is missing: {advice}")]
    Privilege { what: String, privilege: String, advice: String },
    /// Anything else, as `what: where: what to do`.
    #[error("{message}")]
    Failed {
        message: String,
        #[source]
        source: Option<Box<dyn std::error::Error + Send + Sync>>,
    },
}

impl CommandError {
    /// The exit code this error ends the program with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Usage(_) => Exit::Usage,
            Self::Privilege { .. } => Exit::Privilege,
            Self::Format(_)
            | Self::Read(_)
            | Self::Write(_)
            | Self::Chrome(_)
            | Self::Nsys(_)
            | Self::NsysExport(_)
            | Self::Output(_)
            | Self::Trace(_)
            | Self::Config(_)
            | Self::Rules(_)
            | Self::Selector { .. }
            | Self::Observe(_)
            | Self::Folder(_)
            | Self::Inputs(_)
            | Self::Report(_)
            | Self::Stdout(_)
            | Self::Stdin(_)
            | Self::Failed { .. } => Exit::Failed,
        }
    }
}

/// Refuses where the operator switched everything off.
fn switched_on(command: &str) -> Result<(), CommandError> {
    let switch = Switch::default();
    match switch.off() {
        None => Ok(()),
        Some(reason) => Err(CommandError::Failed {
            message: format!("{command}: {}", switch.sentence(&reason)),
            source: None,
        }),
    }
}

/// An error and its causes as one line.
pub fn one_line(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Transparent wrappers repeat their source.
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        cause = error.source();
    }
    line.replace(['\n', '\r'], " ")
}
