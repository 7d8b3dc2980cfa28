//! The host's side in every output, and what must hold between them.

use super::super::fixture::host;
use super::super::{flame, folded, json, markdown, summary};
use super::{drawn, folded_sum};
use crate::capture::{Capture, NameStyle};

#[test]
fn host_folded() {
    let capture = host();
    insta::assert_snapshot!(format!(
        "cpu\n{}\noffcpu\n{}\nwall\n{}",
        folded::cpu(&capture),
        folded::offcpu(&capture),
        folded::wall(&capture)
    ));
}

#[test]
fn host_in_the_report() {
    let text = markdown::render(&host());
    let (_, section) = text.split_once("## What the host did").unwrap();
    let (section, _) = section.split_once("## What was not seen").unwrap();
    insta::assert_snapshot!(section);
}

#[test]
fn host_on_the_screen() {
    let text = summary::render(&host(), &[]);
    insta::assert_snapshot!(text);
}

#[test]
fn host_in_json() {
    let document = json::Document::of(&host());
    insta::assert_snapshot!(serde_json::to_string_pretty(&document.host).unwrap());
    for process in &document.host.processes {
        let sum: u64 = process.off_cpu_reason_ns.values().sum();
        assert_eq!(sum, process.off_cpu_ns, "{}", process.title);
    }
}

#[test]
fn short_names() {
    let capture = Capture { names: NameStyle::Short, ..host() };
    insta::assert_snapshot!(folded::wall(&capture));
}

/// Widths of the drawn frames that start with `start`.
fn width(svg: &[u8], start: &str) -> u64 {
    let frames = drawn(std::str::from_utf8(svg).unwrap());
    frames.iter().filter(|(name, _)| name.starts_with(start)).map(|(_, width)| width).sum()
}

#[test]
fn pictures_reports_and_folded_stacks_agree() {
    let capture = host();
    let (on, off, wall) = (
        flame::cpu(&capture).unwrap(),
        flame::offcpu(&capture).unwrap(),
        flame::wall(&capture).unwrap(),
    );
    let document = json::Document::of(&capture);
    for process in &document.host.processes {
        let title = format!("{}, pid {})", process.title, process.pid);
        let folded_wall = folded_sum(&folded::wall(&capture), &title);
        let root = if process.role == "process" {
            format!("{} (pid {})", process.title, process.pid)
        } else {
            format!(
                "{}{} ({title}",
                process.role,
                if process.rank.is_empty() { "" } else { " TP0" }
            )
        };
        assert_eq!(width(&on, &root), process.cpu_samples, "{root}");
        assert_eq!(width(&off, &root), process.off_cpu_ns, "{root}");
        assert_eq!(width(&wall, &root), process.cpu_ns + process.off_cpu_ns, "{root}");
        if process.role != "process" {
            assert_eq!(folded_wall, process.cpu_ns + process.off_cpu_ns, "{root}");
        }
        for (reason, &ns) in &process.off_cpu_reason_ns {
            let line = format!("[waiting: {reason}]");
            let text = folded::offcpu(&capture);
            let of_it: Vec<&str> = text.lines().filter(|line| line.starts_with(&root)).collect();
            assert_eq!(folded_sum(&of_it.join("\n"), &line), ns, "{root} {reason}");
        }
    }
}

#[test]
fn legends_explain_what_occurs() {
    let capture = host();
    let text = |svg: Vec<u8>| String::from_utf8(svg).unwrap();
    let (on, off) = (text(flame::cpu(&capture).unwrap()), text(flame::offcpu(&capture).unwrap()));
    for (svg, word, is_there) in [
        (&on, ">engine core</text>", true),
        (&on, ">vLLM extensions</text>", true),
        (&on, ">waiting: gil</text>", false),
        (&off, ">waiting: gil</text>", true),
        (&off, ">waiting: child</text>", false),
        (&off, ">vLLM extensions</text>", false),
    ] {
        assert_eq!(svg.contains(word), is_there, "{word}");
    }
}

#[test]
fn without_samples_time_off_the_cpu_is_still_there() {
    let mut capture = host();
    capture.info.cpu_hz = 0;
    capture.cpu.clear();
    let text = folded::wall(&capture);
    assert_eq!(text, folded::offcpu(&capture));
    assert!(text.contains("[waiting: gil]"), "{text}");
}
