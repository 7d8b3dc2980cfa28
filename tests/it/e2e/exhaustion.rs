//! CUPTI runs out of room for timestamps on the device: the worker is armed anew, or left alone; what
//! nobody saw is never called idle, and everything that was seen stays exact.

use std::fs;

use rustix::process::Signal;
use sim_truth::Outcome;
use warplens_tests::harness::agent::record;
use warplens_tests::harness::server::Run;
use warplens_tests::harness::wait;
use warplens_tests::judge::Verdict;
use warplens_tests::judge::sweep::{Interval, sweep};
use warplens_tests::judge::truth::{GroundTruth, Piece};
use warplens_tests::{judge, require};

use super::{LIMIT, daemon, judged, report};

/// Kernels of a replayed graph a second: 40 replays of 25 nodes.
const NODES_A_SECOND: u64 = 1000;

struct Recorded {
    run: Run,
    out: std::path::PathBuf,
    verdict: Verdict,
}

/// Records a worker for `seconds` whose device has room for so many graph nodes.
fn record_exhausted(exhaust: &str, seconds: u32) -> Recorded {
    let run = Run::new(1).unwrap().with_shim().unwrap().with("WARPLENS_SIM_EXHAUST", exhaust);
    let mut worker = run.work(&["--seconds", "0", "--rate", "400", "--graphs", "40"]).unwrap();
    let (ended, out) = record(worker.pid(), seconds, run.folder(), "out").unwrap();
    worker.signal(Signal::TERM);
    worker.wait(LIMIT).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    let verdict = judged(&run, &out);
    Recorded { run, out, verdict }
}

impl Recorded {
    fn pieces(&self) -> Vec<Piece> {
        let truth = GroundTruth::read(&self.run.truth()).unwrap();
        truth.devices.into_values().next().unwrap()
    }

    /// What was seen is exact; what was not seen is not called idle.
    fn assert_honest(&self) {
        // Where there are holes in the middle, which gaps are unobserved is not for the judge; that
        // no work ran in what is called idle is, below.
        let free = ["idle ns", "unobserved ns", "idle in which unrecorded work ran ns"];
        let wrong: Vec<_> = self
            .verdict
            .rows
            .iter()
            .filter(|row| !row.agrees() && !free.contains(&row.what.as_str()))
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
        let report = report(&self.out);
        let device = &report["devices"][0];
        let window = (
            device["window"]["start_ns"].as_u64().unwrap(),
            device["window"]["end_ns"].as_u64().unwrap(),
        );
        let pieces = self.pieces();
        let intervals = |seen: bool| -> Vec<Interval> {
            let some = pieces.iter().filter(|piece| piece.visible() || !seen);
            some.map(|piece| Interval {
                start: piece.start,
                end: piece.end,
                busy: judge::kernels::Busy::Other,
            })
            .collect()
        };
        let empty = |seen| sweep(&intervals(seen), &[], &[], window, window.0).idle;
        let hidden = empty(true) - empty(false);
        let part = |class: &str| device["exclusive_ns"][class].as_u64().unwrap();
        assert!(hidden > 20_000_000, "only {hidden} ns ran unseen: the scenario shows nothing");
        assert!(part("idle") <= empty(false), "idle {} of {} ns", part("idle"), empty(false));
        assert!(part("unobserved") >= hidden, "{} of {hidden} ns", part("unobserved"));
        assert_eq!(part("idle") + part("unobserved"), empty(true));
    }

    fn notes(&self) -> String {
        fs::read_to_string(self.out.join("report.md")).unwrap()
    }

    fn invalid_after(&self, instant: u64) -> usize {
        let zeroed = |piece: &&Piece| piece.outcome == Some(Outcome::Zeroed);
        self.pieces().iter().filter(zeroed).filter(|piece| piece.start > instant).count()
    }
}

#[test]
fn a_worker_that_recovers_is_armed_anew_and_seen_again() {
    require!(E2e);
    // Two seconds after arming its nodes lose their timestamps.
    let recorded = record_exhausted(&(2 * NODES_A_SECOND).to_string(), 6);
    recorded.assert_honest();
    let notes = recorded.notes();
    assert!(notes.contains("started over"), "{notes}");
    assert!(!notes.contains("did not help"), "{notes}");
    let device = &report(&recorded.out)["devices"][0];
    let end = device["window"]["end_ns"].as_u64().unwrap();
    // Armed anew within two seconds, it has room for two more.
    let zeroed = recorded.invalid_after(0);
    assert!(zeroed > 0);
    assert!((zeroed as u64) < 4 * NODES_A_SECOND, "{zeroed} nodes without timestamps");
    let seen = recorded.pieces().iter().filter(|piece| piece.visible()).map(|p| p.end).max();
    assert!(end - seen.unwrap_or(0).min(end) < 500_000_000, "nothing seen at the end");
}

#[test]
fn a_worker_that_does_not_recover_is_left_alone() {
    require!(E2e);
    let recorded = record_exhausted("1000,forever", 24);
    recorded.assert_honest();
    let notes = recorded.notes();
    assert!(notes.contains("started over"), "{notes}");
    assert!(notes.contains("did not help"), "{notes}");
    assert!(notes.contains("2 more times"), "{notes}");
}

#[test]
fn the_daemon_counts_what_its_guard_did() {
    require!(E2e);
    let exhaust = (NODES_A_SECOND / 2).to_string();
    let run = Run::new(1).unwrap().with_shim().unwrap().with("WARPLENS_SIM_EXHAUST", &exhaust);
    let (mut agent, address) = daemon::start(&run);
    let mut worker = run.work(&["--seconds", "0", "--rate", "400", "--graphs", "40"]).unwrap();
    let rearmed = wait::until(LIMIT, || {
        let (_, scrape) = daemon::get(&address, "/metrics")?;
        let line = scrape.lines().find(|line| line.starts_with("warplens_rearms_total "))?;
        let (_, count) = line.rsplit_once(' ')?;
        (count.parse::<f64>().ok()? >= 1.0).then_some(scrape)
    });
    let scrape = rearmed.expect("the guard never acted");
    assert!(scrape.contains("\nwarplens_guard_fallbacks_total 0"), "{scrape}");
    for child in [&mut agent, &mut worker] {
        child.signal(Signal::TERM);
        assert_eq!(child.wait(LIMIT).unwrap().code, 0);
    }
}
