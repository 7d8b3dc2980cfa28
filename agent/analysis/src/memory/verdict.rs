//! What a series of live bytes is: a leak, or one of the things that look like one.
//!
//! Given series and what else is known, [`judge`] weighs the evidence of the other files here and writes it down. It
//! does not decide what is done about it, and keeps nothing between calls.

use super::assess::{Assessment, Course, Pace, TooShort, assess};
use super::evidence::{self, Facts};
use super::levels::{Falls, Level, leasts, levels, warm_up};
use super::load::Load;
use super::number::float;
use super::series::Series;
use super::survivors::{Age, Survival, survival};
use super::trend::Trend;
use crate::ids::Ns;

/// Growth that adds less than this part of what is there in a day is none: a hundred days double it.
const NOTICED: f64 = 0.01;

const DAY_S: f64 = 86_400.0;

/// How sure a series alone can make that growth is a leak and not a cache or traffic that will
/// stop growing after its end. docs/memory.md has how often it was right.
const MOST: f64 = 0.9;

/// And with survivors, which rule traffic out but not a cache.
const MOST_WITH_SURVIVORS: f64 = 0.95;

/// Where nothing ever falls, nothing is known of what comes back: it may be the first rise of a sawtooth, or a
/// program that is starting.
const MOST_WITHOUT_FALLS: f64 = 0.5;

/// Falls that together are less than this part of the growth are none, and neither are falls at fewer than this part
/// of the points: a single one ends a sawtooth's first rise.
const FALLS: f64 = 0.1;

/// A series is looked at again and again as it grows, and each look may find a rise by chance. As most of what is seen was
/// seen before, hundreds of looks are worth some twenty independent ones.
const LOOKS: f64 = 20.0;

/// A burst is over within this part of the time.
const BURST: f64 = 0.25;

/// What is known.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// Live bytes.
    pub live: &'a Series,
    /// Bytes reserved or mapped for them.
    pub reserved: Option<&'a Series>,
    /// Requests served: a counter that only rises.
    pub requests: Option<&'a Series>,
    /// What became of allocations, by age; empty where it is not known.
    pub survivors: &'a [Age],
    /// Bytes that one sample stands for (root of the mean square where they differ), for heaps that are sampled; 0
    /// where every allocation is seen.
    pub sample_bytes: u64,
    /// Bytes at which something gives way: a control group's, a device's.
    pub limit: Option<u64>,
    /// Bytes that come and go by themselves, as allocators keep pages in reserve: less growth than that is not told.
    pub slack: u64,
}

impl<'a> Question<'a> {
    /// Live bytes alone.
    pub fn new(live: &'a Series) -> Self {
        let (reserved, requests, limit) = (None, None, None);
        Self { live, reserved, requests, survivors: &[], sample_bytes: 0, limit, slack: 0 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Troughs rise, and nothing says that they will stop.
    Leak,
    /// It grew and stopped.
    GrowthToPlateau,
    /// It comes back to the same trough, three times or more.
    Sawtooth,
    /// It rose and came back, once or twice.
    Burst,
    /// What is reserved rises, what lives in it does not.
    Fragmentation,
    /// Nothing of all this.
    Stable,
    Undecided(Missing),
}

impl Kind {
    /// For labels of metrics: a fixed set of words.
    pub fn name(self) -> &'static str {
        match self {
            Self::Leak => "leak",
            Self::GrowthToPlateau => "growth_to_plateau",
            Self::Sawtooth => "sawtooth",
            Self::Burst => "burst",
            Self::Fragmentation => "fragmentation",
            Self::Stable => "stable",
            Self::Undecided(_) => "undecided",
        }
    }
}

/// What a decision would need.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Missing {
    /// Points after the warm-up.
    Points { have: usize, need: usize },
    /// Growth worth more samples: so many were there, four tell it from chance.
    Samples { have: f64 },
    /// A clearer rise: it may be chance.
    Clarity,
    /// More growth than comes and goes by itself; bytes.
    Amount { grown: f64 },
    /// Time: it grows ever more slowly, and may stop.
    Bend,
    /// The load to stay as it is or to fall: it rose as memory did, and may be why.
    Load,
    /// Something to explain the growth: hardly anything of the older allocations is still there, so it is traffic.
    Survivors,
}

/// An estimate and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

impl Interval {
    fn times(self, factor: f64) -> Self {
        Self { value: self.value * factor, low: self.low * factor, high: self.high * factor }
    }
}

/// When a limit is reached if it goes on like this; seconds from the last point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Until {
    pub seconds: f64,
    pub earliest: f64,
    /// `None`: perhaps never.
    pub latest: Option<f64>,
}

/// What it is, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    pub kind: Kind,
    /// The chance that what sets the verdict apart is true, as far as these numbers tell, from 0 to 1.
    ///
    /// `Leak`, `Fragmentation`: troughs rise **and** the second half of the rise is at least three quarters
    /// as fast as the first; at most 0.9, and 0.95 with survivors, because what happens after the last
    /// point is not known, and at most 0.5, or 0.75, where nothing ever falls. `GrowthToPlateau`: the last third is less than a third as fast as the whole.
    /// `Stable`, `Sawtooth`, `Burst`: over the time seen it did not grow by more than what comes and goes, or a tenth of
    /// what is there. `Undecided`: 0.
    pub confidence: f64,
    /// Bytes per second of the troughs; of what is reserved, for `Fragmentation`.
    pub rate: Option<Interval>,
    /// Bytes per 1 000 requests, where requests are counted and some were served.
    pub per_thousand_requests: Option<Interval>,
    /// From when on the rate holds.
    pub since: Option<Ns>,
    /// When the warm-up ended; `None`: no warm-up was seen.
    pub warm_up_end: Option<Ns>,
    /// When the limit is reached; only of what grows.
    pub until_limit: Option<Until>,
    /// Sentences with numbers, the most telling first.
    pub evidence: Vec<String>,
}

/// A kind, the trend it rests on, and how sure it is.
#[derive(Clone, Copy)]
struct Found {
    kind: Kind,
    trend: Trend,
    confidence: f64,
}

impl Found {
    fn undecided(self, missing: Missing) -> Self {
        Self { kind: Kind::Undecided(missing), confidence: 0.0, ..self }
    }
}

/// Says what a series is.
pub fn judge(question: &Question<'_>) -> Verdict {
    let sampled = float(question.sample_bytes);
    let (mut levels, base) = levels(question.live);
    let at: Vec<f64> = levels.iter().map(|level| level.at).collect();
    let load = question.requests.and_then(|requests| Load::of(requests, question.live, &at));
    let followed = load.as_ref().is_some_and(|load| take_out(&mut levels, load));
    let assessment = match assess(&levels, sampled) {
        Ok(assessment) => assessment,
        Err(short) => return too_short(short, question.live),
    };
    let level = (float(base) + assessment.trough).max(0.0);
    let found = decide(&levels, &assessment, level, sampled);
    let survival = if assessment.rises() {
        let time = assessment.end - assessment.since;
        survival(question.survivors, found.trend.slope, time, sampled)
    } else {
        Survival::Unknown
    };
    let loaded = || {
        load.as_ref().is_some_and(|load| loaded(load, &levels, &assessment, &found.trend, level))
    };
    let live = weigh(found, survival, loaded);
    let grown = live.trend.slope * (assessment.end - assessment.since);
    let live = if live.kind == Kind::Leak && grown < float(question.slack) {
        live.undecided(Missing::Amount { grown })
    } else {
        live
    };
    let reserved = question.reserved.and_then(|reserved| fragmented(reserved, &live, &assessment));
    let (found, crest) = match reserved {
        Some((reserved, crest)) => (reserved, crest),
        None => (live, float(base) + assessment.crest),
    };
    let rate = Interval { value: found.trend.slope, low: found.trend.low, high: found.trend.high };
    let per_request = load.as_ref().and_then(|load| per_request(load, &at, &assessment));
    let per_thousand_requests = per_request.map(|seconds| rate.times(1000.0 * seconds));
    let grows = matches!(found.kind, Kind::Leak | Kind::Fragmentation);
    let until_limit = question.limit.filter(|_| grows).and_then(|limit| until(rate, crest, limit));
    let facts = Facts {
        assessment: &assessment,
        followed,
        survival,
        refused: question.live.refused(),
        reserved: reserved.map(|(reserved, _)| (reserved.trend, live.trend)),
    };
    Verdict {
        kind: found.kind,
        confidence: found.confidence,
        rate: Some(rate),
        per_thousand_requests,
        since: moment(question.live, assessment.since),
        warm_up_end: moment(question.live, assessment.warm_up).filter(|_| assessment.warm_up > 0.0),
        until_limit,
        evidence: facts.sentences(found.kind, rate, per_thousand_requests, until_limit),
    }
}

/// What survivors and the load say of a leak. Survivors are asked first: they are what is there, and
/// load is only what may be why.
fn weigh(found: Found, survival: Survival, loaded: impl FnOnce() -> bool) -> Found {
    if found.kind != Kind::Leak {
        return found;
    }
    match survival {
        Survival::Go { .. } => found.undecided(Missing::Survivors),
        Survival::Stay { .. } => {
            let confidence = (1.0 - (1.0 - found.confidence) / 2.0).min(MOST_WITH_SURVIVORS);
            Found { confidence, ..found }
        }
        Survival::Unknown if loaded() => found.undecided(Missing::Load),
        Survival::Unknown => Found { confidence: found.confidence.min(MOST), ..found },
    }
}

/// Whether load that rose meanwhile may be why memory did.
fn loaded(
    load: &Load,
    levels: &[Level],
    assessment: &Assessment,
    trend: &Trend,
    level: f64,
) -> bool {
    let from = levels.partition_point(|level| level.at < assessment.since);
    let grown = trend.slope * (assessment.end - assessment.since);
    load.explains(&leasts(&levels[from..]), from, grown, level)
}

/// What is reserved, where it leaks by the same rules as live bytes would, while these rise at most half as fast;
/// and its crest.
fn fragmented(reserved: &Series, live: &Found, lives: &Assessment) -> Option<(Found, f64)> {
    let rises_no_more_than_by_chance = matches!(
        live.kind,
        Kind::Stable
            | Kind::Sawtooth
            | Kind::Burst
            | Kind::Undecided(Missing::Clarity | Missing::Samples { .. })
    );
    if !rises_no_more_than_by_chance {
        return None;
    }
    let (levels, base) = levels(reserved);
    let assessment = assess(&levels, 0.0).ok()?;
    let Course::Rises(trend, pace) = assessment.course else {
        return None;
    };
    let level = (float(base) + assessment.trough).max(0.0);
    if !noticed(&trend, level) || live.trend.high >= trend.slope / 2.0 {
        return None;
    }
    // What is reserved hardly ever falls; that what lives in it does is what matters.
    let confidence = sure(&trend, &pace, lives.falls, 0.0).min(MOST);
    let found = Found { kind: Kind::Fragmentation, trend, confidence };
    Some((found, float(base) + assessment.crest))
}

/// Subtracts what follows the load from everything after the warm-up; whether anything does.
fn take_out(levels: &mut [Level], load: &Load) -> bool {
    let from = warm_up(levels);
    let Some(parts) = load.part(&leasts(&levels[from..]), from) else {
        return false;
    };
    for (level, part) in levels[from..].iter_mut().zip(parts) {
        level.least -= part;
        level.last -= part;
        level.greatest -= part;
    }
    true
}

fn decide(levels: &[Level], assessment: &Assessment, level: f64, sampled: f64) -> Found {
    let time = (assessment.end - assessment.since).max(f64::MIN_POSITIVE);
    match assessment.course {
        Course::Rises(trend, pace) if noticed(&trend, level) => {
            let confidence = sure(&trend, &pace, assessment.falls, trend.slope * time);
            Found { kind: Kind::Leak, trend, confidence }
        }
        Course::Slows(trend, _) if noticed(&trend, level) => {
            Found { kind: Kind::Undecided(Missing::Bend), trend, confidence: 0.0 }
        }
        Course::Unclear(trend) if noticed(&trend, level) => {
            let missing = if sampled > 0.0 && rises_unsampled(levels) {
                Missing::Samples { have: trend.slope * time / sampled }
            } else {
                Missing::Clarity
            };
            Found { kind: Kind::Undecided(missing), trend, confidence: 0.0 }
        }
        Course::Stopped { grown, late } => {
            let confidence = 1.0 - late.above(grown / time / 3.0);
            Found { kind: Kind::GrowthToPlateau, trend: late, confidence }
        }
        Course::Rises(trend, _)
        | Course::Slows(trend, _)
        | Course::Unclear(trend)
        | Course::Flat(trend) => {
            let confidence = 1.0 - trend.above(assessment.cycles.height.max(level / 10.0) / time);
            Found { kind: unmoved(assessment), trend, confidence }
        }
    }
}

/// Whether a growth would be noticed in a day.
fn noticed(trend: &Trend, level: f64) -> bool {
    trend.slope * DAY_S >= NOTICED * level
}

/// Of growth: that it is there, whichever of many looks found it, and keeps its pace.
fn sure(trend: &Trend, pace: &Pace, falls: Falls, grown: f64) -> f64 {
    let comes_back = falls.bytes >= FALLS * grown && falls.share >= FALLS;
    let most = if comes_back { 1.0 } else { MOST_WITHOUT_FALLS };
    let chance = (LOOKS * (1.0 - trend.above(0.0))).min(1.0);
    ((1.0 - chance) * pace.steady).min(most)
}

/// Whether it would rise if sampling had no noise of its own.
fn rises_unsampled(levels: &[Level]) -> bool {
    assess(levels, 0.0).is_ok_and(|assessment| matches!(assessment.course, Course::Rises(..)))
}

/// What it is when the troughs do not rise.
fn unmoved(assessment: &Assessment) -> Kind {
    let cycles = &assessment.cycles;
    if assessment.warm_share > 0.25 {
        Kind::GrowthToPlateau
    } else if cycles.regular(assessment.points) {
        Kind::Sawtooth
    } else if (1..=2).contains(&cycles.falls) && cycles.high_share <= BURST {
        Kind::Burst
    } else {
        Kind::Stable
    }
}

/// Seconds a request, over the time the rate holds.
fn per_request(load: &Load, at: &[f64], assessment: &Assessment) -> Option<f64> {
    let first = at.iter().position(|at| *at >= assessment.since)?;
    let served = load.served.last()? - load.served.get(first)?;
    let time = at.last()? - at.get(first)?;
    (served > 0.0 && time > 0.0).then(|| time / served)
}

fn until(rate: Interval, crest: f64, limit: u64) -> Option<Until> {
    let left = (float(limit) - crest).max(0.0);
    (rate.value > 0.0).then(|| Until {
        seconds: left / rate.value,
        earliest: left / rate.high.max(rate.value),
        latest: (rate.low > 0.0).then(|| left / rate.low),
    })
}

/// A time of the series from seconds since its start.
fn moment(series: &Series, after_s: f64) -> Option<Ns> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a time within the series; a cast saturates"
    )]
    let after = (after_s * 1e9) as u64;
    Some(Ns(series.start()?.0.saturating_add(after.min(series.covered()))))
}

fn too_short(short: TooShort, live: &Series) -> Verdict {
    Verdict {
        kind: Kind::Undecided(Missing::Points { have: short.have, need: short.need }),
        confidence: 0.0,
        rate: None,
        per_thousand_requests: None,
        since: None,
        warm_up_end: None,
        until_limit: None,
        evidence: vec![evidence::too_short(short, live)],
    }
}
