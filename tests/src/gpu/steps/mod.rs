//! Every step, in the order it is asked.

mod attach;
mod counts;
mod loading;
mod overhead;
mod records;

use std::time::Duration;

use serde_json::Value;

use super::ask::{Found, Step, StepError};
use super::place::{Place, Said};
use super::pytorch;

/// In order of their questions.
pub const STEPS: &[Step<Place>] = &[
    step(1, "worker", 5, counts::kernels),
    step(1, "pytorch", 15, pytorch::counts),
    step(2, "worker", 5, counts::verified),
    step(3, "worker", 5, records::versions),
    step(4, "worker", 10, records::clocks),
    step(5, "worker", 60, records::graphs),
    step(5, "pytorch", 15, pytorch::graphs),
    step(6, "worker", 20, overhead::launches),
    step(6, "pytorch", 60, pytorch::overhead),
    step(7, "pytorch", 15, pytorch::split),
    step(8, "worker", 20, attach::cycles),
    step(8, "pytorch", 15, pytorch::neighbours),
    step(9, "none", 1, loading::not_built),
    step(10, "none", 1, loading::not_built),
    step(11, "worker", 5, counts::stacks),
    step(12, "worker", 5, loading::injection),
];

const fn step(
    question: u32,
    name: &'static str,
    minutes: u64,
    ask: fn(&Place) -> Result<Found, StepError>,
) -> Step<Place> {
    Step { question, name, limit: Duration::from_mins(minutes), ask }
}

/// What a report says of the kernels of all devices.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) kernels: u64,
    pub(super) lost: u64,
    pub(super) invalid: u64,
}

pub(super) fn counted(report: &Value) -> Counted {
    let devices = report["devices"].as_array().map(Vec::as_slice).unwrap_or_default();
    let sum = |pick: fn(&Value) -> &Value| {
        devices.iter().filter_map(|device| pick(device).as_u64()).sum()
    };
    Counted {
        kernels: sum(|device| &device["kernels"]),
        lost: sum(|device| &device["records"]["lost"]),
        invalid: sum(|device| &device["records"]["invalid"]),
    }
}

/// All that the worker launched was recorded, once, with timestamps; the sentence that says so.
fn exact(said: &Said, report: &Value) -> Result<String, StepError> {
    let Counted { kernels, lost, invalid } = counted(report);
    let sentence = format!(
        "{kernels} kernels recorded, {} launched by the worker's own count ({} one by one, {} replayed); {lost} lost, {invalid} without timestamps",
        said.kernels(),
        said.launches_ok,
        said.graph_kernels
    );
    if (kernels, lost, invalid) == (said.kernels(), 0, 0) && kernels > 0 {
        Ok(sentence)
    } else {
        Err(StepError::Failed(sentence))
    }
}

/// The middle one; of an even number the upper one. `None` of none.
pub(super) fn median(figures: &[f64]) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

/// The least and the most.
pub(super) fn spread(figures: &[f64]) -> (f64, f64) {
    let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
    (least, figures.iter().copied().fold(f64::NEG_INFINITY, f64::max))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_kernel_less_than_launched_is_a_failure() {
        let said: Said = serde_json::from_value(json!({
            "simulated": true, "launches_ok": 5, "launches_captured": 1, "graph_launches": 2,
            "graph_kernels": 2, "seconds": 1.0, "burst": null, "as_expected": true}))
        .unwrap();
        let report = |kernels: u64, lost: u64| {
            json!({"devices": [
                {"kernels": kernels - 1, "records": {"lost": lost, "invalid": 0}},
                {"kernels": 1, "records": {"lost": 0, "invalid": 0}}]})
        };
        assert_eq!(said.calls(), 8);
        assert!(exact(&said, &report(7, 0)).unwrap().starts_with("7 kernels recorded, 7 launched"));
        assert!(exact(&said, &report(6, 0)).is_err());
        assert!(exact(&said, &report(7, 1)).is_err());
    }

    #[test]
    fn medians_and_spreads() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[]), None);
        assert_eq!(spread(&[3.0, 1.0, 2.0]), (1.0, 3.0));
    }
}
