//! Shims that are sent to sleep, one at a time and all together, and what then keeps its hands off.

use std::fs;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use warplens_tests::harness::agent::{assert_refused, warplens};
use warplens_tests::harness::child::{Child, Ended};
use warplens_tests::harness::ring;
use warplens_tests::harness::server::Run;
use warplens_tests::harness::wait;
use warplens_tests::require;
use wire::shim::Level;

use super::daemon::{self, get};

const LIMIT: Duration = Duration::from_secs(20);

/// A run whose commands look at a switch of their own.
struct Switched {
    run: Run,
    file: String,
}

impl Switched {
    fn new() -> Self {
        let run = Run::new(1).unwrap().with_shim().unwrap();
        let file = run.folder().join("switch").join("off").to_str().unwrap().to_owned();
        Self { run, file }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = warplens(arguments).unwrap();
        command.env("WARPLENS_SWITCH", &self.file);
        command
    }

    fn warp(&self, arguments: &[&str], name: &str) -> Ended {
        Child::run(&mut self.command(arguments), self.run.folder(), name, LIMIT).unwrap()
    }

    fn detach(&self, arguments: &[&str], name: &str) -> (Ended, Vec<Value>) {
        let ended = self.warp(&[&["detach", "--json"], arguments].concat(), name);
        let document: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!(document["schema"], "warplens.detach/v1");
        (ended, document["processes"].as_array().unwrap().clone())
    }

    fn worker(&self) -> Child {
        self.run.work(&["--seconds", "0", "--rate", "500"]).unwrap()
    }
}

fn reaches(pid: u32, level: Level) -> bool {
    let at = || ring::look(pid).filter(|view| view.level() == level as u32);
    wait::until(LIMIT, || at().map(|_view| ())).is_some()
}

fn end(mut worker: Child) {
    worker.signal(Signal::TERM);
    let ended = worker.wait(LIMIT).unwrap();
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
}

#[test]
fn one_process_is_sent_to_sleep_unless_an_agent_holds_it() {
    require!(E2e);
    let switched = Switched::new();
    let worker = switched.worker();
    let pid = worker.pid().to_string();
    assert!(reaches(worker.pid(), Level::Watching), "a shim watches for a while by itself");
    let (ended, rows) = switched.detach(&["--pid", &pid], "alone");
    assert_eq!((ended.code, &rows[0]["detached"]), (0, &Value::Bool(true)), "{ended:?}");
    assert_eq!(ring::look(worker.pid()).unwrap().level(), Level::Dormant as u32);

    let out = switched.run.folder().join("out");
    let record = ["record", "--pid", &pid, "-d", "20s", "-o", out.to_str().unwrap()];
    let mut record = Child::start(&mut switched.command(&record), switched.run.folder(), "record");
    let record = record.as_mut().unwrap();
    assert!(reaches(worker.pid(), Level::Stacks));
    let (ended, rows) = switched.detach(&["--pid", &format!("{pid},4194305")], "held");
    assert_eq!(ended.code, 1, "{ended:?}");
    let reason = |index: usize| rows[index]["reason"].as_str().unwrap().to_owned();
    assert!(reason(0).contains(&format!("PID {}", record.pid())), "{}", reason(0));
    assert!(reason(1).contains("no such process"), "{}", reason(1));
    assert_eq!(ring::look(worker.pid()).unwrap().level(), Level::Stacks as u32);

    // Everything off: the recording ends with what it has.
    let (ended, rows) = switched.detach(&["--all", "--reason", "an upgrade"], "all");
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(rows.iter().any(|row| row["pid"] == worker.pid() && row["detached"] == true));
    let ended = record.wait(LIMIT).unwrap();
    assert_refused(&ended, 1, "switched off");
    let report = fs::read_to_string(out.join("report.md")).unwrap();
    assert!(report.contains("(an upgrade)"), "{report}");
    for command in [
        &["record", "--pid", &pid, "-d", "1s", "-o", "nowhere"][..],
        &["attach", "--pid", &pid],
        &["attach", "--rehearse", "--pid", &pid],
    ] {
        let ended = switched.warp(command, "refused");
        assert_refused(&ended, 1, "an upgrade");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    }
    // What we start for others starts all the same, and its exit code is its own.
    let ended =
        switched.warp(&["run", "--", "sh", "-c", "echo $CUDA_INJECTION64_PATH; exit 3"], "run");
    assert_eq!((ended.code, ended.stdout.as_str()), (1, "\n"), "{ended:?}");
    assert!(ended.stderr.contains("exited with code 3"), "{ended:?}");
    end(worker);
}

#[test]
fn a_daemon_lets_go_while_the_switch_is_off() {
    require!(E2e);
    let switched = Switched::new();
    let (mut agent, address) =
        daemon::start_with(&switched.run, &[("WARPLENS_SWITCH", &switched.file)]);
    let worker = switched.worker();
    assert!(reaches(worker.pid(), Level::Counting));
    let total = || {
        let (_, text) = get(&address, "/metrics").unwrap();
        daemon::sum(&text, "warplens_records_total", &["outcome=\"classified\""])
    };
    assert!(wait::until(LIMIT, || (total() > 100.0).then_some(())).is_some());
    let (ended, rows) = switched.detach(&["--all"], "off");
    assert_eq!(ended.code, 0, "{ended:?} {}", agent.stderr());
    assert!(rows.iter().any(|row| row["pid"] == worker.pid()));
    // It stays asleep, is not met again, and nothing that was counted is gone.
    let kept = total();
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(ring::look(worker.pid()).unwrap().level(), Level::Dormant as u32);
    assert!((total() - kept).abs() < 0.5 && kept > 100.0);
    let another = switched.worker();
    std::thread::sleep(Duration::from_secs(3));
    assert!(ring::look(another.pid()).unwrap().level() <= Level::Watching as u32);

    assert_eq!(switched.warp(&["detach", "--lift"], "lift").code, 0);
    assert!(reaches(worker.pid(), Level::Counting) && reaches(another.pid(), Level::Counting));
    assert!(wait::until(LIMIT, || (total() > kept + 100.0).then_some(())).is_some());
    agent.signal(Signal::TERM);
    let ended = agent.wait(LIMIT).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stderr.contains("switched off on this machine"), "{ended:?}");
    end(worker);
    end(another);
}

#[test]
fn a_signal_switches_one_daemon_off_and_on_again() {
    require!(E2e);
    let switched = Switched::new();
    let (mut agent, _address) =
        daemon::start_with(&switched.run, &[("WARPLENS_SWITCH", &switched.file)]);
    let worker = switched.worker();
    assert!(reaches(worker.pid(), Level::Counting));
    agent.signal(Signal::USR2);
    assert!(reaches(worker.pid(), Level::Dormant));
    std::thread::sleep(Duration::from_secs(2));
    assert!(reaches(worker.pid(), Level::Dormant), "it stays so");
    agent.signal(Signal::USR2);
    assert!(reaches(worker.pid(), Level::Counting));
    agent.signal(Signal::TERM);
    let ended = agent.wait(LIMIT).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.stderr.contains("switched off by SIGUSR2"), "{ended:?}");
    assert!(ended.stderr.contains("switched on again"), "{ended:?}");
    end(worker);
}
