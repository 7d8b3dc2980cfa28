//! Enters a process by this program's own `attach`, as a child: whoever waits for the process to be stopped, or is killed
//! meanwhile, is not who observes.

use std::io::Read as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::plan::Process;
use crate::inject::Outcome;

/// What the file of a running program is called also after it was replaced.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Every wait of `attach` has a limit of its own; their sum is below this.
const LIMIT: Duration = Duration::from_mins(2);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Of what it prints, bytes: a document of one process has some hundred. Less than a pipe holds, so it never waits for
/// its reader.
const TEXT_MAX: u64 = 16 << 10;

/// How a try came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) process: Process,
    pub(super) outcome: Outcome,
    /// The longest stop of a thread.
    pub(super) stopped_ns: Option<u64>,
    /// One line, where there is something to say.
    pub(super) reason: Option<String>,
}

/// `attach --json`, as far as it is of interest.
#[derive(Debug, Deserialize)]
struct Document {
    processes: Vec<Row>,
}

#[derive(Debug, Deserialize)]
struct Row {
    outcome: Outcome,
    stopped_ns: Option<u64>,
    reason: Option<String>,
}

/// Takes as long as it takes.
pub(super) fn enter(process: Process) -> Told {
    let failed = |reason: String| Told {
        process,
        outcome: Outcome::Failed,
        stopped_ns: None,
        reason: Some(reason),
    };
    let pid = process.pid.to_string();
    let start = process.start.to_string();
    let child = Command::new(OWN_PROGRAM)
        .args(["attach", "--json", "--pid", &pid, "--started", &start])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => return failed(format!("`warplens attach` was not started: {error}")),
    };
    let status = wait(&mut child);
    let stdout = text(child.stdout.take());
    let stderr = text(child.stderr.take());
    match status {
        Ok(Some(status)) => read(process, status, &stdout, &stderr),
        Ok(None) => failed(format!("it took longer than {} s and was given up", LIMIT.as_secs())),
        Err(error) => failed(format!("`warplens attach` was lost: {error}")),
    }
}

/// `None`: it was killed, which leaves the process as it was.
fn wait(child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begin.elapsed() > LIMIT {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn text(from: Option<impl std::io::Read>) -> String {
    let mut bytes = Vec::new();
    // What cannot be read is not there.
    let _cut = from.map(|from| from.take(TEXT_MAX).read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

fn read(process: Process, status: ExitStatus, stdout: &str, stderr: &str) -> Told {
    let document: Option<Document> = serde_json::from_str(stdout).ok();
    if let Some(row) = document.and_then(|document| document.processes.into_iter().next()) {
        let Row { outcome, stopped_ns, reason } = row;
        return Told { process, outcome, stopped_ns, reason };
    }
    let line = stderr.lines().next().unwrap_or_default();
    let line: String = line.chars().filter(|char| !char.is_control()).take(400).collect();
    let reason = if line.is_empty() { format!("`warplens attach`: {status}") } else { line };
    Told { process, outcome: Outcome::Failed, stopped_ns: None, reason: Some(reason) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    const PROCESS: Process = Process { pid: 7, start: 8 };

    #[test]
    fn what_attach_says_is_understood() {
        let text = r#"{"schema":"warplens.attach/v1","processes":[{"pid":7,"title":"x","attached":true,
            "outcome":"attached","thread":9,"stops":3,"stopped_ns":1500}]}"#;
        let told = read(PROCESS, ExitStatus::from_raw(0), text, "");
        let expected = Told {
            process: PROCESS,
            outcome: Outcome::Attached,
            stopped_ns: Some(1500),
            reason: None,
        };
        assert_eq!(told, expected);
        let text = r#"{"processes":[{"outcome":"unsupported","stopped_ns":null,"reason":"musl"}]}"#;
        let told = read(PROCESS, ExitStatus::from_raw(1 << 8), text, "");
        assert_eq!((told.outcome, told.reason.as_deref()), (Outcome::Unsupported, Some("musl")));
    }

    #[test]
    fn what_it_does_not_say_is_a_failure_with_its_reason() {
        let told = read(PROCESS, ExitStatus::from_raw(1 << 8), "", "warplens: off\nmore");
        assert_eq!(
            (told.outcome, told.reason.unwrap().as_str()),
            (Outcome::Failed, "warplens: off")
        );
        let told = read(PROCESS, ExitStatus::from_raw(11), "{", "");
        assert!(told.reason.unwrap().contains("signal: 11"));
        assert_eq!(told.outcome, Outcome::Failed);
    }
}
