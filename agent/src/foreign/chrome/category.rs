//! What the categories of a trace and the names of CUDA's functions mean.
//!
//! Kineto has used `kernel`, `gpu_memcpy`, `cuda_runtime`, `cpu_op` since PyTorch 1.12; before, the
//! same were `Kernel`, `Memcpy`, `Runtime`, `Operator`.

use analysis::event::{LaunchKind, SyncScope};

/// What an event is about, as far as it is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Category {
    /// None was told so far.
    #[default]
    Untold,
    Kernel,
    Memcpy,
    Memset,
    /// A call of CUDA's or HIP's runtime or driver.
    Call,
    /// A synchronisation as CUPTI records it beside the call.
    Sync,
    Operator,
    Annotation,
    Python,
    /// Arrows, spans of the profiler, memory counters and whatever else.
    Other,
}

impl Category {
    /// From the text of the value of `cat`, quotes included.
    pub(super) fn of(text: &[u8]) -> Self {
        match text {
            b"\"kernel\"" | b"\"Kernel\"" => Self::Kernel,
            b"\"gpu_memcpy\"" | b"\"Memcpy\"" => Self::Memcpy,
            b"\"gpu_memset\"" | b"\"Memset\"" => Self::Memset,
            b"\"cuda_runtime\"" | b"\"Runtime\"" | b"\"cuda_driver\"" | b"\"Driver\"" => Self::Call,
            b"\"cuda_sync\"" => Self::Sync,
            b"\"cpu_op\"" | b"\"Operator\"" => Self::Operator,
            b"\"user_annotation\"" => Self::Annotation,
            b"\"python_function\"" => Self::Python,
            _ => Self::Other,
        }
    }

    /// Whether `args` holds something that is read.
    pub(super) fn has_arguments(self) -> bool {
        !matches!(self, Self::Other | Self::Python)
    }
}

/// What a call does to the device's timeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Call {
    Launch(LaunchKind),
    /// A copy that returns when it is done.
    BlockingCopy,
    Sync(SyncScope),
    Other,
}

impl Call {
    /// From a function's name, such as `cudaLaunchKernelExC_v11060` or `cuMemcpyHtoDAsync_v2_ptsz`.
    pub(super) fn of(function: &str) -> Self {
        let bare = ["cuda", "cu", "hip"].iter().find_map(|api| function.strip_prefix(api));
        let Some(bare) = bare else {
            return Self::Other;
        };
        let bare = bare.split('_').next().unwrap_or(bare);
        match bare {
            "DeviceSynchronize" | "CtxSynchronize" | "ThreadSynchronize" => {
                return Self::Sync(SyncScope::Context);
            }
            "StreamSynchronize" => return Self::Sync(SyncScope::Stream),
            "EventSynchronize" => return Self::Sync(SyncScope::Event),
            "GraphLaunch" => return Self::Launch(LaunchKind::Graph),
            // Runs on the host.
            "LaunchHostFunc" => return Self::Other,
            _ => {}
        }
        if bare.starts_with("Launch")
            || bare.starts_with("ModuleLaunch")
            || bare.starts_with("ExtLaunch")
            || bare.starts_with("ExtModuleLaunch")
        {
            return Self::Launch(LaunchKind::Kernel);
        }
        let asynchronous = bare.contains("Async");
        match (bare.starts_with("Memcpy"), bare.starts_with("Memset"), asynchronous) {
            (true, _, false) => Self::BlockingCopy,
            (true, _, true) | (_, true, _) => Self::Launch(LaunchKind::Copy),
            _ => Self::Other,
        }
    }
}

/// Which way a copy goes, as CUPTI numbers it, from `Memcpy HtoD (Pinned -> Device)`.
pub(super) fn copy_kind(name: &str) -> u8 {
    let way = name.split_whitespace().nth(1).unwrap_or_default();
    match way {
        "HtoD" => 1,
        "DtoH" => 2,
        "HtoA" => 3,
        "AtoH" => 4,
        "AtoA" => 5,
        "AtoD" => 6,
        "DtoA" => 7,
        "DtoD" => 8,
        "HtoH" => 9,
        "PtoP" => 10,
        _ => 0,
    }
}

/// Scope of a synchronisation record; `None` where no thread waits.
pub(super) fn sync_scope(kind: &str) -> Option<SyncScope> {
    match kind {
        "Context Sync" => Some(SyncScope::Context),
        "Stream Sync" => Some(SyncScope::Stream),
        "Event Sync" => Some(SyncScope::Event),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_known_in_every_spelling() {
        let kernel = Call::Launch(LaunchKind::Kernel);
        let graph = Call::Launch(LaunchKind::Graph);
        let copy = Call::Launch(LaunchKind::Copy);
        for (function, expected) in [
            ("cudaLaunchKernel", kernel),
            ("cudaLaunchKernel_ptsz", kernel),
            ("cudaLaunchKernelExC", kernel),
            ("cudaLaunchKernelExC_v11060", kernel),
            ("cudaLaunchCooperativeKernel", kernel),
            ("cudaLaunchCooperativeKernelMultiDevice", kernel),
            ("cuLaunchKernel", kernel),
            ("cuLaunchKernelEx_ptsz", kernel),
            ("cuLaunchGridAsync", kernel),
            ("hipLaunchKernel", kernel),
            ("hipModuleLaunchKernel", kernel),
            ("hipExtModuleLaunchKernel", kernel),
            ("cudaGraphLaunch", graph),
            ("cudaGraphLaunch_v10000", graph),
            ("cuGraphLaunch_ptsz", graph),
            ("hipGraphLaunch", graph),
            ("cudaMemcpyAsync", copy),
            ("cuMemcpyHtoDAsync_v2_ptsz", copy),
            ("cudaMemcpy2DAsync", copy),
            ("cudaMemcpyBatchAsync", copy),
            ("cudaMemsetAsync", copy),
            ("cuMemsetD32Async", copy),
            ("cudaMemset", copy),
            ("cudaMemcpy", Call::BlockingCopy),
            ("cuMemcpyDtoH_v2", Call::BlockingCopy),
            ("hipMemcpyWithStream", Call::BlockingCopy),
            ("cudaDeviceSynchronize", Call::Sync(SyncScope::Context)),
            ("cuCtxSynchronize", Call::Sync(SyncScope::Context)),
            ("cudaStreamSynchronize_ptsz", Call::Sync(SyncScope::Stream)),
            ("cuEventSynchronize", Call::Sync(SyncScope::Event)),
            ("cudaLaunchHostFunc", Call::Other),
            ("cudaEventQuery", Call::Other),
            ("cudaStreamWaitEvent", Call::Other),
            ("cudaGraphInstantiate", Call::Other),
            ("cudaMalloc", Call::Other),
            ("INVALID", Call::Other),
            ("", Call::Other),
        ] {
            assert_eq!(Call::of(function), expected, "{function}");
        }
    }

    #[test]
    fn copies_say_which_way_they_go() {
        assert_eq!(copy_kind("Memcpy HtoD (Pinned -> Device)"), 1);
        assert_eq!(copy_kind("Memcpy DtoH (Device -> Pageable)"), 2);
        assert_eq!(copy_kind("Memcpy DtoD (Device -> Device)"), 8);
        assert_eq!(copy_kind("copyBuffer"), 0);
        assert_eq!(copy_kind(""), 0);
    }
}
