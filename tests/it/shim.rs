//! The shim in hosts that treat it badly, on the simulator, without any agent.

use std::path::Path;
use std::time::Duration;

use warplens_tests::harness::child::{Child, Ended};
use warplens_tests::harness::hostile;
use warplens_tests::harness::process;
use warplens_tests::harness::ring::{self, RingView};
use warplens_tests::harness::server::Run;
use warplens_tests::harness::wait;
use warplens_tests::require;
use wire::shim::{OffReason, TOTAL_BYTES};

const LIMIT: Duration = Duration::from_mins(1);

fn run_once(run: &Run, program: &Path, name: &str) -> Ended {
    let mut command = run.command(program).unwrap();
    Child::run(&mut command, run.folder(), name, LIMIT).unwrap()
}

#[test]
fn hostile_hosts_end_as_they_do_without_the_shim() {
    require!(Shim);
    let folder = tempfile::tempdir().unwrap();
    for name in hostile::PROGRAMS {
        let program = hostile::build(name, folder.path()).unwrap();
        let bare = run_once(&Run::new(1).unwrap(), &program, name);
        for level in ["off", "dormant", "watching", "counting", "stacks"] {
            let run = Run::new(1).unwrap().with_shim().unwrap().with("WARPLENS_LEVEL", level);
            assert_eq!(run_once(&run, &program, name), bare, "{name} at level {level}");
        }
    }
}

/// A host that lingers with the shim loaded, until it has launched a few times.
fn linger(run: &Run, program: &Path) -> Child {
    let mut host = Child::start(&mut run.command(program).unwrap(), run.folder(), "host").unwrap();
    host.line("ready", LIMIT).unwrap();
    host
}

fn look(host: &Child) -> RingView {
    wait::until(LIMIT, || ring::look(host.pid())).unwrap()
}

#[test]
fn a_loaded_shim_leaves_a_mapping_and_no_descriptor() {
    require!(Shim);
    let folder = tempfile::tempdir().unwrap();
    let program = hostile::build("linger", folder.path()).unwrap();
    let bare_run = Run::new(1).unwrap();
    let bare = linger(&bare_run, &program);
    let run = Run::new(1).unwrap().with_shim().unwrap();
    let mut host = linger(&run, &program);
    let view = look(&host);
    assert_eq!(view.mapping.bytes(), TOTAL_BYTES as u64);
    assert!(view.simulated() && !view.stats_only(), "{view:?}");
    assert_eq!(view.off_reason(), Some(OffReason::None));
    let descriptors = |pid: u32, folder: &Path| -> Vec<String> {
        let own = folder.display().to_string();
        process::descriptors(pid)
            .into_iter()
            .map(|path| if path.starts_with("pipe:") { "pipe".to_owned() } else { path })
            .map(|path| path.replace(&own, "").replace(&pid.to_string(), "PID"))
            .collect()
    };
    assert_eq!(
        descriptors(host.pid(), run.folder()),
        descriptors(bare.pid(), bare_run.folder()),
        "descriptors with and without the shim"
    );
    host.close_input();
    let ended = host.wait(LIMIT).unwrap();
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
}

/// The host runs on, and the ring says why the shim is off.
fn check_off(variables: &[(&str, &str)], reason: OffReason, error: u32) {
    let folder = tempfile::tempdir().unwrap();
    let program = hostile::build("linger", folder.path()).unwrap();
    let mut run = Run::new(1).unwrap().with_shim().unwrap().with("WARPLENS_LEVEL", "stacks");
    for (key, value) in variables {
        run = run.with(key, value);
    }
    let mut host = linger(&run, &program);
    let view = wait::until(Duration::from_secs(10), || {
        ring::look(host.pid()).filter(|view| view.off_reason() == Some(reason))
    });
    let view = view.unwrap_or_else(|| {
        let view = ring::look(host.pid());
        let found = view.as_ref().map(|view| (view.off_reason(), view.cupti_error()));
        assert!(found.is_none(), "{variables:?}: expected {reason:?}, found {found:?}");
        look(&host)
    });
    assert_eq!((view.cupti_error(), view.level()), (error, 0), "{variables:?}");
    assert_eq!(view.panics(), 0);
    host.close_input();
    let ended = host.wait(LIMIT).unwrap();
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{variables:?}: {ended:?}");
    assert!(ended.stdout.ends_with("done\n"), "{ended:?}");
}

#[test]
fn a_missing_cupti_turns_the_shim_off() {
    require!(Shim);
    check_off(&[("WARPLENS_CUPTI", "/nowhere/libcupti.so.12")], OffReason::CuptiMissing, 0);
}

#[test]
fn a_taken_cupti_turns_the_shim_off() {
    require!(Shim);
    check_off(&[("WARPLENS_SIM_ERROR_SUBSCRIBE", "39")], OffReason::CuptiTaken, 39);
}

#[test]
fn a_refusing_cupti_turns_the_shim_off() {
    require!(Shim);
    for error in [15, 999] {
        let text = error.to_string();
        check_off(&[("WARPLENS_SIM_ERROR_SUBSCRIBE", &text)], OffReason::CuptiRefused, error);
    }
}

#[test]
fn activity_that_is_refused_turns_the_shim_off() {
    require!(Shim);
    for error in [15, 35, 999] {
        let text = error.to_string();
        check_off(&[("WARPLENS_SIM_ERROR_ENABLE", &text)], OffReason::CuptiRefused, error);
    }
}

#[test]
fn a_forked_child_has_no_ring() {
    require!(Shim);
    let run = Run::new(1).unwrap().with_shim().unwrap().with("WARPLENS_LEVEL", "counting");
    let mut worker = run.work(&["--seconds", "3", "--rate", "500", "--fork"]).unwrap();
    assert_eq!(ring::mappings(worker.pid()).len(), 1);
    let ended = worker.wait(LIMIT).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
}

#[test]
fn an_unattended_shim_goes_dormant() {
    require!(Shim);
    let folder = tempfile::tempdir().unwrap();
    let program = hostile::build("linger", folder.path()).unwrap();
    let run = Run::new(1)
        .unwrap()
        .with_shim()
        .unwrap()
        .with("WARPLENS_LEVEL", "counting")
        .with("WARPLENS_UNATTENDED_SECONDS", "1");
    let host = linger(&run, &program);
    let armed = wait::until(Duration::from_secs(5), || {
        ring::look(host.pid()).filter(|view| view.level() == 2).map(|_view| ())
    });
    assert!(armed.is_some(), "level counting at first");
    let dormant = wait::until(Duration::from_secs(5), || {
        ring::look(host.pid()).filter(|view| view.level() == 0)
    });
    assert!(dormant.is_some(), "dormant once nobody comes: {:?}", look(&host).level());
}
