//! The flight recorder: what it writes is exact within its window, whenever and why ever it is written.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use warplens_tests::harness::agent::{assert_refused, warplens};
use warplens_tests::harness::child::{Child, Ended, send};
use warplens_tests::harness::ring;
use warplens_tests::harness::server::Run;
use warplens_tests::harness::wait;
use warplens_tests::judge::Verdict;
use warplens_tests::require;
use wire::shim::Level;

use super::daemon::{get, started, sum};
use super::{LIMIT, assert_exact, fresh_seed, judged, observed, report, same_when_analyzed, serve};

/// What the daemons of these tests keep.
const WINDOW: Duration = Duration::from_secs(5);

/// A daemon with a flight recorder.
pub(super) struct Daemon {
    child: Child,
    address: String,
    dumps: PathBuf,
    pub(super) socket: PathBuf,
}

impl Daemon {
    pub(super) fn start(run: &Run) -> Self {
        Self::start_with(run, &run.folder().join("dumps"), "")
    }

    fn start_with(run: &Run, dumps: &Path, more: &str) -> Self {
        let config = run.folder().join("flight.toml");
        let text = format!(
            "{}\n[flight]\nseconds = {}\ndir = \"{}\"\nfree_bytes = 0\n{more}\n",
            super::daemon::configuration(run.folder(), ""),
            WINDOW.as_secs(),
            dumps.display()
        );
        fs::write(&config, text).unwrap();
        let socket = run.folder().join("agent.sock");
        let mut command = warplens(&["agent", "--config", config.to_str().unwrap()]).unwrap();
        command.env("WARPLENS_SOCKET", &socket);
        let (child, address) = started(&mut command, run.folder(), "agent");
        assert!(wait::until(LIMIT, || socket.exists().then_some(())).is_some());
        Self { child, address, dumps: dumps.to_owned(), socket }
    }

    fn dump(&self, run: &Run, name: &str) -> (Ended, PathBuf) {
        let out = run.folder().join(name);
        let mut command = warplens(&["dump", "--json", "-o"]).unwrap();
        command.arg(&out).arg("--socket").arg(&self.socket);
        (Child::run(&mut command, run.folder(), name, LIMIT).unwrap(), out)
    }

    /// A dump that must succeed, with its answer.
    fn dumped(&self, run: &Run, name: &str) -> (PathBuf, Value) {
        let (ended, out) = self.dump(run, name);
        assert_eq!(ended.code, 0, "{ended:?} {}", self.child.stderr());
        (out, serde_json::from_str(&ended.stdout).unwrap())
    }

    /// Dumps that lie in its folder, by what made them.
    fn written(&self, trigger: &str) -> Vec<PathBuf> {
        let Ok(entries) = fs::read_dir(&self.dumps) else {
            return Vec::new();
        };
        let paths = entries.map(|entry| entry.unwrap().path());
        let ends = |path: &PathBuf| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.starts_with("dump-") && name.ends_with(trigger)
        };
        paths.filter(ends).collect()
    }

    fn outcome(&self, outcome: &str) -> f64 {
        let (_, text) = get(&self.address, "/metrics").unwrap();
        sum(&text, "warplens_dumps_total", &[&format!("outcome=\"{outcome}\"")])
    }

    pub(super) fn stop(mut self) {
        self.child.signal(Signal::TERM);
        let ended = self.child.wait(LIMIT).unwrap();
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(!self.socket.exists(), "its socket goes with it");
    }
}

/// What a daemon that listens on this socket dumps.
pub(super) fn dumped_by(run: &Run, socket: &Path, name: &str) -> PathBuf {
    let out = run.folder().join(name);
    let mut command = warplens(&["dump", "--json", "-o"]).unwrap();
    command.arg(&out).arg("--socket").arg(socket);
    let ended = Child::run(&mut command, run.folder(), name, LIMIT).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    out
}

pub(super) fn armed(pid: u32) {
    let counting = || ring::look(pid).filter(|view| view.level() == Level::Counting as u32);
    assert!(wait::until(LIMIT, || counting().map(|_view| ())).is_some());
}

fn why(dump: &Path) -> Value {
    serde_json::from_slice(&fs::read(dump.join("why.json")).unwrap()).unwrap()
}

/// The dump reaches back as far as it should, and its head is all that is not observed.
fn assert_reaches(out: &Path, least: f64, most: f64) {
    for device in report(out)["devices"].as_array().unwrap() {
        let window = device["window_ns"].as_f64().unwrap() / 1e9;
        assert!((least..most).contains(&window), "{window} s, not {least} to {most}");
        let (kernels, percent) = observed(device);
        assert!(kernels > 1_000, "{kernels} kernels");
        assert!(percent > 90.0, "only {percent} % of the window was observed");
    }
}

/// What a process did between its last mark and its end nobody knows, and the truth shows that it did nothing: the
/// report says `unobserved` for it where the judge says idle.
fn without_ends(mut verdict: Verdict, report: &Value) -> Verdict {
    for device in report["devices"].as_array().unwrap() {
        let digits = device["uuid"].as_str().unwrap().trim_start_matches("SIM-").replace('-', "");
        let ends = device["unobserved_reason_ns"]["not_armed"].as_i64().unwrap_or(0);
        assert!(ends < 200_000_000, "{device}");
        for row in verdict.rows.iter_mut().filter(|row| row.device == digits) {
            match row.what.as_str() {
                "idle ns" => row.truth -= i128::from(ends),
                "unobserved ns" => row.truth += i128::from(ends),
                _ => {}
            }
        }
    }
    verdict
}

#[test]
fn dumps_of_a_running_server_are_exact() {
    require!(E2e);
    let seed = fresh_seed();
    println!("seed {seed}");
    let run = Run::new(2)
        .unwrap()
        .with_shim()
        .unwrap()
        .with("WARPLENS_SIM_SEED", &seed.to_string())
        .with("WARPLENS_SIM_LATE", "5,150");
    let daemon = Daemon::start(&run);
    let mut server = serve(&run, seed, &["--rate", "8000", "--single-rate", "2000"]);
    server.workers.iter().for_each(|worker| armed(worker.pid));
    std::thread::sleep(Duration::from_secs(2));
    let (early, _) = daemon.dumped(&run, "early");
    std::thread::sleep(Duration::from_secs(9));
    let (running, answer) = daemon.dumped(&run, "running");
    let seconds = answer["window_seconds"].as_f64().unwrap();
    assert!((4.9..7.5).contains(&seconds), "{answer}");
    let stopped = server.stop().unwrap();
    assert_eq!(stopped.code, 0, "{stopped:?}");
    std::thread::sleep(Duration::from_secs(1));
    let (ended, _) = daemon.dumped(&run, "ended");
    for (out, what) in [(&early, "early"), (&running, "running"), (&ended, "ended")] {
        let verdict = without_ends(judged(&run, out), &report(out));
        assert_exact(&verdict, &format!("seed {seed}, {what}"));
        assert_eq!((verdict.devices, verdict.processes), (2, 2));
        same_when_analyzed(&run, out);
        assert_eq!(why(out)["trigger"], "asked");
    }
    assert_reaches(&running, 4.0, 7.5);
    assert_eq!(report(&running)["command"], "dump");
    // Workers that were told to end did not crash.
    assert!(daemon.written("crash").is_empty());
    assert_eq!(daemon.written("asked").len(), 3);
    // When everything has left the window there is nothing to tell of it.
    std::thread::sleep(WINDOW + Duration::from_secs(2));
    let (empty, _) = daemon.dumped(&run, "empty");
    let devices = report(&empty)["devices"].clone();
    let kernels = devices.as_array().unwrap().iter().map(|device| device["kernels"].as_u64());
    assert_eq!(kernels.flatten().sum::<u64>(), 0, "{devices}");
    daemon.stop();
}

#[test]
fn replayed_graphs_have_their_names_long_after_their_capture() {
    require!(E2e);
    let run = Run::new(1).unwrap().with_shim().unwrap();
    let daemon = Daemon::start(&run);
    let mut worker = run.work(&["--seconds", "0", "--rate", "3000", "--graphs", "60"]).unwrap();
    armed(worker.pid());
    std::thread::sleep(Duration::from_secs(9));
    let (out, _) = daemon.dumped(&run, "out");
    worker.signal(Signal::TERM);
    worker.wait(LIMIT).unwrap();
    assert_exact(&judged(&run, &out), "graphs");
    assert_reaches(&out, 4.0, 7.5);
    daemon.stop();
}

#[test]
fn a_worker_that_crashes_leaves_its_last_minute() {
    require!(E2e);
    let run = Run::new(1).unwrap().with_shim().unwrap();
    let daemon = Daemon::start(&run);
    let mut worker = run.work(&["--seconds", "0", "--rate", "3000", "--graphs", "20"]).unwrap();
    let pid = worker.pid();
    armed(pid);
    std::thread::sleep(Duration::from_secs(7));
    // Rust's own handler takes the first one for none of its business, and itself away.
    worker.signal(Signal::SEGV);
    std::thread::sleep(Duration::from_millis(50));
    worker.signal(Signal::SEGV);
    assert_eq!(worker.wait(LIMIT).unwrap().code, -11);
    let dump = wait::until(LIMIT, || daemon.written("crash").pop());
    let dump = dump.unwrap_or_else(|| panic!("no dump: {}", daemon.child.stderr()));
    let why = why(&dump);
    assert_eq!(why["ended"][0]["signal"], "SIGSEGV", "{why}");
    assert_eq!(why["ended"][0]["pid"], pid);
    assert!(why["detail"].as_str().unwrap().contains("SIGSEGV"), "{why}");
    // Its last kernels, and that they are the last: within what a flush takes of its end.
    let noticed = why["ended"][0]["noticed_ns"].as_u64().unwrap();
    let last = why["workers"][0]["last_kernels"].as_array().unwrap().last().unwrap().clone();
    let end = last["end_ns"].as_u64().unwrap();
    assert!(end < noticed && noticed - end < 2_000_000_000, "{last} before {noticed}");
    assert!(!last["name"].as_str().unwrap().is_empty());
    assert!(why["workers"][0]["last_launches"].as_array().unwrap().len() > 10);
    // The simulator wrote what happened in pieces, and the last of them died with it: nothing that it still told
    // is missing.
    let verdict = judged(&run, &dump);
    let counts = verdict.rows.iter().filter(|row| row.what.starts_with("count of"));
    let missing: Vec<_> = counts.filter(|row| row.report < row.truth).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    assert_reaches(&dump, 3.0, 7.5);
    assert!((daemon.outcome("written") - 1.0).abs() < f64::EPSILON);

    // Another one of its kind that crashes within five minutes is counted, not written.
    let mut again = run.work(&["--seconds", "0", "--rate", "1000"]).unwrap();
    // The crash breaker stands open: it is met, and watched only.
    let label = format!("warplens_worker_level{{pid=\"{}\"", again.pid());
    let met = || get(&daemon.address, "/metrics").filter(|(_, text)| text.contains(&label));
    assert!(wait::until(LIMIT, || met().map(|_answer| ())).is_some());
    again.signal(Signal::ABORT);
    again.wait(LIMIT).unwrap();
    let suppressed = || (daemon.outcome("suppressed") > 0.5).then_some(());
    assert!(wait::until(LIMIT, suppressed).is_some(), "{}", daemon.child.stderr());
    assert_eq!(daemon.written("crash").len(), 1);

    // The daemon writes for a signal, too.
    send(daemon.child.pid(), Signal::USR1);
    assert!(wait::until(LIMIT, || daemon.written("signal").pop()).is_some());
    daemon.stop();
}

#[test]
fn a_folder_that_cannot_be_used_is_told_and_the_daemon_goes_on() {
    require!(E2e);
    let run = Run::new(1).unwrap().with_shim().unwrap();
    let real = run.folder().join("real");
    fs::create_dir(&real).unwrap();
    fs::set_permissions(&real, fs::Permissions::from_mode(0o700)).unwrap();
    symlink(&real, run.folder().join("link")).unwrap();
    // More than any disk has is to be left free, and a link stands for somebody else's folder.
    for (dumps, more, part) in
        [("link", "", "it must be a folder and no link"), ("full", "", "make room")]
    {
        let dumps = run.folder().join(dumps);
        let tiny = dumps.ends_with("full").then(|| TinyDisk::mount(&dumps));
        let daemon = Daemon::start_with(&run, &dumps, more);
        let (ended, out) = daemon.dump(&run, "refused");
        assert_refused(&ended, 1, part);
        assert!(!out.exists(), "nothing half-written");
        assert_eq!(fs::read_dir(&real).unwrap().count(), 0);
        assert_eq!(get(&daemon.address, "/healthz").unwrap().0, 200);
        assert!((daemon.outcome("failed") - 1.0).abs() < f64::EPSILON);
        daemon.stop();
        drop(tiny);
    }
}

/// A file system of one megabyte.
struct TinyDisk(PathBuf);

impl TinyDisk {
    fn mount(at: &Path) -> Self {
        fs::create_dir(at).unwrap();
        let status = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs"])
            .arg(at)
            .status();
        assert!(status.unwrap().success());
        Self(at.to_owned())
    }
}

impl Drop for TinyDisk {
    fn drop(&mut self) {
        // A mount that stays goes with the machine.
        drop(std::process::Command::new("umount").arg(&self.0).status());
    }
}

#[test]
fn clients_that_talk_nonsense_or_nothing_do_no_harm() {
    require!(E2e);
    let run = Run::new(1).unwrap().with_shim().unwrap();
    let daemon = Daemon::start(&run);
    assert_eq!(fs::metadata(&daemon.socket).unwrap().permissions().mode() & 0o777, 0o600);
    let silent: Vec<UnixStream> =
        (0..60).map(|_| UnixStream::connect(&daemon.socket).unwrap()).collect();
    for garbage in [&b"\0\0\0\0\n"[..], b"{\"ask\":", &vec![b'['; 100_000]] {
        let mut client = UnixStream::connect(&daemon.socket).unwrap();
        // It may be closed in the middle.
        let _closed = client.write_all(garbage);
    }
    let (out, _) = daemon.dumped(&run, "out");
    assert!(out.join("recording.warplens").is_file());
    drop(silent);
    // Whoever leaves before the answer does not keep it from others.
    let mut gone = UnixStream::connect(&daemon.socket).unwrap();
    gone.write_all(b"{\"ask\":\"dump\"}\n").unwrap();
    drop(gone);
    assert!(daemon.dumped(&run, "after").0.join("why.json").is_file());
    assert_eq!(get(&daemon.address, "/healthz").unwrap().0, 200);
    daemon.stop();
}
