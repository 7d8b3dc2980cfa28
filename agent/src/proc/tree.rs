//! Which processes there are and who started whom.

use std::collections::HashMap;
use std::fs;

/// All PIDs of this PID namespace.
pub fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The process runs. One whose first thread ended runs as long as another does.
pub fn alive(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| !stat.over() || stat.threads > 1)
}

/// The process has its first thread, on which `/proc` hangs what it says about mappings.
pub fn has_leader(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| !stat.over())
}

/// The process this is a thread of; its own number for a process, `None` when there is neither.
pub fn process_of(task: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{task}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()
}

/// The process that started it, or took over from that one.
pub(super) fn parent(pid: u32) -> Option<u32> {
    stat(pid).map(|stat| stat.parent)
}

/// When the process started, clock ticks since boot; tells a reused PID.
pub fn start_time(pid: u32) -> Option<u64> {
    stat(pid).map(|stat| stat.start)
}

/// `pid` and every process below it.
pub fn descendants(pid: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for child in pids() {
        if let Some(stat) = stat(child) {
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

struct Stat {
    state: char,
    parent: u32,
    threads: u64,
    start: u64,
}

impl Stat {
    fn over(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&text)
}

/// `comm` may hold spaces and parentheses: the fields begin after the last one.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let mut fields = rest.split_whitespace();
    Some(Stat {
        state: fields.next()?.chars().next()?,
        parent: fields.next()?.parse().ok()?,
        // Fields 20 and 22 of the line; two were taken here and two stood before the parenthesis.
        threads: fields.nth(15)?.parse().ok()?,
        start: fields.nth(1)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comm_with_parentheses_does_not_confuse() {
        let line = "7 (a) b (c)) S 3 7 7 0 -1 4 1 0 0 0 1 2 0 0 20 0 1 0 987654 1 1";
        let stat = parse_stat(line).unwrap();
        assert_eq!((stat.state, stat.parent, stat.threads, stat.start), ('S', 3, 1, 987_654));
    }

    #[test]
    fn we_are_alive_and_below_ourselves() {
        let pid = std::process::id();
        assert!(alive(pid));
        assert!(descendants(pid).contains(&pid));
        assert!(start_time(pid).is_some());
        assert!(!alive(u32::MAX));
    }
}
