//! Allocations that are counted together: those of a site, or of a place.

use super::super::cohorts::Cohorts;
use super::super::number::float;
use super::super::series::Series;
use super::super::survivors::Age;
use super::super::verdict::{Question, Verdict, judge};
use super::{Block, Known};
use crate::ids::Ns;

/// Sums in bytes that blocks stand for, and in blocks seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub bytes: u64,
    pub blocks: u64,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.blocks = self.blocks.saturating_add(other.blocks);
    }

    fn take(&mut self, other: Self) {
        self.bytes = self.bytes.saturating_sub(other.bytes);
        self.blocks = self.blocks.saturating_sub(other.blocks);
    }
}

/// What became of allocations that are counted together.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Bytes are at least those of every live block: overstated where a free was not seen.
    pub live: Counts,
    pub allocated: Counts,
    /// Bytes since the last tick: the least and the greatest amount. `None` before the first: what it began from is no
    /// trough.
    extremes: Option<(u64, u64)>,
    series: Series,
    cohorts: Cohorts,
    /// Of the bytes that blocks stand for beyond their own size: sum of squares.
    sampled_squares: f64,
}

impl Tally {
    pub(super) fn new(step_ns: u64) -> Self {
        Self {
            live: Counts::default(),
            allocated: Counts::default(),
            extremes: None,
            series: Series::new(step_ns),
            cohorts: Cohorts::new(step_ns),
            sampled_squares: 0.0,
        }
    }

    pub(super) fn allocated(&mut self, block: &Block) {
        self.live.add(block.counts());
        self.touch();
        self.allocated.add(block.counts());
        self.cohorts.allocated(block.born, block.stands_for);
        if block.stands_for != block.bytes {
            self.sampled_squares += float(block.stands_for) * float(block.stands_for);
        }
    }

    pub(super) fn freed(&mut self, block: &Block) {
        self.live.take(block.counts());
        self.touch();
        self.cohorts.freed(block.born, block.stands_for);
    }

    /// It is so much now: of what is counted by others, block by block nothing is known.
    pub(super) fn set(&mut self, bytes: u64) {
        self.live.bytes = bytes;
        self.touch();
    }

    /// Takes over what another counted. How its live bytes went is lost: from here on they are part of these.
    pub(super) fn absorb(&mut self, other: &Self) {
        self.live.add(other.live);
        self.touch();
        self.allocated.add(other.allocated);
        self.cohorts.absorb(&other.cohorts);
        self.sampled_squares += other.sampled_squares;
    }

    /// Takes over what another counted, and how it went.
    pub(super) fn join(&mut self, other: &Self) {
        let sum = |(least, greatest): (u64, u64), (their_least, their_greatest): (u64, u64)| {
            (least.saturating_add(their_least), greatest.saturating_add(their_greatest))
        };
        self.extremes = match (self.extremes, other.extremes) {
            (Some(ours), Some(theirs)) => Some(sum(ours, theirs)),
            (ours, theirs) => ours.or(theirs),
        };
        self.absorb(other);
        self.series.plus(&other.series);
    }

    /// The amount changed.
    fn touch(&mut self) {
        if let Some((least, greatest)) = &mut self.extremes {
            *least = (*least).min(self.live.bytes);
            *greatest = (*greatest).max(self.live.bytes);
        }
    }

    /// Writes down what is live now, and what was live at the least and at the most since the last time.
    pub(super) fn tick(&mut self, now: Ns) {
        if let Some((least, greatest)) = self.extremes {
            self.series.add(now, least);
            self.series.add(now, greatest);
        }
        self.series.add(now, self.live.bytes);
        self.extremes = Some((self.live.bytes, self.live.bytes));
    }

    /// How live bytes went.
    pub fn series(&self) -> &Series {
        &self.series
    }

    /// What was allocated when, and how much of it is there; oldest first.
    pub fn ages(&self, now: Ns) -> Vec<Age> {
        self.cohorts.ages(now)
    }

    /// Root of the mean square of the bytes that a block stands for, where blocks are sampled; else 0.
    fn sample_bytes(&self) -> u64 {
        let mean = self.sampled_squares / float(self.allocated.blocks.max(1));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a root is not negative; a cast saturates"
        )]
        let bytes = mean.sqrt() as u64;
        bytes
    }

    /// Says what it is. `reserved`: what is kept for it. `known.requests` and `known.limit` are those of the process.
    /// `slack`: as of a [`Question`].
    pub fn judge(
        &self,
        now: Ns,
        reserved: Option<&Series>,
        known: &Known<'_>,
        slack: u64,
    ) -> Verdict {
        judge(&Question {
            live: &self.series,
            reserved,
            requests: known.requests,
            survivors: &self.ages(now),
            sample_bytes: self.sample_bytes(),
            limit: known.limit,
            slack,
        })
    }
}
