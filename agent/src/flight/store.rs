//! The folder of dumps: private, bounded in number and bytes, and never what fills a disk.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags};

use crate::output::folder::PARTIAL_PREFIX;

/// Begins the name of every dump.
const PREFIX: &str = "dump-";

/// What a killed daemon left half-written is taken away after this.
const PARTIAL_AGE: Duration = Duration::from_hours(1);

/// How far a clock is set back, seconds, without the order of dumps being lost: a day.
const CLOCK_STEP_SECONDS: u64 = 24 * 3600;

/// How much may lie there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    pub dumps: usize,
    /// Of all dumps together.
    pub bytes: u64,
    /// What is left free on the file system.
    pub free_bytes: u64,
}

/// Why the folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("make the folder of dumps {dir}: check its parent, or name another with `flight.dir`")]
    Make {
        dir: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "open the folder of dumps {dir}: it must be a folder and no link; name another with `flight.dir`"
    )]
    Open {
        dir: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error(
        "folder of dumps {dir}: it belongs to user {owner}: name one of user {own} with `flight.dir`"
    )]
    Owner { dir: PathBuf, owner: u32, own: u32 },
    #[error("folder of dumps {dir}: others may enter it (mode {mode:o}): `chmod 700` it")]
    Mode { dir: PathBuf, mode: u32 },
    #[error(
        "folder of dumps {dir}: {free} bytes free, {needed} needed with what is to be left (flight.free_bytes): make room, or name another with `flight.dir`"
    )]
    Full { dir: PathBuf, free: u64, needed: u64 },
    #[error(
        "folder of dumps {dir}: this dump of {bytes} bytes is more than all may have (flight.keep_bytes, {most})"
    )]
    TooLarge { dir: PathBuf, bytes: u64, most: u64 },
    #[error("look into the folder of dumps {dir}")]
    Look {
        dir: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Where dumps go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    pub dir: PathBuf,
    pub keep: Keep,
}

/// The folder, held open: whatever becomes of its name, what is written goes into it.
#[derive(Debug)]
pub(super) struct Opened<'a> {
    store: &'a Store,
    /// Keeps `base` alive.
    _dir: File,
    base: PathBuf,
}

/// One dump that lies there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Dump {
    name: String,
    bytes: u64,
}

impl Store {
    /// Makes the folder where it is not there, and checks that it is ours alone.
    pub(super) fn open(&self) -> Result<Opened<'_>, StoreError> {
        let dir = || self.dir.clone();
        match DirBuilder::new().recursive(true).mode(0o700).create(&self.dir) {
            Ok(()) => {}
            // Something else is in its place: opening it says what.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(source) => return Err(StoreError::Make { dir: dir(), source }),
        }
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = rustix::fs::open(&self.dir, flags, Mode::empty());
        let opened = File::from(
            opened.map_err(|error| StoreError::Open { dir: dir(), source: error.into() })?,
        );
        let look = |source| StoreError::Look { dir: dir(), source };
        let metadata = opened.metadata().map_err(look)?;
        let own = rustix::process::geteuid().as_raw();
        if metadata.uid() != own {
            return Err(StoreError::Owner { dir: dir(), owner: metadata.uid(), own });
        }
        let mode = metadata.mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(StoreError::Mode { dir: dir(), mode });
        }
        let base = PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd()));
        Ok(Opened { store: self, _dir: opened, base })
    }

    /// The latest dump in `dir`, by its name.
    pub fn newest(dir: &Path) -> Option<PathBuf> {
        Some(dir.join(dumps(dir).ok()?.pop()?.name))
    }
}

impl Opened<'_> {
    /// Where to write: a way to the folder that no rename changes.
    pub(super) fn base(&self) -> &Path {
        &self.base
    }

    /// A message with this way in it, as its reader knows the folder.
    pub(super) fn readable(&self, message: &str) -> String {
        message.replace(&self.base.display().to_string(), &self.store.dir.display().to_string())
    }

    /// Removes the oldest until one more dump has room, and says where the disk has none.
    pub(super) fn make_room(&self, needed: u64) -> Result<(), StoreError> {
        self.sweep();
        let Keep { dumps: most, bytes: most_bytes, free_bytes } = self.store.keep;
        let mut dumps = self.look(dumps(&self.base))?;
        let needed = needed.saturating_add(free_bytes);
        let free = self.look(self.free())?;
        let held = total(&dumps);
        // Where removing all of them would not do, none is removed.
        if free.saturating_add(held) < needed {
            return Err(StoreError::Full { dir: self.store.dir.clone(), free, needed });
        }
        while !dumps.is_empty()
            && (dumps.len() >= most.max(1)
                || total(&dumps) > most_bytes
                || self.look(self.free())? < needed)
        {
            self.remove(&dumps.remove(0).name);
        }
        let free = self.look(self.free())?;
        if free < needed {
            return Err(StoreError::Full { dir: self.store.dir.clone(), free, needed });
        }
        Ok(())
    }

    /// The time that the name of a dump made at `unix` begins with: that, or where the clock was set back, one more
    /// than the latest dump has, since what is removed first is the oldest by name.
    pub(super) fn name_time(&self, unix: u64) -> u64 {
        let latest = dumps(&self.base).ok().and_then(|mut dumps| dumps.pop());
        let named = latest.as_ref().and_then(|dump| {
            dump.name.strip_prefix(PREFIX)?.split('-').next()?.parse::<u64>().ok()
        });
        // Somebody's own idea of a name, or a clock that was years ahead once, is not followed.
        let near = named.filter(|named| named.saturating_sub(unix) <= CLOCK_STEP_SECONDS);
        near.filter(|&named| named > unix).map_or(unix, |named| named.saturating_add(1))
    }

    /// The dump `name` was written: the oldest others go until all fit; its bytes.
    pub(super) fn settle(&self, name: &str) -> Result<u64, StoreError> {
        let mut dumps = self.look(dumps(&self.base))?;
        let most = self.store.keep.bytes;
        let bytes = dumps.iter().find(|dump| dump.name == name).map_or(0, |dump| dump.bytes);
        if bytes > most {
            self.remove(name);
            return Err(StoreError::TooLarge { dir: self.store.dir.clone(), bytes, most });
        }
        while total(&dumps) > most {
            match dumps.iter().position(|dump| dump.name != name) {
                Some(oldest) => self.remove(&dumps.remove(oldest).name),
                None => break,
            }
        }
        Ok(bytes)
    }

    fn free(&self) -> io::Result<u64> {
        let status = rustix::fs::statvfs(&self.base)?;
        Ok(status.f_bavail.saturating_mul(status.f_frsize))
    }

    /// What cannot be removed is counted again the next time.
    fn remove(&self, name: &str) {
        let _tried = fs::remove_dir_all(self.base.join(name));
    }

    /// What was left half-written.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(&self.base) else {
            return;
        };
        for entry in entries.flatten() {
            let old = entry.metadata().and_then(|metadata| metadata.modified()).is_ok_and(|at| {
                SystemTime::now().duration_since(at).is_ok_and(|age| age > PARTIAL_AGE)
            });
            if old && entry.file_name().to_string_lossy().starts_with(PARTIAL_PREFIX) {
                let _tried = fs::remove_dir_all(entry.path());
            }
        }
    }

    fn look<T>(&self, result: io::Result<T>) -> Result<T, StoreError> {
        result.map_err(|source| StoreError::Look { dir: self.store.dir.clone(), source })
    }
}

/// Oldest first: their names begin with their time.
fn dumps(dir: &Path) -> io::Result<Vec<Dump>> {
    let mut dumps = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(PREFIX) && entry.file_type()?.is_dir() {
            dumps.push(Dump { bytes: size(&entry.path()), name });
        }
    }
    dumps.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(dumps)
}

/// Name of a dump's folder: in order of time, and told apart within a second.
pub(super) fn name(unix: u64, number: u64, trigger: &str) -> String {
    format!("{PREFIX}{unix:012}-{number:03}-{trigger}")
}

fn total(dumps: &[Dump]) -> u64 {
    dumps.iter().map(|dump| dump.bytes).sum()
}

/// Of the files in a folder; dumps have no folders in them.
fn size(folder: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    entries.flatten().filter_map(|entry| entry.metadata().ok()).map(|file| file.len()).sum()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn a_clock_set_back_does_not_make_the_latest_dump_the_oldest() {
        const NOON: u64 = 1_700_000_000;
        let folder = tempfile::tempdir().unwrap();
        let store = Store { dir: folder.path().join("dumps"), keep: Keep { dumps: 3, ..PLENTY } };
        let opened = store.open().unwrap();
        // Two before, then the clock goes back by an hour, and forth again.
        let clock = [NOON, NOON + 60, NOON - 3600, NOON - 3500, NOON + 7200];
        let mut made = Vec::new();
        for (number, unix) in (0..).zip(clock) {
            opened.make_room(0).unwrap();
            let name = name(opened.name_time(unix), number, "asked");
            put(&opened, &name, 10);
            made.push(name);
            let kept = &made[made.len().saturating_sub(3)..];
            assert_eq!(names(&opened), kept, "after {number}: the latest are kept");
        }
        // A clock that was wrong by years once does not name what follows.
        put(&opened, &name(NOON * 2, 9, "asked"), 10);
        assert_eq!(opened.name_time(NOON), NOON);
    }

    const PLENTY: Keep = Keep { dumps: 3, bytes: 1_000, free_bytes: 0 };

    fn store(dir: PathBuf) -> Store {
        Store { dir, keep: PLENTY }
    }

    fn put(opened: &Opened<'_>, name: &str, bytes: usize) {
        fs::create_dir(opened.base().join(name)).unwrap();
        fs::write(opened.base().join(name).join("recording"), vec![0; bytes]).unwrap();
    }

    fn names(opened: &Opened<'_>) -> Vec<String> {
        dumps(opened.base()).unwrap().into_iter().map(|dump| dump.name).collect()
    }

    #[test]
    fn the_oldest_make_room() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path().join("a/b"));
        let opened = store.open().unwrap();
        for (number, bytes) in [(1, 100), (2, 100), (3, 100)] {
            put(&opened, &name(number, 0, "asked"), bytes);
        }
        opened.make_room(0).unwrap();
        assert_eq!(names(&opened), [name(2, 0, "asked"), name(3, 0, "asked")]);
        put(&opened, &name(4, 0, "crash"), 850);
        assert_eq!(opened.settle(&name(4, 0, "crash")).unwrap(), 850);
        assert_eq!(names(&opened), [name(3, 0, "asked"), name(4, 0, "crash")]);
        put(&opened, &name(5, 0, "crash"), 1_001);
        assert!(matches!(opened.settle(&name(5, 0, "crash")), Err(StoreError::TooLarge { .. })));
        assert_eq!(names(&opened).len(), 2);
        assert_eq!(Store::newest(&store.dir), Some(store.dir.join(name(4, 0, "crash"))));
    }

    #[test]
    fn a_disk_without_room_is_told_and_nothing_is_removed_for_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = store(folder.path().join("d"));
        store.keep.free_bytes = u64::MAX;
        let opened = store.open().unwrap();
        put(&opened, &name(1, 0, "asked"), 10);
        let error = opened.make_room(1).unwrap_err().to_string();
        assert!(error.contains("flight.free_bytes"), "{error}");
        assert_eq!(names(&opened).len(), 1);
    }

    #[test]
    fn links_files_and_folders_of_others_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("real")).unwrap();
        fs::set_permissions(at("real"), fs::Permissions::from_mode(0o700)).unwrap();
        symlink(at("real"), at("link")).unwrap();
        fs::write(at("file"), "").unwrap();
        for name in ["link", "file"] {
            let error = store(at(name)).open().unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("no link"), "{error}");
        }
        assert!(store(at("real")).open().is_ok());
        fs::set_permissions(at("real"), fs::Permissions::from_mode(0o750)).unwrap();
        let error = store(at("real")).open().unwrap_err().to_string();
        assert!(error.contains("mode 750"), "{error}");
        let error = store(at("file").join("below")).open().unwrap_err().to_string();
        assert!(error.starts_with("make the folder of dumps"), "{error}");
    }

    #[test]
    fn a_folder_that_is_renamed_meanwhile_gets_what_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path().join("d"));
        let opened = store.open().unwrap();
        fs::rename(folder.path().join("d"), folder.path().join("moved")).unwrap();
        symlink("/nowhere", folder.path().join("d")).unwrap();
        put(&opened, &name(1, 0, "asked"), 10);
        assert!(folder.path().join("moved").join(name(1, 0, "asked")).is_dir());
        let said = opened.readable(&format!("write {}/x", opened.base().display()));
        assert_eq!(said, format!("write {}/x", store.dir.display()));
    }
}
