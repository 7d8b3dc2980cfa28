//! `report.md`: the report for people, to read or to paste into an issue.

mod counters;
mod host;
mod memory;
mod sections;

use std::collections::BTreeMap;
use std::fmt::Write;

use analysis::report::{DeviceReport, Exclusive};

use super::rows::{self, Row, Titles};
use super::summary::SIMULATED_BANNER;
use super::words;
use crate::capture::Capture;
use crate::commands::findings::{Severity, findings};

/// Kernels listed for a GPU; report.json has all.
const KERNELS: usize = 25;

/// Stacks listed; gpu.folded has all.
const STACKS: usize = 10;

/// Host frames shown of a stack, those nearest the launch.
const FRAMES: usize = 8;

/// The whole document.
pub fn render(capture: &Capture) -> String {
    let mut text = String::new();
    match write(&mut text, capture) {
        // Writing to a String does not fail.
        Ok(()) | Err(std::fmt::Error) => {}
    }
    // Names come from other processes and files, and a report is looked at in a terminal.
    text.replace(|character: char| character.is_control() && character != '\n', " ")
}

fn write(text: &mut String, capture: &Capture) -> std::fmt::Result {
    let report = &capture.report;
    writeln!(text, "# Warplens report\n")?;
    if capture.simulated() {
        writeln!(text, "> **{SIMULATED_BANNER}.**\n")?;
    }
    writeln!(
        text,
        "Made by `warplens {}` {} from {}.\n",
        cell(&capture.info.command),
        env!("CARGO_PKG_VERSION"),
        code(&capture.info.source)
    )?;
    write_split(text, capture)?;
    for (position, device) in report.devices.iter().enumerate() {
        write_device(text, capture, position, device)?;
    }
    sections::steps(text, capture)?;
    write_stacks(text, capture)?;
    sections::late(text, capture)?;
    host::write(text, capture)?;
    counters::write(text, capture)?;
    memory::write(text, capture)?;
    writeln!(text, "## What was not seen\n")?;
    let grave = findings(capture);
    let mut lines: Vec<String> = grave
        .iter()
        .filter(|finding| finding.severity > Severity::Info)
        .map(|finding| finding.text.clone())
        .collect();
    lines.extend(report.defects.iter().map(ToString::to_string));
    lines.extend(capture.info.notes.iter().cloned());
    if lines.is_empty() {
        lines.push("Nothing is known to be missing.".to_owned());
    }
    for line in lines {
        writeln!(text, "- {}", line.replace('\n', " "))?;
    }
    Ok(())
}

fn write_split(text: &mut String, capture: &Capture) -> std::fmt::Result {
    let report = &capture.report;
    writeln!(text, "## Where GPU time goes\n")?;
    writeln!(
        text,
        "Each instant counts once, for the running class that comes first in the order of the \
         columns; the six shares sum to the window.\n"
    )?;
    writeln!(text, "| | window | attention | gemm | communication | other | idle | unobserved |")?;
    writeln!(text, "|---|---:|---:|---:|---:|---:|---:|---:|")?;
    for (position, device) in report.devices.iter().enumerate() {
        let window = words::window_ns(device);
        write_shares(text, &words::gpu_title(&device.info), &device.exclusive, window)?;
        for worker in report.workers.iter().filter(|worker| worker.device == position) {
            let title = format!("- {}", words::process_title(&worker.info));
            write_shares(text, &title, &worker.exclusive, window)?;
        }
    }
    writeln!(text)
}

fn write_shares(text: &mut String, title: &str, time: &Exclusive, window: u64) -> std::fmt::Result {
    write!(text, "| {} | {} |", cell(title), words::duration(window))?;
    for (_, ns) in words::parts(time) {
        write!(text, " {:.1} % |", words::percent(ns, window))?;
    }
    writeln!(text)
}

fn write_device(
    text: &mut String,
    capture: &Capture,
    position: usize,
    device: &DeviceReport,
) -> std::fmt::Result {
    writeln!(text, "## {}\n", cell(&words::gpu_title(&device.info)))?;
    let records = &device.records;
    writeln!(
        text,
        "- Device: {}",
        device.info.uuid.as_deref().map_or("no uuid known".to_owned(), code)
    )?;
    writeln!(
        text,
        "- Window: {} to {} ns ({})",
        device.window.start.0,
        device.window.end.0,
        words::duration(words::window_ns(device))
    )?;
    writeln!(
        text,
        "- Records: {} kernels, {} copies and sets; {} of no known class, {} without timestamps, {} lost",
        words::grouped(device.kernels),
        words::grouped(device.copies),
        words::grouped(records.unclassified),
        words::grouped(records.invalid),
        words::grouped(records.lost)
    )?;
    let inclusive = &device.inclusive;
    writeln!(
        text,
        "- Each class on its own: attention {}, gemm {}, communication {}, other {}; computing and \
         communicating at once {}",
        words::duration(inclusive.attention),
        words::duration(inclusive.gemm),
        words::duration(inclusive.communication),
        words::duration(inclusive.other),
        words::duration(device.compute_communication_overlap)
    )?;
    if device.copies > 0 {
        writeln!(
            text,
            "- Copies and sets: {} in all, {} of it while nothing else ran",
            words::duration(device.copies_inclusive),
            words::duration(device.copies_exclusive)
        )?;
    }
    let kernels = words::kernels_ns(device);
    if kernels > 0 {
        writeln!(
            text,
            "- Coverage: rules know {:.2} % of summed kernel time",
            100.0 - words::percent(records.unclassified_ns, kernels)
        )?;
    }
    for (&reason, &ns) in device.unobserved.iter().filter(|&(_, &ns)| ns > 0) {
        writeln!(
            text,
            "- Unobserved {}: {} ({})",
            words::duration(ns),
            words::unobserved_meaning(reason),
            words::unobserved_reason(reason)
        )?;
    }
    let kinds: Vec<String> = device
        .kinds
        .iter()
        .filter(|&(_, &ns)| ns > 0)
        .map(|((class, kind), &ns)| format!("{class}/{kind} {}", words::duration(ns)))
        .collect();
    if !kinds.is_empty() {
        writeln!(text, "- Each kind on its own: {}", kinds.join(", "))?;
    }
    writeln!(text)?;
    sections::idle(text, capture, position, device)?;
    write_heaviest(text, capture, position)?;
    sections::ranges(text, capture, position)
}

fn write_heaviest(text: &mut String, capture: &Capture, position: usize) -> std::fmt::Result {
    let report = &capture.report;
    let heaviest = words::heaviest(report, position);
    if heaviest.is_empty() {
        return Ok(());
    }
    let all: u64 = heaviest.iter().map(|heavy| heavy.total).sum();
    writeln!(text, "### What ran longest\n")?;
    writeln!(text, "| kernel or copy | class | kind | count | total | share of summed time |")?;
    writeln!(text, "|---|---|---|---:|---:|---:|")?;
    for total in heaviest.iter().take(KERNELS) {
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {:.1} % |",
            code(&words::shorten(words::kernel_name(report, total.name), 100)),
            total.class.as_str(),
            total.kind.as_str(),
            total.count_text(),
            words::duration(total.total),
            words::percent(total.total, all)
        )?;
    }
    if heaviest.len() > KERNELS {
        writeln!(text, "\n{} more stand in report.json.", heaviest.len() - KERNELS)?;
    }
    writeln!(text)
}

fn write_stacks(text: &mut String, capture: &Capture) -> std::fmt::Result {
    let mut heavy: BTreeMap<String, u64> = BTreeMap::new();
    let mut all = 0u64;
    let mut sampled = 0u64;
    rows::gpu(capture, &Titles::of(capture), |row| {
        if row.kind.is_none() {
            return;
        }
        all = all.saturating_add(row.value);
        if row.frames.iter().any(|frame| frame.host.is_some()) {
            sampled = sampled.saturating_add(row.value);
            let sum = heavy.entry(stack_text(&row)).or_default();
            *sum = sum.saturating_add(row.value);
        }
    });
    if all == 0 {
        return Ok(());
    }
    writeln!(text, "## Which code launched it\n")?;
    writeln!(
        text,
        "{:.1} % of kernel time hangs under a sampled stack; gpu.svg shows all of it.\n",
        words::percent(sampled, all)
    )?;
    let mut heavy: Vec<(String, u64)> = heavy.into_iter().collect();
    heavy.sort_by_key(|(_, ns)| std::cmp::Reverse(*ns));
    for (stack, ns) in heavy.iter().take(STACKS) {
        writeln!(text, "- {} ({:.1} %): {stack}", words::duration(*ns), words::percent(*ns, all))?;
    }
    writeln!(text)
}

/// The host frames nearest the launch, then the kernel.
fn stack_text(row: &Row<'_, '_>) -> String {
    let mut text = host_text(row);
    if let Some(kernel) = row.frames.last() {
        let arrow = if text.is_empty() { "" } else { " > " };
        let kernel = code(&words::shorten(kernel.text, 80));
        text = format!("{text}{arrow}**{kernel}**");
    }
    text
}

/// The host frames nearest the launch.
fn host_text(row: &Row<'_, '_>) -> String {
    let host: Vec<&str> =
        row.frames.iter().filter(|frame| frame.host.is_some()).map(|frame| frame.text).collect();
    let shown = host.get(host.len().saturating_sub(FRAMES)..).unwrap_or_default();
    let mut parts: Vec<String> =
        shown.iter().map(|frame| code(&words::shorten(frame, 60))).collect();
    if shown.len() < host.len() {
        parts.insert(0, "...".to_owned());
    }
    parts.join(" > ")
}

/// Text inside a table cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace(char::is_control, " ")
}

/// Text as code; a backtick would end it.
fn code(text: &str) -> String {
    format!("`{}`", cell(&text.replace('`', "'")))
}
