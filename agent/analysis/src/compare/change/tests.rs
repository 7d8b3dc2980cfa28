//! Planted changes among many kernels, identical inputs, and when there is no verdict.

use super::*;

/// Deterministic noise in [-1, 1].
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        #[expect(clippy::cast_precision_loss, reason = "noise")]
        let value = (self.0 >> 33) as f64 / (1u64 << 31) as f64;
        value * 2.0 - 1.0
    }
}

const WALL: u64 = 1_000_000_000;

fn kernel(number: u64) -> Subject {
    Subject::new(Level::Kernel, format!("kernel_{number}"))
}

/// One window: 50 kernels of 1 000 launches and 10 us each, give or take; idle the rest.
/// `longer`: how much longer each call of kernel 7 takes.
fn window(noise: &mut Noise, longer: f64) -> Figures {
    let mut figures = Figures::default();
    figures.add_wall(WALL, 0);
    let mut busy = 0;
    for number in 0..50 {
        let factor = if number == 7 { longer } else { 1.0 };
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive and small"
        )]
        let time = (10_000_000.0 * factor * (1.0 + 0.02 * noise.next())) as u64;
        busy += time;
        figures.add(kernel(number), Amount { count: 1_000, time });
    }
    figures.add(Subject::new(Level::Class, "gemm"), Amount { count: 0, time: busy });
    figures.add(Subject::new(Level::Class, "idle"), Amount { count: 0, time: WALL - busy });
    figures
}

fn side(seed: u64, windows: usize, longer: f64) -> Side {
    let mut noise = Noise(seed);
    let windows: Vec<Figures> = (0..windows).map(|_| window(&mut noise, longer)).collect();
    let mut whole = Figures::default();
    for window in &windows {
        whole.join(window);
    }
    Side { whole, windows }
}

fn significant(comparison: &Comparison) -> Vec<String> {
    let changes = comparison.changes.iter().filter(|change| change.significant());
    changes.map(|change| change.subject.name.to_string()).collect()
}

#[test]
fn an_observation_does_not_differ_from_itself() {
    let side = side(1, 64, 1.0);
    let comparison = compare(&side, &side);
    assert_eq!(significant(&comparison), [""; 0]);
    assert!(comparison.tested && comparison.windows == [64, 64]);
    assert!(comparison.changes.iter().all(|change| change.share.change() == 0.0));
}

#[test]
fn two_of_a_kind_raise_no_alarm() {
    // 20 pairs of 50 kernels, share and mean each: 5 % of pairs may have a false discovery.
    let alarms = (0..20u64)
        .filter(|seed| {
            !significant(&compare(&side(2 * seed + 1, 64, 1.0), &side(2 * seed + 2, 64, 1.0)))
                .is_empty()
        })
        .count();
    assert!(alarms <= 3, "{alarms} of 20");
}

#[test]
fn five_per_cent_in_one_kernel_of_fifty_is_found_and_it_alone() {
    let comparison = compare(&side(1, 64, 1.0), &side(2, 64, 1.05));
    let found = significant(&comparison);
    assert_eq!(
        found.iter().filter(|name| name.starts_with("kernel")).collect::<Vec<_>>(),
        ["kernel_7"]
    );
    let change =
        comparison.changes.iter().find(|change| *change.subject.name == *"kernel_7").unwrap();
    let relative = change.mean.relative().unwrap();
    assert!((relative - 0.05).abs() < 0.01, "{relative}");
    let Verdict::Tested { test, .. } = change.mean.verdict else {
        panic!("{change:?}");
    };
    assert!((test.low..=test.high).contains(&500.0), "10 us and 5 %: {test:?}");
    assert!((change.rate[0] - 1_000.0).abs() < 1e-6, "{:?}", change.rate);
}

#[test]
fn what_changed_most_comes_first() {
    let comparison = compare(&side(1, 64, 1.0), &side(2, 64, 1.4));
    let kernels = comparison.changes.iter().filter(|change| change.subject.level == Level::Kernel);
    let changes: Vec<f64> = kernels.clone().map(|change| change.share.change().abs()).collect();
    assert!(changes.is_sorted_by(|a, b| a >= b));
    assert_eq!(*kernels.clone().next().unwrap().subject.name, *"kernel_7");
}

#[test]
fn what_is_new_or_gone_is_told() {
    let (before, mut after) = (side(1, 64, 1.0), side(2, 64, 1.0));
    for figures in after.windows.iter_mut().chain([&mut after.whole]) {
        let amount = figures.amounts.remove(&kernel(3)).unwrap();
        figures.add(Subject::new(Level::Kernel, "kernel_3_v2"), amount);
    }
    let comparison = compare(&before, &after);
    let of = |name: &str| {
        let change =
            comparison.changes.iter().find(|change| *change.subject.name == *name).unwrap();
        (change.presence, change.share.verdict.significant(), change.mean.relative())
    };
    assert_eq!(of("kernel_3"), (Presence::Gone, true, None));
    assert_eq!(of("kernel_3_v2"), (Presence::New, true, None));
    assert_eq!(of("kernel_4").0, Presence::Both);
}

#[test]
fn without_windows_there_is_no_verdict() {
    for windows in [0, 7] {
        let mut few = side(1, 64, 1.0);
        few.windows.truncate(windows);
        let comparison = compare(&few, &side(2, 64, 2.0));
        assert!(!comparison.tested);
        assert_eq!(significant(&comparison), [""; 0]);
        let not = Verdict::Not(NotTested::FewWindows);
        assert!(comparison.changes.iter().all(|change| change.share.verdict == not));
    }
}

#[test]
fn what_windows_do_not_hold_is_not_judged() {
    let (mut before, after) = (side(1, 64, 1.0), side(2, 64, 2.0));
    for window in &mut before.windows {
        window.amounts.remove(&kernel(7));
    }
    let comparison = compare(&before, &after);
    let change = comparison.changes.iter().find(|change| *change.subject.name == *"kernel_7");
    let verdict = change.unwrap().share.verdict;
    assert_eq!(verdict, Verdict::Not(NotTested::NotWindowed));
}

#[test]
fn what_ran_in_few_windows_is_not_judged() {
    let (mut before, mut after) = (side(1, 64, 1.0), side(2, 64, 2.0));
    for window in before.windows.iter_mut().chain(&mut after.windows).skip(4) {
        window.amounts.remove(&kernel(7));
    }
    let comparison = compare(&before, &after);
    let change = comparison.changes.iter().find(|change| *change.subject.name == *"kernel_7");
    assert!(!change.unwrap().significant());
    // `after` lost it from every window and still has it in its sum.
    assert_eq!(change.unwrap().share.verdict, Verdict::Not(NotTested::NotWindowed));
    let amount = after.whole.amount(&kernel(7));
    after.windows[9].add(kernel(7), amount);
    let comparison = compare(&before, &after);
    let change = comparison.changes.iter().find(|change| *change.subject.name == *"kernel_7");
    assert_eq!(change.unwrap().share.verdict, Verdict::Not(NotTested::Rare));
}

#[test]
fn windows_that_were_not_observed_are_left_out() {
    let (mut before, after) = (side(1, 64, 1.0), side(2, 64, 1.0));
    for window in before.windows.iter_mut().take(10) {
        window.unobserved = WALL * 6 / 10;
    }
    let comparison = compare(&before, &after);
    assert_eq!((comparison.windows, comparison.unusable), ([54, 64], [10, 0]));
}

#[test]
fn unobserved_time_is_no_change() {
    let (before, mut after) = (side(1, 64, 1.0), side(1, 64, 1.0));
    // The same work in windows twice as long, the other half of which was not seen.
    for figures in after.windows.iter_mut().chain([&mut after.whole]) {
        figures.add_wall(figures.wall, figures.wall);
    }
    let comparison = compare(&before, &after);
    assert!(comparison.changes.iter().all(|change| change.share.change().abs() < 1e-12));
}
