//! What a worker and its machine are, as far as a node can tell.

use std::collections::BTreeMap;
use std::fs;

use analysis::event::ProcessInfo;
use analysis::level::operator::{Identity, Trait, Traits};
use analysis::level::quirk::{Machine as Quirky, Processor, Version};
use analysis::level::{Facts, GroupKey};

/// A worker, as the observer knows it.
#[derive(Clone, Debug, Default)]
pub struct Described {
    /// Which workers are one server: they are armed together.
    pub server: String,
    /// The same over restarts, for who goes first.
    pub name: String,
    pub info: Option<ProcessInfo>,
    /// Devices it uses, UUIDs as the driver writes them. Empty: not known yet.
    pub devices: Vec<String>,
    /// `cuptiGetVersion`'s answer.
    pub cupti: u32,
}

/// What does not change while the agent runs.
#[derive(Clone, Debug, Default)]
pub(super) struct Machine {
    driver: Option<Version>,
    /// Names of devices, by UUID.
    gpus: BTreeMap<String, String>,
    /// UUIDs of devices, by the minor numbers of their files.
    minors: BTreeMap<u32, String>,
}

impl Machine {
    /// As the NVIDIA kernel module shows it in `/proc`; empty without it.
    pub(super) fn read() -> Self {
        let folders = fs::read_dir("/proc/driver/nvidia/gpus").into_iter().flatten();
        let texts: Vec<String> = folders
            .filter_map(|folder| fs::read_to_string(folder.ok()?.path().join("information")).ok())
            .collect();
        Self {
            driver: driver_version().as_deref().and_then(Version::parse),
            gpus: texts.iter().filter_map(|text| gpu(text)).collect(),
            minors: texts.iter().filter_map(|text| minor(text)).collect(),
        }
    }

    pub(super) fn uuids(&self, minors: &[u32]) -> Vec<String> {
        let uuids: Option<Vec<String>> =
            minors.iter().map(|minor| self.minors.get(minor).cloned()).collect();
        uuids.unwrap_or_default()
    }

    pub(super) fn facts(&self, group: GroupKey, described: &Described) -> Facts {
        let names = self.names(&described.devices);
        Facts {
            group,
            identity: Identity::of(&described.name),
            traits: traits(described.info.as_ref(), names),
            machine: self.known(described.cupti, &described.devices),
        }
    }

    /// What the table of known faults is held against; `cupti` 0: not known.
    pub(super) fn known(&self, cupti: u32, devices: &[String]) -> Quirky {
        Quirky {
            driver: self.driver,
            cupti: (cupti != 0).then_some(cupti),
            gpus: self.names(devices).unwrap_or_default(),
            processor: match std::env::consts::ARCH {
                "x86_64" => Some(Processor::X86),
                "aarch64" => Some(Processor::Arm),
                _ => None,
            },
            settings: Vec::new(),
        }
    }

    /// `None` unless all are known.
    fn names(&self, devices: &[String]) -> Option<Vec<String>> {
        let names: Option<Vec<String>> =
            devices.iter().map(|uuid| self.gpus.get(uuid).cloned()).collect();
        names.filter(|names| !names.is_empty())
    }
}

/// Names of this node's devices; `None` where the kernel module does not tell them.
pub fn gpu_names() -> Option<Vec<String>> {
    let machine = Machine::read();
    (!machine.gpus.is_empty()).then(|| machine.gpus.into_values().collect())
}

fn traits(info: Option<&ProcessInfo>, gpus: Option<Vec<String>>) -> Traits {
    let text = |text: &str| if text.is_empty() { Trait::Unread } else { Trait::one(text) };
    let Some(info) = info else { return Traits::default() };
    let service = &info.service;
    let mut container = vec![service.container.clone()];
    if !service.pod.is_empty() {
        container.push(format!("{}/{}", service.namespace, service.pod));
    }
    Traits {
        gpu: gpus.map_or(Trait::Unread, Trait::Is),
        // Outside of containers there is none.
        image: if service.container.is_empty() { Trait::Absent } else { Trait::Is(container) },
        model: text(&service.model),
        title: text(&info.title),
    }
}

/// Version of the NVIDIA kernel module, from `/proc/driver/nvidia/version`.
fn driver_version() -> Option<String> {
    let text = fs::read_to_string("/proc/driver/nvidia/version").ok()?;
    version_in(&text).map(ToOwned::to_owned)
}

/// The first word of the first line that looks like a version: `NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.163.01
/// ...`, and the same with `Open` in it.
fn version_in(text: &str) -> Option<&str> {
    let line = text.lines().find(|line| line.starts_with("NVRM version:"))?;
    line.split_ascii_whitespace()
        .find(|word| word.contains('.') && word.starts_with(|first: char| first.is_ascii_digit()))
}

/// UUID and name of a device from its `information`: lines of a key, a colon and a value.
fn gpu(text: &str) -> Option<(String, String)> {
    Some((value(text, "GPU UUID:")?, value(text, "Model:")?))
}

/// Its minor number and UUID.
fn minor(text: &str) -> Option<(u32, String)> {
    Some((value(text, "Device Minor:")?.parse().ok()?, value(text, "GPU UUID:")?))
}

fn value(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| Some(line.strip_prefix(key)?.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_drivers_version_is_found_in_both_of_its_texts() {
        let closed = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.163.01  Tue Apr  8\nGCC version:  gcc version 12.2.0\n";
        assert_eq!(version_in(closed), Some("550.163.01"));
        let open =
            "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.126.09  Release Build\n";
        assert_eq!(version_in(open), Some("580.126.09"));
        assert_eq!(version_in("GCC version: 12.2.0"), None);
        assert_eq!(version_in(""), None);
    }

    #[test]
    fn a_device_has_a_name_and_a_uuid() {
        let text = "Model: \t\t NVIDIA H200\nIRQ:   \t\t 100\nGPU UUID: \t GPU-1-2\nVideo BIOS: \t ?\nDevice Minor: \t 3\n";
        assert_eq!(minor(text), Some((3, "GPU-1-2".to_owned())));
        assert_eq!(gpu(text), Some(("GPU-1-2".to_owned(), "NVIDIA H200".to_owned())));
        assert_eq!(gpu("Model: x\n"), None);
    }

    #[test]
    fn what_is_not_known_is_unread_and_what_cannot_be_is_absent() {
        let machine = Machine {
            driver: None,
            gpus: BTreeMap::from([("GPU-1".to_owned(), "NVIDIA H200".to_owned())]),
            minors: BTreeMap::from([(0, "GPU-1".to_owned())]),
        };
        assert_eq!(machine.uuids(&[0]), ["GPU-1"]);
        // One that is not known: which devices it uses is not.
        assert!(machine.uuids(&[0, 1]).is_empty());
        let mut described = Described { name: "w".to_owned(), ..Described::default() };
        let facts = machine.facts(GroupKey(0), &described);
        assert_eq!(facts.traits, Traits::default());
        described.info =
            Some(ProcessInfo { title: "VLLM::Worker".to_owned(), ..ProcessInfo::default() });
        described.devices = vec!["GPU-1".to_owned()];
        let facts = machine.facts(GroupKey(0), &described);
        assert_eq!(facts.traits.gpu, Trait::one("NVIDIA H200"));
        assert_eq!(facts.traits.image, Trait::Absent);
        assert_eq!(facts.traits.model, Trait::Unread);
        assert_eq!(facts.traits.title, Trait::one("VLLM::Worker"));
        // One device whose name is not known makes the names unknown: a pattern might be about that one.
        described.devices.push("GPU-2".to_owned());
        assert_eq!(machine.facts(GroupKey(0), &described).traits.gpu, Trait::Unread);
    }
}
