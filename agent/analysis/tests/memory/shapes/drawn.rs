//! The shapes.

use super::{Dice, GIB, MIB, Run, Seen, Shape, Survival, Truth};

const KIB: f64 = 1024.0;
const STILL: &[&str] = &["stable", "sawtooth", "burst"];
/// Nothing is wrong with these, and waiting is no fault.
const WAITS: &[&str] = &["stable", "sawtooth", "burst", "undecided"];
const GREW: &[&str] = &["growth_to_plateau"];

pub(crate) const SHAPES: [Shape; 29] = [
    Shape {
        name: "leak: 1 MiB/s in 100 MB of traffic",
        truth: Truth::Leaks,
        right: &["leak"],
        draw: steady_leak,
    },
    Shape {
        name: "leak: likewise, traffic with memory",
        truth: Truth::Leaks,
        right: &["leak"],
        draw: memory_leak,
    },
    Shape {
        name: "leak: 90 B a request, 1000/s, bursty",
        truth: Truth::Leaks,
        right: &["leak"],
        draw: request_leak,
    },
    Shape {
        name: "leak: rare error path",
        truth: Truth::Leaks,
        right: &["leak"],
        draw: error_leak,
    },
    Shape {
        name: "leak: 64 MiB per sleep and wake",
        truth: Truth::Leaks,
        right: &["leak"],
        draw: sleep_leak,
    },
    Shape {
        name: "leak: after warm-up and plateau",
        truth: Truth::Leaks,
        right: &["leak"],
        draw: late_leak,
    },
    Shape { name: "leak: sampled heap", truth: Truth::Leaks, right: &["leak"], draw: sampled_leak },
    Shape {
        name: "leak: any rate, any noise",
        truth: Truth::Leaks,
        right: &["leak"],
        draw: any_leak,
    },
    Shape {
        name: "leak: survivors known",
        truth: Truth::Leaks,
        right: &["leak"],
        draw: survivor_leak,
    },
    Shape {
        name: "leak: under a daily curve, requests known",
        truth: Truth::Leaks,
        right: &["leak"],
        draw: daily_leak,
    },
    Shape { name: "traffic, short-lived", truth: Truth::Neither, right: STILL, draw: traffic },
    Shape {
        name: "traffic, slow (up to a tenth of the time)",
        truth: Truth::Neither,
        right: STILL,
        draw: slow_traffic,
    },
    Shape { name: "fill, exponential", truth: Truth::Grows, right: GREW, draw: fill },
    Shape {
        name: "fill, exponential, not over",
        truth: Truth::Grows,
        right: &["undecided"],
        draw: slow_fill,
    },
    Shape { name: "fill in jumps", truth: Truth::Grows, right: GREW, draw: jumps },
    Shape {
        name: "table that doubles",
        truth: Truth::Grows,
        right: &["undecided", "growth_to_plateau", "stable"],
        draw: doubling,
    },
    Shape {
        name: "linear growth, then a plateau",
        truth: Truth::Grows,
        right: GREW,
        draw: late_plateau,
    },
    Shape { name: "LRU at capacity", truth: Truth::Neither, right: STILL, draw: lru },
    Shape { name: "garbage collection", truth: Truth::Neither, right: STILL, draw: collection },
    Shape { name: "sleep and wake", truth: Truth::Neither, right: STILL, draw: sleep },
    Shape { name: "one burst or two", truth: Truth::Neither, right: STILL, draw: bursts },
    Shape {
        name: "warm-up, then flat",
        truth: Truth::Grows,
        right: &["stable", "sawtooth", "burst", "growth_to_plateau"],
        draw: warm_up,
    },
    Shape {
        name: "daily curve, part of a day",
        truth: Truth::Neither,
        right: WAITS,
        draw: part_of_a_day,
    },
    Shape {
        name: "daily curve, part of a day, requests known",
        truth: Truth::Neither,
        right: WAITS,
        draw: counted_part_of_a_day,
    },
    Shape {
        name: "daily curve, part of a day, survivors known",
        truth: Truth::Neither,
        right: WAITS,
        draw: aged_part_of_a_day,
    },
    Shape {
        name: "daily curve, two days and more",
        truth: Truth::Neither,
        right: STILL,
        draw: days,
    },
    Shape {
        name: "fragmentation",
        truth: Truth::Neither,
        right: &["fragmentation"],
        draw: fragmentation,
    },
    Shape { name: "sampled heap, no leak", truth: Truth::Neither, right: STILL, draw: sampled },
    Shape {
        name: "random walk without drift",
        truth: Truth::Neither,
        right: &["undecided", "stable", "growth_to_plateau", "sawtooth", "burst"],
        draw: walk,
    },
];

/// What requests in flight hold: between 0 and `height`, each step like the one before by `alike`.
fn in_flight(height: f64, alike: f64) -> impl FnMut(&mut Dice) -> f64 {
    let mut state: f64 = 0.5;
    move |dice| {
        // Uniform steps, kept inside: reaches both ends.
        let fresh = dice.uniform();
        state =
            if dice.happens(alike) { (state + (fresh - 0.5) * 0.3).clamp(0.0, 1.0) } else { fresh };
        state * height
    }
}

/// Autoregressive, standard deviation 1.
fn wander(steps: f64) -> impl FnMut(&mut Dice) -> f64 {
    let alike = (-1.0 / steps).exp();
    let fresh = (1.0 - alike * alike).sqrt();
    let mut state = None;
    move |dice| {
        let drawn = dice.normal();
        let next = state.map_or(drawn, |was: f64| was * alike + fresh * drawn);
        state = Some(next);
        next
    }
}

/// Requests are over within a second, so what they hold is drawn afresh each second.
fn steady_leak(dice: &mut Dice) -> Run {
    in_traffic(dice, 0.0)
}

/// Some last longer: correlation from second to second up to about a quarter.
fn memory_leak(dice: &mut Dice) -> Run {
    let alike = dice.between(0.0, 0.3);
    in_traffic(dice, alike)
}

fn in_traffic(dice: &mut Dice, alike: f64) -> Run {
    let base = dice.scale(0.1 * GIB, 60.0 * GIB);
    let mut noise = in_flight(100e6, alike);
    let live = move |at: f64, dice: &mut Dice| base + MIB * at + noise(dice);
    Run { deadline_s: 60, rate: MIB, ..Run::new(1, 180, live) }
}

fn request_leak(dice: &mut Dice) -> Run {
    let base = dice.scale(1.0 * GIB, 8.0 * GIB);
    let each = dice.scale(5.0 * KIB, 30.0 * KIB);
    let (burst, quiet) = (dice.between(1.5, 4.0), dice.between(2.0, 20.0));
    let (mut served, mut leaked, mut high) = (0.0, 0.0, false);
    let amounts = move |_: f64, dice: &mut Dice| {
        if dice.happens(1.0 / quiet) {
            high = !high;
        }
        // Half of the time high: 1000 a second on average.
        let rate = if high { 1000.0 * burst } else { 1000.0 * (2.0 - burst).max(0.1) };
        let rate = rate * 2.0 / (burst + (2.0 - burst).max(0.1));
        let now = dice.poisson(rate);
        served += now;
        leaked += 90.0 * now;
        Seen {
            live: base + leaked + now * each * dice.between(0.3, 1.0),
            requests: served,
            reserved: 0.0,
        }
    };
    Run {
        per_request: 90.0,
        requests: true,
        amounts: Box::new(amounts),
        ..Run::new(1, 900, |_, _| 0.0)
    }
    .due(600)
}

fn error_leak(dice: &mut Dice) -> Run {
    let base = dice.scale(1.0 * GIB, 8.0 * GIB);
    let (every, size) = (dice.scale(5.0, 60.0), dice.scale(1.0 * MIB, 20.0 * MIB));
    let mut noise = in_flight(dice.scale(1.0 * MIB, 30.0 * MIB), 0.2);
    let mut leaked = 0.0;
    let live = move |_: f64, dice: &mut Dice| {
        for _ in 0..super::whole(dice.poisson(1.0 / every)) {
            leaked += dice.exponential(size);
        }
        base + leaked + noise(dice)
    };
    Run { rate: size / every, ..Run::new(1, 3600, live) }
}

/// High for a while, low for a while; the low ones rise by `rise` each.
fn cycles(dice: &mut Dice, rise: f64, count: f64) -> Run {
    let (base, height) = (dice.scale(1.0 * GIB, 20.0 * GIB), dice.scale(4.0 * GIB, 60.0 * GIB));
    let (awake, asleep) = (dice.between(20.0, 120.0).round(), dice.between(10.0, 60.0).round());
    let mut noise = in_flight(dice.scale(10.0 * MIB, 500.0 * MIB), 0.5);
    let still = dice.scale(0.1 * MIB, 2.0 * MIB);
    let period = awake + asleep;
    // Each is as long as what is asked for meanwhile takes: a quarter shorter or longer.
    let stretch = |dice: &mut Dice| dice.between(0.75, 1.25);
    let (mut begun, mut cycle, mut scale) = (0.0, 0.0, stretch(dice));
    let live = move |at: f64, dice: &mut Dice| {
        while at - begun >= period * scale {
            begun += period * scale;
            cycle += 1.0;
            scale = stretch(dice);
        }
        let phase = (at - begun) / scale;
        let low = base + rise * (cycle + if phase > awake { 1.0 } else { 0.0 });
        let moving = noise(dice);
        if phase < awake { low + height + moving } else { low + still * dice.uniform() }
    };
    let steps = super::whole(period * count);
    // Three cycles, and the wake after them, which shows that the third is over; looks are a twentieth apart.
    let due = super::whole(period * 3.0 * 1.25 * 1.05) + 5;
    Run { rate: rise / period, ..Run::new(1, steps, live) }.due(due)
}

fn sleep_leak(dice: &mut Dice) -> Run {
    let count = dice.between(4.0, 20.0);
    cycles(dice, 64.0 * MIB, count)
}

fn sleep(dice: &mut Dice) -> Run {
    let count = dice.between(4.0, 20.0);
    cycles(dice, 0.0, count)
}

fn steps_of_warm_up(dice: &mut Dice) -> (Vec<(f64, f64)>, f64) {
    let (weights, cache, graphs) = (
        dice.scale(1.0 * GIB, 60.0 * GIB),
        dice.scale(0.5 * GIB, 40.0 * GIB),
        dice.scale(0.3 * GIB, 3.0 * GIB),
    );
    let load = dice.between(5.0, 60.0);
    let at = [0.0, load, load + dice.between(2.0, 20.0), 0.0];
    let capture = dice.between(5.0, 30.0);
    let mut course =
        vec![(at[0], 0.0), (at[1], weights), (at[2], weights), (at[2] + 1.0, weights + cache)];
    course.push((at[2] + 10.0, weights + cache));
    course.push((at[2] + 10.0 + capture, weights + cache + graphs));
    (course, at[2] + 10.0 + capture)
}

fn along(course: &[(f64, f64)], at: f64) -> f64 {
    for pair in course.windows(2) {
        if at < pair[1].0 {
            let part = (at - pair[0].0) / (pair[1].0 - pair[0].0);
            return pair[0].1 + part * (pair[1].1 - pair[0].1);
        }
    }
    course.last().map_or(0.0, |last| last.1)
}

fn late_leak(dice: &mut Dice) -> Run {
    let (course, ready) = steps_of_warm_up(dice);
    let (plateau, rate) = (dice.between(100.0, 600.0), dice.scale(0.3 * MIB, 5.0 * MIB));
    let onset = (ready + plateau).round();
    let mut noise = in_flight(dice.scale(5.0 * MIB, 100.0 * MIB), 0.3);
    let live = move |at: f64, dice: &mut Dice| {
        along(&course, at) + rate * (at - onset).max(0.0) + noise(dice)
    };
    let steps = super::whole(onset * 3.0) + 300;
    Run { rate, onset_s: super::whole(onset), ..Run::new(1, steps, live) }
}

fn warm_up(dice: &mut Dice) -> Run {
    let (course, ready) = steps_of_warm_up(dice);
    let mut noise = in_flight(dice.scale(5.0 * MIB, 100.0 * MIB), 0.3);
    let live = move |at: f64, dice: &mut Dice| along(&course, at) + noise(dice);
    let steps = super::whole(ready * dice.between(2.0, 20.0)) + 60;
    Run::new(1, steps, live)
}

/// Samples of `mean` bytes: arrivals at `rate` a second that live `life` seconds, and those that stay.
fn heap(dice: &mut Dice, stay: bool) -> Run {
    let mean = dice.scale(128.0 * KIB, 2.0 * MIB);
    let (rate, life) = (dice.scale(1.0, 30.0), dice.scale(1.0, 60.0));
    let leak = if stay { dice.scale(0.02, 1.0) } else { 0.0 };
    let mut here = dice.poisson(rate * life);
    let mut leaked = 0.0;
    let live = move |_: f64, dice: &mut Dice| {
        let gone = dice.poisson(here * (1.0 - (-1.0 / life).exp())).min(here);
        here += dice.poisson(rate) - gone;
        leaked += dice.poisson(leak);
        (here + leaked) * mean
    };
    Run { rate: leak * mean, sample_bytes: super::whole(mean), ..Run::new(1, 1800, live) }
}

fn sampled_leak(dice: &mut Dice) -> Run {
    heap(dice, true)
}

fn sampled(dice: &mut Dice) -> Run {
    heap(dice, false)
}

/// Noise of some size and some length of memory; a leak that grows to between 2 and 30 times of it.
fn any_leak(dice: &mut Dice) -> Run {
    let (base, noise) = (dice.scale(0.05 * GIB, 50.0 * GIB), dice.scale(1.0 * MIB, 500.0 * MIB));
    let steps = super::whole(dice.scale(100.0, 4000.0));
    #[expect(clippy::cast_precision_loss, reason = "seconds")]
    let time = steps as f64;
    let mut wander = wander(dice.scale(0.5, time / 50.0));
    let rate = noise * dice.scale(2.0, 30.0) / time;
    let live =
        move |at: f64, dice: &mut Dice| base + 4.0 * noise + rate * at + noise * wander(dice);
    Run { rate, ..Run::new(1, steps, live) }
}

fn survivor_leak(dice: &mut Dice) -> Run {
    let run = any_leak(dice);
    let churn = run.rate * dice.scale(1.5, 100.0);
    let (kept, life) = (run.rate / churn, dice.scale(1.0, 20.0));
    let survive = move |age: f64| kept + (1.0 - kept) * (-age / life).exp();
    Run { survival: Some(Survival { allocated: churn, share: Box::new(survive) }), ..run }
}

fn traffic(dice: &mut Dice) -> Run {
    let base = dice.scale(0.05 * GIB, 50.0 * GIB);
    let mut noise = in_flight(dice.scale(1.0 * MIB, 1.0 * GIB), dice.between(0.0, 0.8));
    let steps = super::whole(dice.scale(100.0, 4000.0));
    Run::new(1, steps, move |_, dice| base + noise(dice))
}

fn slow_traffic(dice: &mut Dice) -> Run {
    let (base, noise) = (dice.scale(0.05 * GIB, 50.0 * GIB), dice.scale(1.0 * MIB, 500.0 * MIB));
    let steps = super::whole(dice.scale(300.0, 4000.0));
    #[expect(clippy::cast_precision_loss, reason = "seconds")]
    let mut wander = wander(dice.scale(1.0, steps as f64 / 10.0));
    Run::new(1, steps, move |_, dice| base + 5.0 * noise + noise * wander(dice))
}

fn walk(dice: &mut Dice) -> Run {
    let step = dice.scale(0.1 * MIB, 10.0 * MIB);
    let steps = super::whole(dice.scale(100.0, 4000.0));
    #[expect(clippy::cast_precision_loss, reason = "seconds")]
    let mut at = 10.0 * step * (steps as f64).sqrt();
    Run::new(1, steps, move |_, dice| {
        at += step * dice.normal();
        at
    })
}

fn filling(dice: &mut Dice, part: f64) -> Run {
    let (base, full) = (dice.scale(0.1 * GIB, 10.0 * GIB), dice.scale(0.1 * GIB, 10.0 * GIB));
    let steps = super::whole(dice.scale(300.0, 4000.0));
    #[expect(clippy::cast_precision_loss, reason = "seconds")]
    let constant = steps as f64 * part;
    let mut noise = in_flight(full * dice.scale(0.001, 0.1), 0.3);
    Run::new(1, steps, move |at, dice| base + full * (1.0 - (-at / constant).exp()) + noise(dice))
}

fn fill(dice: &mut Dice) -> Run {
    let part = dice.between(0.08, 0.2);
    filling(dice, part)
}

fn slow_fill(dice: &mut Dice) -> Run {
    let part = dice.between(0.35, 1.0);
    filling(dice, part)
}

fn jumps(dice: &mut Dice) -> Run {
    let (base, jump) = (dice.scale(0.1 * GIB, 10.0 * GIB), dice.scale(8.0 * MIB, 256.0 * MIB));
    let steps = super::whole(dice.scale(300.0, 4000.0));
    let most = f64::from(3 + dice.below(20));
    #[expect(clippy::cast_precision_loss, reason = "seconds")]
    let every = steps as f64 * dice.between(0.25, 0.5) / most;
    let mut noise = in_flight(jump * dice.scale(0.01, 0.5), 0.3);
    let mut grown = 0.0;
    Run::new(1, steps, move |_, dice| {
        grown = f64::min(grown + dice.poisson(1.0 / every), most);
        base + jump * grown + noise(dice)
    })
}

/// A hash table of 2^k entries under a steady stream of new ones.
fn doubling(dice: &mut Dice) -> Run {
    let (base, rate) = (dice.scale(0.1 * GIB, 2.0 * GIB), dice.scale(0.01 * MIB, 1.0 * MIB));
    let steps = super::whole(dice.scale(300.0, 4000.0));
    let mut noise = in_flight(rate * 10.0, 0.3);
    Run::new(1, steps, move |at, dice| {
        let needed = rate * (at + 10.0);
        base + needed.log2().ceil().exp2() + noise(dice)
    })
}

fn late_plateau(dice: &mut Dice) -> Run {
    let (base, full) = (dice.scale(0.1 * GIB, 10.0 * GIB), dice.scale(0.1 * GIB, 10.0 * GIB));
    let steps = super::whole(dice.scale(300.0, 4000.0));
    #[expect(clippy::cast_precision_loss, reason = "seconds")]
    let stop = steps as f64 * dice.between(0.3, 0.6);
    let mut noise = in_flight(full * dice.scale(0.001, 0.1), 0.3);
    Run::new(1, steps, move |at, dice| base + full * (at / stop).min(1.0) + noise(dice))
}

fn lru(dice: &mut Dice) -> Run {
    let (full, chunk) = (dice.scale(0.1 * GIB, 10.0 * GIB), dice.scale(0.001, 0.1));
    let steps = super::whole(dice.scale(100.0, 4000.0));
    let mut held = full;
    Run::new(1, steps, move |_, dice| {
        // Grows by what is missed, and evicts a chunk when full.
        held += full * chunk * dice.between(0.0, 0.5);
        while held > full {
            held -= full * chunk * dice.between(0.5, 1.5);
        }
        held
    })
}

fn collection(dice: &mut Dice) -> Run {
    let (base, height) = (dice.scale(0.1 * GIB, 4.0 * GIB), dice.scale(0.05 * GIB, 4.0 * GIB));
    let steps = super::whole(dice.scale(200.0, 4000.0));
    let (period, uneven) = (dice.scale(8.0, 100.0), dice.between(0.0, 0.5));
    let off = dice.scale(0.001, 0.05);
    let (mut level, mut until) = (0.0, 1.0);
    Run::new(1, steps, move |_, dice| {
        level += (1.0 + uneven * dice.normal()).max(0.0) / period;
        if level > until {
            level = off * dice.uniform();
            until = 1.0 + 0.1 * dice.normal();
        }
        base + height * level
    })
}

fn bursts(dice: &mut Dice) -> Run {
    let base = dice.scale(0.1 * GIB, 10.0 * GIB);
    let mut noise = in_flight(dice.scale(1.0 * MIB, 50.0 * MIB), 0.3);
    let height = dice.scale(0.2 * GIB, 10.0 * GIB);
    let count = 1 + dice.below(2);
    let at: Vec<(f64, f64)> =
        (0..count).map(|_| (dice.between(60.0, 700.0), dice.between(5.0, 60.0))).collect();
    Run::new(1, 900, move |now, dice| {
        let inside = at.iter().any(|(start, long)| now >= *start && now < start + long);
        base + noise(dice) + if inside { height } else { 0.0 }
    })
}

const DAY: f64 = 86_400.0;

/// What traffic holds follows a curve with a period of a day; `leak` bytes a request besides.
fn daily(dice: &mut Dice, steps: f64, leak: f64) -> Run {
    let (base, each) = (dice.scale(1.0 * GIB, 10.0 * GIB), dice.scale(1.0 * MIB, 20.0 * MIB));
    let (peak, depth, phase) = (dice.scale(10.0, 300.0), dice.between(0.3, 0.95), dice.uniform());
    let (mut served, mut leaked) = (0.0, 0.0);
    let amounts = move |at: f64, dice: &mut Dice| {
        let angle = std::f64::consts::TAU * (at / DAY + phase);
        let rate = peak * (1.0 - depth * (0.5 + 0.5 * angle.cos()));
        let now = dice.poisson(rate * 60.0);
        served += now;
        leaked += leak * now;
        // A second's worth in flight, seen at an instant.
        Seen { live: base + leaked + each * dice.poisson(rate), requests: served, reserved: 0.0 }
    };
    let life = 1.0;
    Run {
        amounts: Box::new(amounts),
        survival: Some(Survival {
            allocated: each * peak,
            share: Box::new(move |age| (-age / life).exp()),
        }),
        ..Run::new(60, super::whole(steps), |_, _| 0.0)
    }
}

fn part_of_a_day(dice: &mut Dice) -> Run {
    let steps = dice.scale(60.0, 1000.0);
    Run { survival: None, ..daily(dice, steps, 0.0) }
}

fn counted_part_of_a_day(dice: &mut Dice) -> Run {
    let steps = dice.scale(60.0, 1000.0);
    Run { survival: None, requests: true, ..daily(dice, steps, 0.0) }
}

fn aged_part_of_a_day(dice: &mut Dice) -> Run {
    let steps = dice.scale(60.0, 1000.0);
    daily(dice, steps, 0.0)
}

fn days(dice: &mut Dice) -> Run {
    let steps = dice.between(2880.0, 10_080.0);
    Run { survival: None, ..daily(dice, steps, 0.0) }
}

fn daily_leak(dice: &mut Dice) -> Run {
    let leak = dice.scale(500.0, 20_000.0);
    Run { survival: None, requests: true, per_request: leak, ..daily(dice, 2880.0, leak) }
}

fn fragmentation(dice: &mut Dice) -> Run {
    let (base, rate) = (dice.scale(1.0 * GIB, 10.0 * GIB), dice.scale(0.05 * MIB, 2.0 * MIB));
    let mut noise = in_flight(dice.scale(5.0 * MIB, 100.0 * MIB), 0.3);
    let steps = super::whole(dice.scale(400.0, 4000.0));
    let mut grown = 0.0;
    let amounts = move |_: f64, dice: &mut Dice| {
        // Segments of 20 MiB, kept for a block in each.
        grown += 20.0 * MIB * dice.poisson(rate / (20.0 * MIB));
        let live = base + noise(dice);
        Seen { live, reserved: base * 1.1 + 100.0 * MIB + grown, requests: 0.0 }
    };
    Run { reserved: true, amounts: Box::new(amounts), ..Run::new(1, steps, |_, _| 0.0) }
}

impl Run {
    fn due(self, deadline_s: u64) -> Self {
        Self { deadline_s, ..self }
    }
}
