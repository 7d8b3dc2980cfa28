//! A process with a second profiler in it, which takes CUPTI when it is told to.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "its only callers are tests, and every failure is theirs"
)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::child::Child;
use crate::harness::ring::{self, RingView};
use crate::harness::server::Run;
use crate::harness::wait;
use crate::harness::{artefacts, hostile};

const LIMIT: Duration = Duration::from_mins(1);

/// How the profiler comes by CUPTI's functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Linked with it, each function bound at its first call.
    Lazy,
    /// Linked with it, all bound when it is loaded, and the table only read from then on.
    Bound,
    /// Looked up by name.
    Named,
}

pub const WAYS: [Way; 3] = [Way::Lazy, Way::Bound, Way::Named];

pub struct Host {
    child: Child,
    run: Run,
    lines: usize,
}

/// Compiles the host and the profiler into `folder`.
///
/// # Panics
/// When they do not compile or the simulator is not there.
pub fn programs(way: Way, folder: &Path) -> (PathBuf, PathBuf) {
    let simulator = artefacts::simulator().unwrap();
    let cupti = simulator.join("libcupti.so.12").display().to_string();
    let mut options = vec!["-shared", "-fPIC"];
    match way {
        Way::Lazy => options.extend([cupti.as_str(), "-Wl,-z,lazy"]),
        Way::Bound => options.extend([cupti.as_str(), "-Wl,-z,now,-z,relro"]),
        Way::Named => options.extend(["-DBY_NAME", "-ldl"]),
    }
    let library = folder.join(format!("libprofiler-{way:?}.so"));
    let binding = if way == Way::Bound { "-DBINDING=RTLD_NOW" } else { "-DBINDING=RTLD_LAZY" };
    let host = folder.join(format!("host-{way:?}"));
    (
        hostile::build_neighbour("host", host, &[binding, "-ldl", "-lpthread"]).unwrap(),
        hostile::build_neighbour("profiler", library, &options).unwrap(),
    )
}

impl Host {
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Where its outputs lie.
    pub fn folder(&self) -> &Path {
        self.run.folder()
    }

    /// Starts the host; its CUDA is initialised.
    ///
    /// # Panics
    /// As all of these, when it does not do so in time.
    pub fn start(run: Run, programs: &(PathBuf, PathBuf)) -> Self {
        let mut command = run.command(&programs.0).unwrap();
        command.arg(&programs.1);
        let mut child = Child::start(&mut command, run.folder(), "host").unwrap();
        child.line("ready", LIMIT).unwrap();
        let lines = child.stdout().lines().count();
        Self { child, run, lines }
    }

    /// Has a command done; what it answered.
    pub fn tell(&mut self, command: &str) -> String {
        assert!(self.child.write(&format!("{command}\n")), "{command}: the host is gone");
        let seen = self.lines;
        let answered = wait::until(LIMIT, || {
            let text = self.child.stdout();
            let complete = text.ends_with('\n');
            text.lines().nth(seen).filter(|_| complete).map(ToOwned::to_owned)
        });
        self.lines += 1;
        answered.unwrap_or_else(|| panic!("no answer to {command}: {}", self.child.stdout()))
    }

    /// The shim's ring, once there is one.
    pub fn look(&self) -> RingView {
        wait::until(LIMIT, || ring::look(self.child.pid())).unwrap()
    }

    /// Waits until the ring shows it.
    pub fn reaches(&self, what: &str, reached: impl Fn(&RingView) -> bool) -> RingView {
        wait::until(LIMIT, || ring::look(self.child.pid()).filter(&reached)).unwrap_or_else(|| {
            let view = self.look();
            panic!("{what}: level {}, {:?}", view.level(), view.off_reason())
        })
    }

    /// Ends it, which must be uneventful.
    pub fn end(mut self) {
        self.child.close_input();
        let ended = self.child.wait(LIMIT).unwrap();
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
    }
}
