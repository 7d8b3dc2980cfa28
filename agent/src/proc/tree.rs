//! Which processes there are and who started whom.

use std::collections::HashMap;
use std::fs;

use super::stat::Stat;

/// All PIDs of this PID namespace.
pub fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The process runs. One whose first thread ended runs as long as another does.
pub fn alive(pid: u32) -> bool {
    Stat::read(pid).is_some_and(|stat| stat.alive())
}

/// The process has its first thread, on which `/proc` hangs what it says about mappings.
pub fn has_leader(pid: u32) -> bool {
    Stat::read(pid).is_some_and(|stat| !stat.over())
}

/// The process this is a thread of; its own number for a process, `None` when there is neither.
pub fn process_of(task: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{task}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()
}

/// When the process started, clock ticks since boot; tells a reused PID.
pub fn start_time(pid: u32) -> Option<u64> {
    Stat::read(pid).map(|stat| stat.start)
}

/// `pid` and every process below it.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for child in pids() {
        if let Some(stat) = Stat::read(child) {
            children.entry(stat.parent).or_default().push(child);
        }
    }
    let mut found = vec![pid];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(children.remove(&parent).unwrap_or_default());
        next += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_alive_and_below_ourselves() {
        let pid = std::process::id();
        assert!(alive(pid));
        assert!(descendants(pid).contains(&pid));
        assert!(start_time(pid).is_some());
        assert!(!alive(u32::MAX));
    }
}
