//! The observing thread. Others ask it through a channel; it never waits for them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use tokio::sync::oneshot;

use super::attach::Attacher;
use crate::capture::Capture;
use crate::collect::Collection;
use crate::commands::screen;
use crate::flight::{Flight, Stats};
use crate::govern::Governed;
use crate::inject::Outcome;
use crate::observe::{Drops, Guarded, ObserveError, Observer, Refused, now};
use crate::output::prometheus::{Estimates, SlidingWindows, WindowShares, WorkerLevel};
use analysis::level::armed::Estimated;

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
    /// And its last hour, by its index.
    pub estimates: Vec<(u32, Estimated)>,
    pub guarded: Guarded,
    pub yields: u64,
    /// `None`: servers are not asked.
    pub collected: Option<Collected>,
    /// What was decided on levels, and for whom.
    pub governed: Option<(Governed, Vec<WorkerLevel>)>,
    /// Workers with a known fault, by its name and effect.
    pub faults: BTreeMap<(&'static str, String), u64>,
    /// `None`: the latest past is not kept.
    pub flight: Option<Stats>,
    /// What became of processes that were to be entered; `None`: none is.
    pub entered: Option<BTreeMap<Outcome, u64>>,
}

/// What became of asking servers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Every server answered when it was asked last; `None`: there is none.
    pub well: Option<bool>,
    /// Answers that were read, and that were not. Only grow.
    pub read: u64,
    pub failed: u64,
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
    /// Starts observing with what `make` makes on the new thread: an observer stays where it was born. `flight`
    /// writes what it keeps; `attacher` brings the shim to workers without it, `collection` asks servers.
    pub fn start(
        flight: Option<Flight>,
        attacher: Option<Attacher>,
        collection: Option<Collection>,
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
            watch(make()?, flight, attacher, collection, &receiver, &thread_health, &thread_stop)
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
    mut flight: Option<Flight>,
    mut attacher: Option<Attacher>,
    mut collection: Option<Collection>,
    questions: &Receiver<oneshot::Sender<Answer>>,
    health: &Health,
    stop: &AtomicBool,
) -> Result<(), ObserveError> {
    let mut told: Vec<Refused> = Vec::new();
    let mut windows = SlidingWindows::default();
    let mut estimates = Estimates::default();
    let mut looked: Option<Instant> = None;
    while !stop.load(Ordering::Relaxed) {
        observer.turn()?;
        if let Some(flight) = &mut flight {
            flight.round(&mut observer)?;
        }
        if let Some(attacher) = &mut attacher {
            attacher.round(&observer);
        }
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
            let devices = observer.pipeline().summary().devices;
            windows.add(now().0, &devices);
            estimates.add(&devices);
            if let Some(collection) = &mut collection {
                collection.publish(observer.served());
                for report in collection.take() {
                    observer.on_report(&report)?;
                }
                for saying in collection.take_sayings() {
                    screen::say(&format!("warplens: {saying}"));
                }
            }
        }
        if let Ok(question) = questions.recv_timeout(ROUND) {
            observer.look_at_sleepers()?;
            let capture = observer.pipeline().capture();
            windows.add(now().0, &capture.report.devices);
            estimates.add(&capture.report.devices);
            let shares = windows.latest(now().0);
            // Whoever asked may have gone away.
            let _gone = question.send(Answer {
                capture,
                drops: observer.drops(),
                windows: shares,
                estimates: estimates.latest(),
                guarded: observer.guarded(),
                yields: observer.yields(),
                collected: collection.as_ref().map(collected),
                governed: observer.governed().cloned().zip(observer.worker_levels()),
                faults: observer.faults_in_force(),
                flight: observer.flight_stats(),
                entered: attacher.as_ref().map(|attacher| attacher.counts().clone()),
            });
        }
    }
    if let Some(flight) = flight {
        flight.end(&mut observer)?;
    }
    observer.finish().map(drop)
}

fn collected(collection: &Collection) -> Collected {
    let (read, failed) = collection.counts();
    Collected { well: collection.well(), read, failed }
}
