//! Whether the process's control group has room for the shared memory. Where it has not, allocating it would not
//! fail: the kernel would kill the process, which lives well without us.
//!
//! ```text
//! room = limit - usage + page cache that can be given up        the least of the group and those above it
//! ```
//! What cannot be read counts as room: a system without groups, or one that hides them.

use std::fs;
use std::path::{Path, PathBuf};

/// What the process may need meanwhile: the allocation must not be what fills the group. Arbitrary.
const MARGIN: u64 = 16 << 20;

/// Where the hierarchies are mounted, by every distribution and container runtime.
const MOUNT: &str = "/sys/fs/cgroup";

/// The names of a version's files and of the page cache in `memory.stat`.
struct Version {
    /// Below the mount.
    root: &'static str,
    limit: &'static str,
    usage: &'static str,
    cache: [&'static str; 2],
}

const SECOND: Version = Version {
    root: "",
    limit: "memory.max",
    usage: "memory.current",
    cache: ["inactive_file ", "active_file "],
};
const FIRST: Version = Version {
    root: "memory",
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    cache: ["total_inactive_file ", "total_active_file "],
};

/// Whether `bytes` more fit, and the margin.
pub(crate) fn is_there_for(bytes: u64) -> bool {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let least = [&SECOND, &FIRST].into_iter().filter_map(|version| {
        let own = own_group(&groups, version)?;
        least_room(&Path::new(MOUNT).join(version.root), own, version)
    });
    least.min().is_none_or(|room| room >= bytes.saturating_add(MARGIN))
}

/// The path of the process's group below the mount, without its first slash.
fn own_group<'t>(groups: &'t str, version: &Version) -> Option<&'t str> {
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let wanted = if version.root.is_empty() {
            controllers.is_empty()
        } else {
            controllers.split(',').any(|controller| controller == "memory")
        };
        wanted.then(|| path.trim_start_matches('/'))
    })
}

/// The least room of the group and those above it, as far as they show. In a container the mount often is the
/// group itself, and its path means nothing there: then the mount's own files are what is found.
fn least_room(root: &Path, own: &str, version: &Version) -> Option<u64> {
    let group: PathBuf = root.join(own);
    group
        .ancestors()
        .take_while(|folder| folder.starts_with(root))
        .filter_map(|folder| {
            let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
            let stat = read("memory.stat").unwrap_or_default();
            room(&read(version.limit)?, &read(version.usage)?, &stat, version)
        })
        .min()
}

/// The room that a group's files tell of; `None`: it has no limit, or they are not understood.
fn room(limit: &str, usage: &str, stat: &str, version: &Version) -> Option<u64> {
    let limit: u64 = limit.trim().parse().ok()?;
    let usage: u64 = usage.trim().parse().ok()?;
    let value = |key: &str| {
        let line = stat.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|text| text.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    let cache: u64 = version.cache.iter().map(|key| value(key)).fold(0, u64::saturating_add);
    Some(limit.saturating_sub(usage.saturating_sub(cache)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: &str = "5:cpu,cpuacct:/a\n4:memory:/b/c\n1:name=systemd:/d\n0::/e/f\n";

    #[test]
    fn the_group_of_each_version_is_told_apart() {
        assert_eq!(own_group(BOTH, &FIRST), Some("b/c"));
        assert_eq!(own_group(BOTH, &SECOND), Some("e/f"));
        assert_eq!(own_group("0::/\n", &SECOND), Some(""));
        assert_eq!(own_group("0::/\n", &FIRST), None);
        assert_eq!(own_group("garbage\n:\n", &SECOND), None);
    }

    #[test]
    fn page_cache_is_room_and_no_limit_is_no_bound() {
        let stat = "anon 5\nfile 90\ninactive_file 30\nactive_file 20\n";
        assert_eq!(room("100\n", "80\n", stat, &SECOND), Some(70));
        assert_eq!(room("100\n", "80\n", "", &SECOND), Some(20));
        assert_eq!(room("100\n", "120\n", "", &SECOND), Some(0));
        assert_eq!(room("max\n", "80\n", stat, &SECOND), None);
        let stat = "inactive_file 1\ntotal_inactive_file 30\ntotal_active_file 20\n";
        assert_eq!(room("100\n", "80\n", stat, &FIRST), Some(70));
    }

    #[test]
    fn the_tightest_group_above_decides() {
        let root = std::env::temp_dir().join(format!("warplens-room-{}", std::process::id()));
        let group = |path: &str, limit: &str, usage: &str| {
            let folder = root.join(path);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("memory.max"), limit).unwrap();
            fs::write(folder.join("memory.current"), usage).unwrap();
        };
        group("pod", "100\n", "90\n");
        group("pod/worker", "80\n", "50\n");
        let found = least_room(&root, "pod/worker", &SECOND);
        let elsewhere = least_room(&root, "no/such/group", &SECOND);
        group("", "40\n", "5\n");
        let own_mount = least_room(&root, "no/such/group", &SECOND);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!((found, elsewhere, own_mount), (Some(10), None, Some(35)));
    }
}
