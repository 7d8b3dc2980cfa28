//! Chaos: what may happen to a worker, to the agent and to the machine, at instants that dice decide, several times
//! each. The worker's output and exit code are those it has without us, in all that is not its own death;
//! and every report says no more than happened.
//!
//! `WARPLENS_CHAOS_SEED` has a run again, as far as instants go; `WARPLENS_CHAOS_ROUNDS` makes it long.

mod agents;
mod machine;
mod soak;
mod workers;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use warplens_tests::harness::agent::start_record;
use warplens_tests::harness::artefacts;
use warplens_tests::harness::child::Child;
use warplens_tests::harness::hostile;
use warplens_tests::harness::ring;
use warplens_tests::harness::server::Run;
use warplens_tests::harness::wait;
use warplens_tests::judge::{self, honest};
use wire::shim::Level;

const LIMIT: Duration = Duration::from_mins(1);
/// How long a `record` that was told to end, or whose process ended, may take.
const END_LIMIT: Duration = Duration::from_secs(90);

/// A program that launches, under the shim; and the same beside it, without us.
struct Host {
    run: Run,
    child: Child,
    bare_run: Run,
    bare: Child,
}

/// What the program does beside its launches (`tests/programs/hostile/trouble.h`), until it is told to end.
#[derive(Clone, Copy)]
struct Trouble<'t> {
    kind: &'t str,
    seed: u64,
}

/// A life without trouble.
const CALM: Trouble<'static> = Trouble { kind: "nothing", seed: 1 };

impl Trouble<'_> {
    fn arguments(&self) -> [String; 3] {
        ["0".to_owned(), self.kind.to_owned(), (self.seed & 0xffff_ffff).to_string()]
    }
}

fn shimmed() -> Run {
    Run::new(1).unwrap().with_shim().unwrap()
}

fn program(folder: &Path) -> PathBuf {
    hostile::build("many_calls", folder).unwrap()
}

impl Host {
    fn start(run: Run, trouble: &Trouble<'_>) -> Self {
        let program = program(run.folder());
        let start = |run: &Run| {
            let mut command = run.command(&program).unwrap();
            command.args(trouble.arguments());
            let mut child = Child::start(&mut command, run.folder(), "host").unwrap();
            child.line("ready", LIMIT).unwrap();
            assert!(child.write("\n"));
            child
        };
        let child = start(&run);
        let bare_run = Run::new(1).unwrap();
        let bare = start(&bare_run);
        Self { run, child, bare_run, bare }
    }

    fn pid(&self) -> u32 {
        self.child.pid()
    }

    fn level(&self) -> Option<u32> {
        ring::look(self.pid()).map(|view| view.level())
    }

    /// Starts to record it; the agent and its output folder.
    fn record(&self, seconds: u32, name: &str) -> (Child, PathBuf) {
        start_record(self.pid(), seconds, self.run.folder(), name).unwrap()
    }

    fn wait_until_armed(&self, agent: &Child) {
        let armed = || self.level().filter(|&level| level >= Level::Counting as u32);
        let armed = wait::until(LIMIT, || armed().map(|_level| ()));
        assert!(armed.is_some(), "never armed: {}", agent.stderr());
    }

    /// Lets both come to their end, and holds one against the other.
    fn finish(&mut self, what: &str) {
        let end = |child: &mut Child| {
            // To stop, or, for a program that became another one, to start; and to end.
            assert!(child.write("\n\n"));
            child.wait(LIMIT).unwrap_or_else(|error| panic!("{what}: {error}"))
        };
        let expected = end(&mut self.bare);
        let well = expected.code == 0 && expected.stdout.contains("synchronized 0\ndone\n");
        assert!(well, "{what}: {expected:?}, in {}", self.bare_run.folder().display());
        assert_eq!(end(&mut self.child), expected, "{what}: the worker's output and exit code");
    }

    /// The report is there and says no more than happened.
    fn assert_honest(&self, out: &Path, what: &str) {
        let report = out.join("report.json");
        let complaints = honest::judge_files(&self.run.truth(), &report, None).unwrap();
        assert!(complaints.is_empty(), "{what}: {complaints:#?}");
    }

    /// Everything in the report is as it was.
    fn assert_exact(&self, out: &Path, what: &str) {
        let verdict =
            judge::judge(&self.run.truth(), &out.join("report.json"), &artefacts::kernel_table());
        let verdict = verdict.unwrap();
        let differences: Vec<_> = verdict.differences().collect();
        assert!(verdict.exact(), "{what}: {differences:#?} {:#?}", verdict.notes);
    }

    /// The next agent finds everything in order.
    fn assert_next_is_exact(&self, name: &str, what: &str) {
        let (mut agent, out) = self.record(2, name);
        let ended = agent.wait(LIMIT).unwrap();
        assert_eq!(ended.code, 0, "{what}: {ended:?}");
        self.assert_exact(&out, what);
    }
}

/// Nothing half-written lies there.
fn assert_nothing_written(out: &Path, what: &str) {
    let left: Vec<_> =
        fs::read_dir(out).map(|entries| entries.flatten().collect()).unwrap_or_default();
    assert!(left.is_empty(), "{what}: {left:?}");
}
