//! What the daemon may do, and who may read its figures.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rustix::process::Signal;
use warplens_tests::harness::child::Child;
use warplens_tests::harness::ring;
use warplens_tests::harness::server::Run;
use warplens_tests::harness::wait;
use warplens_tests::require;
use wire::shim::Level;

use super::daemon::{configuration, get, start, start_configured};

const LIMIT: Duration = Duration::from_secs(20);

/// `DAC_OVERRIDE`, `SYS_PTRACE`, `SYS_NICE`, `PERFMON`, `BPF`, `CHECKPOINT_RESTORE`, by their numbers.
const NEEDED: u64 = 1 << 1 | 1 << 19 | 1 << 23 | 1 << 38 | 1 << 39 | 1 << 40;

fn end(mut child: Child) {
    child.signal(Signal::TERM);
    assert_eq!(child.wait(LIMIT).unwrap().code, 0);
}

/// The hexadecimal sets and numbers of every thread.
fn of_every_thread(pid: u32, key: &str) -> Vec<u64> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().filter_map(Result::ok);
    let statuses =
        threads.filter_map(|thread| fs::read_to_string(thread.path().join("status")).ok());
    let value = |status: String| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(":\t"));
        u64::from_str_radix(line.unwrap().trim(), 16).unwrap()
    };
    statuses.map(value).collect()
}

#[test]
fn the_daemon_gives_up_what_it_does_not_need_and_still_sees_everything() {
    require!(E2e);
    let run = Run::new(1).unwrap().with_shim().unwrap();
    let (agent, address) = start(&run);
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        let threads = of_every_thread(agent.pid(), set);
        assert!(threads.len() > 1, "{threads:?}");
        for held in threads {
            assert_eq!(held & !NEEDED, 0, "{set} {held:x}");
        }
    }
    for gained in ["CapInh", "CapAmb"] {
        assert!(of_every_thread(agent.pid(), gained).iter().all(|&set| set == 0), "{gained}");
    }
    assert!(of_every_thread(agent.pid(), "NoNewPrivs").iter().all(|&flag| flag == 1));
    let limits = fs::read_to_string(format!("/proc/{}/limits", agent.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    // What is left suffices: a worker is counted, and the kernel programs are there.
    let worker = run.work(&["--seconds", "0", "--rate", "2000"]).unwrap();
    let armed = || ring::look(worker.pid()).filter(|view| view.level() == Level::Counting as u32);
    assert!(wait::until(LIMIT, || armed().map(|_view| ())).is_some());
    assert!(!agent.stderr().contains("not held"), "{}", agent.stderr());
    assert!(!agent.stderr().contains("never called no_requests"), "{}", agent.stderr());
    assert_eq!(get(&address, "/metrics").unwrap().0, 200);
    end(worker);
    end(agent);
}

fn ask(address: &str, path: &str, header: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{header}\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn figures_are_for_who_shows_the_token() {
    require!(E2e);
    let run = Run::new(1).unwrap().with_shim().unwrap();
    let token = "a-token-of-32-characters-0123456";
    let file = run.folder().join("token");
    fs::write(&file, format!("{token}\n")).unwrap();
    let more = format!("[http]\ntoken_file = {:?}\n", file.display().to_string());
    let (agent, address) = start_configured(&run, &configuration(run.folder(), &more), &[]);
    let shown = format!("Authorization: Bearer {token}\r\n");
    let ready = || ask(&address, "/readyz", "").starts_with("HTTP/1.1 200").then_some(());
    assert!(wait::until(LIMIT, ready).is_some());
    assert!(ask(&address, "/metrics", &shown).starts_with("HTTP/1.1 200"));
    for header in ["", "Authorization: Bearer a-token-of-32-characters-0123457\r\n"] {
        let answer = ask(&address, "/metrics", header);
        assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
        assert!(!answer.contains("warplens_") && !answer.contains(token), "{answer}");
    }
    assert!(!agent.stderr().contains(token));
    end(agent);
}
