//! Graphs the ways programs make them: whole, in pieces, as clones, with children, updated, captured
//! again. On the simulator every node's making is labelled, so that the truth can tell for each replayed
//! kernel in which pass and at which site it was captured.

use std::ffi::c_uint;

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use cudarc::driver::sys::{self, CUgraph, CUgraphExec};
use serde::Serialize;

use crate::sites::{Counts, SITES};

/// How the replayed graphs come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// One graph of a whole cycle.
    Full,
    /// Five graphs with a single launch between them, as around attention.
    Pieces,
    /// A clone of a graph that is gone.
    Clone,
    /// A graph in which another one stands twice.
    Child,
    /// An executable graph updated from another graph.
    Update,
    /// A graph that is destroyed and captured again every 20 replays.
    Recapture,
}

/// Which function a graph is captured in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pass {
    First,
    Second,
}

impl Pass {
    const ALL: [Self; 2] = [Self::First, Self::Second];

    /// The function's name.
    fn function(self) -> &'static str {
        match self {
            Self::First => "first_pass",
            Self::Second => "second_pass",
        }
    }

    /// What the simulator is told of a node made in this pass at a site.
    pub(crate) fn label(self, site: usize) -> u32 {
        u32::try_from(self as usize * SITES.len() + site + 1).unwrap_or(0)
    }
}

/// A label and the functions of its capture, the outer one first.
#[derive(Debug, Serialize)]
pub(crate) struct CaptureLabel {
    label: u32,
    frames: [&'static str; 2],
}

/// Every label there is.
pub(crate) fn labels() -> Vec<CaptureLabel> {
    let sites = || SITES.iter().enumerate();
    Pass::ALL
        .into_iter()
        .flat_map(|pass| {
            sites().map(move |(index, site)| CaptureLabel {
                label: pass.label(index),
                frames: [pass.function(), site.name],
            })
        })
        .collect()
}

/// A captured graph and the kernels in it, per site.
#[derive(Debug)]
pub(crate) struct Graph {
    handle: CUgraph,
    pub(crate) kernels: Counts,
}

/// An executable graph.
#[derive(Debug)]
pub(crate) struct Executable {
    handle: CUgraphExec,
    pub(crate) kernels: Counts,
}

impl Graph {
    /// Takes over a graph handle that is nobody else's.
    pub(crate) fn new(handle: CUgraph, kernels: Counts) -> Self {
        Self { handle, kernels }
    }

    /// `cuGraphClone`.
    pub(crate) fn clone_graph(&self) -> Result<Self> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: a live out pointer and a graph that is ours.
        unsafe { sys::cuGraphClone(&raw mut handle, self.handle) }.result().context("clone")?;
        Ok(Self { handle, kernels: self.kernels })
    }

    /// Adds a copy of `child` that nothing comes before.
    pub(crate) fn add_child(&mut self, child: &Self) -> Result<()> {
        let mut node = std::ptr::null_mut();
        let none = std::ptr::null();
        // SAFETY: a live out pointer, two graphs that are ours, and no dependencies.
        unsafe { sys::cuGraphAddChildGraphNode(&raw mut node, self.handle, none, 0, child.handle) }
            .result()
            .context("add a child graph")?;
        for (own, more) in self.kernels.iter_mut().zip(child.kernels) {
            *own += more;
        }
        Ok(())
    }

    pub(crate) fn instantiate(&self) -> Result<Executable> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: a live out pointer and a graph that is ours.
        unsafe { sys::cuGraphInstantiateWithFlags(&raw mut handle, self.handle, 0) }
            .result()
            .context("instantiate")?;
        Ok(Executable { handle, kernels: self.kernels })
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: ours, and not used after this.
        let _gone = unsafe { sys::cuGraphDestroy(self.handle) };
    }
}

impl Executable {
    /// `cuGraphExecUpdate`.
    pub(crate) fn update(&mut self, graph: &Graph) -> Result<()> {
        let mut info = sys::CUgraphExecUpdateResultInfo {
            result: sys::CUgraphExecUpdateResult::CU_GRAPH_EXEC_UPDATE_SUCCESS,
            errorNode: std::ptr::null_mut(),
            errorFromNode: std::ptr::null_mut(),
        };
        // SAFETY: both handles are ours; `info` is live.
        unsafe { sys::cuGraphExecUpdate_v2(self.handle, graph.handle, &raw mut info) }
            .result()
            .context("update an executable graph")?;
        self.kernels = graph.kernels;
        Ok(())
    }

    /// `false` when the driver refuses.
    pub(crate) fn launch(&self, stream: sys::CUstream) -> bool {
        // SAFETY: the executable graph and the stream are this thread's and live.
        unsafe { sys::cuGraphLaunch(self.handle, stream) }.result().is_ok()
    }
}

impl Drop for Executable {
    fn drop(&mut self) {
        // SAFETY: ours, and not used after this. Replays under way go on.
        let _gone = unsafe { sys::cuGraphExecDestroy(self.handle) };
    }
}

/// Starts a capture of what this thread puts into the stream.
pub(crate) fn begin(stream: sys::CUstream) -> Result<()> {
    let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    // SAFETY: a live stream.
    unsafe { sys::cuStreamBeginCapture_v2(stream, mode) }.result().context("begin stream capture")
}

/// Ends it.
pub(crate) fn end(stream: sys::CUstream) -> Result<CUgraph> {
    let mut handle = std::ptr::null_mut();
    // SAFETY: a live stream and a live out pointer.
    unsafe { sys::cuStreamEndCapture(stream, &raw mut handle) }
        .result()
        .context("end stream capture")?;
    ensure!(!handle.is_null(), "the captured graph is empty");
    Ok(handle)
}

/// The simulator's function that takes a label; `None` on a GPU.
pub(crate) type Label = Option<extern "C" fn(c_uint)>;

/// Looks it up.
pub(crate) fn find_label() -> Label {
    // SAFETY: the library is there, because a context is open.
    let library = unsafe { sys::culib() };
    // SAFETY: the simulator exports this name with this signature; nobody else has the name.
    let found = unsafe { library.get::<extern "C" fn(c_uint)>(b"warplens_sim_capture_site\0") };
    found.ok().map(|symbol| *symbol)
}
