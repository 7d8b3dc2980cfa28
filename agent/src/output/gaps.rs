//! Idle gaps in words: the same few lines in `warplens gaps`, in `report.md` and on the terminal.

use std::collections::BTreeMap;

use super::json::{Gap, GapLaunch, HostBound};
use super::words;
use analysis::report::{HostState, IdleCause};

/// Frames shown of the stack that launched, those nearest the launch.
const FRAMES: usize = 3;

/// Places of a late thread shown of one gap, and of a device.
const PLACES: usize = 3;

/// Causes of a gap with their time, most first; equal ones by name.
pub(crate) fn causes(gap: &Gap) -> Vec<(&str, u64)> {
    let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
    for part in &gap.parts {
        let sum = sums.entry(&part.cause).or_default();
        *sum = sum.saturating_add(part.end_ns.saturating_sub(part.start_ns));
    }
    let mut list: Vec<_> = sums.into_iter().filter(|&(_, ns)| ns > 0).collect();
    list.sort_by_key(|&(cause, ns)| (std::cmp::Reverse(ns), cause));
    list
}

/// `host_bound 80 %, sync 20 %`.
pub(crate) fn why(gap: &Gap) -> String {
    let list: Vec<String> = causes(gap)
        .iter()
        .map(|(cause, ns)| match words::percent(*ns, gap.duration_ns) {
            share if share < 0.5 => format!("{cause} <1 %"),
            share => format!("{cause} {share:.0} %"),
        })
        .collect();
    if list.is_empty() { "not told".to_owned() } else { list.join(", ") }
}

/// `kernel that ran last -> kernel that ended it`.
pub(crate) fn between(gap: &Gap, width: usize) -> String {
    let side = |name: &Option<String>, none: &str| match name {
        Some(name) => words::shorten(name, width),
        None => none.to_owned(),
    };
    format!("{} -> {}", side(&gap.before, "[start]"), side(&gap.after, "[end]"))
}

/// Who launched what ended the gap, when, and from where; one sentence without its stop.
pub(crate) fn launcher(gap: &Gap) -> String {
    let Some(launch) = &gap.launch else {
        return "the launch that ended it is not known".to_owned();
    };
    let GapLaunch { pid, title, thread, enter_ns, graph } = launch;
    let what = if *graph { "graph launch" } else { "launch" };
    let when = match enter_ns.checked_sub(gap.start_ns) {
        Some(0) => "as it began".to_owned(),
        Some(ns) => format!("{} after it began", words::duration(ns)),
        None => {
            let ns = gap.start_ns.saturating_sub(*enter_ns);
            format!("{} before it began", words::duration(ns))
        }
    };
    let title = if title.is_empty() { "process" } else { title };
    let mut text = format!("{what} {when} by {title} (pid {pid}) thread {thread}");
    match &gap.stack {
        Some(stack) if !stack.is_empty() => {
            let from = stack.len().saturating_sub(FRAMES);
            let shown: Vec<String> = stack
                .get(from..)
                .unwrap_or_default()
                .iter()
                .map(|frame| words::shorten(frame, 60))
                .collect();
            let cut = if from > 0 { "... > " } else { "" };
            text.push_str(", in ");
            text.push_str(cut);
            text.push_str(&shown.join(" > "));
        }
        _ => text.push_str(", its stack was not sampled"),
    }
    text
}

/// The synchronisation call that was open when the gap began, if one was.
pub(crate) fn waited(gap: &Gap) -> Option<String> {
    let sync = gap.sync?;
    let length = words::duration(sync.end_ns.saturating_sub(sync.start_ns));
    let into = sync.end_ns.min(gap.end_ns).saturating_sub(gap.start_ns);
    Some(format!(
        "its thread sat in a synchronisation call of {length} until {} into the gap",
        words::duration(into)
    ))
}

/// What the launching thread did while it was late, if it was looked at.
pub(crate) fn meanwhile(gap: &Gap) -> Option<String> {
    let late = causes(gap).iter().find(|(cause, _)| *cause == HOST_BOUND).map(|&(_, ns)| ns)?;
    let mut places = Places::default();
    for host in &gap.host {
        places.add(&host.frame, false, host.total_ns.saturating_sub(host.asleep_ns), host.samples);
        places.add(&host.frame, true, host.asleep_ns, 0);
    }
    let list = places.list(late);
    let list: Vec<String> = list.iter().take(PLACES).map(|place| place.text(80)).collect();
    (!list.is_empty()).then(|| format!("meanwhile the thread was {}", list.join(", ")))
}

/// Where the hosts of a device were in the `late` ns of its host-bound time, most first.
pub(crate) fn late_places(stacks: &[HostBound], late: u64) -> Vec<Place<'_>> {
    let mut places = Places::default();
    for HostBound { state, frame, samples, total_ns, .. } in stacks {
        places.add(frame, state == HostState::Asleep.as_str(), *total_ns, *samples);
    }
    places.list(late)
}

const HOST_BOUND: &str = IdleCause::HostBound.as_str();

/// Time by frame, running and asleep apart.
#[derive(Default)]
struct Places<'g>(BTreeMap<(&'g str, bool), (u64, u64)>);

impl<'g> Places<'g> {
    fn add(&mut self, frame: &'g str, asleep: bool, ns: u64, samples: u64) {
        if ns > 0 {
            let (sum, seen) = self.0.entry((frame, asleep)).or_default();
            *sum = sum.saturating_add(ns);
            *seen = seen.saturating_add(samples);
        }
    }

    fn list(self, all: u64) -> Vec<Place<'g>> {
        let place = |((frame, asleep), (ns, samples))| Place { frame, asleep, ns, samples, all };
        let mut list: Vec<Place<'g>> = self.0.into_iter().map(place).collect();
        list.sort_by_key(|place| std::cmp::Reverse(place.ns));
        list
    }
}

/// Where a late thread was.
pub(crate) struct Place<'g> {
    pub(crate) frame: &'g str,
    pub(crate) asleep: bool,
    pub(crate) ns: u64,
    pub(crate) samples: u64,
    /// Host-bound time, of which `ns` is a part.
    all: u64,
}

impl Place<'_> {
    pub(crate) fn share(&self) -> f64 {
        words::percent(self.ns, self.all)
    }

    /// `in module.function (file.py:7) 62 %`, `asleep in ... 30 %`.
    pub(crate) fn text(&self, width: usize) -> String {
        let asleep = if self.asleep { "asleep " } else { "" };
        format!("{asleep}in {} {:.0} %", words::shorten_front(self.frame, width), self.share())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::fixture;
    use crate::output::json::Document;

    #[test]
    fn a_gap_says_why_and_who() {
        let document = Document::of(&fixture::capture());
        let told: Vec<String> = document
            .devices
            .iter()
            .flat_map(|device| &device.idle_gaps)
            .map(|gap| {
                format!(
                    "{} | {} | {} | {} | {}",
                    why(gap),
                    between(gap, 20),
                    launcher(gap),
                    waited(gap).unwrap_or_default(),
                    meanwhile(gap).unwrap_or_default()
                )
            })
            .collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
