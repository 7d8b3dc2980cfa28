//! The text of a scrape, and that counters only grow.

use super::*;
use crate::output::fixture;

fn health() -> Health {
    Health {
        collectors: vec![("bpf", true), ("shim", false)],
        dropped: vec![(Dropped::BpfRing, 3), (Dropped::ShimRing, 0), (Dropped::Cupti, 4)],
        rearms: 2,
        guard_fallbacks: 1,
        workers: HashMap::from([(
            ProcessKey(0),
            WorkerLabels { model_name: "a \"model\"\\".to_owned(), ..WorkerLabels::default() },
        )]),
    }
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

#[test]
fn the_ratio_is_of_the_time_since_the_last_scrape() {
    let mut exporter = Exporter::new();
    let mut capture = fixture::capture();
    exporter.render(&capture, &health()).unwrap();
    capture.report.devices[0].exclusive.gemm += 750;
    capture.report.devices[0].exclusive.idle += 250;
    let text = exporter.render(&capture, &health()).unwrap();
    let ratio = |class| {
        value(
            &text,
            &format!("warplens_gpu_time_ratio{{gpu=\"0\",UUID=\"SIM-0\",class=\"{class}\"}}"),
        )
    };
    assert!((ratio("gemm") - 0.75).abs() < 1e-12);
    assert!((ratio("idle") - 0.25).abs() < 1e-12);
    let again = exporter.render(&capture, &health()).unwrap();
    assert!(
        (value(&again, "warplens_gpu_time_ratio{gpu=\"0\",UUID=\"SIM-0\",class=\"gemm\"}") - 0.75)
            .abs()
            < 1e-12
    );
}
