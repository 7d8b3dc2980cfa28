//! What is kept of workers that die or hang: errors of their device, the last lines of their log, who stands still.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use warplens_tests::harness::child::{Child, send};
use warplens_tests::harness::server::{Run, Server};
use warplens_tests::harness::wait;
use warplens_tests::require;

use super::daemon::{configuration, get, start_configured, sum};
use super::flight::armed;
use super::{fresh_seed, serve};

const LIMIT: Duration = Duration::from_secs(40);

/// What the daemons of these tests take for a hang, seconds.
const HANG: u64 = 6;

/// A small server that answers.
const SERVER: &[&str] =
    &["--rate", "4000", "--single-rate", "1000", "--metrics", "--port", "0", "--gpus", "1"];

struct Daemon {
    child: Child,
    address: String,
    dumps: PathBuf,
    kernel_log: PathBuf,
}

impl Daemon {
    fn start(run: &Run) -> Self {
        let dumps = run.folder().join("dumps");
        let kernel_log = run.folder().join("kmsg");
        fs::write(&kernel_log, "").unwrap();
        let more = format!(
            "[levels.budget]\nagent_permille = 1000\nshim_permille = 1000\ncallback_permille = 1000\n\
             [collect]\nseconds = 1\n[evidence]\nkernel_log = \"{}\"\nhang_seconds = {HANG}\n\
             [flight]\nseconds = 20\ndir = \"{}\"\nfree_bytes = 0\n",
            kernel_log.display(),
            dumps.display()
        );
        let text = configuration(run.folder(), &more);
        let (child, address) = start_configured(run, &text, &[]);
        Self { child, address, dumps, kernel_log }
    }

    /// Dumps that lie there, by what made them.
    fn written(&self, trigger: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.dumps).into_iter().flatten().flatten();
        let names = |path: &PathBuf| path.display().to_string().ends_with(trigger);
        entries.map(|entry| entry.path()).filter(names).collect()
    }

    /// Why the one dump that this made was written.
    fn why(&self, trigger: &str) -> Value {
        let found = wait::until(LIMIT, || self.written(trigger).pop());
        let dump = found.unwrap_or_else(|| panic!("no dump: {}", self.child.stderr()));
        read(&dump)
    }

    /// Waits until the server has said more than once how far it is: it is known to make tokens.
    fn knows_progress(&self) {
        let read = || {
            let (_, text) = get(&self.address, "/metrics")?;
            (sum(&text, "warplens_scrapes_total", &["outcome=\"read\""]) > 3.0).then_some(())
        };
        assert!(wait::until(LIMIT, read).is_some(), "{}", self.child.stderr());
    }

    fn stop(mut self) {
        assert!(!self.child.stderr().contains("panicked"), "{}", self.child.stderr());
        self.child.signal(Signal::TERM);
        assert_eq!(self.child.wait(LIMIT).unwrap().code, 0);
    }
}

fn read(dump: &Path) -> Value {
    serde_json::from_slice(&fs::read(dump.join("why.json")).unwrap()).unwrap()
}

fn served(run: &Run, more: &[&str]) -> Server {
    let server = serve(run, fresh_seed(), &[SERVER, more].concat());
    armed(server.workers[0].pid);
    server
}

/// Ends it however it stands.
fn end(mut server: Server) {
    for pid in server.tree() {
        send(pid, Signal::KILL);
    }
    let _ended = server.child.wait(LIMIT);
}

#[test]
fn an_error_of_the_device_is_why_a_worker_died() {
    require!(E2e);
    let run = Run::new(1).unwrap().with_shim().unwrap();
    let daemon = Daemon::start(&run);
    let mut worker = run.work(&["--seconds", "0", "--rate", "2000"]).unwrap();
    let pid = worker.pid();
    armed(pid);
    let mut log = fs::File::options().append(true).open(&daemon.kernel_log).unwrap();
    // By a user, then by the kernel.
    writeln!(log, "12,1,1,-;NVRM: Xid (PCI:0000:3b:00): 31, pid={pid}, name=x").unwrap();
    writeln!(log, "3,2,1,-;NVRM: Xid (PCI:0000:3b:00): 79, pid={pid}, name=x, GPU has fallen")
        .unwrap();
    let said = || daemon.child.stderr().contains("had an error, Xid 79").then_some(());
    assert!(wait::until(LIMIT, said).is_some(), "{}", daemon.child.stderr());
    assert!(!daemon.child.stderr().contains("Xid 31"), "{}", daemon.child.stderr());
    // SIGKILL alone is nobody's fault.
    worker.signal(Signal::KILL);
    let _ended = worker.wait(LIMIT).unwrap();
    let why = daemon.why("crash");
    assert_eq!(why["ended"][0]["xid"], 79, "{why:#}");
    assert!(why["detail"].as_str().unwrap().contains("had an error: Xid 79"), "{why:#}");
    let told = "the crash breaker opened: a worker's GPU had error 79";
    assert!(daemon.child.stderr().contains(told), "{}", daemon.child.stderr());
    daemon.stop();
}

#[test]
fn the_last_lines_of_a_workers_log_are_kept_redacted() {
    require!(E2e);
    let run = Run::new(1).unwrap().with_shim().unwrap();
    let daemon = Daemon::start(&run);
    let path = run.folder().join("own.log");
    let file = fs::File::options().create(true).append(true).open(&path).unwrap();
    let worker = artefact_worker(&run, &file);
    armed(worker.id());
    let mut log = &file;
    writeln!(log, "INFO loading\nHF_TOKEN=hf_abcdefghijklmnop0123\nRuntimeError: CUDA error")
        .unwrap();
    let mut worker = worker;
    // Rust's own handler would take a SIGSEGV that somebody sends for nothing.
    send(worker.id(), Signal::ABORT);
    worker.wait().unwrap();
    let why = daemon.why("crash");
    let lines: Vec<&str> = why["logs"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|log| log["pid"] == worker.id())
        .flat_map(|log| log["logs"].as_array().unwrap())
        .flat_map(|log| log["lines"].as_array().unwrap())
        .map(|line| line.as_str().unwrap())
        .collect();
    assert_eq!(lines.last(), Some(&"RuntimeError: CUDA error"), "{why:#}");
    let all = lines.join("\n");
    assert!(all.contains("INFO loading") && all.contains("HF_TOKEN="), "{all}");
    // Nowhere else either.
    assert!(!why.to_string().contains("hf_abc"), "{why:#}");
    assert!(!daemon.child.stderr().contains("hf_abc"));
    assert!(!get(&daemon.address, "/metrics").unwrap().1.contains("RuntimeError"));
    daemon.stop();
}

/// The Rust worker, whose outputs go to a file.
fn artefact_worker(run: &Run, file: &fs::File) -> std::process::Child {
    let program = warplens_tests::harness::artefacts::cuda_worker().unwrap();
    let mut command = run.command(&program).unwrap();
    command.args(["--seconds", "0", "--rate", "2000"]);
    command.stdout(file.try_clone().unwrap()).stderr(file.try_clone().unwrap());
    command.spawn().unwrap()
}

#[test]
fn a_kernel_that_never_ends_is_a_hang_and_told_once() {
    require!(E2e);
    let run = Run::new(1).unwrap().with_shim().unwrap();
    let daemon = Daemon::start(&run);
    let stick = run.folder().join("stick");
    let server = served(&run, &["--stick", stick.to_str().unwrap()]);
    let pid = server.workers[0].pid;
    daemon.knows_progress();
    fs::write(&stick, "").unwrap();
    let why = daemon.why("hang");
    let hang = &why["hang"];
    let stuck = &hang["workers"][0];
    assert_eq!((&stuck["pid"], &stuck["kind"]), (&pid.into(), &"device".into()), "{why:#}");
    assert_eq!(hang["confidence"], "high", "{why:#}");
    assert!(hang["running_requests"].as_f64().unwrap() >= 8.0, "{why:#}");
    // What was launched when nothing ended any more, and the kernels before it.
    let open = stuck["oldest_open_launch_ns"].as_u64().unwrap();
    let last =
        why["workers"].as_array().unwrap().iter().find(|worker| worker["pid"] == pid).unwrap();
    let ended =
        last["last_kernels"].as_array().unwrap().last().unwrap()["end_ns"].as_u64().unwrap();
    assert!(open.abs_diff(ended) < 1_000_000_000, "{open} {ended}");
    let silent = why["at_ns"].as_u64().unwrap() - ended;
    assert!((HANG..HANG + 10).contains(&(silent / 1_000_000_000)), "{silent}");
    // Threads of all its processes.
    let processes = hang["processes"].as_array().unwrap();
    let worker = processes.iter().find(|process| process["pid"] == pid).unwrap();
    assert!(processes.len() >= 3 && !worker["threads"].as_array().unwrap().is_empty(), "{why:#}");
    // In which function the worker waits for its device.
    let threads = worker["threads"].as_array().unwrap().iter();
    let mut frames = threads.flat_map(|thread| thread["stack"].as_array().unwrap());
    let waits = "model_runner.GPUModelRunner.execute_model (model_runner.py:";
    assert!(frames.any(|frame| frame.as_str().unwrap().starts_with(waits)), "{worker:#}");
    std::thread::sleep(Duration::from_secs(HANG));
    assert_eq!(daemon.written("hang").len(), 1);
    end(server);
    daemon.stop();
}

#[test]
fn a_worker_that_was_stopped_while_requests_run_is_a_hang() {
    require!(E2e);
    let run = Run::new(1).unwrap().with_shim().unwrap();
    let daemon = Daemon::start(&run);
    let server = served(&run, &[]);
    let pid = server.workers[0].pid;
    daemon.knows_progress();
    send(pid, Signal::STOP);
    let why = daemon.why("hang");
    let stuck = &why["hang"]["workers"][0];
    assert_eq!((&stuck["pid"], &stuck["kind"]), (&pid.into(), &"host".into()), "{why:#}");
    assert_eq!(why["hang"]["confidence"], "medium", "{why:#}");
    let processes = why["hang"]["processes"].as_array().unwrap();
    let worker = processes.iter().find(|process| process["pid"] == pid).unwrap();
    let states = worker["threads"].as_array().unwrap().iter().map(|thread| &thread["state"]);
    assert!(states.clone().count() > 0 && states.clone().all(|state| state == "T"), "{why:#}");
    send(pid, Signal::CONT);
    end(server);
    daemon.stop();
}

#[test]
fn an_idle_server_never_hangs() {
    require!(E2e);
    let run = Run::new(1).unwrap().with_shim().unwrap();
    let daemon = Daemon::start(&run);
    let lull = (3 * HANG).to_string();
    let server = served(&run, &["--lull", &lull]);
    std::thread::sleep(Duration::from_secs(3 * HANG + 4));
    assert!(daemon.written("hang").is_empty(), "{}", daemon.child.stderr());
    end(server);
    daemon.stop();
}
