//! What a recording tells of clocks and graphs: records as the shim wrote them, before anything was made of them.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use warplens::pipeline::Input;
use warplens::recording::{ReadError, Reader};
use wire::shim::{KernelRecord, LAUNCH_COPY, LAUNCH_GRAPH, LaunchRecord, Payload, record_kind};

/// Launches whose kernels have not come. A device has some thousands queued; more is said, not kept.
const LAUNCHES: usize = 1 << 20;

/// Seconds of a run that are told apart, about eleven days.
const SECONDS: usize = 1 << 20;

/// Totals of one recording.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Kernel records.
    pub kernels: u64,
    /// Without timestamps.
    pub invalid: u64,
    /// Replayed from graphs, and of these without a node.
    pub replayed: u64,
    pub without_node: u64,
    /// Kernels launched one by one whose launch is in the recording.
    pub paired: u64,
    /// Of these, begun before their launch call did.
    pub early: u64,
    /// Launches that found the table full.
    pub forgotten: u64,
    /// Least time from a launch call's begin to its kernel's start, ns, by second of the launch.
    least_ns: BTreeMap<u64, i64>,
    launches: HashMap<u32, u64>,
}

/// How the clocks of host and device went along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// The least of all, ns.
    pub least_ns: i64,
    /// The least of the last tenth less the least of the first tenth, ns.
    pub drift_ns: i64,
    /// Seconds from the first launch to the last.
    pub seconds: u64,
}

impl Facts {
    /// Reads a whole recording.
    ///
    /// # Errors
    /// When it cannot be read to its end.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let mut reader = Reader::open(path)?;
        let mut facts = Self::default();
        while let Some(input) = reader.next_input()? {
            if let Input::Records { payloads, .. } = input {
                for payload in &payloads {
                    facts.add(payload);
                }
            }
        }
        Ok(facts)
    }

    fn add(&mut self, payload: &Payload) {
        // The kind is the first 16 bits of every record.
        match u16::try_from(payload[0] & 0xffff).unwrap_or(0) {
            record_kind::LAUNCH => self.launch(&zerocopy::transmute!(*payload)),
            record_kind::KERNEL => self.kernel(&zerocopy::transmute!(*payload)),
            _ => {}
        }
    }

    fn launch(&mut self, launch: &LaunchRecord) {
        if launch.flags & (LAUNCH_COPY | LAUNCH_GRAPH) != 0 {
            return;
        }
        if self.launches.len() < LAUNCHES {
            self.launches.insert(launch.correlation, launch.enter_ns);
        } else {
            self.forgotten += 1;
        }
    }

    fn kernel(&mut self, kernel: &KernelRecord) {
        self.kernels += 1;
        if kernel.graph != 0 {
            self.replayed += 1;
            self.without_node += u64::from(kernel.graph_node == 0);
        }
        if (kernel.start_ns, kernel.end_ns) == (0, 0) {
            self.invalid += 1;
            return;
        }
        let Some(enter) = self.launches.remove(&kernel.correlation) else { return };
        self.paired += 1;
        self.early += u64::from(kernel.start_ns < enter);
        let later =
            i64::try_from(i128::from(kernel.start_ns) - i128::from(enter)).unwrap_or(i64::MAX);
        if self.least_ns.len() < SECONDS {
            let least = self.least_ns.entry(enter / 1_000_000_000).or_insert(later);
            *least = later.min(*least);
        }
    }

    /// `None` without a single pair.
    pub fn clocks(&self) -> Option<Clocks> {
        let (&first, &last) = (self.least_ns.keys().next()?, self.least_ns.keys().next_back()?);
        let tenth = (last - first + 1).div_ceil(10);
        let least = |from: u64, to: u64| self.least_ns.range(from..to).map(|(_, &ns)| ns).min();
        let least_ns = least(first, last + 1)?;
        let drift_ns = least(last + 1 - tenth, last + 1)? - least(first, first + tenth)?;
        Some(Clocks { least_ns, drift_ns, seconds: last - first })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn launch(correlation: u32, enter_ns: u64) -> Payload {
        let record = LaunchRecord {
            kind: record_kind::LAUNCH,
            producer: 0,
            flags: 0,
            enter_ns,
            function: 1,
            thread: 0,
            weight: 0,
            correlation,
            callback: 0,
            context: 1,
            reserved: 0,
            reserved2: 0,
        };
        zerocopy::transmute!(record)
    }

    fn kernel(correlation: u32, start_ns: u64, graph: u32, graph_node: u64) -> Payload {
        let record = KernelRecord {
            kind: record_kind::KERNEL,
            producer: 0,
            flags: 0,
            start_ns,
            end_ns: start_ns,
            graph_node,
            correlation,
            name: 0,
            stream: 7,
            graph,
            device: 0,
            grid_x: 1,
            context: 1,
        };
        zerocopy::transmute!(record)
    }

    #[test]
    fn early_kernels_invalid_ones_and_those_without_nodes_are_counted() {
        let mut facts = Facts::default();
        for payload in [
            launch(1, 100),
            kernel(1, 90, 0, 0),
            launch(2, 100),
            kernel(2, 0, 0, 0),
            kernel(9, 500, 3, 0),
            kernel(9, 600, 3, 8),
        ] {
            facts.add(&payload);
        }
        let counted = (facts.kernels, facts.invalid, facts.replayed, facts.without_node);
        assert_eq!(counted, (4, 1, 2, 1));
        assert_eq!((facts.paired, facts.early), (1, 1));
        assert_eq!(facts.clocks().unwrap().least_ns, -10);
    }

    #[test]
    fn drift_is_told_between_the_first_tenth_and_the_last() {
        let mut facts = Facts::default();
        for second in 0..100 {
            let correlation = u32::try_from(second).unwrap();
            facts.add(&launch(correlation, second * SECOND));
            // The device's clock runs 3 ns a second fast.
            facts.add(&kernel(correlation, second * SECOND + 4000 + 3 * second, 0, 0));
        }
        let clocks = facts.clocks().unwrap();
        assert_eq!(clocks, Clocks { least_ns: 4000, drift_ns: 270, seconds: 99 });
        assert_eq!(Facts::default().clocks(), None);
    }
}
