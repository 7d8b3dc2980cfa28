//! The shim under NVIDIA's own libraries, which answer with errors where there is no GPU.
//!
//! What is there to see from outside must be the same with and without the shim, but for one small
//! mapping that says why the shim is off.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use warplens_tests::harness::artefacts;
use warplens_tests::harness::child::{Child, Ended, command};
use warplens_tests::harness::hostile;
use warplens_tests::harness::process;
use warplens_tests::harness::ring;
use warplens_tests::harness::wait;
use warplens_tests::require;
use wire::shim::{OffReason, SMALL_BYTES};

const LIMIT: Duration = Duration::from_mins(1);

/// libcuda, run by root, makes this node and leaves it, which looks like a GPU to others.
const NODE: &str = "/dev/nvidiactl";

/// Removes the node again when it was not there before.
struct Node {
    existed: bool,
}

impl Node {
    fn watch() -> Self {
        Self { existed: Path::new(NODE).exists() }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if !self.existed && Path::new(NODE).exists() {
            // Nothing to do about a node that cannot be removed.
            let _stays = std::fs::remove_file(NODE);
        }
    }
}

/// Which libcupti the host's loader finds.
#[derive(Clone, Copy, Debug)]
enum Cupti {
    Twelve,
    Thirteen,
    Missing,
}

impl Cupti {
    const ALL: [Self; 3] = [Self::Twelve, Self::Thirteen, Self::Missing];

    /// Library path: the real driver, and this CUPTI's folder.
    fn library_path(self) -> String {
        let folder = artefacts::nvidia().unwrap();
        let of = |name: &str| -> PathBuf {
            let library = artefacts::find_below(&folder, name).unwrap();
            library.parent().unwrap().to_owned()
        };
        let mut path = of("libcuda.so.1").display().to_string();
        let cupti = match self {
            Self::Twelve => Some("libcupti.so.12"),
            Self::Thirteen => Some("libcupti.so.13"),
            Self::Missing => None,
        };
        if let Some(name) = cupti {
            path.push(':');
            path.push_str(&of(name).display().to_string());
        }
        path
    }
}

fn host(program: &Path, cupti: Cupti, shim: bool) -> Command {
    let mut command = command(program);
    command.env("LD_LIBRARY_PATH", cupti.library_path());
    if shim {
        command
            .env("CUDA_INJECTION64_PATH", artefacts::shim().unwrap())
            .env("WARPLENS_LEVEL", "stacks");
    }
    command
}

/// What /proc shows of a lingering host, and how it ended.
#[derive(Debug, PartialEq, Eq)]
struct Seen {
    threads: usize,
    descriptors: Vec<String>,
    ended: Ended,
}

fn see(mut child: Child, folder: &Path) -> Seen {
    let pid = child.pid();
    let own = folder.display().to_string();
    let descriptors = process::descriptors(pid)
        .into_iter()
        .map(|path| if path.starts_with("pipe:") { "pipe".to_owned() } else { path })
        .map(|path| path.replace(&own, ""))
        .collect();
    let threads = process::threads(pid);
    child.close_input();
    Seen { threads, descriptors, ended: child.wait(LIMIT).unwrap() }
}

#[test]
fn the_host_does_not_notice_and_the_ring_says_why_the_shim_is_off() {
    require!(Real);
    let _node = Node::watch();
    let folder = tempfile::tempdir().unwrap();
    let program = hostile::build("linger", folder.path()).unwrap();
    for cupti in Cupti::ALL {
        let start = |shim: bool| {
            let place = tempfile::tempdir().unwrap();
            let mut command = host(&program, cupti, shim);
            let mut child = Child::start(&mut command, place.path(), "host").unwrap();
            child.line("ready", LIMIT).unwrap();
            (child, place)
        };
        let (bare, bare_place) = start(false);
        let (shimmed, place) = start(true);
        let expected = match cupti {
            Cupti::Missing => OffReason::CuptiMissing,
            Cupti::Twelve | Cupti::Thirteen => OffReason::CuptiRefused,
        };
        let view = wait::until(Duration::from_secs(10), || {
            ring::look(shimmed.pid()).filter(|view| view.off_reason() != Some(OffReason::None))
        })
        .expect("the ring names a reason");
        assert_eq!(view.off_reason(), Some(expected), "{cupti:?}: error {}", view.cupti_error());
        assert_eq!(view.mapping.bytes(), SMALL_BYTES as u64, "{cupti:?}");
        assert!(view.stats_only() && !view.simulated(), "{cupti:?}");
        assert_eq!(ring::mappings(shimmed.pid()).len(), 1, "{cupti:?}");
        // The shim's thread ends once it knows that it stays off.
        let threads = process::threads(bare.pid());
        let settled = wait::until(Duration::from_secs(10), || {
            (process::threads(shimmed.pid()) == threads).then_some(())
        });
        assert!(settled.is_some(), "{cupti:?}: a thread is left");
        assert_eq!(see(shimmed, place.path()), see(bare, bare_place.path()), "{cupti:?}");
    }
}

#[test]
fn hostile_hosts_end_as_they_do_without_the_shim() {
    require!(Real);
    let _node = Node::watch();
    let folder = tempfile::tempdir().unwrap();
    for name in hostile::PROGRAMS {
        let program = hostile::build(name, folder.path()).unwrap();
        for cupti in Cupti::ALL {
            let end = |shim: bool| {
                let mut command = host(&program, cupti, shim);
                Child::run(&mut command, folder.path(), name, LIMIT).unwrap()
            };
            assert_eq!(end(true), end(false), "{name} with {cupti:?}");
        }
    }
}
