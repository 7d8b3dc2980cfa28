//! `gpu.speedscope.json`: the rows of the flame graphs as <https://www.speedscope.app> opens them:
//! one profile per GPU, as long as its window, and one of the CPU samples.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::rows::{self, Row};
use super::words;
use crate::capture::{Capture, Frame};

const SCHEMA: &str = "https://www.speedscope.app/file-format-schema.json";

#[derive(Serialize)]
struct File<'c> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    shared: Shared<'c>,
    profiles: Vec<Profile>,
    name: String,
    exporter: String,
    #[serde(rename = "activeProfileIndex")]
    active_profile_index: u32,
}

#[derive(Serialize)]
struct Shared<'c> {
    frames: Vec<SharedFrame<'c>>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize)]
struct SharedFrame<'c> {
    name: &'c str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<&'c str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

/// A `sampled` profile.
#[derive(Serialize)]
struct Profile {
    r#type: &'static str,
    name: String,
    unit: &'static str,
    #[serde(rename = "startValue")]
    start_value: u64,
    #[serde(rename = "endValue")]
    end_value: u64,
    /// Each root first, by number of the frame.
    samples: Vec<Vec<u32>>,
    weights: Vec<u64>,
}

/// The whole document.
pub fn render(capture: &Capture) -> serde_json::Result<Vec<u8>> {
    let titles = rows::Titles::of(capture);
    let devices = &capture.report.devices;
    let mut frames = Frames::default();
    let mut gpus = vec![Stacks::default(); devices.len()];
    rows::gpu(capture, &titles, |row| {
        let position = row.device.and_then(|device| {
            // Rows borrow their devices from the report.
            devices.iter().position(|known| std::ptr::eq(known, device))
        });
        if let Some(stacks) = position.and_then(|position| gpus.get_mut(position)) {
            stacks.add(&row, &mut frames);
        }
    });
    let mut cpu = Stacks::default();
    rows::cpu(capture, &titles, |row| cpu.add(&row, &mut frames));
    let mut profiles: Vec<Profile> = devices
        .iter()
        .zip(gpus)
        .map(|(device, stacks)| stacks.profile(words::gpu_title(&device.info), "nanoseconds", 1))
        .collect();
    let hz = u64::from(capture.info.cpu_hz);
    profiles.push(match 1_000_000_000_u64.checked_div(hz) {
        Some(period) => cpu.profile(format!("CPU, {hz} samples a second"), "nanoseconds", period),
        None => cpu.profile("CPU (not sampled)".to_owned(), "none", 1),
    });
    let simulated = if capture.simulated() { "SIMULATED " } else { "" };
    serde_json::to_vec(&File {
        schema: SCHEMA,
        shared: Shared { frames: frames.list },
        profiles,
        name: format!("{simulated}warplens {} {}", capture.info.command, capture.info.source),
        exporter: format!("warplens {}", env!("CARGO_PKG_VERSION")),
        active_profile_index: 0,
    })
}

/// Frames of all profiles, each once.
#[derive(Default)]
struct Frames<'c> {
    list: Vec<SharedFrame<'c>>,
    numbers: HashMap<SharedFrame<'c>, u32>,
}

impl<'c> Frames<'c> {
    fn number(&mut self, name: &'c str, host: Option<&'c Frame>) -> u32 {
        let frame = SharedFrame {
            name,
            file: host.and_then(|host| host.file.as_deref()),
            line: host.and_then(|host| host.line),
        };
        let next = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(frame).or_insert(next);
        if number == next {
            self.list.push(frame);
        }
        number
    }
}

/// Equal stacks are one; in an order in which neighbours share their roots.
#[derive(Clone, Default)]
struct Stacks(BTreeMap<Vec<u32>, u64>);

impl Stacks {
    fn add<'c>(&mut self, row: &Row<'_, 'c>, frames: &mut Frames<'c>) {
        let stack = row.frames.iter().map(|frame| frames.number(frame.text, frame.host)).collect();
        let sum = self.0.entry(stack).or_default();
        *sum = sum.saturating_add(row.value);
    }

    fn profile(self, name: String, unit: &'static str, period: u64) -> Profile {
        let (samples, weights): (Vec<_>, Vec<u64>) =
            self.0.into_iter().map(|(stack, value)| (stack, value.saturating_mul(period))).unzip();
        let end_value = weights.iter().fold(0_u64, |sum, weight| sum.saturating_add(*weight));
        Profile { r#type: "sampled", name, unit, start_value: 0, end_value, samples, weights }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::output::{fixture, folded};

    fn document(capture: &Capture) -> Value {
        serde_json::from_slice(&render(capture).unwrap()).unwrap()
    }

    /// `root;...;leaf weight` of every sample of a profile, as folded text has it.
    fn lines(document: &Value, profile: &Value) -> Vec<String> {
        let frames = document["shared"]["frames"].as_array().unwrap();
        let samples = profile["samples"].as_array().unwrap();
        let weights = profile["weights"].as_array().unwrap();
        assert_eq!(samples.len(), weights.len(), "each sample has its weight");
        samples
            .iter()
            .zip(weights)
            .map(|(sample, weight)| {
                let names: Vec<String> = sample
                    .as_array()
                    .unwrap()
                    .iter()
                    .map(|number| {
                        let number = usize::try_from(number.as_u64().unwrap()).unwrap();
                        let mut name = String::new();
                        folded::sanitize(frames[number]["name"].as_str().unwrap(), &mut name);
                        name
                    })
                    .collect();
                format!("{} {weight}", names.join(";"))
            })
            .collect()
    }

    /// What the published schema requires of a `sampled` profile and of the file around it.
    fn check_structure(document: &Value) {
        assert_eq!(document["$schema"], SCHEMA);
        for frame in document["shared"]["frames"].as_array().unwrap() {
            let known = ["name", "file", "line", "col"];
            let frame = frame.as_object().unwrap();
            assert!(frame["name"].is_string());
            assert!(frame.keys().all(|key| known.contains(&key.as_str())), "{frame:?}");
        }
        for profile in document["profiles"].as_array().unwrap() {
            assert_eq!(profile["type"], "sampled");
            assert!(profile["name"].is_string());
            assert!(["nanoseconds", "none"].contains(&profile["unit"].as_str().unwrap()));
            let sum: u64 = profile["weights"]
                .as_array()
                .unwrap()
                .iter()
                .map(|weight| weight.as_u64().unwrap())
                .sum();
            assert_eq!(profile["startValue"], 0);
            assert_eq!(profile["endValue"], sum);
        }
    }

    #[test]
    fn profiles_hold_the_stacks_of_the_folded_files() {
        let capture = fixture::capture();
        let document = document(&capture);
        check_structure(&document);
        let profiles = document["profiles"].as_array().unwrap();
        let names: Vec<&Value> = profiles.iter().map(|profile| &profile["name"]).collect();
        assert_eq!(names, ["GPU 0 SIMULATED", "GPU 1 SIMULATED", "CPU, 99 samples a second"]);
        let mut gpu: Vec<String> =
            profiles[..2].iter().flat_map(|profile| lines(&document, profile)).collect();
        gpu.sort();
        let mut expected: Vec<String> = folded::gpu(&capture).lines().map(str::to_owned).collect();
        expected.sort();
        assert_eq!(gpu, expected);
        let period = 1_000_000_000 / 99;
        let weights = profiles[2]["weights"].as_array().unwrap();
        let mut weights: Vec<u64> = weights.iter().map(|weight| weight.as_u64().unwrap()).collect();
        weights.sort_unstable();
        assert_eq!(weights, [2 * period, 40 * period]);
        assert_eq!(document["name"], "SIMULATED warplens record node-1");
    }

    #[test]
    fn an_empty_capture_is_a_document_with_an_empty_profile() {
        let document = document(&Capture::default());
        check_structure(&document);
        assert_eq!(document["profiles"].as_array().unwrap().len(), 1);
    }
}
