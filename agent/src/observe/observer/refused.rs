//! Rings that are of no use, and why.

use wire::shim::OffReason;

/// A ring that was found and cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub pid: u32,
    /// A privilege is missing.
    pub privilege: bool,
    /// One line: what, where, what to do.
    pub reason: String,
}

/// Refusals kept. A node has tens of workers; arbitrary, only bounds memory.
const REFUSALS_MAX: usize = 1024;

/// The refusals in force, one a process.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    list: Vec<Refused>,
}

impl Refusals {
    /// `true` when it is worth telling: not told before, and there is room to remember it.
    pub(super) fn add(&mut self, refused: Refused) -> bool {
        let same = |known: &Refused| known.pid == refused.pid;
        if let Some(known) = self.list.iter_mut().find(|known| same(known)) {
            let differs = *known != refused;
            *known = refused;
            return differs;
        }
        let room = self.list.len() < REFUSALS_MAX;
        if room {
            self.list.push(refused);
        }
        room
    }

    /// The process's ring is held after all.
    pub(super) fn lift(&mut self, pid: u32) {
        self.list.retain(|refused| refused.pid != pid);
    }

    /// Forgets those whose process is not kept.
    pub(super) fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        self.list.retain(|refused| keep(refused.pid));
    }

    pub(super) fn list(&self) -> &[Refused] {
        &self.list
    }
}

/// Why a shim is of no use, as its stats page has it.
pub fn reason_text(reason: Option<OffReason>, cupti_error: u32) -> String {
    match reason {
        Some(OffReason::Configured) => "its shim is switched off by WARPLENS_LEVEL".to_owned(),
        Some(OffReason::CuptiMissing) => "its shim found no libcupti; install the CUPTI package that fits its CUDA runtime, or set WARPLENS_CUPTI".to_owned(),
        Some(OffReason::CuptiIncomplete) => "its libcupti lacks functions the shim needs; 12.0 or later is supported".to_owned(),
        Some(OffReason::CuptiRefused) => format!("CUPTI refused with error {cupti_error}"),
        Some(OffReason::CuptiTaken) => "another profiler holds CUPTI in it".to_owned(),
        Some(OffReason::System) => "the system refused its shim memory or a thread".to_owned(),
        Some(OffReason::Panicked) => "its shim failed and turned itself off".to_owned(),
        Some(OffReason::Withheld) => "its shim is not armed twice, for a known fault or by the configuration; a process that starts anew is".to_owned(),
        Some(OffReason::NoDriver) => "it has no CUDA driver loaded: only its heap can be sampled".to_owned(),
        Some(OffReason::None) | None => "its shim gives no reason".to_owned(),
    }
}
