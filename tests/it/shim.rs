//! The shim in hosts that treat it badly, on the simulator, without any agent.

mod foreign;
mod neighbour;

use std::fs::File;
use std::mem::offset_of;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use warplens_tests::harness::child::{self, Child, Ended};
use warplens_tests::harness::process;
use warplens_tests::harness::ring::{self, RingView};
use warplens_tests::harness::server::Run;
use warplens_tests::harness::wait;
use warplens_tests::harness::{artefacts, hostile};
use warplens_tests::require;
use wire::limits::{GRAPH_NODE_ENTRIES, PRODUCERS, SAMPLED_THREADS};
use wire::shim::{OffReason, STATS_OFFSET, Stats, TOTAL_BYTES};

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

/// A host that calls the shim's callbacks itself, over a stub libcuda and a stub libcupti.
struct Watched {
    folder: tempfile::TempDir,
    command: Command,
}

impl Watched {
    fn new(mode: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let program = hostile::build_interposing("never_blocks", folder.path()).unwrap();
        let cuda = hostile::build_library("stub_cuda", "libcuda.so.1", folder.path()).unwrap();
        let cupti = hostile::build_library("stub_cupti", "libcupti.so.12", folder.path()).unwrap();
        let mut command = child::command(program);
        command
            .arg(artefacts::shim().unwrap())
            .args([&cuda, &cupti])
            .arg(mode)
            .env("WARPLENS_CUPTI", &cupti)
            .env("WARPLENS_LEVEL", "stacks");
        Self { folder, command }
    }

    /// Runs it until it waits for the end of its input.
    fn start(&mut self) -> Child {
        let mut host = Child::start(&mut self.command, self.folder.path(), "host").unwrap();
        host.line("ready", LIMIT).unwrap();
        host
    }
}

/// Word `offset` of the stats page.
fn counter(host: &Child, offset: usize) -> u64 {
    let mapping = ring::mappings(host.pid()).into_iter().next().unwrap();
    let memory = File::open(format!("/proc/{}/mem", host.pid())).unwrap();
    let mut word = [0; 8];
    memory.read_exact_at(&mut word, mapping.start + (STATS_OFFSET + offset) as u64).unwrap();
    u64::from_ne_bytes(word)
}

#[test]
fn callbacks_never_allocate_nor_make_a_system_call() {
    require!(Shim);
    let mut watched = Watched::new("exit");
    let mut host = watched.start();
    let printed = host.stdout();
    let (caught, expected): (Vec<_>, Vec<_>) =
        printed.lines().partition(|line| !line.starts_with("expect "));
    // One subscription to see whether CUPTI is willing, one to stay, though three threads asked.
    let clean = ["subscriptions 2", "allocations 0", "system calls 0", "child 0", "ready"];
    assert_eq!(caught, clean, "{printed}");
    let expect = |name: &str| -> u64 {
        let prefix = format!("expect {name} ");
        let text = expected.iter().find_map(|line| line.strip_prefix(&prefix));
        text.and_then(|text| text.parse().ok()).unwrap()
    };
    for (name, offset) in [
        ("launches", offset_of!(Stats, launches)),
        ("graph_launches", offset_of!(Stats, graph_launches)),
        ("launches_failed", offset_of!(Stats, launches_failed)),
        ("callbacks_ignored", offset_of!(Stats, callbacks_ignored)),
        ("activities", offset_of!(Stats, activities)),
        ("activities_discarded", offset_of!(Stats, activities_discarded)),
        ("buffers_refused", offset_of!(Stats, buffers_refused)),
    ] {
        assert_eq!(counter(&host, offset), expect(name), "{name}");
    }
    // Everything was full in the end, and counted.
    let graphs_full = counter(&host, offset_of!(Stats, graphs_full));
    assert_eq!(graphs_full, expect("graph_entries") - GRAPH_NODE_ENTRIES as u64);
    // The control thread and the one that started it have numbers, too.
    let unslotted = counter(&host, offset_of!(Stats, threads_unslotted));
    assert_eq!(unslotted, expect("threads") + 2 - SAMPLED_THREADS as u64);
    let names_full = counter(&host, offset_of!(Stats, names_full));
    assert!((100..400).contains(&names_full), "{names_full} names found no room");
    let lost = |index| counter(&host, offset_of!(Stats, lost) + index * size_of::<u64>());
    let lost: u64 = (0..PRODUCERS).map(lost).sum();
    assert!((20_000..200_000).contains(&lost), "{lost} records found the ring full");
    assert!(counter(&host, offset_of!(Stats, stacks_sampled)) > 0);
    assert_eq!(counter(&host, offset_of!(Stats, panics)), 0);
    host.close_input();
    assert_eq!(host.wait(LIMIT).unwrap().code, 0);
}

#[test]
fn an_exit_from_inside_a_call_does_not_flush() {
    require!(Shim);
    let mut watched = Watched::new("exit-inside");
    let mut host = watched.start();
    host.close_input();
    let ended = host.wait(LIMIT).unwrap();
    // The stub ends with 70 where CUPTI would wait for this very thread.
    assert_eq!((ended.code, ended.stderr.as_str()), (0, ""), "{ended:?}");
}

#[test]
fn a_buffer_behind_the_last_mark_is_counted_and_not_read() {
    require!(Shim);
    let mut watched = Watched::new("late");
    watched.command.env("WARPLENS_UNATTENDED_SECONDS", "1");
    let host = watched.start();
    assert_eq!(counter(&host, offset_of!(Stats, callbacks_ignored)), 1);
    assert_eq!(counter(&host, offset_of!(Stats, activities)), 0);
}
