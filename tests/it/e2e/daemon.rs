//! The daemon beside a worker: readiness, metrics whose parts sum to wall time, a clean end.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use warplens_tests::harness::child::Child;
use warplens_tests::harness::daemon;
pub(crate) use warplens_tests::harness::daemon::{configuration, get, sum};
use warplens_tests::harness::ring;
use warplens_tests::harness::server::Run;
use warplens_tests::harness::wait;
use warplens_tests::require;
use wire::shim::Level;

const LIMIT: Duration = Duration::from_secs(20);

/// Starts the daemon; its address.
pub(super) fn start(run: &Run) -> (Child, String) {
    start_with(run, &[])
}

/// The same with environment variables.
pub(super) fn start_with(run: &Run, variables: &[(&str, &str)]) -> (Child, String) {
    start_configured(run, &configuration(run.folder(), ""), variables)
}

/// The same with this configuration.
pub(super) fn start_configured(
    run: &Run,
    text: &str,
    variables: &[(&str, &str)],
) -> (Child, String) {
    daemon::start(run.folder(), text, variables).unwrap()
}

/// Starts a daemon; its address, once it says so.
pub(crate) fn started(command: &mut Command, folder: &Path, name: &str) -> (Child, String) {
    daemon::started(command, folder, name).unwrap()
}

#[test]
fn the_daemon_counts_a_worker_and_its_parts_sum_to_wall_time() {
    require!(E2e);
    let run = Run::new(1).unwrap().with_shim().unwrap();
    let (mut agent, address) = start(&run);
    let mut worker = run.work(&["--seconds", "0", "--rate", "2000", "--graphs", "20"]).unwrap();
    let pid = worker.pid();
    let armed = || ring::look(pid).filter(|view| view.level() == Level::Counting as u32);
    wait::until(LIMIT, || armed().map(|_view| ())).unwrap();
    assert_eq!(get(&address, "/healthz").unwrap().0, 200);
    // The worker answers while the first look at the node goes on.
    let ready = || get(&address, "/readyz").filter(|(code, _)| *code == 200);
    assert!(wait::until(LIMIT, || ready().map(|_answer| ())).is_some());
    assert_eq!(get(&address, "/nothing").unwrap().0, 404);

    std::thread::sleep(Duration::from_secs(3));
    let (code, before) = get(&address, "/metrics").unwrap();
    assert_eq!(code, 200);
    std::thread::sleep(Duration::from_secs(4));
    let (_, after) = get(&address, "/metrics").unwrap();
    let grown =
        |metric: &str, labels: &[&str]| sum(&after, metric, labels) - sum(&before, metric, labels);
    let wall = grown("warplens_gpu_seconds_total", &["UUID=\"SIM-"]);
    // Scrapes see the watermark, a mark of 100 ms and a graph's settling behind the clock.
    assert!((3.0..5.5).contains(&wall), "classes, idle and unobserved grew by {wall} s in 4 s");
    let attention = grown("warplens_gpu_seconds_total", &["class=\"attention\""]);
    assert!(attention > 0.05, "attention grew by {attention} s\n{after}");
    let unobserved = grown("warplens_gpu_seconds_total", &["class=\"unobserved\""]);
    assert!(unobserved < 0.01, "unobserved grew by {unobserved} s");
    assert!(grown("warplens_records_total", &["outcome=\"classified\""]) > 4_000.0, "{after}");
    assert!(after.contains("role=\"process\""), "{after}");
    assert!(after.ends_with("# EOF\n"), "OpenMetrics text ends with its mark");

    agent.signal(Signal::TERM);
    let ended = agent.wait(LIMIT).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    let dormant = || ring::look(pid).filter(|view| view.level() == Level::Dormant as u32);
    wait::until(Duration::from_secs(5), || dormant().map(|_view| ())).unwrap();
    worker.signal(Signal::TERM);
    assert_eq!(worker.wait(LIMIT).unwrap().code, 0);
}
