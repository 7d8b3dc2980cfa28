//! Threads: who holds the global lock, who waits for it, who has nothing to do with Python.

use std::fs;

use warplens::python::{PythonSymbols, Version};
use wire::kernel::python_walk;

use crate::support::{Program, asleep, find, interpreters, wait_for};

/// Number of the system call `futex`.
const FUTEX: &str = "202";

#[test]
fn who_waits_for_the_lock_waits_on_its_futex() {
    // The other thread never gives the lock back by itself.
    let text = "import threading\nsys.setswitchinterval(1000)\ndef spin():\n    os.write(1, (str(threading.get_native_id()) + '\\n').encode())\n    while True:\n        pass\nthreading.Thread(target=spin, daemon=True).start()\nimport time\nwhile True:\n    time.sleep(0.001)\n";
    for version in Version::ALL {
        let name = "threads::who_waits_for_the_lock_waits_on_its_futex";
        for path in interpreters(name, &version.to_string()) {
            let mut program = Program::of(&path, text);
            let spinning: u32 = program.line().unwrap().parse().unwrap();
            let pid = program.pid();
            let runtime = find(pid);
            wait_for("the lock to be waited for", || {
                let call = fs::read_to_string(format!("/proc/{pid}/task/{pid}/syscall")).ok()?;
                let mut words = call.split_ascii_whitespace();
                let is_futex = words.next()? == FUTEX;
                let address = words.next()?.strip_prefix("0x")?;
                let address = u64::from_str_radix(address, 16).ok()?;
                (is_futex && runtime.gil().contains(&address)).then_some(())
            });
            wait_for("the other to hold it", || runtime.walk(spinning).holds_gil.then_some(()));
            assert!(!runtime.walk(pid).holds_gil, "{}", path.display());
        }
    }
}

#[test]
fn a_thread_without_python_has_no_state() {
    let text = "import ctypes, threading\nlibc = ctypes.CDLL(None)\nnumber = ctypes.c_ulong()\nlibc.pthread_create(ctypes.byref(number), None, libc.pause, None)\nstop()\n";
    for version in Version::ALL {
        let name = "threads::a_thread_without_python_has_no_state";
        for path in interpreters(name, &version.to_string()) {
            let mut program = Program::of(&path, text);
            program.line();
            let pid = program.pid();
            let runtime = find(pid);
            let tids = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
            let tids: Vec<u32> =
                tids.map(|entry| entry.file_name().to_str().unwrap().parse().unwrap()).collect();
            assert_eq!(tids.len(), 2);
            for tid in tids {
                asleep(pid, tid);
                let end =
                    if tid == pid { python_walk::WHOLE } else { python_walk::NO_THREAD_STATE };
                assert_eq!(runtime.walk(tid).end, end, "{}", path.display());
            }
        }
    }
}

#[test]
fn each_thread_has_its_own_stack() {
    let text = "import threading, time\nbarrier = threading.Barrier(6)\ndef zero():\n    sleep()\ndef one():\n    zero()\ndef two():\n    one()\ndef sleep():\n    os.write(1, ('%d %s\\n' % (threading.get_native_id(), threading.current_thread().name)).encode())\n    barrier.wait()\nfor f in (zero, one, two, zero, one):\n    threading.Thread(target=f, name=f.__name__, daemon=True).start()\nos.read(0, 1)\n";
    for version in Version::ALL {
        let name = "threads::each_thread_has_its_own_stack";
        for path in interpreters(name, &version.to_string()) {
            let mut program = Program::of(&path, text);
            let pid = program.pid();
            let mut runtime = None;
            let mut symbols = PythonSymbols::new();
            for _ in 0..5 {
                let line = program.line().unwrap();
                let (tid, first) = line.split_once(' ').unwrap();
                let tid = tid.parse().unwrap();
                let runtime = runtime.get_or_insert_with(|| find(pid));
                let functions: Vec<String> = wait_for("the barrier", || {
                    asleep(pid, tid);
                    let walked = runtime.walk(tid);
                    let names = walked.frames.iter().map(|frame| {
                        let number = symbols.number(runtime, frame, 1);
                        symbols.frame(number).function
                    });
                    let names: Vec<String> = names.collect();
                    names.iter().any(|name| name.ends_with("wait")).then_some(names)
                });
                let own: Vec<&str> = functions
                    .iter()
                    .filter_map(|function| function.strip_prefix("<string>."))
                    .collect();
                let expected: &[&str] = match first {
                    "zero" => &["sleep", "zero"],
                    "one" => &["sleep", "zero", "one"],
                    _ => &["sleep", "zero", "one", "two"],
                };
                assert_eq!(own, expected, "{}", path.display());
            }
        }
    }
}
