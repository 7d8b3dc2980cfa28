use std::collections::BTreeMap;
use std::sync::Arc;

use analysis::event::ProcessInfo;
use analysis::ids::StackId;
use analysis::memory::Place;
use analysis::memory::live::{Counts, Held, Of, Unseen};

use super::*;
use crate::capture::{CaptureInfo, CpuStack, Frame, Language, LiveSite, ProcessMemory, Stack};

/// Samples of the main thread of process `pid` by stack; frames are `name` or `name:LINE` of Python.
fn observed(pid: u32, samples: &[(&[&str], u64)]) -> Capture {
    let process = ProcessKey(pid);
    let mut capture = Capture {
        info: CaptureInfo { cpu_hz: 99, ..CaptureInfo::default() },
        ..Capture::default()
    };
    let info = ProcessInfo {
        pid,
        title: "VLLM::Worker_TP0".to_owned(),
        role: "worker".to_owned(),
        rank: "TP0".to_owned(),
        ..ProcessInfo::default()
    };
    capture.processes.insert(process, info);
    for (number, &(frames, samples)) in (0..).zip(samples) {
        let frames = frames.iter().map(|text| Arc::new(frame(text))).collect();
        let stack = StackId(number);
        capture.stacks.insert(stack, Stack { frames, cut: false });
        let thread = Thread(pid);
        capture.cpu.push(CpuStack { process, thread, stack, samples, holding_gil: 0 });
    }
    capture
}

fn frame(text: &str) -> Frame {
    let Some((function, line)) = text.split_once(':') else {
        return Frame { function: text.to_owned(), ..Frame::default() };
    };
    Frame {
        language: Language::Python,
        function: function.to_owned(),
        file: Some("/srv/model.py".to_owned()),
        line: line.parse().ok(),
        module: None,
    }
}

/// Name, width and note of every frame drawn, and its colour; frames of one name together.
fn drawn(svg: &[u8]) -> BTreeMap<String, Vec<(u64, String, String)>> {
    let text = std::str::from_utf8(svg).unwrap();
    let mut frames: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for part in text.split("<title>").skip(1) {
        let (title, rest) = part.split_once("</title>").unwrap();
        let (name, value) = title.rsplit_once(" (").unwrap();
        let (width, value) = value.split_once(' ').unwrap();
        let note = value.split_once("; ").map_or("", |(_, note)| note.trim_end_matches(')'));
        let colour = rest.split_once("fill=\"").unwrap().1.split_once('"').unwrap().0;
        frames.entry(name.to_owned()).or_default().push((
            width.replace(',', "").parse().unwrap(),
            note.to_owned(),
            colour.to_owned(),
        ));
    }
    frames
}

fn rgb([r, g, b]: [u8; 3]) -> String {
    format!("rgb({r},{g},{b})")
}

fn one(width: u64, note: &str, colour: [u8; 3]) -> Vec<(u64, String, String)> {
    vec![(width, note.to_owned(), rgb(colour))]
}

#[test]
fn a_moved_line_and_another_pid_are_no_change() {
    let before = observed(100, &[(&["main:10", "step:20"], 1_000), (&["main:11", "step:20"], 500)]);
    let after = observed(200, &[(&["main:12", "step:25"], 3_000)]);
    let frames = drawn(&diff(Compared::Cpu, &before, &after).unwrap());
    let same = "before 100.00 %, after 100.00 %, no more than chance";
    for name in ["worker TP0 (VLLM::Worker_TP0)", "main thread", "main", "step"] {
        assert_eq!(frames[name], one(3_000, same, SAME), "{name}");
    }
}

#[test]
fn what_grew_is_red_what_shrank_is_blue_and_the_totals_count_as_equal() {
    let before = observed(1, &[(&["main", "a"], 1_000), (&["main", "b"], 1_000)]);
    let after = observed(1, &[(&["main", "a"], 8_000), (&["main", "b"], 2_000)]);
    let frames = drawn(&diff(Compared::Cpu, &before, &after).unwrap());
    let [red, ..] = Scale { before: 2_000, after: 10_000, sampled: true }.change(1_000, 8_000).0;
    assert_eq!(frames["a"][0].0, 8_000);
    assert_eq!(frames["a"][0].1, "before 50.00 %, after 80.00 %");
    assert!(frames["a"][0].2.starts_with(&format!("rgb({red},")), "{:?}", frames["a"]);
    assert_eq!(frames["b"], one(2_000, "before 50.00 %, after 20.00 %", SHRANK));
}

/// One name at two places has two colours.
#[test]
fn what_came_and_what_went_is_told() {
    let before = observed(1, &[(&["main", "old", "leaf"], 500), (&["main", "kept"], 500)]);
    let after = observed(1, &[(&["main", "new", "leaf"], 1_000), (&["main", "kept"], 1_000)]);
    let svg = diff(Compared::Cpu, &before, &after).unwrap();
    let frames = drawn(&svg);
    assert_eq!(frames["new"], one(1_000, "before 0.00 %, after 50.00 %, new", NEW));
    assert_eq!(frames[ONLY_BEFORE], one(1_000, "before 50.00 %, gone", GONE));
    assert_eq!(frames["old"], one(1_000, "before 50.00 %, gone", GONE));
    let mut leaves = frames["leaf"].clone();
    leaves.sort();
    assert_eq!(leaves[0], one(1_000, "before 0.00 %, after 50.00 %, new", NEW)[0]);
    assert_eq!(leaves[1], one(1_000, "before 50.00 %, gone", GONE)[0]);
    let text = String::from_utf8(svg).unwrap();
    assert!(text.contains("50.0 % of before stands under [only before]"), "{text}");
    assert!(!text.chars().any(|c| ('\u{e000}'..'\u{f900}').contains(&c)), "marks are left");
}

#[test]
fn stray_samples_are_left_out_and_told_and_branches_of_many_are_not() {
    let stray: Vec<[String; 1]> = (0..40).map(|number| [format!("stray_{number}")]).collect();
    let strays: Vec<[&str; 1]> = stray.iter().map(|[name]| [name.as_str()]).collect();
    let mut samples: Vec<(&[&str], u64)> = strays.iter().map(|name| (&name[..], 1)).collect();
    let leaves = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let branch: Vec<[&str; 2]> = leaves.iter().map(|&leaf| ["gone", leaf]).collect();
    samples.extend(branch.iter().map(|stack| (&stack[..], 2)));
    samples.push((&["main"], 940));
    let after = observed(1, &[(&["main"], 100)]);
    let svg = diff(Compared::Cpu, &observed(1, &samples), &after).unwrap();
    let frames = drawn(&svg);
    // 20 of 1000 are 2 of 100, and do not vanish although each of the ten is less than one.
    assert_eq!(frames["gone"], one(2, "before 2.00 %, gone", GONE));
    assert!(!frames.keys().any(|name| name.starts_with("stray")), "{frames:?}");
    let told = "2.0 % of before stands under [only before], 4.0 % was not met again by chance";
    let text = String::from_utf8(svg).unwrap();
    assert!(text.contains(told), "{text}");
}

#[test]
fn nothing_to_compare_says_so_and_one_side_alone_is_drawn() {
    let (none, some) = (observed(1, &[]), observed(1, &[(&["main"], 10)]));
    let text = String::from_utf8(diff(Compared::Cpu, &none, &none).unwrap()).unwrap();
    assert!(text.contains("neither observation has any"), "{text}");
    let text = drawn(&diff(Compared::Cpu, &none, &some).unwrap());
    assert_eq!(text["main"][0].1, "before 0.00 %, after 100.00 %, new");
    let text = drawn(&diff(Compared::Cpu, &some, &none).unwrap());
    assert_eq!(text[ONLY_BEFORE], one(10, "before 100.00 %, gone", GONE));
}

/// The same stacks, each with so many live bytes.
fn holding(sites: &[(&[&str], u64)]) -> Capture {
    let mut capture = observed(1, sites);
    let sites = std::mem::take(&mut capture.cpu).into_iter().map(|row| {
        let live = Counts { bytes: row.samples, blocks: 1 };
        LiveSite { place: Place::HostHeap, of: Of::Site(Some(row.stack)), live, allocated: live }
    });
    capture.memory.push(ProcessMemory {
        process: ProcessKey(1),
        findings: Vec::new(),
        sites: sites.collect(),
        touched: Vec::new(),
        held: Held::default(),
        resident: None,
        unseen: Unseen::default(),
        without_stack: 0,
        ended: false,
    });
    capture
}

/// Of time shares count; a byte is a byte.
#[test]
fn memory_that_stays_is_the_same_whatever_else_grows() {
    let before = holding(&[(&["main", "a"], 1_000), (&["main", "b"], 1_000)]);
    let after = holding(&[(&["main", "a"], 1_000), (&["main", "b"], 9_000)]);
    let frames = drawn(&diff(Compared::Memory, &before, &after).unwrap());
    assert_eq!(frames["a"], one(1_000, "before 10.00 %, after 10.00 %", SAME));
    assert_eq!(frames["b"], one(9_000, "before 10.00 %, after 90.00 %", GREW));
}
