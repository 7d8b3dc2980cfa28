//! Child processes: each in a process group of its own, with a deadline, ended with everything it
//! started when it fails, when time is up and when the user interrupts.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Times the user asked to stop.
static INTERRUPTS: AtomicUsize = AtomicUsize::new(0);

/// How often a wait looks: short against everything a task does, and nothing to the machine.
const LOOK: Duration = Duration::from_millis(25);

/// What a child gets to end by itself after SIGTERM: `warplens record` still writes its files.
const GRACE: Duration = Duration::from_secs(10);

/// Ctrl-C, SIGTERM and a closed terminal end the waits of this module, which end the children. A
/// second one takes the grace away, so that nothing is ever left running.
pub(crate) fn install_interrupt() -> Result<()> {
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP]).context("install the interrupt handler")?;
    thread::spawn(move || {
        for _ in signals.forever() {
            INTERRUPTS.fetch_add(1, Ordering::SeqCst);
        }
    });
    Ok(())
}

/// Whether the user asked to stop.
pub(crate) fn interrupted() -> bool {
    INTERRUPTS.load(Ordering::SeqCst) > 0
}

/// A running child; dropping it ends its whole process group.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    what: String,
    reaped: bool,
}

impl Running {
    /// Starts `command` with no standard input, in a group of its own.
    pub(crate) fn start(command: &mut Command, what: &str) -> Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .process_group(0)
            .spawn()
            .with_context(|| format!("start {what} ({})", shown(command.get_program())))?;
        Ok(Self { child, what: what.to_owned(), reaped: false })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The pipe of a child started with one.
    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// `None` while it runs. Once it has ended, what it left behind in its group is ended too.
    pub(crate) fn ended(&mut self) -> Result<Option<ExitStatus>> {
        if self.reaped {
            return Ok(self.child.try_wait()?);
        }
        let pid = self.pid();
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        // Not reaped yet, so that the group's number cannot belong to anyone else when it is killed.
        if waitid(WaitId::Pid(pid), options)
            .with_context(|| format!("wait for {}", self.what))?
            .is_none()
        {
            return Ok(None);
        }
        signal_group(pid, Signal::KILL);
        self.reaped = true;
        Ok(Some(self.child.wait()?))
    }

    /// Waits for the end; after `deadline` or an interrupt the group is ended and it is an error.
    pub(crate) fn wait(&mut self, deadline: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + deadline;
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if interrupted() {
                self.stop();
                bail!("interrupted: {} was ended", self.what);
            }
            if Instant::now() >= end {
                self.stop();
                bail!("{} took longer than {} s and was ended", self.what, deadline.as_secs());
            }
            thread::sleep(LOOK);
        }
    }

    /// SIGTERM to the group, SIGKILL after a grace. Its status, where it could be had.
    pub(crate) fn stop(&mut self) -> Option<ExitStatus> {
        if self.reaped {
            return None;
        }
        signal_group(self.pid(), Signal::TERM);
        let end = Instant::now() + GRACE;
        while Instant::now() < end && INTERRUPTS.load(Ordering::SeqCst) < 2 {
            match self.ended() {
                Ok(None) => thread::sleep(LOOK),
                Ok(status) => return status,
                Err(_) => return None,
            }
        }
        signal_group(self.pid(), Signal::KILL);
        self.reaped = true;
        self.child.wait().ok()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs to the end with this terminal's output; a failure is an error.
pub(crate) fn run(command: &mut Command, what: &str, deadline: Duration) -> Result<()> {
    let status = Running::start(command, what)?.wait(deadline)?;
    if status.success() { Ok(()) } else { Err(anyhow!("{what} failed ({status})")) }
}

/// Runs to the end and hands every line of standard output to `on_line`.
pub(crate) fn run_lines(
    command: &mut Command,
    what: &str,
    deadline: Duration,
    on_line: impl FnMut(&str) + Send,
) -> Result<ExitStatus> {
    let mut running = Running::start(command.stdout(Stdio::piped()), what)?;
    let pipe = running.child.stdout.take().context("the child has no pipe")?;
    thread::scope(|scope| {
        scope.spawn(move || each_line(pipe, on_line));
        // When this returns the group has ended, so the pipe has an end.
        running.wait(deadline)
    })
}

/// Where a line was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Output,
    Error,
}

/// As [`run_lines`], for standard error too.
pub(crate) fn run_all_lines(
    command: &mut Command,
    what: &str,
    deadline: Duration,
    on_line: impl FnMut(Stream, &str) + Send,
) -> Result<ExitStatus> {
    let mut running = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()), what)?;
    let output = running.child.stdout.take().context("the child has no pipe")?;
    let error = running.child.stderr.take().context("the child has no pipe")?;
    let on_line = Mutex::new(on_line);
    let hand = |stream, line: &str| {
        // A panic in the other reader ends the task anyway.
        if let Ok(mut on_line) = on_line.lock() {
            on_line(stream, line);
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| each_line(output, |line| hand(Stream::Output, line)));
        scope.spawn(|| each_line(error, |line| hand(Stream::Error, line)));
        running.wait(deadline)
    })
}

fn each_line(pipe: impl std::io::Read, mut on_line: impl FnMut(&str)) {
    let mut reader = BufReader::new(pipe);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        on_line(String::from_utf8_lossy(&line).trim_end_matches('\n'));
        line.clear();
    }
}

/// Runs to the end and keeps standard output; its standard error stays on this terminal.
pub(crate) fn output(command: &mut Command, what: &str, deadline: Duration) -> Result<Output> {
    let mut text = String::new();
    let status = run_lines(command, what, deadline, |line| {
        text.push_str(line);
        text.push('\n');
    })?;
    Ok(Output { status, stdout: text.into_bytes(), stderr: Vec::new() })
}

/// Runs quietly; whether it ran and succeeded. For questions such as "is this installed?".
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Running::start(command, "a question")
        .and_then(|mut running| running.wait(Duration::from_mins(1)))
        .is_ok_and(|status| status.success())
}

/// `false` when the group is gone already, which is what a signal here is for.
fn signal_group(pid: Pid, signal: Signal) -> bool {
    kill_process_group(pid, signal).is_ok()
}

fn shown(program: &OsStr) -> String {
    program.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_deadline_ends_the_whole_group() {
        let mut command = shell("sleep 1000 & echo $!; wait");
        let mut grandchild = String::new();
        let result = run_lines(&mut command, "sleeper", Duration::from_millis(200), |line| {
            grandchild.push_str(line);
        });
        assert!(result.is_err());
        assert!(
            !std::path::Path::new(&format!("/proc/{grandchild}/exe")).exists(),
            "{grandchild} lives"
        );
    }

    #[test]
    fn what_a_child_leaves_behind_is_ended_with_it() {
        let mut grandchild = String::new();
        let status = run_lines(
            &mut shell("sleep 1000 & echo $!"),
            "leaver",
            Duration::from_secs(10),
            |line| {
                grandchild.push_str(line);
            },
        );
        assert!(status.is_ok_and(|status| status.success()));
        assert!(
            !std::path::Path::new(&format!("/proc/{grandchild}/exe")).exists(),
            "{grandchild} lives"
        );
    }

    #[test]
    fn a_failure_names_what_failed() {
        let error = run(&mut shell("exit 3"), "the task", Duration::from_secs(10)).unwrap_err();
        assert_eq!(error.to_string(), "the task failed (exit status: 3)");
    }
}
