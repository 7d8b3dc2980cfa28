//! Two observations side by side: every subject of either, with its change and whether it counts.

use std::collections::BTreeSet;

use super::figures::{Amount, Figures, Level, Subject};
use super::rank::{self, RankTest};
use super::{FALSE_DISCOVERIES, discovery};

/// Share of observed time under which nothing is tested, on both sides: 0.01 %. Thousands of kernels
/// below it would only weaken the correction for those that matter.
const WORTH_TESTING: f64 = 1e-4;

/// Observed part of a window from which it says something.
const OBSERVED_LEAST: f64 = 0.5;

/// One observation.
#[derive(Clone, Debug, Default)]
pub struct Side {
    /// All of it.
    pub whole: Figures,
    /// Its windows in order; none where only sums are known.
    pub windows: Vec<Figures>,
}

impl Side {
    /// Windows of which enough was observed.
    fn usable(&self) -> Vec<&Figures> {
        self.windows
            .iter()
            .filter(|window| {
                super::figures::ratio(window.observed(), window.wall)
                    .is_some_and(|observed| observed >= OBSERVED_LEAST)
            })
            .collect()
    }
}

/// Why a difference has no verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotTested {
    /// One side has fewer windows than a test needs, or none.
    FewWindows,
    /// It is known in all and not by window: ranges, and kernels beyond those that windows hold.
    NotWindowed,
    /// It appears in too few windows: of both sides, or, as far as its mean goes, of one.
    Rare,
    /// It takes next to no time on either side.
    Negligible,
}

impl NotTested {
    /// The spelling in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FewWindows => "few_windows",
            Self::NotWindowed => "not_windowed",
            Self::Rare => "rare",
            Self::Negligible => "negligible",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Verdict {
    /// `q` is the test's p, corrected for everything tested beside it.
    Tested {
        test: RankTest,
        q: f64,
    },
    Not(NotTested),
}

impl Verdict {
    pub fn significant(&self) -> bool {
        matches!(self, Self::Tested { q, .. } if *q <= FALSE_DISCOVERIES)
    }
}

/// One figure on both sides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measure {
    pub before: Option<f64>,
    pub after: Option<f64>,
    pub verdict: Verdict,
}

impl Measure {
    /// After - before; what is not there counts as 0.
    pub fn change(&self) -> f64 {
        self.after.unwrap_or(0.0) - self.before.unwrap_or(0.0)
    }

    /// The change as a part of before; `None` where there was nothing before or after.
    pub fn relative(&self) -> Option<f64> {
        let (before, after) = (self.before?, self.after?);
        (before > 0.0).then(|| after / before - 1.0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Both,
    New,
    Gone,
}

impl Presence {
    /// The spelling in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::New => "new",
            Self::Gone => "gone",
        }
    }
}

/// One subject on both sides.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub subject: Subject,
    pub presence: Presence,
    pub before: Amount,
    pub after: Amount,
    /// Time a second of observed GPU time.
    pub share: Measure,
    /// Mean time of one, ns; both `None` where nothing is counted.
    pub mean: Measure,
    /// How many a second of observed GPU time.
    pub rate: [f64; 2],
    /// Time an engine step, ns; `None` where a side has no steps.
    pub per_step: [Option<f64>; 2],
}

impl Change {
    /// Its share or its mean changed by more than chance.
    pub fn significant(&self) -> bool {
        self.share.verdict.significant() || self.mean.verdict.significant()
    }
}

/// Everything that is on either side, what changed most first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Comparison {
    pub changes: Vec<Change>,
    /// Windows of each side that were used, and those of which too little was observed.
    pub windows: [usize; 2],
    pub unusable: [usize; 2],
    /// There are enough windows on both sides for tests.
    pub tested: bool,
}

/// Compares `after` with `before`.
pub fn compare(before: &Side, after: &Side) -> Comparison {
    let windows = [before.usable(), after.usable()];
    let tested = windows.iter().all(|windows| windows.len() >= rank::LEAST);
    let subjects: BTreeSet<&Subject> =
        before.whole.amounts.keys().chain(after.whole.amounts.keys()).collect();
    let mut changes: Vec<Change> = subjects
        .into_iter()
        .map(|subject| change(subject, [before, after], &windows, tested))
        .collect();
    for level in Level::ALL {
        correct(changes.iter_mut().filter(|change| change.subject.level == level).collect());
    }
    // Equal ones stay in the order of their names.
    changes.sort_by(|a, b| b.share.change().abs().total_cmp(&a.share.change().abs()));
    Comparison {
        changes,
        windows: [windows[0].len(), windows[1].len()],
        unusable: [before.windows.len() - windows[0].len(), after.windows.len() - windows[1].len()],
        tested,
    }
}

fn change(
    subject: &Subject,
    sides: [&Side; 2],
    windows: &[Vec<&Figures>; 2],
    tested: bool,
) -> Change {
    let [before, after] = sides.map(|side| side.whole.amount(subject));
    let share = sides.map(|side| side.whole.share(subject));
    let mean = sides.map(|side| side.whole.mean(subject));
    let rate = sides.map(|side| {
        let count = side.whole.amount(subject).count;
        super::figures::ratio(count, side.whole.observed()).unwrap_or(0.0) * 1e9
    });
    let per_step =
        sides.map(|side| super::figures::ratio(side.whole.amount(subject).time, side.whole.steps));
    let negligible = share.iter().all(|share| share.unwrap_or(0.0) < WORTH_TESTING);
    let nothing = Amount::default();
    let presence = match (before == nothing, after == nothing) {
        (true, false) => Presence::New,
        (false, true) => Presence::Gone,
        _ => Presence::Both,
    };
    // In how many windows of each side it appears.
    let appears = [0, 1].map(|side: usize| {
        let windows = windows[side].iter();
        windows.filter(|window| window.amounts.contains_key(subject)).count()
    });
    let windowed = [before, after]
        .into_iter()
        .zip(appears)
        .all(|(amount, appears)| amount == nothing || appears > 0);
    let rare = appears.iter().all(|&appears| appears < rank::LEAST);
    let verdict = |of: &dyn Fn(&Figures) -> Option<f64>| {
        if !tested {
            return Verdict::Not(NotTested::FewWindows);
        }
        if negligible {
            return Verdict::Not(NotTested::Negligible);
        }
        if !windowed {
            return Verdict::Not(NotTested::NotWindowed);
        }
        if rare {
            return Verdict::Not(NotTested::Rare);
        }
        // A window in which it did not run has a share of 0 and no mean.
        let [before, after] = [0, 1].map(|side: usize| -> Vec<f64> {
            windows[side].iter().filter_map(|window| of(window)).collect()
        });
        match rank::compare(&before, &after) {
            // Until all of its level are known it stands for itself.
            Some(test) => Verdict::Tested { test, q: test.p },
            None => Verdict::Not(NotTested::Rare),
        }
    };
    let share_verdict = verdict(&|window| window.share(subject));
    let mean_verdict = verdict(&|window| window.mean(subject));
    Change {
        subject: subject.clone(),
        presence,
        before,
        after,
        share: Measure { before: share[0], after: share[1], verdict: share_verdict },
        mean: Measure { before: mean[0], after: mean[1], verdict: mean_verdict },
        rate,
        per_step,
    }
}

/// Corrects every test of one level for all of them.
fn correct(changes: Vec<&mut Change>) {
    let mut verdicts: Vec<&mut Verdict> = changes
        .into_iter()
        .flat_map(|change| [&mut change.share.verdict, &mut change.mean.verdict])
        .filter(|verdict| matches!(verdict, Verdict::Tested { .. }))
        .collect();
    let p: Vec<f64> = verdicts
        .iter()
        .map(|verdict| match verdict {
            Verdict::Tested { test, .. } => test.p,
            Verdict::Not(_) => 1.0,
        })
        .collect();
    for (verdict, corrected) in verdicts.iter_mut().zip(discovery::corrected(&p)) {
        if let Verdict::Tested { q, .. } = verdict {
            *q = corrected;
        }
    }
}

#[cfg(test)]
mod tests;
