//! Features of shims that are left off, as known faults have them: by the operator's word, since no simulated CUPTI has one.

use std::time::Duration;

use rustix::process::Signal;
use warplens_tests::harness::child::Child;
use warplens_tests::harness::ring;
use warplens_tests::harness::server::Run;
use warplens_tests::harness::wait;
use warplens_tests::require;
use wire::shim::{Level, OffReason};

use super::LIMIT;
use super::daemon::{configuration, get, start_configured, sum};
use super::flight::armed;

fn daemon(run: &Run, section: &str) -> (Child, String) {
    start_configured(run, &configuration(run.folder(), section), &[])
}

fn end(mut child: Child) {
    child.signal(Signal::TERM);
    let ended = child.wait(LIMIT).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
}

fn is_at(pid: u32, level: Level) {
    let at = || ring::look(pid).filter(|view| view.level() == level as u32);
    assert!(wait::until(LIMIT, || at().map(|_view| ())).is_some(), "never at {level:?}");
}

#[test]
fn a_shim_that_may_be_armed_once_is_not_armed_again() {
    require!(E2e);
    for (section, again, reason) in [
        ("", Level::Counting, OffReason::None),
        ("[shim]\noff = [\"rearming\"]\n", Level::Watching, OffReason::Withheld),
    ] {
        let run = Run::new(1).unwrap().with_shim().unwrap();
        let (agent, address) = daemon(&run, section);
        let worker = run.work(&["--seconds", "0", "--rate", "1000"]).unwrap();
        armed(worker.pid());
        let quirk = ["quirk=\"operator\"", "effect=\"rearming off\""];
        let (_, text) = get(&address, "/metrics").unwrap();
        let told = sum(&text, "warplens_quirk_workers", &quirk);
        assert!((told - f64::from(u8::from(!section.is_empty()))).abs() < 0.5, "{text}");
        agent.signal(Signal::USR2);
        is_at(worker.pid(), Level::Dormant);
        agent.signal(Signal::USR2);
        is_at(worker.pid(), again);
        // It stays there.
        std::thread::sleep(Duration::from_secs(2));
        let view = ring::look(worker.pid()).unwrap();
        assert_eq!((view.level(), view.off_reason()), (again as u32, Some(reason)), "{section}");
        end(worker);
        end(agent);
    }
}

#[test]
fn graphs_are_not_followed_where_that_is_left_off() {
    require!(E2e);
    for (section, followed) in [("", true), ("[shim]\noff = [\"graph-callbacks\"]\n", false)] {
        let run = Run::new(1).unwrap().with_shim().unwrap();
        let (agent, _address) = daemon(&run, section);
        let arguments =
            ["--seconds", "0", "--rate", "100", "--graphs", "50", "--capture-on-signal"];
        let worker = run.work(&arguments).unwrap();
        armed(worker.pid());
        let before = ring::look(worker.pid()).unwrap();
        assert_eq!(before.graph_tables().0, 0);
        worker.signal(Signal::USR1);
        let replays = |view: &ring::RingView| view.launches() > before.launches() + 200;
        let looked = wait::until(LIMIT, || ring::look(worker.pid()).filter(replays)).unwrap();
        assert_eq!(looked.graph_tables().0 > 0, followed, "{section}");
        assert_eq!(looked.level(), Level::Counting as u32);
        end(worker);
        end(agent);
    }
}
