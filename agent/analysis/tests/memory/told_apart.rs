//! A few runs of each shape, held against bounds that are far enough from what thousands of runs show (docs/memory.md)
//! not to depend on the seed.

use crate::shapes::drawn::SHAPES;
use crate::shapes::rates::measure;
use crate::shapes::{Shape, Truth};

/// Runs of each shape. With these, a bound that is two deviations off is met by chance once in fifty.
const RUNS: u32 = 16;
const SEED: u64 = 20_000;

/// What is asked of a shape, percent.
struct Bounds {
    /// Right verdicts at the end, at least.
    right: f64,
    /// Looks that say leak with a confidence of 0.8, at most.
    high: f64,
    /// Leaks found by their deadline, at least.
    in_time: f64,
}

const PLAIN: Bounds = Bounds { right: 85.0, high: 3.0, in_time: 0.0 };

fn bounds(shape: &Shape) -> Bounds {
    let leak = |in_time| Bounds { right: 85.0, high: 100.0, in_time };
    match (shape.truth, shape.name) {
        (_, "leak: 1 MiB/s in 100 MB of traffic") => leak(80.0),
        (_, "leak: likewise, traffic with memory") => leak(65.0),
        (Truth::Leaks, _) => leak(90.0),
        // Until it bends, nothing tells it from a leak.
        (Truth::Grows, _) => Bounds { right: 65.0, high: 55.0, in_time: 0.0 },
        (_, "daily curve, part of a day" | "fragmentation") => {
            Bounds { right: 50.0, high: 20.0, in_time: 0.0 }
        }
        (_, "daily curve, two days and more") => Bounds { high: 10.0, ..PLAIN },
        (_, "random walk without drift") => Bounds { right: 65.0, ..PLAIN },
        _ => PLAIN,
    }
}

fn check(part: usize) {
    for shape in SHAPES.iter().skip(part).step_by(4) {
        let rates = measure(shape, RUNS, SEED);
        let bounds = bounds(shape);
        let right = rates.percent(rates.right);
        let high = rates.percent_of_looks(rates.cried_high);
        let in_time = rates.percent(rates.in_time);
        assert!(
            right >= bounds.right && high <= bounds.high && in_time >= bounds.in_time,
            "{}: {right} % right, {high} % of looks say leak with 0.8, {in_time} % in time, {} leaks in the end; {:?}",
            shape.name,
            rates.said("leak"),
            rates.last
        );
    }
}

// Four, so that they run beside each other.

#[test]
fn shapes_are_told_apart() {
    check(0);
}

#[test]
fn shapes_are_told_apart_second_part() {
    check(1);
}

#[test]
fn shapes_are_told_apart_third_part() {
    check(2);
}

#[test]
fn shapes_are_told_apart_fourth_part() {
    check(3);
}
