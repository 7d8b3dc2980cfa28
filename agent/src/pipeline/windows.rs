//! Figures of a session at the edges of windows, while it is fed.

use std::sync::Arc;

use analysis::compare::{Cuts, Figures};
use analysis::ids::NameId;
use analysis::session::Session;

/// Kernels that windows hold, the first ones seen: a server shows a few hundred. With the 129 cuts
/// that are kept this is some 30 MB, and as much again as differences. The rest is compared as a whole and not tested, which `diff` says.
const KERNELS: u32 = 4096;

#[derive(Debug, Default)]
pub(super) struct Cutter {
    cuts: Cuts,
    /// By name id: a name is copied once, not once a window.
    names: Vec<Arc<str>>,
}

impl Cutter {
    /// Cuts here when enough became final since the last time. Each device is cut where it is: they
    /// are a mark apart at most, unless one ended, and every window counts the time it has of each.
    pub(super) fn look(&mut self, session: &Session) {
        let Some(at) = session.furthest().filter(|&at| self.cuts.due(at)) else {
            return;
        };
        let figures = Figures::of(&session.kernel_summary(), |id| self.name(session, id));
        self.cuts.add(at, figures);
    }

    pub(super) fn windows(&self) -> Vec<Figures> {
        self.cuts.windows()
    }

    fn name(&mut self, session: &Session, id: NameId) -> Option<Arc<str>> {
        if id.0 >= KERNELS {
            return None;
        }
        let index = id.0 as usize;
        // Ids are given out in order: the names up to this one are known.
        while self.names.len() <= index {
            let next = NameId(u32::try_from(self.names.len()).ok()?);
            self.names.push(session.kernel_name(next)?.into());
        }
        self.names.get(index).map(Arc::clone)
    }
}
