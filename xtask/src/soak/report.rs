//! docs/soak.md: how far each part is, and what was found.

use std::fs;

use anyhow::{Context, Result};

use super::ledger::{Entries, Ledger, Records, Stamp};
use super::part::{Part, ROUNDS};
use super::stops::Stops;
use crate::bench;
use crate::workspace::Workspace;

const RECORDS: &str = "
## Kernel records

A worker with twelve streams, a thread each, launches 88 % of its kernels by replaying graphs, made in one of five ways by the seed (whole, in pieces, cloned, with children, updated), and the others one by one, with copies between; half a
percent of the records come late. `daemon` is `warplens agent`, its flight recorder at 5 s and its budget out of the way; `record` is `warplens record` with stacks and CPU samples. Of each piece: every kernel recorded once and counted,
held against the simulator's truth and against the worker's own count; 0 lost, 0 invalid, 0 unclassified; nanoseconds of each class, exclusive and inclusive, exact; of recordings besides everything that `sim-judge` compares, kernel by kernel,
and the time under stacks; memory of its own (RssAnon) from the second quarter of a piece to the last within 4 MiB, of the worker within 16: where the machine
holds it up, what waits fills the shim's fixed pool of 8 MiB and the simulator's tables.

The pace is not the limit. By hand, on a machine with two to four threads ready for each processor: the worker alone launches 160 000 kernels a second with a tenth of a processor; with the shim and the daemon 277 000 a second lost nothing (the
daemon took 16 % of a processor, the worker 36 %), and 427 000 a second found the ring full (49 % and 62 %): above a fifth of a processor the daemon's reading thread is an ordinary one (`WARPLENS_REAL_TIME` in environment.md), and waits for
its turn while the ring, which holds half a second of that, fills.

";

const ATTACH: &str = "
## Entering and leaving

A process is given the shim once and keeps it. So each is entered in rehearsal some times (everything but the calls), then `attach`ed, counted for an instant and `detach`ed some times: the first `attach` brings the shim, the later ones find it
and must stop nobody. Stops are the longest of each entry, rounded up to two digits, in milliseconds: median, 99th percentile, most; the 99th percentile must be below 50. Each program checks itself all the while, and must end as
without us. *More held* is the most that any process had more of after its last entry than after its first: descriptors, threads, mappings, KiB of its own; noise of 12 mappings and 4 MiB is allowed, for C libraries keep stacks and arenas of threads that came and went.

| program | what it is |
|---|---|
| `python` | Python: eight threads that compute, wait, sleep, pass on, read sockets, run an event loop, launch, replay a graph |
| `signals` | C: 4 000 signals a second with handlers for every one, threads and forks that come and go, launches |
| `jumps` | C: three threads that launch, replay, copy, and jump out of functions that launched |
| `forks`, `reloads`, `threads` | the same, with forks whose children launch and outlive it; with libraries opened and closed; with threads that launch once and end or are cancelled |

";

const CHAOS: &str = "
## Chaos

Rounds of the tier `chaos` (docs/testing.md says what is thrown), each test with a seed of its own every time.

";

/// The page, into the repository.
pub(super) fn write(workspace: &Workspace, ledger: &Ledger) -> Result<()> {
    let path = workspace.root.join("docs/soak.md");
    fs::write(&path, page(ledger, &bench::machine()))
        .with_context(|| format!("write {}", path.display()))
}

fn page(ledger: &Ledger, machine: &str) -> String {
    let mut text = include_str!("preface.md").to_owned();
    let mut line = |line: &str| {
        text.push_str(line);
        text.push('\n');
    };
    line(&format!("\nMachine: {machine}; other work ran beside it."));
    let open: Vec<String> =
        Part::all().iter().filter(|part| !part.reached(ledger)).map(|part| part.name()).collect();
    if open.is_empty() {
        line("\nEvery part has what it is to reach.");
    } else {
        line(&format!("\n**Not done yet**: {}.", open.join(", ")));
    }
    line(RECORDS.trim_end());
    line(
        "\n| reader | kernels | of | replayed from graphs | a second | pieces | figures compared | ring at most | agent: processor, memory, grown | worker: processor, grown | commits |",
    );
    line("|---|---|---|---|---|---|---|---|---|---|---|");
    for part in Part::all() {
        if let Part::Records { reader, target, .. } = part {
            let none = Records::default();
            line(&records(reader, target, ledger.records.get(reader).unwrap_or(&none)));
        }
    }
    line(ATTACH.trim_end());
    line(
        "\n| program | rehearsals | stops | processes | stops, bringing the shim | attached, counted, detached | records | no safe place in time | more held | commits |",
    );
    line("|---|---|---|---|---|---|---|---|---|---|");
    for part in Part::all() {
        if let Part::Attach { host } = part {
            let none = Entries::default();
            line(&entries(host, ledger.attach.get(host).unwrap_or(&none)));
        }
    }
    line(CHAOS.trim_end());
    let chaos = &ledger.chaos;
    line(&format!(
        "\n{} rounds of {ROUNDS}, {} tests, {:.0} min: {}",
        chaos.rounds,
        chaos.tests,
        chaos.seconds / 60.0,
        commits(&chaos.commits)
    ));
    line("\n## Found\n");
    if ledger.findings.is_empty() {
        line("Nothing yet.");
    }
    for finding in &ledger.findings {
        let Stamp { commit, date } = &finding.stamp;
        let outcome = if finding.outcome.is_empty() { "open" } else { &finding.outcome };
        let (part, seed, what) = (&finding.part, finding.seed, finding.what.join("; "));
        line(&format!("- {date}, `{commit}`, {part}, seed {seed}: {what}. *{outcome}*"));
    }
    text
}

fn records(reader: &str, target: u64, records: &Records) -> String {
    let Records { pieces, kernels, replayed, seconds, compared, .. } = records;
    #[expect(clippy::cast_precision_loss, reason = "a rate shown to a person")]
    let rate = if *seconds > 0.0 { *kernels as f64 / seconds } else { 0.0 };
    format!(
        "| `{reader}` | {} | {} | {} | {} | {pieces} | {compared} | {} ‰ | {:.1} %, {}, {} | {:.1} %, {} | {} |",
        grouped(*kernels),
        grouped(target),
        grouped(*replayed),
        grouped(whole(rate)),
        records.ring_permille,
        records.agent_percent,
        mib(records.agent_late_kib),
        mib(records.agent_grown_kib),
        records.worker_percent,
        mib(records.worker_grown_kib),
        commits(&records.commits)
    )
}

fn entries(host: &str, entries: &Entries) -> String {
    let Entries { processes, rehearsals, cycles, without_place, records, leaked, .. } = entries;
    let [descriptors, threads, mappings, kib] = leaked;
    format!(
        "| `{host}` | {rehearsals} | {} | {processes} | {} | {cycles} | {} | {without_place} | {descriptors}, {threads}, {mappings}, {kib} | {} |",
        stops(&entries.rehearsed),
        stops(&entries.attached),
        grouped(*records),
        commits(&entries.commits)
    )
}

fn stops(stops: &Stops) -> String {
    let at = |permille| stops.at_permille(permille).map_or("-".to_owned(), milliseconds);
    format!("{}, {}, {}", at(500), at(990), at(1000))
}

#[expect(clippy::cast_precision_loss, reason = "a time shown to a person")]
fn milliseconds(us: u64) -> String {
    format!("{}", us as f64 / 1000.0)
}

#[expect(clippy::cast_precision_loss, reason = "a size shown to a person")]
fn mib(kib: u64) -> String {
    format!("{:.1} MiB", kib as f64 / 1024.0)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rate shown to a person"
)]
fn whole(value: f64) -> u64 {
    value.round() as u64
}

/// Thousands apart.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

fn commits(stamps: &[Stamp]) -> String {
    let all: Vec<String> =
        stamps.iter().map(|stamp| format!("`{}` ({})", stamp.commit, stamp.date)).collect();
    if all.is_empty() { "-".to_owned() } else { all.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::soak::ledger::Finding;

    #[test]
    fn the_page_says_how_far_it_is_and_what_was_found() {
        let mut ledger = Ledger::default();
        let stamp = Stamp { commit: "abc with changes".into(), date: "2026-01-02".into() };
        let records = ledger.records.entry("daemon".into()).or_default();
        (records.kernels, records.seconds, records.pieces) = (90_000_000, 450.0, 18);
        records.commits.push(stamp.clone());
        let entries = ledger.attach.entry("python".into()).or_default();
        (entries.rehearsals, entries.cycles) = (1000, 5);
        entries.attached.add(21_900_000);
        let what = vec!["lost: 0, reported 1".to_owned()];
        ledger.findings.push(Finding {
            part: "p".into(),
            seed: 3,
            what,
            stamp,
            outcome: String::new(),
        });
        let page = page(&ledger, "M");
        for part in [
            "Machine: M",
            "**Not done yet**: records (record), attach (python),",
            "| `daemon` | 90 000 000 | 90 000 000 | 0 | 200 000 | 18 |",
            "| `python` | 1000 | -, -, - | 0 | 22, 22, 22 | 5 |",
            "- 2026-01-02, `abc with changes`, p, seed 3: lost: 0, reported 1. *open*",
            "0 rounds of 20",
        ] {
            assert!(page.contains(part), "no `{part}` in:\n{page}");
        }
    }
}
