//! Over many runs of a shape: which verdicts are given, how often a leak is cried, when one is found.

use std::collections::BTreeMap;

use super::{Shape, play, said};

/// Confidence from which on a verdict is acted on.
pub(crate) const HIGH: f64 = 0.8;

#[derive(Default)]
pub(crate) struct Rates {
    pub(crate) runs: u32,
    /// Runs that end with a right verdict.
    pub(crate) right: u32,
    /// Verdicts at the end.
    pub(crate) last: BTreeMap<&'static str, u32>,
    /// Runs in which a leak was said at the end, and with high confidence.
    pub(crate) leak_high: u32,
    /// Looks, looks that said leak, and that with high confidence; before a leak's onset not counted.
    pub(crate) looks: u32,
    pub(crate) cried: u32,
    pub(crate) cried_high: u32,
    /// Runs in which it was said at any look, and with high confidence.
    pub(crate) ever: u32,
    pub(crate) ever_high: u32,
    /// Runs in which it was said by the deadline.
    pub(crate) in_time: u32,
    /// When it was said first, seconds after the onset.
    pub(crate) found_s: Vec<u64>,
    /// And when with high confidence.
    pub(crate) sure_s: Vec<u64>,
    /// In how many runs that end as a leak the rate's interval holds the truth.
    pub(crate) covered: u32,
    /// Looks that said leak, by tenth of confidence.
    pub(crate) by_confidence: [u32; 11],
}

pub(crate) fn measure(shape: &Shape, runs: u32, seed: u64) -> Rates {
    let mut rates = Rates { runs, ..Rates::default() };
    for index in 0..runs {
        let (run, looks) = play(shape, seed + u64::from(index) * 7919);
        let Some(last) = looks.last() else { continue };
        *rates.last.entry(said(last)).or_default() += 1;
        let leaks = |high: f64| {
            looks.iter().filter(move |look| {
                look.at_s >= run.onset_s && said(look) == "leak" && look.verdict.confidence >= high
            })
        };
        rates.right += u32::from(shape.right.contains(&said(last)));
        rates.looks += number(looks.len());
        rates.cried += number(leaks(0.0).count());
        rates.cried_high += number(leaks(HIGH).count());
        rates.leak_high += u32::from(said(last) == "leak" && last.verdict.confidence >= HIGH);
        for look in leaks(0.0) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 10")]
            let tenth = (look.verdict.confidence * 10.0) as usize;
            rates.by_confidence[tenth] += 1;
        }
        if let Some(first) = leaks(0.0).next() {
            rates.ever += 1;
            rates.in_time += u32::from(first.at_s <= run.deadline_s);
            rates.found_s.push(first.at_s - run.onset_s);
        }
        if let Some(first) = leaks(HIGH).next() {
            rates.ever_high += 1;
            rates.sure_s.push(first.at_s - run.onset_s);
        }
        if said(last) == "leak"
            && let Some(rate) = if run.per_request > 0.0 {
                last.verdict.per_thousand_requests
            } else {
                last.verdict.rate
            }
        {
            let truth = if run.per_request > 0.0 { 1000.0 * run.per_request } else { run.rate };
            rates.covered += u32::from(rate.low <= truth && truth <= rate.high);
        }
    }
    rates.found_s.sort_unstable();
    rates.sure_s.sort_unstable();
    rates
}

fn number(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl Rates {
    /// Of a hundred looks.
    pub(crate) fn percent_of_looks(&self, looks: u32) -> f64 {
        100.0 * f64::from(looks) / f64::from(self.looks.max(1))
    }

    /// Of a hundred runs.
    pub(crate) fn percent(&self, runs: u32) -> f64 {
        100.0 * f64::from(runs) / f64::from(self.runs)
    }

    pub(crate) fn said(&self, verdict: &str) -> u32 {
        self.last.get(verdict).copied().unwrap_or(0)
    }
}
