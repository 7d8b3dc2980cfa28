//! The observing thread is asked first when a processor is given away.
//!
//! Servers keep every processor busy, often with threads that spin, and share it out between groups of processes
//! and not between threads: an agent was seen to wait for ten seconds, while the kernel's buffers overflowed. So
//! the thread that reads them is in the real-time class, at its lowest priority, and bounds itself: one that used
//! more than [`SHARE`] of a processor in a second is an ordinary thread for the rest of that second.

use std::io;
use std::time::Duration;

use rustix::thread::gettid;
use rustix::time::{ClockId, clock_gettime};

/// Set to `0`, nothing is asked for.
pub(super) const VARIABLE: &str = "WARPLENS_REAL_TIME";

/// Of the real-time class: 1 to 99. Whoever else is in it has its reasons, and comes first.
const LOWEST: i32 = 1;

/// Time that the bound holds for.
const WINDOW: Duration = Duration::from_secs(1);

/// Part of a processor that the thread may use, as a divisor: ten times what reading eight busy workers takes.
const SHARE: u32 = 5;

/// Part of the time that a thread may wait before it is told, as a divisor.
const WAITED_PART: u32 = 20;

/// The class of one thread; given back when dropped.
#[derive(Debug)]
pub(super) struct Priority {
    tid: i32,
    first: bool,
    /// Start of the second, and the thread's CPU time then.
    window: (Duration, Duration),
}

impl Priority {
    /// Raises the calling thread, which calls [`Priority::turn`] from then on. Without `CAP_SYS_NICE`, or where its
    /// control group has no real-time share, it stays what it is.
    pub(super) fn raise() -> Self {
        let tid = gettid().as_raw_nonzero().get();
        let first = wanted() && set(tid, true).is_ok();
        Self { tid, first, window: (elapsed(), used()) }
    }

    /// Whether the thread is asked first at all.
    fn is_raised(&self) -> bool {
        self.first
    }

    /// To be called several times a second by that thread.
    pub(super) fn turn(&mut self) {
        if !self.first {
            return;
        }
        let (now, cpu) = (elapsed(), used());
        let (begin, cpu_then) = self.window;
        if now.saturating_sub(begin) >= WINDOW {
            self.window = (now, cpu);
            self.first = set(self.tid, true).is_ok();
        } else if cpu.saturating_sub(cpu_then) > WINDOW / SHARE {
            // Raised again with the next window.
            let _same = set(self.tid, false);
        }
    }
}

impl Drop for Priority {
    fn drop(&mut self) {
        if self.first {
            let _same = set(self.tid, false);
        }
    }
}

/// Why an observing thread would be an ordinary one here; `None`: it comes before those.
pub fn ordinary_because() -> Option<&'static str> {
    let priority = Priority::raise();
    if priority.is_raised() {
        None
    } else if wanted() {
        Some("needs CAP_SYS_NICE, and a control group with a real-time share")
    } else {
        Some("WARPLENS_REAL_TIME is 0")
    }
}

fn wanted() -> bool {
    std::env::var_os(VARIABLE).is_none_or(|value| value != "0")
}

/// How the observing thread fared among the others.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) priority: Priority,
    since: Duration,
    /// For a processor, before.
    waited: Option<Duration>,
}

impl Standing {
    pub(super) fn of_this_thread() -> Self {
        Self { priority: Priority::raise(), since: elapsed(), waited: waited() }
    }

    /// What the reader should know: a thread that waited long for a processor explains what was lost. Ends the
    /// priority.
    pub(super) fn note(self) -> Option<String> {
        let waited = waited()?.saturating_sub(self.waited?);
        let lasted = elapsed().saturating_sub(self.since);
        (waited > lasted / WAITED_PART).then(|| {
            let (waited, lasted) = (waited.as_secs_f64(), lasted.as_secs_f64());
            let advice = if self.priority.is_raised() {
                "something else here is in the real-time class, too"
            } else {
                "give it CAP_SYS_NICE, or a CPU request"
            };
            format!("Warplens waited {waited:.1} of {lasted:.1} s for a processor: {advice}.")
        })
    }
}

/// Since boot.
fn elapsed() -> Duration {
    since(ClockId::Monotonic)
}

/// CPU time of this thread.
fn used() -> Duration {
    since(ClockId::ThreadCPUTime)
}

fn since(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).unwrap_or_default()
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

/// How long this thread has waited for a processor, by the scheduler's account; `None` where it keeps none.
fn waited() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(text.split_whitespace().nth(1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// Of this thread: 0 ordinary, 2 real-time with turns.
    fn class() -> u64 {
        let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
        // Field 41, `policy`, counted behind the name.
        stat.rsplit_once(')').unwrap().1.split_whitespace().nth(38).unwrap().parse().unwrap()
    }

    fn spin(time: Duration) {
        let begin = Instant::now();
        while begin.elapsed() < time {}
    }

    #[test]
    fn a_thread_that_uses_much_is_an_ordinary_one_until_the_second_is_over() {
        let mut priority = Priority::raise();
        if !priority.is_raised() {
            println!("SKIP priority: this machine gives no real-time class");
            return;
        }
        assert_eq!(class(), 2);
        priority.turn();
        assert_eq!(class(), 2);
        spin(WINDOW / SHARE + Duration::from_millis(20));
        priority.turn();
        assert_eq!(class(), 0);
        // Threads of its own are ordinary from the start.
        std::thread::sleep(WINDOW);
        priority.turn();
        assert_eq!(class(), 2);
        assert_eq!(std::thread::spawn(class).join().unwrap(), 0);
        drop(priority);
        assert_eq!(class(), 0);
    }

    #[test]
    fn waiting_is_counted() {
        assert!(waited().is_some());
    }
}
