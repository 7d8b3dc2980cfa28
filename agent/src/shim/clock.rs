//! The clock of a worker in a time namespace of its own: its `CLOCK_MONOTONIC` is shifted against the kernel's,
//! which the kernel programs read and the agent goes by. Times are brought to the kernel's clock where they are
//! taken from the ring, so that nothing behind knows of namespaces.

use std::fs::{self, File};
use std::io::Read as _;

use wire::shim::{Payload, record_kind};

/// Longest text of `timens_offsets` that is read: two lines of at most 60 characters.
const OFFSETS_MAX: u64 = 4096;

/// A process's `CLOCK_MONOTONIC` minus the kernel's, ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Shift(i64);

impl Shift {
    /// That of `pid`: none where the kernel has no time namespaces, or when the process is gone.
    pub(super) fn of(pid: u32) -> Self {
        let own = |name| fs::read_link(format!("/proc/{pid}/ns/{name}")).ok();
        // The offsets are those that its children will have. A process that has asked for others, and has not
        // become another program since, runs on as it did.
        if own("time") != own("time_for_children") {
            return Self::default();
        }
        let mut text = String::new();
        let read = File::open(format!("/proc/{pid}/timens_offsets"))
            .and_then(|file| file.take(OFFSETS_MAX).read_to_string(&mut text));
        read.ok().and_then(|_bytes| Self::parse(&text)).unwrap_or_default()
    }

    /// The line `monotonic SECONDS NANOSECONDS`; the clock has the number 1 where names are unknown.
    fn parse(text: &str) -> Option<Self> {
        let line = text.lines().find_map(|line| {
            let mut words = line.split_whitespace();
            matches!(words.next(), Some("monotonic" | "1")).then_some(words)
        });
        let mut words = line?;
        let seconds: i64 = words.next()?.parse().ok()?;
        let nanoseconds: i64 = words.next()?.parse().ok()?;
        seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds).map(Self)
    }

    /// A time of the process in the kernel's clock; 0 means "no time" and stays.
    pub(super) fn to_kernel(self, time: u64) -> u64 {
        if time == 0 { 0 } else { time.wrapping_sub_signed(self.0) }
    }

    /// Brings the times of a record to the kernel's clock.
    pub(super) fn apply(self, payload: &mut Payload) {
        let kind = payload[0].to_ne_bytes();
        let times: &[usize] = match u16::from_ne_bytes([kind[0], kind[1]]) {
            record_kind::KERNEL
            | record_kind::MEMCPY
            | record_kind::MEMSET
            | record_kind::SYNC
            | record_kind::MARK => &[1, 2],
            record_kind::LAUNCH | record_kind::MEMORY => &[1],
            _ => &[],
        };
        for &word in times {
            payload[word] = self.to_kernel(payload[word]);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::mem::offset_of;

    use wire::shim::{
        CopyRecord, KernelRecord, LaunchRecord, MarkRecord, MemoryRecord, SyncRecord,
    };

    use super::*;

    #[test]
    fn the_text_is_read_as_kernels_write_it() {
        let shift = |text| Shift::parse(text).map(|Shift(ns)| ns);
        let text = "monotonic      100000         5\nboottime       -40000         0\n";
        assert_eq!(shift(text), Some(100_000_000_000_005));
        assert_eq!(shift("monotonic -40000 0\n"), Some(-40_000_000_000_000));
        assert_eq!(shift("1 2 3\n7 4 5\n"), Some(2_000_000_003));
        for broken in ["", "boottime 1 2", "monotonic", "monotonic 1", "monotonic 99999999999999 0"]
        {
            assert_eq!(shift(broken), None, "{broken}");
        }
        assert_eq!(Shift::of(std::process::id()), Shift::default());
    }

    #[test]
    fn every_time_of_every_record_is_brought_over_and_nothing_else() {
        let offsets = |kind, times: &[usize]| {
            let mut payload = [u64::MAX / 3; 7];
            payload[0] = u64::from(kind);
            let before = payload;
            Shift(-1000).apply(&mut payload);
            for (word, (&before, &after)) in before.iter().zip(&payload).enumerate() {
                let moved = if times.contains(&(word * 8)) { 1000 } else { 0 };
                assert_eq!(after, before + moved, "kind {kind}, word {word}");
            }
        };
        let kernel = [offset_of!(KernelRecord, start_ns), offset_of!(KernelRecord, end_ns)];
        offsets(record_kind::KERNEL, &kernel);
        let copy = [offset_of!(CopyRecord, start_ns), offset_of!(CopyRecord, end_ns)];
        offsets(record_kind::MEMCPY, &copy);
        offsets(record_kind::MEMSET, &copy);
        offsets(record_kind::LAUNCH, &[offset_of!(LaunchRecord, enter_ns)]);
        offsets(record_kind::MEMORY, &[offset_of!(MemoryRecord, time_ns)]);
        offsets(record_kind::LAUNCH_FAILED, &[]);
        offsets(
            record_kind::SYNC,
            &[offset_of!(SyncRecord, enter_ns), offset_of!(SyncRecord, exit_ns)],
        );
        offsets(
            record_kind::MARK,
            &[offset_of!(MarkRecord, flush_ns), offset_of!(MarkRecord, armed_ns)],
        );
        let mut without = [u64::from(record_kind::KERNEL), 0, 0, 0, 0, 0, 0];
        Shift(-1000).apply(&mut without);
        assert_eq!(without[1..3], [0, 0], "no time stays no time");
    }
}
