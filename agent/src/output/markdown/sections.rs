//! The report's sections on idle time, engine steps and what launched GPU time.

use std::collections::BTreeMap;
use std::fmt::Write;

use analysis::event::RangeKind;
use analysis::report::{DeviceReport, IdleCause, StepReport};

use super::{cell, code};
use crate::capture::Capture;
use crate::output::{gaps, json, rows, words};

/// Gaps listed for a GPU; report.json has 100.
const GAPS: usize = 10;

/// Late stacks listed; gpu.folded has all.
const LATE: usize = 10;

/// Operators and modules listed for a GPU; report.json has all.
const RANGES: usize = 20;

/// Idle time of one device: causes, then the longest gaps.
pub(super) fn idle(
    text: &mut String,
    capture: &Capture,
    position: usize,
    device: &DeviceReport,
) -> std::fmt::Result {
    let window = words::window_ns(device);
    if device.exclusive.idle == 0 {
        return Ok(());
    }
    writeln!(text, "### Why it was idle\n")?;
    writeln!(text, "| cause | time | share of the window | meaning |")?;
    writeln!(text, "|---|---:|---:|---|")?;
    for (&cause, &ns) in device.idle_cause.iter().filter(|&(_, &ns)| ns > 0) {
        let cause = words::idle_cause(cause);
        writeln!(
            text,
            "| {cause} | {} | {:.1} % | {} |",
            words::duration(ns),
            words::percent(ns, window),
            words::idle_meaning(cause)
        )?;
    }
    host_bound(text, capture, position, device)?;
    if device.gaps.is_empty() {
        return writeln!(text);
    }
    writeln!(
        text,
        "\nThe longest of {}; `warplens gaps` lists more.\n",
        words::count(device.gap_count, "gap")
    )?;
    writeln!(text, "| when | long | why | before -> after | launched |")?;
    writeln!(text, "|---:|---:|---|---|---|")?;
    for gap in device.gaps.iter().take(GAPS) {
        let gap = json::gap(capture, gap);
        let after = gap.start_ns.saturating_sub(device.window.start.0);
        let more = |more: Option<String>| more.map_or(String::new(), |more| format!("; {more}"));
        let (waited, meanwhile) = (more(gaps::waited(&gap)), more(gaps::meanwhile(&gap)));
        writeln!(
            text,
            "| +{} | {} | {} | {} | {} |",
            words::duration(after),
            words::duration(gap.duration_ns),
            gaps::why(&gap),
            code(&gaps::between(&gap, 50)),
            cell(&format!("{}{waited}{meanwhile}", gaps::launcher(&gap)))
        )?;
    }
    writeln!(text)
}

/// In which code launching threads were while the host was late.
fn host_bound(
    text: &mut String,
    capture: &Capture,
    position: usize,
    device: &DeviceReport,
) -> std::fmt::Result {
    let late = device.idle_cause.get(&IdleCause::HostBound).copied().unwrap_or(0);
    let stacks = json::host_bound(capture, position);
    let places = gaps::late_places(&stacks, late);
    if places.is_empty() {
        return Ok(());
    }
    writeln!(
        text,
        "\nWhile the host was late, its launching threads were here. Sleep is exact to the nanosecond; \
         what they ran is shared out by CPU samples.\n"
    )?;
    writeln!(text, "| innermost Python frame | time | share of host_bound | how it is known |")?;
    writeln!(text, "|---|---:|---:|---|")?;
    for place in places.iter().take(LATE) {
        let known = match (place.asleep, place.samples) {
            (true, _) => "asleep".to_owned(),
            (false, samples) => words::count(samples, "sample"),
        };
        writeln!(
            text,
            "| {} | {} | {:.1} % | {known} |",
            code(&words::shorten_front(place.frame, 100)),
            words::duration(place.ns),
            place.share()
        )?;
    }
    Ok(())
}

/// Under which stacks GPUs waited.
pub(super) fn late(text: &mut String, capture: &Capture) -> std::fmt::Result {
    let mut heavy: BTreeMap<String, u64> = BTreeMap::new();
    let mut all = 0u64;
    rows::late_launches(capture, &rows::Titles::of(capture), |row| {
        all = all.saturating_add(row.value);
        let cause = row.frames.iter().find(|frame| frame.tint == rows::Tint::Idle);
        let stack = super::host_text(&row);
        if let (Some(cause), false) = (cause, stack.is_empty()) {
            let sum = heavy.entry(format!("{}: {stack}", code(cause.text))).or_default();
            *sum = sum.saturating_add(row.value);
        }
    });
    if heavy.is_empty() {
        return Ok(());
    }
    writeln!(text, "## Which launches ended idle time\n")?;
    writeln!(text, "Idle time by the stack of the launch that ended it.\n")?;
    let mut heavy: Vec<(String, u64)> = heavy.into_iter().collect();
    heavy.sort_by_key(|(_, ns)| std::cmp::Reverse(*ns));
    for (stack, ns) in heavy.iter().take(LATE) {
        let (time, share) = (words::duration(*ns), words::percent(*ns, all));
        writeln!(text, "- {time} ({share:.1} % of idle time), {stack}")?;
    }
    writeln!(text)
}

/// Engine steps by phase.
pub(super) fn steps(text: &mut String, capture: &Capture) -> std::fmt::Result {
    let steps: Vec<&StepReport> =
        capture.report.steps.iter().filter(|steps| !steps.phases.is_empty()).collect();
    if steps.is_empty() {
        return Ok(());
    }
    writeln!(text, "## Engine steps\n")?;
    writeln!(text, "| worker | GPU | phase | steps | mean time | median at most | mean batch |")?;
    writeln!(text, "|---|---|---|---:|---:|---:|---:|")?;
    for report in steps {
        let worker = capture.processes.get(&report.process).map(words::process_title);
        let device = capture.report.devices.get(report.device);
        for (phase, stats) in &report.phases {
            writeln!(
                text,
                "| {} | {} | {} | {} | {} | {} | {} |",
                cell(worker.as_deref().unwrap_or("process")),
                device.map_or(String::new(), |device| words::gpu_title(&device.info)),
                phase.as_str(),
                words::grouped(stats.count),
                words::duration(stats.total.checked_div(stats.count).unwrap_or(0)),
                words::step_median(&stats.durations),
                words::batch_mean(&stats.batch)
            )?;
        }
    }
    writeln!(text)
}

/// What launched a device's time, where a trace tells.
pub(super) fn ranges(text: &mut String, capture: &Capture, position: usize) -> std::fmt::Result {
    for kind in RangeKind::ALL {
        let mut ranges: Vec<_> = capture
            .report
            .ranges
            .iter()
            .filter(|range| range.device == position && range.kind == kind && range.total > 0)
            .collect();
        // A table of what was launched outside every range says nothing.
        if ranges.iter().all(|range| range.name.is_none()) {
            continue;
        }
        ranges.sort_by_key(|range| std::cmp::Reverse(range.total));
        let all = ranges.iter().map(|range| range.total).fold(0, u64::saturating_add);
        let kind = kind.as_str();
        writeln!(text, "| {kind} | class | kernels | total | share of summed time | shapes |")?;
        writeln!(text, "|---|---|---:|---:|---:|---|")?;
        for range in ranges.iter().take(RANGES) {
            let name = range.name.as_deref().map(|name| words::shorten(name, 80));
            let shapes = range.shapes.as_deref().map(|shapes| words::shorten(shapes, 80));
            writeln!(
                text,
                "| {} | {} | {} | {} | {:.1} % | {} |",
                name.map_or_else(|| format!("outside every {kind}"), |name| code(&name)),
                range.class.as_str(),
                words::grouped(range.kernels),
                words::duration(range.total),
                words::percent(range.total, all),
                shapes.map_or_else(String::new, |shapes| code(&shapes))
            )?;
        }
        if ranges.len() > RANGES {
            writeln!(text, "\n{} more stand in report.json.", ranges.len() - RANGES)?;
        }
        writeln!(text)?;
    }
    Ok(())
}
