//! Runs the agent's commands and reads what they wrote.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use crate::harness::artefacts::{self, Missing};
use crate::harness::child::{Child, Ended, command};
use crate::harness::server::StartError;

/// The agent's command line, without our own variables.
///
/// # Errors
/// When the agent is not built.
pub fn warplens(arguments: &[&str]) -> Result<Command, Missing> {
    let mut command = command(artefacts::agent()?);
    command.args(arguments);
    Ok(command)
}

/// Runs the agent to its end.
///
/// # Errors
/// When it is not built or does not end in time.
pub fn run(
    arguments: &[&str],
    folder: &Path,
    name: &str,
    limit: Duration,
) -> Result<Ended, StartError> {
    Ok(Child::run(&mut warplens(arguments)?, folder, name, limit)?)
}

/// Starts `warplens record` on a process and its descendants, without waiting.
///
/// # Errors
/// When it is not built or cannot be started.
pub fn start_record(
    pid: u32,
    seconds: u32,
    folder: &Path,
    name: &str,
) -> Result<(Child, PathBuf), StartError> {
    let out = folder.join(name);
    let mut command = warplens(&["record", "--pid", &pid.to_string()])?;
    command.args(["-d", &format!("{seconds}s"), "-o"]).arg(&out);
    Ok((Child::start(&mut command, folder, name)?, out))
}

/// Records a process and its descendants; how the command ended and its output folder.
///
/// # Errors
/// When it is not built or does not end in time.
pub fn record(
    pid: u32,
    seconds: u32,
    folder: &Path,
    name: &str,
) -> Result<(Ended, PathBuf), StartError> {
    record_with(pid, seconds, &[], folder, name)
}

/// The same with more arguments.
///
/// # Errors
/// As [`record`].
pub fn record_with(
    pid: u32,
    seconds: u32,
    more: &[&str],
    folder: &Path,
    name: &str,
) -> Result<(Ended, PathBuf), StartError> {
    let out = folder.join(name);
    let mut command = warplens(&["record", "--pid", &pid.to_string()])?;
    command.args(more).args(["-d", &format!("{seconds}s"), "-o"]).arg(&out);
    let mut child = Child::start(&mut command, folder, name)?;
    // Unfinished work may hold the end of the window for a while.
    let ended = child.wait(Duration::from_secs(u64::from(seconds) + 40))?;
    Ok((ended, out))
}

/// What `record` says once it observes processes without a GPU.
const NO_GPU: &str = "no GPU work will be seen";

/// How long `record` may take to begin.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long it may take to write everything at its end: names of code from a slow disk take 100 s.
const END_PATIENCE: Duration = Duration::from_mins(3);

/// A `warplens record` that ends when it is told to.
#[derive(Debug)]
pub struct Recording {
    pub child: Child,
    out: PathBuf,
}

impl Recording {
    /// Starts to record processes and their descendants, `hz` CPU samples a second; at most two minutes.
    ///
    /// # Errors
    /// When it is not built or cannot be started.
    pub fn start(pids: &[u32], hz: u32, folder: &Path, name: &str) -> Result<Self, StartError> {
        let out = folder.join(name);
        let pids: Vec<String> = pids.iter().map(ToString::to_string).collect();
        let mut command = warplens(&["record", "--pid", &pids.join(","), "-d", "2m"])?;
        command.args(["--cpu-hz", &hz.to_string(), "-o"]).arg(&out);
        Ok(Self { child: Child::start(&mut command, folder, name)?, out })
    }

    /// The same of processes without a GPU; waits until it observes.
    ///
    /// # Errors
    /// When it does not begin.
    pub fn of_host(pids: &[u32], hz: u32, folder: &Path, name: &str) -> Result<Self, StartError> {
        let mut recording = Self::start(pids, hz, folder, name)?;
        recording.child.error_line(NO_GPU, PATIENCE)?;
        Ok(recording)
    }

    /// Ends it early; how it ended and its output folder.
    ///
    /// # Errors
    /// When it does not end.
    pub fn finish(mut self) -> Result<(Ended, PathBuf), StartError> {
        self.child.signal(Signal::INT);
        Ok((self.child.wait(END_PATIENCE)?, self.out))
    }
}

/// Checks what every refusal must be: the exit status, one line on stderr that names `part`, no
/// panic.
///
/// # Panics
/// When it is anything else.
pub fn assert_refused(ended: &Ended, code: i32, part: &str) {
    assert_eq!(ended.code, code, "{ended:?}");
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    let complaint: Vec<&str> = ended.stderr.lines().filter(|line| !line.is_empty()).collect();
    assert!(complaint.last().is_some_and(|line| line.contains(part)), "{part}: {ended:?}");
}
