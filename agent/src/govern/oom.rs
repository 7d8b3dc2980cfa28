//! Whether a control group lost processes for lack of memory, before and after one of them died.

use std::fs;
use std::path::PathBuf;

use analysis::level::breaker::OomCount;

/// The file that counts kills of one process's control group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OomWatch {
    file: PathBuf,
    before: u64,
}

impl OomWatch {
    /// Of a living process; `None` where its group or the count cannot be read.
    pub fn of(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
        files(&text).into_iter().find_map(|file| {
            let before = count(&fs::read_to_string(&file).ok()?)?;
            Some(Self { file, before })
        })
    }

    /// What became of the count.
    pub fn look(&self) -> OomCount {
        let after = fs::read_to_string(&self.file).ok().and_then(|text| count(&text));
        match after {
            Some(after) if after > self.before => OomCount::Grew,
            Some(_) => OomCount::Unchanged,
            None => OomCount::Unread,
        }
    }
}

/// Where the count may be, by the lines of `/proc/PID/cgroup`: `0::PATH` of version 2, `N:memory:PATH` of version 1.
fn files(cgroup: &str) -> Vec<PathBuf> {
    let of = |line: &str| {
        let mut fields = line.splitn(3, ':');
        let (_number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let path = path.trim_start_matches('/');
        // A path that leads out of the hierarchy is another namespace's.
        if path.split('/').any(|part| part == "..") {
            return None;
        }
        match controllers {
            "" => Some(PathBuf::from("/sys/fs/cgroup").join(path).join("memory.events")),
            _ if controllers.split(',').any(|one| one == "memory") => {
                Some(PathBuf::from("/sys/fs/cgroup/memory").join(path).join("memory.oom_control"))
            }
            _ => None,
        }
    };
    cgroup.lines().filter_map(of).collect()
}

/// The line `oom_kill N`, the same in both versions.
fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_have_a_file_and_none_leads_out() {
        let check = |text: &str, expected: &[&str]| {
            let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(files(text), expected, "{text}");
        };
        check("0::/a/b\n", &["/sys/fs/cgroup/a/b/memory.events"]);
        check("5:cpu:/c\n4:memory:/m\n", &["/sys/fs/cgroup/memory/m/memory.oom_control"]);
        check("0::/../../x\n", &[]);
        check("nonsense", &[]);
    }

    #[test]
    fn the_count_is_one_line_of_several() {
        assert_eq!(count("low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\n"), Some(4));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"), Some(7));
        assert_eq!(count("oom_kill x\n"), None);
    }
}
