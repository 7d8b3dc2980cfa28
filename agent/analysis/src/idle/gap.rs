//! A gap while it lasts, and the longest ones once they are over.

use crate::ids::{NameId, Ns, StackId};
use crate::limits::{GAP_PARTS, GAPS};
use crate::report::{GapLaunch, IdleCause, IdleGap, IdlePart, Window};

use super::Waited;
use super::code::GapCode;

/// A gap that is not over, or not explained to its end.
#[derive(Clone, Debug)]
pub(super) struct OpenGap {
    pub(super) start: u64,
    /// Causes are decided up to here.
    pub(super) decided: u64,
    pub(super) waited: Option<Waited>,
    /// Of its host-bound parts.
    pub(super) code: GapCode,
    before: Option<NameId>,
    parts: Vec<IdlePart>,
}

impl OpenGap {
    /// `room` is what an earlier gap left.
    pub(super) fn new(start: u64, before: Option<NameId>, mut room: Vec<IdlePart>) -> Self {
        room.clear();
        let code = GapCode::default();
        Self { start, decided: start, waited: None, code, before, parts: room }
    }

    pub(super) fn into_parts(self) -> Vec<IdlePart> {
        self.parts
    }

    /// `[decided, end)` has this cause.
    pub(super) fn part(&mut self, end: u64, cause: IdleCause) {
        self.decided = end;
        let full = self.parts.len() >= GAP_PARTS;
        match self.parts.last_mut() {
            Some(last) if last.cause == cause || full => last.end = Ns(end),
            _ => self.parts.push(IdlePart { end: Ns(end), cause }),
        }
    }

    pub(super) fn finish(
        self,
        end: u64,
        after: Option<NameId>,
        launch: Option<GapLaunch>,
        sync: Option<Window>,
        stack: Option<StackId>,
    ) -> IdleGap {
        IdleGap {
            start: Ns(self.start),
            end: Ns(end),
            parts: self.parts,
            before: self.before,
            after,
            launch,
            sync,
            stack,
            host: self.code.finish(),
        }
    }
}

/// The longest gaps seen.
#[derive(Debug, Default)]
pub(super) struct Longest {
    kept: Vec<IdleGap>,
    /// Shorter ones need not be kept.
    least: u64,
    pub(super) count: u64,
}

impl Longest {
    /// Counts a gap that is over. Whether its evidence is to be kept.
    pub(super) fn wants(&mut self, length: u64) -> bool {
        self.count += 1;
        length >= self.least
    }

    /// Keeps a gap that was wanted.
    pub(super) fn add(&mut self, gap: IdleGap) {
        self.kept.push(gap);
        // Sorting at twice the number costs each gap a constant.
        if self.kept.len() >= 2 * GAPS {
            sort(&mut self.kept);
            self.kept.truncate(GAPS);
            self.least = self.kept.last().map_or(0, length);
        }
    }

    pub(super) fn list(&self) -> Vec<IdleGap> {
        let mut list = self.kept.clone();
        sort(&mut list);
        list.truncate(GAPS);
        list
    }
}

fn length(gap: &IdleGap) -> u64 {
    gap.end.0.saturating_sub(gap.start.0)
}

/// Longest first, the earlier one of two equals.
fn sort(gaps: &mut [IdleGap]) {
    gaps.sort_by_key(|gap| (std::cmp::Reverse(length(gap)), gap.start));
}
