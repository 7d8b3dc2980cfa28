//! Every output of one small capture, as text; and what must hold between them.

mod host;

use std::collections::BTreeMap;

use super::fixture::capture;
use super::*;
use crate::capture::Capture;
use crate::commands::findings::findings;

#[test]
fn report_json() {
    let text = String::from_utf8(json::render(&capture()).unwrap()).unwrap();
    insta::assert_snapshot!(text.replace(env!("CARGO_PKG_VERSION"), "[version]"));
}

#[test]
fn report_md() {
    insta::assert_snapshot!(
        markdown::render(&capture()).replace(env!("CARGO_PKG_VERSION"), "[version]")
    );
}

#[test]
fn terminal_summary() {
    let capture = capture();
    insta::assert_snapshot!(summary::screen(&capture, "warplens analyze"));
}

#[test]
fn gpu_folded() {
    insta::assert_snapshot!(folded::gpu(&capture()));
}

#[test]
fn cpu_folded() {
    insta::assert_snapshot!(folded::cpu(&capture()));
}

/// Sum of the folded values whose line holds `part`.
fn folded_sum(text: &str, part: &str) -> u64 {
    text.lines()
        .filter(|line| line.contains(part))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
        .sum()
}

/// Widths and names of the drawn frames, from inferno's own attributes.
fn drawn(svg: &str) -> Vec<(String, u64)> {
    svg.split("<g><title>")
        .skip(1)
        .map(|frame| {
            let (title, rest) = frame.split_once("</title>").unwrap();
            let (name, _) = title.rsplit_once(" (").unwrap();
            let (_, width) = rest.split_once("fg:w=\"").unwrap();
            (name.to_owned(), width.split_once('"').unwrap().0.parse().unwrap())
        })
        .collect()
}

#[test]
fn every_kernel_is_as_wide_in_the_flame_graph_as_its_total() {
    let capture = capture();
    let svg = String::from_utf8(flame::gpu(&capture).unwrap()).unwrap();
    let mut widths: BTreeMap<String, u64> = BTreeMap::new();
    for (name, width) in drawn(&svg) {
        *widths.entry(name).or_default() += width;
    }
    let mut totals: BTreeMap<&str, u64> = BTreeMap::new();
    for total in capture.report.devices.iter().flat_map(|device| &device.totals) {
        *totals.entry(words::kernel_name(&capture.report, total.name)).or_default() += total.total;
    }
    for (name, total) in totals {
        // The second name is drawn without `;` and with unbreakable spaces.
        let shown = if name.starts_with("void gemm") {
            "void\u{a0}gemm&lt;float,\u{a0}4&gt;(A\u{a0}const&amp;:\u{a0}B|C)\u{a0}12"
        } else {
            name
        };
        assert_eq!(widths.get(shown), Some(&total), "{name} in {widths:?}");
    }
    for (cause, ns) in [
        ("host_bound", 120),
        ("sync", 30),
        ("launch_latency", 50),
        ("no_requests", 400),
        ("dependency", 60),
        ("unknown", 90),
    ] {
        assert_eq!(widths.get(format!("[idle: {cause}]").as_str()), Some(&ns), "{cause}");
    }
    assert_eq!(widths.get("[unobserved: arming]"), Some(&100));
    assert_eq!(widths.get("[stack not sampled]"), Some(&(150 + 50)));
    assert_eq!(widths.get("[thread not sampled]"), Some(&20));
    assert_eq!(widths.get("[asleep]"), Some(&(20 + 40)));
    assert_eq!(widths.get("GPU 0 SIMULATED"), Some(&(800 + 200 + 100)));
    assert!(svg.contains("(SIMULATED)</text>"), "the title says so");
}

#[test]
fn folded_flame_graph_and_report_agree() {
    let capture = capture();
    let text = folded::gpu(&capture);
    for device in &capture.report.devices {
        let title = words::gpu_title(&device.info);
        let kernels: u64 = device.totals.iter().map(|total| total.total).sum();
        let expected = kernels + device.exclusive.idle + device.exclusive.unobserved;
        assert_eq!(folded_sum(&text, &title), expected, "{title}");
    }
    assert_eq!(folded_sum(&text, "[cut: root not reached]"), 250 + 50 + 30 + 60);
}

#[test]
fn each_idle_cause_is_as_wide_as_its_time_whatever_the_stacks_say() {
    let mut capture = capture();
    let check = |capture: &Capture, what: &str| {
        let text = folded::gpu(capture);
        for device in &capture.report.devices {
            for (&cause, &ns) in &device.idle_cause {
                let under = format!(
                    "{};[idle: {}]",
                    words::gpu_title(&device.info),
                    words::idle_cause(cause)
                );
                assert_eq!(folded_sum(&text, &under), ns, "{what}: {under} in\n{text}");
            }
        }
    };
    check(&capture, "the host's stacks for all of it");
    capture.report.host_stacks[0].total -= 30;
    check(&capture, "the host's stacks for a part of it");
    capture.report.host_stacks[0].total += 1_000;
    check(&capture, "the host's stacks for more than there is");
    capture.report.host_stacks.clear();
    check(&capture, "stacks for all of it");
    capture.report.idle_stacks.truncate(3);
    capture.report.idle_stacks[0].total -= 60;
    check(&capture, "stacks for a part of it");
    capture.report.idle_stacks[0].total += 1_000;
    check(&capture, "stacks for more than there is");
    capture.report.idle_stacks.clear();
    check(&capture, "no stacks");
    capture.report.devices[0].idle_cause.clear();
    capture.report.devices[0].idle_undecided = capture.report.devices[0].exclusive.idle;
    assert_eq!(folded_sum(&folded::gpu(&capture), "[idle: not decided yet]"), 200);
}

#[test]
fn a_report_reads_back_as_it_was_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(REPORT_JSON);
    std::fs::write(&path, json::render(&capture()).unwrap()).unwrap();
    assert!(json::looks_like_report(&path).unwrap());
    assert_eq!(json::read(&path).unwrap(), json::Document::of(&capture()));
}

#[test]
fn an_older_report_reads_with_what_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(REPORT_JSON);
    let text = r#"{"schema": "warplens.report/v1", "devices": [{"device": 3, "window_ns": 7,
        "later_field": {}}]}"#;
    std::fs::write(&path, text).unwrap();
    let document = json::read(&path).unwrap();
    assert_eq!((document.devices[0].index, document.devices[0].window_ns), (3, 7));
    assert!(document.devices[0].idle_gaps.is_empty());
}

#[test]
fn a_report_that_is_none_is_told_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text, expected) in [
        ("cut", r#"{"schema": "warplens.report/v1", "devices": ["#, "not a whole"),
        ("other", r#"{"schema": "warplens.report/v2"}"#, "schema `warplens.report/v2`"),
        ("kind", r#"{"schema": "warplens.report/v1", "devices": 7}"#, "not a whole"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        assert!(json::looks_like_report(&path).unwrap(), "{name}");
        let error = json::read(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{name}: {error}");
    }
    let path = folder.path().join("trace");
    std::fs::write(&path, r#"{"schemaVersion": 1, "traceEvents": []}"#).unwrap();
    assert!(!json::looks_like_report(&path).unwrap(), "a trace is none");
}

#[test]
fn an_empty_capture_still_gives_every_output() {
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("out");
    write_folder(&target, &Capture::default()).unwrap();
    for name in [
        REPORT_JSON,
        REPORT_MD,
        CPU_SVG,
        OFFCPU_SVG,
        WALL_SVG,
        GPU_SVG,
        CPU_FOLDED,
        OFFCPU_FOLDED,
        WALL_FOLDED,
        GPU_FOLDED,
        CPU_PPROF,
        OFFCPU_PPROF,
        WALL_PPROF,
        GPU_PPROF,
        GPU_SPEEDSCOPE,
    ] {
        assert!(target.join(name).is_file(), "{name}");
    }
    let svg = std::fs::read_to_string(target.join(CPU_SVG)).unwrap();
    assert!(svg.contains("the CPU was not sampled"), "{svg}");
    assert!(!findings(&Capture::default()).is_empty(), "nothing seen is a finding");
}

#[test]
fn control_characters_do_not_reach_the_svg() {
    let mut capture = capture();
    capture.report.names[0] = "evil\u{1}\u{0}<script>\n&\"kernel\u{fffe}".to_owned();
    let svg = String::from_utf8(flame::gpu(&capture).unwrap()).unwrap();
    let bad = svg.chars().find(|&c| c.is_control() && !matches!(c, '\n' | '\t' | '\r'));
    assert_eq!(bad, None);
    assert!(!svg.contains('\u{fffe}'), "not an XML character");
    assert!(!svg.contains("<script>\u{20}&"), "markup in a name is escaped");
}

mod folder {
    use std::fs;

    use super::super::folder::{OutputFolder, PARTIAL_PREFIX};

    fn entries(path: &std::path::Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(path)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn appears_whole_or_not_at_all() {
        let place = tempfile::tempdir().unwrap();
        let target = place.path().join("a/b/out");
        let folder = OutputFolder::create(&target).unwrap();
        folder.write("one", b"1").unwrap();
        assert!(!target.exists());
        folder.commit().unwrap();
        assert_eq!(entries(&target), ["one"]);
        assert_eq!(entries(&place.path().join("a/b")), ["out"]);
    }

    #[test]
    fn dropped_it_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        let folder = OutputFolder::create(&place.path().join("out")).unwrap();
        folder.write("one", b"1").unwrap();
        drop(folder);
        assert_eq!(entries(place.path()), [""; 0]);
    }

    #[test]
    fn an_existing_folder_keeps_what_is_not_ours() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join("mine"), b"mine").unwrap();
        fs::write(place.path().join("one"), b"old").unwrap();
        let folder = OutputFolder::create(place.path()).unwrap();
        folder.write("one", b"1").unwrap();
        assert_eq!(fs::read(place.path().join("one")).unwrap(), b"old");
        folder.commit().unwrap();
        assert_eq!(entries(place.path()), ["mine", "one"]);
        assert_eq!(fs::read(place.path().join("one")).unwrap(), b"1");
    }

    #[test]
    fn a_file_in_the_way_is_an_error() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        fs::write(&file, b"").unwrap();
        let error = OutputFolder::create(&file).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "write to output folder {}: it is a file: choose another with `--out`",
                file.display()
            )
        );
        let below = OutputFolder::create(&file.join("x")).unwrap_err().to_string();
        assert!(below.starts_with("write to output folder"), "{below}");
        assert!(entries(place.path()).iter().all(|name| !name.starts_with(PARTIAL_PREFIX)));
    }
}
