//! Several captures as one, such as the ranks of a job recorded on several hosts. Their clocks
//! have nothing in common, so devices stand beside each other and never on one timeline.

use std::collections::HashMap;

use analysis::ids::{NameId, ProcessKey, StackId};
use analysis::memory::finding::Culprit;
use analysis::memory::live::Of;
use analysis::report::{CaptureSite, Report};

use crate::capture::{Capture, CaptureInfo};

/// One capture that shows what each of `captures` shows. A single one comes back as it is.
pub fn merge(captures: Vec<Capture>) -> Capture {
    let mut captures = captures.into_iter();
    let Some(first) = captures.next() else {
        return Capture::default();
    };
    if captures.len() == 0 {
        return first;
    }
    let mut merged = Merged::default();
    for capture in std::iter::once(first).chain(captures) {
        merged.add(capture);
    }
    merged.whole
}

#[derive(Default)]
struct Merged {
    whole: Capture,
    names: HashMap<String, NameId>,
    processes: u32,
    stacks: u32,
}

impl Merged {
    fn add(&mut self, capture: Capture) {
        let Capture {
            info,
            report,
            stacks,
            cpu,
            waits,
            gil,
            counters,
            memory,
            names: style,
            threads,
            processes,
        } = capture;
        self.whole.names = style;
        let Report {
            devices,
            workers,
            stacks: times,
            idle_stacks,
            host_stacks,
            ranges,
            steps,
            names,
            defects,
        } = report;
        let (process_base, stack_base) = (self.processes, self.stacks);
        let process = |key: ProcessKey| ProcessKey(key.0.saturating_add(process_base));
        let stack = |id: StackId| StackId(id.0.saturating_add(stack_base));
        let device_base = self.whole.report.devices.len();
        let names: Vec<NameId> = names.into_iter().map(|name| self.intern(name)).collect();
        let name = |id: NameId| {
            let known = usize::try_from(id.0).ok().and_then(|index| names.get(index));
            known.copied().unwrap_or(NameId(u32::MAX))
        };
        for mut device in devices {
            for total in &mut device.totals {
                total.name = name(total.name);
            }
            for gap in &mut device.gaps {
                gap.before = gap.before.map(name);
                gap.after = gap.after.map(name);
                gap.stack = gap.stack.map(stack);
                for host in &mut gap.host {
                    host.stack = stack(host.stack);
                }
                if let Some(launch) = &mut gap.launch {
                    launch.process = process(launch.process);
                }
            }
            for stream in &mut device.streams {
                stream.process = process(stream.process);
            }
            self.number(&mut device.info, &info);
            self.whole.report.devices.push(device);
        }
        for mut worker in workers {
            worker.process = process(worker.process);
            worker.device += device_base;
            self.whole.report.workers.push(worker);
        }
        for mut time in times {
            time.device += device_base;
            time.process = process(time.process);
            time.name = name(time.name);
            time.stack = time.stack.map(stack);
            if let CaptureSite::Stack(id) = &mut time.capture {
                *id = stack(*id);
            }
            self.whole.report.stacks.push(time);
        }
        for mut idle in idle_stacks {
            idle.device += device_base;
            idle.process = idle.process.map(process);
            idle.stack = idle.stack.map(stack);
            self.whole.report.idle_stacks.push(idle);
        }
        for mut host in host_stacks {
            host.device += device_base;
            host.process = process(host.process);
            host.stack = host.stack.map(stack);
            self.whole.report.host_stacks.push(host);
        }
        for mut range in ranges {
            range.device += device_base;
            self.whole.report.ranges.push(range);
        }
        for mut step in steps {
            step.process = process(step.process);
            step.device += device_base;
            self.whole.report.steps.push(step);
        }
        self.whole.report.defects.extend(defects);
        self.stacks = next(stacks.keys().map(|id| id.0), self.stacks);
        self.processes = next(processes.keys().map(|key| key.0), self.processes);
        self.whole.stacks.extend(stacks.into_iter().map(|(id, frames)| (stack(id), frames)));
        self.whole.processes.extend(processes.into_iter().map(|(key, info)| (process(key), info)));
        for mut sampled in cpu {
            sampled.process = process(sampled.process);
            sampled.stack = stack(sampled.stack);
            self.whole.cpu.push(sampled);
        }
        for mut wait in waits {
            wait.process = process(wait.process);
            wait.stack = wait.stack.map(stack);
            self.whole.waits.push(wait);
        }
        for mut counted in counters {
            counted.process = process(counted.process);
            self.whole.counters.push(counted);
        }
        for mut of in memory {
            of.process = process(of.process);
            for site in &mut of.sites {
                if let Of::Site(Some(id)) = &mut site.of {
                    *id = stack(*id);
                }
            }
            for finding in &mut of.findings {
                if let Culprit::Site(Some(id)) = &mut finding.culprit {
                    *id = stack(*id);
                }
            }
            self.whole.memory.push(of);
        }
        for mut row in gil {
            row.process = process(row.process);
            self.whole.gil.push(row);
        }
        let named = threads.into_iter().map(|((key, tid), name)| ((process(key), tid), name));
        self.whole.threads.extend(named);
        self.describe(info);
    }

    fn intern(&mut self, name: String) -> NameId {
        if let Some(&id) = self.names.get(&name) {
            return id;
        }
        let id = NameId(u32::try_from(self.names.len()).unwrap_or(u32::MAX));
        self.whole.report.names.push(name.clone());
        self.names.insert(name, id);
        id
    }

    /// Two inputs may both have a GPU 0: the later one gets the next free number, and a note
    /// says so.
    fn number(&mut self, device: &mut analysis::event::DeviceInfo, info: &CaptureInfo) {
        let devices = &self.whole.report.devices;
        if device.uuid.is_some() && devices.iter().any(|other| other.info.uuid == device.uuid) {
            self.whole.info.notes.push(format!(
                "GPU {} of {} stands in more than one input: each is shown apart",
                device.index, info.source
            ));
        }
        if devices.iter().any(|other| other.info.index == device.index) {
            let free =
                devices.iter().map(|other| other.info.index.saturating_add(1)).max().unwrap_or(0);
            self.whole
                .info
                .notes
                .push(format!("GPU {free} is GPU {} of {}", device.index, info.source));
            device.index = free;
        }
    }

    fn describe(&mut self, info: CaptureInfo) {
        let CaptureInfo { command: _, source, started_unix, simulated, cpu_hz, notes } = info;
        let whole = &mut self.whole.info;
        "analyze".clone_into(&mut whole.command);
        if !whole.source.is_empty() {
            whole.source.push_str(", ");
        }
        whole.source.push_str(&source);
        whole.started_unix = match (whole.started_unix, started_unix) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        whole.simulated |= simulated;
        whole.cpu_hz = whole.cpu_hz.max(cpu_hz);
        whole.notes.extend(notes.into_iter().map(|note| format!("{source}: {note}")));
    }
}

/// The first number above those added at `base`.
fn next(keys: impl Iterator<Item = u32>, base: u32) -> u32 {
    keys.max().map_or(base, |max| base.saturating_add(max).saturating_add(1))
}
