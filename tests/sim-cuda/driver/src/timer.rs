//! Runs host functions at their instant on the virtual device, on a thread of the driver.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Condvar, Mutex, Once, PoisonError};
use std::time::Duration;

use sim_channel::{clock, lock};

/// What is left to run. The number keeps functions of one instant in order.
struct Queue {
    waiting: BinaryHeap<Reverse<(u64, u64)>>,
    jobs: Vec<(u64, Box<dyn FnOnce() + Send>)>,
    running: Option<u64>,
    next: u64,
}

static QUEUE: Mutex<Queue> =
    Mutex::new(Queue { waiting: BinaryHeap::new(), jobs: Vec::new(), running: None, next: 0 });
static CHANGED: Condvar = Condvar::new();
static STARTED: Once = Once::new();

/// Runs `job` once `CLOCK_MONOTONIC` reaches `time`.
pub(crate) fn at(time: u64, job: impl FnOnce() + Send + 'static) {
    STARTED.call_once(|| {
        // Without the thread the functions never run and waits for them never end; there is no
        // caller to tell, and a process that cannot start a thread is lost anyway.
        drop(std::thread::Builder::new().name("sim-host-func".to_owned()).spawn(work));
    });
    let mut queue = lock(&QUEUE);
    let number = queue.next;
    queue.next += 1;
    queue.waiting.push(Reverse((time, number)));
    queue.jobs.push((number, Box::new(job)));
    CHANGED.notify_all();
}

/// Waits until every function due at or before `time` has returned.
pub(crate) fn settle(time: u64) {
    if !STARTED.is_completed() {
        return;
    }
    let mut queue = lock(&QUEUE);
    while queue.running.is_some_and(|due| due <= time)
        || queue.waiting.peek().is_some_and(|&Reverse((due, _))| due <= time)
    {
        queue = CHANGED.wait(queue).unwrap_or_else(PoisonError::into_inner);
    }
}

fn work() {
    let mut queue = lock(&QUEUE);
    loop {
        let Some(&Reverse((due, number))) = queue.waiting.peek() else {
            queue = CHANGED.wait(queue).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        let now = clock::now();
        if now < due {
            let wait = Duration::from_nanos(due - now);
            queue = CHANGED.wait_timeout(queue, wait).unwrap_or_else(PoisonError::into_inner).0;
            continue;
        }
        queue.waiting.pop();
        queue.running = Some(due);
        let job = queue
            .jobs
            .iter()
            .position(|(other, _)| *other == number)
            .map(|index| queue.jobs.swap_remove(index).1);
        drop(queue);
        if let Some(job) = job {
            job();
        }
        queue = lock(&QUEUE);
        queue.running = None;
        CHANGED.notify_all();
    }
}
