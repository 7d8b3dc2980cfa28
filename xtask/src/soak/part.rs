//! The parts of the soak: how much each is to reach, what one piece of it runs, and how its answer is added up.

use anyhow::{Context, Result};
use serde::Deserialize;

use super::ledger::{self, Entries, Finding, Ledger, Records, Stamp, note};

/// One part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Kernel records read by `daemon` or `record`.
    Records { reader: &'static str, target: u64, piece: u64, rate: u64 },
    /// Entries into one program.
    Attach { host: &'static str },
    /// Rounds of the tier `chaos`.
    Chaos,
}

/// Nine tenths without stacks, one with: 100 million records together.
const READ: [Part; 2] = [
    Part::Records { reader: "daemon", target: 90_000_000, piece: 5_000_000, rate: 200_000 },
    Part::Records { reader: "record", target: 10_000_000, piece: 2_000_000, rate: 100_000 },
];

/// As `soak-piece attach --host` has them.
const HOSTS: [&str; 6] = ["python", "signals", "jumps", "forks", "reloads", "threads"];

/// Rehearsals of a program, and as many times attached, counted and detached.
const ENTRIES: u64 = 1000;
/// Of one piece: so many processes, each rehearsed and attached so many times.
const PROCESSES: u64 = 10;
const EACH: u64 = 5;

/// The 99th percentile of the longest stops of all entries of a kind, microseconds.
const STOP_LIMIT_US: u64 = 50_000;

/// Times the rounds of every test of the tier.
pub(super) const ROUNDS: u64 = 20;

/// What a piece of kernel records answers (`tests/src/soak/records.rs`).
#[derive(Clone, Debug, Default, Deserialize)]
struct RecordsPiece {
    kernels: u64,
    replayed: u64,
    seconds: f64,
    compared: u64,
    agent: Course,
    worker: Course,
    ring_permille: u64,
    agent_percent: f64,
    worker_percent: f64,
    complaints: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Course {
    early_kib: u64,
    late_kib: u64,
}

/// What a piece of entries answers (`tests/src/soak/attach.rs`).
#[derive(Clone, Debug, Default, Deserialize)]
struct AttachPiece {
    processes: u64,
    rehearsals: u64,
    cycles: u64,
    rehearsed_ns: Vec<u64>,
    attached_ns: Vec<u64>,
    without_place: u64,
    records: u64,
    leaked: Footprint,
    complaints: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Footprint {
    descriptors: u64,
    threads: u64,
    mappings: u64,
    anonymous_kib: u64,
}

impl Part {
    /// All, in the order in which they take turns.
    pub(super) fn all() -> Vec<Self> {
        let hosts = HOSTS.into_iter().map(|host| Self::Attach { host });
        READ.into_iter().chain(hosts).chain([Self::Chaos]).collect()
    }

    /// The group that the command line names.
    pub(super) fn group(self) -> &'static str {
        match self {
            Self::Records { .. } => "records",
            Self::Attach { .. } => "attach",
            Self::Chaos => "chaos",
        }
    }

    pub(super) fn name(self) -> String {
        match self {
            Self::Records { reader, .. } => format!("records ({reader})"),
            Self::Attach { host } => format!("attach ({host})"),
            Self::Chaos => "chaos".to_owned(),
        }
    }

    /// It has reached what it is to reach.
    pub(super) fn reached(self, ledger: &Ledger) -> bool {
        match self {
            Self::Records { reader, target, .. } => {
                ledger.records.get(reader).is_some_and(|records| records.kernels >= target)
            }
            Self::Attach { host } => ledger
                .attach
                .get(host)
                .is_some_and(|entries| entries.rehearsals >= ENTRIES && entries.cycles >= ENTRIES),
            Self::Chaos => ledger.chaos.rounds >= ROUNDS,
        }
    }

    /// Arguments of `soak-piece`; `None` for a part that is another program's.
    pub(super) fn arguments(self) -> Option<Vec<String>> {
        let words = |line: String| line.split(' ').map(str::to_owned).collect();
        match self {
            Self::Records { reader, piece, rate, .. } => {
                Some(words(format!("records --reader {reader} --kernels {piece} --rate {rate}")))
            }
            Self::Attach { host } => Some(words(format!(
                "attach --host {host} --processes {PROCESSES} --rehearsals {EACH} --cycles {EACH}"
            ))),
            Self::Chaos => None,
        }
    }

    /// Adds what `soak-piece` answered; a sentence on it. A finding begins the count anew: what it hid was never
    /// reached.
    pub(super) fn add(
        self,
        answer: &str,
        seed: u32,
        stamp: &Stamp,
        ledger: &mut Ledger,
    ) -> Result<String> {
        let no_answer = || format!("soak-piece answered `{answer}`");
        let (said, complaints) = match self {
            Self::Records { reader, .. } => {
                let piece: RecordsPiece = serde_json::from_str(answer).with_context(no_answer)?;
                let said = format!(
                    "{} kernels in {:.1} s, ring at most {:.1} % full",
                    piece.kernels,
                    piece.seconds,
                    per_cent(piece.ring_permille)
                );
                ledger.records.entry(reader.to_owned()).or_default().add(&piece, stamp);
                (said, piece.complaints)
            }
            Self::Attach { host } => {
                let piece: AttachPiece = serde_json::from_str(answer).with_context(no_answer)?;
                let entries = ledger.attach.entry(host.to_owned()).or_default();
                entries.add(&piece, stamp);
                let said = format!("{} rehearsals, {} cycles", piece.rehearsals, piece.cycles);
                let mut complaints = piece.complaints;
                complaints.extend(entries.too_long());
                (said, complaints)
            }
            Self::Chaos => (String::new(), Vec::new()),
        };
        if complaints.is_empty() {
            return Ok(said);
        }
        let what = format!("FOUND: {}", complaints.join("; "));
        self.found(complaints, seed, stamp, ledger);
        Ok(what)
    }

    /// Keeps a finding, and begins the part's count anew.
    pub(super) fn found(self, what: Vec<String>, seed: u32, stamp: &Stamp, ledger: &mut Ledger) {
        match self {
            Self::Records { reader, .. } => {
                ledger.records.insert(reader.to_owned(), Records::default());
            }
            Self::Attach { host } => {
                ledger.attach.insert(host.to_owned(), Entries::default());
            }
            Self::Chaos => ledger.chaos = ledger::Chaos::default(),
        }
        let (part, stamp) = (self.name(), stamp.clone());
        ledger.findings.push(Finding { part, seed, what, stamp, outcome: String::new() });
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share shown to a person")]
fn per_cent(permille: u64) -> f64 {
    permille as f64 / 10.0
}

impl Records {
    fn add(&mut self, piece: &RecordsPiece, stamp: &Stamp) {
        self.pieces += 1;
        self.kernels += piece.kernels;
        self.replayed += piece.replayed;
        self.seconds += piece.seconds;
        self.compared += piece.compared;
        let grown = |course: Course| course.late_kib.saturating_sub(course.early_kib);
        self.agent_grown_kib = self.agent_grown_kib.max(grown(piece.agent));
        self.worker_grown_kib = self.worker_grown_kib.max(grown(piece.worker));
        self.agent_late_kib = self.agent_late_kib.max(piece.agent.late_kib);
        self.ring_permille = self.ring_permille.max(piece.ring_permille);
        self.agent_percent = self.agent_percent.max(piece.agent_percent);
        self.worker_percent = self.worker_percent.max(piece.worker_percent);
        note(&mut self.commits, stamp);
    }
}

impl Entries {
    fn add(&mut self, piece: &AttachPiece, stamp: &Stamp) {
        self.processes += piece.processes;
        self.rehearsals += piece.rehearsals;
        self.cycles += piece.cycles;
        piece.rehearsed_ns.iter().for_each(|&ns| self.rehearsed.add(ns));
        piece.attached_ns.iter().for_each(|&ns| self.attached.add(ns));
        self.without_place += piece.without_place;
        self.records += piece.records;
        let Footprint { descriptors, threads, mappings, anonymous_kib } = piece.leaked;
        let leaked = [descriptors, threads, mappings, anonymous_kib];
        for (most, here) in self.leaked.iter_mut().zip(leaked) {
            *most = (*most).max(here);
        }
        note(&mut self.commits, stamp);
    }

    /// Stops above the limit, where there are enough to speak of a 99th percentile.
    fn too_long(&self) -> Option<String> {
        let kinds = [("rehearsals", &self.rehearsed), ("entries with the shim", &self.attached)];
        kinds.into_iter().filter(|(_, stops)| stops.count() >= 100).find_map(|(what, stops)| {
            let us = stops.at_permille(990).filter(|&us| us >= STOP_LIMIT_US)?;
            Some(format!("the 99th percentile of stops of {what} is {us} us"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "{\"scenario\":\"full\",\"kernels\":5,\"replayed\":4,\"seconds\":2.0,\"compared\":3,\
        \"agent\":{\"early_kib\":10,\"late_kib\":12},\"worker\":{\"early_kib\":9,\"late_kib\":8},\
        \"ring_permille\":7,\"agent_percent\":1.0,\"worker_percent\":2.0,\"complaints\":[]}";

    fn stamp() -> Stamp {
        Stamp { commit: "a".into(), date: "d".into() }
    }

    #[test]
    fn pieces_add_up_until_the_target_and_a_finding_begins_anew() {
        let mut ledger = Ledger::default();
        let part = Part::Records { reader: "daemon", target: 10, piece: 5, rate: 1 };
        part.add(GOOD, 1, &stamp(), &mut ledger).unwrap();
        assert!(!part.reached(&ledger));
        part.add(GOOD, 2, &stamp(), &mut ledger).unwrap();
        assert!(part.reached(&ledger));
        let records = &ledger.records["daemon"];
        assert_eq!((records.pieces, records.agent_grown_kib, records.worker_grown_kib), (2, 2, 0));
        let bad = GOOD.replace("[]", "[\"lost: 0, reported 1\"]");
        let said = part.add(&bad, 3, &stamp(), &mut ledger).unwrap();
        assert!(said.starts_with("FOUND: lost"), "{said}");
        assert!(!part.reached(&ledger) && ledger.records["daemon"].kernels == 0);
        assert_eq!((ledger.findings.len(), ledger.findings[0].seed), (1, 3));
        assert!(part.add("nothing", 4, &stamp(), &mut ledger).is_err());
    }

    #[test]
    fn stops_are_judged_over_all_pieces() {
        let piece = |ns: u64| {
            format!(
                "{{\"processes\":60,\"rehearsals\":0,\"cycles\":60,\"rehearsed_ns\":[],\"attached_ns\":{:?},\
                 \"without_place\":0,\"records\":9,\"leaked\":{{\"descriptors\":0,\"threads\":0,\"mappings\":0,\
                 \"anonymous_kib\":0}},\"complaints\":[]}}",
                vec![ns; 60]
            )
        };
        let part = Part::Attach { host: "python" };
        let mut ledger = Ledger::default();
        for ns in [60_000_000, 1_000_000] {
            part.add(&piece(ns), 1, &stamp(), &mut ledger).unwrap();
        }
        assert_eq!(ledger.findings.len(), 1, "{:?}", ledger.findings);
        assert!(ledger.findings[0].what[0].contains("60000 us"), "{:?}", ledger.findings);
    }

    #[test]
    fn parts_are_a_hundred_million_records_and_every_program() {
        let targets = READ.iter().map(|part| match part {
            Part::Records { target, .. } => *target,
            _ => 0,
        });
        assert_eq!(targets.sum::<u64>(), 100_000_000);
        assert_eq!(Part::all().len(), 2 + HOSTS.len() + 1);
    }
}
