//! What servers say of themselves reaches the daemon: tokens and requests of each, and only of those that can be asked.

use std::time::Duration;

use rustix::process::Signal;
use warplens_tests::harness::server::Run;
use warplens_tests::harness::wait;
use warplens_tests::require;

use super::daemon::{configuration, get, start_configured, sum};
use super::{fresh_seed, serve};

const LIMIT: Duration = Duration::from_secs(40);

/// What the simulated server is asked to be: small, and one that answers.
const SERVER: &[&str] =
    &["--rate", "4000", "--single-rate", "1000", "--metrics", "--port", "0", "--gpus", "1"];

#[test]
fn how_many_tokens_a_server_makes_is_known() {
    require!(E2e);
    let run = Run::new(1).unwrap().with_shim().unwrap();
    let text = configuration(run.folder(), "[collect]\nseconds = 1\n");
    let (mut agent, address) = start_configured(&run, &text, &[]);
    let mut server = serve(&run, fresh_seed(), SERVER);
    let figure = |name: &str, labels: &[&str]| {
        get(&address, "/metrics").map_or(0.0, |(_, text)| sum(&text, name, labels))
    };
    let said = |name: &str, labels: &[&str], least: f64| {
        let seen = wait::until(LIMIT, || (figure(name, labels) >= least).then_some(()));
        assert!(seen.is_some(), "{name} {labels:?}: {}\n{}", figure(name, labels), agent.stderr());
    };
    said("warplens_scrapes_total", &["outcome=\"read\""], 5.0);
    let samples = || {
        let (_, text) = get(&address, "/metrics")?;
        let line = text.lines().find(|line| line.starts_with("warplens_pace_samples_total "))?;
        line.rsplit(' ').next()?.parse::<f64>().ok().filter(|&samples| samples >= 4.0)
    };
    assert!(wait::until(LIMIT, samples).is_some(), "{}", agent.stderr());
    said("warplens_collector_success", &["collector=\"vllm\""], 1.0);
    assert!(!agent.stderr().contains("panicked"), "{}", agent.stderr());
    // The workers go on without the frontend for a moment, and whoever does not answer is said once.
    assert_eq!(server.stop().unwrap().code, 0);
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait(LIMIT).unwrap().code, 0);
}

#[test]
fn a_server_that_tells_nothing_is_said_once() {
    require!(E2e);
    let run = Run::new(1).unwrap().with_shim().unwrap();
    let text = configuration(run.folder(), "[collect]\nseconds = 1\n");
    let (mut agent, _address) = start_configured(&run, &text, &[]);
    // It shows a port on which it does not listen.
    let mut server =
        serve(&run, fresh_seed(), &["--rate", "2000", "--single-rate", "500", "--gpus", "1"]);
    let told = "tells no figures, so its pace is not known: none of its processes listens on its port 8000";
    let count = || agent.stderr().matches(told).count();
    assert!(wait::until(LIMIT, || (count() > 0).then_some(())).is_some(), "{}", agent.stderr());
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(count(), 1, "{}", agent.stderr());
    assert_eq!(server.stop().unwrap().code, 0);
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait(LIMIT).unwrap().code, 0);
}
