//! What a process has open: its sockets, and which GPUs.

use std::collections::{BTreeSet, HashSet};
use std::fs;

/// Descriptors looked at. An API server has one a client; its listening socket is among the first.
const DESCRIPTORS_MAX: usize = 8192;

/// See the module's text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Descriptors {
    /// Inodes.
    pub(super) sockets: HashSet<u64>,
    /// Minor numbers: `/dev/nvidiaN`.
    pub(super) gpus: BTreeSet<u32>,
    /// It uses CUDA, which alone opens `/dev/nvidia-uvm`; a program that only asks a GPU's
    /// temperature opens the GPU, too.
    pub(super) cuda: bool,
}

impl Descriptors {
    /// Of a process; empty when it is gone or not ours to look at.
    pub(super) fn read(pid: u32) -> Self {
        let mut descriptors = Self::default();
        let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            return descriptors;
        };
        for entry in entries.flatten().take(DESCRIPTORS_MAX) {
            if let Ok(target) = fs::read_link(entry.path()) {
                descriptors.add(&target.to_string_lossy());
            }
        }
        descriptors
    }

    fn add(&mut self, target: &str) {
        if let Some(inode) = target.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']'))
        {
            self.sockets.extend(inode.parse::<u64>().ok());
        } else if let Some(name) = target.strip_prefix("/dev/nvidia") {
            self.gpus.extend(name.parse::<u32>().ok());
            self.cuda |= name == "-uvm";
        }
    }
}

/// A GPU by the driver's own tables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// The N of `/dev/nvidiaN`.
    pub minor: u32,
    /// `GPU-...`, as `nvidia-smi` prints it.
    pub uuid: String,
    /// Its place on the bus, as `0000:1b:00.0`; empty where the driver does not say.
    pub bus: String,
}

/// The GPUs of this machine as the driver lists them in `/proc`.
pub fn gpus() -> Vec<Gpu> {
    let Ok(entries) = fs::read_dir("/proc/driver/nvidia/gpus") else {
        return Vec::new();
    };
    let texts = entries.flatten().map(|entry| fs::read_to_string(entry.path().join("information")));
    let mut gpus: Vec<Gpu> = texts.flatten().filter_map(|text| parse_gpu(&text)).collect();
    gpus.sort_by_key(|gpu| gpu.minor);
    gpus
}

fn parse_gpu(text: &str) -> Option<Gpu> {
    let value = |key: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(key)?.trim().strip_prefix(':'))
            .map(str::trim)
    };
    Some(Gpu {
        minor: value("Device Minor")?.parse().ok()?,
        uuid: value("GPU UUID")?.to_owned(),
        bus: value("Bus Location").unwrap_or_default().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_and_gpus_are_told_from_the_rest() {
        let mut descriptors = Descriptors::default();
        for target in [
            "socket:[123]",
            "socket:[x]",
            "/dev/nvidia3",
            "/dev/nvidia3",
            "/dev/nvidiactl",
            "/dev/nvidia-caps/nvidia-cap1",
            "/dev/null",
            "pipe:[9]",
        ] {
            descriptors.add(target);
        }
        let expected =
            Descriptors { sockets: HashSet::from([123]), gpus: BTreeSet::from([3]), cuda: false };
        assert_eq!(descriptors, expected);
        descriptors.add("/dev/nvidia-uvm");
        assert!(descriptors.cuda);
    }

    #[test]
    fn the_drivers_own_words() {
        let text = "Model: \t\t NVIDIA H200\nIRQ:   \t\t 0\nGPU UUID: \t GPU-8f9e6c3e-0000-1111-2222-333344445555\n\
                    Video BIOS: \t 96.00\nBus Location: \t 0000:1b:00.0\nDevice Minor: \t 2\nGPU Excluded:\t No\n";
        assert_eq!(
            parse_gpu(text),
            Some(Gpu {
                minor: 2,
                uuid: "GPU-8f9e6c3e-0000-1111-2222-333344445555".to_owned(),
                bus: "0000:1b:00.0".to_owned(),
            })
        );
        assert_eq!(parse_gpu("GPU UUID: x\n"), None);
    }
}
