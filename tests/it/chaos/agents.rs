//! What happens to agents: killed, stopped, replaced by another build, out of disk.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use warplens_tests::harness::agent::warplens;
use warplens_tests::harness::artefacts;
use warplens_tests::harness::child::{Child, command};
use warplens_tests::harness::dice::{self, Dice};
use warplens_tests::harness::wait;
use warplens_tests::require;
use wire::shim::Level;

use super::{CALM, END_LIMIT, Host, LIMIT, assert_nothing_written, shimmed};
use crate::e2e::daemon::{configuration, get, started, sum};

#[test]
fn agents_are_killed_at_any_instant() {
    require!(Chaos);
    let mut dice = Dice::new(dice::seed());
    let rounds = dice::rounds(5);
    let mut host = Host::start(shimmed(), &CALM);
    for round in 0..rounds {
        let name = format!("killed{round}");
        let (agent, out) = host.record(60, &name);
        // Before it is there, while it attaches, while it reads.
        std::thread::sleep(dice.millis(2500));
        agent.signal(Signal::KILL);
        drop(agent);
        assert_nothing_written(&out, &name);
    }
    host.assert_next_is_exact("after", "after agents were killed");
    host.finish("agents killed");
}

#[test]
fn agents_are_stopped_and_go_on() {
    require!(Chaos);
    let mut dice = Dice::new(dice::seed());
    for round in 0..dice::rounds(1) {
        let mut host = Host::start(shimmed(), &CALM);
        let (mut agent, out) = host.record(9, "stopped");
        host.wait_until_armed(&agent);
        // Shorter than the shim waits, and longer.
        for longest in [800, 5500] {
            std::thread::sleep(dice.millis(600));
            agent.signal(Signal::STOP);
            std::thread::sleep(dice.millis(longest));
            agent.signal(Signal::CONT);
        }
        let what = format!("round {round} of stopped agents");
        let ended = agent.wait(END_LIMIT).unwrap();
        assert_eq!(ended.code, 0, "{what}: {ended:?}");
        host.assert_honest(&out, &what);
        host.finish(&what);
    }
}

/// The agent of another build: `WARPLENS_OTHER_BIN`, else a copy of this one.
fn other_build(host: &Host) -> PathBuf {
    let copy = host.run.folder().join("other-warplens");
    let named = std::env::var_os("WARPLENS_OTHER_BIN").map(PathBuf::from);
    fs::copy(named.unwrap_or_else(|| artefacts::agent().unwrap()), &copy).unwrap();
    copy
}

/// Starts a daemon; its address.
fn daemon(mut command: Command, host: &Host, name: &str) -> (Child, String) {
    let config = host.run.folder().join("warplens.toml");
    fs::write(&config, configuration(host.run.folder(), "")).unwrap();
    command.args(["agent", "--config", config.to_str().unwrap()]);
    started(&mut command, host.run.folder(), name)
}

#[test]
fn daemons_of_another_build_take_over_while_the_load_runs() {
    require!(Chaos);
    let mut dice = Dice::new(dice::seed());
    let rounds = dice::rounds(3);
    let mut host = Host::start(shimmed(), &CALM);
    let other = other_build(&host);
    let builds = [artefacts::agent().unwrap(), other];
    let (mut present, mut address) = daemon(command(&builds[0]), &host, "daemon0");
    host.wait_until_armed(&present);
    let mut total = 0.0;
    for round in 1..=rounds as usize {
        let name = format!("daemon{round}");
        std::thread::sleep(dice.millis(1500));
        // The next one is there before the present one goes, or after; and that goes in order, or not.
        let early = dice.below(2) == 0;
        let orderly = dice.below(2) == 0;
        let start = || daemon(command(&builds[round % 2]), &host, &name);
        let next = early.then(start);
        std::thread::sleep(dice.millis(700));
        let records = |address: &str| {
            get(address, "/metrics")
                .map_or(0.0, |(_, text)| sum(&text, "warplens_records_total", &["classified\""]))
        };
        total += records(&address);
        present.signal(if orderly { Signal::TERM } else { Signal::KILL });
        let ended = present.wait(END_LIMIT).unwrap();
        assert_eq!(ended.code, if orderly { 0 } else { -9 }, "{name}: {ended:?}");
        (present, address) = next.unwrap_or_else(start);
        let seen = wait::until(LIMIT, || (records(&address) > 300.0).then_some(()));
        let what = format!("{name}, early: {early}, orderly: {orderly}");
        assert!(
            seen.is_some(),
            "{what}: it saw no records: {} {:?}",
            present.stderr(),
            host.level()
        );
        let (_, text) = get(&address, "/metrics").unwrap();
        let lost = sum(&text, "warplens_records_total", &["outcome=\"lost\""]);
        assert!(lost < 1.0, "{what}: {lost} lost");
    }
    present.signal(Signal::TERM);
    assert_eq!(present.wait(END_LIMIT).unwrap().code, 0);
    host.finish("daemons replaced");
    // No record was counted twice.
    let truth = sim_truth::Truth::read(&host.run.truth().join(format!("{}.truth", host.pid())));
    let worked = u32::try_from(truth.unwrap().works.len()).unwrap();
    assert!(total <= f64::from(worked), "{total} records of {worked} pieces of work");
}

#[test]
fn the_disk_is_full_when_a_recording_is_written() {
    require!(Chaos);
    let mut dice = Dice::new(dice::seed());
    let rounds = dice::rounds(2);
    let mut host = Host::start(shimmed(), &CALM);
    for round in 0..rounds {
        // Room for nothing, for the beginning, or for nearly all of it.
        let kilobytes = [4, 40, 400][dice.below(3)] + dice.below(40);
        let what = format!("round {round}: a disk of {kilobytes} KiB");
        let folder = host.run.folder().join(format!("disk{round}"));
        fs::create_dir(&folder).unwrap();
        let script = "mount -t tmpfs -o size=\"$SIZE\" none \"$DISK\" && exec \"$@\"";
        let out = folder.join("out");
        let agent =
            warplens(&["record", "--pid", &host.pid().to_string(), "-d", "2s", "-o"]).unwrap();
        let mut shell = command("unshare");
        shell
            .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
            .arg(agent.get_program())
            .args(agent.get_args())
            .arg(&out)
            .env("SIZE", format!("{kilobytes}k"))
            .env("DISK", &folder);
        let ended =
            Child::run(&mut shell, host.run.folder(), &format!("full{round}"), END_LIMIT).unwrap();
        let said = ended.stderr.to_lowercase();
        let named =
            said.contains("no space left") && ended.stderr.contains(folder.to_str().unwrap());
        assert!(ended.code == 1 && named, "{what}: {ended:?}");
        assert!(!said.contains("panicked"), "{what}: {ended:?}");
    }
    let dormant = || (host.level() == Some(Level::Dormant as u32)).then_some(());
    assert!(wait::until(Duration::from_secs(5), dormant).is_some(), "level {:?}", host.level());
    host.assert_next_is_exact("after", "after full disks");
    host.finish("full disks");
}
