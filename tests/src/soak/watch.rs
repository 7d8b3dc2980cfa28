//! Looks at processes while they run, and says whether their memory stayed as it was.

use serde::{Deserialize, Serialize};

use crate::harness::process;

/// Growth of an agent that is still noise of allocators, which keep pages for a while. A leak of two bytes a record shows
/// in a piece of five million.
pub const AGENT_NOISE_KIB: u64 = 4 << 10;

/// Of a worker it is more: where the machine holds it up, records that wait fill buffers of the shim's fixed pool of 8 MiB
/// for the first time, and tables of the simulator (7 MiB, without the shim, in one such piece). A leak of an allocation
/// for each kernel would be 80 MiB.
pub const WORKER_NOISE_KIB: u64 = 16 << 10;

/// A process's own memory over time, KiB, without mapped files.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    sizes: Vec<u64>,
}

/// How a process's memory went: the median of the second quarter of the time and of the last, KiB. The first quarter is
/// warm-up: tables of names, stacks and symbols fill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Course {
    pub early_kib: u64,
    pub late_kib: u64,
}

impl Memory {
    /// Notes the present size, if the process is there.
    pub fn look(&mut self, pid: u32) {
        if let Some(kib) = process::status_kib(pid, "RssAnon") {
            self.sizes.push(kib);
        }
    }

    /// What there is to say of it.
    pub fn course(&self) -> Course {
        let quarter = self.sizes.len() / 4;
        let late = self.sizes.len() - quarter.max(usize::from(!self.sizes.is_empty()));
        Course {
            early_kib: median(
                &self.sizes[quarter..(2 * quarter).max(quarter + 1).min(self.sizes.len())],
            ),
            late_kib: median(&self.sizes[late..]),
        }
    }
}

impl Course {
    /// How much more it was in the end, KiB.
    pub fn grown_kib(self) -> u64 {
        self.late_kib.saturating_sub(self.early_kib)
    }

    /// Something was seen, and it grew by no more than noise.
    pub fn flat(self, noise_kib: u64) -> bool {
        self.early_kib > 0 && self.grown_kib() <= noise_kib
    }
}

fn median(sizes: &[u64]) -> u64 {
    let mut sizes = sizes.to_vec();
    sizes.sort_unstable();
    sizes.get(sizes.len() / 2).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(mib: &[u64]) -> Course {
        Memory { sizes: mib.iter().map(|mib| mib << 10).collect() }.course()
    }

    #[test]
    fn growth_is_seen_and_warm_up_is_not() {
        assert!(course(&[5, 30, 40, 40, 40, 40, 41, 40]).flat(AGENT_NOISE_KIB));
        assert!(!course(&[40, 40, 40, 40, 44, 48, 52, 56]).flat(AGENT_NOISE_KIB));
        assert!(!course(&[40, 40, 40, 40, 44, 48, 52, 57]).flat(WORKER_NOISE_KIB));
        assert_eq!(course(&[40, 40, 40, 40, 44, 48, 52, 56]).grown_kib(), 16 << 10);
        assert!(course(&[7]).flat(AGENT_NOISE_KIB));
        assert!(!course(&[]).flat(WORKER_NOISE_KIB), "nothing was seen");
    }
}
