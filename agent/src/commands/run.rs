//! The `run` command: start a program with the shim injected and observe it until it ends.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

use super::session::{Outcome, Session, Until, print};
use super::{CommandError, Exit, screen};
use crate::cli::RunArgs;
use crate::observe::Selection;
use crate::output;

/// File name of the shim.
pub const SHIM_FILE: &str = "libwarplens_cuda.so";

/// The first `cuInit` waits this long for us to arm it: nothing is missed, and a server still
/// starts when we are gone.
const WAIT_MS: &str = "10000";

/// Between looks for processes that initialise CUDA: they wait for us, so this delays them.
const SCAN_EVERY: Duration = Duration::from_millis(50);

pub fn run(args: &RunArgs) -> Result<Exit, CommandError> {
    let shim = shim_path().ok_or_else(|| CommandError::Failed {
        message: format!(
            "run: {SHIM_FILE} is not beside this program: set WARPLENS_SHIM to its path"
        ),
        source: None,
    })?;
    let Some((program, arguments)) = args.command.split_first() else {
        return Err(CommandError::Usage("run: no command".to_owned()));
    };
    let observed = Selection::Trees(vec![std::process::id()]);
    let mut session =
        Session::open("run", &args.out, observed, args.sampling, args.verify, SCAN_EVERY)?;
    let mut child = Command::new(program)
        .args(arguments)
        .env("CUDA_INJECTION64_PATH", &shim)
        .env("WARPLENS_WAIT_MS", WAIT_MS)
        .spawn()
        .map_err(|source| CommandError::Failed {
            message: format!("run: start `{program}`: check its name and that it may be executed"),
            source: Some(Box::new(source)),
        })?;
    let mut status = None;
    let outcome = session.observe(Until::TargetsEnd, || {
        status = child.try_wait().ok().flatten();
        status.is_none()
    });
    let status = finish_child(&mut child, status, matches!(outcome, Ok(Outcome::Interrupted)));
    outcome?;
    let disagree = session.observer.verifications().iter().any(|counts| !counts.agrees());
    let capture = session.close()?;
    if args.json {
        // Standard output belongs to the command.
        let bytes = output::json::render(&capture).map_err(output::OutputError::Json)?;
        screen::say(&String::from_utf8_lossy(&bytes));
    } else {
        print(&capture, &args.out, false)?;
    }
    if args.verify && disagree {
        screen::say("warplens: verification failed: eBPF and the shim count different launches");
        return Ok(Exit::Failed);
    }
    match status {
        Some(status) if status.success() => Ok(Exit::Ok),
        Some(status) => Err(CommandError::Failed {
            message: format!("run: `{program}` {}: its output says why", how_it_ended(status)),
            source: None,
        }),
        None => Ok(Exit::Ok),
    }
}

/// After Ctrl-C the terminal has told the child, too: it gets the time it needs. Otherwise it has ended.
fn finish_child(
    child: &mut Child,
    known: Option<ExitStatus>,
    interrupted: bool,
) -> Option<ExitStatus> {
    if known.is_some() {
        return known;
    }
    if interrupted {
        // SIGTERM to a child of ours that was not waited for: its PID cannot be another's.
        let pid = rustix::process::Pid::from_child(child);
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _status = child.wait();
        return None;
    }
    child.wait().ok()
}

fn how_it_ended(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with code {code}"),
        (None, Some(signal)) => format!("was ended by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// The shim: `WARPLENS_SHIM`, beside this program, or in the `lib` folder beside its folder.
pub fn shim_path() -> Option<PathBuf> {
    let named = std::env::var_os("WARPLENS_SHIM").map(PathBuf::from);
    let program = std::env::current_exe().ok();
    let folder = program.as_deref().and_then(|path| path.parent());
    let beside = folder.map(|folder| folder.join(SHIM_FILE));
    let library = folder.and_then(|folder| Some(folder.parent()?.join("lib").join(SHIM_FILE)));
    let candidates = [named, beside, library];
    candidates
        .into_iter()
        .flatten()
        .find(|path| path.is_file())
        .and_then(|path| path.canonicalize().ok())
}
