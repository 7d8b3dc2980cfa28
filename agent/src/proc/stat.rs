//! `/proc/PID/stat`.

use std::fs;
use std::time::Duration;

/// The flag of a thread of the kernel.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// Clock ticks in a second, as `/proc` tells times on every architecture but Alpha.
const TICKS: u64 = 100;

/// From a start in clock ticks since boot to an age, `uptime` seconds after it.
pub(crate) fn age_of(uptime: i64) -> impl Fn(u64) -> Duration {
    let uptime = u64::try_from(uptime).unwrap_or(0);
    move |start| Duration::from_secs(uptime.saturating_sub(start / TICKS))
}

/// What one line says of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    /// At most 15 characters.
    pub comm: String,
    pub state: char,
    pub parent: u32,
    pub session: u32,
    /// It has no program and never will.
    pub kernel: bool,
    pub threads: u64,
    /// When it started, clock ticks since boot; with the PID, who it is.
    pub start: u64,
    /// Bytes of address space.
    pub size: u64,
}

impl Stat {
    /// Of a process; `None` when there is none.
    pub(crate) fn read(pid: u32) -> Option<Self> {
        // `comm` is bytes of the process's choosing.
        let text = fs::read(format!("/proc/{pid}/stat")).ok()?;
        Self::parse(&String::from_utf8_lossy(&text))
    }

    /// `comm` may hold spaces and parentheses: the fields begin after the last one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (before, rest) = text.rsplit_once(')')?;
        let (_, comm) = before.split_once('(')?;
        let mut fields = rest.split_whitespace();
        Some(Self {
            comm: comm.to_owned(),
            // Fields 3, 4, 6, 9, 20, 22 and 23 of proc(5).
            state: fields.next()?.chars().next()?,
            parent: fields.next()?.parse().ok()?,
            session: fields.nth(1)?.parse().ok()?,
            kernel: fields.nth(2)?.parse::<u64>().ok()? & KERNEL_THREAD != 0,
            threads: fields.nth(10)?.parse().ok()?,
            start: fields.nth(1)?.parse().ok()?,
            size: fields.next()?.parse().ok()?,
        })
    }

    /// The first thread has ended.
    pub(crate) fn over(&self) -> bool {
        matches!(self.state, 'Z' | 'X')
    }

    /// Some thread runs. One whose first thread ended runs as long as another does.
    pub(crate) fn alive(&self) -> bool {
        !self.over() || self.threads > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comm_with_parentheses_does_not_confuse() {
        let line = "7 (a) b (c)) S 3 7 5 0 -1 4194560 1 0 0 0 1 2 0 0 20 0 9 0 987654 4096 1";
        let expected = Stat {
            comm: "a) b (c)".to_owned(),
            state: 'S',
            parent: 3,
            session: 5,
            kernel: false,
            threads: 9,
            start: 987_654,
            size: 4096,
        };
        assert_eq!(Stat::parse(line), Some(expected));
    }

    #[test]
    fn other_lines_are_none() {
        for line in
            ["", ")", "7 (x)", "7 (x) S", "7 x S 3 7 5 0 -1 0", "7 (x) S a 7 5 0 -1 0 0 0 0 0"]
        {
            assert_eq!(Stat::parse(line), None, "{line}");
        }
    }

    #[test]
    fn a_thread_of_the_kernel_is_told() {
        let line = "2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 11 0 0";
        assert!(Stat::parse(line).unwrap().kernel);
        assert!(!Stat::read(std::process::id()).unwrap().kernel);
    }
}
