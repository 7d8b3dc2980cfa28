//! All truth files of a run, brought onto the devices they ran on.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use sim_truth::{Counters, Outcome, Truth, WorkKind};

use crate::judge::JudgeError;

/// What a piece of work was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A kernel, by position in [`GroundTruth::names`].
    Kernel(usize),
    Copy,
    Set,
}

/// A piece of work on a device, with what became of its record.
#[derive(Clone, Debug)]
pub struct Piece {
    pub pid: u32,
    pub context: u32,
    pub stream: u32,
    /// Correlation id of its process, counted on past 32 bits.
    pub correlation: i64,
    pub start: u64,
    pub end: u64,
    /// Entry of the call that launched it; its start when the call is not in the file yet.
    pub enter: u64,
    pub what: What,
    /// `None`: the file does not say yet.
    pub outcome: Option<Outcome>,
}

impl Piece {
    /// The profiler was given its timestamps.
    pub fn visible(&self) -> bool {
        self.outcome == Some(Outcome::Delivered)
    }

    /// The profiler was given a record without usable timestamps.
    pub fn invalid(&self) -> bool {
        matches!(self.outcome, Some(Outcome::Zeroed | Outcome::Incomplete))
    }
}

/// Everything that ran, by device UUID (32 hexadecimal digits).
#[derive(Clone, Debug, Default)]
pub struct GroundTruth {
    pub devices: BTreeMap<String, Vec<Piece>>,
    pub names: Vec<String>,
    pub counters: BTreeMap<u32, Counters>,
    /// Timestamps were not `CLOCK_MONOTONIC` for so many delivered records.
    pub foreign_clock: u64,
}

impl GroundTruth {
    /// Reads every `*.truth` in `directory`.
    ///
    /// # Errors
    /// When there is none, or one cannot be read.
    pub fn read(directory: &Path) -> Result<Self, JudgeError> {
        let read = |source| JudgeError::Read {
            what: "the truth folder",
            path: directory.to_owned(),
            source,
        };
        let mut truth = Self::default();
        let mut found = false;
        for entry in std::fs::read_dir(directory).map_err(read)? {
            let path = entry.map_err(read)?.path();
            if path.extension().is_some_and(|extension| extension == "truth") {
                found = true;
                truth.add(&Truth::read(&path)?);
            }
        }
        if found { Ok(truth) } else { Err(JudgeError::NoTruth { path: directory.to_owned() }) }
    }

    /// Brings the times of a process in a time namespace to the machine's clock.
    pub fn shift(&mut self, ns: i64) {
        for piece in self.devices.values_mut().flatten() {
            for time in [&mut piece.start, &mut piece.end, &mut piece.enter] {
                *time = time.saturating_add_signed(ns);
            }
        }
    }

    /// Takes one process's truth in.
    pub fn add(&mut self, process: &Truth) {
        let mut numbers: HashMap<&str, usize> =
            self.names.iter().enumerate().map(|(index, name)| (name.as_str(), index)).collect();
        let mut added: Vec<String> = Vec::new();
        let known = self.names.len();
        let mut by_id: HashMap<u32, usize> = HashMap::new();
        for (&id, name) in &process.names {
            let index = *numbers.entry(name).or_insert_with(|| {
                added.push(name.clone());
                known + added.len() - 1
            });
            by_id.insert(id, index);
        }
        self.names.extend(added);
        self.counters.insert(process.pid, process.counters);

        let mut reference: Option<i64> = None;
        for joined in process.joined() {
            let work = joined.work;
            let correlation = extend(reference, work.correlation);
            reference = Some(correlation);
            if let Some(settled) = joined.settled
                && settled.outcome == Outcome::Delivered
                && settled.clock_offset != 0
            {
                self.foreign_clock += 1;
            }
            let what = match work.kind {
                WorkKind::Kernel => {
                    What::Kernel(by_id.get(&work.name).copied().unwrap_or_else(|| {
                        self.names.push(format!("[unnamed {}]", work.name));
                        self.names.len() - 1
                    }))
                }
                WorkKind::Copy => What::Copy,
                WorkKind::Set => What::Set,
            };
            let uuid = process.devices.get(&work.device).map_or_else(
                || format!("unknown device {} of process {}", work.device, process.pid),
                |device| hexadecimal(&device.uuid),
            );
            self.devices.entry(uuid).or_default().push(Piece {
                pid: process.pid,
                context: work.context,
                stream: work.stream,
                correlation,
                start: work.start_ns,
                end: work.end_ns,
                enter: joined.call.map_or(work.start_ns, |call| call.enter_ns),
                what,
                outcome: joined.outcome(),
            });
        }
    }
}

/// Correlation ids wrap at 32 bits: the 64-bit value nearest to the one before it.
fn extend(reference: Option<i64>, correlation: u32) -> i64 {
    let Some(reference) = reference else {
        return i64::from(correlation);
    };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "low half wanted")]
    let low = reference as u32;
    reference + i64::from(correlation.wrapping_sub(low).cast_signed())
}

/// The UUID's digits, without prefix and dashes.
pub fn hexadecimal(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn correlation_ids_go_on_past_their_wrap_and_step_back_a_little() {
        assert_eq!(extend(None, 5), 5);
        assert_eq!(extend(Some(i64::from(u32::MAX)), 1), (1 << 32) + 1);
        assert_eq!(extend(Some((1 << 32) + 1), u32::MAX), i64::from(u32::MAX));
    }
}
