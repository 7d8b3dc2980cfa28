//! What was lost on the way: counted for metrics, told as notes at the end.

use super::{ObserveError, Observer, chain};
use crate::shim::WorkerRing;
use crate::stack::StackLosses;
use wire::shim::{HEAP_CLOSED, Level};

/// What was lost on the way, over all workers since the observation began. Only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// Records that found a ring full, no activity buffer, or a thread that never finished them.
    pub ring: u64,
    pub cupti: u64,
    pub names: u64,
    pub graphs: u64,
}

impl Drops {
    pub(super) fn of(ring: &WorkerRing) -> Self {
        let status = ring.status();
        Self {
            ring: status.lost.saturating_add(status.discarded).saturating_add(ring.abandoned()),
            cupti: status.cupti_dropped,
            names: status.names_full,
            graphs: status.graphs_full,
        }
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self {
            ring: self.ring.saturating_add(other.ring),
            cupti: self.cupti.saturating_add(other.cupti),
            names: self.names.saturating_add(other.names),
            graphs: self.graphs.saturating_add(other.graphs),
        }
    }
}

impl Observer {
    /// What the ring of a worker that is let go lost, as notes.
    pub(super) fn note_ring_losses(
        &mut self,
        ring: &WorkerRing,
        rearms: u64,
    ) -> Result<(), ObserveError> {
        losses(ring, rearms).into_iter().try_for_each(|note| self.note(note))
    }

    /// What the kernel programs cannot do on this host, as notes.
    pub(super) fn note_missing(&mut self) -> Result<(), ObserveError> {
        let Some(bpf) = &self.bpf else {
            return Ok(());
        };
        let mut notes: Vec<String> =
            bpf.missing().iter().map(|error| format!("Not seen: {}.", chain(error))).collect();
        if !bpf.tells_threads() && self.settings.level > Level::Watching {
            notes.push(
                "Which threads slept is not known: idle time is never called no_requests."
                    .to_owned(),
            );
        }
        notes.into_iter().try_for_each(|note| self.note(note))
    }

    /// What rings, shims and kernel programs lost, as notes.
    pub(super) fn note_losses(&mut self) -> Result<(), ObserveError> {
        let rings =
            self.targets.iter().filter_map(|target| Some((target.ring.as_ref()?, target.rearms)));
        let mut notes: Vec<String> =
            rings.flat_map(|(ring, rearms)| losses(ring, rearms)).collect();
        if let Some(bpf) = &self.bpf
            && let Ok(counters) = bpf.counters()
        {
            for (count, what) in [
                (counters.ring_full, "stacks found the kernel's ring buffer full"),
                (counters.stack_failed, "stacks could not be read"),
                (
                    counters.scratch_busy,
                    "stacks found every place of their CPU to be put together in taken",
                ),
                (
                    counters.sleep_ends_unseen,
                    "sleeps ended and the kernel did not tell of it: when, is reckoned from the processor time of their threads",
                ),
                (
                    counters.waits_lost,
                    "sleeps of threads found the kernel's ring buffer full: idle time behind them may be called host_bound",
                ),
                (
                    counters.sleepers_full,
                    "times a thread found no room among the sleeping ones: idle time behind it may be called host_bound",
                ),
            ] {
                if count > 0 {
                    notes.push(format!("{count} {what}."));
                }
            }
            if counters.short_sleeps > 0 {
                #[expect(clippy::cast_precision_loss, reason = "a figure to read")]
                let ms = counters.short_sleep_ns as f64 / 1e6;
                notes.push(format!(
                    "{} sleeps were too short to be told, {ms:.1} ms in all: profiles of time off the CPU lack them.",
                    counters.short_sleeps
                ));
            }
        }
        let touches: u64 = self.targets.iter().map(|target| target.touched.refused()).sum();
        if touches > 0 {
            notes.push(format!(
                "{touches} first touches of pages found no room: who has resident memory is known of the earlier ones."
            ));
        }
        notes.into_iter().try_for_each(|note| self.note(note))
    }

    /// What stacks and names lost, as notes.
    pub(super) fn note_unnamed(&mut self) -> Result<(), ObserveError> {
        let losses = self.symbols.losses();
        let StackLosses { unwind, python, malformed } = self.maker.losses();
        let counts = [
            (malformed, "stacks came from the kernel shorter than they say and were left out"),
            (unwind.damaged, "functions have unwind information that is damaged or not supported"),
            (
                unwind.files_refused,
                "mapped files could not be opened to unwind through: stacks are cut there",
            ),
            (unwind.flushed, "times the tables for unwinding were full and were started over"),
            (
                python.unreadable,
                "Python frames have no name: their code object was gone, or was none",
            ),
            (
                python.too_many,
                "Python frames have no name: their process showed too much new code at once",
            ),
            (python.forgotten, "times too much Python code was known and was read again"),
            (python.late, "Python frames were asked for when their names were forgotten"),
            (losses.files, "mapped files could not be opened: their frames show as offsets"),
            (
                losses.unnamed,
                "addresses have no name: the search for it broke off or took too long",
            ),
            (
                self.kernel_names.nameless(),
                "addresses of the kernel have no name: it tells them to who may load programs, or has CAP_SYSLOG",
            ),
            (
                losses.too_late,
                "addresses belong to processes that ended before they could be named",
            ),
        ];
        let lost = counts.into_iter().filter(|&(count, _)| count > 0);
        lost.map(|(count, what)| format!("{count} {what}.")).try_for_each(|note| self.note(note))
    }
}

/// What one worker's ring and shim lost, a sentence each.
fn losses(ring: &WorkerRing, rearms: u64) -> Vec<String> {
    let (pid, status) = (ring.pid(), ring.status());
    [
        (status.lost, "records found the ring full"),
        (status.discarded, "records found no free activity buffer"),
        (status.cupti_dropped, "records were dropped by CUPTI"),
        (ring.abandoned(), "records were never completed by their thread"),
        (status.names_full, "kernels have no name: the name area is full"),
        (
            status.graphs_full,
            "graph changes found the graph table full: kernels of these nodes show no capture stack",
        ),
        (
            ring.captures_refused(),
            "capture stacks found no room beside the graph table: an agent after this one lacks them",
        ),
        // The first is told when it happens.
        (rearms.saturating_sub(1), "more times its observation was started over"),
        (status.panics, "panics were caught in the shim, which turned itself off"),
        (status.heap_refused, "samples of its heap found no room and are not counted"),
        (
            u64::from(status.heap_mean == HEAP_CLOSED),
            "allocator cannot be looked into: its functions are not those of a library",
        ),
        (
            status.heap_without_python.min(1),
            "Python's objects of 512 bytes and less are not seen: another tool (tracemalloc, a memory profiler) has exchanged the functions of its allocator",
        ),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("Process {pid}: {count} {what}."))
    .collect()
}
