//! The `record` command: observe running processes for a while.

use std::time::{Duration, Instant};

use super::session::{Outcome, Session, Until, print};
use super::{CommandError, Exit, screen};
use crate::cli::RecordArgs;
use crate::observe::{Refused, Selection};
use crate::proc::{self, Discovery, Selector};

/// Between looks for new processes below the ones that were named.
const SCAN_EVERY: Duration = Duration::from_secs(1);

pub fn run(args: &RecordArgs) -> Result<Exit, CommandError> {
    let selection = selection(args)?;
    let mut session = Session::open("record", selection, &args.observation, SCAN_EVERY)?;
    session.arm()?;
    if session.is_interrupted() && !session.observer.armed() {
        return Err(CommandError::Failed {
            message: "record: interrupted before the workers answered: nothing was recorded"
                .to_owned(),
            source: None,
        });
    }
    check_targets(&session, args)?;
    let outcome = session.observe(Until::After(args.duration), || true)?;
    let observed = session.elapsed();
    let ended = session.observer.ended().to_vec();
    let disagree = session.observer.verifications().iter().any(|counts| !counts.agrees());
    let refused = session.observer.refused().first().cloned();
    let capture = session.close()?;
    print(&capture, &args.observation.out, args.json)?;
    if outcome == Outcome::TargetsEnded {
        let pids: Vec<_> = ended.iter().map(ToString::to_string).collect();
        return Err(CommandError::Failed {
            message: format!(
                "process {} ended {:.1} s into a recording of {:.1} s: what was seen until then is in {}",
                pids.join(", "),
                observed.as_secs_f64(),
                args.duration.as_secs_f64(),
                args.observation.out.display()
            ),
            source: None,
        });
    }
    if outcome == Outcome::SwitchedOff {
        return Err(CommandError::Failed {
            message: format!(
                "record: Warplens was switched off {:.1} s into a recording of {:.1} s: what was seen until then is in {}",
                observed.as_secs_f64(),
                args.duration.as_secs_f64(),
                args.observation.out.display()
            ),
            source: None,
        });
    }
    // With `--all` nobody asked for that process in particular.
    if let Some(refused) = refused.filter(|_| !args.all) {
        return Err(refusal("record", &refused));
    }
    if args.observation.verify && disagree {
        screen::say("warplens: verification failed: eBPF and the shim count different launches");
        return Ok(Exit::Failed);
    }
    Ok(Exit::Ok)
}

fn selection(args: &RecordArgs) -> Result<Selection, CommandError> {
    if args.all {
        return Ok(Selection::All);
    }
    if let Some(selector) = selector(args) {
        let mut node = Discovery::new();
        node.look(Instant::now());
        // A mistyped name is an error now, not an empty report in 30 s.
        drop(selector.choose(&node)?);
        return Ok(Selection::Servers(selector));
    }
    if args.pid.is_empty() {
        return Err(CommandError::Usage(
            "record: nothing to observe: name processes with `--pid`, a server with `--pod`, `--container` or `--model` (`warplens servers` lists them), or take everything with `--all`"
                .to_owned(),
        ));
    }
    for &pid in &args.pid {
        if !proc::alive(pid) {
            return Err(CommandError::Failed {
                message: format!("record: no process {pid}: look for it with `pgrep -af vllm`"),
                source: None,
            });
        }
        if let Some(process) = proc::process_of(pid).filter(|&process| process != pid) {
            return Err(CommandError::Failed {
                message: format!(
                    "record: {pid} is a thread of process {process}: use `--pid {process}`"
                ),
                source: None,
            });
        }
    }
    Ok(Selection::Trees(args.pid.clone()))
}

fn selector(args: &RecordArgs) -> Option<Selector> {
    let pod = args.pod.clone().map(Selector::Pod);
    let container = || args.container.clone().map(Selector::Container);
    let model = || args.model.clone().map(Selector::Model);
    pod.or_else(container).or_else(model)
}

/// Nothing to see is an error now, not an empty report in 30 s.
fn check_targets(session: &Session, args: &RecordArgs) -> Result<(), CommandError> {
    let observer = &session.observer;
    let unarmed = observer.unarmed();
    if observer.ring_count() > unarmed.len() {
        return Ok(());
    }
    // With `--all` nobody asked for that process in particular.
    let others = args.all && observer.has_programs() && observer.targets_left() > 0;
    if let Some(refused) = observer.refused().iter().chain(&unarmed).next().filter(|_| !others) {
        return Err(refusal("record", refused));
    }
    if observer.targets_left() == 0 || !observer.has_programs() {
        if let Some(gone) = args.pid.iter().find(|&&pid| !proc::alive(pid)) {
            let message = format!("record: process {gone} ended before it could be observed");
            return Err(CommandError::Failed { message, source: None });
        }
        if !rustix::process::geteuid().is_root() {
            return Err(CommandError::Privilege {
                what: "record".to_owned(),
                privilege:
                    "root, or CAP_SYS_PTRACE with CAP_CHECKPOINT_RESTORE and CAP_DAC_OVERRIDE,"
                        .to_owned(),
                advice: "run it with sudo".to_owned(),
            });
        }
        let message = if observer.has_programs() {
            "record: no vLLM server and no process with the shim is here: start"
        } else {
            "record: no process has the shim loaded, and without kernel programs nothing else can be seen: start"
        };
        return Err(CommandError::Failed {
            message: format!(
                "{message} the server with `warplens run`, or with CUDA_INJECTION64_PATH set to libwarplens_cuda.so"
            ),
            source: None,
        });
    }
    screen::say(
        "warplens: no GPU work will be seen: none of these processes has the shim loaded (start the server with `warplens run`)",
    );
    Ok(())
}

/// The error for a ring that `command` could not observe.
pub(super) fn refusal(command: &str, refused: &Refused) -> CommandError {
    if refused.privilege {
        CommandError::Privilege {
            what: format!("{command} process {}", refused.pid),
            privilege: "CAP_SYS_PTRACE, CAP_CHECKPOINT_RESTORE or CAP_DAC_OVERRIDE".to_owned(),
            advice: refused.reason.clone(),
        }
    } else {
        CommandError::Failed { message: format!("{command}: {}", refused.reason), source: None }
    }
}
