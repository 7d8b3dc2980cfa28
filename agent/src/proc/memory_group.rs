//! The control group that bounds a process's memory, of version 1 or 2.

use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

/// Where a group's figures are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemoryGroup {
    root: PathBuf,
    folder: PathBuf,
    files: &'static Files,
}

/// What the versions call the same things.
#[derive(Debug, PartialEq, Eq)]
struct Files {
    max: &'static str,
    current: &'static str,
    /// In `memory.stat`: pages of files that are given up first, its descendants' too.
    inactive: &'static str,
    kills: &'static str,
}

static FIRST: Files = Files {
    max: "memory.limit_in_bytes",
    current: "memory.usage_in_bytes",
    inactive: "total_inactive_file",
    kills: "memory.oom_control",
};

static SECOND: Files = Files {
    max: "memory.max",
    current: "memory.current",
    inactive: "inactive_file",
    kills: "memory.events",
};

impl MemoryGroup {
    /// Those that may bound a living process, the first that can be read counts; none where its groups cannot be read.
    pub(crate) fn of(pid: u32) -> Vec<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        Self::parse(&text)
    }

    /// By the lines of `/proc/PID/cgroup`: `0::PATH` of version 2, `N:memory:PATH` of version 1.
    fn parse(text: &str) -> Vec<Self> {
        let of = |line: &str| {
            let mut fields = line.splitn(3, ':');
            let (_number, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
            let path = path.trim_start_matches('/');
            // A path that leads out of the hierarchy is another namespace's.
            if path.split('/').any(|part| part == "..") {
                return None;
            }
            let (root, files) = match controllers {
                "" => (PathBuf::from(ROOT), &SECOND),
                _ if controllers.split(',').any(|one| one == "memory") => {
                    (Path::new(ROOT).join("memory"), &FIRST)
                }
                _ => return None,
            };
            Some(Self { folder: root.join(path), root, files })
        };
        text.lines().filter_map(of).collect()
    }

    /// The file that counts processes the kernel ended for lack of memory, in a line `oom_kill N`.
    pub(crate) fn kills(&self) -> PathBuf {
        self.folder.join(self.files.kills)
    }

    /// Bytes until it or one around it has none left; `None`: no limit, or it cannot be read.
    pub(crate) fn headroom(&self) -> Option<u64> {
        let within = |folder: &&Path| folder.starts_with(&self.root);
        self.folder
            .ancestors()
            .take_while(within)
            .filter_map(|folder| {
                let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
                left(
                    &read(self.files.max)?,
                    &read(self.files.current)?,
                    &read("memory.stat")?,
                    self.files.inactive,
                )
            })
            .min()
    }
}

/// Bytes left of `max`, by the texts of a group's files; pages of files that are given up first do not count as taken.
fn left(max: &str, current: &str, stat: &str, inactive: &str) -> Option<u64> {
    // Version 2 says `max` where there is none, version 1 the largest number of pages.
    let max: u64 = max.trim().parse().ok().filter(|&max| max < 1 << 62)?;
    let current: u64 = current.trim().parse().ok()?;
    let lines = &mut stat.lines();
    let inactive = lines.find_map(|line| line.strip_prefix(inactive)?.trim().parse::<u64>().ok());
    Some(max.saturating_sub(current.saturating_sub(inactive.unwrap_or(0))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_have_a_folder_and_none_leads_out() {
        let check = |text: &str, expected: &[&str]| {
            let kills: Vec<PathBuf> =
                MemoryGroup::parse(text).iter().map(MemoryGroup::kills).collect();
            let expected: Vec<PathBuf> = expected.iter().map(PathBuf::from).collect();
            assert_eq!(kills, expected, "{text}");
        };
        check("0::/a/b\n", &["/sys/fs/cgroup/a/b/memory.events"]);
        check("5:cpu:/c\n4:memory:/m\n", &["/sys/fs/cgroup/memory/m/memory.oom_control"]);
        check("0::/../../x\n", &[]);
        check("nonsense", &[]);
    }

    #[test]
    fn what_is_left_is_less_than_the_limit_by_what_cannot_be_dropped() {
        let stat = "anon 5\ninactive_file 300\nactive_file 7\n";
        assert_eq!(left("1000\n", "900\n", stat, "inactive_file"), Some(400));
        assert_eq!(left("1000\n", "2000\n", stat, "inactive_file"), Some(0));
        assert_eq!(left("1000\n", "100\n", "", "inactive_file"), Some(900));
        assert_eq!(left("max\n", "900\n", stat, "inactive_file"), None);
        assert_eq!(left("9223372036854771712\n", "900\n", stat, "inactive_file"), None);
    }

    #[test]
    fn the_tightest_of_the_groups_around_it_counts() {
        let folder = tempfile::tempdir().unwrap();
        let group = |name: &str, max: &str, current: &str| {
            let folder = folder.path().join(name);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("memory.max"), max).unwrap();
            fs::write(folder.join("memory.current"), current).unwrap();
            fs::write(folder.join("memory.stat"), "inactive_file 0\n").unwrap();
        };
        group("pod", "1000", "900");
        group("pod/container", "max", "500");
        let root = folder.path().to_owned();
        let group = MemoryGroup { folder: root.join("pod/container"), root, files: &SECOND };
        assert_eq!(group.headroom(), Some(100));
    }
}
