//! Verification mode: launches counted by eBPF at the driver's exports against the shim's count.

use wire::kernel::VerifyCounts;

use crate::shim::Status;

/// The two counts of one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verification {
    pub pid: u32,
    /// Launch calls, kernels and graphs together, the failed ones included.
    pub ebpf_calls: u64,
    pub ebpf_failed: u64,
    pub shim_calls: u64,
    pub shim_failed: u64,
}

impl Verification {
    pub(super) fn new(pid: u32, ebpf: &VerifyCounts, shim: &Status) -> Self {
        Self {
            pid,
            ebpf_calls: ebpf.launches + ebpf.graph_launches,
            ebpf_failed: ebpf.failed,
            shim_calls: shim.launches.saturating_add(shim.launches_failed),
            shim_failed: shim.launches_failed,
        }
    }

    pub fn agrees(&self) -> bool {
        self.ebpf_calls == self.shim_calls && self.ebpf_failed == self.shim_failed
    }
}

impl std::fmt::Display for Verification {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let verdict = if self.agrees() { "equal" } else { "DIFFERENT" };
        write!(
            f,
            "launch calls of process {}: eBPF counted {} ({} failed), the shim {} ({} failed): {verdict}",
            self.pid, self.ebpf_calls, self.ebpf_failed, self.shim_calls, self.shim_failed
        )
    }
}
