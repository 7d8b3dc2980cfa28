//! The `leaks` command: who takes memory and does not give it back.

mod newcomers;

use std::fmt::Write as _;

use serde::Serialize;

use super::record::SCAN_EVERY;
use super::session::{Outcome, Session, Subject, Until};
use super::{CommandError, Exit, screen, target};
use crate::capture::Capture;
use crate::cli::{LeaksArgs, ObservationArgs, RulesArgs};
use crate::output::json::{Memory, MemoryFinding};
use crate::output::summary::SIMULATED_BANNER;
use crate::output::{self, OutputError, words};
use newcomers::Newcomers;

/// Of `--json`.
const SCHEMA: u32 = 1;

#[derive(Serialize)]
struct Document<'c> {
    schema: u32,
    simulated: bool,
    findings: &'c [MemoryFinding],
}

pub fn run(args: &LeaksArgs) -> Result<Exit, CommandError> {
    let selection = target::selection("leaks", &args.target)?;
    let observation = ObservationArgs {
        out: args.out.clone(),
        // Any rate: of launches none is taken.
        stack_rate: 1,
        cpu_hz: 0,
        without: Vec::new(),
        memory_step: args.step,
        verify: false,
        names: args.names,
        rules: RulesArgs::default(),
    };
    let subject = Subject::Memory { heap: !args.no_heap };
    let mut session = Session::open("leaks", selection, &observation, SCAN_EVERY, subject)?;
    session.arm()?;
    // With `--all` nobody asked for processes that have nothing of ours.
    let mut newcomers = if args.no_heap || args.target.all {
        None
    } else {
        Some(Newcomers::enter_all(&mut session, &args.target.pid)?)
    };
    target::check("leaks", &session, &args.target)?;
    let outcome = session.observe(Until::After(args.duration), |observer| {
        newcomers.as_mut().map_or(Ok(()), |newcomers| newcomers.look(observer)).map(|()| true)
    })?;
    let refused = session.observer.refused().first().cloned();
    let capture = session.close()?;
    let memory = Memory::of(&capture);
    if args.json {
        let document =
            Document { schema: SCHEMA, simulated: capture.simulated(), findings: &memory.findings };
        let mut bytes = serde_json::to_vec_pretty(&document).map_err(OutputError::Json)?;
        bytes.push(b'\n');
        screen::out(&bytes).map_err(CommandError::Stdout)?;
    } else {
        let mut text = screenful(&capture, &memory);
        let first = match (capture.has_memory_sites(), capture.has_touches()) {
            (true, _) => output::MEMORY_SVG,
            (false, true) => output::RESIDENT_SVG,
            (false, false) => output::REPORT_MD,
        };
        let _infallible = writeln!(text, "\nNext: open {}", args.out.join(first).display());
        screen::out(text.as_bytes()).map_err(CommandError::Stdout)?;
    }
    match outcome {
        Outcome::TargetsEnded => {
            screen::say("warplens: every process ended before the time was over");
        }
        Outcome::SwitchedOff => screen::say("warplens: switched off before the time was over"),
        Outcome::Complete | Outcome::Interrupted => {}
    }
    // With `--all` nobody asked for that process in particular.
    if let Some(refused) = refused.filter(|_| !args.target.all) {
        return Err(target::refusal("leaks", &refused));
    }
    let leaks = |found: &MemoryFinding| {
        found.verdict == "leak" && args.fail_on.is_some_and(|least| found.confidence >= least)
    };
    Ok(if memory.findings.iter().any(leaks) { Exit::Findings } else { Exit::Ok })
}

fn screenful(capture: &Capture, memory: &Memory) -> String {
    let mut text = String::new();
    if capture.simulated() {
        let _infallible = writeln!(text, "{SIMULATED_BANNER}\n");
    }
    if memory.findings.is_empty() {
        text.push_str("Nothing was seen that takes memory.\n");
    }
    for found in &memory.findings {
        text.push_str(&told(found));
    }
    for process in &memory.processes {
        for sentence in &process.unseen {
            let _infallible =
                writeln!(text, "Not seen of process {}: {sentence}", process.process.pid);
        }
    }
    for note in &capture.info.notes {
        let _infallible = writeln!(text, "{note}");
    }
    // Titles and names come from other processes.
    text.replace(|character: char| character.is_control() && character != '\n', " ")
}

/// One finding: what and how much, why, where, what to do.
fn told(found: &MemoryFinding) -> String {
    let mut text = String::new();
    let title = if found.process.title.is_empty() { "process" } else { &found.process.title };
    let growth = match (found.bytes_per_second, found.ci) {
        (Some(rate), Some([low, high])) if found.verdict == "leak" => {
            let text = analysis::memory::bytes_text;
            format!(", {}/s ({} to {})", text(rate), text(low), text(high))
        }
        _ => String::new(),
    };
    let _infallible = writeln!(
        text,
        "{} in {} of {title} (pid {}): {} live{growth}, confidence {:.2}",
        found.verdict,
        found.place,
        found.process.pid,
        words::bytes(found.live_bytes),
        found.confidence
    );
    for sentence in &found.evidence {
        let _infallible = writeln!(text, "    {sentence}");
    }
    for frame in found.stack.iter().rev() {
        let _infallible = writeln!(text, "      at {frame}");
    }
    if found.next_step != "none" {
        let _infallible = writeln!(text, "    next: {}", found.next_step);
    }
    text
}
