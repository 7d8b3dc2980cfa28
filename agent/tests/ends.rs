//! How commands end when they are told to: signals, connections that stay open.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking, as tests do"
)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Longer than anything here takes; a command that is still there has hung.
const LIMIT: Duration = Duration::from_secs(30);

fn start(arguments: &[&str]) -> Child {
    let program = env!("CARGO_BIN_EXE_warplens");
    Command::new(program)
        .args(arguments)
        // Nothing here initialises CUDA: any file will do.
        .env("WARPLENS_SHIM", program)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn tell(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

/// The exit code, or `None` for an end by a signal.
fn ended(child: &mut Child) -> Option<i32> {
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if begin.elapsed() > LIMIT {
            child.kill().unwrap();
            panic!("still there after {LIMIT:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn await_line(reader: impl Read, part: &str) -> String {
    let mut lines = BufReader::new(reader).lines().map_while(Result::ok);
    lines.find(|line| line.contains(part)).unwrap_or_else(|| panic!("no line with `{part}`"))
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Starts `run` on a shell script that prints `up` when it is there.
fn run(out: &Path, script: &str) -> Child {
    let mut child = start(&["run", "-o", out.to_str().unwrap(), "--", "sh", "-c", script]);
    assert_eq!(await_line(child.stdout.as_mut().unwrap(), "up"), "up");
    child
}

#[test]
fn a_hang_up_keeps_what_was_seen_and_leaves_no_child() {
    for signal in [Signal::HUP, Signal::TERM, Signal::INT] {
        let place = tempfile::tempdir().unwrap();
        let pid = place.path().join("pid");
        let script = format!("echo $$ > {}; echo up; exec sleep 1000", pid.display());
        let mut child = run(&place.path().join("out"), &script);
        tell(&child, signal);
        assert_eq!(ended(&mut child), Some(0), "{signal:?}");
        assert_eq!(names(place.path()), ["out", "pid"], "{signal:?}: nothing unfinished");
        assert!(names(&place.path().join("out")).contains(&"report.json".to_owned()));
        let sleep = fs::read_to_string(&pid).unwrap().trim().parse().unwrap();
        assert!(!warplens::proc::alive(sleep), "{signal:?}: the command is left behind");
    }
}

#[test]
fn a_command_that_ignores_being_told_is_killed_by_the_second_signal() {
    let place = tempfile::tempdir().unwrap();
    let out = place.path().join("out");
    let mut child = run(&out, "trap '' TERM; echo up; while :; do sleep 0.1; done");
    tell(&child, Signal::TERM);
    await_line(child.stderr.as_mut().unwrap(), "waiting for `sh` to end");
    assert!(out.join("report.json").is_file(), "written before the wait");
    tell(&child, Signal::TERM);
    assert_eq!(ended(&mut child), Some(0));
}

#[test]
fn the_daemon_ends_in_spite_of_open_connections() {
    let mut child = start(&["agent", "--listen", "127.0.0.1:0"]);
    let serving = await_line(child.stderr.as_mut().unwrap(), "serving http://");
    let address = serving.split("http://").nth(1).unwrap().split('/').next().unwrap();
    let mut kept = TcpStream::connect(address).unwrap();
    kept.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    assert!(kept.read(&mut [0; 512]).unwrap() > 0);
    let mut half = TcpStream::connect(address).unwrap();
    half.write_all(b"GET /metrics HTTP/1.1\r\nHo").unwrap();
    tell(&child, Signal::TERM);
    assert_eq!(ended(&mut child), Some(0));
}

#[test]
fn a_thread_is_not_taken_for_a_process() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        sender.send(rustix::thread::gettid().as_raw_nonzero().to_string()).unwrap();
        std::thread::park();
    });
    let task = receiver.recv().unwrap();
    let mut child = start(&["record", "--pid", &task, "-d", "1s"]);
    assert_eq!(ended(&mut child), Some(1));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let own = std::process::id();
    assert_eq!(
        said,
        format!("warplens: record: {task} is a thread of process {own}: use `--pid {own}`\n")
    );
    thread.thread().unpark();
    thread.join().unwrap();
}
