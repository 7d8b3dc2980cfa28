//! How often which verdict on memory is given, and when leaks are found: the tables of docs/memory.md.
//!
//!     cargo run --release -p warplens-analysis --example memory_rates [RUNS [SEED [NAME]]]
#![expect(clippy::print_stdout, reason = "tables are what it is for")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use analysis::ids::Ns;
use analysis::memory::series::POINTS;
use analysis::memory::{Question, Series, judge};

#[path = "../tests/memory/shapes/mod.rs"]
mod shapes;

use shapes::drawn::SHAPES;
use shapes::rates::{Rates, measure};
use shapes::{Dice, SECOND, Shape, Truth, whole};

/// Runs of each shape.
const RUNS: u32 = 2000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runs = arguments.first().and_then(|text| text.parse().ok()).unwrap_or(RUNS);
    let seed = arguments.get(1).and_then(|text| text.parse().ok()).unwrap_or(1);
    let name = arguments.get(2).map_or("", String::as_str);
    let measured: Vec<(&Shape, Rates)> = SHAPES
        .iter()
        .filter(|shape| shape.name.contains(name))
        .map(|shape| (shape, measure(shape, runs, seed)))
        .collect();
    println!("{runs} runs of each, seed {seed}\n");
    verdicts(&measured);
    alarms(&measured);
    leaks(&measured);
    confidence(&measured);
    cost(name);
}

/// Looks at each shape, to time them.
const LOOKS: u32 = 200;

/// Amounts that fill a series whose step has doubled once.
const FULL: u32 = 1023;

/// A full series of a shape, and what it took to fill it.
#[expect(clippy::disallowed_methods, reason = "the analysis reads no clock, its price has one")]
fn full(shape: &Shape) -> (Series, Duration) {
    let mut dice = Dice::new(1);
    let mut run = (shape.draw)(&mut dice);
    let seen: Vec<u64> =
        (0..FULL).map(|at| whole((run.amounts)(f64::from(at), &mut dice).live)).collect();
    let mut series = Series::new(SECOND);
    let begin = Instant::now();
    for (at, live) in (0..).zip(seen) {
        series.add(Ns(at * SECOND), live);
    }
    (series, begin.elapsed())
}

/// What a verdict costs, on series that are full.
#[expect(clippy::disallowed_methods, reason = "the analysis reads no clock, its price has one")]
fn cost(name: &str) {
    let (mut slowest, mut all, mut shapes) = (0.0_f64, 0.0, 0_u32);
    let mut added = Duration::ZERO;
    for shape in SHAPES.iter().filter(|shape| shape.name.contains(name)) {
        let (series, spent) = full(shape);
        added += spent;
        assert_eq!(series.points().len(), POINTS, "{}", shape.name);
        let begin = Instant::now();
        for _ in 0..LOOKS {
            let verdict = judge(&Question::new(black_box(&series)));
            assert!(!verdict.evidence.is_empty());
        }
        let each = begin.elapsed().as_secs_f64() * 1e6 / f64::from(LOOKS);
        slowest = slowest.max(each);
        all += each;
        shapes += 1;
    }
    let adds = f64::from(shapes) * f64::from(FULL);
    println!(
        "\na verdict on {POINTS} points: {:.0} us, {slowest:.0} us the slowest shape; an amount added: {:.1} ns",
        all / f64::from(shapes),
        added.as_secs_f64() * 1e9 / adds
    );
}

/// What is said at the end.
fn verdicts(measured: &[(&Shape, Rates)]) {
    let kinds =
        ["leak", "growth_to_plateau", "sawtooth", "burst", "fragmentation", "stable", "undecided"];
    println!("| shape | right | {} |\n|---|---|{}", kinds.join(" | "), "---|".repeat(kinds.len()));
    for (shape, rates) in measured {
        let share = |kind: &str| match rates.said(kind) {
            0 => String::new(),
            runs => format!("{:.1}", rates.percent(runs)),
        };
        let shares: Vec<String> = kinds.iter().map(|kind| share(kind)).collect();
        println!("| {} | {:.1} | {} |", shape.name, rates.percent(rates.right), shares.join(" | "));
    }
}

/// How often a leak is said of what is none.
fn alarms(measured: &[(&Shape, Rates)]) {
    println!(
        "\n| shape | at a look | with 0.8 | at the end | with 0.8 | at any look | with 0.8 |\n|---|---|---|---|---|---|---|"
    );
    for (shape, rates) in measured.iter().filter(|(shape, _)| shape.truth != Truth::Leaks) {
        println!(
            "| {} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} |",
            shape.name,
            rates.percent_of_looks(rates.cried),
            rates.percent_of_looks(rates.cried_high),
            rates.percent(rates.said("leak")),
            rates.percent(rates.leak_high),
            rates.percent(rates.ever),
            rates.percent(rates.ever_high),
        );
    }
}

/// When leaks are found.
fn leaks(measured: &[(&Shape, Rates)]) {
    println!(
        "\n| shape | found | in time | after, median | 90 % | with 0.8 | after, median | 90 % | rate in its interval |\n|---|---|---|---|---|---|---|---|---|"
    );
    for (shape, rates) in measured.iter().filter(|(shape, _)| shape.truth == Truth::Leaks) {
        let after = |times: &[u64], percent| {
            quantile(times, percent).map_or("-".to_owned(), |seconds| format!("{seconds} s"))
        };
        let covered = 100.0 * f64::from(rates.covered) / f64::from(rates.said("leak").max(1));
        println!(
            "| {} | {:.1} | {:.1} | {} | {} | {:.1} | {} | {} | {covered:.0} |",
            shape.name,
            rates.percent(rates.ever),
            rates.percent(rates.in_time),
            after(&rates.found_s, 50),
            after(&rates.found_s, 90),
            rates.percent(rates.ever_high),
            after(&rates.sure_s, 50),
            after(&rates.sure_s, 90),
        );
    }
}

/// Of looks that say leak with a confidence, how many are right.
fn confidence(measured: &[(&Shape, Rates)]) {
    let looks = |truth: Truth, tenth: usize| -> u32 {
        let of = measured.iter().filter(|(shape, _)| shape.truth == truth);
        of.map(|(_, rates)| rates.by_confidence[tenth]).sum()
    };
    println!("\n| confidence | leaks | grows for a while | neither | leaks of leaks and neither |");
    println!("|---|---|---|---|---|");
    for (tenth, from) in (0_u32..10).enumerate() {
        let [leaks, grows, neither] =
            [Truth::Leaks, Truth::Grows, Truth::Neither].map(|truth| looks(truth, tenth));
        let share = 100.0 * f64::from(leaks) / f64::from((leaks + neither).max(1));
        println!(
            "| 0.{from} to 0.{} | {leaks} | {grows} | {neither} | {share:.0} % |",
            if from == 9 { "95".to_owned() } else { (from + 1).to_string() }
        );
    }
}

/// The time by which so many of a hundred of those found were found.
fn quantile(times: &[u64], percent: usize) -> Option<u64> {
    times.get((times.len() * percent / 100).min(times.len().checked_sub(1)?)).copied()
}
