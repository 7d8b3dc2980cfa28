//! `/proc/PID/task/TID/syscall`: where a thread sleeps.

use std::fs;

/// What a thread that sleeps was doing when it went to sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// -1: in none, such as in a page fault.
    pub syscall: i32,
    /// The first two of the system call; 0 in none.
    pub arguments: [u64; 2],
    pub stack_pointer: u64,
    pub instruction: u64,
}

impl Blocked {
    /// `None`: it runs, or is not there, or not ours to look at.
    pub fn read(pid: u32, tid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall")).ok()?)
    }

    /// `NUMBER ARGUMENT*6 SP PC`, `-1 SP PC`, or `running`.
    fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_ascii_whitespace();
        let syscall = words.next()?.parse().ok()?;
        let hex = |word: &str| u64::from_str_radix(word.strip_prefix("0x")?, 16).ok();
        let numbers: Vec<u64> = words.map(hex).collect::<Option<_>>()?;
        let &[first, second, ..] = numbers.as_slice() else { return None };
        let &[.., stack_pointer, instruction] = numbers.as_slice() else { return None };
        let arguments = if syscall < 0 { [0; 2] } else { [first, second] };
        Some(Self { syscall, arguments, stack_pointer, instruction })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_every_kind_is_read() {
        let line = "202 0x7f1 0x80 0x0 0x0 0x0 0x0 0x7ffd00 0x7f00aa\n";
        let expected = Blocked {
            syscall: 202,
            arguments: [0x7f1, 0x80],
            stack_pointer: 0x007f_fd00,
            instruction: 0x007f_00aa,
        };
        assert_eq!(Blocked::parse(line), Some(expected));
        let fault = Blocked { syscall: -1, arguments: [0; 2], ..expected };
        assert_eq!(Blocked::parse("-1 0x7ffd00 0x7f00aa"), Some(fault));
        for nothing in ["running", "", "0", "1 2 3", "-1 0xzz 0x1"] {
            assert_eq!(Blocked::parse(nothing), None, "{nothing}");
        }
    }
}
