//! Whether a control group lost processes for lack of memory, before and after one of them died.

use std::fs;
use std::path::PathBuf;

use analysis::level::breaker::OomCount;

use crate::proc::MemoryGroup;

/// The file that counts kills of one process's control group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OomWatch {
    file: PathBuf,
    before: u64,
}

impl OomWatch {
    /// Of a living process; `None` where its group or the count cannot be read.
    pub fn of(pid: u32) -> Option<Self> {
        MemoryGroup::of(pid).iter().map(MemoryGroup::kills).find_map(|file| {
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

/// The line `oom_kill N`, the same in both versions.
fn count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_count_is_one_line_of_several() {
        assert_eq!(count("low 0\nhigh 1\nmax 2\noom 3\noom_kill 4\n"), Some(4));
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"), Some(7));
        assert_eq!(count("oom_kill x\n"), None);
    }
}
