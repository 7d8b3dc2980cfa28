//! Memory of processes in `report.json` and in `leaks --json`.

use std::collections::BTreeMap;

use analysis::ids::StackId;
use analysis::memory;
use analysis::memory::Resident;
use analysis::memory::verdict::Interval;
use serde::{Deserialize, Serialize};

use crate::capture::{Capture, LiveSite, ProcessMemory};
use crate::output::words;

/// Sites listed of a process.
const SITES: usize = 50;

/// What was told of memory calls.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// What leaks first; then every place that memory was taken from.
    pub findings: Vec<MemoryFinding>,
    pub processes: Vec<ProcessBytes>,
}

/// A process, as findings name it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Who {
    pub pid: u32,
    pub title: String,
    pub role: String,
    pub rank: String,
}

/// A verdict on a place, or on code that takes memory from it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct MemoryFinding {
    pub process: Who,
    /// `device`, `vmm`, `managed`, `pinned`, `host_heap` or `rss`.
    #[serde(rename = "where")]
    pub place: String,
    /// `leak`, `growth_to_plateau`, `sawtooth`, `burst`, `fragmentation`, `stable` or `undecided`.
    pub verdict: String,
    pub bytes_per_second: Option<f64>,
    /// 95 %.
    pub ci: Option<[f64; 2]>,
    /// From 0 to 1; act on 0.8.
    pub confidence: f64,
    /// When what bounds it (a control group) has nothing left, if it goes on like this.
    pub until_limit: Option<UntilLimit>,
    pub live_bytes: u64,
    /// Root first; empty where it is no single piece of code, or where its stack was not taken.
    pub stack: Vec<String>,
    pub evidence: Vec<String>,
    pub next_step: String,
}

/// Seconds from the end of the observation, with their 95 % interval.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UntilLimit {
    pub seconds: f64,
    pub earliest: f64,
    /// `null`: perhaps never.
    pub latest: Option<f64>,
}

/// What is live of a process, in bytes unless named otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessBytes {
    pub process: Who,
    /// By place.
    pub live: BTreeMap<String, u64>,
    /// Since calls are told, by place.
    pub allocated: BTreeMap<String, u64>,
    /// Of these kinds the kernel counts it: `anonymous`, `file`, `shared`.
    pub resident: BTreeMap<String, u64>,
    pub released_and_mapped: u64,
    pub mapped_nowhere: u64,
    /// Calls that took memory and whose stack was not taken.
    pub calls_without_stack: u64,
    pub unseen: Vec<String>,
    /// The largest.
    pub sites: Vec<Site>,
}

/// Code that takes memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Site {
    #[serde(rename = "where")]
    pub place: String,
    pub live_bytes: u64,
    pub live_blocks: u64,
    pub allocated_bytes: u64,
    pub allocated_blocks: u64,
    /// As of a finding.
    pub stack: Vec<String>,
}

impl Memory {
    pub(crate) fn of(capture: &Capture) -> Self {
        let told = |memory: &ProcessMemory| {
            let found = memory.findings.iter();
            found.map(|found| finding(capture, memory, found)).collect::<Vec<_>>()
        };
        let mut findings: Vec<MemoryFinding> = capture.memory.iter().flat_map(told).collect();
        // Of each process they come in this order.
        findings.sort_by_key(|found| !matches!(found.verdict.as_str(), "leak" | "fragmentation"));
        let processes = capture.memory.iter().map(|memory| process(capture, memory)).collect();
        Self { findings, processes }
    }
}

fn who(capture: &Capture, memory: &ProcessMemory) -> Who {
    let info = capture.processes.get(&memory.process).cloned().unwrap_or_default();
    Who { pid: info.pid, title: info.title, role: info.role, rank: info.rank }
}

fn finding(capture: &Capture, memory: &ProcessMemory, found: &memory::Finding) -> MemoryFinding {
    MemoryFinding {
        process: who(capture, memory),
        place: found.place.name().to_owned(),
        verdict: found.kind.name().to_owned(),
        bytes_per_second: found.rate.map(|rate| rate.value),
        ci: found.rate.map(|Interval { low, high, .. }| [low, high]),
        confidence: found.confidence,
        until_limit: found.until_limit.map(|until| UntilLimit {
            seconds: until.seconds,
            earliest: until.earliest,
            latest: until.latest,
        }),
        live_bytes: found.live_bytes,
        stack: stack(capture, found.culprit.stack()),
        evidence: found.evidence.clone(),
        next_step: found.next_step.to_owned(),
    }
}

fn process(capture: &Capture, memory: &ProcessMemory) -> ProcessBytes {
    let sum = |bytes: fn(&LiveSite) -> u64| {
        let mut sums = BTreeMap::new();
        for site in &memory.sites {
            let sum: &mut u64 = sums.entry(site.place.name().to_owned()).or_default();
            *sum = sum.saturating_add(bytes(site));
        }
        sums
    };
    ProcessBytes {
        process: who(capture, memory),
        live: sum(|site| site.live.bytes),
        allocated: sum(|site| site.allocated.bytes),
        resident: memory.resident.map(kinds).unwrap_or_default(),
        released_and_mapped: memory.held.by_mapping_alone,
        mapped_nowhere: memory.held.by_handle_alone,
        calls_without_stack: memory.without_stack,
        unseen: memory.unseen.sentences(),
        sites: memory.sites.iter().take(SITES).map(|of| site(capture, of)).collect(),
    }
}

fn kinds(resident: Resident) -> BTreeMap<String, u64> {
    let Resident { anonymous, file, shared, .. } = resident;
    let kinds = [("anonymous", anonymous), ("file", file), ("shared", shared)];
    kinds.into_iter().map(|(kind, bytes)| (kind.to_owned(), bytes)).collect()
}

fn site(capture: &Capture, site: &LiveSite) -> Site {
    Site {
        place: site.place.name().to_owned(),
        live_bytes: site.live.bytes,
        live_blocks: site.live.blocks,
        allocated_bytes: site.allocated.bytes,
        allocated_blocks: site.allocated.blocks,
        stack: stack(capture, site.stack()),
    }
}

fn stack(capture: &Capture, stack: Option<StackId>) -> Vec<String> {
    let known = stack.and_then(|id| capture.stacks.get(&id));
    known
        .map(|stack| stack.frames.iter().map(|frame| words::frame(frame)).collect())
        .unwrap_or_default()
}
