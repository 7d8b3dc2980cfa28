//! Entering busy processes again and again: by rehearsal, and in earnest: the shim is brought in, counts for an instant
//! and is sent to sleep.
//!
//! A process is given the shim once and keeps it; from then on `attach` only finds that it is there. So each process
//! is rehearsed, then attached, counted and detached several times.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use warplens::shim::{WorkerRing, find};
use wire::shim::Level;

use super::hosts::{self, Host, Kind};
use super::pause;
use crate::harness::agent;
use crate::harness::process;
use crate::harness::ring;
use crate::harness::server::Run;
use crate::harness::wait;

/// What one piece does.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub kind: Kind,
    pub seed: u32,
    /// Processes, one after the other.
    pub processes: u32,
    /// Rehearsals of each, while it has no shim.
    pub rehearsals: u32,
    /// Attached, counted and detached so many times each.
    pub cycles: u32,
}

/// What one piece saw.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Piece {
    pub processes: u32,
    pub rehearsals: u32,
    pub cycles: u32,
    /// The longest time a thread was stopped, of each entry in rehearsal, ns.
    pub rehearsed_ns: Vec<u64>,
    /// The same of entries that brought the shim.
    pub attached_ns: Vec<u64>,
    /// Entries that found no thread at a safe place in time, and left the process alone.
    pub without_place: u32,
    /// Kernels and copies that were counted.
    pub records: u64,
    /// The most that a process had more of after its last entry than after its first one of the same kind.
    pub leaked: Footprint,
    /// Everything that was not as it should be.
    pub complaints: Vec<String>,
}

/// What a process holds: the least of several looks, for threads come and go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footprint {
    pub descriptors: u64,
    pub threads: u64,
    pub mappings: u64,
    pub anonymous_kib: u64,
}

const LIMIT: Duration = Duration::from_secs(30);
/// Records of an instant.
const ENOUGH: usize = 20;
/// Of a hundred entries, those that may find no safe place within their time.
const WITHOUT_PLACE_PERCENT: u32 = 1;
/// Growth that is noise: stacks of threads that the C library keeps, arenas of the allocator.
const NOISE: Footprint =
    Footprint { descriptors: 0, threads: 0, mappings: 12, anonymous_kib: 4 << 10 };
const FOOTPRINT_LOOKS: u32 = 20;
/// Until all threads of a process that has just begun are there.
const SETTLE: Duration = Duration::from_millis(300);

/// Runs one piece.
///
/// # Errors
/// When it cannot be run. What was not as it should be is in [`Piece::complaints`].
pub fn piece(plan: &Plan) -> Result<Piece> {
    let run = Run::new(1)?;
    let program = hosts::build(plan.kind, &run)?;
    let mut piece = Piece::default();
    for process in 0..plan.processes {
        let host = Host::start(plan.kind, &program, &run, plan.seed.wrapping_add(process))?;
        let visited = visit(plan, &run, &host, &mut piece);
        let mut complaints = host.finish()?;
        if let Err(error) = visited {
            complaints.push(format!("{error:#}"));
        }
        piece.processes += 1;
        piece
            .complaints
            .extend(complaints.into_iter().map(|what| format!("process {process}: {what}")));
        pause(Duration::ZERO)?;
    }
    let entries = piece.rehearsals + piece.processes;
    if piece.without_place * 100 > entries * WITHOUT_PLACE_PERCENT {
        let none = piece.without_place;
        piece.complaints.push(format!("{none} of {entries} entries found no safe place"));
    }
    Ok(piece)
}

fn visit(plan: &Plan, run: &Run, host: &Host, piece: &mut Piece) -> Result<()> {
    let pid = host.pid();
    let mut before = None;
    for _ in 0..plan.rehearsals {
        piece.rehearsals += 1;
        let entered = enter(&["attach", "--rehearse", "--json", "--pid", &pid.to_string()], run)?;
        let stopped = stopped(&entered, piece)?;
        piece.rehearsed_ns.extend(stopped);
        // The room that the first entry makes is kept for the next.
        if before.is_none() {
            pause(SETTLE)?;
            before = Some(footprint(pid)?);
        }
    }
    if let Some(before) = before {
        hold(before, pid, "the first rehearsal to the last", piece)?;
    }
    let mut first = None;
    for cycle in 0..plan.cycles {
        let attached = enter(&["attach", "--json", "--pid", &pid.to_string()], run)?;
        if attached["attached"] != true {
            stopped(&attached, piece)?;
            return Ok(());
        }
        if cycle == 0 {
            let stopped = stopped(&attached, piece)?;
            piece.attached_ns.extend(stopped);
        } else {
            // Not a thread is stopped for a shim that is there.
            ensure!(attached["stopped_ns"].is_null(), "attached again: {attached}");
        }
        piece.records += count(pid)?;
        let detached = enter(&["detach", "--json", "--pid", &pid.to_string()], run)?;
        ensure!(detached["detached"] == true, "not detached: {detached}");
        let level = ring::look(pid).context("its ring is gone")?.level();
        ensure!(level == Level::Dormant as u32, "detached, and at level {level}");
        piece.cycles += 1;
        if first.is_none() {
            first = Some(footprint(pid)?);
        }
    }
    if let Some(first) = first {
        hold(first, pid, "the first cycle to the last", piece)?;
    }
    Ok(())
}

/// Nothing more is held than before, but for noise.
fn hold(before: Footprint, pid: u32, when: &str, piece: &mut Piece) -> Result<()> {
    let grown = footprint(pid)?.beyond(before);
    piece.leaked = piece.leaked.most(grown);
    ensure!(grown.within(NOISE), "from {when} it grew by {grown:?}");
    Ok(())
}

/// Runs a command on one process; its row.
fn enter(arguments: &[&str], run: &Run) -> Result<Value> {
    let ended = agent::run(arguments, run.folder(), "command", LIMIT)?;
    let document: Value = serde_json::from_str(&ended.stdout)
        .with_context(|| format!("{arguments:?} said {ended:?}"))?;
    let row = document["processes"][0].clone();
    ensure!(row.is_object(), "{arguments:?} said {ended:?}");
    Ok(row)
}

/// How long a thread was stopped; `None` where there was no safe place, which is counted.
fn stopped(row: &Value, piece: &mut Piece) -> Result<Option<u64>> {
    if let Some(ns) = row["stopped_ns"].as_u64() {
        return Ok(Some(ns));
    }
    let reason = row["reason"].as_str().unwrap_or_default();
    ensure!(reason.contains("at a safe place"), "not entered: {row}");
    piece.without_place += 1;
    Ok(None)
}

/// Counts for an instant, as an agent does; the records read.
fn count(pid: u32) -> Result<u64> {
    let location = find(pid)?.context("it has no ring")?;
    let mut ring = WorkerRing::attach(&location).context("hold its ring")?;
    let begin = ring.status();
    ring.ask(Level::Counting, 0);
    let (mut records, mut names) = (Vec::new(), Vec::new());
    let read = wait::until(LIMIT, || {
        ring.beat();
        ring.drain(1 << 16, &mut records, &mut names);
        (ring.status().activities >= begin.activities + ENOUGH as u64 && records.len() >= ENOUGH)
            .then_some(records.len() as u64)
    });
    let status = ring.status();
    let Some(read) = read else { bail!("it was attached and is not counted: {status:?}") };
    ensure!(status.lost == begin.lost, "{} records were lost", status.lost - begin.lost);
    Ok(read)
}

fn footprint(pid: u32) -> Result<Footprint> {
    let mut least: Option<Footprint> = None;
    for _ in 0..FOOTPRINT_LOOKS {
        let now = look(pid).context("the process is gone")?;
        least = Some(least.map_or(now, |least| least.least(now)));
        pause(Duration::from_millis(5))?;
    }
    least.context("nothing was looked at")
}

fn look(pid: u32) -> Option<Footprint> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    Some(Footprint {
        descriptors: process::descriptors(pid).len() as u64,
        threads: process::threads(pid) as u64,
        mappings: maps.lines().count() as u64,
        anonymous_kib: process::status_kib(pid, "RssAnon")?,
    })
}

impl Footprint {
    fn with(self, other: Self, each: fn(u64, u64) -> u64) -> Self {
        Self {
            descriptors: each(self.descriptors, other.descriptors),
            threads: each(self.threads, other.threads),
            mappings: each(self.mappings, other.mappings),
            anonymous_kib: each(self.anonymous_kib, other.anonymous_kib),
        }
    }

    /// What it has more than `before`.
    #[must_use]
    pub fn beyond(self, before: Self) -> Self {
        self.with(before, u64::saturating_sub)
    }

    /// The greater of each.
    #[must_use]
    pub fn most(self, other: Self) -> Self {
        self.with(other, u64::max)
    }

    fn least(self, other: Self) -> Self {
        self.with(other, u64::min)
    }

    fn within(self, allowed: Self) -> bool {
        self.beyond(allowed) == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_descriptor_more_is_a_leak_and_a_few_pages_are_not() {
        let before = Footprint { descriptors: 9, threads: 4, mappings: 100, anonymous_kib: 9000 };
        let noisy = Footprint { mappings: 104, anonymous_kib: 9100, threads: 3, ..before };
        assert!(noisy.beyond(before).within(NOISE));
        let leaky = Footprint { descriptors: 10, ..before };
        assert!(!leaky.beyond(before).within(NOISE));
        assert!(!Footprint { threads: 5, ..before }.beyond(before).within(NOISE));
    }
}
