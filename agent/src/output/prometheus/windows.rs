//! Shares of the last seconds and minutes, as differences of cumulative splits.
//!
//! Pure: whoever observes adds a split of every device now and then, and the time with it. Each
//! window ends where a device's data ends, not at the present: what is not final has no share.

use std::collections::{BTreeMap, VecDeque};

use analysis::report::{DeviceReport, Exclusive};

use super::WindowShares;
use crate::output::words;

/// Windows told, ns, with the spelling of their label.
pub const WINDOWS: [(&str, u64); 3] =
    [("10s", 10_000_000_000), ("1m", 60_000_000_000), ("5m", 300_000_000_000)];

/// Time between two kept splits, ns: a tenth of the shortest window.
const EVERY: u64 = 1_000_000_000;

/// Splits kept of a device: the longest window and one before it. 64 bytes each, so 20 KiB.
const KEPT: usize = 302;

/// A device whose data did not move for this long has no current share, ns: three times what an
/// unfinished launch may hold it.
const STALE: u64 = 15_000_000_000;

/// Devices remembered. Four times the most that one machine holds; bounds memory.
const DEVICES: usize = 256;

/// What share of a window each class had; in the order of [`words::parts`].
pub type Shares = [f64; 6];

#[derive(Clone, Copy, Debug)]
struct Snapshot {
    /// Where the device's data ended.
    end: u64,
    split: Exclusive,
}

#[derive(Clone, Debug, Default)]
struct History {
    snapshots: VecDeque<Snapshot>,
    /// The observer's clock when the data last moved.
    moved: u64,
}

/// Cumulative splits of the last minutes, by the device's index.
#[derive(Clone, Debug, Default)]
pub struct SlidingWindows {
    devices: BTreeMap<u32, History>,
}

impl SlidingWindows {
    /// Adds what is known at `at`, any clock in ns that does not run backwards.
    pub fn add(&mut self, at: u64, devices: &[DeviceReport]) {
        for device in devices {
            let room = self.devices.len() < DEVICES;
            let index = device.info.index;
            if !room && !self.devices.contains_key(&index) {
                continue;
            }
            let history = self.devices.entry(index).or_default();
            let end = device.window.end.0;
            let before = history.snapshots.back().map(|last| last.end);
            if before.is_some_and(|before| end <= before) {
                continue;
            }
            history.moved = at;
            let snapshot = Snapshot { end, split: device.exclusive };
            // The newest one moves on until it is far enough from the one before it.
            let previous = history.snapshots.len().checked_sub(2);
            let previous = previous.and_then(|place| history.snapshots.get(place));
            let close = previous.zip(before).is_some_and(|(kept, last)| last - kept.end < EVERY);
            if close {
                history.snapshots.pop_back();
            }
            history.snapshots.push_back(snapshot);
            if history.snapshots.len() > KEPT {
                history.snapshots.pop_front();
            }
        }
    }

    /// The shares of every device and window that has some.
    pub fn latest(&self, at: u64) -> Vec<WindowShares> {
        let of_device = |device: u32| {
            WINDOWS.into_iter().filter_map(move |(window, length)| {
                let shares = self.shares(at, device, length)?;
                Some(WindowShares { device, window, shares })
            })
        };
        self.devices.keys().flat_map(|&device| of_device(device)).collect()
    }

    /// Shares of the last `length` ns of a device, or of what there is of them; `None` while
    /// nothing is known, and when the device's data stopped moving.
    pub fn shares(&self, at: u64, index: u32, length: u64) -> Option<Shares> {
        let history = self.devices.get(&index)?;
        if at.saturating_sub(history.moved) > STALE {
            return None;
        }
        let newest = history.snapshots.back()?;
        let from = newest.end.saturating_sub(length);
        // The latest one that is old enough, else the oldest.
        let place = history.snapshots.partition_point(|snapshot| snapshot.end <= from);
        let oldest = history.snapshots.get(place.saturating_sub(1))?;
        let parts = words::parts(&newest.split).map(|(_, ns)| ns);
        let before = words::parts(&oldest.split).map(|(_, ns)| ns);
        let mut passed = [0; 6];
        for ((passed, ns), ns_before) in passed.iter_mut().zip(parts).zip(before) {
            *passed = ns.saturating_sub(ns_before);
        }
        let whole: u64 = passed.iter().sum();
        (whole > 0).then(|| passed.map(|ns| words::percent(ns, whole) / 100.0))
    }
}

#[cfg(test)]
mod tests {
    use analysis::event::DeviceInfo;
    use analysis::ids::Ns;
    use analysis::report::Window;
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn device(end: u64, gemm: u64, idle: u64) -> DeviceReport {
        DeviceReport {
            info: DeviceInfo { index: 3, ..DeviceInfo::default() },
            window: Window { start: Ns(0), end: Ns(end) },
            exclusive: Exclusive { gemm, idle, ..Exclusive::default() },
            ..DeviceReport::default()
        }
    }

    /// One second of gemm a turn up to `busy`, idle from there on; ten turns a second.
    fn history(seconds: u64, busy: u64) -> SlidingWindows {
        let mut windows = SlidingWindows::default();
        for tenth in 0..=seconds * 10 {
            let end = tenth * SECOND / 10;
            let gemm = end.min(busy * SECOND);
            windows.add(end, &[device(end, gemm, end - gemm)]);
        }
        windows
    }

    fn gemm(windows: &SlidingWindows, at: u64, length: u64) -> Option<f64> {
        windows.shares(at, 3, length).map(|shares| shares[1])
    }

    #[test]
    fn each_window_looks_as_far_back_as_it_says() {
        let windows = history(400, 395);
        for (length, expected) in [(10, 0.5), (60, 55.0 / 60.0), (300, 295.0 / 300.0)] {
            let share = gemm(&windows, 400 * SECOND, length * SECOND).unwrap();
            // Snapshots are a second apart.
            assert!((share - expected).abs() < 1e-9, "{length} s: {share} for {expected}");
        }
        assert_eq!(windows.devices[&3].snapshots.len(), KEPT);
    }

    #[test]
    fn a_young_window_tells_what_there_is() {
        assert_eq!(gemm(&history(4, 1), 4 * SECOND, 300 * SECOND), Some(0.25));
        assert_eq!(gemm(&SlidingWindows::default(), 0, SECOND), None);
        assert_eq!(gemm(&history(0, 0), 0, SECOND), None, "no time passed");
    }

    #[test]
    fn what_stopped_moving_has_no_share() {
        let windows = history(30, 30);
        assert_eq!(gemm(&windows, 45 * SECOND, 10 * SECOND), Some(1.0));
        assert_eq!(gemm(&windows, 46 * SECOND, 10 * SECOND), None);
    }

    proptest! {
        #[test]
        fn shares_sum_to_one_and_memory_is_bounded(
            steps in proptest::collection::vec((0u64..3 * SECOND, 0u64..=100), 1..900),
        ) {
            let mut windows = SlidingWindows::default();
            let (mut end, mut gemm) = (0, 0);
            for (passed, share) in steps {
                end += passed;
                gemm += passed / 100 * share;
                windows.add(end, &[device(end, gemm, end - gemm)]);
                prop_assert!(windows.devices[&3].snapshots.len() <= KEPT);
                for (_, length) in WINDOWS {
                    if let Some(shares) = windows.shares(end, 3, length) {
                        prop_assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9);
                        prop_assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)));
                    }
                }
            }
        }
    }
}
