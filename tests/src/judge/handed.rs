//! What a shim wrote into its ring, against what CUPTI handed to it, record by record.

use std::collections::{HashMap, HashSet};

use sim_truth::{Call, Effect, Outcome, Truth, WorkKind};
use wire::shim::{CopyRecord, KernelRecord, LaunchRecord, MarkRecord, Payload, record_kind};

/// What makes a record the one of a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    kind: u16,
    correlation: u32,
    start: u64,
    end: u64,
    graph: u32,
    device: u32,
    bytes: u64,
}

/// The two sides of a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Handed {
    /// Records CUPTI handed over, with or without times.
    pub handed: u64,
    /// Records CUPTI dropped.
    pub dropped: u64,
    /// Records of work in the ring.
    pub seen: u64,
    /// In the ring, but never handed over, or oftener than handed over.
    pub invented: u64,
    /// Handed over, but not in the ring.
    pub missing: u64,
    /// Of these, those launched while the shim said that it recorded launches, and whose launch is not in
    /// the ring either: nothing holds the watermark before them.
    pub unknown: u64,
    /// Launches in the ring.
    pub launches: u64,
    /// Launches made while the shim said that it recorded them, that are not in the ring.
    pub unannounced: u64,
}

/// When the shim said that it recorded every launch: from arming to the last mark of it.
#[derive(Debug, Default)]
struct Armed(HashMap<u64, u64>);

impl Armed {
    fn add(&mut self, mark: &MarkRecord) {
        let last = self.0.entry(mark.armed_ns).or_default();
        *last = mark.flush_ns.max(*last);
    }

    /// The shim looked at its clock for this call within one of the spans for sure.
    fn covers(&self, call: &Call) -> bool {
        self.0.iter().any(|(&from, &to)| from <= call.enter_ns && call.entered_ns <= to)
    }
}

/// Compares the records of a ring with one process's truth.
pub fn compare(truth: &Truth, records: &[Payload]) -> Handed {
    let mut open: HashMap<Key, Vec<Option<&Call>>> = HashMap::new();
    let mut sides = Handed::default();
    for joined in truth.joined() {
        let times = match joined.outcome() {
            Some(Outcome::Delivered) => (joined.work.start_ns, joined.work.end_ns),
            Some(Outcome::Incomplete) => (joined.work.start_ns, 0),
            Some(Outcome::Zeroed) => (0, 0),
            Some(Outcome::Dropped) => {
                sides.dropped += 1;
                continue;
            }
            Some(Outcome::NotEnabled) | None => continue,
        };
        let kind = match joined.work.kind {
            WorkKind::Kernel => record_kind::KERNEL,
            WorkKind::Copy => record_kind::MEMCPY,
            WorkKind::Set => record_kind::MEMSET,
        };
        let key = Key {
            kind,
            correlation: joined.work.correlation,
            start: times.0,
            end: times.1,
            graph: joined.work.graph,
            device: joined.work.device,
            bytes: joined.work.bytes,
        };
        open.entry(key).or_default().push(joined.call);
        sides.handed += 1;
    }
    let mut launched = HashSet::new();
    let mut armed = Armed::default();
    for payload in records {
        if let Some(key) = work_of(payload) {
            sides.seen += 1;
            if open.get_mut(&key).and_then(Vec::pop).is_none() {
                sides.invented += 1;
            }
        } else if kind_of(payload) == record_kind::LAUNCH {
            let launch: LaunchRecord = zerocopy::transmute!(*payload);
            launched.insert(launch.correlation);
            sides.launches += 1;
        } else if kind_of(payload) == record_kind::MARK {
            armed.add(&zerocopy::transmute!(*payload));
        }
    }
    for (key, calls) in open {
        sides.missing += calls.len() as u64;
        if !launched.contains(&key.correlation) {
            let unknown = calls.iter().flatten().filter(|call| armed.covers(call));
            sides.unknown += unknown.count() as u64;
        }
    }
    let announced = |call: &&Call| {
        call.effect == Effect::Sync || !armed.covers(call) || launched.contains(&call.correlation)
    };
    sides.unannounced = truth.calls.values().filter(|call| !announced(call)).count() as u64;
    sides
}

fn kind_of(payload: &Payload) -> u16 {
    let [low, high, ..] = payload[0].to_ne_bytes();
    u16::from_ne_bytes([low, high])
}

fn work_of(payload: &Payload) -> Option<Key> {
    match kind_of(payload) {
        record_kind::KERNEL => {
            let kernel: KernelRecord = zerocopy::transmute!(*payload);
            Some(Key {
                kind: kernel.kind,
                correlation: kernel.correlation,
                start: kernel.start_ns,
                end: kernel.end_ns,
                graph: kernel.graph,
                device: kernel.device.into(),
                bytes: 0,
            })
        }
        record_kind::MEMCPY | record_kind::MEMSET => {
            let copy: CopyRecord = zerocopy::transmute!(*payload);
            Some(Key {
                kind: copy.kind,
                correlation: copy.correlation,
                start: copy.start_ns,
                end: copy.end_ns,
                graph: copy.graph,
                device: copy.device.into(),
                bytes: u64::from(copy.bytes_high) << 32 | u64::from(copy.bytes_low),
            })
        }
        _ => None,
    }
}

impl Handed {
    /// Every record handed over is in the ring once, nothing else, and every launch.
    pub fn exact(&self) -> bool {
        (self.invented, self.missing, self.unannounced) == (0, 0, 0)
    }

    /// Nothing is invented, and what is missing is counted as lost (`lost`), has its launch in the ring, or
    /// was launched while the shim did not say that it looked. While it said so, every launch is there, too.
    pub fn honest(&self, lost: u64) -> bool {
        let known = self.missing + self.dropped <= lost || self.unknown == 0;
        self.invented == 0 && known && self.unannounced <= lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sim_truth::{Entry, Settled, Work};

    fn truth(outcomes: &[Outcome]) -> Truth {
        let mut truth = Truth::default();
        for (index, &outcome) in outcomes.iter().enumerate() {
            let sequence = index as u64 + 1;
            truth.add(Entry::Work(Work {
                sequence,
                call: sequence,
                start_ns: 100 * sequence,
                end_ns: 100 * sequence + 50,
                graph_node: 0,
                bytes: 0,
                correlation: u32::try_from(sequence).unwrap(),
                name: 0,
                device: 0,
                context: 1,
                stream: 1,
                graph: 0,
                site: 0,
                kind: WorkKind::Kernel,
            }));
            truth.add(Entry::Call(call(sequence)));
            truth.add(Entry::Settled(Settled { work: sequence, clock_offset: 0, outcome }));
        }
        truth
    }

    fn call(sequence: u64) -> Call {
        let enter_ns = 100 * sequence - 10;
        Call {
            sequence,
            enter_ns,
            entered_ns: enter_ns + 1,
            leaving_ns: enter_ns + 2,
            exit_ns: enter_ns + 3,
            correlation: u32::try_from(sequence).unwrap(),
            thread: 1,
            domain: 1,
            callback: 307,
            result: 0,
            effect: Effect::Kernel,
            captured: false,
        }
    }

    fn launch(correlation: u32) -> Payload {
        zerocopy::transmute!(LaunchRecord {
            kind: record_kind::LAUNCH,
            producer: 0,
            flags: 0,
            enter_ns: 0,
            function: 0,
            thread: 1,
            weight: 0,
            correlation,
            callback: 307,
            context: 1,
            reserved: 0,
            reserved2: 0,
        })
    }

    fn mark(armed_ns: u64, flush_ns: u64) -> Payload {
        zerocopy::transmute!(MarkRecord {
            kind: record_kind::MARK,
            producer: 0,
            flags: 0,
            flush_ns,
            armed_ns,
            lost: 0,
            cupti_dropped: 0,
            launches: 0,
            reserved: 0,
        })
    }

    fn kernel(correlation: u32, start_ns: u64, end_ns: u64) -> Payload {
        zerocopy::transmute!(KernelRecord {
            kind: record_kind::KERNEL,
            producer: 0,
            flags: 0,
            start_ns,
            end_ns,
            graph_node: 0,
            correlation,
            name: 1,
            stream: 1,
            graph: 0,
            device: 0,
            grid_x: 1,
            context: 1,
        })
    }

    #[test]
    fn a_record_too_few_too_many_or_another_is_found() {
        let truth = truth(&[Outcome::Delivered, Outcome::Zeroed, Outcome::Dropped]);
        let whole = [1, 2, 3].map(launch).into_iter().chain([
            kernel(1, 100, 150),
            kernel(2, 0, 0),
            mark(0, 500),
        ]);
        let whole: Vec<Payload> = whole.collect();
        let side = |records: &[Payload]| compare(&truth, records);
        assert!(side(&whole).exact() && side(&whole).honest(1), "{:?}", side(&whole));
        let few: Vec<Payload> = whole.iter().filter(|r| **r != kernel(2, 0, 0)).copied().collect();
        assert_eq!((side(&few).missing, side(&few).exact()), (1, false));
        assert!(side(&few).honest(0), "its launch is there");
        let unknown: Vec<Payload> = few.iter().filter(|r| **r != launch(2)).copied().collect();
        assert_eq!((side(&unknown).unknown, side(&unknown).unannounced), (1, 1));
        assert!(!side(&unknown).honest(1), "the dropped one needs its count, too");
        assert!(side(&unknown).honest(2));
        let twice = [&whole[..], &[kernel(1, 100, 150)]].concat();
        assert!(side(&twice).invented == 1 && !side(&twice).honest(9));
        let another = [&few[..], &[kernel(2, 0, 1)]].concat();
        assert!(side(&another).invented == 1 && side(&another).missing == 1);
        let disarmed = [&unknown[..], &[mark(0, 150)]].concat();
        let outside: Vec<Payload> = disarmed.into_iter().filter(|r| *r != mark(0, 500)).collect();
        assert!(side(&outside).honest(0), "nobody said that it was looked at");
    }
}
