//! Shapes of memory over time, drawn at random, with their truth; and how verdicts meet them.

pub(crate) mod dice;
pub(crate) mod drawn;
pub(crate) mod rates;

use analysis::ids::Ns;
use analysis::memory::{Age, Kind, Question, Series, Verdict, judge};

pub(crate) use dice::Dice;

pub(crate) const SECOND: u64 = 1_000_000_000;
pub(crate) const MIB: f64 = 1_048_576.0;
pub(crate) const GIB: f64 = 1024.0 * MIB;

/// What is seen at an instant; 0 where a shape does not have it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) live: f64,
    pub(crate) reserved: f64,
    pub(crate) requests: f64,
}

/// What is seen after so many seconds.
pub(crate) type Amounts = Box<dyn FnMut(f64, &mut Dice) -> Seen>;

/// What becomes of allocations.
pub(crate) struct Survival {
    /// Bytes a second.
    pub(crate) allocated: f64,
    /// Share that is still there at an age in seconds.
    pub(crate) share: Box<dyn Fn(f64) -> f64>,
}

/// A course of memory.
pub(crate) struct Run {
    pub(crate) step_s: u64,
    pub(crate) steps: u64,
    /// From when on a leak leaks, seconds.
    pub(crate) onset_s: u64,
    /// A leak has to be found by then, seconds.
    pub(crate) deadline_s: u64,
    pub(crate) sample_bytes: u64,
    /// The truth of a leak's rate, bytes per second; 0 for what is none.
    pub(crate) rate: f64,
    /// And bytes a request, where it is of requests.
    pub(crate) per_request: f64,
    pub(crate) amounts: Amounts,
    pub(crate) survival: Option<Survival>,
    pub(crate) reserved: bool,
    pub(crate) requests: bool,
}

impl Run {
    /// Only live bytes, by a function of seconds.
    pub(crate) fn new(
        step_s: u64,
        steps: u64,
        mut live: impl FnMut(f64, &mut Dice) -> f64 + 'static,
    ) -> Self {
        Self {
            step_s,
            steps,
            onset_s: 0,
            deadline_s: step_s * steps,
            sample_bytes: 0,
            rate: 0.0,
            per_request: 0.0,
            amounts: Box::new(move |at, dice| Seen { live: live(at, dice), ..Seen::default() }),
            survival: None,
            reserved: false,
            requests: false,
        }
    }
}

/// What a shape truly is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Truth {
    Leaks,
    /// Grows for a while: until it bends nothing tells it from a leak.
    Grows,
    Neither,
}

/// A kind of run, what it truly is, and which verdicts at its end are right.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) name: &'static str,
    pub(crate) truth: Truth,
    pub(crate) right: &'static [&'static str],
    pub(crate) draw: fn(&mut Dice) -> Run,
}

/// A verdict and when it was given, seconds.
pub(crate) struct Look {
    pub(crate) at_s: u64,
    pub(crate) verdict: Verdict,
}

/// The series of a run.
pub(crate) struct All {
    pub(crate) live: Series,
    reserved: Series,
    requests: Series,
}

impl All {
    fn new(run: &Run) -> Self {
        let new = || Series::new(run.step_s * SECOND);
        Self { live: new(), reserved: new(), requests: new() }
    }

    fn add(&mut self, time: Ns, seen: Seen) {
        self.live.add(time, whole(seen.live));
        self.reserved.add(time, whole(seen.reserved));
        self.requests.add(time, whole(seen.requests));
    }

    fn question<'a>(&'a self, run: &Run, survivors: &'a [Age]) -> Question<'a> {
        Question {
            reserved: run.reserved.then_some(&self.reserved),
            requests: run.requests.then_some(&self.requests),
            survivors,
            sample_bytes: run.sample_bytes,
            ..Question::new(&self.live)
        }
    }
}

/// Plays one run: a look every 2 s (steps) up to a minute, and then whenever a twentieth has been added.
pub(crate) fn play(shape: &Shape, seed: u64) -> (Run, Vec<Look>) {
    let mut dice = Dice::new(seed);
    let mut run = (shape.draw)(&mut dice);
    let mut all = All::new(&run);
    let mut looks = Vec::new();
    let mut next = 10;
    // No two runs begin at one time.
    let begin = u64::from(dice.below(1 << 30));
    for index in 0..run.steps {
        let at_s = index * run.step_s;
        let seen = (run.amounts)(float(at_s), &mut dice);
        all.add(Ns(begin + at_s * SECOND), seen);
        if index + 1 == next || index + 1 == run.steps {
            next = (next + if next < 60 { 2 } else { 5 }).max(next * 21 / 20);
            let survivors = survivors(&run, at_s);
            let verdict = judge(&all.question(&run, &survivors));
            looks.push(Look { at_s, verdict });
        }
    }
    (run, looks)
}

/// Sixteen ages.
fn survivors(run: &Run, at_s: u64) -> Vec<Age> {
    let Some(Survival { allocated, share }) = &run.survival else {
        return Vec::new();
    };
    let width = float(at_s) / 16.0;
    (0..16)
        .map(|index| {
            let youngest = width * f64::from(index);
            let allocated = allocated * width;
            Age {
                oldest_ns: whole((youngest + width) * 1e9),
                youngest_ns: whole(youngest * 1e9),
                allocated: whole(allocated),
                live: whole(allocated * share(youngest + width / 2.0)),
            }
        })
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "seconds of days")]
fn float(seconds: u64) -> f64 {
    seconds as f64
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates")]
pub(crate) fn whole(bytes: f64) -> u64 {
    bytes.max(0.0) as u64
}

/// What a look said, in the corpus' words.
pub(crate) fn said(look: &Look) -> &'static str {
    match look.verdict.kind {
        Kind::Undecided(_) => "undecided",
        kind => kind.name(),
    }
}
