//! The `run` command: start a program with the shim injected and observe it until it ends.

use std::io::{self, IsTerminal};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{self, Child, ExitStatus};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use signal_hook::consts::SIGINT;

use super::session::{Session, Subject, Until, print};
use super::signals::Signals;
use super::target::refusal;
use super::{CommandError, Exit, one_line, screen};
use crate::bpf::host::Host;
use crate::cli::RunArgs;
use crate::observe::{Refused, Selection};
use crate::output;
use crate::switch::Switch;

/// File name of the shim.
pub const SHIM_FILE: &str = "libwarplens_cuda.so";

/// The first `cuInit` waits this long for us to arm it: nothing is missed, and a server still
/// starts when we are gone.
const WAIT_MS: &str = "10000";

/// Between looks for processes that initialise CUDA: they wait for us, so this delays them.
const SCAN_EVERY: Duration = Duration::from_millis(50);

/// Between looks whether the command has ended, when nothing is left but to wait for it.
const WAIT: Duration = Duration::from_millis(20);

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
    let switch = Switch::default();
    if let Some(reason) = switch.off() {
        // A server that is started by us must start all the same.
        screen::say(&format!(
            "warplens: `{program}` runs unobserved: {}",
            switch.sentence(&reason)
        ));
        let child = start(process::Command::new(program).args(arguments), program)?;
        let signals = Signals::catch()?;
        let mut command = Command { child, program: program.clone(), signals, told: false };
        let status = command.see_off();
        return ending(&status, program).unwrap_or(Ok(Exit::Ok));
    }
    let observed = Selection::Trees(vec![process::id()]);
    let session =
        Session::open("run", observed, &args.observation, SCAN_EVERY, Subject::Everything)?;
    let mut command = process::Command::new(program);
    command.args(arguments).env("CUDA_INJECTION64_PATH", &shim).env("WARPLENS_WAIT_MS", WAIT_MS);
    if !Host::read().missing_capabilities().is_empty() {
        // A child of our own user can be observed through the descriptor its shim keeps.
        command.env("WARPLENS_KEEP_FD", "1");
    }
    let child = start(&mut command, program)?;
    let mut command =
        Command { child, program: program.clone(), signals: session.signals(), told: false };
    let observed = observe(session, &mut command, args);
    if let Err(error) = &observed
        && command.runs()
    {
        screen::say(&format!("warplens: {}: `{program}` goes on unobserved", one_line(error)));
    }
    // Everything is written by now: however long the command takes to end, nothing can be lost.
    let status = command.see_off();
    let Observed { disagree, refused } = observed?;
    if args.observation.verify && disagree {
        screen::say("warplens: verification failed: eBPF and the shim count different launches");
        return Ok(Exit::Failed);
    }
    ending(&status, program).unwrap_or_else(|| match refused {
        Some(refused) => Err(refusal("run", &refused)),
        None => Ok(Exit::Ok),
    })
}

fn start(command: &mut process::Command, program: &str) -> Result<Child, CommandError> {
    command.spawn().map_err(|source| CommandError::Failed {
        message: format!("run: start `{program}`: check its name and that it may be executed"),
        source: Some(Box::new(source)),
    })
}

/// What the command's own end has to say, if anything.
fn ending(status: &Seen, program: &str) -> Option<Result<Exit, CommandError>> {
    match status {
        Seen::Ended(status) if !status.success() => Some(Err(CommandError::Failed {
            message: format!("run: `{program}` {}: its output says why", how_it_ended(*status)),
            source: None,
        })),
        Seen::Ended(_) | Seen::Told => None,
    }
}

/// What is left to say when everything is written.
struct Observed {
    /// The two counts of verification mode differ.
    disagree: bool,
    refused: Option<Refused>,
}

/// Observes until the child ends or a signal comes, then writes and prints everything.
fn observe(
    mut session: Session,
    command: &mut Command,
    args: &RunArgs,
) -> Result<Observed, CommandError> {
    session.observe(Until::TargetsEnd, |_observer| Ok(command.runs()))?;
    command.pass_on();
    let left = session.observer.targets_left();
    if left > 0 && !command.told {
        session.observer.note(format!(
            "The command ended and left {left} processes running, which are not observed any longer."
        ))?;
    }
    let disagree = session.observer.verifications().iter().any(|counts| !counts.agrees());
    let refused = session.observer.refused().first().cloned();
    let capture = session.close()?;
    if args.json {
        // Standard output belongs to the command.
        let bytes = output::json::render(&capture).map_err(output::OutputError::Json)?;
        screen::say(String::from_utf8_lossy(&bytes).trim_end());
    } else {
        print(&capture, &args.observation.out, false)?;
    }
    Ok(Observed { disagree, refused })
}

/// How the command went.
enum Seen {
    Ended(ExitStatus),
    /// It was told to end, by us or by the terminal: its exit status is no news.
    Told,
}

/// A child and who told it to end.
struct Command {
    child: Child,
    program: String,
    signals: Signals,
    told: bool,
}

impl Command {
    fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Passes a signal to us on. The second one kills the child: nothing of it stays behind.
    fn pass_on(&mut self) {
        let Some(signal) = self.signals.take() else {
            return;
        };
        let second = std::mem::replace(&mut self.told, true);
        if !self.runs() {
            return;
        }
        // The terminal tells everybody in its foreground by itself.
        let knows = signal == SIGINT && io::stdin().is_terminal();
        if second || !knows {
            let send = if second { Signal::KILL } else { Signal::TERM };
            // The child was not waited for: its PID cannot be another's. Gone meanwhile is fine.
            let _gone = rustix::process::kill_process(Pid::from_child(&self.child), send);
        }
    }

    /// Waits for the end.
    fn see_off(&mut self) -> Seen {
        let mut announced = false;
        loop {
            self.pass_on();
            match self.child.try_wait() {
                Ok(Some(status)) if !self.told => return Seen::Ended(status),
                Ok(None) => {}
                Ok(Some(_)) | Err(_) => return Seen::Told,
            }
            if self.told && !announced {
                announced = true;
                screen::say(&format!(
                    "warplens: waiting for `{}` to end; a second Ctrl-C or SIGTERM kills it",
                    self.program
                ));
            }
            thread::sleep(WAIT);
        }
    }
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
