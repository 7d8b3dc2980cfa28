//! What `record` and `run` share: load the programs, observe until it is time, write everything.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use analysis::ids::Ns;
use indicatif::{ProgressBar, ProgressStyle};
use wire::shim::Level;

use super::findings::findings;
use super::screen;
use super::signals::Signals;
use super::{CommandError, one_line, switched_on};
use crate::bpf::probe::{Off, Probe};
use crate::bpf::{Bpf, Setup};
use crate::capture::{Capture, NameStyle};
use crate::cli::ObservationArgs;
use crate::observe::{Observer, Selection, Settings, Watched, now};
use crate::output::{self, OutputFolder, perfetto, summary};
use crate::pipeline::Start;
use crate::recording::{self, Writer};
use crate::rules;

/// Between two rounds. A ring holds seconds of records, so this only bounds how far behind we are.
const ROUND: Duration = Duration::from_millis(50);
/// While waiting for an answer of a shim.
const SHORT_ROUND: Duration = Duration::from_millis(10);
/// A shim answers within a quarter of a second, a busy one a little later.
const ARM_PATIENCE: Duration = Duration::from_secs(3);
/// How long an unfinished launch may hold the end of the window: the session's 5 s and a few marks.
const DRAIN_PATIENCE: Duration = Duration::from_secs(7);

/// How long the end of an observation waits for names: a gigabyte of debug information from a disk of
/// 10 MB/s.
const NAMES_LIMIT: Duration = Duration::from_secs(100);
const NAMES_ROUND: Duration = Duration::from_millis(200);
/// After so long the user is told what is waited for.
const NAMES_SAID: Duration = Duration::from_secs(2);

/// Why the observation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The time asked for is over.
    Complete,
    /// Ctrl-C, SIGTERM or the end of the terminal.
    Interrupted,
    /// Every target ended.
    TargetsEnded,
    /// By the operator.
    SwitchedOff,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Everything,
    /// What takes memory and gives it back, and nothing that runs; the host's heap, too.
    Memory {
        heap: bool,
    },
}

/// How long to go on.
#[derive(Clone, Copy, Debug)]
pub enum Until {
    After(Duration),
    TargetsEnd,
}

/// An observation with its output folder.
pub struct Session {
    pub observer: Observer,
    folder: OutputFolder,
    names: NameStyle,
    signals: Signals,
    started: Instant,
    subject: Subject,
}

impl Session {
    /// Prepares the folder first: an unwritable one is told before anything is attached. From the
    /// first on, a signal ends the observation, not the program: the folder is whole or absent.
    pub fn open(
        command: &str,
        selection: Selection,
        args: &ObservationArgs,
        scan_every: Duration,
        subject: Subject,
    ) -> Result<Self, CommandError> {
        switched_on(command)?;
        let classifier = rules::from_files(&args.rules.rules)?;
        let signals = Signals::catch()?;
        let folder = OutputFolder::create(&args.out)?;
        let writer = Writer::create(&folder.path(recording::FILE_NAME))?;
        let mut off = Off::default();
        args.without.iter().for_each(|&probe| off.add(probe, "--without"));
        let stacks = args.stack_rate > 0 && off.reason(Probe::LaunchStacks).is_none();
        let cpu_hz = if off.reason(Probe::CpuSamples).is_none() { args.cpu_hz } else { 0 };
        // Idle time of devices is not told of memory.
        let threads = subject == Subject::Everything;
        let (bpf, problem) = match Bpf::load_with(Setup { threads, off, ..Setup::default() }) {
            Ok(bpf) => (Some(bpf), None),
            Err(error) => (None, Some(one_line(&error))),
        };
        let stacks = stacks && bpf.is_some();
        let level = match subject {
            Subject::Memory { .. } => Level::Watching,
            Subject::Everything if stacks => Level::Stacks,
            Subject::Everything => Level::Counting,
        };
        let settings = Settings {
            selection,
            level,
            stack_rate: args.stack_rate,
            cpu_hz,
            verify: args.verify,
            scan_every,
            classifier,
            stacks,
            memory: Some(Watched {
                step: args.memory_step,
                calls: true,
                heap: subject == Subject::Memory { heap: true },
                touches: subject != Subject::Everything,
            }),
            flight: None,
        };
        let start = Start {
            command: command.to_owned(),
            source: host_name(),
            started_unix: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .ok()
                .map(|time| time.as_secs()),
            cpu_hz: if bpf.is_some() { cpu_hz } else { 0 },
            memory_step_ns: u64::try_from(args.memory_step.as_nanos()).unwrap_or(u64::MAX),
        };
        let mut observer = Observer::new(settings, start, bpf, Some(writer))?;
        if let Some(problem) = problem {
            screen::say(&format!("warplens: no stacks, CPU samples and thread states: {problem}"));
            observer.note(format!("No stacks, CPU samples and thread states, so idle time is never called no_requests: {problem}."))?;
        }
        let names = args.names.style();
        Ok(Self { observer, folder, names, signals, started: Instant::now(), subject })
    }

    /// Rounds until every ring is at its level, or has said why not.
    pub fn arm(&mut self) -> Result<(), CommandError> {
        let deadline = Instant::now() + ARM_PATIENCE;
        loop {
            self.observer.turn()?;
            if self.observer.armed() || Instant::now() > deadline || self.is_interrupted() {
                return Ok(());
            }
            thread::sleep(SHORT_ROUND);
        }
    }

    /// Observes. `keep_going` is asked each round, and may do something of its own.
    pub fn observe(
        &mut self,
        until: Until,
        mut keep_going: impl FnMut(&mut Observer) -> Result<bool, CommandError>,
    ) -> Result<Outcome, CommandError> {
        let progress = progress(until);
        let begin = Instant::now();
        let outcome = loop {
            self.observer.turn()?;
            let elapsed = begin.elapsed();
            progress.set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
            if self.is_interrupted() {
                break Outcome::Interrupted;
            }
            if self.observer.is_switched_off() {
                break Outcome::SwitchedOff;
            }
            let over = match until {
                Until::After(duration) => elapsed >= duration,
                Until::TargetsEnd => false,
            };
            if over {
                break Outcome::Complete;
            }
            if !keep_going(&mut self.observer)?
                || self.observer.targets_left() == 0 && !self.observer.ended().is_empty()
            {
                break Outcome::TargetsEnded;
            }
            thread::sleep(ROUND);
        };
        progress.finish_and_clear();
        self.drain()?;
        Ok(outcome)
    }

    /// Goes on until everything before this instant is final; what comes after it is not reported.
    fn drain(&mut self) -> Result<(), CommandError> {
        let end = now();
        self.observer.limit(end)?;
        // What came since the last round, which may have been a long one.
        self.observer.turn()?;
        let deadline = Instant::now() + DRAIN_PATIENCE;
        while self.subject == Subject::Everything
            && self.observer.ring_count() > 0
            && self.observer.watermark().is_none_or(|watermark| watermark < end)
            && Instant::now() < deadline
        {
            thread::sleep(SHORT_ROUND);
            self.observer.turn()?;
        }
        self.note_silence(end)
    }

    /// A worker that is stopped or starved makes no marks: the window then ends before the time
    /// that was asked for, and the reader should not have to find out by subtraction.
    fn note_silence(&mut self, end: Ns) -> Result<(), CommandError> {
        if self.observer.ring_count() == 0 {
            return Ok(());
        }
        let note = match self.observer.watermark() {
            Some(watermark) => match end.since(watermark) {
                Some(missing) if missing > 0 => format!(
                    "The last {:.1} s are not reported: a worker did not say within {} s that its records of them are complete. Is it stopped (`ps -o stat`)?",
                    Duration::from_nanos(missing).as_secs_f64(),
                    DRAIN_PATIENCE.as_secs(),
                ),
                _ => return Ok(()),
            },
            None => return Ok(()),
        };
        Ok(self.observer.note(note)?)
    }

    /// Lets go of the workers and writes the folder. The trace is drawn from the recording, after
    /// the workers were let go: drawn on the way, it would take several times what observing costs.
    pub fn close(mut self) -> Result<Capture, CommandError> {
        // Beside a server that spins, an ordinary thread was seen to write for 35 s.
        let _first = self.observer.priority();
        self.observer.let_go()?;
        self.name()?;
        let Self { observer, folder, names, .. } = self;
        let mut capture = observer.finish()?.finish();
        capture.names = names;
        let trace = folder.path(output::TRACE);
        match perfetto::replay(&folder.path(recording::FILE_NAME), &trace) {
            Ok(notes) => capture.info.notes.extend(notes),
            // Everything else is worth more than the trace.
            Err(error) => {
                let why = one_line(&error);
                capture.info.notes.push(format!("{} is not whole: {why}", output::TRACE));
            }
        }
        output::write_all(&folder, &capture)?;
        folder.commit().map_err(output::OutputError::from)?;
        Ok(capture)
    }

    /// Waits for names of code. From a slow disk that takes long, and then a signal ends it.
    fn name(&mut self) -> Result<(), CommandError> {
        let begin = Instant::now();
        let mut told = false;
        // What ended the observation ends no more than that.
        let _earlier = self.signals.take();
        loop {
            let left = self.observer.name(NAMES_ROUND)?;
            if left == 0 || begin.elapsed() > NAMES_LIMIT || self.is_interrupted() {
                return Ok(());
            }
            if !told && begin.elapsed() > NAMES_SAID {
                told = true;
                screen::say(&format!(
                    "warplens: the workers are let go; reading the names of {left} code addresses from files, {} s at most (Ctrl-C leaves them out)",
                    NAMES_LIMIT.as_secs()
                ));
            }
        }
    }

    /// Since the session was opened.
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub fn is_interrupted(&self) -> bool {
        self.signals.came()
    }

    /// For what follows the observation: a signal may come again.
    pub fn signals(&self) -> Signals {
        self.signals.clone()
    }
}

/// Prints the report, JSON or the summary; the last line is the verdict and what to do next.
pub fn print(capture: &Capture, out: &Path, json: bool) -> Result<(), CommandError> {
    let next = format!("open {}", out.join(output::first_picture(capture)).display());
    if json {
        let bytes = output::json::render(capture).map_err(output::OutputError::Json)?;
        screen::out(&bytes).map_err(CommandError::Stdout)?;
        let verdict = summary::verdict(capture, &findings(capture));
        screen::say(&summary::last_line(&verdict, &next));
    } else {
        let text = summary::screen(capture, &next);
        screen::out(text.as_bytes()).map_err(CommandError::Stdout)?;
    }
    Ok(())
}

/// A bar on a terminal, nothing elsewhere.
fn progress(until: Until) -> ProgressBar {
    let (bar, template) = match until {
        Until::After(duration) => (
            ProgressBar::new(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)),
            "recording {wide_bar} {elapsed} of {msg}  (Ctrl-C ends it early and keeps everything)",
        ),
        Until::TargetsEnd => {
            (ProgressBar::new_spinner(), "{spinner} recording {elapsed} until the command ends")
        }
    };
    if let Until::After(duration) = until {
        bar.set_message(format!("{:.0}s", duration.as_secs_f64()));
    }
    bar.with_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    )
}

pub(super) fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}
