//! The words every output shares: names of causes and reasons, titles of GPUs and workers,
//! durations and shares as people read them.

use std::collections::BTreeMap;

use analysis::classify::{Class, Kind};
use analysis::event::{DeviceInfo, ProcessInfo};
use analysis::ids::{NameId, Thread};
use analysis::report::{DeviceReport, Exclusive, Histogram, IdleCause, Report, UnobservedReason};

use crate::capture::{Frame, Language, Stack};

/// Stands where a name's id leads nowhere.
pub(crate) const NAME_UNKNOWN: &str = "[name unknown]";

pub(crate) fn idle_cause(cause: IdleCause) -> &'static str {
    match cause {
        IdleCause::NoRequests => "no_requests",
        IdleCause::HostBound => "host_bound",
        IdleCause::Sync => "sync",
        IdleCause::Dependency => "dependency",
        IdleCause::LaunchLatency => "launch_latency",
        IdleCause::Unknown => "unknown",
    }
}

/// Idle time of a device by cause, most first.
pub(crate) fn causes(device: &DeviceReport) -> Vec<(&'static str, u64)> {
    let mut list: Vec<_> = device
        .idle_cause
        .iter()
        .filter(|&(_, &ns)| ns > 0)
        .map(|(&cause, &ns)| (idle_cause(cause), ns))
        .collect();
    list.sort_by_key(|&(_, ns)| std::cmp::Reverse(ns));
    list
}

/// What a cause means, by its spelling, for people.
pub(crate) fn idle_meaning(cause: &str) -> &'static str {
    match cause {
        "no_requests" => "the server had nothing to do",
        "host_bound" => "the next launch came late",
        "sync" => "the launching thread waited for the device that had run dry",
        "dependency" => "work was queued and waited for another stream or a peer",
        "launch_latency" => "work was queued and on its way",
        _ => "nothing tells why",
    }
}

pub(crate) fn unobserved_reason(reason: UnobservedReason) -> &'static str {
    match reason {
        UnobservedReason::Arming => "arming",
        UnobservedReason::InvalidRecord => "invalid_record",
        UnobservedReason::LostRecord => "lost_record",
        UnobservedReason::Unfinished => "unfinished",
        UnobservedReason::NotArmed => "not_armed",
    }
}

/// What a reason means, for people.
pub(crate) fn unobserved_meaning(reason: UnobservedReason) -> &'static str {
    match reason {
        UnobservedReason::Arming => "work launched before observation began may still have run",
        UnobservedReason::InvalidRecord => "a record came without timestamps",
        UnobservedReason::LostRecord => "records were lost",
        UnobservedReason::Unfinished => "a launch stayed without its record",
        UnobservedReason::NotArmed => "the process ended or was not observed",
    }
}

pub(crate) fn window_ns(device: &DeviceReport) -> u64 {
    device.window.end.since(device.window.start).unwrap_or(0)
}

/// Summed durations of a device's kernels, ns.
pub(crate) fn kernels_ns(device: &DeviceReport) -> u64 {
    device.totals.iter().map(|total| total.total).fold(0, u64::saturating_add)
}

/// The bound below which at least half of a histogram of step durations lies, as `<= 20.0 ms`.
pub(crate) fn step_median(histogram: &Histogram) -> String {
    let half = histogram.count().div_ceil(2);
    let mut below = 0u64;
    let place = histogram.counts.iter().position(|&count| {
        below = below.saturating_add(count);
        below >= half && below > 0
    });
    match place.map(|place| Histogram::DURATION_NS.get(place)) {
        Some(Some(&bound)) => format!("<= {}", duration(bound)),
        Some(None) => {
            let last = Histogram::DURATION_NS.last().copied().unwrap_or(0);
            format!("> {}", duration(last))
        }
        None => "-".to_owned(),
    }
}

/// The mean batch size, `-` where nothing tells.
#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
pub(crate) fn batch_mean(histogram: &Histogram) -> String {
    match histogram.count() {
        0 => "-".to_owned(),
        count => format!("{:.1}", histogram.sum as f64 / count as f64),
    }
}

/// The parts of a window in the order every output shows them.
pub(crate) fn parts(time: &Exclusive) -> [(&'static str, u64); 6] {
    let &Exclusive { attention, gemm, communication, other, idle, unobserved } = time;
    [
        ("attention", attention),
        ("gemm", gemm),
        ("communication", communication),
        ("other", other),
        ("idle", idle),
        ("unobserved", unobserved),
    ]
}

pub(crate) fn kernel_name(report: &Report, name: NameId) -> &str {
    usize::try_from(name.0)
        .ok()
        .and_then(|index| report.names.get(index))
        .map_or(NAME_UNKNOWN, String::as_str)
}

/// What a device spent most time in: kernels with their count, and copies and sets, which have none.
pub(crate) fn heaviest(report: &Report, position: usize) -> Vec<Heavy> {
    let Some(device) = report.devices.get(position) else {
        return Vec::new();
    };
    let mut list: Vec<Heavy> = device
        .totals
        .iter()
        .map(|total| Heavy {
            name: total.name,
            class: total.class,
            kind: total.kind,
            count: Some(total.count),
            total: total.total,
        })
        .collect();
    let mut copies: BTreeMap<NameId, Heavy> = BTreeMap::new();
    for time in report.stacks.iter().filter(|time| time.device == position) {
        if list.iter().any(|heavy| heavy.count.is_some() && heavy.name == time.name)
            || !matches!(time.kind, Kind::Memcpy | Kind::Memset)
        {
            continue;
        }
        let copy = copies.entry(time.name).or_insert(Heavy {
            name: time.name,
            class: time.class,
            kind: time.kind,
            count: None,
            total: 0,
        });
        copy.total = copy.total.saturating_add(time.total);
    }
    list.extend(copies.into_values());
    list.sort_by_key(|heavy| std::cmp::Reverse(heavy.total));
    list
}

/// One line of a list of kernels and copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Heavy {
    pub(crate) name: NameId,
    pub(crate) class: Class,
    pub(crate) kind: Kind,
    /// `None` for copies and sets.
    pub(crate) count: Option<u64>,
    pub(crate) total: u64,
}

impl Heavy {
    pub(crate) fn count_text(&self) -> String {
        self.count.map_or_else(|| "-".to_owned(), grouped)
    }
}

/// `GPU 0`, or `GPU 0 SIMULATED`.
pub(crate) fn gpu_title(info: &DeviceInfo) -> String {
    let simulated = if info.simulated { " SIMULATED" } else { "" };
    format!("GPU {}{simulated}", info.index)
}

/// `VLLM::Worker_TP0 (pid 123)`.
pub(crate) fn process_title(info: &ProcessInfo) -> String {
    let title = if info.title.is_empty() { "process" } else { info.title.as_str() };
    format!("{title} (pid {})", info.pid)
}

/// A frame with its place: `module.qualname (file.py:7)` of Python, the function of others.
pub(crate) fn frame(frame: &Frame) -> String {
    let Frame { language, function, module: _, file, line } = frame;
    match (language, file, line) {
        (Language::Python, Some(file), Some(line)) => {
            let name = file.rsplit('/').next().unwrap_or(file);
            format!("{function} ({name}:{line})")
        }
        _ => function.clone(),
    }
}

/// The frame that says best where a thread was: the innermost one of Python; without Python, the
/// innermost one that is code.
pub(crate) fn telling(stack: &Stack) -> Option<String> {
    let innermost = |of: fn(Language) -> bool| {
        stack.frames.iter().rev().find(|frame| of(frame.language)).map(|at| frame(at))
    };
    innermost(|language| language == Language::Python)
        .or_else(|| innermost(|language| language != Language::Remark))
}

/// `worker TP0 (VLLM::Worker_TP0, pid 123)`; of a process without a role its title.
pub(crate) fn role_title(info: &ProcessInfo) -> String {
    if matches!(info.role.as_str(), "" | "process") {
        return process_title(info);
    }
    format!("{} ({}, pid {})", role_and_rank(info), info.title, info.pid)
}

/// `worker TP0`.
pub(crate) fn role_and_rank(info: &ProcessInfo) -> String {
    let space = if info.rank.is_empty() { "" } else { " " };
    format!("{}{space}{}", info.role, info.rank)
}

/// `main thread`, `ZMQbg/IO/0 (thread 124)`, `thread 125`.
pub(crate) fn thread_title(thread: Thread, pid: Option<u32>, name: Option<&str>) -> String {
    match name {
        _ if pid == Some(thread.0) => "main thread".to_owned(),
        Some(name) if !name.is_empty() => format!("{name} (thread {})", thread.0),
        _ => format!("thread {}", thread.0),
    }
}

/// Parts of `whole` in per cent; 0 of nothing.
#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
pub(crate) fn percent(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 }
}

/// `1.234 s`, `56.7 ms`, `890 ns`: three to four digits.
#[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
pub(crate) fn duration(ns: u64) -> String {
    let value = ns as f64;
    match ns {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} us", value / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", value / 1e6),
        _ => format!("{:.3} s", value / 1e9),
    }
}

/// `90 B`, `1.5 MiB`.
#[expect(clippy::cast_precision_loss, reason = "shown with few digits")]
pub(crate) fn bytes(bytes: u64) -> String {
    analysis::memory::bytes_text(bytes as f64)
}

/// `1 GPU`, `2 GPUs`, `12 345 kernels`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", grouped(number))
}

/// `1 launch`, `2 launches`.
pub(crate) fn launches(number: u64) -> String {
    if number == 1 { "1 launch".to_owned() } else { format!("{} launches", grouped(number)) }
}

/// `12 345 678`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// `text` in at most `width` characters, the middle left out.
pub(crate) fn shorten(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return text.to_owned();
    }
    let keep = width.saturating_sub(3);
    let head = keep * 2 / 3;
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(count - (keep - head)).collect();
    format!("{start}...{end}")
}

/// `text` in at most `width` characters, the front left out: what tells names of Python apart
/// stands at their ends.
pub(crate) fn shorten_front(text: &str, width: usize) -> String {
    let count = text.chars().count();
    if count <= width {
        return text.to_owned();
    }
    let end: String = text.chars().skip(count - width.saturating_sub(3)).collect();
    format!("...{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_few_digits() {
        for (ns, expected) in [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_500, "1.5 us"),
            (56_700_000, "56.7 ms"),
            (1_234_000_000, "1.234 s"),
        ] {
            assert_eq!(duration(ns), expected);
        }
    }

    #[test]
    fn medians_are_bounds() {
        let check = |values: &[u64], expected: &str| {
            let mut histogram = Histogram::default();
            for &value in values {
                histogram.add(Histogram::DURATION_NS, value);
            }
            assert_eq!(step_median(&histogram), expected, "{values:?}");
        };
        check(&[], "-");
        check(&[1], "<= 500.0 us");
        check(&[1, 1_600_000, 3_000_000], "<= 2.0 ms");
        check(&[20_000_000_000], "> 10.000 s");
    }

    #[test]
    fn groups_of_three() {
        for (number, expected) in
            [(0, "0"), (999, "999"), (1_000, "1 000"), (12_345_678, "12 345 678")]
        {
            assert_eq!(grouped(number), expected);
        }
    }

    #[test]
    fn shortening_keeps_both_ends_and_the_width() {
        let short = shorten("void cutlass::device_kernel<foo>(bar)", 20);

        assert_eq!(short.chars().count(), 20);
        assert!(short.starts_with("void ") && short.ends_with("(bar)"), "{short}");
    }
}
