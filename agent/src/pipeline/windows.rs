//! Figures of a session at the edges of windows, while it is fed.

use std::sync::Arc;

use analysis::compare::{Cuts, Figures};
use analysis::ids::NameId;
use analysis::session::Session;

#[derive(Debug, Default)]
pub(super) struct Cutter {
    cuts: Cuts,
    /// By name id: a name is copied once, not once a window.
    names: Vec<Arc<str>>,
}

impl Cutter {
    /// Cuts here when enough became final since the last time.
    pub(super) fn look(&mut self, session: &Session) {
        let Some(at) = session.watermark().filter(|&at| self.cuts.due(at)) else {
            return;
        };
        let figures = Figures::of(&session.kernel_summary(), |id| self.name(session, id));
        self.cuts.add(at, figures);
    }

    pub(super) fn windows(&self) -> Vec<Figures> {
        self.cuts.windows()
    }

    fn name(&mut self, session: &Session, id: NameId) -> Arc<str> {
        let index = id.0 as usize;
        // Ids are given out in order: the names up to this one are known.
        while self.names.len() <= index {
            let next = u32::try_from(self.names.len()).ok().map(NameId);
            match next.and_then(|next| session.kernel_name(next)) {
                Some(name) => self.names.push(name.into()),
                None => return "[name unknown]".into(),
            }
        }
        self.names.get(index).map_or_else(|| "[name unknown]".into(), Arc::clone)
    }
}
