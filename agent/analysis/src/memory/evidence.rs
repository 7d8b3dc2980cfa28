//! The sentences of a verdict.

use super::assess::{Assessment, Course, TooShort};
use super::number::{bytes, time};
use super::series::Series;
use super::survivors::Survival;
use super::trend::Trend;
use super::verdict::{Interval, Kind, Missing, Until};

/// What the sentences are made of.
pub(super) struct Facts<'a> {
    pub assessment: &'a Assessment,
    /// Whether what follows the load was taken out.
    pub followed: bool,
    pub survival: Survival,
    pub refused: u64,
    /// Of fragmentation: the trend of what is reserved, and of what lives in it.
    pub reserved: Option<(Trend, Trend)>,
}

pub(super) fn too_short(short: TooShort, live: &Series) -> String {
    let TooShort { have, need } = short;
    let step = time(live.step_s());
    format!("{have} points of {step} after the warm-up, {need} are needed")
}

impl Facts<'_> {
    /// At most nine.
    pub(super) fn sentences(
        &self,
        kind: Kind,
        rate: Interval,
        per_thousand: Option<Interval>,
        until: Option<Until>,
    ) -> Vec<String> {
        let mut said = self.course(rate);
        if let Kind::Undecided(missing) = kind {
            said.push(undecided(missing));
        }
        said.extend(self.survivors());
        if let (Some(Interval { value, low, high }), true) = (per_thousand, rate.low > 0.0) {
            said.push(format!(
                "{} per 1000 requests ({} to {})",
                bytes(value),
                bytes(low),
                bytes(high)
            ));
        }
        if let Some(Until { seconds, earliest, latest }) = until {
            let latest = latest.map_or_else(|| "never".to_owned(), time);
            let (seconds, earliest) = (time(seconds), time(earliest));
            said.push(format!(
                "at this rate the limit is reached in {seconds} ({earliest} to {latest})"
            ));
        }
        if self.assessment.warm_up > 0.0 {
            said.push(format!(
                "warm-up ended after {}, {} above the first amount",
                time(self.assessment.warm_up),
                bytes(self.assessment.warm_growth)
            ));
        }
        if self.followed {
            said.push("what follows the rate of requests was taken out first".to_owned());
        }
        if self.refused > 0 {
            said.push(format!(
                "{} amounts came with a time that went back and were left out",
                self.refused
            ));
        }
        said
    }

    fn course(&self, rate: Interval) -> Vec<String> {
        let assessment = self.assessment;
        let span = time(assessment.end - assessment.since);
        let slope =
            format!("{}/s ({} to {})", bytes(rate.value), bytes(rate.low), bytes(rate.high));
        if let Some((rise, live)) = self.reserved {
            return vec![format!(
                "what is reserved rises by {slope} over {} windows, what lives in it by {}/s ({} to {})",
                rise.windows,
                bytes(live.slope),
                bytes(live.low),
                bytes(live.high)
            )];
        }
        let of = |trend: &Trend| {
            let what = if assessment.by_cycle { "cycles" } else { "windows" };
            format!("{} {what} in {span}", trend.windows)
        };
        match &assessment.course {
            Course::Rises(trend, pace) => vec![
                format!("troughs of {} rise by {slope}", of(trend)),
                format!(
                    "{}/s in the first half, {}/s in the second",
                    bytes(pace.first),
                    bytes(pace.second)
                ),
            ],
            Course::Slows(trend, pace) => vec![
                format!("troughs of {} rise by {slope}", of(trend)),
                format!(
                    "ever more slowly: {}/s in the first half, {}/s in the second",
                    bytes(pace.first),
                    bytes(pace.second)
                ),
            ],
            Course::Stopped { grown, late } => vec![format!(
                "grew by {} in {span}; in the last third by {}/s ({} to {})",
                bytes(*grown),
                bytes(late.slope),
                bytes(late.low),
                bytes(late.high)
            )],
            Course::Flat(trend) | Course::Unclear(trend) => {
                let mut said = vec![format!("troughs of {} move by {slope}", of(trend))];
                if assessment.cycles.falls > 0 {
                    said.push(format!(
                        "fell back {} times from up to {} above",
                        assessment.cycles.falls,
                        bytes(assessment.cycles.height)
                    ));
                }
                said
            }
        }
    }

    fn survivors(&self) -> Option<String> {
        match self.survival {
            Survival::Unknown => None,
            Survival::Stay { share, live } => Some(format!(
                "of the older half of what was allocated meanwhile {:.1} % are still there: {}",
                share * 100.0,
                bytes(live)
            )),
            Survival::Go { live, expected } => Some(format!(
                "of the older half of what was allocated meanwhile {} are still there, the growth would need {}",
                bytes(live),
                bytes(expected)
            )),
        }
    }
}

fn undecided(missing: Missing) -> String {
    match missing {
        Missing::Points { have, need } => format!("{have} points, {need} are needed"),
        Missing::Samples { have } => {
            format!("the growth is worth {have:.1} samples, four are needed to tell it from chance")
        }
        Missing::Amount { grown } => {
            format!("it grew by {}, which allocators keep in reserve", bytes(grown))
        }
        Missing::Clarity => "it may rise, but chance does as much in one of forty".to_owned(),
        Missing::Bend => {
            "it may be filling up: a decision needs the time until it stops, or does not".to_owned()
        }
        Missing::Load => "requests became more meanwhile, and may hold it".to_owned(),
        Missing::Survivors => "so it is not kept: traffic grew, or blocks live longer".to_owned(),
    }
}
