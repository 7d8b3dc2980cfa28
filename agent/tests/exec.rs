//! A process that becomes another program takes its ring with it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use warplens::shim::{WorkerRing, find};
use wire::shim::{FLAG_STATS_ONLY, MAGIC, MEMFD_NAME, SMALL_BYTES};

/// Shows a ring of the small kind, keeps its descriptor as `WARPLENS_KEEP_FD` does, and executes
/// another program when told.
const PROGRAM: &str = "
import fcntl, json, mmap, os, sys
name, size, header = sys.argv[1], int(sys.argv[2]), bytes(json.loads(sys.argv[3]))
place = int(sys.argv[4])
header = header[:place] + os.getpid().to_bytes(4, 'little') + header[place + 4:]
file = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
os.posix_fallocate(file, 0, size)
os.pwrite(file, header, 0)
fcntl.fcntl(file, 1033, 1 | 2 | 4)
memory = mmap.mmap(file, size)
print('ready', flush=True)
sys.stdin.readline()
os.execvp('sleep', ['sleep', '1000'])
";

#[test]
fn a_ring_is_gone_when_its_process_executes_another_program() {
    let header = wire::shim::Header {
        magic: MAGIC,
        wire_version: wire::WIRE_VERSION,
        flags: FLAG_STATS_ONLY,
        total_bytes: SMALL_BYTES as u64,
        ..zerocopy::FromZeros::new_zeroed()
    };
    let bytes = zerocopy::IntoBytes::as_bytes(&header);
    let numbers = serde_json::to_string(bytes).unwrap();
    let place_of_pid = std::mem::offset_of!(wire::shim::Header, pid).to_string();
    let mut child = Command::new("python3")
        .args(["-c", PROGRAM, MEMFD_NAME, &SMALL_BYTES.to_string(), &numbers, &place_of_pid])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "ready\n");
    let ring = WorkerRing::attach(&find(child.id()).unwrap().unwrap()).unwrap();
    assert!(ring.is_mapped());
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let begin = Instant::now();
    while ring.is_mapped() && begin.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(!ring.is_mapped(), "the program with the ring is no longer there");
    assert!(warplens::proc::alive(child.id()), "the process is");
    child.kill().unwrap();
    child.wait().unwrap();
}
