//! Samples on every CPU: one perf event on each that is online, which runs the kernel program when it fires, by its clock
//! or whenever a page is touched for the first time.
//!
//! [`Sampler::turn`] gives clocks their next frequency, and looks for CPUs that came and went.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::BorrowedFd;

use analysis::ids::Ns;
use perf_event_open_sys::bindings::{
    PERF_COUNT_SW_CPU_CLOCK, PERF_COUNT_SW_PAGE_FAULTS, PERF_TYPE_SOFTWARE, perf_event_attr,
};

use super::error::SAMPLE_RATE;
use super::event::Event;
use super::jitter::{Phase, Round, Rounds};
use super::{PerfError, cpus};

/// How often to look for CPUs that came online, ns: they come when somebody says so.
const LOOK_EVERY_NS: u64 = 2_000_000_000;

#[derive(Debug)]
struct Clock {
    event: Event,
    round: Round,
}

/// When a sample is taken.
#[derive(Debug)]
enum When {
    /// By a CPU's clock.
    Clock(Rounds),
    /// Whenever a page is touched for the first time.
    Touch,
}

impl When {
    fn first(&mut self, now: Ns) -> Round {
        match self {
            Self::Clock(rounds) => rounds.first(now),
            Self::Touch => Round { period: 1, until: None },
        }
    }

    fn next(&mut self, now: Ns) -> Round {
        match self {
            Self::Clock(rounds) => rounds.next(now),
            Self::Touch => self.first(now),
        }
    }

    fn config(&self) -> u64 {
        match self {
            Self::Clock(_) => PERF_COUNT_SW_CPU_CLOCK.into(),
            Self::Touch => PERF_COUNT_SW_PAGE_FAULTS.into(),
        }
    }
}

/// Samples until it is dropped.
#[derive(Debug)]
pub struct Sampler {
    clocks: BTreeMap<u32, Clock>,
    when: When,
    looked: Ns,
}

impl Sampler {
    /// Runs `program` `hz` times a second on every CPU that is online, on average.
    pub fn start(
        program: BorrowedFd<'_>,
        hz: u32,
        phase: Phase,
        now: Ns,
    ) -> Result<Self, PerfError> {
        let most = most();
        // A round may be half as fast again.
        if hz == 0 || hz > most / 3 * 2 {
            return Err(PerfError::Rate { hz, most: most / 3 * 2 });
        }
        Self::of(When::Clock(Rounds::new(hz, phase)), program, now)
    }

    /// Runs `program` whenever a page is touched for the first time, on every CPU that is online.
    pub fn touches(program: BorrowedFd<'_>, now: Ns) -> Result<Self, PerfError> {
        Self::of(When::Touch, program, now)
    }

    fn of(when: When, program: BorrowedFd<'_>, now: Ns) -> Result<Self, PerfError> {
        let mut sampler = Self { clocks: BTreeMap::new(), when, looked: now };
        sampler.look(program, &cpus::online()?, now)?;
        Ok(sampler)
    }

    /// CPUs that are sampled.
    pub fn cpus(&self) -> usize {
        self.clocks.len()
    }

    /// Time has passed. To be called several times a second.
    pub fn turn(&mut self, program: BorrowedFd<'_>, now: Ns) -> Result<(), PerfError> {
        let clocks = self.clocks.len();
        let when = &mut self.when;
        self.clocks.retain(|_, clock| {
            if clock.round.until.is_none_or(|until| until > now) {
                return true;
            }
            clock.round = when.next(now);
            // A clock that cannot be set is that of a CPU that went.
            clock.event.set_period(clock.round.period).is_ok()
        });
        let lost = self.clocks.len() < clocks;
        if lost || now.0.saturating_sub(self.looked.0) >= LOOK_EVERY_NS {
            self.looked = now;
            self.look(program, &cpus::online()?, now)?;
        }
        Ok(())
    }

    /// Ends the clocks of CPUs that went, and starts those of CPUs that came.
    fn look(&mut self, program: BorrowedFd<'_>, online: &[u32], now: Ns) -> Result<(), PerfError> {
        self.clocks.retain(|cpu, _| online.contains(cpu));
        for &cpu in online {
            if self.clocks.contains_key(&cpu) {
                continue;
            }
            let round = self.when.first(now);
            let event = match start(cpu, self.when.config(), round.period, program) {
                // It went after it was listed.
                Err(PerfError::Clock { source, .. })
                    if source.raw_os_error() == Some(libc::ENODEV) =>
                {
                    continue;
                }
                other => other?,
            };
            self.clocks.insert(cpu, Clock { event, round });
        }
        Ok(())
    }
}

fn start(cpu: u32, config: u64, period: u64, program: BorrowedFd<'_>) -> Result<Event, PerfError> {
    let mut attributes =
        perf_event_attr { type_: PERF_TYPE_SOFTWARE, config, ..perf_event_attr::default() };
    attributes.sample_period = period;
    // The first sample comes when the program is there to take it.
    attributes.set_disabled(1);
    let failed = |source| PerfError::Clock { cpu, source };
    let event = Event::on_cpu(&mut attributes, cpu).map_err(failed)?;
    event.run_program(program).map_err(|source| PerfError::Program { cpu, source })?;
    event.enable().map_err(failed)?;
    Ok(event)
}

/// The most samples a second this kernel takes; 100 000, its default, where it does not say.
fn most() -> u32 {
    let text = fs::read_to_string(SAMPLE_RATE).ok();
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(100_000)
}
