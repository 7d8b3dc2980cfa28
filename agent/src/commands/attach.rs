//! The `attach` command: the shim for processes that were started without it.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde::Serialize;
use wire::shim::OffReason;

use super::run::{SHIM_FILE, shim_path};
use super::{CommandError, Exit, one_line, screen, switched_on};
use crate::cli::AttachArgs;
use crate::inject::{InjectError, Injected, Outcome, inject, inject_any, rehearse};
use crate::observe::{Priority, reason_text};
use crate::output::{OutputError, words};
use crate::shim::Memory;
use crate::{privileges, proc, shim};

/// How long a shim that was loaded may take to say how it is.
const START: Duration = Duration::from_secs(2);
const LOOK_EVERY: Duration = Duration::from_millis(10);

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    processes: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    pid: u32,
    title: String,
    /// It has the shim, from here on or already.
    attached: bool,
    outcome: Outcome,
    /// The thread that was stopped last, how often one was, and for how long at most.
    thread: Option<u32>,
    stops: Option<u32>,
    stopped_ns: Option<u64>,
    /// Why not, or what else is to be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub fn run(args: &AttachArgs) -> Result<Exit, CommandError> {
    switched_on("attach")?;
    if args.started.is_some() {
        // A daemon asks, whose privileges are many.
        privileges::keep_only(privileges::ENTERING).map_err(|source| CommandError::Failed {
            message: "attach: give up privileges".to_owned(),
            source: Some(Box::new(source)),
        })?;
    }
    let shim = if args.rehearse { Vec::new() } else { read_shim()? };
    // A thread is stopped until this one has looked at it: beside a server that spins, an ordinary one would not.
    let priority = Priority::start();
    priority.raise();
    let (mut processes, mut unprivileged) = (Vec::new(), None);
    for &pid in &args.pid {
        let title = words::process_title(&proc::describe(pid));
        let outcome = match args.started {
            Some(started) if proc::start_time(pid) != Some(started) => {
                Err(InjectError::Process { pid, source: io::ErrorKind::NotFound.into() })
            }
            _ if args.rehearse => rehearse(pid, |_tid| true),
            _ => inject(pid, &shim),
        };
        unprivileged =
            unprivileged.or(outcome.as_ref().err().filter(|e| e.is_privilege()).map(|_| pid));
        processes.push(row(pid, title, outcome, args.rehearse));
    }
    let all = processes.iter().all(|row| row.reason.is_none() || row.attached);
    if args.json {
        let document = Document { schema: "warplens.attach/v1", processes };
        let mut bytes = serde_json::to_vec_pretty(&document).map_err(OutputError::Json)?;
        bytes.push(b'\n');
        screen::out(&bytes).map_err(CommandError::Stdout)?;
    } else {
        let lines: String = processes.iter().map(|row| line(row, args.rehearse)).collect();
        screen::out(lines.as_bytes()).map_err(CommandError::Stdout)?;
    }
    if let Some(pid) = unprivileged {
        return Err(CommandError::Privilege {
            what: format!("attach to process {pid}"),
            privilege: "CAP_SYS_PTRACE".to_owned(),
            advice: "run as root, or grant it".to_owned(),
        });
    }
    if all && !args.rehearse {
        let pids: Vec<String> = args.pid.iter().map(u32::to_string).collect();
        screen::say(&format!("Next: `warplens record --pid {} -d 30s`", pids.join(",")));
    }
    Ok(if all { Exit::Ok } else { Exit::Failed })
}

/// Brings the shim into processes whose heap is to be sampled, whether they use CUDA or not; why not, of those that it
/// could not be brought into.
///
/// # Errors
/// When there is no shim to bring.
pub(super) fn bring(pids: &[u32]) -> Result<Vec<(u32, InjectError)>, CommandError> {
    let shim = read_shim()?;
    let priority = Priority::start();
    priority.raise();
    let mut refused = Vec::new();
    for &pid in pids {
        match inject_any(pid, &shim) {
            // What it says of itself is for who takes its ring.
            Ok(_) => drop(why_off(pid)),
            Err(InjectError::Present { .. }) => {}
            Err(error) => refused.push((pid, error)),
        }
    }
    Ok(refused)
}

/// Where the shim is.
///
/// # Errors
/// When there is none.
pub(super) fn find_shim() -> Result<PathBuf, CommandError> {
    shim_path().ok_or_else(|| CommandError::Failed {
        message: format!(
            "attach: {SHIM_FILE} is not beside this program: set WARPLENS_SHIM to its path"
        ),
        source: None,
    })
}

fn read_shim() -> Result<Vec<u8>, CommandError> {
    let path = find_shim()?;
    fs::read(&path).map_err(|source| CommandError::Failed {
        message: format!("attach: read {}: check its permissions", path.display()),
        source: Some(source.into()),
    })
}

fn row(pid: u32, title: String, outcome: Result<Injected, InjectError>, rehearsed: bool) -> Row {
    let empty = Row {
        pid,
        title,
        attached: true,
        outcome: Outcome::Present,
        thread: None,
        stops: None,
        stopped_ns: None,
        reason: None,
    };
    match outcome {
        Ok(Injected { tid, stops, stopped }) => {
            let reason = if rehearsed { None } else { why_off(pid) };
            let outcome = match &reason {
                _ if rehearsed => Outcome::Rehearsed,
                Some(_) => Outcome::Off,
                None => Outcome::Attached,
            };
            Row {
                attached: outcome == Outcome::Attached,
                outcome,
                thread: Some(tid),
                stops: Some(stops),
                stopped_ns: u64::try_from(stopped.as_nanos()).ok(),
                reason,
                ..empty
            }
        }
        Err(error @ InjectError::Present { .. }) => Row { reason: Some(one_line(&error)), ..empty },
        Err(error) => Row {
            attached: false,
            outcome: Outcome::of(&error),
            reason: Some(one_line(&error)),
            ..empty
        },
    }
}

/// What the shim says of itself, if it is of no use.
fn why_off(pid: u32) -> Option<String> {
    let begin = Instant::now();
    loop {
        let memory = shim::find(pid).ok().flatten().map(|found| Memory::open(&found, false));
        match memory {
            Some(Ok(memory)) => {
                let status = shim::status(&memory);
                let is_off = status.off_reason.is_some_and(|reason| reason != OffReason::None);
                return is_off.then(|| reason_text(status.off_reason, status.cupti_error));
            }
            _ if begin.elapsed() > START => {
                return Some("the shim was loaded and says nothing".to_owned());
            }
            _ => std::thread::sleep(LOOK_EVERY),
        }
    }
}

fn line(row: &Row, rehearsed: bool) -> String {
    let Row { title, stops, stopped_ns, reason, .. } = row;
    match (stops, stopped_ns, reason) {
        (Some(stops), Some(stopped), None) => {
            let what = if rehearsed { "can be entered" } else { "attached" };
            let times = if *stops == 1 { "once".to_owned() } else { format!("{stops} times") };
            let longest = words::duration(*stopped);
            format!("{what}: {title}: a thread was stopped {times}, for {longest} at most\n")
        }
        (_, _, reason) => {
            let what = match (row.attached, rehearsed) {
                (true, _) => "nothing to do",
                (false, true) => "cannot be entered",
                (false, false) => "not attached",
            };
            format!("{what}: {title}: {}\n", reason.as_deref().unwrap_or("no reason"))
        }
    }
}
