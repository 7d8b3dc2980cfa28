//! Another profiler in the shim's process, on the simulator: it gets CUPTI when it asks, sees what it would see without
//! the shim, and the shim comes back when it has stopped.

use std::time::Duration;

use warplens_tests::harness::neighbour::{Host, WAYS, Way, programs};
use warplens_tests::harness::server::Run;
use warplens_tests::harness::wait;
use warplens_tests::require;
use wire::shim::{Level, OffReason};

const LIMIT: Duration = Duration::from_mins(1);

fn shimmed() -> Run {
    let run = Run::new(1).unwrap().with_shim().unwrap();
    // The library that the profiler has, too.
    run.with("WARPLENS_LEVEL", "stacks")
        .with("WARPLENS_YIELD", "1")
        .with("WARPLENS_CUPTI", "libcupti.so.12")
}

const STACKS: u32 = Level::Stacks as u32;

/// What the profiler sees from its first start to its end, started twice, with `between` in the middle.
fn profile(host: &mut Host, between: impl FnOnce(&mut Host)) -> Vec<String> {
    let mut seen = Vec::new();
    let mut turn = |host: &mut Host, commands: &[&str]| {
        seen.extend(commands.iter().map(|command| host.tell(command)));
    };
    turn(host, &["launch 50", "start", "launch 300", "stop", "tell"]);
    between(host);
    turn(host, &["launch 70", "start", "launch 200", "threads 4", "stop", "tell", "leave"]);
    seen
}

#[test]
fn it_sees_what_it_sees_without_the_shim() {
    require!(Shim);
    let folder = tempfile::tempdir().unwrap();
    for way in WAYS {
        let programs = programs(way, folder.path());
        let mut bare = Host::start(Run::new(1).unwrap(), &programs);
        bare.tell("load");
        let expected = profile(&mut bare, |_| {});
        bare.end();
        assert_eq!(
            expected[expected.len() - 2],
            "kernels 1000, launches 1000, strange buffers 0, strange times 0",
            "{way:?}: {expected:?}"
        );
        for early in [true, false] {
            // Loaded before the shim looks for its tables, or after it changed what is looked up.
            let mut host = Host::start(shimmed(), &programs);
            if early {
                host.tell("load");
                host.reaches("before", |view| view.level() == STACKS);
            } else {
                host.reaches("before", |view| view.level() == STACKS);
                host.tell("load");
            }
            let seen = profile(&mut host, |host| {
                let view = host.look();
                assert_eq!((view.level(), view.off_reason()), (0, Some(OffReason::CuptiTaken)));
                host.reaches("back as a guest", |view| view.level() == STACKS);
            });
            assert_eq!(seen, expected, "{way:?}, loaded early: {early}");
            let view = host.reaches("back after it left", |view| view.level() == STACKS);
            assert_eq!((view.yields(), view.panics()), (2, 0), "{way:?}, loaded early: {early}");
            host.end();
        }
    }
}

#[test]
fn the_shim_counts_before_between_and_after() {
    require!(Shim);
    let folder = tempfile::tempdir().unwrap();
    for way in WAYS {
        let programs = programs(way, folder.path());
        let mut host = Host::start(shimmed(), &programs);
        host.tell("load");
        host.reaches("armed", |view| view.level() == STACKS);
        host.tell("launch 100");
        host.reaches("before", |view| view.activities() >= 100);
        host.tell("start");
        host.tell("launch 300");
        host.tell("stop");
        let view = host.look();
        assert_eq!((view.launches(), view.activities()), (100, 100), "{way:?}: while it profiles");
        // As a guest of the subscription that the profiler keeps.
        host.reaches("armed again", |view| view.level() == STACKS);
        host.tell("launch 40");
        let view = host.reaches("as a guest", |view| view.activities() >= 140);
        assert_eq!((view.launches(), view.activities()), (140, 140), "{way:?}: as a guest");
        host.tell("leave");
        host.reaches("armed with its own", |view| view.level() == STACKS && view.yields() == 2);
        host.tell("launch 30");
        let view = host.reaches("after", |view| view.activities() >= 170);
        assert_eq!((view.launches(), view.activities()), (170, 170), "{way:?}: after it left");
        assert_eq!((view.lost(), view.panics()), (0, 0), "{way:?}");
        host.end();
    }
}

#[test]
fn a_shim_told_not_to_yield_keeps_cupti() {
    require!(Shim);
    let folder = tempfile::tempdir().unwrap();
    let programs = programs(Way::Bound, folder.path());
    let mut host = Host::start(shimmed().with("WARPLENS_YIELD", "off"), &programs);
    host.tell("load");
    host.reaches("armed", |view| view.level() == STACKS);
    // 39: there is a subscriber already.
    assert!(host.tell("start").strip_prefix("start ").unwrap().parse::<u32>().unwrap() >= 39);
    assert_eq!(host.look().yields(), 0);
    host.end();
}

/// Where nobody asks, nothing of the shim's stands between a profiler and CUPTI.
#[test]
fn a_dormant_shim_changes_nothing() {
    require!(Shim);
    let folder = tempfile::tempdir().unwrap();
    let programs = programs(Way::Bound, folder.path());
    let run = shimmed().with("WARPLENS_LEVEL", "stacks").with("WARPLENS_UNATTENDED_SECONDS", "2");
    let mut host = Host::start(run, &programs);
    host.tell("load");
    let own = host.look().mapping;
    assert!(own.bytes() > 0);
    host.reaches("armed", |view| view.level() == STACKS);
    assert_eq!(host.tell("where"), "libwarplens_cuda.so, libwarplens_cuda.so");
    host.reaches("dormant", |view| view.level() == 0);
    let lifted = wait::until(LIMIT, || {
        let found = host.tell("where");
        (found == "libcupti.so.12, libcupti.so.12").then_some(())
    });
    assert!(lifted.is_some(), "{}", host.tell("where"));
    let before = host.look();
    assert_eq!(host.tell("start"), "start 0");
    host.tell("launch 20");
    assert_eq!(host.tell("stop"), "stop 0");
    assert_eq!(host.tell("tell"), "kernels 20, launches 20, strange buffers 0, strange times 0");
    let after = host.look();
    assert_eq!((after.yields(), after.off_reason()), (before.yields(), Some(OffReason::None)));
    host.end();
}
