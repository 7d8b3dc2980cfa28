//! Holds every figure of a report against the ground truth, clipped to the report's window.

use std::collections::{BTreeMap, BTreeSet};

use sim_truth::Outcome;

use crate::judge::invalid;
use crate::judge::kernels::{Busy, KernelTable};
use crate::judge::report::{Device, Report};
use crate::judge::sweep::{Interval, Split, instant_after_gaps, sweep};
use crate::judge::truth::{GroundTruth, Piece, What};
use crate::judge::{Row, Verdict};

const CLASSES: [&str; 4] = ["attention", "gemm", "communication", "other"];

/// Compares everything that can be known exactly.
pub fn compare(truth: &GroundTruth, report: &Report, table: &KernelTable) -> Verdict {
    let mut verdict = Verdict { processes: truth.counters.len(), ..Verdict::default() };
    verdict.rows.push(row("-", "report says simulated", 1, u64::from(report.simulated)));
    verdict.rows.push(row("-", "records in another clock", 0, truth.foreign_clock));
    let lost: u64 = truth.counters.values().map(|counters| counters.lost).sum();
    verdict.rows.push(row("-", "entries the truth files lack", 0, lost));
    let mut seen = BTreeSet::new();
    for device in &report.devices {
        let uuid = device.uuid_digits().unwrap_or_default();
        let Some(pieces) = truth.devices.get(&uuid) else {
            verdict.rows.push(row(&uuid, "device exists", 0, 1));
            continue;
        };
        seen.insert(uuid.clone());
        DeviceJudge::new(truth, report, device, &uuid, pieces, table).run(&mut verdict);
    }
    for uuid in truth.devices.keys().filter(|uuid| !seen.contains(*uuid)) {
        verdict.rows.push(row(uuid, "device is in the report", 1, 0));
    }
    verdict.devices = seen.len();
    verdict
}

fn row(device: &str, what: &str, truth: impl Into<i128>, report: impl Into<i128>) -> Row {
    Row {
        device: device.to_owned(),
        what: what.to_owned(),
        truth: truth.into(),
        report: report.into(),
    }
}

/// Count and clipped total of one kernel.
#[derive(Clone, Copy, Debug, Default)]
struct Total {
    count: u64,
    ns: u128,
}

struct DeviceJudge<'a> {
    truth: &'a GroundTruth,
    report: &'a Report,
    device: &'a Device,
    uuid: &'a str,
    pieces: &'a [Piece],
    table: KernelTable,
    window: (u64, u64),
}

impl<'a> DeviceJudge<'a> {
    fn new(
        truth: &'a GroundTruth,
        report: &'a Report,
        device: &'a Device,
        uuid: &'a str,
        pieces: &'a [Piece],
        table: &KernelTable,
    ) -> Self {
        let window = (device.window.start_ns, device.window.end_ns);
        Self { truth, report, device, uuid, pieces, table: table.clone(), window }
    }

    fn run(mut self, verdict: &mut Verdict) {
        let foreign = self.adopt_unknown_names();
        if foreign > 0 {
            verdict.notes.push(format!(
                "{}: {foreign} kernel names are not in the kernel table; their class is the \
                 report's own",
                self.uuid
            ));
        }
        let (start, end) = self.window;
        self.push(verdict, "window has a length", 1, u64::from(end > start));
        self.push(verdict, "window_ns", end.saturating_sub(start), self.device.window_ns);
        self.time(verdict);
        self.kernels(verdict);
        self.workers(verdict);
    }

    fn push(
        &self,
        verdict: &mut Verdict,
        what: &str,
        truth: impl Into<i128>,
        report: impl Into<i128>,
    ) {
        verdict.rows.push(row(self.uuid, what, truth, report));
    }

    /// Gives names the table lacks the class that the report gives them; how many there were.
    fn adopt_unknown_names(&mut self) -> usize {
        let before = self.table.len();
        for kernel in self.device.kernels_listed() {
            if let Some(class) = Busy::of_class(&kernel.class) {
                self.table.insert(&kernel.name, class);
            }
        }
        self.table.len() - before
    }

    fn name(&self, piece: &Piece) -> Option<&'a str> {
        match piece.what {
            What::Kernel(name) => self.truth.names.get(name).map(String::as_str),
            What::Copy | What::Set => None,
        }
    }

    fn busy(&self, piece: &Piece) -> Busy {
        self.name(piece).map_or(Busy::Copy, |name| self.table.class(name).unwrap_or(Busy::Other))
    }

    /// Overlaps the window; without length, lies in it.
    fn in_window(&self, piece: &Piece) -> bool {
        let (start, end) = self.window;
        if piece.start == piece.end {
            start <= piece.start && piece.start < end
        } else {
            piece.start < end && piece.end > start
        }
    }

    fn clipped(&self, piece: &Piece) -> u64 {
        piece.end.min(self.window.1).saturating_sub(piece.start.max(self.window.0))
    }

    fn split(&self) -> Split {
        let intervals: Vec<Interval> = self
            .pieces
            .iter()
            .filter(|piece| piece.visible())
            .map(|piece| Interval { start: piece.start, end: piece.end, busy: self.busy(piece) })
            .collect();
        let hidden: Vec<(u64, u64)> = self
            .pieces
            .iter()
            .filter(|piece| !piece.visible())
            .map(|piece| (piece.start, piece.end))
            .collect();
        let arming = self.reason("arming");
        let drained = instant_after_gaps(&intervals, self.window, arming);
        sweep(&intervals, &invalid::spans(self.pieces), &hidden, self.window, drained)
    }

    fn reason(&self, reason: &str) -> u64 {
        self.device.unobserved_reason_ns.get(reason).copied().unwrap_or(0)
    }

    fn time(&self, verdict: &mut Verdict) {
        let split = self.split();
        let group = |busy: Busy| split.exclusive[busy.index()];
        let exclusive = |class: &str| self.device.exclusive_ns.get(class).copied().unwrap_or(0);
        let inclusive = |class: &str| self.device.inclusive_ns.get(class).copied().unwrap_or(0);
        for class in CLASSES {
            let truth: u64 =
                Busy::ALL.into_iter().filter(|busy| busy.class() == class).map(group).sum();
            self.push(verdict, &format!("exclusive {class} ns"), truth, exclusive(class));
            let truth = match class {
                "other" => split.inclusive_other,
                _ => Busy::of_class(class).map_or(0, |busy| split.inclusive[busy.index()]),
            };
            self.push(verdict, &format!("inclusive {class} ns"), truth, inclusive(class));
        }
        self.push(
            verdict,
            "compute and communication at once ns",
            split.overlap,
            self.device.compute_communication_overlap_ns,
        );
        let (idle, unobserved) = (exclusive("idle"), exclusive("unobserved"));
        let dropped = self.count(|piece| piece.outcome == Some(Outcome::Dropped));
        if dropped == 0 {
            self.push(verdict, "idle ns", split.idle, idle);
            self.push(verdict, "unobserved ns", split.unobserved(), unobserved);
            self.push(verdict, "idle in which unrecorded work ran ns", 0, split.idle_hidden);
            self.push(verdict, "lost records", 0, self.device.records.lost);
        } else {
            let gaps = split.idle + split.unobserved();
            self.push(verdict, "idle and unobserved ns", gaps, idle + unobserved);
            self.push(verdict, "losses noticed", 1, u64::from(self.device.records.lost > 0));
            verdict.notes.push(format!(
                "{}: {dropped} records in the window were dropped (the report counts {}): which gaps \
                 are unobserved for it is not judged, only their sum",
                self.uuid, self.device.records.lost
            ));
        }
        let sum: u64 = self.device.exclusive_ns.values().sum();
        self.push(verdict, "exclusive parts sum to the window ns", self.device.window_ns, sum);
        let causes: u64 = self.device.idle_cause_ns.values().sum();
        self.push(verdict, "idle causes sum to idle ns", idle, causes);
        let reasons: u64 = self.device.unobserved_reason_ns.values().sum();
        self.push(verdict, "unobserved reasons sum to unobserved ns", unobserved, reasons);
        let invalid = self.count(Piece::invalid);
        if invalid > 0 {
            let noticed = u64::from(self.device.records.invalid > 0);
            self.push(verdict, "invalid records noticed", 1, noticed);
        }
        verdict.notes.push(format!(
            "{}: {invalid} invalid records in the window (the report counts {} since arming), \
             unobserved for arming {} ns, for invalid records {} ns; the report has {:?}",
            self.uuid,
            self.device.records.invalid,
            split.unobserved_arming,
            split.unobserved_invalid,
            self.device.unobserved_reason_ns
        ));
    }

    /// Pieces that overlap the window and match.
    fn count(&self, matches: impl Fn(&Piece) -> bool) -> u64 {
        self.pieces.iter().filter(|piece| self.in_window(piece) && matches(piece)).count() as u64
    }

    fn kernels(&self, verdict: &mut Verdict) {
        let mut kernels: BTreeMap<&str, Total> = BTreeMap::new();
        let mut copies = Total::default();
        for piece in self.pieces.iter().filter(|piece| piece.visible() && self.in_window(piece)) {
            let total = match self.name(piece) {
                Some(name) => kernels.entry(name).or_default(),
                None => &mut copies,
            };
            total.count += 1;
            total.ns += u128::from(self.clipped(piece));
        }
        let count: u64 = kernels.values().map(|total| total.count).sum();
        self.push(verdict, "something ran in the window", 1, u64::from(count > 0));
        self.push(verdict, "kernels", count, self.device.kernels);
        if let Some(reported) = self.device.copies {
            self.push(verdict, "copies and sets", copies.count, reported);
        }
        // Records are counted from arming to the last mark, so there are a few more.
        let records = self.device.records;
        let enough = records.classified + records.unclassified >= count + copies.count;
        self.push(verdict, "as many records as ran in the window", 1, u64::from(enough));

        let mut reported: BTreeMap<&str, Total> = BTreeMap::new();
        let mut reported_copies = Total::default();
        for kernel in self.device.kernels_listed() {
            let is_copy = matches!(kernel.kind.as_str(), "memcpy" | "memset");
            let total = if is_copy {
                &mut reported_copies
            } else {
                reported.entry(&kernel.name).or_default()
            };
            total.count += kernel.count;
            total.ns += u128::from(kernel.total_ns);
            if let Some(class) = self.table.class(&kernel.name).filter(|_| !is_copy) {
                let right = class.class() == kernel.class;
                if !right {
                    let what = format!("class {} of `{}`", class.class(), shorten(&kernel.name));
                    self.push(verdict, &what, 1, 0);
                }
            }
        }
        let names: BTreeSet<&str> = kernels.keys().chain(reported.keys()).copied().collect();
        for name in names {
            let truth = kernels.get(name).copied().unwrap_or_default();
            let said = reported.get(name).copied().unwrap_or_default();
            let short = shorten(name);
            self.push(verdict, &format!("count of `{short}`"), truth.count, said.count);
            self.push(verdict, &format!("total ns of `{short}`"), wide(truth.ns), wide(said.ns));
        }
        if reported_copies.count > 0 {
            self.push(verdict, "listed copies", copies.count, reported_copies.count);
            let (truth, said) = (wide(copies.ns), wide(reported_copies.ns));
            self.push(verdict, "total ns of copies", truth, said);
        }
    }

    fn workers(&self, verdict: &mut Verdict) {
        let mut kernels: BTreeMap<u32, u64> = BTreeMap::new();
        let here = self.pieces.iter().filter(|piece| piece.visible() && self.in_window(piece));
        for piece in here.filter(|piece| matches!(piece.what, What::Kernel(_))) {
            *kernels.entry(piece.pid).or_default() += 1;
        }
        let reported: BTreeMap<u32, u64> = self
            .report
            .workers
            .iter()
            .filter(|worker| worker.uuid == self.device.uuid)
            .map(|worker| (worker.pid, worker.kernels))
            .collect();
        let pids: BTreeSet<u32> = kernels.keys().chain(reported.keys()).copied().collect();
        for pid in pids {
            let truth = kernels.get(&pid).copied().unwrap_or(0);
            let said = reported.get(&pid).copied().unwrap_or(0);
            self.push(verdict, &format!("kernels of process {pid}"), truth, said);
        }
    }
}

fn wide(value: u128) -> i128 {
    i128::try_from(value).unwrap_or(i128::MAX)
}

/// At most 60 characters of a name, from its start.
fn shorten(name: &str) -> String {
    if name.chars().count() <= 60 {
        return name.to_owned();
    }
    name.chars().take(59).chain(['…']).collect()
}
