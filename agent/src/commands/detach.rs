//! The `detach` command: shims to sleep, of processes or of the whole machine.

use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use wire::shim::{Level, OffReason};

use super::{CommandError, Exit, one_line, screen};
use crate::cli::DetachArgs;
use crate::output::{OutputError, words};
use crate::proc;
use crate::shim::{self, Location, Memory, WorkerRing};
use crate::switch::Switch;

/// A shim answers within a quarter of a second, and sleeps by itself 3 s after an agent went away; an agent sees the
/// switch within half a second.
const PATIENCE: Duration = Duration::from_secs(6);
const LOOK_EVERY: Duration = Duration::from_millis(50);

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    /// Nothing is observed on this machine until the switch is lifted.
    switched_off: bool,
    processes: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    pid: u32,
    title: String,
    /// Its shim sleeps.
    detached: bool,
    /// Why not, or what else is to be known.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

pub fn run(args: &DetachArgs) -> Result<Exit, CommandError> {
    let switch = Switch::default();
    let failed = |what: &str, source| CommandError::Failed {
        message: format!("detach: {what} {}: check its permissions", switch.path().display()),
        source: Some(Box::new(source)),
    };
    if args.lift {
        let was_off = switch.lift().map_err(|source| failed("remove", source))?;
        let said = if was_off { "switched on again" } else { "was not switched off" };
        screen::say(&format!("warplens: {said}. Next: `warplens servers`"));
        return Ok(Exit::Ok);
    }
    let locations: Vec<(u32, Option<Location>)> = if args.all {
        switch.set(&args.reason).map_err(|source| failed("make", source))?;
        let rings = proc::pids().into_iter().filter_map(own_ring);
        rings.map(|(pid, location)| (pid, Some(location))).collect()
    } else {
        args.pid.iter().map(|&pid| (pid, shim::find(pid).ok().flatten())).collect()
    };
    let begin = Instant::now();
    let processes: Vec<Row> =
        locations.into_iter().map(|(pid, location)| row(pid, location, begin)).collect();
    let all = processes.iter().all(|row| row.detached);
    let switched_off = switch.off().is_some();
    if args.json {
        let document = Document { schema: "warplens.detach/v1", switched_off, processes };
        let mut bytes = serde_json::to_vec_pretty(&document).map_err(OutputError::Json)?;
        bytes.push(b'\n');
        screen::out(&bytes).map_err(CommandError::Stdout)?;
    } else {
        let lines: String = processes.iter().map(line).collect();
        screen::out(lines.as_bytes()).map_err(CommandError::Stdout)?;
    }
    screen::say(match (args.all, all) {
        (true, true) => {
            "warplens: switched off; every shim sleeps. `warplens detach --lift` switches it on"
        }
        (true, false) => {
            "warplens: switched off; shims that do not sleep yet do within 3 s of their agent's end. `warplens detach --lift` switches it on"
        }
        (false, true) => {
            "warplens: detached. `warplens record` or a daemon wakes them again; `warplens detach --all` keeps those out, too"
        }
        (false, false) => "warplens: not all are detached: see above",
    });
    Ok(if all { Exit::Ok } else { Exit::Failed })
}

/// The ring that a process's own shim made: agents map those of others.
fn own_ring(pid: u32) -> Option<(u32, Location)> {
    let location = shim::find(pid).ok().flatten()?;
    let memory = Memory::open(&location, false);
    let another = memory.is_ok_and(|memory| Some(memory.header().pid) != proc::inner_number(pid));
    (!another).then_some((pid, location))
}

fn row(pid: u32, location: Option<Location>, begin: Instant) -> Row {
    let title = words::process_title(&proc::describe(pid));
    let outcome = match location {
        Some(location) => send_to_sleep(&location, begin),
        None if proc::alive(pid) => {
            Err("it has no shim, or not one that this user may see".to_owned())
        }
        None => Err("there is no such process".to_owned()),
    };
    Row { pid, title, detached: outcome.is_ok(), reason: outcome.err() }
}

/// Waits until the shim sleeps, and sees to it where no agent holds it.
fn send_to_sleep(location: &Location, begin: Instant) -> Result<(), String> {
    loop {
        // Held until the shim has answered: it listens to who beats.
        let held = WorkerRing::attach(location);
        if let Ok(ring) = &held {
            ring.ask(Level::Dormant, 0);
        }
        let memory = match Memory::open(location, false) {
            Ok(memory) => memory,
            // It ended, or became another program, meanwhile.
            Err(_) if shim::find(location.pid).is_ok_and(|found| found.is_none()) => return Ok(()),
            Err(error) => return Err(one_line(&error)),
        };
        let status = shim::status(&memory);
        let is_off = status.off_reason.is_some_and(|reason| reason != OffReason::None);
        if status.level == Some(Level::Dormant) || is_off || !memory.is_full() {
            return Ok(());
        }
        if begin.elapsed() > PATIENCE {
            return Err(match held {
                Ok(_) => "its shim does not answer: is the process stopped?".to_owned(),
                Err(error) => one_line(&error),
            });
        }
        thread::sleep(LOOK_EVERY);
    }
}

fn line(row: &Row) -> String {
    match &row.reason {
        None => format!("asleep: {}\n", row.title),
        Some(reason) => format!("not detached: {}: {reason}\n", row.title),
    }
}
