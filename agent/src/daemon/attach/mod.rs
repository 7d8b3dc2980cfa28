//! The shim for workers that were started without it, as the operator's policy has it.
//!
//! ```text
//! observer: workers without a ring, and what policy says of them ─┐
//! [attach], the switch, the breaker ──────────────────────────────┼─> Plan ─> threads, one try each ─> `attach --pid`
//!                                                 what became of it <────────────────────┘     a child of ours
//! ```
//!
//! The observing thread never waits for a try.

mod child;
mod config;
mod plan;

pub use config::AttachConfig;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use analysis::ids::Ns;
use analysis::level::Level;
use analysis::level::operator::Identity;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::commands::screen;
use crate::inject::Outcome;
use crate::observe::{Observer, Shimless, now};
use crate::output::words;
use crate::proc;
use child::Told;
use plan::{Candidate, Gate, Plan, Process};

/// Between two looks for workers without a shim.
const LOOK: Duration = Duration::from_secs(1);

/// See the module's text.
#[derive(Debug)]
pub struct Attacher {
    config: AttachConfig,
    plan: Plan,
    tries: Sender<Process>,
    told: Receiver<Told>,
    looked: Option<Instant>,
}

impl Attacher {
    /// Starts the threads that wait for tries. They end with their channel, and a try under way by itself.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(config: AttachConfig) -> std::io::Result<Self> {
        let (tries, asked) = bounded::<Process>(config.at_once);
        let (telling, told) = unbounded();
        for _ in 0..config.at_once {
            let (asked, telling) = (asked.clone(), telling.clone());
            thread::Builder::new().name("attach".to_owned()).spawn(move || {
                for process in asked {
                    // Whoever asked may have ended.
                    let _gone = telling.send(child::enter(process));
                }
            })?;
        }
        Ok(Self { plan: Plan::new(config.clone()), config, tries, told, looked: None })
    }

    /// Hears what became of tries, and begins one where it is time.
    pub fn round(&mut self, observer: &Observer) {
        while let Ok(told) = self.told.try_recv() {
            self.hear(&told);
        }
        if self.looked.is_some_and(|at| at.elapsed() < LOOK) {
            return;
        }
        self.looked = Some(Instant::now());
        let gate = if observer.enters_nobody() { Gate::Shut } else { Gate::Open };
        let candidates: Vec<Candidate> =
            observer.shimless().iter().filter_map(|found| self.candidate(found)).collect();
        let lives = |process: Process| proc::runs_since(process.pid, process.start);
        if let Some(process) = self.plan.next(now(), gate, &candidates, lives) {
            // There is a thread for each try that the plan lets be under way.
            let _room = self.tries.try_send(process);
        }
    }

    /// How often each outcome was seen.
    pub fn counts(&self) -> &BTreeMap<Outcome, u64> {
        self.plan.counts()
    }

    fn candidate(&self, found: &Shimless) -> Option<Candidate> {
        let allowed = found.bound.level > Level::Dormant && self.config.wants(&found.info);
        allowed.then(|| Candidate {
            process: Process { pid: found.info.pid, start: found.start },
            server: found.server.clone(),
            draw: Identity::of(&found.name),
            age: proc::age(found.start),
        })
    }

    fn hear(&mut self, told: &Told) {
        let Told { process, outcome, stopped_ns, reason } = told;
        let at: Ns = now();
        let done = self.plan.on_outcome(at, *process, *outcome);
        let pid = process.pid;
        let stopped = stopped_ns.map(words::duration).unwrap_or_default();
        match (outcome, reason) {
            (Outcome::Attached, _) => screen::say(&format!(
                "warplens: process {pid} has the shim from here on: a thread was stopped for {stopped} at most"
            )),
            (_, reason) if done => {
                let reason = reason.as_deref().unwrap_or("no reason");
                screen::say(&format!("warplens: process {pid} is not entered: {reason}"));
            }
            // It is tried again.
            _ => {}
        }
        if *outcome == Outcome::Ended && self.plan.is_halted() {
            screen::say(&format!(
                "warplens: process {pid} ended while it was entered: no other is, until this daemon starts again"
            ));
        }
    }
}
