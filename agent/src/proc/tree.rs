//! Which processes there are and who started whom.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::stat::{Stat, age_of};

/// All PIDs of this PID namespace.
pub fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// Numbers of the threads of a process; none where it has ended.
pub fn threads(pid: u32) -> Vec<u32> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return Vec::new();
    };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The process runs. One whose first thread ended runs as long as another does.
pub fn alive(pid: u32) -> bool {
    Stat::read(pid).is_some_and(|stat| stat.alive())
}

/// The process runs and is the one that started then ([`start_time`]), not another one of its number.
pub fn runs_since(pid: u32, start: u64) -> bool {
    Stat::read(pid).is_some_and(|stat| stat.alive() && stat.start == start)
}

/// The process has its first thread, on which `/proc` hangs what it says about mappings.
pub fn has_leader(pid: u32) -> bool {
    Stat::read(pid).is_some_and(|stat| !stat.over())
}

/// The thread ended, or is on its last steps, from which there is no way back.
pub fn thread_over(tid: u32) -> bool {
    Stat::read(tid).is_none_or(|stat| stat.over())
}

/// The process this is a thread of; its own number for a process, `None` when there is neither.
pub fn process_of(task: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{task}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()
}

/// A thread's number in the innermost PID namespace it is in; a process's is that of its first thread.
pub fn inner_number(tid: u32) -> Option<u32> {
    let status = fs::read(format!("/proc/{tid}/status")).ok()?;
    let status = String::from_utf8_lossy(&status);
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"))?;
    numbers.split_ascii_whitespace().next_back()?.parse().ok()
}

/// What a thread calls itself, where that is not what its process does: most threads never set a name.
pub fn thread_name(pid: u32, tid: u32) -> Option<String> {
    let name = |task: u32| fs::read_to_string(format!("/proc/{pid}/task/{task}/comm")).ok();
    let own = name(tid)?;
    if tid == pid || name(pid).as_deref() == Some(own.as_str()) {
        return None;
    }
    let shown: String = own.chars().filter(|character| !character.is_control()).collect();
    (!shown.is_empty()).then_some(shown)
}

/// When the process started, clock ticks since boot; tells a reused PID.
pub fn start_time(pid: u32) -> Option<u64> {
    Stat::read(pid).map(|stat| stat.start)
}

/// How long ago that start was, time spent in suspension included.
pub fn age(start: u64) -> Duration {
    age_of(clock_gettime(ClockId::Boottime).tv_sec)(start)
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
        assert!(start_time(pid).is_some_and(|start| age(start) < Duration::from_hours(1)));
        assert!(!alive(u32::MAX));
    }

    #[test]
    fn threads_have_the_names_they_set() {
        let pid = std::process::id();
        let name_in = |named: &str| {
            let builder = std::thread::Builder::new().name(named.to_owned());
            // A thread of the standard library has its name before its function runs.
            let own = move || thread_name(pid, this_thread());
            builder.spawn(own).unwrap().join().unwrap()
        };
        assert_eq!(name_in("warplens-named").as_deref(), Some("warplens-named"));
        assert_eq!(thread_name(pid, pid), None);
        assert_eq!(thread_name(pid, u32::MAX), None);
    }

    /// The kernel's number of the calling thread.
    fn this_thread() -> u32 {
        let link = fs::read_link("/proc/thread-self").unwrap();
        link.file_name().unwrap().to_str().unwrap().parse().unwrap()
    }
}
