//! What the threads of observed processes did: samples on the CPU, sleeps, and the stacks they slept
//! with.
//!
//! Sleeps are exact: each says how long, and by its signature at which place of the code. Stacks are taken
//! of some sleeps only; they share out the time of their signature and never decide how much it is.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use analysis::event::Blocked;
use analysis::ids::{Ns, ProcessKey, StackId, Thread};
use analysis::wait::WaitReason;

use crate::capture::{CpuStack, GilRow, WaitStack};

/// Distinct (thread, stack) on the CPU: as many as stacks are kept, twice over, since threads of a pool
/// share theirs. 40 bytes each.
const CPU_MAX: usize = 1 << 19;

/// Distinct (thread, signature) of sleeps. A vLLM process has some hundred places where its threads
/// sleep, each with a few depths of the stack.
const PLACES_MAX: usize = 1 << 18;

/// Threads whose sleeps are followed: those of a full node, many times over.
const THREADS_MAX: usize = 1 << 16;

/// Distinct stacks of one signature: it holds the leaf and the depth, so only callers differ.
const STACKS_MAX: usize = 64;

/// Sleeps remembered of threads that have not launched yet: a thread's first launch may be told
/// after the sleep behind it, within one turn of the observer.
const RECENT_MAX: usize = 4096;

/// A thread of a process.
type Who = (ProcessKey, Thread);

#[derive(Clone, Copy, Debug, Default)]
struct OnCpu {
    samples: u64,
    holding_gil: u64,
}

/// Sleeps of one thread at one place.
#[derive(Debug, Default)]
struct Slept {
    ns: u64,
    stacks: Vec<Seen>,
}

/// A stack that was taken of some of them.
#[derive(Clone, Copy, Debug)]
struct Seen {
    stack: StackId,
    reason: WaitReason,
    holds_gil: bool,
    hits: u64,
}

/// The latest sleep of a thread, as far as it was told.
#[derive(Clone, Copy, Debug)]
struct Latest {
    from: u64,
    to: u64,
    /// Where its time begins that no earlier sleep has.
    counted_from: u64,
    signature: u64,
}

/// A stack taken when a thread went to sleep.
#[derive(Clone, Copy, Debug)]
pub(super) struct Taken {
    pub(super) signature: u64,
    pub(super) stack: StackId,
    pub(super) reason: WaitReason,
    pub(super) holds_gil: bool,
}

/// What found a table full.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HostRefused {
    pub(super) samples: u64,
    pub(super) places: u64,
    pub(super) threads: u64,
    pub(super) stacks: u64,
}

#[derive(Debug, Default)]
pub(super) struct Host {
    cpu: BTreeMap<(ProcessKey, Thread, StackId), OnCpu>,
    slept: BTreeMap<(ProcessKey, Thread, u64), Slept>,
    latest: HashMap<Who, Latest>,
    /// Threads of which anything was told.
    met: HashSet<Who>,
    /// Of these, those that nobody was asked about yet.
    unasked: Vec<Who>,
    names: HashMap<Who, String>,
    launchers: HashSet<Who>,
    recent: VecDeque<Blocked>,
    /// Nothing after it counts.
    end: Option<Ns>,
    refused: HostRefused,
}

impl Host {
    /// Nothing after `end` counts.
    pub(super) fn limit(&mut self, end: Ns) {
        self.end = Some(end);
    }

    fn meet(&mut self, who: Who) {
        if self.met.len() < THREADS_MAX && self.met.insert(who) {
            self.unasked.push(who);
        }
    }

    /// Threads that were met since the last call, once each.
    pub(super) fn take_unasked(&mut self) -> Vec<Who> {
        std::mem::take(&mut self.unasked)
    }

    /// A thread calls itself so; the latest name counts. Only threads that were met have one.
    pub(super) fn name(&mut self, who: Who, name: String) {
        if self.met.contains(&who) {
            self.names.insert(who, name);
        }
    }

    pub(super) fn names(&self) -> &HashMap<Who, String> {
        &self.names
    }

    pub(super) fn sampled(&mut self, who: Who, at: Ns, stack: StackId, holds_gil: bool) {
        if self.end.is_some_and(|end| at > end) {
            return;
        }
        self.meet(who);
        let room = self.cpu.len() < CPU_MAX;
        match self.cpu.entry((who.0, who.1, stack)) {
            Entry::Vacant(_) if !room => self.refused.samples += 1,
            entry => {
                let on = entry.or_default();
                on.samples += 1;
                on.holding_gil += u64::from(holds_gil);
            }
        }
    }

    /// A sleep, or a piece of one from its beginning on.
    pub(super) fn waited(&mut self, blocked: &Blocked) {
        let who = (blocked.process, blocked.tid);
        self.meet(who);
        let signature = blocked.signature;
        let end = self.end.map_or(u64::MAX, |end| end.0);
        let (from, to) = (blocked.from.0, blocked.to.0.min(end));
        let mut latest = Latest { from, to, counted_from: from, signature };
        match self.latest.get(&who).copied() {
            // A longer piece of the same sleep replaces the shorter one.
            Some(known) if known.from == from => {
                let told = known.to.saturating_sub(known.counted_from);
                let ns = self.slept_at(who, known.signature);
                *ns = ns.saturating_sub(told);
                latest.to = to.max(known.to);
                latest.counted_from = known.counted_from;
                if signature == 0 {
                    latest.signature = known.signature;
                }
            }
            // A look at a sleep that was over when the look was told: it has been counted whole.
            Some(known) if from < known.from => return,
            // No thread sleeps twice at once, whatever a recording says.
            Some(known) => {
                latest.counted_from = from.max(known.to);
                latest.to = to.max(latest.counted_from);
            }
            None if self.latest.len() >= THREADS_MAX => {
                self.refused.threads += 1;
                return;
            }
            None => {}
        }
        self.latest.insert(who, latest);
        let long = latest.to.saturating_sub(latest.counted_from);
        let ns = self.slept_at(who, latest.signature);
        *ns = ns.saturating_add(long);
        let full = self.slept.len() >= PLACES_MAX;
        let key = (who.0, who.1, latest.signature);
        self.refused.places += u64::from(full && !self.slept.contains_key(&key));
    }

    /// The time a thread slept at a place. One without room of its own is a place that is not known,
    /// of which there is one a thread.
    fn slept_at(&mut self, (process, thread): Who, signature: u64) -> &mut u64 {
        let key = (process, thread, signature);
        let room = self.slept.len() < PLACES_MAX || self.slept.contains_key(&key);
        let key = if room { key } else { (process, thread, 0) };
        &mut self.slept.entry(key).or_default().ns
    }

    /// A stack of a thread that went to sleep at `at`.
    pub(super) fn taken(&mut self, (process, thread): Who, at: Ns, taken: Taken) {
        let Taken { signature, stack, reason, holds_gil } = taken;
        if signature == 0 || self.end.is_some_and(|end| at > end) {
            return;
        }
        let room = self.slept.len() < PLACES_MAX;
        let slept = match self.slept.entry((process, thread, signature)) {
            Entry::Vacant(_) if !room => {
                self.refused.stacks += 1;
                return;
            }
            entry => entry.or_default(),
        };
        let same = |seen: &&mut Seen| {
            (seen.stack, seen.reason, seen.holds_gil) == (stack, reason, holds_gil)
        };
        let full = slept.stacks.len() >= STACKS_MAX;
        match slept.stacks.iter_mut().find(same) {
            Some(seen) => seen.hits += 1,
            None if full => self.refused.stacks += 1,
            None => slept.stacks.push(Seen { stack, reason, holds_gil, hits: 1 }),
        }
    }

    /// Whether idle time may be explained by this sleep: of a first thread, or of one that launches. One
    /// that may turn out to launch is remembered for [`Host::launches`].
    pub(super) fn explains(&mut self, blocked: &Blocked, pid: u32) -> bool {
        if pid == blocked.tid.0 || self.launchers.contains(&(blocked.process, blocked.tid)) {
            return true;
        }
        if self.recent.len() >= RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(*blocked);
        false
    }

    /// The thread launches. Its sleeps that were told before, when that was not known.
    pub(super) fn launches(&mut self, who: Who) -> Vec<Blocked> {
        if self.launchers.len() >= THREADS_MAX || !self.launchers.insert(who) {
            return Vec::new();
        }
        let of_it = |blocked: &Blocked| (blocked.process, blocked.tid) == who;
        let found = self.recent.iter().filter(|blocked| of_it(blocked)).copied().collect();
        self.recent.retain(|blocked| !of_it(blocked));
        found
    }

    pub(super) fn refused(&self) -> HostRefused {
        self.refused
    }

    pub(super) fn cpu(&self) -> Vec<CpuStack> {
        let row = |(&(process, thread, stack), on): (&(ProcessKey, Thread, StackId), &OnCpu)| {
            CpuStack { process, thread, stack, samples: on.samples, holding_gil: on.holding_gil }
        };
        self.cpu.iter().map(row).collect()
    }

    /// Every sleep under a stack, the time of each place shared out over the stacks taken there.
    /// `refine` says what the names of a stack add to its reason.
    pub(super) fn waits(
        &self,
        mut refine: impl FnMut(StackId, WaitReason) -> WaitReason,
    ) -> Vec<WaitStack> {
        let mut rows: BTreeMap<(ProcessKey, Thread, Option<StackId>, WaitReason, bool), u64> =
            BTreeMap::new();
        let mut tell = |key, ns: u64| {
            if ns > 0 {
                let sum = rows.entry(key).or_default();
                *sum = sum.saturating_add(ns);
            }
        };
        for (&(process, thread, _), slept) in &self.slept {
            if slept.stacks.is_empty() {
                tell((process, thread, None, WaitReason::Unknown, false), slept.ns);
            }
            let hits: Vec<u64> = slept.stacks.iter().map(|seen| seen.hits).collect();
            for (seen, ns) in slept.stacks.iter().zip(shares(slept.ns, &hits)) {
                let reason = refine(seen.stack, seen.reason);
                tell((process, thread, Some(seen.stack), reason, seen.holds_gil), ns);
            }
        }
        rows.into_iter()
            .map(|((process, thread, stack, reason, holds_gil), ns)| WaitStack {
                process,
                thread,
                stack,
                reason,
                holds_gil,
                ns,
            })
            .collect()
    }
}

/// `total` in parts that are to each other as `weights`, rounded so that they sum to it.
fn shares(total: u64, weights: &[u64]) -> Vec<u64> {
    let all: u128 = weights.iter().map(|&weight| u128::from(weight)).sum();
    if all == 0 {
        return vec![0; weights.len()];
    }
    let (mut before, mut told) = (0_u128, 0_u64);
    let share = |weight: &u64| {
        before += u128::from(*weight);
        // At most `total`, which has 64 bits.
        let up_to = u64::try_from(u128::from(total) * before / all).unwrap_or(total);
        let part = up_to.saturating_sub(told);
        told = up_to;
        part
    };
    weights.iter().map(share).collect()
}

/// What threads had to do with the interpreter lock.
pub(super) fn gil(cpu: &[CpuStack], waits: &[WaitStack]) -> Vec<GilRow> {
    let mut rows: BTreeMap<Who, GilRow> = BTreeMap::new();
    let mut row = |process, thread, change: &dyn Fn(&mut GilRow)| {
        let empty = GilRow {
            process,
            thread,
            samples_on_cpu: 0,
            samples_holding: 0,
            waited_ns: 0,
            held_off_cpu_ns: 0,
        };
        change(rows.entry((process, thread)).or_insert(empty));
    };
    for on in cpu {
        row(on.process, on.thread, &|row| {
            row.samples_on_cpu += on.samples;
            row.samples_holding += on.holding_gil;
        });
    }
    for wait in waits {
        row(wait.process, wait.thread, &|row| {
            if wait.reason == WaitReason::Gil {
                row.waited_ns = row.waited_ns.saturating_add(wait.ns);
            }
            if wait.holds_gil {
                row.held_off_cpu_ns = row.held_off_cpu_ns.saturating_add(wait.ns);
            }
        });
    }
    let concerns = |row: &GilRow| row.samples_holding + row.waited_ns + row.held_off_cpu_ns > 0;
    rows.into_values().filter(concerns).collect()
}

#[cfg(test)]
mod tests;
