//! What is remembered of crashes, on disk.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use analysis::ids::Ns;
use analysis::level::breaker::{Breaker, Restart, Saved};
use crossbeam_channel::{Sender, bounded};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::commands::{one_line, screen};

/// A file far larger than any state is none of ours.
const BYTES_MAX: u64 = 64 << 10;

/// Why a state is not used.
#[derive(Debug, Error)]
pub enum StateError {
    #[error("read what is remembered of crashes, {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("what is remembered of crashes, {}, cannot be true: {detail}; remove the file", path.display())]
    Untrue { path: PathBuf, detail: String },
}

/// As it stands in the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    /// Tells a restart of the machine.
    boot_id: String,
    breaker: Saved,
}

/// The file, and the thread that writes it: a slow disk must not hold up who observes.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    boot_id: String,
    writer: Option<Sender<Saved>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl StateFile {
    /// # Errors
    /// When the thread cannot be started.
    pub fn open(path: PathBuf) -> io::Result<Self> {
        let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let boot_id = boot_id.trim().to_owned();
        // The latest one counts: who finds it full has one under way, and the next comes within minutes.
        let (writer, states) = bounded::<Saved>(4);
        let (target, boot) = (path.clone(), boot_id.clone());
        let thread = thread::Builder::new().name("breaker".to_owned()).spawn(move || {
            let mut told = false;
            for breaker in states {
                let document = Document { boot_id: boot.clone(), breaker };
                if let Err(error) = replace(&target, &document)
                    && !std::mem::replace(&mut told, true)
                {
                    screen::say(&format!(
                        "warplens: crashes will be forgotten over a restart: write {}: {}; make its folder writable or set `levels.state`",
                        target.display(),
                        one_line(&error)
                    ));
                }
            }
        })?;
        Ok(Self { path, boot_id, writer: Some(writer), thread: Some(thread) })
    }

    /// The breaker as it was left; a closed one where there is no file.
    ///
    /// # Errors
    /// [`StateError`] for a file that no agent has written.
    pub fn read(&self, now: Ns) -> Result<Breaker, StateError> {
        let path = || self.path.clone();
        let untrue = |detail: String| StateError::Untrue { path: path(), detail };
        let text = match read_bounded(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Breaker::default()),
            Err(source) => return Err(StateError::Read { path: path(), source }),
        };
        let Document { boot_id, breaker } =
            serde_json::from_str(&text).map_err(|error| untrue(error.to_string()))?;
        let restart = if boot_id == self.boot_id { Restart::Agent } else { Restart::Machine };
        Breaker::restore(&breaker, now, restart).map_err(|rejected| untrue(rejected.to_string()))
    }

    /// Writes a state, in time.
    pub fn write(&self, state: Saved) {
        if let Some(writer) = &self.writer {
            let _full = writer.try_send(state);
        }
    }
}

impl Drop for StateFile {
    /// What is under way is written.
    fn drop(&mut self) {
        drop(self.writer.take());
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn read_bounded(path: &Path) -> io::Result<String> {
    if fs::symlink_metadata(path)?.len() > BYTES_MAX {
        return Err(io::Error::other("it is too large"));
    }
    fs::read_to_string(path)
}

/// Writes beside the file and renames, so that a half-written one is never read.
fn replace(path: &Path, document: &Document) -> io::Result<()> {
    use std::io::Write as _;
    use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
    if let Some(folder) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let part = path.with_extension("part");
    // Whatever lies there under this name is not followed.
    let _absent = fs::remove_file(&part);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part)?;
    serde_json::to_writer(&mut file, document)?;
    file.flush()?;
    file.sync_all()?;
    fs::rename(&part, path)
}

#[cfg(test)]
mod tests {
    use analysis::ids::ProcessKey;
    use analysis::level::breaker::Death;
    use analysis::level::{GroupKey, Level};

    use super::*;

    const S: u64 = 1_000_000_000;

    fn tripped() -> Breaker {
        let mut breaker = Breaker::default();
        breaker.rose(Ns(100 * S), ProcessKey(1), GroupKey(1), Level::Counting);
        assert!(breaker.died(Ns(101 * S), ProcessKey(1), Death::Signal(11)).is_some());
        breaker
    }

    #[test]
    fn what_tripped_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/breaker.json");
        let state = StateFile::open(path.clone()).unwrap();
        assert_eq!(state.read(Ns(0)).unwrap().bound(Ns(0)), None, "no file, no memory");
        state.write(tripped().save(Ns(102 * S)));
        drop(state);
        let state = StateFile::open(path).unwrap();
        let bound = state.read(Ns(5)).unwrap().bound(Ns(6)).unwrap();
        assert_eq!(bound.level, Level::Watching);
    }

    #[test]
    fn files_that_no_agent_wrote_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("breaker.json");
        let state = StateFile::open(path.clone()).unwrap();
        for text in ["", "{", "[]", "{\"boot_id\":\"\",\"breaker\":{\"version\":9}}"] {
            fs::write(&path, text).unwrap();
            let error = state.read(Ns(0)).unwrap_err().to_string();
            assert!(error.contains("cannot be true"), "{text}: {error}");
        }
        fs::write(&path, vec![b' '; 100_000]).unwrap();
        assert!(matches!(state.read(Ns(0)), Err(StateError::Read { .. })));
    }

    #[test]
    fn a_machine_that_went_down_under_a_rise_trips_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("breaker.json");
        let state = StateFile::open(path.clone()).unwrap();
        let mut breaker = Breaker::default();
        breaker.rose(Ns(100 * S), ProcessKey(1), GroupKey(1), Level::Counting);
        state.write(breaker.save(Ns(110 * S)));
        drop(state);
        let text = fs::read_to_string(&path).unwrap();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        assert!(text.contains(boot.trim()));
        let state = StateFile::open(path.clone()).unwrap();
        assert_eq!(state.read(Ns(0)).unwrap().bound(Ns(1)), None, "the agent alone");
        fs::write(&path, text.replace(boot.trim(), "another")).unwrap();
        assert!(state.read(Ns(0)).unwrap().bound(Ns(1)).is_some(), "the machine");
    }
}
