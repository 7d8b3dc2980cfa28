//! The report's section on the host: what processes did on the CPU, what they waited for, and in
//! which Python functions.

use std::fmt::Write;

use super::{cell, code};
use crate::capture::Capture;
use crate::output::host::{HostProcess, functions, notable, processes};
use crate::output::{layers, words};

/// Python functions listed of a process, those that run and then those that wait; report.json has more.
const FUNCTIONS: usize = 10;
const WAITING: usize = 5;

pub(super) fn write(text: &mut String, capture: &Capture) -> std::fmt::Result {
    let processes = processes(capture);
    if processes.is_empty() {
        return Ok(());
    }
    writeln!(text, "## What the host did\n")?;
    writeln!(
        text,
        "Summed over the threads of each process, so that time off the CPU exceeds wall time by far. \
         Short sleeps are not told; time on the CPU is {} samples a second.\n",
        capture.info.cpu_hz
    )?;
    writeln!(
        text,
        "| process | on the CPU | off the CPU | waiting for | interpreter lock held | awaited | \
         stacks with root | leaf in code of no file |"
    )?;
    writeln!(text, "|---|---:|---:|---|---:|---:|---:|---:|")?;
    for process in &processes {
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            cell(&title(process)),
            words::duration(process.cpu_ns),
            words::duration(process.off_cpu_ns),
            waits(process),
            words::duration(process.gil.held_ns),
            words::duration(process.gil.waited_ns),
            share(process.rooted, process.samples),
            share(process.leaf_anonymous, process.samples)
        )?;
    }
    writeln!(text)?;
    processes.iter().try_for_each(|process| write_functions(text, capture, process))
}

fn write_functions(
    text: &mut String,
    capture: &Capture,
    process: &HostProcess<'_>,
) -> std::fmt::Result {
    let functions = functions(capture, process);
    if functions.is_empty() {
        return Ok(());
    }
    let all = process.cpu_ns;
    writeln!(text, "### Python of {}\n", cell(&title(process)))?;
    writeln!(
        text,
        "| function | layer | own, on the CPU | with callees | own, off the CPU | with callees |"
    )?;
    writeln!(text, "|---|---|---:|---:|---:|---:|")?;
    let notable = notable(&functions, FUNCTIONS, WAITING);
    for function in &notable {
        let (own, whole) = (function.own, function.whole);
        writeln!(
            text,
            "| {} | {} | {} ({:.1} %) | {} | {} | {} |",
            code(&words::shorten(&function.frame.function, 90)),
            layers::layer(function.frame).map_or("", layers::Layer::as_str),
            words::duration(own.on),
            words::percent(own.on, all),
            words::duration(whole.on),
            words::duration(own.off),
            words::duration(whole.off)
        )?;
    }
    if functions.len() > notable.len() {
        writeln!(text, "\n{} more were seen.", functions.len() - notable.len())?;
    }
    writeln!(text)
}

fn title(process: &HostProcess<'_>) -> String {
    process.info.map_or_else(|| "process".to_owned(), words::role_title)
}

/// `queue 61.0 %, gil 22.0 %`: at most three reasons, most first.
fn waits(process: &HostProcess<'_>) -> String {
    let mut reasons: Vec<_> = process.by_reason.iter().filter(|&(_, &ns)| ns > 0).collect();
    reasons.sort_by_key(|&(_, &ns)| std::cmp::Reverse(ns));
    let text = |(reason, ns): &(&analysis::wait::WaitReason, &u64)| {
        format!("{} {:.1} %", reason.as_str(), words::percent(**ns, process.off_cpu_ns))
    };
    reasons.iter().take(3).map(text).collect::<Vec<_>>().join(", ")
}

fn share(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.1} %", words::percent(part, whole)) }
}
