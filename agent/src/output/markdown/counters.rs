//! The report's table of counters, one row a process.

use std::fmt::Write;

use super::cell;
use crate::capture::{Capture, ProcessCounters};
use crate::output::words;
use crate::perf::Counter;

pub(super) fn write(text: &mut String, capture: &Capture) -> std::fmt::Result {
    let counted: Vec<&ProcessCounters> =
        capture.counters.iter().filter(|counted| !counted.reading.counts.is_empty()).collect();
    if counted.is_empty() {
        return Ok(());
    }
    writeln!(text, "## What the host's counters say\n")?;
    writeln!(
        text,
        "Of all threads of each process, since it was met; `-`: this machine does not have it, `~`: counted part \
         of the time and scaled up.\n"
    )?;
    writeln!(
        text,
        "| process | on the CPU | cycles | instructions | per cycle | context switches | page faults | \
         migrations |"
    )?;
    writeln!(text, "|---|---:|---:|---:|---:|---:|---:|---:|")?;
    for process in &counted {
        let title = capture.processes.get(&process.process).map(words::role_title);
        writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            cell(title.as_deref().unwrap_or("process")),
            figure(process, Counter::TaskClock, words::duration),
            figure(process, Counter::Cycles, words::grouped),
            figure(process, Counter::Instructions, words::grouped),
            per_cycle(process),
            figure(process, Counter::ContextSwitches, words::grouped),
            figure(process, Counter::PageFaults, words::grouped),
            figure(process, Counter::Migrations, words::grouped)
        )?;
    }
    writeln!(text)?;
    let left_out: u64 = counted.iter().map(|process| process.reading.threads_left_out).sum();
    if left_out > 0 {
        writeln!(
            text,
            "{} not counted: a process has more than 256, or the agent may not open as many files \
             (`LimitNOFILE=`).\n",
            words::count(left_out, "thread")
        )?;
    }
    Ok(())
}

fn figure(process: &ProcessCounters, wanted: Counter, text: fn(u64) -> String) -> String {
    let found = process.reading.counts.iter().find(|(counter, _)| *counter == wanted);
    found.map_or_else(
        || "-".to_owned(),
        |(_, count)| format!("{}{}", if count.scaled { "~" } else { "" }, text(count.value)),
    )
}

#[expect(clippy::cast_precision_loss, reason = "shown with two decimals")]
fn per_cycle(process: &ProcessCounters) -> String {
    let value = |wanted| {
        let found = process.reading.counts.iter().find(|(counter, _)| *counter == wanted);
        found.map(|(_, count)| count.value)
    };
    match (value(Counter::Cycles), value(Counter::Instructions)) {
        (Some(cycles), Some(instructions)) if cycles > 0 => {
            format!("{:.2}", instructions as f64 / cycles as f64)
        }
        _ => "-".to_owned(),
    }
}
