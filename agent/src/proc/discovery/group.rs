//! Which processes make one server: a worker's parent is its engine core, an engine core's the
//! frontend or a script. Whatever started that one is not part of it. Pure.

use std::collections::{BTreeMap, HashMap};

use super::glance::Glance;
use crate::proc::title::Role;

/// Processes looked at on the way up. A server has three levels, helpers a few more; processes that
/// come and go between two looks must not make it endless.
const LEVELS: usize = 16;

/// How the first process of a server was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// By its arguments.
    Command,
    /// It is the Python program above a titled process.
    Script,
    /// By a title, and nothing above it is known: what started it has ended.
    Orphan,
    /// Ray's daemon started it, which tells nothing of whose worker it is.
    Ray,
}

/// A process's place among those above it in its server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// PIDs and roles, the process itself first, the server's first process last.
    pub steps: Vec<(u32, Role)>,
    pub origin: Origin,
}

impl Line {
    /// The first process of the server; `None` where that cannot be told from parents.
    pub(crate) fn root(&self) -> Option<u32> {
        let (root, _) = self.steps.last()?;
        (self.origin != Origin::Ray).then_some(*root)
    }

    /// The engine cores above the process.
    pub(crate) fn engines(&self) -> impl Iterator<Item = u32> + '_ {
        let above = self.steps.iter().skip(1);
        above.filter(|(_, role)| *role == Role::EngineCore).map(|&(pid, _)| pid)
    }
}

/// Where `pid` stands; `None`: it belongs to no server. Processes come from `look`.
pub(crate) fn line<'g>(pid: u32, look: impl Fn(u32) -> Option<&'g Glance>) -> Option<Line> {
    let mut chain: Vec<(u32, &Glance)> = Vec::new();
    let mut next = Some(pid);
    while let Some(pid) = next.filter(|&pid| pid > 0 && chain.len() < LEVELS) {
        let Some(glance) = look(pid) else {
            break;
        };
        chain.push((pid, glance));
        next = Some(glance.parent);
    }
    let role = |at: usize| {
        let (_, glance) = chain[at];
        let copy = chain.get(at + 1).is_some_and(|(_, parent)| glance.copies(parent));
        if copy { Role::Process } else { glance.title.role }
    };
    let roles: Vec<Role> = (0..chain.len()).map(role).collect();
    // A frontend starts a server; anything else belongs to the highest above it.
    let top = roles
        .iter()
        .position(|role| *role == Role::Frontend)
        .or_else(|| roles.iter().rposition(|role| *role != Role::Process))?;
    let mut steps: Vec<(u32, Role)> =
        chain.iter().zip(&roles).take(top + 1).map(|((pid, _), role)| (*pid, *role)).collect();
    let (_, first) = chain[top];
    let origin = match chain.get(top + 1) {
        _ if roles[top] == Role::Frontend => Origin::Command,
        Some((_, above)) if above.raylet => Origin::Ray,
        // A supervisor in Python gives its services sessions of their own; a script does not.
        Some(&(pid, above)) if above.python && above.session == first.session => {
            steps.push((pid, Role::Script));
            Origin::Script
        }
        _ => Origin::Orphan,
    };
    Some(Line { steps, origin })
}

/// A server's processes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Groups {
    /// By the PID of the first process: every process and its role, helpers among them.
    pub servers: BTreeMap<u32, BTreeMap<u32, Role>>,
    pub origins: BTreeMap<u32, Origin>,
    /// Ray's workers whose server parents do not tell.
    pub unknown: BTreeMap<u32, Role>,
}

/// All servers among `glances`.
pub(crate) fn group(glances: &HashMap<u32, Glance>) -> Groups {
    let mut groups = Groups::default();
    let look = |pid: u32| glances.get(&pid);
    for (&pid, glance) in glances {
        if glance.title.role == Role::Process {
            continue;
        }
        let Some(line) = line(pid, look) else {
            continue;
        };
        let role = line.steps.first().map_or(Role::Process, |&(_, role)| role);
        match line.root() {
            Some(root) => {
                let members = groups.servers.entry(root).or_default();
                // Helpers between it and the top come with it.
                members.extend(line.steps.iter().copied());
                groups.origins.insert(root, line.origin);
            }
            None if role != Role::Process => {
                groups.unknown.insert(pid, role);
            }
            None => {}
        }
    }
    if !groups.servers.is_empty() {
        add_helpers(&mut groups, glances);
    }
    groups
}

/// Adds what stands below a server's processes and has no title.
fn add_helpers(groups: &mut Groups, glances: &HashMap<u32, Glance>) {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (&pid, glance) in glances {
        children.entry(glance.parent).or_default().push(pid);
    }
    let roots: Vec<u32> = groups.servers.keys().copied().collect();
    for members in groups.servers.values_mut() {
        let mut open: Vec<u32> = members.keys().copied().collect();
        while let Some(parent) = open.pop() {
            for &child in children.get(&parent).into_iter().flatten() {
                if !roots.contains(&child) && !members.contains_key(&child) {
                    members.insert(child, Role::Process);
                    open.push(child);
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "group_tests.rs"]
mod tests;
