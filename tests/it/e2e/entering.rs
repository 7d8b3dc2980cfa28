//! Workers that were started without the shim, under a daemon that brings it to them by policy.

use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use warplens_tests::harness::child::Child;
use warplens_tests::harness::ring;
use warplens_tests::harness::server::{Run, Server};
use warplens_tests::harness::wait;
use warplens_tests::require;

use super::daemon::{configuration, get, start_configured, sum};
use super::flight::{armed, dumped_by};
use super::{LIMIT, assert_exact, fresh_seed, judged, report, serve};

/// Long enough for several looks of the daemon.
const LEFT_ALONE: Duration = Duration::from_secs(6);

/// A daemon that enters at once. `levels` and `attach` follow in their sections.
fn daemon(run: &Run, levels: &str, attach: &str) -> (Child, String) {
    let text = format!(
        "{}\n[attach]\nenabled = true\nmin_age_seconds = 0\nrest_seconds = 0\ncanary_seconds = 0\n{attach}\n\
         [flight]\nseconds = 5\nfree_bytes = 0\ndir = \"{}\"\n",
        configuration(run.folder(), levels),
        run.folder().join("dumps").display()
    );
    let switch = run.folder().join("off").display().to_string();
    start_configured(run, &text, &[("WARPLENS_SWITCH", &switch)])
}

fn outcomes(address: &str, outcome: &str) -> f64 {
    let (_, text) = get(address, "/metrics").unwrap();
    sum(&text, "warplens_attach_total", &[&format!("outcome=\"{outcome}\"")])
}

fn has_shim(pid: u32) -> bool {
    ring::look(pid).is_some()
}

fn stop(mut agent: Child) {
    agent.signal(Signal::TERM);
    let ended = agent.wait(LIMIT).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
}

fn ends_unchanged(mut server: Server) {
    let stopped = server.stop().unwrap();
    assert_eq!((stopped.code, stopped.stderr.as_str()), (0, ""), "{stopped:?}");
}

fn start(run: &Run) -> (Server, u32, u32) {
    let server = serve(run, fresh_seed(), &["--rate", "6000", "--single-rate", "1500"]);
    let (zero, one) = (server.workers[0].pid, server.workers[1].pid);
    (server, zero, one)
}

#[test]
fn workers_are_entered_and_counted_exactly_from_then_on() {
    require!(E2e);
    let run = Run::new(2).unwrap();
    let (server, zero, one) = start(&run);
    assert!(!has_shim(zero) && !has_shim(one));
    let (agent, address) = daemon(&run, "", "");
    armed(zero);
    armed(one);
    let both = || (outcomes(&address, "attached") > 1.5).then_some(());
    assert!(wait::until(LIMIT, both).is_some(), "{}", agent.stderr());
    // What the recorder keeps then begins after both were: while only one was, devices that it sees are called idle.
    std::thread::sleep(Duration::from_secs(8));
    let out = dumped_by(&run, &run.folder().join("agent.sock"), "dump");
    let said = agent.stderr();
    stop(agent);
    ends_unchanged(server);
    assert_exact(&judged(&run, &out), "entered by policy");
    for device in report(&out)["devices"].as_array().unwrap() {
        assert!(device["kernels"].as_u64().unwrap() > 1_000, "{device}");
    }
    for pid in [zero, one] {
        let once = said.matches(&format!("process {pid} has the shim from here on")).count();
        assert_eq!(once, 1, "{said}");
    }
}

#[test]
fn whom_policy_denies_is_left_alone() {
    require!(E2e);
    for (levels, attach) in [
        ("deny = [{ title = \"*Worker_TP1\" }]", ""),
        ("", "match = [{ title = \"*Worker_TP0\" }]"),
    ] {
        let run = Run::new(2).unwrap();
        let (server, zero, one) = start(&run);
        let (agent, address) = daemon(&run, levels, attach);
        armed(zero);
        std::thread::sleep(LEFT_ALONE);
        assert!(!has_shim(one), "{levels}{attach}: {}", agent.stderr());
        assert!((outcomes(&address, "attached") - 1.0).abs() < 0.5, "{}", agent.stderr());
        stop(agent);
        ends_unchanged(server);
    }
}

#[test]
fn nobody_is_entered_while_it_is_switched_off() {
    require!(E2e);
    let run = Run::new(2).unwrap();
    fs::write(run.folder().join("off"), "").unwrap();
    let (server, zero, one) = start(&run);
    let (agent, address) = daemon(&run, "", "");
    std::thread::sleep(LEFT_ALONE);
    assert!(!has_shim(zero) && !has_shim(one), "{}", agent.stderr());
    assert!(outcomes(&address, "").abs() < 0.5, "nothing was tried");
    fs::remove_file(run.folder().join("off")).unwrap();
    armed(zero);
    armed(one);
    stop(agent);
    ends_unchanged(server);
}

#[test]
fn a_daemon_that_is_killed_meanwhile_leaves_the_process_as_it_was() {
    require!(E2e);
    for wait_ms in [0, 150, 400] {
        let run = Run::new(2).unwrap();
        let (server, zero, one) = start(&run);
        let (agent, _address) = daemon(&run, "", "");
        std::thread::sleep(Duration::from_millis(wait_ms));
        agent.signal(Signal::KILL);
        drop(agent);
        // A try under way ends by itself, and the next daemon finds what it left.
        let (agent, _address) = daemon(&run, "", "");
        armed(zero);
        armed(one);
        stop(agent);
        ends_unchanged(server);
    }
}
