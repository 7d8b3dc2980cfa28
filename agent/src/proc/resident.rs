//! What a process has of memory, by kind: `/proc/PID/status`, which costs some ten microseconds and stops nobody, and,
//! where it is asked for, what of it lies in the C library's heaps: `/proc/PID/smaps`, which walks all page tables.

use std::time::{Duration, Instant};

use analysis::memory::Resident;

use super::memory_group::MemoryGroup;
use super::read::at_most;

/// Bytes of `status` and of `smaps` read at most: 65 530 mappings with some 700 bytes each.
const STATUS_MAX: u64 = 64 << 10;
const SMAPS_MAX: u64 = 64 << 20;

/// Walks through page tables take at most this part of the time.
const WALKING: u32 = 200;

/// glibc's heaps beside the first one are aligned to their greatest size (`HEAP_MAX_SIZE`, 64 MiB where pointers have 64
/// bits): so is the map that each begins with.
const ARENA: u64 = 64 << 20;

/// Reads a process's memory now and then.
#[derive(Debug)]
pub struct Residence {
    pid: u32,
    groups: Vec<MemoryGroup>,
    /// When page tables may be walked again.
    walk: Instant,
}

impl Residence {
    /// Of a living process.
    pub fn new(pid: u32) -> Self {
        Self { pid, groups: MemoryGroup::of(pid), walk: Instant::now() }
    }

    /// What it has; `None`: it is gone, or of the kernel. `heap`: and what of it lies in heaps, unless that was looked for
    /// too lately for what it costs.
    pub fn read(&mut self, heap: bool) -> Option<Resident> {
        let status = at_most(format!("/proc/{}/status", self.pid), STATUS_MAX).ok()?;
        let mut resident = parse_status(&String::from_utf8_lossy(&status))?;
        resident.headroom = self.groups.iter().filter_map(MemoryGroup::headroom).min();
        if heap && Instant::now() >= self.walk {
            let begun = Instant::now();
            let text = at_most(format!("/proc/{}/smaps", self.pid), SMAPS_MAX).ok();
            resident.heap = text.map(|text| in_heaps(&String::from_utf8_lossy(&text)));
            let took = begun.elapsed();
            self.walk = begun + took.saturating_mul(WALKING).min(Duration::from_mins(10));
        }
        Some(resident)
    }
}

/// Of `/proc/PID/status`; `None` without all three kinds.
pub fn parse_status(text: &str) -> Option<Resident> {
    let field = |name: &str| text.lines().find_map(|line| kibibytes(line.strip_prefix(name)?));
    Some(Resident {
        anonymous: field("RssAnon:")?,
        file: field("RssFile:")?,
        shared: field("RssShmem:")?,
        ..Resident::default()
    })
}

/// `    123 kB`, in bytes.
fn kibibytes(text: &str) -> Option<u64> {
    text.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Anonymous bytes with pages that lie in the C library's heaps, of the text of `smaps`.
pub fn in_heaps(text: &str) -> u64 {
    let (mut inside, mut sum) = (false, 0_u64);
    for line in text.lines() {
        if let Some(mapping) = super::maps::parse_line(line) {
            let own = mapping.inode == 0 && mapping.writable && !mapping.shared;
            let arena = mapping.path.is_empty() && mapping.start % ARENA == 0;
            inside = own && (mapping.path == "[heap]" || arena);
        } else if inside && let Some(amount) = line.strip_prefix("Anonymous:") {
            sum = sum.saturating_add(kibibytes(amount).unwrap_or(0));
        }
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_read_from_the_status() {
        let text = "Name:\tRssAnon: x\nVmRSS:\t   60 kB\nRssAnon:\t   10 kB\nRssFile:\t   20 kB\nRssShmem:\t   30 kB\n";
        let expected =
            Resident { anonymous: 10240, file: 20480, shared: 30720, ..Resident::default() };
        assert_eq!(parse_status(text), Some(expected));
        // A thread of the kernel.
        assert_eq!(parse_status("Name:\tkthreadd\n"), None);
        assert_eq!(parse_status("RssAnon: 1 kB\nRssFile: x kB\nRssShmem: 1 kB\n"), None);
    }

    #[test]
    fn heaps_are_told_from_other_maps() {
        let text = "\
55d0-55f0 rw-p 00000000 00:00 0                          [heap]
Rss:                 132 kB
Anonymous:           100 kB
VmFlags: rd wr mr mw me ac
7f0004000000-7f0004021000 rw-p 00000000 00:00 0
Anonymous:            20 kB
7f0004021000-7f0008000000 ---p 00000000 00:00 0
Anonymous:             0 kB
7f0010000000-7f0010100000 rw-s 00000000 00:01 9 /dev/zero (deleted)
Anonymous:           400 kB
7f0020001000-7f0020100000 rw-p 00000000 00:00 0
Anonymous:           800 kB
";
        assert_eq!(in_heaps(text), 120 * 1024);
        assert_eq!(in_heaps(""), 0);
    }

    #[test]
    fn what_this_process_takes_is_seen() {
        let mut own = Residence::new(std::process::id());
        let before = own.read(true).unwrap();
        assert!(before.heap.unwrap() > 0 && before.heap.unwrap() <= before.anonymous);
        let taken = vec![1_u8; 64 << 20];
        let after = own.read(true).unwrap();
        assert!(after.anonymous > before.anonymous + (60 << 20), "{before:?} {after:?}");
        drop(taken);
        assert_eq!(Residence::new(u32::MAX).read(true), None);
    }
}
