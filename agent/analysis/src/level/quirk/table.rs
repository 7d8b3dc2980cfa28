//! The rows. A release whose notes say that something was mended is a row for the releases the notes
//! are about, not for all before it, unless a report says that those have it, too.
//!
//! Not in the table, because records show it and the guard acts on what they show: device buffers
//! that run out under CUDA graphs (parca-dev/parcagpu#23, CUPTI 13.0.85).

use crate::decode::Level;
use crate::level::quirk::{Effect, Feature, Processor, Quirk, Setting, Version, When};

/// `cuptiGetVersion` counted releases up to CUDA 12.9 (28), and is the toolkit's version from 13 on.
const CUDA_12_4: u32 = 22;
const BEFORE_CUDA_12_9: u32 = 26;
const CUDA_13_0: u32 = 130_000;
const CUDA_13_1: u32 = 130_100;
const CUDA_13_2: u32 = 130_200;
const CUDA_13_2_LAST: u32 = 130_299;
const CUDA_13_3: u32 = 130_300;
const CUDA_13_4: u32 = 130_400;

/// Multi-process service, slices and guests.
const SHARED_OR_GUEST: &[Setting] =
    &[Setting::Mig, Setting::Mps, Setting::Vgpu, Setting::ConfidentialComputing, Setting::Wsl];

pub static TABLE: [Quirk; 13] = [
    Quirk {
        name: "gb300-uprobes",
        // Stacks are taken by a uprobe on the shim's probe point. On this machine the handler that
        // steps over a probed instruction resumed processes at a wrong place.
        when: &[When::Processor(Processor::Arm), When::Gpu("GB300")],
        effect: Effect::Cap(Level::Counting),
        source: "DataDog/datadog-agent#54291, DataDog/helm-charts#2818",
    },
    Quirk {
        name: "cupti-13.0-disable-deadlock",
        // Counting is left by disabling the kind that may deadlock, and marked by the flush that may
        // crash; so it is not entered.
        when: &[When::Cupti(CUDA_13_0, CUDA_13_0)],
        effect: Effect::Cap(Level::Watching),
        source: "CUPTI release notes, CUDA 13.0 Update 1: deadlock in cuptiActivityDisable of \
                 CONCURRENT_KERNEL and crash in cuptiActivityFlushAll fixed",
    },
    Quirk {
        name: "cupti-13.4-processor-time",
        // Time of the processor that grows with the length of the tracing is what an agent that is
        // always on must not cost; no arming is long enough to tell and short enough to be safe.
        when: &[When::Cupti(CUDA_13_4, CUDA_13_4)],
        effect: Effect::Cap(Level::Watching),
        source: "CUPTI release notes, CUDA 13.4 Update 1: unbounded growth of CPU utilisation in \
                 long-running activity tracing fixed",
    },
    Quirk {
        name: "cupti-13.1-graph-correlation",
        when: &[When::Cupti(CUDA_13_1, CUDA_13_1)],
        effect: Effect::Off(Feature::RearmedCorrelation),
        source: "CUPTI release notes, CUDA 13.1 Update 1: wrong correlation ids of cudaGraphLaunch \
                 in sessions after the first fixed",
    },
    Quirk {
        name: "finalize-with-graphs",
        when: &[When::Cupti(0, CUDA_12_4)],
        effect: Effect::Off(Feature::Finalize),
        source: "pytorch/pytorch#112507, pytorch/pytorch#150957: crash on taking CUPTI up again \
                 with CUDA graphs, believed fixed in CUDA 12.6",
    },
    Quirk {
        name: "refused-buffers-crash",
        when: &[When::Cupti(0, BEFORE_CUDA_12_9)],
        effect: Effect::Off(Feature::RefusedBuffers),
        source: "pytorch/kineto, CuptiActivityApi.cpp: NULL buffers only from CUPTI API 27 on, \
                 earlier versions crash",
    },
    Quirk {
        name: "graph-trace-stays",
        when: &[],
        effect: Effect::Off(Feature::GraphTrace),
        source: "CUPTI documentation, CUPTI_ACTIVITY_KIND_GRAPH_TRACE: disabling it does not bring \
                 node-level tracing back",
    },
    Quirk {
        name: "hardware-trace-shared",
        when: &[When::Any(SHARED_OR_GUEST)],
        effect: Effect::Off(Feature::HardwareTrace),
        source: "CUPTI documentation, cuptiActivityEnableHWTrace: not with MPS, MIG, vGPU, \
                 confidential computing or WSL",
    },
    Quirk {
        name: "cupti-13.4-hardware-trace",
        when: &[When::Cupti(CUDA_13_4, CUDA_13_4)],
        effect: Effect::Off(Feature::HardwareTrace),
        source: "CUPTI release notes, CUDA 13.4 Update 1: crashes in cudaGraphInstantiate, a leak \
                 and zero timestamps with HES fixed",
    },
    Quirk {
        name: "cupti-13.4-latency-deadlock",
        when: &[When::Cupti(CUDA_13_4, CUDA_13_4)],
        effect: Effect::Off(Feature::LatencyTimestamps),
        source: "CUPTI release notes, CUDA 13.4 Update 1: deadlock in latency timestamps fixed",
    },
    Quirk {
        name: "one-subscriber-cupti",
        // The last one is 13.3 itself: its first update mends a crash with two tools at once.
        when: &[When::Cupti(0, CUDA_13_3)],
        effect: Effect::Off(Feature::SharedSubscription),
        source: "CUPTI documentation, cuptiSubscribe_v2 with allowMultipleSubscribers from 13.3 \
                 on; release notes, CUDA 13.3 Update 1",
    },
    Quirk {
        name: "one-subscriber-driver",
        when: &[When::DriverBelow(Version::of(610, 0, 0))],
        effect: Effect::Off(Feature::SharedSubscription),
        source: "CUPTI documentation, cuptiSubscribe_v2: several subscribers need driver r610",
    },
    Quirk {
        name: "cupti-13.2-without-driver",
        when: &[When::Cupti(CUDA_13_2, CUDA_13_2_LAST)],
        effect: Effect::Off(Feature::CallsWithoutDriver),
        source: "measured by this project with NVIDIA's wheels of 13.2: the first call into \
                 libcupti without libcuda.so.1 ends in SIGSEGV",
    },
];
