//! Cuts an observation of any length into 64 to 128 windows while it goes by.

use super::figures::Figures;
use crate::ids::Ns;

/// Windows kept at most; then every second cut is dropped and windows are twice as long. Between
/// this and half of it stand in the end: enough for a rank test over hundreds of kernels, few
/// enough that a window holds several steps.
const WINDOWS: usize = 128;

/// Shortest window, ns: a few decode steps of a large model, and longer than most prompts' share
/// of a step.
const SHORTEST: u64 = 50_000_000;

/// Cumulative figures at the edges of windows.
#[derive(Clone, Debug)]
pub struct Cuts {
    every: u64,
    /// When the next cut is due; `None` before the first instant that is final.
    next: Option<u64>,
    /// With the instant of each.
    kept: Vec<(u64, Figures)>,
}

impl Default for Cuts {
    fn default() -> Self {
        Self { every: SHORTEST, next: None, kept: Vec::new() }
    }
}

impl Cuts {
    /// Whether [`Cuts::add`] would keep something: everything before `at` is final.
    pub fn due(&self, at: Ns) -> bool {
        self.next.is_none_or(|next| at.0 >= next)
    }

    /// Adds what is final at `at`, from the beginning.
    pub fn add(&mut self, at: Ns, cumulative: Figures) {
        if !self.due(at) {
            return;
        }
        if self.kept.len() > WINDOWS {
            let mut index = 0usize;
            self.kept.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            // Marks may be farther apart than windows were asked to be long.
            let ends = self.kept.first().zip(self.kept.last());
            let (first, last) = ends.map_or((0, 0), |(first, last)| (first.0, last.0));
            let spacing = (last - first) / (self.kept.len() as u64 - 1).max(1);
            self.every = self.every.saturating_mul(2).max(spacing);
            // The edge that is due is one of the windows half as long.
            self.set_next(last);
            if !self.due(at) {
                return;
            }
        }
        self.kept.push((at.0, cumulative));
        self.set_next(at.0);
    }

    /// A mark that comes a little early is not waited for the next one.
    fn set_next(&mut self, last: u64) {
        self.next = Some(last.saturating_add(self.every - self.every / 8));
    }

    /// The windows, in order. What came before the first cut and after the last is no window: it
    /// may be shorter than the others.
    pub fn windows(&self) -> Vec<Figures> {
        let pairs = self.kept.iter().zip(self.kept.iter().skip(1));
        pairs.map(|((_, before), (_, after))| after.since(before)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(wall: u64) -> Figures {
        Figures { wall, ..Figures::default() }
    }

    /// Windows of an observation that becomes final every `step` up to `end`.
    fn cut(step: u64, end: u64) -> Vec<u64> {
        let mut cuts = Cuts::default();
        for (turn, at) in (0..=end).step_by(usize::try_from(step).unwrap()).enumerate() {
            // Marks are not quite regular.
            let at = at + [0, step / 20, step / 50][turn % 3];
            cuts.add(Ns(7 + at), figures(at));
        }
        cuts.windows().iter().map(|window| window.wall).collect()
    }

    #[test]
    fn any_length_gives_a_bounded_number_of_equal_windows() {
        const MS: u64 = 1_000_000;
        for (step, end, windows) in [
            (10 * MS, 500 * MS, 8..=10),
            (100 * MS, 6_000 * MS, 59..=60),
            (100 * MS, 60_000 * MS, 64..=128),
            (100 * MS, 3_600_000 * MS, 64..=128),
            (3 * MS, 100_000 * MS, 64..=128),
        ] {
            let cut = cut(step, end);
            assert!(windows.contains(&cut.len()), "{step} {end}: {} windows", cut.len());
            let (least, most) = (cut.iter().min().unwrap(), cut.iter().max().unwrap());
            // An edge falls on the first instant that is final behind it.
            assert!(most - least <= most / 4, "{step} {end}: {least} to {most}");
            assert!(cut.iter().sum::<u64>() * 100 >= end * 95, "{step} {end}: most of it");
        }
    }

    #[test]
    fn nothing_final_gives_no_window() {
        assert!(Cuts::default().windows().is_empty());
        assert!(cut(1_000_000, 0).is_empty(), "one instant is no window");
    }
}
