//! What a CUDA call does, told by its name: `cudaLaunchKernel_v7000` launches a kernel.
//!
//! Nsight names runtime calls with the version they came with, and calls of per-thread default
//! streams with `_ptsz` or `_ptds`; only the beginning of a name decides.

use analysis::event::{LaunchKind, SyncScope};

/// Names longer than this are no CUDA calls.
pub(super) const NAME_MAX: usize = 128;

/// What a call does that matters to the timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Launch(LaunchKind),
    Sync(SyncScope),
}

impl Call {
    /// `None`: the call neither launches work nor waits for it.
    pub(super) fn named(name: &str) -> Option<Self> {
        let bare = name.strip_prefix("cuda").or_else(|| name.strip_prefix("cu"))?;
        // A word ends where the next one would begin: `LaunchHostFunc` is no `Launch`.
        let is = |word: &str| {
            bare.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with('_'))
        };
        let begins = |words: &[&str]| words.iter().any(|word| bare.starts_with(word));
        if is("Launch") || begins(&["LaunchKernel", "LaunchCooperativeKernel", "LaunchGrid"]) {
            Some(Self::Launch(LaunchKind::Kernel))
        } else if is("GraphLaunch") {
            Some(Self::Launch(LaunchKind::Graph))
        } else if begins(&["Memcpy", "Memset", "MemPrefetch"]) {
            Some(Self::Launch(LaunchKind::Copy))
        } else if is("StreamSynchronize") {
            Some(Self::Sync(SyncScope::Stream))
        } else if is("EventSynchronize") {
            Some(Self::Sync(SyncScope::Event))
        } else if is("DeviceSynchronize") || is("CtxSynchronize") || is("ThreadSynchronize") {
            Some(Self::Sync(SyncScope::Context))
        } else {
            None
        }
    }
}

/// What a synchronisation record says the host waited for. `None`: a stream waited, not the host,
/// or nothing is told.
pub(super) fn waited_for(sync_type: i64) -> Option<SyncScope> {
    // CUPTI's numbers; 2 is a stream that waits for an event.
    match sync_type {
        1 => Some(SyncScope::Event),
        3 => Some(SyncScope::Stream),
        4 => Some(SyncScope::Context),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let kernel = Some(Call::Launch(LaunchKind::Kernel));
        let graph = Some(Call::Launch(LaunchKind::Graph));
        let copy = Some(Call::Launch(LaunchKind::Copy));
        for (name, expected) in [
            ("cudaLaunchKernel_v7000", kernel),
            ("cudaLaunchKernel_ptsz_v7000", kernel),
            ("cudaLaunchKernelExC_v11060", kernel),
            ("cudaLaunchCooperativeKernel_v9000", kernel),
            ("cudaLaunch_v3020", kernel),
            ("cuLaunchKernel", kernel),
            ("cuLaunchKernelEx", kernel),
            ("cuLaunch", kernel),
            ("cuLaunchGridAsync", kernel),
            ("cudaLaunchHostFunc_v10000", None),
            ("cuLaunchHostFunc", None),
            ("cudaGraphLaunch_v10000", graph),
            ("cuGraphLaunch", graph),
            ("cudaGraphLaunch_ptsz_v10000", graph),
            ("cudaGraphInstantiate_v12000", None),
            ("cudaMemcpyAsync_v3020", copy),
            ("cuMemcpyHtoDAsync_v2", copy),
            ("cuMemsetD8Async", copy),
            ("cudaMemPrefetchAsync_v8000", copy),
            ("cudaMemGetInfo_v3020", None),
            ("cudaStreamSynchronize_v3020", Some(Call::Sync(SyncScope::Stream))),
            ("cuEventSynchronize", Some(Call::Sync(SyncScope::Event))),
            ("cudaDeviceSynchronize_v3020", Some(Call::Sync(SyncScope::Context))),
            ("cuCtxSynchronize", Some(Call::Sync(SyncScope::Context))),
            ("cudaEventQuery_v3020", None),
            ("cudaStreamWaitEvent_v3020", None),
            ("cublasLaunch", None),
            ("LaunchKernel", None),
        ] {
            assert_eq!(Call::named(name), expected, "{name}");
        }
    }
}
