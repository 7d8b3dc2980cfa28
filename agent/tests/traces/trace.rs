//! What the tests need of a trace, whatever its format. All times are nanoseconds.

use std::collections::HashMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Kernel,
    Memcpy,
    Memset,
}

/// Something that ran on a device.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) device: i64,
    pub(crate) start: i64,
    pub(crate) end: i64,
    /// Where and when it was asked for: a thread and a time on it.
    pub(crate) launched: Option<(Thread, i64)>,
}

/// Process and thread, as the trace spells them.
pub(crate) type Thread = (String, String);

/// A named stretch of a thread: an operator or an annotation.
#[derive(Clone, Debug)]
pub(crate) struct Stretch {
    pub(crate) name: String,
    pub(crate) start: i64,
    pub(crate) end: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Trace {
    pub(crate) records: Vec<Record>,
    pub(crate) stretches: HashMap<Thread, Vec<Stretch>>,
}

impl Trace {
    pub(crate) fn devices(&self) -> Vec<i64> {
        let mut devices: Vec<i64> = self.records.iter().map(|record| record.device).collect();
        devices.sort_unstable();
        devices.dedup();
        devices
    }

    pub(crate) fn kernels(&self) -> impl Iterator<Item = &Record> {
        self.records.iter().filter(|record| record.kind == Kind::Kernel)
    }

    /// For each kernel the names around its launch, innermost first.
    pub(crate) fn operators(&self) -> Vec<(&Record, Vec<&str>)> {
        let mut by_thread: HashMap<&Thread, Vec<(i64, &Record)>> = HashMap::new();
        for record in self.kernels() {
            if let Some((thread, at)) = &record.launched {
                by_thread.entry(thread).or_default().push((*at, record));
            }
        }
        let mut found = Vec::new();
        for (thread, mut launches) in by_thread {
            let Some(stretches) = self.stretches.get(thread) else { continue };
            let mut stretches: Vec<&Stretch> = stretches.iter().collect();
            stretches.sort_by_key(|stretch| (stretch.start, std::cmp::Reverse(stretch.end)));
            launches.sort_by_key(|(at, _)| *at);
            let mut open: Vec<&Stretch> = Vec::new();
            let mut next = stretches.into_iter().peekable();
            for (at, record) in launches {
                while let Some(stretch) = next.next_if(|stretch| stretch.start <= at) {
                    open.retain(|outer| outer.end >= stretch.start);
                    open.push(stretch);
                }
                open.retain(|outer| outer.end >= at);
                found.push((record, open.iter().rev().map(|outer| outer.name.as_str()).collect()));
            }
        }
        found
    }
}
