//! A small capture for tests of outputs: two GPUs, three workers, odd names, something missing.

mod extra;
mod host;

use std::collections::{BTreeMap, HashMap};

use analysis::classify::{Class, Kind};
use analysis::defect::Defect;
use analysis::event::{DeviceInfo, ProcessInfo, Service};
use analysis::ids::{NameId, Ns, ProcessKey, StackId};
use analysis::report::{
    CaptureSite, DeviceReport, Exclusive, Inclusive, KernelTotal, RecordCounts, Report, StackTime,
    UnobservedReason, Window, WorkerReport,
};

use crate::capture::{Capture, CaptureInfo, Frame, Language, NameStyle, Stack};

pub(crate) use host::host;

/// Kernel names: one with the characters that formats trip over.
pub(crate) const NAMES: [&str; 4] = [
    "flash_fwd_kernel",
    "void gemm<float, 4>(A const&; B|C) 12",
    "ncclDevKernel_AllReduce_Sum_bf16",
    "[memcpy HtoD]",
];

pub(crate) fn capture() -> Capture {
    Capture {
        info: CaptureInfo {
            command: "record".to_owned(),
            source: "node-1".to_owned(),
            started_unix: Some(1_700_000_000),
            simulated: true,
            cpu_hz: 99,
            notes: vec!["CPU samples of process 12 were not permitted".to_owned()],
        },
        report: Report {
            devices: vec![device(0), device(1)],
            workers: vec![worker(0, 0), worker(1, 1), worker(2, 1)],
            stacks: vec![
                time(0, 0, 0, Some(0), 0, 300),
                time(0, 0, 1, Some(1), 7, 250),
                time(0, 0, 1, Some(0), 0, 100),
                time(0, 0, 2, None, 0, 150),
                time(1, 1, 0, Some(0), 0, 400),
                time(1, 2, 3, Some(1), 0, 50),
            ],
            idle_stacks: extra::idle_stacks(),
            host_stacks: extra::host_stacks(),
            ranges: extra::ranges(),
            steps: extra::steps(),
            names: NAMES.map(str::to_owned).to_vec(),
            defects: vec![Defect::InvalidRecord { pid: 10, count: 2 }],
        },
        stacks: HashMap::from([
            (StackId(0), stack(&["_start", "main", "attention(Tensor&)"], false)),
            (StackId(1), stack(&["model_runner", "execute<8>"], true)),
            (StackId(2), extra::python_stack()),
        ]),
        cpu: vec![extra::on_cpu(0, 10, 0, 40, 0), extra::on_cpu(1, 11, 1, 2, 0)],
        waits: Vec::new(),
        gil: Vec::new(),
        counters: Vec::new(),
        memory: Vec::new(),
        names: NameStyle::Whole,
        threads: HashMap::new(),
        processes: (0..3).map(|number| (ProcessKey(number), process(number))).collect(),
    }
}

fn device(index: u32) -> DeviceReport {
    let exclusive = match index {
        0 => Exclusive {
            attention: 300,
            gemm: 350,
            communication: 50,
            other: 0,
            idle: 200,
            unobserved: 100,
        },
        _ => Exclusive { attention: 400, other: 50, idle: 550, ..Exclusive::default() },
    };
    DeviceReport {
        info: DeviceInfo { index, uuid: Some(format!("SIM-{index}")), simulated: true },
        window: Window { start: Ns(5_000), end: Ns(6_000) },
        kernels: if index == 0 { 9 } else { 4 },
        copies: u64::from(index),
        exclusive,
        inclusive: Inclusive {
            attention: exclusive.attention,
            gemm: exclusive.gemm,
            communication: if index == 0 { 150 } else { 0 },
            other: exclusive.other,
        },
        compute_communication_overlap: if index == 0 { 100 } else { 0 },
        copies_exclusive: if index == 0 { 0 } else { 50 },
        copies_inclusive: if index == 0 { 0 } else { 50 },
        gaps: extra::gaps(index),
        gap_count: if index == 0 { 2 } else { 3 },
        streams: extra::streams(index),
        idle_undecided: 0,
        idle_cause: extra::idle_cause(index),
        kinds: BTreeMap::from([
            ((Class::Attention, Kind::Generic), exclusive.attention),
            ((Class::Gemm, Kind::Dense), exclusive.gemm),
        ]),
        unobserved: BTreeMap::from([(UnobservedReason::Arming, exclusive.unobserved)]),
        records: RecordCounts {
            classified: 11,
            unclassified: 1,
            unclassified_ns: 8,
            invalid: 2,
            lost: 0,
        },
        totals: match index {
            0 => vec![total(1, 4, 350), total(0, 3, 300), total(2, 2, 150)],
            _ => vec![total(0, 4, 400), total(3, 1, 50)],
        },
    }
}

fn class_of(name: u32) -> (Class, Kind) {
    match name {
        0 => (Class::Attention, Kind::Generic),
        1 => (Class::Gemm, Kind::Dense),
        2 => (Class::Communication, Kind::Nccl),
        _ => (Class::Other, Kind::Memcpy),
    }
}

fn total(name: u32, count: u64, total: u64) -> KernelTotal {
    let (class, kind) = class_of(name);
    KernelTotal { name: NameId(name), class, kind, count, total }
}

fn time(
    device: usize,
    process: u32,
    name: u32,
    stack: Option<u32>,
    graph: u32,
    total: u64,
) -> StackTime {
    let (class, kind) = class_of(name);
    StackTime {
        device,
        process: ProcessKey(process),
        name: NameId(name),
        class,
        kind,
        graph,
        capture: CaptureSite::None,
        stack: stack.map(StackId),
        total,
    }
}

fn process(number: u32) -> ProcessInfo {
    ProcessInfo {
        pid: 10 + number,
        title: format!("VLLM::Worker_TP{number}"),
        role: "worker".to_owned(),
        rank: format!("TP{number}"),
        server: 10,
        service: Service {
            model: if number == 0 { "a \"model\"\\".to_owned() } else { String::new() },
            ..Service::default()
        },
    }
}

fn worker(number: u32, position: usize) -> WorkerReport {
    WorkerReport {
        process: ProcessKey(number),
        info: process(number),
        device: position,
        kernels: 4,
        exclusive: device(u32::try_from(position).unwrap()).exclusive,
        launches: 5,
        launches_failed: 1,
        stacks_sampled: 3,
    }
}

fn stack(functions: &[&str], cut: bool) -> Stack {
    let frames = functions
        .iter()
        .map(|&function| Frame {
            language: Language::Native,
            function: function.to_owned(),
            module: Some("worker".to_owned()),
            file: Some("worker.rs".to_owned()),
            line: Some(7),
        })
        .map(std::sync::Arc::new)
        .collect();
    Stack { frames, cut }
}
