//! Why a thread sleeps, at first sight: from the system call it sleeps in. What its frames add to
//! that is in `refine`, because names come later.

use std::ops::Range;

use analysis::wait::WaitReason;

/// Where a thread is in the kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asleep {
    /// Number of its system call (x86-64); negative for none, such as in a page fault.
    pub syscall: i32,
    /// The call's first argument: register `rdi`, which the kernel leaves alone.
    pub argument: u64,
    /// Addresses of the structure of Python's global interpreter lock, where known.
    pub gil: Option<Range<u64>>,
}

/// What the system call says.
pub fn reason(asleep: &Asleep) -> WaitReason {
    let known = SYSCALLS.binary_search_by_key(&asleep.syscall, |&(number, _)| number).ok();
    match known.and_then(|at| SYSCALLS.get(at)).map(|&(_, meaning)| meaning) {
        Some(Meaning::Is(reason)) => reason,
        Some(Meaning::Futex) => match &asleep.gil {
            Some(gil) if gil.contains(&asleep.argument) => WaitReason::Gil,
            _ => WaitReason::Lock,
        },
        // Without descriptors it is the old way to sleep: CPython's before 3.11.
        Some(Meaning::Readiness) if asleep.argument == 0 => WaitReason::Sleep,
        Some(Meaning::Readiness) => WaitReason::Network,
        None => WaitReason::Unknown,
    }
}

#[derive(Clone, Copy)]
enum Meaning {
    Is(WaitReason),
    /// The first argument is the address of the word.
    Futex,
    /// The first argument is a number of descriptors, or the address of a list of them.
    Readiness,
}

const CHILD: Meaning = Meaning::Is(WaitReason::Child);
const IO: Meaning = Meaning::Is(WaitReason::Io);
const LOCK: Meaning = Meaning::Is(WaitReason::Lock);
const NETWORK: Meaning = Meaning::Is(WaitReason::Network);
const SLEEP: Meaning = Meaning::Is(WaitReason::Sleep);

/// System calls of x86-64 (the kernel's `syscall_64.tbl`) in which threads sleep, by number. A read
/// or write counts as a file's until the kernel's frames say what it was.
const SYSCALLS: [(i32, Meaning); 73] = [
    (0, IO),                   // read
    (1, IO),                   // write
    (2, IO),                   // open
    (3, IO),                   // close
    (4, IO),                   // stat
    (5, IO),                   // fstat
    (6, IO),                   // lstat
    (7, Meaning::Readiness),   // poll
    (17, IO),                  // pread64
    (18, IO),                  // pwrite64
    (19, IO),                  // readv
    (20, IO),                  // writev
    (23, Meaning::Readiness),  // select
    (26, IO),                  // msync
    (35, SLEEP),               // nanosleep
    (40, IO),                  // sendfile
    (42, NETWORK),             // connect
    (43, NETWORK),             // accept
    (44, NETWORK),             // sendto
    (45, NETWORK),             // recvfrom
    (46, NETWORK),             // sendmsg
    (47, NETWORK),             // recvmsg
    (56, CHILD),               // clone, of a vfork
    (58, CHILD),               // vfork
    (61, CHILD),               // wait4
    (65, LOCK),                // semop
    (73, LOCK),                // flock
    (74, IO),                  // fsync
    (75, IO),                  // fdatasync
    (76, IO),                  // truncate
    (77, IO),                  // ftruncate
    (78, IO),                  // getdents
    (82, IO),                  // rename
    (83, IO),                  // mkdir
    (84, IO),                  // rmdir
    (87, IO),                  // unlink
    (162, IO),                 // sync
    (187, IO),                 // readahead
    (202, Meaning::Futex),     // futex
    (208, IO),                 // io_getevents
    (217, IO),                 // getdents64
    (220, LOCK),               // semtimedop
    (230, SLEEP),              // clock_nanosleep
    (232, NETWORK),            // epoll_wait
    (247, CHILD),              // waitid
    (257, IO),                 // openat
    (262, IO),                 // newfstatat
    (263, IO),                 // unlinkat
    (264, IO),                 // renameat
    (270, Meaning::Readiness), // pselect6
    (271, Meaning::Readiness), // ppoll
    (275, IO),                 // splice
    (277, IO),                 // sync_file_range
    (281, NETWORK),            // epoll_pwait
    (285, IO),                 // fallocate
    (288, NETWORK),            // accept4
    (295, IO),                 // preadv
    (296, IO),                 // pwritev
    (299, NETWORK),            // recvmmsg
    (306, IO),                 // syncfs
    (307, NETWORK),            // sendmmsg
    (316, IO),                 // renameat2
    (326, IO),                 // copy_file_range
    (327, IO),                 // preadv2
    (328, IO),                 // pwritev2
    (332, IO),                 // statx
    (333, IO),                 // io_pgetevents
    (426, IO),                 // io_uring_enter
    (435, CHILD),              // clone3, of a vfork
    (437, IO),                 // openat2
    (441, NETWORK),            // epoll_pwait2
    (449, LOCK),               // futex_waitv
    (455, Meaning::Futex),     // futex_wait
];

#[cfg(test)]
mod tests {
    use super::*;

    fn check(syscall: i32, argument: u64, gil: Option<Range<u64>>, expected: WaitReason) {
        let asleep = Asleep { syscall, argument, gil };
        assert_eq!(reason(&asleep), expected, "{asleep:x?}");
    }

    #[test]
    fn the_table_is_in_order() {
        assert!(SYSCALLS.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn system_calls_have_their_reasons() {
        for (syscall, argument, expected) in [
            (202, 0x7000, WaitReason::Lock),
            (7, 0x7ffe_0000, WaitReason::Network),
            (7, 0, WaitReason::Sleep),
            (23, 0, WaitReason::Sleep),
            (23, 5, WaitReason::Network),
            (232, 4, WaitReason::Network),
            (45, 4, WaitReason::Network),
            (230, 1, WaitReason::Sleep),
            (35, 1, WaitReason::Sleep),
            (0, 3, WaitReason::Io),
            (74, 3, WaitReason::Io),
            (61, 0, WaitReason::Child),
            (247, 0, WaitReason::Child),
            (16, 7, WaitReason::Unknown),
            (-1, 0, WaitReason::Unknown),
            (i32::MAX, 0, WaitReason::Unknown),
        ] {
            check(syscall, argument, None, expected);
        }
    }

    #[test]
    fn a_futex_inside_the_lock_is_a_wait_for_the_lock() {
        let gil = Some(0x1000..0x10e0);
        check(202, 0x1020, gil.clone(), WaitReason::Gil);
        check(202, 0x0fff, gil.clone(), WaitReason::Lock);
        check(202, 0x10e0, gil.clone(), WaitReason::Lock);
        // Only a futex has an address there.
        check(7, 0x1020, gil, WaitReason::Network);
    }
}
