//! How often which verdict on memory is given, and when leaks are found: the tables of docs/memory.md.
//!
//!     cargo run --release -p warplens-analysis --example memory_rates [RUNS [SEED [NAME]]]
#![expect(clippy::print_stdout, reason = "tables are what it is for")]

#[path = "../tests/memory/shapes/mod.rs"]
mod shapes;

use shapes::drawn::SHAPES;
use shapes::rates::{Rates, measure};
use shapes::{Shape, Truth};

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
