//! The observing thread. Others ask it through a channel; it never waits for them.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tokio::sync::oneshot;

use crate::capture::Capture;
use crate::commands::screen;
use crate::observe::{Drops, Guarded, ObserveError, Observer, Refused, now};
use crate::output::prometheus::{SlidingWindows, WindowShares};

/// Between two rounds.
const ROUND: Duration = Duration::from_millis(100);
/// Between two looks at how the devices spend their time.
const LOOK: Duration = Duration::from_secs(1);
/// A round takes milliseconds; a watcher silent for this long is stuck.
const STUCK: Duration = Duration::from_secs(10);
/// Questions waiting for an answer: more than any sensible number of scrapers.
const QUESTIONS: usize = 16;

/// What the observing thread answers.
#[derive(Debug)]
pub struct Answer {
    /// What is final so far.
    pub capture: Capture,
    pub drops: Drops,
    /// How each device spent its latest time.
    pub windows: Vec<WindowShares>,
    pub guarded: Guarded,
}

/// What the observing thread tells without being asked.
#[derive(Debug)]
pub struct Health {
    since: Instant,
    /// Milliseconds after `since` of the latest round.
    beat: AtomicU64,
    /// The first look for workers is done.
    ready: AtomicBool,
}

impl Health {
    /// The observing thread makes its rounds.
    pub fn alive(&self) -> bool {
        let beat = Duration::from_millis(self.beat.load(Ordering::Relaxed));
        self.since.elapsed().saturating_sub(beat) < STUCK
    }

    pub fn ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed) && self.alive()
    }
}

/// Asks the observing thread; for as many holders as like.
#[derive(Clone, Debug)]
pub struct Asker {
    pub health: Arc<Health>,
    questions: Sender<oneshot::Sender<Answer>>,
}

impl Asker {
    /// What is final so far. `None`: the watcher is stuck, gone, or asked too often.
    pub async fn ask(&self) -> Option<Answer> {
        let (sender, receiver) = oneshot::channel();
        match self.questions.try_send(sender) {
            Ok(()) => tokio::time::timeout(STUCK, receiver).await.ok()?.ok(),
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => None,
        }
    }
}

/// The observing thread.
#[derive(Debug)]
pub struct Watcher {
    asker: Asker,
    stop: Arc<AtomicBool>,
    /// Fails when the thread has ended.
    ended: Option<oneshot::Receiver<Infallible>>,
    thread: JoinHandle<Result<(), ObserveError>>,
}

impl Watcher {
    /// Starts observing with what `make` makes on the new thread: an observer stays where it was born.
    pub fn start(
        make: impl FnOnce() -> Result<Observer, ObserveError> + Send + 'static,
    ) -> std::io::Result<Self> {
        let (questions, receiver) = bounded(QUESTIONS);
        let (lives, ended) = oneshot::channel();
        let health = Arc::new(Health {
            since: Instant::now(),
            beat: AtomicU64::new(0),
            ready: AtomicBool::new(false),
        });
        let stop = Arc::new(AtomicBool::new(false));
        let (thread_health, thread_stop) = (Arc::clone(&health), Arc::clone(&stop));
        let thread = thread::Builder::new().name("watcher".to_owned()).spawn(move || {
            // Dropped with the thread, also in a panic.
            let _lives: oneshot::Sender<Infallible> = lives;
            watch(make()?, &receiver, &thread_health, &thread_stop)
        })?;
        Ok(Self { asker: Asker { health, questions }, stop, ended: Some(ended), thread })
    }

    pub fn asker(&self) -> Asker {
        self.asker.clone()
    }

    /// Completes when the thread has ended by itself. Never again after the first call.
    pub fn ended(&mut self) -> impl Future<Output = ()> + Send + 'static {
        let ended = self.ended.take();
        async move {
            match ended {
                Some(ended) => drop(ended.await),
                None => std::future::pending().await,
            }
        }
    }

    /// Ends the observation: every worker is let go.
    pub fn stop(self) -> Result<(), ObserveError> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    }
}

fn watch(
    mut observer: Observer,
    questions: &Receiver<oneshot::Sender<Answer>>,
    health: &Health,
    stop: &AtomicBool,
) -> Result<(), ObserveError> {
    let mut told: Vec<Refused> = Vec::new();
    let mut windows = SlidingWindows::default();
    let mut looked: Option<Instant> = None;
    while !stop.load(Ordering::Relaxed) {
        observer.turn()?;
        if told != observer.refused() {
            // Each once, and again when it comes back.
            for refused in observer.refused().iter().filter(|refused| !told.contains(refused)) {
                screen::say(&format!("warplens: not observed: {}", refused.reason));
            }
            told = observer.refused().to_vec();
        }
        let elapsed = u64::try_from(health.since.elapsed().as_millis()).unwrap_or(u64::MAX);
        health.beat.store(elapsed, Ordering::Relaxed);
        health.ready.store(true, Ordering::Relaxed);
        if looked.is_none_or(|at| at.elapsed() >= LOOK) {
            looked = Some(Instant::now());
            windows.add(now().0, &observer.pipeline().summary().devices);
        }
        if let Ok(question) = questions.recv_timeout(ROUND) {
            observer.look_at_sleepers()?;
            let capture = observer.pipeline().capture();
            windows.add(now().0, &capture.report.devices);
            let shares = windows.latest(now().0);
            // Whoever asked may have gone away.
            let _gone = question.send(Answer {
                capture,
                drops: observer.drops(),
                windows: shares,
                guarded: observer.guarded(),
            });
        }
    }
    observer.finish().map(drop)
}
