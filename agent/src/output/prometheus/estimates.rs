//! What a device's time was spent on where only a part of it is observed, with intervals.

use std::collections::BTreeMap;

use analysis::level::armed::{ArmedWindows, CLASSES, Estimated};
use analysis::level::estimate::Confidence;
use analysis::report::DeviceReport;

use super::families::gpu_labels;
use super::{Family, FamilyKind, Labels, Value};
use crate::capture::Capture;

/// Devices remembered. Four times the most that one machine holds; bounds memory.
const DEVICES: usize = 256;

/// The windows in which each device was observed, by its index.
#[derive(Clone, Debug, Default)]
pub struct Estimates {
    devices: BTreeMap<u32, ArmedWindows>,
}

impl Estimates {
    /// Adds what is known of each device.
    pub fn add(&mut self, devices: &[DeviceReport]) {
        for device in devices {
            let index = device.info.index;
            if self.devices.len() < DEVICES || self.devices.contains_key(&index) {
                let windows = self.devices.entry(index).or_default();
                windows.add(device.window.end.0, device.exclusive);
            }
        }
    }

    /// Of every device, by index.
    pub fn latest(&self) -> Vec<(u32, Estimated)> {
        let estimated = |(&device, windows): (&u32, &ArmedWindows)| {
            windows.estimated().map(|estimated| (device, estimated))
        };
        self.devices.iter().filter_map(estimated).collect()
    }
}

pub(super) fn of(capture: &Capture, estimates: &[(u32, Estimated)]) -> Vec<Family> {
    let named = || {
        estimates.iter().filter_map(|(index, estimated)| {
            let device = capture.report.devices.iter().find(|device| device.info.index == *index);
            device.map(|device| (device, estimated))
        })
    };
    let observed = |(device, estimated): (&DeviceReport, &Estimated)| {
        (gpu_labels(device, []), Value::Number(estimated.observed))
    };
    vec![
        Family {
            name: "warplens_gpu_observed_ratio",
            help: "Part of the last hour in which a GPU was observed; below 1 its shares are estimates.",
            kind: FamilyKind::Gauge,
            series: named().map(observed).collect(),
        },
        Family {
            name: "warplens_gpu_time_estimate_ratio",
            help: "Share of each class in the last hour of a GPU that is observed in turns, and the 95 % interval.",
            kind: FamilyKind::Gauge,
            series: named().flat_map(|(device, estimated)| bounds(device, estimated)).collect(),
        },
    ]
}

/// Nothing where all was seen, or too little to tell an interval.
fn bounds(device: &DeviceReport, estimated: &Estimated) -> Vec<(Labels, Value)> {
    let told = CLASSES.into_iter().zip(&estimated.classes);
    let told = told.filter(|(_, estimate)| estimate.confidence == Confidence::Percent95);
    told.flat_map(|(class, estimate)| {
        [("value", estimate.value), ("low", estimate.low), ("high", estimate.high)].map(
            |(bound, share)| {
                let labels = gpu_labels(device, [("class", class), ("bound", bound)]);
                (labels, Value::Number(share))
            },
        )
    })
    .collect()
}
