//! An agent whose disk is slow under the libraries it unwinds through.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::Advice;
use rustix::process::Signal;
use warplens_tests::harness::agent::Recording;
use warplens_tests::harness::child::Child;
use warplens_tests::harness::{process, python};
use warplens_tests::require;

use super::folder;

const LIMIT: Duration = Duration::from_mins(1);
const OBSERVED: Duration = Duration::from_secs(12);
/// Such that the kernel's buffers hold three seconds of samples, and what is kept beside them fifteen.
const HZ: u32 = 199;
const MET: Duration = Duration::from_secs(3);
/// What the disk gives the agent, bytes a second.
const SPEED: u32 = 50_000;
/// The kernel's buffers hold a second or two of these stacks: the observing thread must be seen to be held up for
/// longer than that, or nothing is shown.
const HELD_UP: Duration = Duration::from_secs(4);

/// A control group with a slow disk.
struct Throttle {
    group: PathBuf,
    home: PathBuf,
    device: String,
}

impl Throttle {
    /// For what reads from the disk that `file` lies on; `None` where this machine cannot.
    fn new(file: &Path) -> Option<Self> {
        let root = Path::new("/sys/fs/cgroup/blkio");
        let ours = fs::read_to_string("/proc/self/cgroup").ok()?;
        let home = ours.lines().find_map(|line| line.split_once(":blkio:/"))?.1;
        let group = root.join(format!("warplens-test-{}", std::process::id()));
        fs::create_dir(&group).ok()?;
        let mut throttle = Self { group, home: root.join(home), device: String::new() };
        let device = fs::metadata(file).ok()?.dev();
        throttle.device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
        throttle.limit(0).ok()?;
        Some(throttle)
    }

    /// Bytes a second; 0: as fast as it can.
    fn limit(&self, speed: u32) -> std::io::Result<()> {
        let file = self.group.join("blkio.throttle.read_bps_device");
        fs::write(file, format!("{} {speed}", self.device))
    }

    /// What `start` starts has the slow disk.
    fn around<T>(&self, start: impl FnOnce() -> T) -> T {
        let enter =
            |group: &Path| fs::write(group.join("cgroup.procs"), std::process::id().to_string());
        enter(&self.group).unwrap();
        let started = start();
        enter(&self.home).unwrap();
        started
    }
}

impl Drop for Throttle {
    fn drop(&mut self) {
        // Whoever is in it has ended by now.
        let _left = fs::remove_dir(&self.group);
    }
}

/// A copy of which nothing is in memory but what is mapped from now on.
fn cold_copy(library: &Path, folder: &Path) -> PathBuf {
    let copy = folder.join(library.file_name().unwrap());
    fs::copy(library, &copy).unwrap();
    File::open(&copy).unwrap().sync_all().unwrap();
    copy
}

fn forget_pages(path: &Path) {
    rustix::fs::fadvise(File::open(path).unwrap(), 0, None, Advice::DontNeed).unwrap();
}

/// How long the thread waited for its disk at a stretch, the longest stretch within `time`.
fn longest_wait(tid: u32, time: Duration, mut meanwhile: impl FnMut()) -> Duration {
    let begin = Instant::now();
    let (mut longest, mut since) = (Duration::ZERO, None);
    while begin.elapsed() < time {
        if process::state(tid) == Some('D') {
            longest = longest.max(since.get_or_insert_with(Instant::now).elapsed());
        } else {
            since = None;
        }
        meanwhile();
        std::thread::sleep(Duration::from_millis(10));
    }
    longest
}

#[test]
fn nothing_is_lost_while_tables_are_read_from_a_slow_disk() {
    require!(E2e);
    let folder = folder();
    let python = python::of_minor((3, 12)).unwrap();
    let library = cold_copy(&python.maps("_hashlib", "libcrypto").unwrap(), folder.path());
    let Some(throttle) = Throttle::new(&library) else {
        println!("SKIP slow_disk: this machine has no control group for disks");
        return;
    };
    let go = folder.path().join("go");
    let mut program = python.program("late_library.py");
    program.arg(&library).arg(&go);
    let mut crowd = Child::start(&mut program, folder.path(), "crowd").unwrap();
    crowd.line("\"ready\"", LIMIT).unwrap();
    let recording =
        throttle.around(|| Recording::of_host(&[crowd.pid()], HZ, folder.path(), "out")).unwrap();
    // Everything that computes is met, and what it runs so far is read.
    std::thread::sleep(MET);
    let before = process::tree_cpu_seconds(crowd.pid());
    throttle.limit(SPEED).unwrap();
    forget_pages(&library);
    fs::write(&go, "").unwrap();
    let waited = longest_wait(recording.child.pid(), OBSERVED, || forget_pages(&library));
    let used = process::tree_cpu_seconds(crowd.pid()) - before;
    throttle.limit(0).unwrap();
    let (ended, out) = recording.finish().unwrap();
    crowd.signal(Signal::TERM);
    crowd.wait(LIMIT).unwrap();
    assert_eq!(ended.code, 0, "{ended:?}");
    let report = fs::read_to_string(out.join("report.md")).unwrap();
    let text = fs::read_to_string(out.join("cpu.folded")).unwrap();
    let inside = text.lines().filter(|line| line.contains("libcrypto"));
    let counts = inside.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap());
    let (samples, expected) = (counts.sum::<f64>(), used * f64::from(HZ));
    println!("waited {waited:?} for the disk; {samples} samples of {used:.1} s of CPU");
    assert!(waited > HELD_UP, "the disk was not slow: {waited:?}");
    assert!(!report.contains("ring buffer full"), "{report}");
    // The frequency varies by half from turn to turn, and one lasted nearly throughout.
    assert!(samples > expected * 0.4, "{samples} of {expected}: {report}");
}
