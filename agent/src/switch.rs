//! The operator's switch: a file. While it is there, no agent of this machine asks anything of a worker: every shim
//! sleeps, no kernel program follows a process, and nothing begins. A daemon has one of its own besides, a signal.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Names another file than [`FILE`].
const VARIABLE: &str = "WARPLENS_SWITCH";

/// Where only the machine's operator may write, gone after a restart.
const FILE: &str = "/run/warplens/off";

/// Between two looks of who observes.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Of what the file says, bytes.
const REASON_MAX: u64 = 200;

/// A signal switched this process off.
static SIGNALLED: AtomicBool = AtomicBool::new(false);

/// This process is switched off, or on again, by a signal. Safe in a signal handler.
pub fn toggle_by_signal() {
    SIGNALLED.fetch_xor(true, Ordering::Relaxed);
}

/// The file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switch {
    path: PathBuf,
}

impl Default for Switch {
    fn default() -> Self {
        let path = std::env::var_os(VARIABLE).map_or_else(|| PathBuf::from(FILE), PathBuf::from);
        Self { path }
    }
}

impl Switch {
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Why nothing may be observed, or `None`. Where it cannot be told whether the file is there, it is.
    pub fn off(&self) -> Option<String> {
        match fs::symlink_metadata(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => Some(format!("it cannot be looked at: {error}")),
            Ok(metadata) if metadata.is_file() => Some(self.reason().unwrap_or_default()),
            Ok(_) => Some("it is not a file".to_owned()),
        }
    }

    /// Switches off, for this reason. What is there already is kept, with its reason.
    ///
    /// # Errors
    /// When the file cannot be made.
    pub fn set(&self, reason: &str) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder)?;
        }
        match File::create_new(&self.path) {
            Ok(mut file) => writeln!(file, "{reason}"),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Switches on; whether it was off.
    ///
    /// # Errors
    /// When the file is there and cannot be taken away.
    pub fn lift(&self) -> io::Result<bool> {
        match fs::remove_file(&self.path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// One sentence for who is kept from something.
    pub fn sentence(&self, reason: &str) -> String {
        let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
        format!(
            "Warplens is switched off on this machine by {}{reason}: `warplens detach --lift` switches it on",
            self.path.display()
        )
    }

    /// Its first line, as far as it can be shown.
    fn reason(&self) -> Option<String> {
        let mut bytes = Vec::new();
        File::open(&self.path).ok()?.take(REASON_MAX).read_to_end(&mut bytes).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let line = text.lines().next().unwrap_or_default();
        Some(line.chars().filter(|char| !char.is_control()).collect())
    }
}

/// Who observes asks this once a round.
#[derive(Debug, Default)]
pub struct Looks {
    switch: Switch,
    last: Option<Instant>,
    off: Option<Off>,
}

/// What keeps everything off.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Off {
    /// With what it says.
    File(String),
    Signal,
}

/// What a look found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turned {
    Off,
    On,
}

impl Looks {
    /// What changed since the last look.
    pub fn look(&mut self) -> Option<Turned> {
        if self.last.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return None;
        }
        self.last = Some(Instant::now());
        let signalled = SIGNALLED.load(Ordering::Relaxed).then_some(Off::Signal);
        let off = self.switch.off().map(Off::File).or(signalled);
        let was_off = std::mem::replace(&mut self.off, off).is_some();
        match (was_off, self.off.is_some()) {
            (false, true) => Some(Turned::Off),
            (true, false) => Some(Turned::On),
            _ => None,
        }
    }

    pub fn is_off(&self) -> bool {
        self.off.is_some()
    }

    /// Why, and how it is switched on again.
    pub fn sentence(&self) -> String {
        match &self.off {
            Some(Off::Signal) => {
                "this agent was switched off by SIGUSR2: another one switches it on".to_owned()
            }
            Some(Off::File(reason)) => self.switch.sentence(reason),
            None => self.switch.sentence(""),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_everything_off_and_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let switch = Switch { path: folder.path().join("run").join("off") };
        let mut looks = Looks { switch: switch.clone(), ..Looks::default() };
        assert_eq!((switch.off(), looks.look(), looks.is_off()), (None, None, false));
        assert!(!switch.lift().unwrap());
        switch.set("upgrade\u{1b}[31m of the driver\nmore").unwrap();
        assert_eq!(switch.off().as_deref(), Some("upgrade[31m of the driver"));
        switch.set("another").unwrap();
        assert!(switch.off().unwrap().starts_with("upgrade"), "the first reason is kept");
        assert_eq!(looks.look(), None, "not every round");
        looks.last = None;
        assert_eq!((looks.look(), looks.is_off()), (Some(Turned::Off), true));
        looks.last = None;
        assert_eq!(looks.look(), None);
        assert!(looks.sentence().contains("(upgrade[31m of the driver): `warplens detach --lift`"));
        assert!(switch.lift().unwrap());
        looks.last = None;
        assert_eq!((looks.look(), looks.is_off()), (Some(Turned::On), false));
    }

    #[test]
    fn in_doubt_everything_is_off() {
        let folder = tempfile::tempdir().unwrap();
        // Below a file nothing can be.
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(Switch { path: file.join("off") }.off().is_some());
        assert_eq!(
            Switch { path: folder.path().to_owned() }.off().as_deref(),
            Some("it is not a file")
        );
        std::os::unix::fs::symlink("nowhere", folder.path().join("link")).unwrap();
        assert!(Switch { path: folder.path().join("link") }.off().is_some());
    }
}
