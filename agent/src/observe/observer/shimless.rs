//! Workers that were started without the shim.

use std::collections::BTreeSet;

use analysis::event::ProcessInfo;
use analysis::level::bound::Bound;

use super::Observer;
use super::govern::{names, server_of};
use crate::govern::Described;
use crate::observe::clock::now;
use crate::proc::{Member, Role};

/// A worker of a vLLM server that has no ring.
#[derive(Clone, Debug)]
pub struct Shimless {
    pub info: ProcessInfo,
    /// Clock ticks since boot.
    pub start: u64,
    /// Which workers are one server.
    pub server: String,
    /// Of the server, the same over restarts.
    pub name: String,
    /// What the operator's policy says of it.
    pub bound: Bound,
}

impl Observer {
    /// Nobody is to be entered: the operator switched everything off, the crash breaker is open, or nobody decides.
    pub fn enters_nobody(&self) -> bool {
        self.is_switched_off()
            || self.governor.as_ref().is_none_or(|governor| governor.is_tripped(now()))
    }

    /// Who runs models and has no ring, as of the latest look at the node. None where nobody decides on levels, or the
    /// operator switched everything off.
    pub fn shimless(&self) -> Vec<Shimless> {
        let Some(governor) = self.governor.as_ref().filter(|_| !self.is_switched_off()) else {
            return Vec::new();
        };
        let rings = self.targets.iter().filter(|target| target.ring.is_some());
        let seen: BTreeSet<u32> = rings
            .map(|target| target.pid)
            .chain(self.refused.list().iter().map(|refused| refused.pid))
            .collect();
        let members = self.node.servers().iter().flat_map(|server| &server.members);
        members
            .chain(self.node.unknown())
            .filter(|member| runs_models(member) && !seen.contains(&member.pid))
            .map(|member| {
                let info = self.node.describe(member.pid);
                let described = Described {
                    server: server_of(&info),
                    name: names(&info),
                    devices: governor.uuids(&member.gpus),
                    cupti: 0,
                    info: Some(info.clone()),
                };
                let service = &info.service;
                Shimless {
                    start: member.start,
                    server: server_of(&info),
                    name: format!("{}/{}/{}", service.namespace, service.pod, service.model),
                    bound: governor.allows(&described),
                    info,
                }
            })
            .collect()
    }
}

fn runs_models(member: &Member) -> bool {
    member.role == Role::Worker || member.works
}
