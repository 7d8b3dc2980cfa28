//! The threads of this program that are asked first when a processor is given away.
//!
//! Servers keep every processor busy, often with threads that spin and yield, and leave ordinary ones little: beside
//! vLLM's CPU workers one was seen to get 4 % of a processor, and an agent to wait for ten seconds while the
//! kernel's buffers overflowed. So the threads that others wait for are in the real-time class, at its lowest
//! priority, each bounded: one that used more than [`SHARE`] of a processor in a second is an ordinary thread for
//! the rest of that second. A thread of its own sees to that, as the others are not to be trusted with it: what
//! they do may take seconds.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::thread::gettid;

/// Set to `0`, nothing is asked for.
pub(super) const VARIABLE: &str = "WARPLENS_REAL_TIME";

/// Of the real-time class: 1 to 99. Whoever else is in it has its reasons, and comes first.
const LOWEST: i32 = 1;

/// Time that the bound holds for.
const WINDOW: Duration = Duration::from_secs(1);

/// Part of a processor that a thread may use, as a divisor: ten times what reading eight busy workers takes.
const SHARE: u32 = 5;

/// Between two looks at what the threads used: one may exceed its share by as much.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Until this is dropped, its threads come first.
#[derive(Debug)]
pub struct Priority {
    shared: Arc<Shared>,
    /// None where the class cannot be had.
    regulator: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    over: Condvar,
}

#[derive(Debug)]
struct State {
    over: bool,
    threads: Vec<Thread>,
}

/// One that comes first while it keeps within its share.
#[derive(Debug)]
struct Thread {
    tid: i32,
    first: bool,
    /// Start of the second, and the thread's CPU time then.
    begin: Instant,
    used: Duration,
}

impl Thread {
    /// `None` where it cannot be raised, or is gone.
    fn raised(tid: i32) -> Option<Self> {
        let used = used(tid)?;
        set(tid, true).ok()?;
        Some(Self { tid, first: true, begin: Instant::now(), used })
    }

    /// Whether it is still there.
    fn regulate(&mut self) -> bool {
        let Some(used) = used(self.tid) else {
            return false;
        };
        if self.begin.elapsed() >= WINDOW {
            (self.begin, self.used) = (Instant::now(), used);
            self.change(true);
        } else if used.saturating_sub(self.used) > WINDOW / SHARE {
            // Raised again with the next window.
            self.change(false);
        }
        true
    }

    fn change(&mut self, first: bool) {
        if self.first != first && set(self.tid, first).is_ok() {
            self.first = first;
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing is left half done by a panic here.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn regulate(&self) {
        let _same = set(gettid().as_raw_nonzero().get(), true);
        let mut state = self.lock();
        while !state.over {
            state.threads.retain_mut(Thread::regulate);
            let again = self.over.wait_timeout(state, LOOK_EVERY);
            state = again.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.threads.iter_mut().for_each(|thread| thread.change(false));
    }
}

impl Priority {
    /// Without `CAP_SYS_NICE`, or where the control group has no real-time share, every thread stays what it is.
    pub(crate) fn start() -> Self {
        let state = State { over: false, threads: Vec::new() };
        let shared = Arc::new(Shared { state: Mutex::new(state), over: Condvar::new() });
        let kept = Arc::clone(&shared);
        let start = || {
            let thread = thread::Builder::new().name("warplens-first".to_owned());
            thread.spawn(move || kept.regulate()).ok()
        };
        let regulator = ordinary_because().is_none().then(start).flatten();
        Self { shared, regulator }
    }

    /// The calling thread comes first.
    pub(crate) fn raise(&self) {
        self.raise_thread(gettid().as_raw_nonzero().get());
    }

    /// This thread of this program comes first.
    pub(super) fn raise_thread(&self, tid: i32) {
        if self.is_raised() {
            self.shared.lock().threads.extend(Thread::raised(tid));
        }
    }

    /// Whether any thread comes first.
    pub(super) fn is_raised(&self) -> bool {
        self.regulator.is_some()
    }
}

impl Drop for Priority {
    fn drop(&mut self) {
        self.shared.lock().over = true;
        self.shared.over.notify_one();
        // A panic of it was printed by itself.
        let _ended = self.regulator.take().map(JoinHandle::join);
    }
}

/// Why an observing thread would be an ordinary one here; `None`: it comes before those.
pub fn ordinary_because() -> Option<&'static str> {
    let tid = gettid().as_raw_nonzero().get();
    if std::env::var_os(VARIABLE).is_some_and(|value| value == "0") {
        Some("WARPLENS_REAL_TIME is 0")
    } else if set(tid, true).and_then(|()| set(tid, false)).is_err() {
        Some("needs CAP_SYS_NICE, and a control group with a real-time share")
    } else {
        None
    }
}

/// CPU time of a thread of this program; `None` where there is none of that number.
#[expect(unsafe_code, reason = "no library offers the clock of another thread")]
fn used(tid: i32) -> Option<Duration> {
    // As the kernel's headers make the number of a thread's CPU clock: `MAKE_THREAD_CPUCLOCK(tid, CPUCLOCK_SCHED)`.
    let clock = (!tid << 3) | 0b110;
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure lives through the call, which writes it.
    let had = unsafe { libc::clock_gettime(clock, &raw mut time) } == 0;
    let time = || {
        let (seconds, ns) = (u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?);
        Some(Duration::new(seconds, ns))
    };
    had.then(time).flatten()
}

#[expect(unsafe_code, reason = "no library offers the call")]
fn set(tid: i32, first: bool) -> io::Result<()> {
    // Threads that this one starts are ordinary ones.
    let class = if first { libc::SCHED_RR | libc::SCHED_RESET_ON_FORK } else { libc::SCHED_OTHER };
    let parameter = libc::sched_param { sched_priority: if first { LOWEST } else { 0 } };
    // SAFETY: the structure lives through the call, which only reads it.
    match unsafe { libc::sched_setscheduler(tid, class, &raw const parameter) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    /// Of a thread: 0 ordinary, 2 real-time with turns.
    fn class(tid: i32) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/self/task/{tid}/stat")).unwrap();
        // Field 41, `policy`, counted behind the name.
        stat.rsplit_once(')').unwrap().1.split_whitespace().nth(38).unwrap().parse().unwrap()
    }

    fn own_class() -> u64 {
        class(gettid().as_raw_nonzero().get())
    }

    /// Computes until this thread has the class; whether it came to have it.
    fn spin_until(wanted: u64) -> bool {
        let begin = Instant::now();
        while own_class() != wanted {
            if begin.elapsed() > PATIENCE {
                return false;
            }
        }
        true
    }

    fn had() -> bool {
        let had = ordinary_because().is_none();
        if !had {
            println!("SKIP priority: this machine gives no real-time class");
        }
        had
    }

    #[test]
    fn a_thread_that_uses_much_is_an_ordinary_one_until_the_second_is_over() {
        if !had() {
            return;
        }
        let priority = Priority::start();
        priority.raise();
        assert_eq!(own_class(), 2);
        // Within its share it stays what it is.
        thread::sleep(4 * LOOK_EVERY);
        assert_eq!(own_class(), 2);
        let begin = used(gettid().as_raw_nonzero().get()).unwrap();
        assert!(spin_until(0));
        let spent = used(gettid().as_raw_nonzero().get()).unwrap().saturating_sub(begin);
        assert!(spent > WINDOW / SHARE / 2, "{spent:?}");
        assert!(spin_until(2), "raised again with the next second");
        // Threads of its own are ordinary from the start.
        assert_eq!(thread::spawn(own_class).join().unwrap(), 0);
        drop(priority);
        assert_eq!(own_class(), 0);
    }

    #[test]
    fn another_thread_is_raised_and_an_ended_one_forgotten() {
        if !had() {
            return;
        }
        let priority = Priority::start();
        let (say, hear) = channel();
        let (end, ended) = channel::<()>();
        let other = thread::spawn(move || {
            say.send(gettid().as_raw_nonzero().get()).unwrap();
            let _over = ended.recv();
        });
        let tid = hear.recv().unwrap();
        priority.raise_thread(tid);
        assert_eq!(class(tid), 2);
        assert_eq!(own_class(), 0);
        drop(end);
        other.join().unwrap();
        let begin = Instant::now();
        while !priority.shared.lock().threads.is_empty() {
            assert!(begin.elapsed() < PATIENCE);
            thread::sleep(LOOK_EVERY);
        }
        priority.raise_thread(tid);
        assert!(priority.shared.lock().threads.is_empty(), "it is gone");
    }
}
