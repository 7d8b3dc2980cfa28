//! The end of a daemon: in time, with what it has, whatever its workers and its disk do.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use warplens_tests::harness::agent::warplens;
use warplens_tests::harness::child::{Child, command, send};
use warplens_tests::harness::ring;
use warplens_tests::harness::server::Run;
use warplens_tests::harness::wait;
use warplens_tests::require;
use wire::shim::Level;

use super::LIMIT;
use super::daemon::{configuration, started};
use super::flight::armed;

/// `TimeoutStopSec` of the unit, and what a pod is given.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

fn configure(run: &Run, disk: &Path) -> PathBuf {
    let path = run.folder().join("warplens.toml");
    let flight = format!(
        "[flight]\nseconds = 5\nfree_bytes = 0\ndir = \"{}\"\n",
        disk.join("dumps").display()
    );
    fs::write(&path, configuration(disk, &flight)).unwrap();
    path
}

/// Ends the agent; what it said.
fn end(mut agent: Child) -> String {
    let begin = Instant::now();
    agent.signal(Signal::TERM);
    let ended = agent.wait(LIMIT).unwrap();
    assert!(begin.elapsed() < ENDS_WITHIN, "{:?}", begin.elapsed());
    println!("ended after {:?}", begin.elapsed());
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(!ended.stderr.contains("panicked"), "{ended:?}");
    ended.stderr
}

#[test]
fn a_stopped_worker_does_not_hold_it_up_and_a_crash_just_before_is_written() {
    require!(E2e);
    let run = Run::new(1).unwrap().with_shim().unwrap();
    let config = configure(&run, run.folder());
    let mut daemon = warplens(&["agent", "--config", config.to_str().unwrap()]).unwrap();
    daemon.env("WARPLENS_SOCKET", run.folder().join("agent.sock"));
    let (agent, _address) = started(&mut daemon, run.folder(), "agent");
    let mut stopped = run.work(&["--seconds", "0", "--rate", "1000"]).unwrap();
    armed(stopped.pid());
    let mut crashes = run.work(&["--seconds", "0", "--rate", "1000"]).unwrap();
    armed(crashes.pid());
    send(stopped.pid(), Signal::STOP);
    crashes.signal(Signal::ABORT);
    let _crashed = crashes.wait(LIMIT).unwrap();
    // Its end is heard of within a round.
    std::thread::sleep(Duration::from_millis(300));
    let said = end(agent);
    let dumps = fs::read_dir(run.folder().join("dumps")).unwrap().filter_map(Result::ok);
    let crash = dumps.filter(|dump| dump.path().join("report.json").exists()).count();
    assert_eq!(crash, 1, "{said}");
    let breaker = fs::read_to_string(run.folder().join("breaker.json")).unwrap();
    assert!(breaker.contains("boot_id"), "{breaker}");
    send(stopped.pid(), Signal::CONT);
    let dormant = || ring::look(stopped.pid()).filter(|view| view.level() == Level::Dormant as u32);
    assert!(wait::until(LIMIT, || dormant().map(|_view| ())).is_some());
    stopped.signal(Signal::TERM);
    assert_eq!(stopped.wait(LIMIT).unwrap().code, 0);
}

#[test]
fn a_full_disk_does_not_hold_it_up_and_is_said() {
    require!(E2e);
    let run = Run::new(1).unwrap().with_shim().unwrap();
    let disk = run.folder().join("disk");
    fs::create_dir(&disk).unwrap();
    let config = configure(&run, &disk);
    let agent = warplens(&["agent", "--config", config.to_str().unwrap()]).unwrap();
    let script = "mount -t tmpfs -o size=64k none \"$DISK\"; \
                  head -c 1M /dev/zero > \"$DISK/filler\" 2> /dev/null; exec \"$@\"";
    let mut shell = command("unshare");
    shell
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
        .arg(agent.get_program())
        .args(agent.get_args())
        .env("DISK", &disk)
        .env("WARPLENS_SOCKET", run.folder().join("agent.sock"));
    let (agent, _address) = started(&mut shell, run.folder(), "agent");
    let mut crashes = run.work(&["--seconds", "0", "--rate", "1000"]).unwrap();
    armed(crashes.pid());
    crashes.signal(Signal::ABORT);
    let _crashed = crashes.wait(LIMIT).unwrap();
    std::thread::sleep(Duration::from_millis(300));
    let said = end(agent).to_lowercase();
    assert!(said.contains("no space left"), "{said}");
    assert!(said.contains("crashes will be forgotten over a restart"), "{said}");
}
