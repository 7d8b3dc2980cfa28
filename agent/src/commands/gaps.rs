//! `gaps`: the longest stretches in which a GPU had nothing to do, and why.

use std::fmt::Write;

use serde::Serialize;

use super::{CommandError, Exit, load, screen};
use analysis::report::IdleCause;

use crate::cli::GapsArgs;
use crate::output::json::{Device, Document, Gap};
use crate::output::{gaps as tell, summary, words};
use crate::rules;

/// Places of a late host listed for a device; report.json has more.
const LATE_PLACES: usize = 5;

pub fn run(args: &GapsArgs) -> Result<Exit, CommandError> {
    let classifier = rules::from_files(&args.rules.rules)?;
    let documents = load::documents(&args.files, &classifier)?;
    let chosen = choose(&documents, args);
    let verdict = verdict(&documents);
    let next = next(&documents, args);
    if args.json {
        let mut text = String::new();
        for (device, gap) in &chosen {
            let line = Line {
                device: device.index,
                uuid: device.uuid.as_deref(),
                simulated: device.simulated,
                gap,
            };
            let line = serde_json::to_string(&line).map_err(crate::output::OutputError::Json)?;
            text.push_str(&line);
            text.push('\n');
        }
        screen::out(text.as_bytes()).map_err(CommandError::Stdout)?;
        screen::say(&summary::last_line(&verdict, &next));
    } else {
        let mut text = String::new();
        match write_table(&mut text, &documents, &chosen, args.cause) {
            // Writing to a String does not fail.
            Ok(()) | Err(std::fmt::Error) => {}
        }
        text.push_str(&summary::last_line(&verdict, &next));
        text.push('\n');
        screen::out(text.as_bytes()).map_err(CommandError::Stdout)?;
    }
    Ok(Exit::Ok)
}

/// A gap as one line of JSON.
#[derive(Serialize)]
struct Line<'d> {
    device: u32,
    uuid: Option<&'d str>,
    simulated: bool,
    #[serde(flatten)]
    gap: &'d Gap,
}

/// What was asked for, longest first; with a cause, longest in that cause first.
fn choose<'d>(documents: &'d [Document], args: &GapsArgs) -> Vec<(&'d Device, &'d Gap)> {
    let least = args.min_us.saturating_mul(1_000);
    let length = |gap: &Gap| match args.cause {
        None => gap.duration_ns,
        Some(cause) => time_of(gap, cause),
    };
    let mut chosen: Vec<(&Device, &Gap)> = documents
        .iter()
        .flat_map(|document| &document.devices)
        .flat_map(|device| device.idle_gaps.iter().map(move |gap| (device, gap)))
        .filter(|(_, gap)| length(gap) >= least.max(1))
        .collect();
    // Stable: equal ones stay in the order of devices and reports.
    chosen.sort_by_key(|(_, gap)| std::cmp::Reverse(length(gap)));
    chosen.truncate(args.limit);
    chosen
}

fn time_of(gap: &Gap, cause: IdleCause) -> u64 {
    tell::causes(gap).iter().filter(|(name, _)| *name == cause.as_str()).map(|&(_, ns)| ns).sum()
}

fn write_table(
    text: &mut String,
    documents: &[Document],
    chosen: &[(&Device, &Gap)],
    cause: Option<IdleCause>,
) -> std::fmt::Result {
    if documents.iter().any(|document| document.simulated) {
        writeln!(text, "{}\n", summary::SIMULATED_BANNER)?;
    }
    for device in documents.iter().flat_map(|document| &document.devices) {
        let kept = device.idle_gaps.len() as u64;
        let known = if kept < device.idle_gap_count {
            format!("; the {} longest are known", words::grouped(kept))
        } else {
            String::new()
        };
        writeln!(
            text,
            "{}: idle {} of {} ({:.1} %) in {}{known}",
            title(device),
            words::duration(device.exclusive_ns.idle),
            words::duration(device.window_ns),
            words::percent(device.exclusive_ns.idle, device.window_ns),
            words::count(device.idle_gap_count, "gap"),
        )?;
        for (cause, &ns) in device.idle_cause_ns.iter().filter(|&(_, &ns)| ns > 0) {
            writeln!(
                text,
                "    {cause:<14} {:>9} {:>5.1} %  {}",
                words::duration(ns),
                words::percent(ns, device.window_ns),
                words::idle_meaning(cause)
            )?;
            if cause == IdleCause::HostBound.as_str() {
                write_late_places(text, device, ns)?;
            }
        }
    }
    writeln!(text)?;
    if chosen.is_empty() {
        let of = cause.map_or(String::new(), |cause| format!(" of cause {}", cause.as_str()));
        writeln!(text, "No gap{of} is as long as asked for.\n")?;
        return Ok(());
    }
    writeln!(text, "{:<9} {:>12} {:>9}  why; what ran before -> after", "GPU", "when", "long")?;
    for (device, gap) in chosen {
        let after = gap.start_ns.saturating_sub(device.window.start_ns);
        writeln!(
            text,
            "{:<9} {:>12} {:>9}  {}; {}",
            format!("GPU {}", device.index),
            format!("+{}", words::duration(after)),
            words::duration(gap.duration_ns),
            tell::why(gap),
            tell::between(gap, 40)
        )?;
        writeln!(text, "{:34}{}", "", tell::launcher(gap))?;
        for more in [tell::waited(gap), tell::meanwhile(gap)].into_iter().flatten() {
            writeln!(text, "{:34}{more}", "")?;
        }
    }
    writeln!(text)
}

/// Which code the host was late in.
fn write_late_places(text: &mut String, device: &Device, late: u64) -> std::fmt::Result {
    for place in tell::late_places(&device.host_bound, late).iter().take(LATE_PLACES) {
        let how = match (place.asleep, place.samples) {
            (true, _) => "asleep".to_owned(),
            (false, samples) => words::count(samples, "sample"),
        };
        let (time, share) = (words::duration(place.ns), place.share());
        let frame = words::shorten_front(place.frame, 100);
        writeln!(text, "{:8}{time:>9} {share:>5.1} % of it in {frame} ({how})", "")?;
    }
    Ok(())
}

fn title(device: &Device) -> String {
    let simulated = if device.simulated { " SIMULATED" } else { "" };
    format!("GPU {}{simulated}", device.index)
}

/// Idle time by cause over all devices, most first.
fn causes(documents: &[Document]) -> Vec<(&str, u64)> {
    let mut sums = std::collections::BTreeMap::<&str, u64>::new();
    for device in documents.iter().flat_map(|document| &document.devices) {
        for (cause, &ns) in &device.idle_cause_ns {
            let sum = sums.entry(cause).or_default();
            *sum = sum.saturating_add(ns);
        }
    }
    let mut list: Vec<_> = sums.into_iter().filter(|&(_, ns)| ns > 0).collect();
    list.sort_by_key(|&(cause, ns)| (std::cmp::Reverse(ns), cause));
    list
}

fn verdict(documents: &[Document]) -> String {
    let devices = || documents.iter().flat_map(|document| &document.devices);
    let simulated =
        if documents.iter().any(|document| document.simulated) { "SIMULATED: " } else { "" };
    let window = devices().map(|device| device.window_ns).fold(0, u64::saturating_add);
    let idle = devices().map(|device| device.exclusive_ns.idle).fold(0, u64::saturating_add);
    let gaps = devices().map(|device| device.idle_gap_count).fold(0, u64::saturating_add);
    if window == 0 {
        return format!("{simulated}no GPU time was observed");
    }
    let mut text = format!(
        "{simulated}idle {:.1} % of {} of GPU time, in {}",
        words::percent(idle, window),
        words::duration(window),
        words::count(gaps, "gap")
    );
    if let Some((cause, ns)) = causes(documents).first() {
        let meaning = words::idle_meaning(cause);
        let part = format!(", {:.0} % of it {cause} ({meaning})", words::percent(*ns, idle));
        text.push_str(&part);
    }
    text
}

/// What to look at after this.
fn next(documents: &[Document], args: &GapsArgs) -> String {
    let file = args.files.first().map_or("FILE".into(), |file| file.display().to_string());
    let host_bound = causes(documents).iter().any(|(cause, _)| *cause == "host_bound");
    if args.cause.is_none() && host_bound {
        format!("warplens gaps {file} --cause host_bound")
    } else {
        format!("warplens analyze {file} -o warplens-out")
    }
}

#[cfg(test)]
mod tests;
