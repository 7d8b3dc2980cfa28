//! The terminal summary: the split per GPU and per worker as aligned bars, what was not seen, and
//! a verdict. No colours and no cursor movement, so that it reads the same in a log.

use std::fmt::Write;

use analysis::report::{DeviceReport, Exclusive, WorkerReport};

use super::host::{self, Gil};
use super::words;
use crate::capture::Capture;
use crate::commands::findings::{Finding, Severity, findings};

/// Characters of a whole bar.
const BAR: u32 = 40;

/// Kernels listed for a GPU.
const TOP: usize = 5;

/// Processes listed: the workers and servers of a node.
const PROCESSES: usize = 12;

/// Stands above everything drawn from the simulator.
pub const SIMULATED_BANNER: &str =
    "SIMULATED: these figures come from the simulated CUDA, not from a GPU";

/// The whole screen of a command that made `capture`: summary, verdict, next command.
pub fn screen(capture: &Capture, next: &str) -> String {
    let findings = findings(capture);
    let mut text = render(capture, &findings);
    text.push_str(&last_line(&verdict(capture, &findings), next));
    text.push('\n');
    text
}

/// The summary without its last line.
pub fn render(capture: &Capture, findings: &[Finding]) -> String {
    let mut text = String::new();
    match write(&mut text, capture, findings) {
        // Writing to a String does not fail.
        Ok(()) | Err(std::fmt::Error) => text,
    }
}

fn write(text: &mut String, capture: &Capture, findings: &[Finding]) -> std::fmt::Result {
    if capture.simulated() {
        writeln!(text, "{SIMULATED_BANNER}\n")?;
    }
    for (position, device) in capture.report.devices.iter().enumerate() {
        write_device(text, capture, position, device)?;
    }
    write_host(text, capture)?;
    let worth: Vec<&Finding> =
        findings.iter().filter(|finding| finding.severity > Severity::Info).collect();
    for (title, lines) in [
        ("Findings", worth.iter().map(|finding| finding.text.clone()).collect::<Vec<_>>()),
        ("Not seen", capture.info.notes.clone()),
        ("Defects in the data", capture.report.defects.iter().map(ToString::to_string).collect()),
    ] {
        if lines.is_empty() {
            continue;
        }
        writeln!(text, "{title}:")?;
        for line in lines {
            writeln!(text, "  - {line}")?;
        }
        writeln!(text)?;
    }
    Ok(())
}

fn write_device(
    text: &mut String,
    capture: &Capture,
    position: usize,
    device: &DeviceReport,
) -> std::fmt::Result {
    let window = words::window_ns(device);
    let uuid = device.info.uuid.as_deref().unwrap_or("no uuid");
    writeln!(
        text,
        "{} ({uuid}): {} observed, {}, {}",
        words::gpu_title(&device.info),
        words::duration(window),
        words::count(device.kernels, "kernel"),
        words::count(device.copies, "copy record"),
    )?;
    write_bars(text, &device.exclusive, window)?;
    write_causes(text, device, window)?;
    let workers: Vec<&WorkerReport> =
        capture.report.workers.iter().filter(|worker| worker.device == position).collect();
    for worker in &workers {
        let mut line = format!("  by {}", words::process_title(&worker.info));
        // A format without launches does not say that there were none.
        if worker.launches > 0 {
            write!(line, ", {}", words::launches(worker.launches))?;
        }
        // A lone worker's split is its device's.
        if workers.len() == 1 {
            writeln!(text, "{line}")?;
        } else {
            writeln!(text, "{line}, {}", words::count(worker.kernels, "kernel"))?;
            write_bars(text, &worker.exclusive, window)?;
        }
    }
    write_steps(text, capture, position)?;
    let heaviest = words::heaviest(&capture.report, position);
    if !heaviest.is_empty() {
        writeln!(text, "  Most time in (total, count, class, name):")?;
    }
    for heavy in heaviest.iter().take(TOP) {
        writeln!(
            text,
            "    {:>9}  {:>9} x  {:<13} {}",
            words::duration(heavy.total),
            heavy.count_text(),
            heavy.class.as_str(),
            words::shorten(words::kernel_name(&capture.report, heavy.name), 60)
        )?;
    }
    writeln!(text)
}

/// A line for each process that ran, and one for the Python function it spent most time in.
fn write_host(text: &mut String, capture: &Capture) -> std::fmt::Result {
    let mut processes = host::processes(capture);
    processes.retain(|process| process.cpu_ns > 0);
    if processes.is_empty() {
        return Ok(());
    }
    processes.sort_by_key(|process| std::cmp::Reverse(process.cpu_ns));
    writeln!(text, "Host, time on the CPU:")?;
    for process in processes.iter().take(PROCESSES) {
        let title = process.info.map_or_else(|| "process".to_owned(), words::role_title);
        write!(text, "    {:>9}  {title}", words::duration(process.cpu_ns))?;
        let Gil { held_ns, waited_ns, .. } = process.gil;
        if held_ns > 0 || waited_ns > 0 {
            let (held, waited) = (words::duration(held_ns), words::duration(waited_ns));
            write!(text, "; interpreter lock held {held}, awaited {waited}")?;
        }
        writeln!(text)?;
        if let Some(top) =
            host::functions(capture, process).iter().max_by_key(|function| function.own.on)
            && top.own.on > 0
        {
            let name = words::shorten(&top.frame.function, 70);
            let share = words::percent(top.own.on, process.cpu_ns);
            writeln!(text, "               {share:.1} % of it in {name}")?;
        }
    }
    if processes.len() > PROCESSES {
        writeln!(text, "    {} more processes stand in report.md", processes.len() - PROCESSES)?;
    }
    writeln!(text)
}

/// Idle causes, the longest gap, and copies, each on a line of its own where there are any.
fn write_causes(text: &mut String, device: &DeviceReport, window: u64) -> std::fmt::Result {
    let causes: Vec<String> = words::causes(device)
        .iter()
        // What would read 0.0 % stands in the report.
        .filter(|(_, ns)| words::percent(*ns, window) >= 0.05)
        .map(|(cause, ns)| format!("{cause} {:.1} %", words::percent(*ns, window)))
        .collect();
    if !causes.is_empty() {
        write!(text, "  Idle by cause: {}", causes.join(", "))?;
        if let Some(gap) = device.gaps.first() {
            let longest = words::duration(gap.end.since(gap.start).unwrap_or(0));
            write!(text, "; {}, longest {longest}", words::count(device.gap_count, "gap"))?;
        }
        writeln!(text)?;
    }
    if device.copies_inclusive > 0 {
        writeln!(
            text,
            "  Copies: {} in all, {} of it while nothing else ran",
            words::duration(device.copies_inclusive),
            words::duration(device.copies_exclusive)
        )?;
    }
    Ok(())
}

fn write_steps(text: &mut String, capture: &Capture, position: usize) -> std::fmt::Result {
    for steps in capture.report.steps.iter().filter(|steps| steps.device == position) {
        let phases: Vec<String> = steps
            .phases
            .iter()
            .filter(|(_, stats)| stats.count > 0)
            .map(|(phase, stats)| {
                let mean = words::duration(stats.total.checked_div(stats.count).unwrap_or(0));
                let batch = match stats.batch.count() {
                    0 => String::new(),
                    _ => format!(", batch {} on average", words::batch_mean(&stats.batch)),
                };
                format!("{} {} of {mean}{batch}", words::grouped(stats.count), phase.as_str())
            })
            .collect();
        if phases.is_empty() {
            continue;
        }
        let info = capture.processes.get(&steps.process);
        let title = info.map_or_else(|| "process".to_owned(), words::process_title);
        writeln!(text, "  Steps of {title}: {}", phases.join("; "))?;
    }
    Ok(())
}

fn write_bars(text: &mut String, time: &Exclusive, window: u64) -> std::fmt::Result {
    for (name, ns) in words::parts(time) {
        let share = words::percent(ns, window);
        writeln!(
            text,
            "{}",
            format!("    {name:<13} {:>9} {share:>5.1} %  {}", words::duration(ns), bar(share))
                .trim_end()
        )?;
    }
    Ok(())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a bar: 0 to BAR"
)]
fn bar(share: f64) -> String {
    let filled = (share / 100.0 * f64::from(BAR)).round() as usize;
    // Something that is there is never drawn as nothing.
    if share > 0.0 && filled == 0 { ".".to_owned() } else { "#".repeat(filled) }
}

/// One line that says how it went.
pub fn verdict(capture: &Capture, findings: &[Finding]) -> String {
    let report = &capture.report;
    let simulated = if capture.simulated() { "SIMULATED: " } else { "" };
    if let Some(finding) = findings.iter().find(|finding| finding.severity > Severity::Info) {
        return format!("{simulated}{}", finding.text);
    }
    let window: u64 = report.devices.iter().map(words::window_ns).sum();
    let idle: u64 = report.devices.iter().map(|device| device.exclusive.idle).sum();
    let kernels: u64 = report.devices.iter().map(|device| device.kernels).sum();
    let mut causes = std::collections::BTreeMap::<&str, u64>::new();
    for (cause, ns) in report.devices.iter().flat_map(words::causes) {
        let sum = causes.entry(cause).or_default();
        *sum = sum.saturating_add(ns);
    }
    let mostly = match causes.iter().max_by_key(|&(_, &ns)| ns) {
        Some((cause, _)) => format!(" (mostly {cause})"),
        None => String::new(),
    };
    format!(
        "{simulated}{} on {}, idle {:.1} % of the time{mostly}, nothing lost",
        words::count(kernels, "kernel"),
        words::count(report.devices.len() as u64, "GPU"),
        words::percent(idle, window)
    )
}

/// The last line of every command.
pub fn last_line(verdict: &str, next: &str) -> String {
    format!("{verdict}. Next: `{next}`")
}
