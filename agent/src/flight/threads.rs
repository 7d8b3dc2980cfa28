//! What each thread of a process does at an instant, as far as it can be told without stopping it.

use std::fs;

use serde::{Deserialize, Serialize};

use super::stacks::Reader;
use crate::proc;

/// Threads told of one process. vLLM's have some hundred.
const THREADS_MAX: usize = 512;

/// A process of a server that hangs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessThreads {
    pub pid: u32,
    pub title: String,
    /// By number; empty: it is gone, or may not be looked at.
    pub threads: Vec<ThreadState>,
}

/// A thread.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ThreadState {
    pub tid: u32,
    pub name: String,
    /// `R` runs, `S` sleeps, `D` waits for a device or a file, `T` was stopped, `t` is traced, `Z` has ended.
    pub state: String,
    /// The function of the kernel it sleeps in, where the kernel says so.
    pub waits_in: Option<String>,
    /// Number of the system call it is in, by the table of this architecture.
    pub system_call: Option<u32>,
    /// Of a thread that sleeps, root first; empty where it runs, or where its memory may not be looked at.
    #[serde(default)]
    pub stack: Vec<String>,
}

impl ProcessThreads {
    /// Of a process that may be gone by then.
    pub(super) fn read(pid: u32, title: String, reader: &mut Reader) -> Self {
        let mut tids = proc::threads(pid);
        tids.sort_unstable();
        tids.truncate(THREADS_MAX);
        let states = tids.iter().filter_map(|&tid| ThreadState::read(pid, tid));
        let mut threads: Vec<ThreadState> = states.collect();
        let mut stacks = reader.read(pid, &tids);
        for thread in &mut threads {
            thread.stack = stacks.remove(&thread.tid).unwrap_or_default();
        }
        Self { pid, title, threads }
    }
}

impl ThreadState {
    fn read(pid: u32, tid: u32) -> Option<Self> {
        let text = |file: &str| fs::read_to_string(format!("/proc/{pid}/task/{tid}/{file}")).ok();
        let state = state(&text("stat")?)?.to_string();
        let waits_in = text("wchan").filter(|name| !matches!(name.as_str(), "" | "0"));
        let system_call = text("syscall").and_then(|text| system_call(&text));
        let name = text("comm").unwrap_or_default().trim_end().to_owned();
        Some(Self { tid, name, state, waits_in, system_call, stack: Vec::new() })
    }
}

/// Behind the name, which may hold anything.
fn state(stat: &str) -> Option<char> {
    stat.rsplit_once(')')?.1.trim_start().chars().next()
}

/// The first number; `running` and `-1` (in none) are none.
fn system_call(text: &str) -> Option<u32> {
    text.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_the_kernel() {
        assert_eq!(state("12 (a) S) T 1 2 3"), Some('T'));
        assert_eq!(state("12 (a"), None);
        assert_eq!(system_call("230 0x0 0x0 0x7ffd 0x0"), Some(230));
        assert_eq!((system_call("running"), system_call("-1 0x7f 0x7f")), (None, None));
    }

    #[test]
    fn a_thread_that_sleeps_is_told() {
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let sleeper = std::thread::Builder::new()
            .name("told".to_owned())
            .spawn(move || wait.recv().is_err())
            .unwrap();
        let told = || {
            let all = ProcessThreads::read(std::process::id(), "x".to_owned(), &mut Reader::new());
            all.threads.into_iter().find(|thread| thread.name == "told" && thread.state == "S")
        };
        let found = (0..200).find_map(|_| {
            std::thread::sleep(std::time::Duration::from_millis(10));
            told()
        });
        // Its innermost frames; farther out they hang on registers that nobody tells.
        let stack = found.unwrap().stack;
        assert!(stack.iter().any(|frame| frame.contains("park")), "{stack:?}");
        drop(done);
        assert!(sleeper.join().unwrap());
        let gone = ProcessThreads::read(u32::MAX, String::new(), &mut Reader::new());
        assert_eq!(gone.threads, []);
    }
}
