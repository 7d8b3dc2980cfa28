//! Which processes there are, and when each is looked at again.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::os::unix::fs::DirEntryExt;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::glance::Glance;
use crate::proc::stat::{Stat, age_of};
use crate::proc::title::Role;

/// Processes known at once: twice the default limit of a kernel. Further ones are counted.
pub(super) const PROCESSES_MAX: usize = 1 << 16;

/// How long a process may take until it calls itself by its final name: a worker does when its
/// process groups are set up, which waits for every rank of its node to start.
const YOUNG: Duration = Duration::from_mins(2);

/// Settled processes looked at in one round beside the others, 10 us each: a node of 20 000 is gone
/// through in 20 rounds. It finds what no event told.
const ROUND: usize = 1024;

/// Executions kept between two looks; more of them than processes can be is nobody's.
const TOLD_MAX: usize = 1 << 16;

/// Of those, executions looked at when they are told: 30 us each, so that a node that compiles a
/// kernel costs no more than one that does not.
const READ_AT_ONCE: usize = 64;

/// See the module's text.
#[derive(Debug, Default)]
pub(super) struct Seen {
    glances: HashMap<u32, Glance>,
    known: HashMap<u32, Known>,
    /// Where the slow round goes on.
    cursor: u32,
    told: HashSet<u32>,
    pinned: HashSet<u32>,
    changed: Vec<u32>,
}

/// When a process was looked at, and what tells that it is another.
#[derive(Debug)]
struct Known {
    /// Of its folder in `/proc`: another process of the same number has another one.
    inode: u64,
    comm: String,
    start: u64,
    size: u64,
    kernel: bool,
    /// `None`: when its turn comes.
    next: Option<Instant>,
}

impl Seen {
    /// Brings everything up to date; how many processes found no room.
    pub(super) fn look(&mut self, now: Instant) -> usize {
        let mut listed = list();
        let left_out = listed.len().saturating_sub(PROCESSES_MAX);
        listed.truncate(PROCESSES_MAX);
        let pids: HashSet<u32> = listed.iter().map(|&(pid, _)| pid).collect();
        self.known.retain(|pid, _| pids.contains(pid));
        self.glances.retain(|pid, _| pids.contains(pid));
        self.changed.clear();
        let turn = self.turn(&listed);
        let told = std::mem::take(&mut self.told);
        let age = age_of(clock_gettime(ClockId::Boottime).tv_sec);
        for (pid, inode) in listed {
            let due = match self.known.get(&pid) {
                None => true,
                Some(known) => {
                    known.inode != inode
                        || !known.kernel
                            && (told.contains(&pid)
                                || self.pinned.contains(&pid)
                                || known.next.is_some_and(|next| next <= now))
                }
            };
            if due || turn.contains(&pid) {
                self.visit(pid, inode, now, due, &age);
            }
        }
        left_out
    }

    /// Whom the slow round reaches this time.
    fn turn(&mut self, listed: &[(u32, u64)]) -> BTreeSet<u32> {
        let from = listed.partition_point(|&(pid, _)| pid <= self.cursor);
        let round = listed.iter().cycle().skip(from).take(ROUND.min(listed.len()));
        let turn: Vec<u32> = round.map(|&(pid, _)| pid).collect();
        self.cursor = turn.last().copied().unwrap_or(0);
        turn.into_iter().collect()
    }

    /// Looks at one process; `closely`: also where its line in `/proc` shows nothing new.
    fn visit(
        &mut self,
        pid: u32,
        inode: u64,
        now: Instant,
        closely: bool,
        age: &impl Fn(u64) -> Duration,
    ) {
        let stat = Stat::read(pid).filter(Stat::alive);
        let Some(stat) = stat else {
            // Gone, or a zombie, which comes back to nothing.
            self.glances.remove(&pid);
            self.known.remove(&pid);
            return;
        };
        let before = self.known.get(&pid);
        let same = before.is_some_and(|known| {
            known.start == stat.start && known.comm == stat.comm && known.size == stat.size
        });
        if !same {
            self.changed.push(pid);
        }
        if !stat.kernel && (closely || !same) {
            let glance = Glance::new(&stat, &crate::proc::read::words(pid));
            let glance = match self.glances.get(&pid) {
                Some(old) => glance.after(old),
                None => glance,
            };
            self.glances.insert(pid, glance);
        } else if let Some(glance) = self.glances.get_mut(&pid) {
            // Whose parent died has another one.
            (glance.parent, glance.session) = (stat.parent, stat.session);
        }
        // Twice as old at each look: seven looks in the time that counts.
        let age = age(stat.start);
        let next = (age < YOUNG).then(|| now + age.max(Duration::from_millis(500)));
        let Stat { comm, start, size, kernel, .. } = stat;
        self.known.insert(pid, Known { inode, comm, start, size, kernel, next });
    }

    /// `true`: it is vLLM's.
    pub(super) fn on_exec(&mut self, pid: u32) -> bool {
        if self.told.len() >= TOLD_MAX {
            return false;
        }
        self.told.insert(pid);
        self.told.len() <= READ_AT_ONCE
            && Glance::read(pid).is_some_and(|glance| glance.title.role != Role::Process)
    }

    /// These are looked at each time.
    pub(super) fn pin(&mut self, pids: impl Iterator<Item = u32>) {
        self.pinned = pids.collect();
    }

    pub(super) fn glances(&self) -> &HashMap<u32, Glance> {
        &self.glances
    }

    pub(super) fn changed(&self) -> &[u32] {
        &self.changed
    }
}

/// PIDs with the inodes of their folders, sorted by PID.
fn list() -> Vec<(u32, u64)> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let mut listed: Vec<(u32, u64)> = entries
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.ino())))
        .collect();
    listed.sort_unstable();
    listed
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Child, Command, Stdio};

    use super::*;

    /// Ended with this value.
    struct Running(Child);

    impl Drop for Running {
        fn drop(&mut self) {
            // Ended already is ended.
            let _gone = self.0.kill();
            let _ended = self.0.wait();
        }
    }

    /// A shell that becomes `sleep` when it reads a line.
    fn shell() -> Running {
        let mut command = Command::new("sh");
        command.args(["-c", "read line; exec sleep 600"]).stdin(Stdio::piped());
        Running(command.spawn().unwrap())
    }

    fn title(seen: &Seen, pid: u32) -> Option<&str> {
        seen.glances().get(&pid).map(|glance| glance.title.text.as_str())
    }

    /// Every process has settled: only its turn, or an event, makes it looked at.
    fn settle(seen: &mut Seen) {
        seen.known.values_mut().for_each(|known| known.next = None);
    }

    #[test]
    fn a_process_that_becomes_another_program_and_one_that_ends() {
        let mut seen = Seen::default();
        let mut child = shell();
        let pid = child.0.id();
        seen.look(Instant::now());
        assert_eq!(title(&seen, pid), Some("sh"));
        assert!(seen.changed().contains(&pid));
        // The kernel gives a folder another inode when it had to forget the first: a look too many, and
        // not every time.
        let quiet = (0..50).any(|_| {
            settle(&mut seen);
            seen.look(Instant::now());
            !seen.changed().contains(&pid)
        });
        assert!(quiet, "nothing happened to it");

        child.0.stdin.take().unwrap().write_all(b"\n").unwrap();
        while fs::read_to_string(format!("/proc/{pid}/comm")).unwrap() != "sleep\n" {
            std::thread::yield_now();
        }
        settle(&mut seen);
        assert!(!seen.on_exec(pid), "`sleep` is no server");
        seen.look(Instant::now());
        assert_eq!(title(&seen, pid), Some("sleep"));
        assert!(seen.changed().contains(&pid));
        drop(child);
        seen.look(Instant::now());
        assert_eq!(title(&seen, pid), None);
        assert!(!seen.known.contains_key(&pid));
    }

    #[test]
    fn what_no_event_told_is_found_in_the_slow_round() {
        let child = shell();
        let pid = child.0.id();
        let mut seen = Seen::default();
        seen.look(Instant::now());
        settle(&mut seen);
        // As if it had been another process of the same number and folder.
        seen.known.get_mut(&pid).unwrap().start -= 1;
        seen.glances.get_mut(&pid).unwrap().title.text = "somebody else".to_owned();
        let rounds = seen.known.len() / ROUND + 1;
        for _ in 0..rounds {
            seen.look(Instant::now());
        }
        assert_eq!(title(&seen, pid), Some("sh"));
    }

    #[test]
    fn another_folder_is_another_process() {
        let child = shell();
        let pid = child.0.id();
        let mut seen = Seen::default();
        seen.look(Instant::now());
        settle(&mut seen);
        seen.known.get_mut(&pid).unwrap().inode += 1;
        seen.glances.get_mut(&pid).unwrap().title.text = "somebody else".to_owned();
        // Whoever's turn it is: not this one's.
        seen.cursor = pid;
        seen.look(Instant::now());
        assert_eq!(title(&seen, pid), Some("sh"));
    }

    #[test]
    fn the_slow_round_reaches_everybody() {
        let mut seen = Seen::default();
        let listed: Vec<(u32, u64)> = (1..=2_500).map(|pid| (pid, 0)).collect();
        let mut reached: BTreeSet<u32> = BTreeSet::new();
        for _ in 0..3 {
            let turn = seen.turn(&listed);
            assert_eq!(turn.len(), ROUND);
            reached.extend(turn);
        }
        assert_eq!(reached.len(), 2_500);
        assert!(seen.turn(&[]).is_empty());
    }
}
