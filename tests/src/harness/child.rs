//! A child process with its output in files, ended with its whole group when dropped.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child as StdChild, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};

use crate::harness::wait;

/// Why a child could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    #[error("start {program}: is it built and executable?")]
    Start { program: PathBuf, source: io::Error },
    #[error("prepare {path} for the output of {program}")]
    Output { program: PathBuf, path: PathBuf, source: io::Error },
    #[error("wait for {program}")]
    Wait { program: PathBuf, source: io::Error },
    #[error("{program} did not {what} within {seconds} s; stdout: {stdout}; stderr: {stderr}")]
    Late { program: PathBuf, what: String, seconds: f64, stdout: String, stderr: String },
}

/// How a child ended and what it wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Exit code, or minus the signal.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A running child.
#[derive(Debug)]
pub struct Child {
    program: PathBuf,
    process: StdChild,
    stdout: PathBuf,
    stderr: PathBuf,
    ended: Option<ExitStatus>,
}

impl Child {
    /// Starts `command` in a process group of its own; its output goes to `NAME.stdout` and
    /// `NAME.stderr` in `folder`. Its standard input is a pipe that closes with this value.
    ///
    /// # Errors
    /// When the files or the process cannot be made.
    pub fn start(command: &mut Command, folder: &Path, name: &str) -> Result<Self, ChildError> {
        let program = PathBuf::from(command.get_program());
        let stdout = folder.join(format!("{name}.stdout"));
        let stderr = folder.join(format!("{name}.stderr"));
        let create = |path: &Path| {
            File::create(path).map_err(|source| ChildError::Output {
                program: program.clone(),
                path: path.to_owned(),
                source,
            })
        };
        command
            .stdin(Stdio::piped())
            .stdout(create(&stdout)?)
            .stderr(create(&stderr)?)
            .process_group(0);
        let process = command
            .spawn()
            .map_err(|source| ChildError::Start { program: program.clone(), source })?;
        Ok(Self { program, process, stdout, stderr, ended: None })
    }

    /// Runs `command` to its end, at most `limit` long.
    ///
    /// # Errors
    /// When it cannot be started or does not end in time; then it is killed.
    pub fn run(
        command: &mut Command,
        folder: &Path,
        name: &str,
        limit: Duration,
    ) -> Result<Ended, ChildError> {
        let mut child = Self::start(command, folder, name)?;
        child.close_input();
        child.wait(limit)
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Closes the child's standard input.
    pub fn close_input(&mut self) {
        drop(self.process.stdin.take());
    }

    /// Writes to the child's standard input; `false` when it has closed it.
    pub fn write(&mut self, text: &str) -> bool {
        self.process.stdin.as_mut().is_some_and(|input| input.write_all(text.as_bytes()).is_ok())
    }

    pub fn stdout(&self) -> String {
        text(&self.stdout)
    }

    pub fn stderr(&self) -> String {
        text(&self.stderr)
    }

    /// Still running.
    pub fn alive(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.process.try_wait().unwrap_or_default();
        }
        self.ended.is_none()
    }

    /// Waits until a line of stdout contains `part`, and returns it.
    ///
    /// # Errors
    /// When the line does not come in time or the child ends without it.
    pub fn line(&mut self, part: &str, limit: Duration) -> Result<String, ChildError> {
        self.line_of(Self::stdout, part, limit)
    }

    /// The same of stderr.
    ///
    /// # Errors
    /// As [`Child::line`].
    pub fn error_line(&mut self, part: &str, limit: Duration) -> Result<String, ChildError> {
        self.line_of(Self::stderr, part, limit)
    }

    fn line_of(
        &mut self,
        read: fn(&Self) -> String,
        part: &str,
        limit: Duration,
    ) -> Result<String, ChildError> {
        let find = |text: String| text.lines().find(|line| line.contains(part)).map(str::to_owned);
        let mut over = false;
        let line = wait::until(limit, || {
            over = !self.alive();
            find(read(self)).map(Some).or_else(|| over.then_some(None))
        });
        // Between the look at the file and the look at the process the line may have been written.
        line.flatten().or_else(|| find(read(self))).ok_or_else(|| {
            self.late(
                &format!("print `{part}`{}", if over { " before it ended" } else { "" }),
                limit,
            )
        })
    }

    /// Sends a signal to the child alone; nothing when it is gone.
    pub fn signal(&self, signal: Signal) {
        send(self.process.id(), signal);
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// When it does not come in time.
    pub fn wait(&mut self, limit: Duration) -> Result<Ended, ChildError> {
        if wait::until(limit, || (!self.alive()).then_some(())).is_none() {
            return Err(self.late("end", limit));
        }
        let code = self
            .ended
            .map_or(-1, |status| status.code().unwrap_or_else(|| -status.signal().unwrap_or(0)));
        Ok(Ended { code, stdout: self.stdout(), stderr: self.stderr() })
    }

    fn late(&self, what: &str, limit: Duration) -> ChildError {
        ChildError::Late {
            program: self.program.clone(),
            what: what.to_owned(),
            seconds: limit.as_secs_f64(),
            stdout: self.stdout(),
            stderr: self.stderr(),
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // The group is ours: made by `process_group(0)`, and it ends here, also after a panic.
        if let Some(group) = pid(self.process.id()) {
            // A group that is gone already is what is wanted.
            let _gone = rustix::process::kill_process_group(group, Signal::KILL);
        }
        if self.ended.is_none() {
            // Already reaped is as good as reaped here.
            let _ended = self.process.wait();
        }
    }
}

/// Sends a signal to one process; nothing when it is gone.
pub fn send(process: u32, signal: Signal) {
    if let Some(process) = pid(process) {
        let _gone = rustix::process::kill_process(process, signal);
    }
}

/// Never 0 or 1, which name more than a child of a test.
fn pid(number: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(number).ok()?).filter(|_pid| number > 1)
}

/// A command without our own CUDA and profiler variables.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let ours = |key: &str| {
        key.starts_with("WARPLENS_") || key.starts_with("CUDA_") || key == "LD_LIBRARY_PATH"
    };
    for (key, _value) in std::env::vars().filter(|(key, _value)| ours(key)) {
        command.env_remove(key);
    }
    command
}

fn text(path: &Path) -> String {
    std::fs::read(path)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}
