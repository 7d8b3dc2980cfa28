//! One process and those above it, without a look at the whole node.

use std::collections::HashMap;

use analysis::event::{ProcessInfo, Service};

use super::discovery::{Glance, Line, line};
use super::title::Role;

/// The process as reports show it. A process that is gone is described by its PID alone.
pub fn describe(pid: u32) -> ProcessInfo {
    let Some(glance) = Glance::read(pid) else {
        return ProcessInfo {
            pid,
            role: Role::Process.as_str().to_owned(),
            ..ProcessInfo::default()
        };
    };
    let line = line_of(pid);
    let role =
        line.as_ref().and_then(|line| line.steps.first()).map_or(Role::Process, |step| step.1);
    // A child that has its parent's title still has its parent's rank, too.
    let rank = if role == glance.title.role { glance.title.rank } else { String::new() };
    ProcessInfo {
        pid,
        title: glance.title.text,
        role: role.as_str().to_owned(),
        rank,
        server: line.and_then(|line| line.root()).unwrap_or(0),
        service: Service::default(),
    }
}

/// PIDs of the engine cores above `pid` in its server.
pub fn engine_cores_above(pid: u32) -> Vec<u32> {
    line_of(pid).map_or_else(Vec::new, |line| line.engines().collect())
}

fn line_of(pid: u32) -> Option<Line> {
    let mut glances: HashMap<u32, Glance> = HashMap::new();
    let mut next = pid;
    // As many as a line has steps, and one above.
    for _ in 0..=16 {
        if next == 0 || glances.contains_key(&next) {
            break;
        }
        let Some(glance) = Glance::read(next) else {
            break;
        };
        let parent = glance.parent;
        glances.insert(next, glance);
        next = parent;
    }
    line(pid, |pid| glances.get(&pid))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_test_is_no_server() {
        let pid = std::process::id();
        let info = describe(pid);
        assert_eq!((info.server, info.role.as_str()), (0, "process"));
        assert_eq!(engine_cores_above(pid), Vec::<u32>::new());
    }

    #[test]
    fn a_process_that_is_gone_has_its_number() {
        let info = describe(u32::MAX);
        assert_eq!((info.pid, info.title.as_str(), info.role.as_str()), (u32::MAX, "", "process"));
    }
}
