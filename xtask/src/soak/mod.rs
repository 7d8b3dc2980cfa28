//! `cargo xtask soak`: long runs in pieces of about a minute. Each piece is one process (`soak-piece`, or a round of the
//! tier `chaos`) that holds what was reported against what really happened; what is done is kept in
//! `tests/soak/ledger.json` and shown in docs/soak.md, so runs add up and an interrupt costs the piece at hand.

mod ledger;
mod part;
mod report;
mod stops;

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use self::ledger::{Ledger, Stamp, note};
use self::part::Part;
use crate::artefacts::{self, Artefacts};
use crate::build;
use crate::child::{self, Stream};
use crate::load::fresh_seed;
use crate::setup::is_root;
use crate::test;
use crate::workspace::{Workspace, clean_environment};

#[derive(Debug, clap::Args)]
#[command(
    after_help = "Goes on where the run before stopped, until every part has what it is to reach; \
    docs/soak.md shows how far. Ends with an error when something was found, which begins that part's count anew."
)]
pub(crate) struct Args {
    /// Only these: `records`, `attach`, `chaos`; all in turns otherwise
    parts: Vec<String>,
    /// Begin no piece after so many minutes
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    minutes: Option<u64>,
    /// Run so many pieces of each part at most
    #[arg(long)]
    pieces: Option<u32>,
    /// Only write the document of what is kept
    #[arg(long)]
    show: bool,
}

/// A piece that takes longer hangs: it has limits of its own.
const PIECE_LIMIT: Duration = Duration::from_mins(20);

/// The exit status of a piece with a finding.
const FOUND: i32 = 3;

const GROUPS: [&str; 3] = ["records", "attach", "chaos"];

pub(crate) fn run(workspace: &Workspace, args: &Args) -> Result<()> {
    if let Some(unknown) = args.parts.iter().find(|part| !GROUPS.contains(&part.as_str())) {
        bail!("no part {unknown}: there are {}", GROUPS.join(", "));
    }
    let mut ledger = Ledger::read(workspace)?;
    if args.show {
        return report::write(workspace, &ledger);
    }
    if !is_root() {
        bail!("the soak loads programs into the kernel and enters processes: run it under sudo");
    }
    let wanted =
        |part: &Part| args.parts.is_empty() || args.parts.iter().any(|group| group == part.group());
    let parts: Vec<Part> = Part::all().into_iter().filter(wanted).collect();
    let soak =
        Soak { workspace, artefacts: build::everything(workspace)?, stamp: stamp(workspace)? };
    let end = args.minutes.map(|minutes| Instant::now() + Duration::from_secs(60 * minutes));
    let mut found = 0;
    for turn in 0_u32.. {
        let open =
            |part: &&Part| !part.reached(&ledger) && args.pieces.is_none_or(|pieces| turn < pieces);
        let open: Vec<Part> = parts.iter().filter(open).copied().collect();
        if open.is_empty() {
            break;
        }
        for part in open {
            if end.is_some_and(|end| Instant::now() >= end) {
                return conclude(&parts, &ledger, found);
            }
            found += u32::from(soak.piece(part, &mut ledger)?);
            ledger.write(workspace)?;
            report::write(workspace, &ledger)?;
        }
    }
    conclude(&parts, &ledger, found)
}

fn conclude(parts: &[Part], ledger: &Ledger, found: u32) -> Result<()> {
    let open: Vec<String> =
        parts.iter().filter(|part| !part.reached(ledger)).map(|part| part.name()).collect();
    if found > 0 {
        bail!("simulated: {found} findings: see docs/soak.md, mend them, and run it again");
    }
    if open.is_empty() {
        println!("simulated: every part has what it is to reach: docs/soak.md");
    } else {
        println!("simulated: nothing found; still open: {}. Next: run it again", open.join(", "));
    }
    Ok(())
}

struct Soak<'w> {
    workspace: &'w Workspace,
    artefacts: Artefacts,
    stamp: Stamp,
}

impl Soak<'_> {
    /// Runs one piece and adds it up; whether it found something.
    fn piece(&self, part: Part, ledger: &mut Ledger) -> Result<bool> {
        let before = ledger.findings.len();
        let begin = Instant::now();
        let seed = fresh_seed()? >> 1;
        let said = match part.arguments() {
            Some(arguments) => {
                let answer = self.ask(part, seed, &arguments)?;
                part.add(&answer, seed, &self.stamp, ledger)?
            }
            None => self.round(part, ledger)?,
        };
        let took = begin.elapsed().as_secs_f64();
        println!("simulated: {}, seed {seed}: {said} ({took:.0} s)", part.name());
        Ok(ledger.findings.len() > before)
    }

    /// The line that `soak-piece` prints.
    fn ask(&self, part: Part, seed: u32, arguments: &[String]) -> Result<String> {
        let mut command = Command::new(artefacts::soak_piece(self.workspace));
        clean_environment(&mut command);
        self.artefacts.describe_to(&mut command, self.workspace);
        command.args(["--seed", &seed.to_string()]).args(arguments);
        let (mut answer, mut wrong) = (String::new(), String::new());
        let keep = |stream, line: &str| match stream {
            Stream::Output => line.clone_into(&mut answer),
            Stream::Error => wrong = format!("{wrong}\n{line}"),
        };
        let status = child::run_all_lines(&mut command, &part.name(), PIECE_LIMIT, keep)?;
        match status.code() {
            Some(0 | FOUND) => Ok(answer),
            _ => bail!("{} with seed {seed} could not be run ({status}):{wrong}", part.name()),
        }
    }

    /// One round of the tier `chaos`.
    fn round(&self, part: Part, ledger: &mut Ledger) -> Result<String> {
        let begin = Instant::now();
        let (counts, wrong) = test::chaos_round(self.workspace)?;
        if child::interrupted() {
            bail!("interrupted; what was done is in docs/soak.md");
        }
        if wrong.is_empty() && counts.failed == 0 {
            let chaos = &mut ledger.chaos;
            chaos.rounds += 1;
            chaos.tests += counts.passed;
            chaos.seconds += begin.elapsed().as_secs_f64();
            note(&mut chaos.commits, &self.stamp);
            return Ok(counts.to_string());
        }
        let what = format!("FOUND: {counts}; {}", wrong.join("; "));
        // Each test printed its own seed.
        part.found(vec![what.clone()], 0, &self.stamp, ledger);
        Ok(what)
    }
}

/// The code and the day.
fn stamp(workspace: &Workspace) -> Result<Stamp> {
    let mut date = Command::new("date");
    let date = child::output(date.arg("+%F"), "date", Duration::from_secs(10))?;
    let date = String::from_utf8(date.stdout).context("read the date")?.trim().to_owned();
    Ok(Stamp { commit: workspace.commit(&[Path::new("docs"), Path::new("tests/soak")])?, date })
}
