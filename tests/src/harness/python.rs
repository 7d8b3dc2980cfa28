//! The Python interpreters there are, and the programs of known time that run in them.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::harness::artefacts::{self, Missing};
use crate::harness::child::{Child, ChildError, Ended, command};
use crate::harness::server::StartError;
use crate::judge::host::ProgramTruth;

/// Two minor versions must be there, whatever else is.
pub const REQUIRED: [(u32, u32); 2] = [(3, 11), (3, 12)];

/// The versions whose frames are read.
const OLDEST: (u32, u32) = (3, 10);
const NEWEST: (u32, u32) = (3, 14);

/// How long a program of known time may take to begin, and to end once its work is done.
const PATIENCE: Duration = Duration::from_mins(1);

/// What `python3` comes to: it may be a script that becomes Python, and what is entered is to be what runs. `folder` is for
/// what it says.
///
/// # Errors
/// When it cannot be run in time.
pub fn interpreter(folder: &Path) -> Result<PathBuf, ChildError> {
    let mut which = Command::new("python3");
    which.args(["-c", "import os, sys; print(os.path.realpath(sys.executable))"]);
    Ok(Child::run(&mut which, folder, "python3", PATIENCE)?.stdout.trim().into())
}

/// An interpreter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Python {
    pub path: PathBuf,
    pub version: (u32, u32, u32),
    /// It has a `libpython` of its own instead of being one file.
    pub shared: bool,
}

impl Python {
    /// What runs at `path`, unless it is too old or does not run.
    fn at(path: &Path) -> Option<Self> {
        const ASK: &str = "import sys; print('%d %d %d' % sys.version_info[:3], \
                           'libpython' in open('/proc/self/maps').read())";
        let output = command(path).args(["-I", "-c", ASK]).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let words: Vec<&str> = text.split_whitespace().collect();
        let [major, minor, patch, shared] = words[..] else { return None };
        let version = (major.parse().ok()?, minor.parse().ok()?, patch.parse().ok()?);
        let python = Self { path: path.to_owned(), version, shared: shared == "True" };
        (OLDEST..=NEWEST).contains(&python.minor()).then_some(python)
    }

    pub fn minor(&self) -> (u32, u32) {
        (self.version.0, self.version.1)
    }

    /// Such as `3.12.1 shared /path`.
    pub fn describe(&self) -> String {
        let (major, minor, patch) = self.version;
        let kind = if self.shared { "shared" } else { "static" };
        format!("{major}.{minor}.{patch} {kind} {}", self.path.display())
    }

    /// It is started by a script that brings a loader and a C library of its own, which find no others.
    pub fn has_own_loader(&self) -> bool {
        std::fs::read(&self.path).is_ok_and(|bytes| bytes.starts_with(b"#!"))
    }

    /// The file whose name begins with `name` that it maps once it has imported `module`.
    pub fn maps(&self, module: &str, name: &str) -> Option<PathBuf> {
        let ask = format!("import {module}; print(open('/proc/self/maps').read())");
        let output = command(&self.path).args(["-I", "-c", &ask]).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        let mut paths = text.lines().filter_map(|line| Some(Path::new(&line[line.find('/')?..])));
        paths
            .find(|path| {
                path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name))
            })
            .map(Path::to_owned)
    }

    /// A program below `tests/programs/host`.
    pub fn program(&self, name: &str) -> Command {
        let mut command = command(&self.path);
        // No byte code beside the sources: several versions run them at once.
        command.arg("-B").arg(artefacts::program("host").join(name));
        command
    }
}

/// Every interpreter from 3.10 to 3.14, one of each version and kind: pyenv's, the system's, and those below
/// `WARPLENS_PYTHONS`.
pub fn all() -> Vec<Python> {
    let mut found: Vec<Python> = Vec::new();
    for python in candidates().iter().filter_map(|path| Python::at(path)) {
        let same =
            |other: &Python| (other.version, other.shared) == (python.version, python.shared);
        if !found.iter().any(same) {
            found.push(python);
        }
    }
    found.sort_by_key(|python| (python.version, python.shared));
    found
}

/// An interpreter of this minor version, with a `libpython` if there is one.
///
/// # Errors
/// When there is none.
pub fn of_minor(minor: (u32, u32)) -> Result<Python, Missing> {
    all().into_iter().rfind(|python| python.minor() == minor).ok_or_else(|| {
        let (major, minor) = minor;
        Missing(format!(
            "no CPython {major}.{minor}: install it with pyenv or put it on PATH as python{major}.{minor}"
        ))
    })
}

/// One of each required minor version.
///
/// # Errors
/// When one is missing.
pub fn required() -> Result<Vec<Python>, Missing> {
    REQUIRED.into_iter().map(of_minor).collect()
}

fn candidates() -> Vec<PathBuf> {
    let root = env::var_os("PYENV_ROOT")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| Path::new(&home).join(".pyenv")));
    let mut paths = Vec::new();
    for version in root.map(|root| folders(&root.join("versions"))).unwrap_or_default() {
        paths.push(version.join("bin/python3"));
    }
    for extra in
        env::var_os("WARPLENS_PYTHONS").map(|at| folders(Path::new(&at))).unwrap_or_default()
    {
        for name in ["python", "bin/python3", "usr/bin/python3"] {
            paths.push(extra.join(name));
        }
    }
    let path = env::var_os("PATH").unwrap_or_default();
    for folder in env::split_paths(&path) {
        // Shims of pyenv are scripts that run whatever is chosen where they are started.
        if folder.components().any(|part| part.as_os_str() == OsStr::new("shims")) {
            continue;
        }
        for minor in OLDEST.1..=NEWEST.1 {
            paths.push(folder.join(format!("python3.{minor}")));
        }
    }
    paths.retain(|path| path.is_file());
    paths
}

fn folders(parent: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(parent) else { return Vec::new() };
    let mut folders: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    folders.sort();
    folders
}

/// A program of known time that waits at its gate.
#[derive(Debug)]
pub struct Gated {
    pub child: Child,
}

impl Gated {
    /// Starts it and waits until it stands at its gate.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(command: &mut Command, folder: &Path, name: &str) -> Result<Self, StartError> {
        command.current_dir(folder);
        let mut child = Child::start(command, folder, name)?;
        child.line("\"ready\"", PATIENCE)?;
        Ok(Self { child })
    }

    /// Opens the gate, waits for the work's end, and reads what the program knows of it.
    ///
    /// # Errors
    /// When the work does not end within `limit` or the program's account is not what it should be.
    pub fn work(&mut self, limit: Duration) -> Result<ProgramTruth, StartError> {
        self.child.write("go\n");
        let line = self.child.line("\"truth\"", limit)?;
        serde_json::from_str(&line).map_err(|source| StartError::Answer { line, source })
    }

    /// Lets it end.
    ///
    /// # Errors
    /// When it does not.
    pub fn end(mut self) -> Result<Ended, StartError> {
        self.child.close_input();
        Ok(self.child.wait(PATIENCE)?)
    }
}
