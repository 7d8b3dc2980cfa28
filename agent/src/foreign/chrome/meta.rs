//! What a trace says about itself: whose it is, which rank, when.

use std::collections::BTreeMap;

use analysis::event::ProcessInfo;
use serde::Deserialize;

use super::number;
use super::record::Record;
use super::scan::unquoted;
use crate::proc::parse_title;

/// Processes whose name is kept; a trace names its own, and one per GPU.
const NAMES_MAX: usize = 4096;

const NANOS: u64 = 1_000_000_000;

/// 10^9 s: before GPUs.
const YEAR_2001: u64 = 1_000_000_000;

#[derive(Debug, Default)]
pub(super) struct Meta {
    rank: Option<u64>,
    /// Seconds since the epoch that times count from.
    base: Option<u64>,
    names: BTreeMap<u32, String>,
    /// The first process that called something, and the first that ran an operator.
    caller: Option<u32>,
    host: Option<u32>,
    /// Another one did, too.
    several: bool,
}

#[derive(Deserialize)]
struct Distributed {
    rank: Option<u64>,
}

impl Meta {
    pub(super) fn member(&mut self, key: &[u8], value: &[u8]) {
        match key {
            b"distributedInfo" => {
                let told = serde_json::from_slice::<Distributed>(value).ok();
                self.rank = told.and_then(|told| told.rank).or(self.rank);
            }
            b"baseTimeNanoseconds" => {
                self.base = number::id(value).map(|ns| ns / NANOS);
            }
            _ => {}
        }
    }

    /// Takes an event of phase `M`.
    pub(super) fn metadata(&mut self, record: &Record<'_>) {
        if record.name != b"\"process_name\"" || self.names.len() >= NAMES_MAX {
            return;
        }
        let name = unquoted(record.arguments.name).unwrap_or_default();
        if let (Some(pid), false) = (number::small(record.pid), name.is_empty()) {
            self.names.insert(pid, name.into_owned());
        }
    }

    /// A process ran an operator. Tools that merge traces leave ranges of other processes in them.
    pub(super) fn host(&mut self, pid: &[u8]) {
        if self.host.is_none() {
            self.host = number::small(pid);
        }
    }

    /// A process called something.
    pub(super) fn caller(&mut self, pid: &[u8]) {
        let Some(pid) = number::small(pid) else {
            return;
        };
        let first = *self.caller.get_or_insert(pid);
        self.several |= first != pid;
    }

    pub(super) fn several(&self) -> bool {
        self.several
    }

    /// Wall clock at `first`, ns of the trace, in seconds since the epoch. Times count from the
    /// trace's base, or, in traces that have none, from the epoch; counted from a machine's start
    /// they are below every wall clock.
    pub(super) fn unix(&self, first: Option<u64>) -> Option<u64> {
        let seconds = first? / NANOS;
        match self.base {
            Some(base) => seconds.checked_add(base),
            None => Some(seconds).filter(|&seconds| seconds > YEAR_2001),
        }
    }

    pub(super) fn process(&self) -> ProcessInfo {
        let pid = self.caller.or(self.host).unwrap_or(0);
        let named = self.names.get(&pid).map(String::as_str).unwrap_or_default();
        let (title, role, of_title) = parse_title(&[named], named);
        let (title, rank) = match self.rank {
            Some(rank) => (format!("rank {rank}"), rank.to_string()),
            None => (title, of_title),
        };
        ProcessInfo { pid, title, role, rank, ..ProcessInfo::default() }
    }
}
