//! The host's side of `report.json`: what processes did on the CPU and what they waited for.

use std::collections::BTreeMap;

use analysis::wait::WaitReason;
use serde::{Deserialize, Serialize};

use super::Counters;
use crate::capture::Capture;
use crate::output::host::{self, Gil, HostFunction, HostProcess, HostThread, OnOff};
use crate::output::layers;

/// Functions listed of a process: those that run, and of the others those that wait.
const FUNCTIONS: usize = 50;
const WAITING: usize = 20;

/// Threads listed of a process; a vLLM process has up to 200, most of which never run.
const THREADS: usize = 50;

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Host {
    /// CPU samples per second and processor; 0 when the CPU was not sampled.
    pub cpu_hz: u32,
    pub processes: Vec<Process>,
    /// What the kernel and the processor counted.
    pub counters: Vec<Counters>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Process {
    pub pid: u32,
    pub title: String,
    pub role: String,
    pub rank: String,
    pub cpu_samples: u64,
    pub cpu_ns: u64,
    pub off_cpu_ns: u64,
    /// Sums to `off_cpu_ns`.
    pub off_cpu_reason_ns: BTreeMap<String, u64>,
    pub gil: GilTime,
    pub stacks: Stacks,
    pub threads: Vec<ThreadTime>,
    pub functions: Vec<Function>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct GilTime {
    pub samples_holding: u64,
    pub held_ns: u64,
    pub held_off_cpu_ns: u64,
    pub waited_ns: u64,
}

/// How good the stacks are: counts of CPU samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Stacks {
    pub reach_root: u64,
    pub with_python: u64,
    pub leaf_anonymous: u64,
    pub off_cpu_without_stack_ns: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ThreadTime {
    pub tid: u32,
    pub name: Option<String>,
    pub cpu_samples: u64,
    pub cpu_ns: u64,
    pub off_cpu_ns: u64,
    pub gil: GilTime,
}

/// A Python function. `own` is without other Python functions, `whole` with them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Function {
    pub function: String,
    pub file: Option<String>,
    pub layer: Option<String>,
    pub own: OnOffTime,
    pub whole: OnOffTime,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OnOffTime {
    pub on_cpu_ns: u64,
    pub off_cpu_ns: u64,
}

impl Host {
    pub(super) fn of(capture: &Capture) -> Self {
        let processes = host::processes(capture).iter().map(|of| process(capture, of)).collect();
        Self { cpu_hz: capture.info.cpu_hz, processes, counters: super::counters::of(capture) }
    }
}

fn process(capture: &Capture, process: &HostProcess<'_>) -> Process {
    let info = process.info.cloned().unwrap_or_default();
    let reason = |reason: WaitReason| {
        let ns = process.by_reason.get(&reason).copied().unwrap_or(0);
        (reason.as_str().to_owned(), ns)
    };
    let functions = host::functions(capture, process);
    let notable = host::notable(&functions, FUNCTIONS, WAITING);
    Process {
        pid: info.pid,
        title: info.title,
        role: info.role,
        rank: info.rank,
        cpu_samples: process.samples,
        cpu_ns: process.cpu_ns,
        off_cpu_ns: process.off_cpu_ns,
        off_cpu_reason_ns: WaitReason::ALL.into_iter().map(reason).collect(),
        gil: process.gil.into(),
        stacks: Stacks {
            reach_root: process.rooted,
            with_python: process.with_python,
            leaf_anonymous: process.leaf_anonymous,
            off_cpu_without_stack_ns: process.without_stack_ns,
        },
        threads: process.threads.iter().take(THREADS).map(thread).collect(),
        functions: notable.into_iter().map(function).collect(),
    }
}

fn thread(thread: &HostThread<'_>) -> ThreadTime {
    ThreadTime {
        tid: thread.tid,
        name: thread.name.map(str::to_owned),
        cpu_samples: thread.samples,
        cpu_ns: thread.cpu_ns,
        off_cpu_ns: thread.off_cpu_ns,
        gil: thread.gil.into(),
    }
}

fn function(function: &HostFunction<'_>) -> Function {
    Function {
        function: function.frame.function.clone(),
        file: function.frame.file.clone(),
        layer: layers::layer(function.frame).map(|layer| layer.as_str().to_owned()),
        own: function.own.into(),
        whole: function.whole.into(),
    }
}

impl From<Gil> for GilTime {
    fn from(gil: Gil) -> Self {
        let Gil { samples_holding, held_ns, held_off_cpu_ns, waited_ns } = gil;
        Self { samples_holding, held_ns, held_off_cpu_ns, waited_ns }
    }
}

impl From<OnOff> for OnOffTime {
    fn from(time: OnOff) -> Self {
        Self { on_cpu_ns: time.on, off_cpu_ns: time.off }
    }
}
