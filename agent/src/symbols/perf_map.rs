//! Names that a program gives code it makes at run time: `/tmp/perf-PID.map`, as the target sees both the
//! folder and its own number. Written by the target, so nothing in it is trusted.

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};

/// Bytes read of one file. Python's, with a line for each function of vLLM, have 3 MB.
const LENGTH_MAX: u64 = 32 << 20;

/// Functions kept of one process.
const FUNCTIONS_MAX: usize = 1 << 17;

/// Characters kept of a name.
const NAME_MAX: usize = 512;

/// Time after which a file that has changed is read again.
const PAUSE: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
pub(super) struct PerfMap {
    /// Start, end and name, by the first.
    functions: Vec<(u64, u64, Box<str>)>,
    looked: Option<Instant>,
    /// Length and time of change of what was read.
    read: Option<(u64, SystemTime)>,
}

impl PerfMap {
    /// The function at `address`, if the program tells it.
    pub(super) fn function(&mut self, pid: u32, address: u64) -> Option<&str> {
        if self.find(address).is_none() && self.looked.is_none_or(|at| at.elapsed() > PAUSE) {
            self.looked = Some(Instant::now());
            self.refresh(pid);
        }
        self.find(address)
    }

    fn find(&self, address: u64) -> Option<&str> {
        let after = self.functions.partition_point(|&(start, _, _)| start <= address);
        let (_, end, name) = self.functions.get(after.checked_sub(1)?)?;
        (address < *end).then_some(name)
    }

    fn refresh(&mut self, pid: u32) -> Option<()> {
        let (file, version) = open(pid)?;
        if self.read == Some(version) {
            return None;
        }
        let mut text = Vec::new();
        file.take(LENGTH_MAX).read_to_end(&mut text).ok()?;
        self.functions = parse(&text);
        self.read = Some(version);
        Some(())
    }
}

/// The file of `pid`, which its own user must have written. No link in it leads out of the target's root.
fn open(pid: u32) -> Option<(File, (u64, SystemTime))> {
    let inner = crate::proc::inner_number(pid)?;
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = openat(CWD, format!("/proc/{pid}/root"), directory, Mode::empty()).ok()?;
    let file: File = openat2(
        root,
        format!("tmp/perf-{inner}.map"),
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
    .ok()?
    .into();
    let metadata = file.metadata().ok()?;
    let owner = std::fs::metadata(format!("/proc/{pid}")).ok()?.uid();
    if !metadata.is_file() || metadata.uid() != owner {
        return None;
    }
    Some((file, (metadata.len(), metadata.modified().ok()?)))
}

/// Start, end and name of each function, by the first: lines of `START SIZE NAME`, the numbers in hex. Others are left out.
pub fn parse(text: &[u8]) -> Vec<(u64, u64, Box<str>)> {
    let mut functions: Vec<_> =
        text.split(|&byte| byte == b'\n').filter_map(parse_line).take(FUNCTIONS_MAX).collect();
    functions.sort_by_key(|&(start, _, _)| start);
    functions
}

fn parse_line(line: &[u8]) -> Option<(u64, u64, Box<str>)> {
    let line = std::str::from_utf8(line).ok()?;
    let mut fields = line.splitn(3, ' ');
    let mut number = || {
        let text = fields.next()?;
        u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
    };
    let (start, size) = (number()?, number()?);
    let name: String =
        fields.next()?.chars().filter(|character| !character.is_control()).take(NAME_MAX).collect();
    (!name.is_empty()).then_some((start, start.checked_add(size)?, name.into()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::*;

    #[test]
    fn lines_of_every_kind_parse() {
        let text = b"2000 10 py::f:/a b.py\n0x1000 0x20 jit::g\nzz 1 n\n3000 10\n3000 10 \xff\n\
                     ffffffffffffffff 2 overflow\n";
        let functions = parse(text);
        let names: Vec<_> =
            functions.iter().map(|(start, end, name)| (*start, *end, &**name)).collect();
        assert_eq!(names, [(0x1000, 0x1020, "jit::g"), (0x2000, 0x2010, "py::f:/a b.py")]);
        let map = PerfMap { functions, ..PerfMap::default() };
        assert_eq!(map.find(0x101f), Some("jit::g"));
        assert_eq!(map.find(0x1020), None);
        assert_eq!(map.find(0xfff), None);
    }

    #[test]
    fn our_own_file_is_found_once_it_is_there() {
        let pid = std::process::id();
        let mut map = PerfMap::default();
        let path = format!("/tmp/perf-{pid}.map");
        std::fs::write(&path, "10 10 first\n").unwrap();
        assert_eq!(map.function(pid, 0x18), Some("first"));
        // A link to somebody else's file is not followed.
        std::fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", &path).unwrap();
        assert!(open(pid).is_none());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(PerfMap::default().function(pid, 0x18), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_panic(text in prop::collection::vec(any::<u8>(), 0..512)) {
            let _parsed = parse(&text);
        }
    }
}
