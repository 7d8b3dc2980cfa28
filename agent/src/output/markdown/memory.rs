//! What processes hold of memory, and what of it grows.

use std::fmt::Write;

use analysis::memory::bytes_text;

use super::{cell, code};
use crate::capture::{Capture, ProcessMemory, Stack};
use crate::output::words;

/// Sites listed of a process; report.json has more.
const SITES: usize = 10;

pub(super) fn write(text: &mut String, capture: &Capture) -> std::fmt::Result {
    if capture.memory.is_empty() {
        return Ok(());
    }
    writeln!(text, "## What holds memory\n")?;
    writeln!(
        text,
        "What CUDA calls took and did not give back since they are told; memory of caching allocators is what they \
         took of the driver. `leaks` looks for longer and says more.\n"
    )?;
    for memory in &capture.memory {
        process(text, capture, memory)?;
    }
    Ok(())
}

fn process(text: &mut String, capture: &Capture, memory: &ProcessMemory) -> std::fmt::Result {
    let title = capture.processes.get(&memory.process).map(words::role_title);
    writeln!(text, "### {}\n", cell(title.as_deref().unwrap_or("process")))?;
    writeln!(text, "| where | live | blocks | verdict | confidence | growth |")?;
    writeln!(text, "|---|---:|---:|---|---:|---:|")?;
    for found in &memory.findings {
        let of_it = memory.sites.iter().filter(|site| site.place == found.place);
        let blocks: u64 = of_it.map(|site| site.live.blocks).sum();
        let growth = found.rate.map_or_else(
            || "-".to_owned(),
            |rate| {
                format!(
                    "{}/s ({} to {})",
                    bytes_text(rate.value),
                    bytes_text(rate.low),
                    bytes_text(rate.high)
                )
            },
        );
        writeln!(
            text,
            "| {} | {} | {} | {} | {:.2} | {growth} |",
            found.place.name(),
            words::bytes(found.live_bytes),
            words::grouped(blocks),
            found.kind.name(),
            found.confidence
        )?;
    }
    writeln!(text)?;
    for found in memory.findings.iter().filter(|found| found.is_problem()) {
        writeln!(
            text,
            "**{} of {}**: {}.\n",
            found.kind.name(),
            found.place.name(),
            found.evidence.join("; ")
        )?;
        if let Some(stack) = found.culprit.stack().and_then(|id| capture.stacks.get(&id)) {
            for frame in &stack.frames {
                writeln!(text, "- {}", code(&words::frame(frame)))?;
            }
            writeln!(text)?;
        }
        writeln!(text, "Next: {}.\n", found.next_step)?;
    }
    for site in memory.sites.iter().filter(|site| site.live.bytes > 0).take(SITES) {
        let stack = site.stack().and_then(|id| capture.stacks.get(&id));
        let frame = stack.and_then(caller);
        writeln!(
            text,
            "- {} in {} of {}: {}",
            words::bytes(site.live.bytes),
            words::count(site.live.blocks, "block"),
            site.place.name(),
            frame.map_or_else(|| "[stack not taken]".to_owned(), |frame| code(&frame))
        )?;
    }
    writeln!(text)?;
    let mut unseen = memory.unseen.sentences();
    if memory.without_stack > 0 {
        unseen.push(format!(
            "{} took memory and their stack was not taken",
            words::count(memory.without_stack, "call")
        ));
    }
    for sentence in unseen {
        writeln!(text, "- not seen: {sentence}")?;
    }
    writeln!(text)
}

/// Who called CUDA: the innermost Python frame, or where there is none the innermost that is not CUDA's.
fn caller(stack: &Stack) -> Option<String> {
    let called = stack.frames.iter().rev().take_while(|frame| frame.function.starts_with("cu"));
    let frames = stack.frames[..stack.frames.len() - called.count()].to_vec();
    words::telling(&Stack { frames, cut: stack.cut }).or_else(|| words::telling(stack))
}
