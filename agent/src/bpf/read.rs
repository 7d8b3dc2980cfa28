//! What the kernel programs hand over: events and counters.

use wire::kernel::counter;

use super::error::BpfError;
use super::intake::Intake;
use super::load::Bpf;

/// What the kernel programs did and dropped since they were loaded, all CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Stacks, of launches or samples, that found the ring buffer full.
    pub ring_full: u64,
    /// Launch stacks handed over.
    pub launch_stacks: u64,
    /// CPU samples of watched processes handed over.
    pub cpu_samples: u64,
    /// Of the stacks: those none of whose bytes could be read.
    pub stack_failed: u64,
    /// Process events that found the ring buffer full.
    pub process_events_lost: u64,
    /// Launches counted without protection against counting nested calls twice.
    pub verify_untracked: u64,
    /// Sleeps of threads handed over.
    pub waits: u64,
    /// Sleeps of threads that found the ring buffer full.
    pub waits_lost: u64,
    /// Threads whose sleeps are not told, for want of room.
    pub sleepers_full: u64,
    /// Stacks given up because every place of a CPU to put one together in was taken.
    pub scratch_busy: u64,
    /// Stacks of sleeping threads handed over.
    pub off_cpu_stacks: u64,
    /// Stacks of sleeping threads given up because the thread had used up its budget of them.
    pub off_cpu_over_budget: u64,
    /// Sleeps too short to be told, of threads with stacks, and how long they were in all.
    pub short_sleeps: u64,
    pub short_sleep_ns: u64,
    /// Sleeps whose end the kernel did not tell, and whose length is not known therefore.
    pub sleep_ends_unseen: u64,
    /// Stacks of first touches of pages handed over.
    pub page_stacks: u64,
}

impl Bpf {
    /// Hands every waiting event to `sink`, sleeps of threads first and each sort oldest first, as the
    /// bytes of a [`wire::kernel`] record; returns how many. Does not block.
    pub fn poll(&mut self, sink: impl FnMut(&[u8])) -> usize {
        let batch = self.intake.take();
        batch.iter().for_each(sink);
        batch.len()
    }

    /// For a thread that empties the kernel's buffers while nobody polls.
    pub fn intake(&self) -> Intake {
        self.intake.clone()
    }

    /// Counters since loading.
    pub fn counters(&self) -> Result<Counters, BpfError> {
        Ok(Counters {
            ring_full: self.counter(counter::RING_FULL)?,
            launch_stacks: self.counter(counter::LAUNCH_STACKS)?,
            cpu_samples: self.counter(counter::CPU_SAMPLES)?,
            stack_failed: self.counter(counter::STACK_FAILED)?,
            process_events_lost: self.counter(counter::PROCESS_EVENTS_LOST)?,
            verify_untracked: self.counter(counter::VERIFY_UNTRACKED)?,
            waits: self.counter(counter::WAITS)?,
            waits_lost: self.counter(counter::WAITS_LOST)?,
            sleepers_full: self.counter(counter::SLEEPERS_FULL)?,
            scratch_busy: self.counter(counter::SCRATCH_BUSY)?,
            off_cpu_stacks: self.counter(counter::OFF_CPU_STACKS)?,
            off_cpu_over_budget: self.counter(counter::OFF_CPU_OVER_BUDGET)?,
            short_sleeps: self.counter(counter::SHORT_SLEEPS)?,
            short_sleep_ns: self.counter(counter::SHORT_SLEEP_NS)?,
            sleep_ends_unseen: self.counter(counter::SLEEP_ENDS_UNSEEN)?,
            page_stacks: self.counter(counter::PAGE_STACKS)?,
        })
    }

    fn counter(&self, index: u32) -> Result<u64, BpfError> {
        let values =
            self.counters.get(&index, 0).map_err(|source| BpfError::map("COUNTERS", source))?;
        Ok(values.iter().sum())
    }
}
