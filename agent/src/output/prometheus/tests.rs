//! The text of a scrape, and that counters only grow.

use analysis::level::Level;
use analysis::level::armed::ArmedWindows;
use analysis::report::Exclusive;

use super::*;
use crate::output::fixture;

fn health() -> Health {
    Health {
        collected: Some((7, 2)),
        collectors: vec![("bpf", true), ("shim", false)],
        dropped: vec![(Dropped::BpfRing, 3), (Dropped::ShimRing, 0), (Dropped::Cupti, 4)],
        rearms: 2,
        guard_fallbacks: 1,
        yields: 3,
        estimates: vec![(0, in_turns())],
        governed: Some((
            Governed {
                raised: 4,
                lowered: 1,
                trips: 1,
                samples: 5,
                open: Some(Level::Watching),
                callback_ns: 1_500_000_000,
                shim_ns: 2_000_000_000,
                agent_ns: 250_000_000,
                ..Governed::default()
            },
            vec![WorkerLevel {
                pid: 4000,
                role: "worker".to_owned(),
                rank: "TP0".to_owned(),
                level: Level::Counting,
                duty: Some(0.2),
                reason: "budget",
            }],
        )),
        faults: BTreeMap::from([(("operator", "rearming off".to_owned()), 2)]),
        entered: Some(BTreeMap::from([(Outcome::Attached, 2), (Outcome::NoSafeThread, 1)])),
        flight: Some((
            Stats {
                ring_bytes: 3_000_000,
                standing_bytes: 500_000,
                reach_ns: 61_250_000_000,
                cut_by_size: 2,
                standing_refused: 5,
                lost: 0,
            },
            Counted { written: 3, failed: 1, suppressed: 4 },
        )),
        windows: vec![
            WindowShares { device: 0, window: "10s", shares: [0.25, 0.5, 0.0, 0.0, 0.25, 0.0] },
            WindowShares { device: 0, window: "5m", shares: [0.5, 0.25, 0.0, 0.0, 0.25, 0.0] },
        ],
    }
}

/// Two turns of six seconds, a minute apart: half of the first was gemm, a sixth of the second.
fn in_turns() -> Estimated {
    let second = 1_000_000_000;
    let mut windows = ArmedWindows::default();
    let told = [(0, 0, 0, 0), (6, 3, 3, 0), (66, 3, 3, 54), (72, 4, 8, 54)];
    for (end, gemm, idle, unobserved) in told {
        let [gemm, idle, unobserved] = [gemm, idle, unobserved].map(|part| part * second);
        let split = Exclusive { gemm, idle, unobserved, ..Exclusive::default() };
        windows.add(end * second, split);
    }
    windows.estimated().unwrap()
}

/// Value of the series whose line starts with `series`.
fn value(text: &str, series: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(series));
    let line = line.unwrap_or_else(|| panic!("{series} is not in\n{text}"));
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

#[test]
fn a_scrape() {
    let text = Exporter::new().render(&fixture::capture(), &health()).unwrap();
    insta::assert_snapshot!(text.replace(env!("CARGO_PKG_VERSION"), "[version]"));
}

#[test]
fn counters_never_run_backwards() {
    let mut exporter = Exporter::new();
    let mut capture = fixture::capture();
    let series = "warplens_gpu_seconds_total{gpu=\"0\",UUID=\"SIM-0\",class=\"idle\"}";
    let first = value(&exporter.render(&capture, &health()).unwrap(), series);
    capture.report.devices[0].exclusive.idle -= 100;
    let second = value(&exporter.render(&capture, &health()).unwrap(), series);
    capture.report.devices[0].exclusive.idle += 500;
    let third = value(&exporter.render(&capture, &health()).unwrap(), series);
    let ns = [first, second, third].map(|seconds| format!("{:.0}", seconds * 1e9));
    assert_eq!(ns, ["200", "200", "600"]);
}

/// Every counter and every count of a histogram in `text`.
fn counters(text: &str) -> HashMap<String, f64> {
    let grows = |series: &str| {
        ["_total{", "_total ", "_bucket{", "_count{", "_sum{"]
            .iter()
            .any(|part| series.contains(part))
    };
    text.lines()
        .filter(|line| !line.starts_with('#') && grows(line))
        .map(|line| line.rsplit_once(' ').unwrap())
        .map(|(series, value)| (series.to_owned(), value.parse().unwrap()))
        .collect()
}

proptest::proptest! {
    /// Whatever a session says, each series is at least what it was when it was last told.
    #[test]
    fn no_series_ever_falls(turns in proptest::collection::vec((0u64..1_000, 0u64..4, 0u64..50), 1..12)) {
        let mut exporter = Exporter::new();
        let mut told: HashMap<String, f64> = HashMap::new();
        for (ns, times, gaps) in turns {
            let mut capture = fixture::capture();
            let device = &mut capture.report.devices[0];
            (device.exclusive.idle, device.exclusive.gemm) = (ns, 1_000 - ns);
            (device.copies_inclusive, device.gap_count) = (ns, gaps);
            device.records.unclassified_ns = gaps;
            device.idle_cause.values_mut().for_each(|cause| *cause = cause.wrapping_mul(times));
            let steps = &mut capture.report.steps[0].phases;
            for stats in steps.values_mut() {
                let grown = |count: &mut u64| *count *= times;
                stats.durations.counts.iter_mut().for_each(grown);
                stats.durations.sum *= times;
            }
            for (series, value) in counters(&exporter.render(&capture, &health()).unwrap()) {
                let last = told.entry(series).or_insert(value);
                proptest::prop_assert!(value >= *last);
                *last = value;
            }
        }
        proptest::prop_assert!(told.len() > 50);
    }
}

#[test]
fn the_ratio_is_that_of_the_shortest_window() {
    let text = Exporter::new().render(&fixture::capture(), &health()).unwrap();
    let ratio = |metric: &str, labels: &str| {
        value(&text, &format!("warplens_gpu_{metric}{{gpu=\"0\",UUID=\"SIM-0\",{labels}}}"))
    };
    assert!((ratio("time_ratio", "class=\"gemm\"") - 0.5).abs() < 1e-12);
    let window = "class=\"gemm\",window=\"5m\"";
    assert!((ratio("time_window_ratio", window) - 0.25).abs() < 1e-12);
    assert!(!text.contains("time_ratio{gpu=\"1\""), "no data, no share");
}

#[test]
fn histograms_never_run_backwards_and_sum_over_the_processes_of_a_gpu() {
    let mut exporter = Exporter::new();
    let mut capture = fixture::capture();
    let series = "warplens_step_duration_seconds_bucket{le=\"0.0005\",gpu=\"0\",UUID=\"SIM-0\",phase=\"decode\"}";
    let count = "warplens_step_duration_seconds_count{gpu=\"0\",UUID=\"SIM-0\",phase=\"decode\"}";
    let both =
        |text: &str| [value(text, series), value(text, count)].map(|value| format!("{value:.0}"));
    let first = both(&exporter.render(&capture, &health()).unwrap());
    let steps = capture.report.steps.clone();
    capture.report.steps.clear();
    let second = exporter.render(&capture, &health()).unwrap();
    assert!(!second.contains(series), "a process that is gone is not told from memory");
    capture.report.steps = steps.iter().chain(&steps).cloned().collect();
    let third = both(&exporter.render(&capture, &health()).unwrap());
    capture.report.steps = steps;
    let fourth = both(&exporter.render(&capture, &health()).unwrap());
    assert_eq!([first, third, fourth], [["4", "4"], ["8", "8"], ["8", "8"]]);
}

#[test]
fn a_scrape_of_the_host() {
    let text = Exporter::new().render(&fixture::host(), &Health::default()).unwrap();
    let host = |line: &&str| line.contains("s_host_") || line.contains("s_gil_");
    insta::assert_snapshot!(text.lines().filter(host).collect::<Vec<_>>().join("\n"));
}

#[test]
fn host_counters_never_run_backwards() {
    let mut exporter = Exporter::new();
    let mut capture = fixture::host();
    let before = counters(&exporter.render(&capture, &Health::default()).unwrap());
    // A name that comes late gives a wait another reason, and a place's time other shares.
    for wait in &mut capture.waits {
        wait.reason = analysis::wait::WaitReason::Lock;
        wait.ns /= 2;
    }
    capture.gil.clear();
    let after = counters(&exporter.render(&capture, &Health::default()).unwrap());
    for (series, value) in before.iter().filter(|(series, _)| after.contains_key(*series)) {
        assert!(after[series] >= *value, "{series}: {} after {value}", after[series]);
    }
    assert!(before.keys().any(|series| series.contains("gil_held")), "{before:?}");
}
