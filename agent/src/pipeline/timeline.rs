//! What a drawer of timelines needs beyond the session's slices: who is who, the names behind ids,
//! and CPU samples with their time. Nothing is kept unless somebody asked for it.

use std::collections::HashMap;

use analysis::event::{DeviceInfo, Event, ProcessInfo};
use analysis::ids::{DeviceKey, NameId, Ns, ProcessKey, StackId, Thread};
use analysis::slice::Slice;

use super::Pipeline;
use crate::capture::{CaptureInfo, Stack};

/// Shim threads whose kernel number is remembered. The shim itself numbers fewer.
const THREADS_MAX: usize = 1 << 16;

/// One sample of a thread that was on the CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuSample {
    pub process: ProcessKey,
    pub tid: Thread,
    pub cpu: u32,
    pub at: Ns,
    pub stack: StackId,
}

/// What became known of the timeline since the last call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    /// In no order.
    pub slices: Vec<Slice>,
    pub samples: Vec<CpuSample>,
}

#[derive(Debug, Default)]
pub(super) struct Timeline {
    told: bool,
    samples: Vec<CpuSample>,
    devices: HashMap<DeviceKey, DeviceInfo>,
    threads: HashMap<(ProcessKey, u32), Thread>,
}

impl Timeline {
    pub(super) fn watch(&mut self, event: &Event) {
        match event {
            Event::Device { device, info } if self.told => {
                self.devices.insert(*device, info.clone());
            }
            &Event::Thread { process, thread, tid }
                if self.told && self.threads.len() < THREADS_MAX =>
            {
                self.threads.insert((process, thread), tid);
            }
            _ => {}
        }
    }

    pub(super) fn sample(&mut self, sample: CpuSample) {
        if self.told {
            self.samples.push(sample);
        }
    }
}

impl Pipeline {
    /// From here on [`Pipeline::take_timeline`] tells the timeline. Comes before every input.
    pub fn tell_timeline(&mut self) {
        self.timeline.told = true;
        self.session.tell_slices();
    }

    /// Pieces of the timeline that became known since the last call.
    pub fn take_timeline(&mut self) -> Pieces {
        Pieces {
            slices: self.session.take_slices(),
            samples: std::mem::take(&mut self.timeline.samples),
        }
    }

    pub fn info(&self) -> &CaptureInfo {
        &self.info
    }

    pub fn device(&self, device: DeviceKey) -> Option<&DeviceInfo> {
        self.timeline.devices.get(&device)
    }

    pub fn process(&self, process: ProcessKey) -> Option<&ProcessInfo> {
        self.processes.get(&process)
    }

    /// The kernel's number of the shim's thread number `thread`, once the shim told it.
    pub fn thread(&self, process: ProcessKey, thread: u32) -> Option<Thread> {
        self.timeline.threads.get(&(process, thread)).copied()
    }

    pub fn kernel_name(&self, name: NameId) -> Option<&str> {
        self.session.kernel_name(name)
    }

    /// A stack with the names that are known so far, and whether all of them are.
    pub fn stack(&self, stack: StackId) -> Option<(Stack, bool)> {
        self.stacks.one(stack)
    }
}
