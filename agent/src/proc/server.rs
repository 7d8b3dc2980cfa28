//! Which processes make one vLLM server: a worker's parent is its engine core, an engine core's the
//! frontend. The first of them names the server; whatever started that one is not part of it.

use super::role::titles;
use super::tree::parent;

/// Roles of processes that make a server.
const ROLES: [&str; 5] = ["worker", "engine_core", "api_server", "coordinator", "frontend"];

/// Processes looked at on the way up. A server has three levels; processes that come and go between
/// two looks must not make it endless.
const LEVELS: usize = 16;

/// PID of the top-most process of the server that `pid` belongs to; 0: it belongs to none.
pub fn server(pid: u32) -> u32 {
    up(pid, parent, role).last().map_or(0, |&(pid, _)| pid)
}

/// PIDs of the engine cores above `pid` in its server.
pub fn engine_cores_above(pid: u32) -> Vec<u32> {
    let mut line = up(pid, parent, role);
    line.retain(|(above, role)| *above != pid && role == "engine_core");
    line.into_iter().map(|(pid, _)| pid).collect()
}

fn role(pid: u32) -> String {
    let (_, role, _) = titles(pid);
    role
}

/// `pid` and its ancestors, with their roles, as far as they are of the same server.
fn up(
    pid: u32,
    parent: impl Fn(u32) -> Option<u32>,
    role: impl Fn(u32) -> String,
) -> Vec<(u32, String)> {
    std::iter::successors(Some(pid), |&pid| parent(pid).filter(|&parent| parent > 0))
        .take(LEVELS)
        .map(|pid| (pid, role(pid)))
        .take_while(|(_, role)| ROLES.contains(&role.as_str()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PID, parent, role.
    type Row = (u32, u32, &'static str);

    fn line(table: &[Row], pid: u32) -> Vec<u32> {
        let row = |pid| table.iter().copied().find(|row| row.0 == pid);
        up(
            pid,
            |pid| row(pid).map(|(_, parent, _)| parent),
            |pid| row(pid).map_or("process", |(_, _, role)| role).to_owned(),
        )
        .into_iter()
        .map(|(pid, _)| pid)
        .collect()
    }

    #[test]
    fn a_server_ends_at_the_first_ancestor_that_is_none_of_it() {
        let table = [
            (1, 0, "process"),
            (10, 1, "process"),
            (11, 10, "frontend"),
            (12, 11, "engine_core"),
            (13, 12, "worker"),
            (14, 12, "worker"),
            // A second server below the same shell.
            (21, 10, "frontend"),
            (22, 21, "engine_core"),
            // A script that drives an engine itself, and a worker of Ray.
            (31, 10, "process"),
            (32, 31, "engine_core"),
            (41, 40, "worker"),
        ];
        let check = |pid: u32, expected: &[u32]| assert_eq!(line(&table, pid), expected, "{pid}");
        check(13, &[13, 12, 11]);
        check(14, &[14, 12, 11]);
        check(11, &[11]);
        check(22, &[22, 21]);
        check(32, &[32]);
        check(41, &[41]);
        check(10, &[]);
        check(99, &[]);
    }

    #[test]
    fn a_circle_of_parents_is_left() {
        let table = [(5, 6, "worker"), (6, 5, "engine_core")];
        assert_eq!(line(&table, 5).len(), LEVELS);
    }

    #[test]
    fn a_test_is_no_server() {
        assert_eq!(server(std::process::id()), 0);
        assert_eq!(engine_cores_above(std::process::id()), Vec::<u32>::new());
    }
}
