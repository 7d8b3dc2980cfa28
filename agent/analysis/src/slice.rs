//! The timeline itself, piece by piece, for whoever draws it: every piece is told once, when it
//! became final. Asked for with [`crate::session::Session::tell_slices`]; nothing is kept otherwise.

use crate::classify::Kind;
use crate::ids::{DeviceKey, NameId, Ns, ProcessKey, StackId};
use crate::report::{CaptureSite, IdleCause, StepPhase, UnobservedReason};

/// One piece of a timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slice {
    /// Work that is wholly final.
    Work(WorkSlice),
    /// A launch call.
    Launch(LaunchSlice),
    /// A part of an idle gap with one cause. A gap that spans several marks comes in pieces.
    Idle { device: DeviceKey, start: Ns, end: Ns, cause: IdleCause },
    /// Time about which nothing is known.
    Unobserved { device: DeviceKey, start: Ns, end: Ns, reason: UnobservedReason },
    /// An engine step. `batch`: sequences or tokens, where something tells.
    Step { process: ProcessKey, start: Ns, end: Ns, phase: StepPhase, batch: Option<u32> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkSlice {
    pub device: DeviceKey,
    pub process: ProcessKey,
    pub context: u32,
    pub stream: u32,
    pub name: NameId,
    pub kind: Kind,
    pub graph: u32,
    pub capture: CaptureSite,
    /// Joins it with its [`LaunchSlice`] within the process; does not wrap.
    pub correlation: u64,
    pub start: Ns,
    pub end: Ns,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaunchSlice {
    pub process: ProcessKey,
    pub thread: u32,
    pub correlation: u64,
    pub enter: Ns,
    /// `None` where only entries are recorded.
    pub exit: Option<Ns>,
    pub graph: bool,
    pub stack: Option<StackId>,
}
