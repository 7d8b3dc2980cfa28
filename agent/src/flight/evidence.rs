//! The last kernels and launches of each worker of a window, gathered while it is written.

use std::collections::{BTreeMap, HashMap, VecDeque};

use analysis::decode;
use analysis::event::{Event, Launch, LaunchKind, ProcessInfo, Work, WorkKind};
use analysis::ids::ProcessKey;

use super::why::{LastKernel, LastLaunch, WorkerEvidence};
use crate::pipeline::Input;

/// Kept of each worker.
const LAST: usize = 16;

/// Workers told. A full node has sixteen.
const WORKERS_MAX: usize = 64;

/// Launches without a record that are remembered. A worker that hangs has some thousand at most: the device's queue
/// is that long.
const OPEN_MAX: usize = 1 << 16;

#[derive(Debug, Default)]
struct Seen {
    info: ProcessInfo,
    names: HashMap<u32, String>,
    kernels: VecDeque<Work>,
    launches: VecDeque<Launch>,
    /// Entries of launches without work so far, by correlation.
    open: BTreeMap<u32, u64>,
}

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Gatherer {
    seen: BTreeMap<ProcessKey, Seen>,
}

impl Gatherer {
    pub(super) fn look(&mut self, input: &Input) {
        match input {
            Input::Process { process, info }
                if self.seen.len() < WORKERS_MAX || self.seen.contains_key(process) =>
            {
                self.seen.entry(*process).or_default().info = info.clone();
            }
            Input::Name { process, id, name } => {
                if let Some(seen) = self.seen.get_mut(process) {
                    seen.names.insert(*id, name.clone());
                }
            }
            Input::Records { process, payloads } => {
                let Some(seen) = self.seen.get_mut(process) else {
                    return;
                };
                for payload in payloads {
                    match decode::record(*process, payload) {
                        Ok(Event::Work(work)) => seen.work(work),
                        Ok(Event::Launch(launch)) => seen.launch(launch),
                        Ok(Event::LaunchFailed { correlation, .. }) => {
                            seen.open.remove(&correlation.0);
                        }
                        Ok(_) | Err(_) => {}
                    }
                }
            }
            _ => {}
        }
    }

    pub(super) fn workers(self) -> Vec<WorkerEvidence> {
        let told = self
            .seen
            .into_values()
            .filter(|seen| !seen.kernels.is_empty() || !seen.launches.is_empty());
        told.map(Seen::tell).collect()
    }
}

impl Seen {
    fn work(&mut self, work: Work) {
        self.open.remove(&work.correlation.0);
        if !matches!(work.kind, WorkKind::Kernel { .. }) || work.end.0 == 0 {
            return;
        }
        // Records of several streams come in no order.
        let later = self.kernels.iter().rev().take_while(|known| known.end > work.end).count();
        let place = self.kernels.len() - later;
        if place > 0 || self.kernels.len() < LAST {
            self.kernels.insert(place, work);
        }
        if self.kernels.len() > LAST {
            self.kernels.pop_front();
        }
    }

    fn launch(&mut self, launch: Launch) {
        if self.open.len() < OPEN_MAX {
            self.open.insert(launch.correlation.0, launch.enter.0);
        }
        if self.launches.len() >= LAST {
            self.launches.pop_front();
        }
        self.launches.push_back(launch);
    }

    fn tell(self) -> WorkerEvidence {
        let Self { info, names, kernels, launches, open } = self;
        let name = |id: u32| names.get(&id).cloned().unwrap_or_else(|| "[no name]".to_owned());
        let kernels = kernels.into_iter().map(|work| LastKernel {
            name: match work.kind {
                WorkKind::Kernel { name: id } => name(id),
                WorkKind::Memcpy { .. } | WorkKind::Memset { .. } => String::new(),
            },
            start_ns: work.start.0,
            end_ns: work.end.0,
            device: work.ordinal,
            stream: work.stream,
            correlation: work.correlation.0,
            graph: work.graph,
        });
        let launches = launches.into_iter().map(|launch| LastLaunch {
            enter_ns: launch.enter.0,
            kind: match launch.kind {
                LaunchKind::Kernel => "kernel",
                LaunchKind::Graph => "graph",
                LaunchKind::Copy => "copy",
            }
            .to_owned(),
            correlation: launch.correlation.0,
            has_record: !open.contains_key(&launch.correlation.0),
        });
        WorkerEvidence {
            pid: info.pid,
            title: info.title,
            rank: info.rank,
            last_kernels: kernels.collect(),
            last_launches: launches.collect(),
            oldest_unfinished_launch_ns: open.values().copied().min(),
        }
    }
}

#[cfg(test)]
mod tests {
    use analysis::ids::{Correlation, Ns};

    use super::*;

    fn work(correlation: u32, end: u64) -> Work {
        Work {
            process: ProcessKey(0),
            ordinal: 0,
            context: 1,
            stream: 1,
            correlation: Correlation(correlation),
            graph: 0,
            graph_node: 0,
            source_node: 0,
            grid_x: 0,
            start: Ns(end - 1),
            end: Ns(end),
            kind: WorkKind::Kernel { name: 1 },
        }
    }

    #[test]
    fn the_last_are_those_that_ended_last() {
        let mut seen = Seen::default();
        for number in (1..=100_u32).rev().chain([200, 150]) {
            seen.work(work(number, u64::from(number) * 10));
        }
        let told = seen.tell();
        let correlations: Vec<u32> =
            told.last_kernels.iter().map(|kernel| kernel.correlation).collect();
        assert_eq!(correlations, (87..=100).chain([150, 200]).collect::<Vec<u32>>());
        assert_eq!(told.last_kernels[0].name, "[no name]");
    }

    #[test]
    fn a_launch_without_work_is_told() {
        let mut seen = Seen::default();
        for number in 1..4_u32 {
            seen.launch(Launch {
                process: ProcessKey(0),
                correlation: Correlation(number),
                kind: LaunchKind::Kernel,
                enter: Ns(u64::from(number)),
                exit: None,
                thread: 0,
                function: 0,
                sampled: None,
            });
        }
        seen.work(work(1, 5));
        seen.work(work(3, 9));
        let told = seen.tell();
        assert_eq!(told.oldest_unfinished_launch_ns, Some(2));
        let with: Vec<bool> = told.last_launches.iter().map(|launch| launch.has_record).collect();
        assert_eq!(with, [true, false, true]);
    }
}
