//! Which processes an observation is about.

use std::collections::BTreeSet;

use crate::proc::{self, Discovery, Selector};

/// What the user asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These processes and everything below them, as it comes and goes.
    Trees(Vec<u32>),
    /// Every process of a vLLM server, and every process that has a ring.
    All,
    /// The servers meant by this, and what becomes of them.
    Servers(Selector),
}

/// A process that a selection covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Covered {
    pub(super) pid: u32,
    /// Also without a ring: its CPU time is of interest.
    pub(super) ringless: bool,
}

impl Selection {
    /// What it covers of what `node` saw at its last look. Of processes that are covered for their
    /// rings alone, those that may have got one since.
    pub(super) fn covered(&self, node: &Discovery) -> Vec<Covered> {
        let all = |pids: BTreeSet<u32>| -> Vec<Covered> {
            pids.into_iter().map(|pid| Covered { pid, ringless: true }).collect()
        };
        match self {
            Self::Trees(roots) => {
                all(roots.iter().flat_map(|&root| proc::descendants(root)).collect())
            }
            Self::All => {
                let unknown = node.unknown().iter().map(|worker| worker.pid);
                let members: BTreeSet<u32> = members(node, |_| true).chain(unknown).collect();
                let others = node
                    .changed()
                    .iter()
                    .copied()
                    .filter(|pid| !members.contains(pid))
                    .collect::<Vec<_>>();
                let others = others.into_iter().map(|pid| Covered { pid, ringless: false });
                others.chain(all(members)).collect()
            }
            Self::Servers(selector) => {
                // Nothing fits any more, or not yet.
                let chosen = selector.choose(node).unwrap_or_default();
                let pids = members(node, |id| chosen.servers.contains(&id));
                all(pids.chain(chosen.workers.iter().copied()).collect())
            }
        }
    }

    /// Processes come and go without end.
    pub(super) fn is_endless(&self) -> bool {
        matches!(self, Self::All)
    }
}

/// Members of servers whose id `fits`.
fn members(node: &Discovery, fits: impl Fn(u32) -> bool) -> impl Iterator<Item = u32> {
    let servers = node.servers().iter().filter(move |server| fits(server.id));
    servers.flat_map(|server| server.members.iter().map(|member| member.pid))
}
