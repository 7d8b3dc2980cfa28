//! Small files of another process's file system, which may be hostile: links lead nowhere out of its
//! root, only regular files are opened, and a file system that never answers is waited for once.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2};

/// Longest file read, bytes: a configuration file has some kilobytes.
const FILE_MAX: u64 = 64 << 10;

/// How long a file system may take. A local one takes microseconds, a remote one milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// Readers that may hang in file systems that do not answer; each costs a thread for ever.
const STUCK_MAX: usize = 8;

/// Readers that have not come back.
static STUCK: AtomicUsize = AtomicUsize::new(0);

/// Which directory a path is taken from. Absolute paths always begin at the process's root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Root,
    /// Where the process works.
    Current,
}

/// The text of a file as the process itself would open it.
pub(crate) fn read_in_root(pid: u32, from: From, path: &str) -> io::Result<String> {
    if STUCK.load(Ordering::Relaxed) >= STUCK_MAX {
        return Err(io::Error::other("too many file systems do not answer"));
    }
    let (sender, receiver) = mpsc::sync_channel(1);
    let path = path.to_owned();
    STUCK.fetch_add(1, Ordering::Relaxed);
    let spawned = thread::Builder::new().name("root".to_owned()).spawn(move || {
        let text = read(pid, from, &path);
        STUCK.fetch_sub(1, Ordering::Relaxed);
        // Who asked may have lost patience.
        let _gone = sender.try_send(text);
    });
    if let Err(error) = spawned {
        STUCK.fetch_sub(1, Ordering::Relaxed);
        return Err(error);
    }
    receiver.recv_timeout(PATIENCE).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn read(pid: u32, from: From, path: &str) -> io::Result<String> {
    let directory = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let link = format!("/proc/{pid}/root");
    let root = open(&link, directory, Mode::empty())?;
    let path = match from {
        From::Root => path.to_owned(),
        // The link's text is a path below that root, as far as it can be reached from there.
        From::Current => {
            let current = std::fs::read_link(format!("/proc/{pid}/cwd"))?;
            let current = inside(&current, &std::fs::read_link(&link)?);
            current.join(path).to_string_lossy().into_owned()
        }
    };
    // Looked at before it is opened: opening a pipe or a device does something.
    let found = openat2(
        &root,
        &path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )?;
    if FileType::from_raw_mode(fstat(&found)?.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("not a regular file"));
    }
    let found = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&found));
    let mut bytes = Vec::new();
    File::open(found)?.take(FILE_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A path of ours as it is called below `root`.
fn inside(path: &Path, root: &Path) -> std::path::PathBuf {
    path.strip_prefix(root).map_or_else(|_| path.to_owned(), |rest| Path::new("/").join(rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("name");
        std::fs::write(&file, "here\n").unwrap();
        let pid = std::process::id();
        let path = file.to_str().unwrap();
        assert_eq!(read_in_root(pid, From::Root, path).unwrap(), "here\n");
        assert_eq!(read_in_root(pid, From::Current, path).unwrap(), "here\n");
        let manifest = read_in_root(pid, From::Current, "Cargo.toml").unwrap();
        assert!(manifest.contains("[package]"));
    }

    #[test]
    fn pipes_devices_and_folders_are_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .unwrap();
        for path in [pipe.to_str().unwrap(), "/dev/null", "/", "/nowhere"] {
            assert!(read_in_root(std::process::id(), From::Root, path).is_err(), "{path}");
        }
    }

    #[test]
    fn links_stay_below_the_root() {
        let root = Path::new("/mount/x");
        assert_eq!(inside(Path::new("/mount/x/a/b"), root), Path::new("/a/b"));
        assert_eq!(inside(Path::new("/elsewhere"), root), Path::new("/elsewhere"));
    }
}
