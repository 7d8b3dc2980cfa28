//! The programs that are entered while they run: each is busy, checks itself all the while, and says at its end what it
//! saw.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::pause;
use crate::harness::artefacts::{program, repository};
use crate::harness::child::Child;
use crate::harness::hostile;
use crate::harness::server::Run;

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Kind {
    /// Python: threads that compute, wait, sleep, talk, run an event loop, launch, replay a graph.
    Python,
    /// C: 4 000 signals a second, threads and forks that come and go; handlers for every signal; launches.
    Signals,
    /// C: launches, graphs and copies of three threads which jump out of functions that launched.
    Jumps,
    /// The same, which forks meanwhile; children launch and outlive it.
    Forks,
    /// The same, which opens and closes libraries meanwhile.
    Reloads,
    /// The same, with threads that launch once and end or are cancelled.
    Threads,
}

impl Kind {
    /// As the command line has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Python => "python",
            Self::Signals => "signals",
            Self::Jumps => "jumps",
            Self::Forks => "forks",
            Self::Reloads => "reloads",
            Self::Threads => "threads",
        }
    }

    /// What `many_calls` is told to do beside its launches.
    fn trouble(self) -> Option<&'static str> {
        match self {
            Self::Python | Self::Signals => None,
            Self::Jumps => Some("nothing"),
            Self::Forks => Some("forks"),
            Self::Reloads => Some("reload"),
            Self::Threads => Some("threads"),
        }
    }
}

const LIMIT: Duration = Duration::from_mins(1);

/// What `many_calls` prints from its start to its end where nothing went wrong.
const UNHARMED: &str = "cuInit 0\nfirst launch 0\nready\n\
asked 0 refused 0 wrong 0\nasked 0 refused 0 wrong 0\nasked 0 refused 0 wrong 0\nsynchronized 0\ndone\n";

/// One of them, running, without the shim.
#[derive(Debug)]
pub struct Host {
    kind: Kind,
    child: Child,
}

/// Compiles what has to be; the program's path.
///
/// # Errors
/// When the compiler does not come to an end.
pub fn build(kind: Kind, run: &Run) -> Result<PathBuf> {
    Ok(match kind {
        Kind::Python => program("soak/busy_launches.py"),
        Kind::Signals => {
            let source = repository().join("agent/tests/inject/hurt.c");
            let folder = format!("-I{}", program("hostile").display());
            let options = ["-DLAUNCHES", &folder, "-w", "-ldl", "-lpthread"];
            hostile::build_from(&source, run.folder().join("hurt"), &options)?
        }
        _ => hostile::build("many_calls", run.folder())?,
    })
}

impl Host {
    /// Starts it and waits until it is busy.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(kind: Kind, program: &PathBuf, run: &Run, seed: u32) -> Result<Self> {
        let mut command = match kind {
            Kind::Python => {
                let mut command = run.command("python3".as_ref())?;
                command.arg(program);
                command
            }
            _ => run.command(program)?,
        };
        arguments(&mut command, kind, seed);
        let child = Child::start(&mut command, run.folder(), kind.name())?;
        let mut host = Self { kind, child };
        if kind.trouble().is_some() {
            host.child.line("ready", LIMIT)?;
            ensure!(host.child.write("\n"), "it has ended: {}", host.child.stderr());
        } else {
            host.turn(0)?;
        }
        Ok(host)
    }

    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Waits until it has done more than `turns` of everything it does; how many those are.
    fn turn(&mut self, turns: u64) -> Result<u64> {
        let begin = Instant::now();
        loop {
            ensure!(self.child.write("\n"), "it has ended: {}", self.child.stderr());
            pause(Duration::from_millis(30))?;
            let said = self.child.stdout();
            let counts = said.lines().last().and_then(|line| line.split_once(' '));
            let counts = counts.and_then(|(turns, errors)| {
                Some((turns.parse::<u64>().ok()?, errors.parse::<u64>().ok()?))
            });
            if let Some((turned, errors)) = counts {
                ensure!(errors == 0, "{errors} of its checks failed: {}", self.child.stderr());
                if turned > turns {
                    return Ok(turned);
                }
            }
            if begin.elapsed() > LIMIT {
                bail!("it does not go on: {said}");
            }
        }
    }

    /// Lets it come to its end; what was not as it is without us.
    ///
    /// # Errors
    /// When it does not end.
    pub fn finish(mut self) -> Result<Vec<String>> {
        let mut complaints = Vec::new();
        if self.kind.trouble().is_some() {
            // To stop, and to end.
            ensure!(self.child.write("\n\n"), "it has ended: {}", self.child.stderr());
        } else {
            // From here on it does everything once more at least.
            let gone_on = self.turn(0).and_then(|turns| self.turn(turns));
            complaints.extend(gone_on.err().map(|error| format!("{error:#}")));
            self.child.close_input();
        }
        let ended = self.child.wait(LIMIT).context("it does not end")?;
        if ended.code != 0 || !ended.stderr.is_empty() {
            complaints.push(format!("it ended with {}: {}", ended.code, ended.stderr));
        }
        if self.kind.trouble().is_some() && ended.stdout != UNHARMED {
            complaints.push(format!("it printed {:?}", ended.stdout));
        }
        Ok(complaints)
    }
}

fn arguments(command: &mut Command, kind: Kind, seed: u32) {
    match kind.trouble() {
        // Without end.
        Some(trouble) => command.args(["0", trouble, &seed.to_string()]),
        None if kind == Kind::Signals => command.arg("all"),
        None => command,
    };
}
