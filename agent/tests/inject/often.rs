//! Entering a thousand times, and being killed while at it.

use std::io::BufRead as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use warplens::inject::{InjectError, Injected, rehearse};

use crate::{Program, compile};

const TIMES: usize = 1000;

/// Of agents that are killed.
const KILLED: u32 = 300;

const PATIENCE: Duration = Duration::from_secs(30);

/// A program with this source in C; `arguments` as it has them.
fn hurt(dir: &std::path::Path, arguments: &[&str]) -> Program {
    let program = compile(dir, "hurt", include_str!("hurt.c"), &[]);
    let program = Program::start(Command::new(program).args(arguments));
    running(program)
}

fn busy(dir: &std::path::Path) -> Program {
    let script = dir.join("busy.py");
    std::fs::write(&script, include_str!("busy.py")).unwrap();
    running(Program::start(Command::new("python3").arg(script)))
}

fn running(mut program: Program) -> Program {
    let begin = Instant::now();
    while program.counts()[0] == 0 {
        assert!(begin.elapsed() < PATIENCE, "it does not begin");
        std::thread::sleep(Duration::from_millis(10));
    }
    program
}

/// It runs on, saw nothing wrong, blocks no signal, and ends as it would have.
fn unharmed(mut program: Program) {
    let before = program.counts();
    // While a thread starts or forks, its C library blocks all.
    let begin = Instant::now();
    while warplens::proc::threads(program.pid()).into_iter().any(blocks) {
        assert!(begin.elapsed() < PATIENCE, "a thread blocks signals");
    }
    std::thread::sleep(Duration::from_millis(500));
    let after = program.counts();
    assert!(after[0] > before[0], "{before:?} {after:?}");
    assert_eq!(after[1], 0, "{after:?}");
    assert_eq!(program.end(), (Some(0), String::new()));
}

fn blocks(thread: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{thread}/status")).unwrap_or_default();
    let blocked = status.lines().find_map(|line| line.strip_prefix("SigBlk:"));
    blocked.is_some_and(|mask| mask.trim().bytes().any(|digit| digit != b'0'))
}

fn data_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmData:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A thousand visits; those that found no thread in time are counted and few.
fn visited(program: Program, what: &str) {
    let pid = program.pid();
    let mut stopped: Vec<Duration> = Vec::new();
    let mut none = 0;
    let once = |stopped: &mut Vec<Duration>| match rehearse(pid, |_tid| true) {
        Ok(Injected { stopped: longest, .. }) => {
            stopped.push(longest);
            0
        }
        Err(InjectError::NoSafeThread { .. }) => 1,
        Err(error) => panic!("{what}: {error}"),
    };
    for _ in 0..TIMES / 10 {
        none += once(&mut stopped);
    }
    let maps = || std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap().lines().count();
    let (data, mapped) = (data_kib(pid), maps());
    for _ in TIMES / 10..TIMES {
        none += once(&mut stopped);
    }
    stopped.sort_unstable();
    let at = |part: usize| stopped[stopped.len() * part / 100];
    println!(
        "{what}: {} visits, stopped for {:?} in the middle, {:?} at the 99th percentile, {:?} at most; {none} without a safe place; memory {data} -> {} KiB, {mapped} -> {} mappings",
        stopped.len(),
        at(50),
        at(99),
        stopped.last().unwrap(),
        data_kib(pid),
        maps(),
    );
    assert!(none <= TIMES / 100, "{none}");
    // Threads that come and go have stacks; a room for each visit would be 30 MiB.
    assert!(data_kib(pid) < data + (10 << 10), "{data}");
    unharmed(program);
}

#[test]
fn a_busy_python_worker_is_entered_a_thousand_times() {
    let dir = tempfile::tempdir().unwrap();
    visited(busy(dir.path()), "busy.py");
}

#[test]
fn a_program_under_a_hail_of_signals_is_entered_a_thousand_times() {
    let dir = tempfile::tempdir().unwrap();
    visited(hurt(dir.path(), &[]), "hurt");
}

#[test]
fn one_that_hears_every_signal_too() {
    let dir = tempfile::tempdir().unwrap();
    visited(hurt(dir.path(), &["all"]), "hurt all");
}

/// Agents that die at any instant of a visit.
fn outlives_agents(program: Program, what: &str) {
    let pid = program.pid().to_string();
    let rehearse = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_warplens"));
        command.args(["attach", "--rehearse", "--pid", &pid]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    let begin = Instant::now();
    let took = {
        assert!(rehearse().wait().unwrap().success());
        begin.elapsed()
    };
    let mut through = 0;
    for turn in 0..KILLED {
        let mut agent = rehearse();
        // From before its start to about its end, in no order.
        let share = (turn * 7919) % KILLED;
        std::thread::sleep(took.mul_f64(f64::from(share) / f64::from(KILLED)));
        agent.kill().unwrap();
        through += u32::from(agent.wait().unwrap().success());
    }
    println!(
        "{what}: {through} of {KILLED} agents were through before they were killed within {took:?}"
    );
    assert!(through < KILLED, "none was killed");
    assert!(rehearse().wait().unwrap().success(), "what they left keeps nobody out");
    unharmed(program);
}

#[test]
fn a_python_worker_outlives_agents_that_are_killed() {
    let dir = tempfile::tempdir().unwrap();
    outlives_agents(busy(dir.path()), "busy.py");
}

#[test]
fn a_program_under_a_hail_of_signals_outlives_agents_that_are_killed() {
    let dir = tempfile::tempdir().unwrap();
    outlives_agents(hurt(dir.path(), &[]), "hurt");
}

/// A thread that is looked at may have ended by the time it is to be stopped, which says nothing of its process.
#[test]
fn threads_that_end_while_they_are_looked_at_are_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "passing", include_str!("passing.c"), &[]);
    let program = running(Program::start(&mut Command::new(program)));
    for time in 0..TIMES {
        let entered = rehearse(program.pid(), |_thread| true);
        assert!(entered.is_ok(), "time {time}: {entered:?}");
    }
    unharmed(program);
}

/// What was found out of one program says nothing of the next one: a thread of that is sent nowhere.
#[test]
fn a_process_that_becomes_one_program_after_another_is_entered_as_what_it_is() {
    const TURNS: &str = "60";
    let dir = tempfile::tempdir().unwrap();
    let program = compile(dir.path(), "turning", include_str!("turning.c"), &[]);
    let mut program = Program::start(Command::new(program).arg(TURNS));
    let mut entered = 0;
    while program.child.try_wait().unwrap().is_none() {
        match rehearse(program.pid(), |_thread| true) {
            Ok(_) => entered += 1,
            Err(
                InjectError::Another { .. }
                | InjectError::NoSafeThread { .. }
                // That was its last turn.
                | InjectError::Process { .. }
                | InjectError::Ended { .. },
            ) => {}
            Err(error) => panic!("after {entered} times: {error:?}"),
        }
    }
    println!("entered {entered} times in {TURNS} turns");
    assert!(entered > 0);
    let mut said = String::new();
    program.stdout.read_line(&mut said).unwrap();
    assert_eq!((program.end(), said.as_str()), ((Some(0), String::new()), "through\n"));
}
