//! What the machine does: no memory left, a ring that nobody empties in time, other clocks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use warplens_tests::harness::agent::start_record;
use warplens_tests::harness::artefacts;
use warplens_tests::harness::child::{Child, Ended, command};
use warplens_tests::harness::dice::{self, Dice};
use warplens_tests::harness::ring;
use warplens_tests::harness::server::Run;
use warplens_tests::harness::wait;
use warplens_tests::judge::compare;
use warplens_tests::judge::honest;
use warplens_tests::judge::kernels::KernelTable;
use warplens_tests::judge::report::Report;
use warplens_tests::judge::truth::GroundTruth;
use warplens_tests::require;
use wire::shim::{Level, OffReason, TOTAL_BYTES};

use super::{CALM, END_LIMIT, LIMIT, program, shimmed};

/// A memory control group of a test, of either version.
struct MemoryGroup {
    folder: PathBuf,
    limit: &'static str,
}

impl MemoryGroup {
    fn new(name: &str) -> Self {
        let name = format!("warplens-test-{name}-{}", std::process::id());
        let (root, limit) = if Path::new("/sys/fs/cgroup/memory").is_dir() {
            ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")
        } else {
            ("/sys/fs/cgroup", "memory.max")
        };
        let folder = Path::new(root).join(name);
        fs::create_dir(&folder).unwrap();
        Self { folder, limit }
    }

    fn limit(&self, bytes: usize) {
        fs::write(self.folder.join(self.limit), bytes.to_string()).unwrap();
    }

    /// A command that enters the group and becomes `inner`.
    fn around(&self, inner: &Command) -> Command {
        let mut shell = command("sh");
        shell
            .args(["-c", "echo $$ > \"$GROUP/cgroup.procs\" && exec \"$@\"", "sh"])
            .arg(inner.get_program())
            .args(inner.get_args())
            .env("GROUP", &self.folder)
            .current_dir(inner.get_current_dir().unwrap_or(Path::new("/")));
        let set = inner.get_envs().filter_map(|(key, value)| Some((key, value?)));
        shell.envs(set);
        shell
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // Whoever was in it has ended, and is gone in a moment.
        let _left = wait::until(LIMIT, || fs::remove_dir(&self.folder).ok());
    }
}

/// A group that is too small for the shim's memory is not too small for the worker.
#[test]
fn a_full_control_group_turns_the_shim_off_and_no_worker() {
    require!(Chaos);
    let mut dice = Dice::new(dice::seed());
    let group = MemoryGroup::new("full");
    for round in 0..dice::rounds(4) {
        // From hardly enough for the program itself to just too little for both.
        let bytes = (20 << 20) + dice.below(TOTAL_BYTES - (20 << 20));
        let what = format!("round {round}: {bytes} bytes");
        group.limit(bytes);
        let end = |run: &Run| -> (Ended, Option<OffReason>) {
            let mut inner = run.command(&program(run.folder())).unwrap();
            inner.args(CALM.arguments());
            let mut child = Child::start(&mut group.around(&inner), run.folder(), "host").unwrap();
            child.line("ready", LIMIT).unwrap_or_else(|error| panic!("{what}: {error}"));
            let reason = ring::look(child.pid()).and_then(|view| view.off_reason());
            assert!(child.write("\n"));
            std::thread::sleep(Duration::from_millis(200));
            assert!(child.write("\n\n"));
            (child.wait(LIMIT).unwrap(), reason)
        };
        let (bare, _) = end(&Run::new(1).unwrap());
        let (shimmed, reason) = end(&shimmed().with("WARPLENS_LEVEL", "stacks"));
        assert_eq!(bare.code, 0, "{what}: {bare:?}");
        assert_eq!((shimmed, reason), (bare, Some(OffReason::System)), "{what}");
    }
}

/// The kernel kills a worker for its memory while it is recorded: the recording says so and ends.
#[test]
fn workers_run_out_of_memory() {
    require!(Chaos);
    let mut dice = Dice::new(dice::seed());
    let group = MemoryGroup::new("oom");
    for round in 0..dice::rounds(2) {
        group.limit(256 << 20);
        let run = shimmed();
        let mut inner = run.command(&program(run.folder())).unwrap();
        inner.args(CALM.arguments());
        let mut child = Child::start(&mut group.around(&inner), run.folder(), "host").unwrap();
        child.line("ready", LIMIT).unwrap();
        assert!(child.write("\n"));
        let (mut agent, out) = start_record(child.pid(), 30, run.folder(), "record").unwrap();
        let armed =
            || ring::look(child.pid()).filter(|view| view.level() >= Level::Counting as u32);
        assert!(wait::until(LIMIT, || armed().map(|_view| ())).is_some());
        std::thread::sleep(Duration::from_millis(500) + dice.millis(1000));
        // Somebody in the group takes what there is; the kernel takes the largest, or the worker goes with it.
        let hungry =
            "import ctypes\nheld = []\nwhile True: held.append(bytearray(b'x' * (1 << 20)))";
        let mut eater = command("python3");
        eater.args(["-c", hungry]);
        let eaten = Child::run(&mut group.around(&eater), run.folder(), "eater", LIMIT).unwrap();
        assert_eq!(eaten.code, -9, "round {round}: {eaten:?}");
        // Its own turn: what it has is too much now.
        child.signal(Signal::KILL);
        assert_eq!(child.wait(LIMIT).unwrap().code, -9, "round {round}");
        let ended = agent.wait(END_LIMIT).unwrap();
        assert_eq!(ended.code, 1, "round {round}: {ended:?}");
        assert!(!ended.stderr.contains("panicked"), "round {round}: {ended:?}");
        assert!(out.join("report.json").exists(), "round {round}: {ended:?}");
    }
}

/// The agent is held up while a worker launches as fast as it can: the ring fills, and what found no room is
/// counted and not called idle.
#[test]
fn the_ring_is_full() {
    require!(Chaos);
    let mut dice = Dice::new(dice::seed());
    let launch_loop = artefacts::cuda_worker().unwrap().with_file_name("launch-loop");
    for round in 0..dice::rounds(2) {
        let what = format!("round {round} of a full ring");
        let run = shimmed();
        let mut worker =
            Child::start(&mut run.command(&launch_loop).unwrap(), run.folder(), "loop").unwrap();
        worker.line("ready", LIMIT).unwrap();
        let (mut agent, out) = start_record(worker.pid(), 12, run.folder(), "full").unwrap();
        let armed =
            || ring::look(worker.pid()).filter(|view| view.level() >= Level::Counting as u32);
        assert!(wait::until(LIMIT, || armed().map(|_view| ())).is_some(), "{}", agent.stderr());
        assert!(worker.write("2000\n"));
        worker.line("#0", LIMIT).unwrap();
        std::thread::sleep(dice.millis(300));
        agent.signal(Signal::STOP);
        // Two records a launch, and a ring of 262 144.
        assert!(worker.write("300000\n"));
        let full = wait::until(Duration::from_secs(20), || {
            ring::look(worker.pid()).filter(|view| view.lost() > 0).map(|_view| ())
        });
        std::thread::sleep(dice.millis(300));
        agent.signal(Signal::CONT);
        assert!(
            full.is_some(),
            "{what}: it never filled: {:?}",
            ring::look(worker.pid()).map(|v| v.positions())
        );
        worker.line("#1", LIMIT).unwrap();
        assert!(worker.write("2000\n"));
        worker.line("#2", LIMIT).unwrap();
        let ended = agent.wait(END_LIMIT).unwrap();
        assert_eq!(ended.code, 0, "{what}: {ended:?}");
        let report = Report::read(&out.join("report.json")).unwrap();
        let truth = GroundTruth::read(&run.truth()).unwrap();
        let complaints = honest::complaints(&truth, &report, None);
        assert!(complaints.is_empty(), "{what}: {complaints:#?}");
        assert!(report.devices[0].records.lost > 0, "{what}: {:?}", report.devices[0].records);
        worker.close_input();
        let ended = worker.wait(LIMIT).unwrap();
        assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{what}: {ended:?}");
    }
}

/// A worker whose monotonic clock is ahead of or behind the machine's.
#[test]
fn workers_live_in_another_time() {
    require!(Chaos);
    let mut dice = Dice::new(dice::seed());
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    for round in 0..dice::rounds(2) {
        let ahead = 1 + dice.below(1_000_000);
        // It cannot be behind the machine's start.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds")]
        let behind = dice.below(uptime as usize - 30);
        let seconds = if round % 2 == 0 { format!("{ahead}") } else { format!("-{behind}") };
        let what = format!("a clock {seconds} s ahead");
        let run = shimmed();
        let inner = run.command(&artefacts::cuda_worker().unwrap()).unwrap();
        let mut outer = command("unshare");
        outer
            .args(["--time", "--monotonic", &seconds, "--"])
            .arg(inner.get_program())
            .args(["--seconds", "0", "--rate", "2000", "--graphs", "20"])
            .envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))))
            .current_dir(run.folder());
        let mut worker = Child::start(&mut outer, run.folder(), "worker").unwrap();
        worker.line("\"ready\"", LIMIT).unwrap_or_else(|error| panic!("{what}: {error}"));
        let (mut agent, out) = start_record(worker.pid(), 3, run.folder(), "out").unwrap();
        let ended = agent.wait(END_LIMIT).unwrap();
        assert_eq!(ended.code, 0, "{what}: {ended:?}");
        worker.signal(Signal::TERM);
        assert_eq!(worker.wait(LIMIT).unwrap().code, 0, "{what}");
        let mut truth = GroundTruth::read(&run.truth()).unwrap();
        truth.shift(-seconds.parse::<i64>().unwrap() * 1_000_000_000);
        let report = Report::read(&out.join("report.json")).unwrap();
        let table = KernelTable::read(&artefacts::kernel_table()).unwrap();
        let verdict = compare::compare(&truth, &report, &table);
        let differences: Vec<_> = verdict.differences().collect();
        assert!(verdict.exact(), "{what}: {differences:#?}");
        assert!(report.devices[0].kernels > 2_000, "{what}: {}", report.devices[0].kernels);
    }
}
