//! Shared memory that only processes of one server have in common: vLLM's queues from an engine core
//! to its workers, and NCCL's between ranks. It tells whose a worker of Ray is, whose parent does not.

use std::collections::BTreeSet;

use crate::proc::read;

/// Longest table of mappings read, bytes. A worker's has a few thousand lines of about 100.
const MAPS_MAX: u64 = 4 << 20;

/// Beginnings of the names: Python's `SharedMemory` that vLLM's queues are made of, and NCCL's.
const NAMES: [&str; 2] = ["/dev/shm/psm_", "/dev/shm/nccl-"];

/// A piece of shared memory: device and inode. Each container has a `/dev/shm` and inodes of its own.
pub(super) type Segment = (String, u64);

/// The pieces that a process maps.
pub(super) fn segments(pid: u32) -> BTreeSet<Segment> {
    let text = read::at_most(format!("/proc/{pid}/maps"), MAPS_MAX).unwrap_or_default();
    parse(&String::from_utf8_lossy(&text))
}

fn parse(text: &str) -> BTreeSet<Segment> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let device = fields.nth(3)?;
            let inode = fields.next()?.parse().ok()?;
            let name = fields.next()?;
            NAMES.iter().any(|start| name.starts_with(start)).then(|| (device.to_owned(), inode))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_and_nothing_else() {
        let text = "\
7f00-7f10 rw-s 00000000 00:1a 42                         /dev/shm/psm_1a2b3c4d
7f10-7f20 rw-s 00001000 00:1a 42                         /dev/shm/psm_1a2b3c4d (deleted)
7f20-7f30 rw-s 00000000 00:1b 42                         /dev/shm/nccl-AbCd (deleted)
7f30-7f40 rw-s 00000000 00:1a 7                          /dev/shm/sem.mp-x
7f40-7f50 r-xp 00000000 fe:00 9                          /tmp/dev/shm/psm_x
7f50-7f60 rw-p 00000000 00:00 0
x
";
        let expected = [("00:1a".to_owned(), 42), ("00:1b".to_owned(), 42)];
        assert_eq!(parse(text), BTreeSet::from(expected));
    }
}
