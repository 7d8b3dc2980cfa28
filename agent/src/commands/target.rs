//! Whom a command that observes for a while is about.

use std::time::Instant;

use super::session::Session;
use super::{CommandError, screen};
use crate::cli::TargetArgs;
use crate::observe::{Refused, Selection};
use crate::proc::{self, Discovery, Selector};

/// Whom `command` observes; a mistyped name is an error.
pub(super) fn selection(command: &str, args: &TargetArgs) -> Result<Selection, CommandError> {
    if args.all {
        return Ok(Selection::All);
    }
    if let Some(selector) = selector(args) {
        let mut node = Discovery::new();
        node.look(Instant::now());
        // A mistyped name is an error now, not an empty report in 30 s.
        let unknown = |source| CommandError::Selector { command: command.to_owned(), source };
        drop(selector.choose(&node).map_err(unknown)?);
        return Ok(Selection::Servers(selector));
    }
    if args.pid.is_empty() {
        return Err(CommandError::Usage(format!(
            "{command}: nothing to observe: name processes with `--pid`, a server with `--pod`, `--container` or `--model` (`warplens servers` lists them), or take everything with `--all`"
        )));
    }
    for &pid in &args.pid {
        if !proc::alive(pid) {
            return Err(CommandError::Failed {
                message: format!("{command}: no process {pid}: look for it with `pgrep -af vllm`"),
                source: None,
            });
        }
        if let Some(process) = proc::process_of(pid).filter(|&process| process != pid) {
            return Err(CommandError::Failed {
                message: format!(
                    "{command}: {pid} is a thread of process {process}: use `--pid {process}`"
                ),
                source: None,
            });
        }
    }
    Ok(Selection::Trees(args.pid.clone()))
}

fn selector(args: &TargetArgs) -> Option<Selector> {
    let pod = args.pod.clone().map(Selector::Pod);
    let container = || args.container.clone().map(Selector::Container);
    let model = || args.model.clone().map(Selector::Model);
    pod.or_else(container).or_else(model)
}

/// Nothing to see is an error now, not an empty report in 30 s.
pub(super) fn check(
    command: &str,
    session: &Session,
    args: &TargetArgs,
) -> Result<(), CommandError> {
    let observer = &session.observer;
    let unarmed = observer.unarmed();
    if observer.ring_count() > unarmed.len() {
        return Ok(());
    }
    // With `--all` nobody asked for that process in particular.
    let others = args.all && observer.has_programs() && observer.targets_left() > 0;
    if let Some(refused) = observer.refused().iter().chain(&unarmed).next().filter(|_| !others) {
        return Err(refusal(command, refused));
    }
    if observer.targets_left() == 0 || !observer.has_programs() {
        if let Some(gone) = args.pid.iter().find(|&&pid| !proc::alive(pid)) {
            let message = format!("{command}: process {gone} ended before it could be observed");
            return Err(CommandError::Failed { message, source: None });
        }
        if !rustix::process::geteuid().is_root() {
            return Err(CommandError::Privilege {
                what: command.to_owned(),
                privilege:
                    "root, or CAP_SYS_PTRACE with CAP_CHECKPOINT_RESTORE and CAP_DAC_OVERRIDE,"
                        .to_owned(),
                advice: "run it with sudo".to_owned(),
            });
        }
        let message = if observer.has_programs() {
            "no vLLM server and no process with the shim is here: start"
        } else {
            "no process has the shim loaded, and without kernel programs nothing else can be seen: start"
        };
        return Err(CommandError::Failed {
            message: format!(
                "{command}: {message} the server with `warplens run`, or with CUDA_INJECTION64_PATH set to libwarplens_cuda.so"
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
