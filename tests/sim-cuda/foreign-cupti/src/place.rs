//! On which thread the profiler's functions are called.

use crate::habit::{Habit, drawn, has};

/// A thread to call on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Whichever is here.
    Here,
    Fresh,
    Tiny,
    Crowd,
}

/// Where this call is made: one of the habits' places.
pub(crate) fn draw() -> Place {
    let mut places = Vec::new();
    for (habit, place) in [
        (Habit::FreshThreads, Place::Fresh),
        (Habit::TinyStacks, Place::Tiny),
        (Habit::Crowd, Place::Crowd),
    ] {
        if has(habit) {
            places.push(place);
        }
    }
    let index = usize::try_from(drawn(places.len() as u64)).unwrap_or(0);
    places.get(index).copied().unwrap_or(Place::Here)
}

/// Runs the jobs, each at its place, and returns when all are done.
pub(crate) fn run(jobs: Vec<Box<dyn FnOnce() + Send>>) {
    match draw() {
        Place::Here => jobs.into_iter().for_each(|job| job()),
        Place::Fresh => jobs.into_iter().for_each(|job| on_thread(None, job)),
        // The C library raises this to what it needs for itself.
        Place::Tiny => jobs.into_iter().for_each(|job| on_thread(Some(1), job)),
        Place::Crowd => {
            let threads: Vec<_> = jobs.into_iter().map(std::thread::spawn).collect();
            for thread in threads {
                // A job cannot panic: it only calls C functions.
                thread.join().unwrap_or_default();
            }
        }
    }
}

fn on_thread(stack: Option<usize>, job: Box<dyn FnOnce() + Send>) {
    let mut builder = std::thread::Builder::new();
    if let Some(bytes) = stack {
        builder = builder.stack_size(bytes);
    }
    // Without a thread the job is lost, and the test that waits for its records says so.
    if let Ok(thread) = builder.spawn(job) {
        thread.join().unwrap_or_default();
    }
}
