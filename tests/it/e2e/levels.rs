//! Who decides on the levels of a daemon's workers: what it may, what it costs, and what crashed.

use std::time::Duration;

use rustix::process::Signal;
use warplens_tests::harness::artefacts;
use warplens_tests::harness::child::Child;
use warplens_tests::harness::ring;
use warplens_tests::harness::server::Run;
use warplens_tests::harness::wait;
use warplens_tests::require;
use wire::shim::Level;

use super::daemon::{configuration, get, start_configured, sum};

const LIMIT: Duration = Duration::from_secs(40);

fn run() -> Run {
    Run::new(1).unwrap().with_shim().unwrap()
}

fn daemon(run: &Run, more: &str) -> (Child, String) {
    start_configured(run, &configuration(run.folder(), more), &[])
}

fn worker(run: &Run) -> Child {
    run.work(&["--seconds", "0", "--rate", "2000"]).unwrap()
}

fn metrics(address: &str) -> String {
    get(address, "/metrics").unwrap().1
}

/// Waits until the daemon says this of the worker: its level and what binds it.
fn says(address: &str, worker: &Child, level: Level, reason: &str) {
    let pid = format!("pid=\"{}\"", worker.pid());
    let reason = format!("reason=\"{reason}\"");
    let said = wait::until(LIMIT, || {
        let text = metrics(address);
        let known = sum(&text, "warplens_worker_level_reason", &[&pid, &reason]) > 0.0;
        let levels = sum(&text, "warplens_worker_level", &[&pid]);
        (known && (levels - f64::from(level as u32)).abs() < 0.5).then_some(())
    });
    assert!(said.is_some(), "{level:?}, {reason}:\n{}", metrics(address));
}

fn is_at(worker: &Child, level: Level) {
    let at = || ring::look(worker.pid()).filter(|view| view.level() == level as u32);
    let reached = wait::until(LIMIT, || at().map(|_view| ()));
    assert!(reached.is_some(), "{:?}", ring::look(worker.pid()).map(|view| view.level()));
}

fn end(mut child: Child) {
    child.signal(Signal::TERM);
    assert_eq!(child.wait(LIMIT).unwrap().code, 0);
}

#[test]
fn a_worker_is_counted_as_far_as_the_operator_allows() {
    require!(E2e);
    for (more, level, reason) in [
        ("", Level::Counting, "maximum"),
        ("maximum = \"watching\"", Level::Watching, "maximum"),
        ("percent = 0", Level::Dormant, "outside_fleet"),
        ("deny = [{ title = \"*cuda-worker*\" }]", Level::Dormant, "denied"),
        ("deny = [{ model = \"any\" }]", Level::Dormant, "denied_unread"),
    ] {
        let run = run();
        let (agent, address) = daemon(&run, more);
        let worker = worker(&run);
        says(&address, &worker, level, reason);
        is_at(&worker, level);
        end(worker);
        end(agent);
    }
}

#[test]
fn what_observing_costs_is_told() {
    require!(E2e);
    let run = run();
    let (agent, address) = daemon(&run, "");
    let worker = worker(&run);
    says(&address, &worker, Level::Counting, "maximum");
    let cost = |text: &str, place| sum(text, "warplens_cost_seconds_total", &[place]);
    let before = metrics(&address);
    std::thread::sleep(Duration::from_secs(5));
    let after = metrics(&address);
    for place in ["where=\"callbacks\"", "where=\"shim\"", "where=\"agent\""] {
        let spent = cost(&after, place) - cost(&before, place);
        // 2 000 launches a second, each a fraction of a microsecond; nothing of it near a whole processor.
        assert!(spent > 1e-5 && spent < 2.0, "{place} {spent} s in 5 s");
    }
    end(worker);
    end(agent);
}

#[test]
fn a_worker_that_may_cost_nothing_is_let_go() {
    require!(E2e);
    let run = run();
    let (agent, address) = daemon(&run, "[levels.budget]\ncallback_permille = 0\n");
    let worker = worker(&run);
    says(&address, &worker, Level::Counting, "maximum");
    // After the first window of ten seconds, far above: the rungs between are left out.
    says(&address, &worker, Level::Watching, "budget");
    is_at(&worker, Level::Watching);
    end(worker);
    end(agent);
}

#[test]
fn a_crash_soon_after_a_rise_is_remembered() {
    require!(E2e);
    let run = run();
    let dumps = run.folder().join("dumps");
    let flight = format!("[flight]\ndir = {:?}\nfree_bytes = 0\n", dumps.display().to_string());
    let (agent, address) = daemon(&run, &flight);
    let mut crashing = worker(&run);
    says(&address, &crashing, Level::Counting, "maximum");
    crashing.signal(Signal::ABORT);
    let _ended = crashing.wait(LIMIT).unwrap();
    let open = |address: &str| sum(&metrics(address), "warplens_breaker_open", &[]) > 0.0;
    assert!(wait::until(LIMIT, || open(&address).then_some(())).is_some(), "{}", agent.stderr());
    let told = "the crash breaker opened: a worker died by signal 6";
    assert!(agent.stderr().contains(told), "{}", agent.stderr());
    let next = worker(&run);
    says(&address, &next, Level::Watching, "tripped");
    is_at(&next, Level::Watching);
    // The evidence is kept: what was seen until then.
    let kept = wait::until(LIMIT, || {
        let mut folders = std::fs::read_dir(&dumps).ok()?.filter_map(Result::ok);
        folders.find(|folder| folder.path().join("report.json").exists())
    });
    assert!(kept.is_some(), "{}", agent.stderr());
    end(agent);

    // The one after it remembers.
    let (agent, address) = daemon(&run, &flight);
    says(&address, &next, Level::Watching, "tripped");
    end(next);
    end(agent);
}

/// Both see both devices; one is not counted, and only the device it opened is not known for that.
#[test]
fn a_device_that_only_an_uncounted_worker_uses_is_not_called_idle() {
    require!(E2e);
    let run = Run::new(2).unwrap().with_shim().unwrap();
    let (agent, address) = daemon(&run, "deny = [{ title = \"*left-alone*\" }]");
    let counted = worker(&run);
    let program = run.folder().join("left-alone");
    std::fs::copy(artefacts::cuda_worker().unwrap(), &program).unwrap();
    let mut command = run.command(&program).unwrap();
    command.args(["--seconds", "0", "--rate", "2000", "--device", "1"]);
    let left_alone = Child::start(&mut command, run.folder(), "left-alone").unwrap();
    says(&address, &counted, Level::Counting, "maximum");
    says(&address, &left_alone, Level::Dormant, "denied");
    std::thread::sleep(Duration::from_secs(2));
    let seconds = |text: &str, gpu: &str, class: &str| {
        let labels = [format!("gpu=\"{gpu}\""), format!("class=\"{class}\"")];
        sum(text, "warplens_gpu_seconds_total", &[&labels[0], &labels[1]])
    };
    let before = metrics(&address);
    std::thread::sleep(Duration::from_secs(3));
    let after = metrics(&address);
    let passed = |gpu, class| seconds(&after, gpu, class) - seconds(&before, gpu, class);
    assert!(passed("0", "gemm") > 0.0 && passed("0", "idle") > 1.0, "{after}");
    assert!(passed("0", "unobserved") < 1e-9, "{after}");
    assert!(passed("1", "idle") < 1e-9 && passed("1", "unobserved") > 2.0, "{after}");
    end(counted);
    end(left_alone);
    end(agent);
}
