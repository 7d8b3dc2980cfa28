//! `/proc/PID/maps`.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Bytes of `maps` read at most: the usual limit of 65 530 mappings with paths of 1 000 characters.
const MAPS_MAX: u64 = 64 << 20;

/// One line of `maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    pub start: u64,
    pub end: u64,
    pub executable: bool,
    pub writable: bool,
    /// What one process writes, every process that maps it sees.
    pub shared: bool,
    /// File offset of `start`, bytes.
    pub offset: u64,
    pub inode: u64,
    /// As the process's mount namespace names it, with ` (deleted)`; empty for anonymous memory.
    pub path: String,
}

impl Mapping {
    /// The link that opens the mapped file whatever its path means in our mount namespace.
    pub fn map_files(&self, pid: u32) -> PathBuf {
        PathBuf::from(format!("/proc/{pid}/map_files/{:x}-{:x}", self.start, self.end))
    }

    /// Memory of the process's own: nothing was mapped into it. Its name, if it has one, tells its
    /// use.
    pub fn is_anonymous(&self) -> bool {
        let names = ["[anon", "[heap]", "[stack"];
        self.path.is_empty()
            || self.inode == 0 && names.iter().any(|name| self.path.starts_with(name))
    }

    /// Opens only what the mapping shows: the same inode, a regular file.
    pub fn open(&self, pid: u32) -> io::Result<(File, Metadata)> {
        if let Ok(opened) = open_regular(&self.map_files(pid), self.inode) {
            return Ok(opened);
        }
        let path = PathBuf::from(format!("/proc/{pid}/root{}", self.path));
        open_regular(&path, self.inode)
    }

    /// Last component of the path, without ` (deleted)`.
    pub fn file_name(&self) -> &str {
        let path = self.path.strip_suffix(" (deleted)").unwrap_or(&self.path);
        path.rsplit('/').next().unwrap_or(path)
    }
}

fn open_regular(path: &Path, inode: u64) -> io::Result<(File, Metadata)> {
    let is_it = |metadata: &Metadata| metadata.is_file() && metadata.ino() == inode;
    // Looked at first: opening a device or a pipe may block or act.
    if !is_it(&fs::metadata(path)?) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if !is_it(&metadata) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    Ok((file, metadata))
}

/// The mappings of a process.
pub fn maps(pid: u32) -> io::Result<Vec<Mapping>> {
    // Paths are bytes of the process's choosing.
    let mut text = Vec::new();
    File::open(format!("/proc/{pid}/maps"))?.take(MAPS_MAX).read_to_end(&mut text)?;
    Ok(parse_maps(&String::from_utf8_lossy(&text)))
}

/// Lines that do not parse are left out.
pub fn parse_maps(text: &str) -> Vec<Mapping> {
    text.lines().filter_map(parse_line).collect()
}

/// A line of `maps`, or one of `smaps` that begins a mapping.
pub(super) fn parse_line(line: &str) -> Option<Mapping> {
    let mut fields = line.splitn(6, ' ');
    let (start, end) = fields.next()?.split_once('-')?;
    let permissions = fields.next()?;
    let offset = fields.next()?;
    let _device = fields.next()?;
    let inode = fields.next()?;
    Some(Mapping {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        executable: permissions.as_bytes().get(2) == Some(&b'x'),
        writable: permissions.as_bytes().get(1) == Some(&b'w'),
        shared: permissions.as_bytes().get(3) == Some(&b's'),
        offset: u64::from_str_radix(offset, 16).ok()?,
        inode: inode.parse().ok()?,
        path: fields.next().unwrap_or("").trim_start().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_kind_parse() {
        let text = "\
7f00-7f10 r-xp 00001000 fe:00 42                         /usr/lib/a file.so (deleted)
7f20-7f30 rw-s 00000000 00:01 7     /memfd:warplens-ring (deleted)
7f40-7f50 rw-p 00000000 00:00 0
not a line
zz-7f50 rw-p 00000000 00:00 0
";
        let maps = parse_maps(text);
        assert_eq!(maps.len(), 3);
        assert_eq!(
            maps[0],
            Mapping {
                start: 0x7f00,
                end: 0x7f10,
                executable: true,
                writable: false,
                shared: false,
                offset: 0x1000,
                inode: 42,
                path: "/usr/lib/a file.so (deleted)".to_owned(),
            }
        );
        assert_eq!(maps[0].file_name(), "a file.so");
        assert_eq!(maps[1].file_name(), "memfd:warplens-ring");
        assert_eq!(maps[1].map_files(9).to_str(), Some("/proc/9/map_files/7f20-7f30"));
        assert_eq!(maps[2].path, "");
        assert!(maps[1].writable && maps[1].shared && !maps[2].shared);
    }

    #[test]
    fn anonymous_memory_is_told() {
        let check = |line: &str, expected: bool| {
            assert_eq!(parse_line(line).unwrap().is_anonymous(), expected, "{line}");
        };
        check("7f40-7f50 rwxp 00000000 00:00 0", true);
        check("7f40-7f50 rwxp 00000000 00:00 0        [anon:jit]", true);
        check("7f40-7f50 rwxp 00000000 00:00 0        [heap]", true);
        check("7f40-7f50 r-xp 00000000 00:00 0        [vdso]", false);
        check("7f40-7f50 r-xp 00000000 fe:00 42       /usr/lib/a.so", false);
        check("7f40-7f50 r-xs 00000000 00:01 7        /memfd:code (deleted)", false);
        // A file may be called so.
        check("7f40-7f50 r-xp 00000000 fe:00 42       [anon]", false);
    }

    #[test]
    fn our_own_maps_hold_our_program() {
        let maps = maps(std::process::id()).unwrap();
        assert!(maps.iter().any(|mapping| mapping.executable && mapping.inode != 0));
    }
}
