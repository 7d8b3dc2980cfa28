//! Engine steps: what one pass of the model did, how long it took, for how many sequences.
//!
//! A trace names them: vLLM's annotation `execute_context_N(T)_generation_M(T)` covers the launches
//! of one step, of N prompts and M single tokens. Live there is no such range, so the work itself
//! is read: a step ends with the copy of the sampled tokens to the host, that is with the first
//! copy to the host behind a sampling kernel. What was launched after that copy belongs to the next
//! step, also where it ran first: the copy has a stream of its own. A process that never samples (all
//! but the last pipeline stage) shows no steps.
//!
//! A step lasts from the start of its first work to the end of its last.
//!
//! The phase of a step that nothing names:
//! - attention kernels of prompts, of single tokens, or of both tell it;
//! - else attention inside an executed graph means decode: vLLM puts attention into graphs only
//!   for batches of single tokens;
//! - else attention outside a step's graphs means a batch with a prompt: mixed behind a step of
//!   single tokens, which go on, else prefill;
//! - else it is unknown.
//!
//! The batch of a decode step is the number of tokens whose keys and values were stored: the grid
//! of a kernel that writes the KV cache has one block (along x) per token. Inside a graph that is
//! the size the graph was captured for.

use crate::classify::Kind;
use crate::report::{Histogram, StepPhase, StepStats};
use crate::timeline::device::Pending;

/// A step longer than this was not seen to end, ns: nothing is said of it. Far above the longest
/// prompt of a server that answers.
const STEP_MAX_NS: u64 = 10_000_000_000;

/// Work behind a sampler that waits for the copy which tells whose it is. A step has some ten; more
/// is taken for the step's.
const BEHIND_SAMPLER: usize = 1024;

/// Of a work what tells steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stepped {
    start: u64,
    end: u64,
    /// Order of launch.
    correlation: u64,
    kind: Kind,
    in_graph: bool,
    to_host: bool,
    is_kernel: bool,
    grid_x: u16,
    /// [`Named`], 0 where the launch was in no named step.
    step: u32,
}

impl Stepped {
    pub(crate) const fn of(work: &Pending) -> Self {
        Self {
            start: work.start,
            end: work.end,
            correlation: work.correlation,
            kind: work.kind,
            in_graph: work.is_graph,
            to_host: work.to_host,
            is_kernel: work.is_kernel,
            grid_x: work.grid_x,
            step: work.step,
        }
    }
}

/// A step that a trace names, in 32 bits that work can carry: 16 of a running number, 2 of the
/// phase, 14 of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Named(u32);

impl Named {
    /// The `number`th step named `label`, if that is a step's name.
    pub(crate) fn parse(label: &str, number: u32) -> Option<Self> {
        let rest = label.strip_prefix("execute_context_")?;
        let (context, rest) = rest.split_once('(')?;
        let (_, rest) = rest.split_once(")_generation_")?;
        let (generation, _) = rest.split_once('(')?;
        let (prompts, tokens): (u32, u32) = (context.parse().ok()?, generation.parse().ok()?);
        let (phase, batch) = match (prompts, tokens) {
            (0, 0) => (3, 0),
            (prompts, 0) => (0, prompts),
            (0, tokens) => (1, tokens),
            (prompts, tokens) => (2, prompts.saturating_add(tokens)),
        };
        // Never 0, whatever the rest is.
        let number = number % 0xffff + 1;
        Some(Self(number << 16 | phase << 14 | batch.min(0x3fff)))
    }

    pub(crate) const fn code(self) -> u32 {
        self.0
    }

    const fn phase(self) -> StepPhase {
        match self.0 >> 14 & 3 {
            0 => StepPhase::Prefill,
            1 => StepPhase::Decode,
            2 => StepPhase::Mixed,
            _ => StepPhase::Unknown,
        }
    }

    const fn batch(self) -> u32 {
        self.0 & 0x3fff
    }
}

#[derive(Clone, Copy, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is one thing seen, in any combination")]
struct Current {
    start: u64,
    end: u64,
    named: u32,
    prompt: bool,
    single: bool,
    attention_in_graph: bool,
    attention_eager: bool,
    graphs: bool,
    sampled: bool,
    tokens: u16,
}

/// A step that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) phase: StepPhase,
    pub(crate) batch: Option<u32>,
}

/// The steps of one process on one device. Work comes by start.
#[derive(Debug, Default)]
pub(crate) struct Stepper {
    current: Option<Current>,
    /// What ran behind the sampler of the open step.
    behind: Vec<Stepped>,
    /// A trace names the steps: nothing is guessed.
    named: bool,
    last: Option<Step>,
    stats: [StepStats; StepPhase::ALL.len()],
    idle: u64,
    /// Steps not taken yet by whoever draws them.
    pub(crate) over: Vec<Step>,
}

impl Stepper {
    pub(crate) fn work(&mut self, work: &Stepped) {
        if work.step != 0 {
            if !self.named {
                // What was guessed before the first name is not a step.
                self.named = true;
                self.abandon();
            }
            if self.current.is_some_and(|current| current.named != work.step) {
                self.close();
            }
        } else if self.named {
            return;
        } else if self
            .current
            .is_some_and(|current| work.start.saturating_sub(current.start) > STEP_MAX_NS)
        {
            self.abandon();
        }
        if self.current.is_none() && work.to_host && !self.named {
            // A further result of the step before.
            return;
        }
        let current = self.current.get_or_insert(Current {
            start: work.start,
            named: work.step,
            ..Current::default()
        });
        if self.named || !current.sampled {
            current.take(work);
        } else if work.to_host {
            self.sampled_to_host(work);
        } else if self.behind.len() < BEHIND_SAMPLER {
            self.behind.push(*work);
        } else {
            current.take(work);
        }
    }

    /// The results of the open step go to the host: what was launched before is the step's.
    fn sampled_to_host(&mut self, copy: &Stepped) {
        let behind = std::mem::take(&mut self.behind);
        let (own, next): (Vec<Stepped>, Vec<Stepped>) =
            behind.into_iter().partition(|work| work.correlation < copy.correlation);
        if let Some(current) = &mut self.current {
            for work in &own {
                current.take(work);
            }
            current.take(copy);
        }
        self.close();
        for work in next {
            self.work(&work);
        }
    }

    /// Nothing is said of the open step.
    fn abandon(&mut self) {
        self.current = None;
        self.behind.clear();
    }

    /// Ends the open step, if a trace names it; another is not known to be whole.
    pub(crate) fn finish(&mut self) {
        if self.named {
            self.close();
        }
    }

    /// Steps by phase.
    pub(crate) fn stats(&self) -> impl Iterator<Item = (StepPhase, &StepStats)> {
        StepPhase::ALL.into_iter().zip(&self.stats).filter(|(_, stats)| stats.count > 0)
    }

    pub(crate) const fn idle(&self) -> u64 {
        self.idle
    }

    fn close(&mut self) {
        let Some(current) = self.current.take() else {
            return;
        };
        let named = Some(Named(current.named)).filter(|named| named.0 != 0);
        let phase = match named {
            Some(named) => named.phase(),
            None => current.phase(self.last.map(|last| last.phase)),
        };
        let tokens = Some(u32::from(current.tokens)).filter(|&tokens| tokens > 0);
        let batch = match named {
            Some(named) => Some(named.batch()).filter(|&batch| batch > 0),
            None => tokens.filter(|_| phase == StepPhase::Decode),
        };
        let step = Step { start: current.start, end: current.end, phase, batch };
        if let Some(last) = self.last {
            self.idle += step.start.saturating_sub(last.end);
        }
        let stats = &mut self.stats[phase as usize];
        let duration = step.end.saturating_sub(step.start);
        stats.count += 1;
        stats.total = stats.total.saturating_add(duration);
        stats.durations.add(Histogram::DURATION_NS, duration);
        if let Some(batch) = batch {
            stats.batch.add(Histogram::BATCH, u64::from(batch));
        }
        self.last = Some(step);
        self.over.push(step);
    }
}

impl Current {
    fn take(&mut self, work: &Stepped) {
        self.end = self.end.max(work.end);
        self.graphs |= work.in_graph;
        match work.kind {
            Kind::Prefill => self.prompt = true,
            Kind::Decode => self.single = true,
            Kind::Sampling => self.sampled = true,
            Kind::KvCache if work.is_kernel => self.tokens = self.tokens.max(work.grid_x),
            _ => {}
        }
        if matches!(work.kind, Kind::Generic | Kind::Mla | Kind::LinearSsm) {
            self.attention_in_graph |= work.in_graph;
            self.attention_eager |= !work.in_graph;
        }
    }

    fn phase(&self, before: Option<StepPhase>) -> StepPhase {
        match (self.prompt, self.single) {
            (true, true) => StepPhase::Mixed,
            (true, false) => StepPhase::Prefill,
            (false, true) => StepPhase::Decode,
            (false, false) if self.attention_in_graph => StepPhase::Decode,
            (false, false) if self.attention_eager && self.graphs => match before {
                Some(StepPhase::Decode | StepPhase::Mixed) => StepPhase::Mixed,
                _ => StepPhase::Prefill,
            },
            (false, false) => StepPhase::Unknown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Named, Step, Stepped, Stepper};
    use crate::classify::Kind;
    use crate::report::StepPhase::{self, Decode, Mixed, Prefill, Unknown};

    const EAGER: Stepped = Stepped {
        start: 0,
        end: 0,
        correlation: 0,
        kind: Kind::Other,
        in_graph: false,
        to_host: false,
        is_kernel: true,
        grid_x: 0,
        step: 0,
    };

    fn eager(start: u64, kind: Kind) -> Stepped {
        Stepped { start, end: start + 5, correlation: start, kind, ..EAGER }
    }

    fn graph(start: u64, kind: Kind) -> Stepped {
        Stepped { in_graph: true, ..eager(start, kind) }
    }

    fn to_host(start: u64) -> Stepped {
        Stepped { to_host: true, is_kernel: false, ..eager(start, Kind::Memcpy) }
    }

    fn run(work: &[Stepped]) -> Stepper {
        let mut stepper = Stepper::default();
        for work in work {
            stepper.work(work);
        }
        stepper.finish();
        stepper
    }

    fn phases(stepper: &Stepper) -> Vec<StepPhase> {
        stepper.over.iter().map(|step| step.phase).collect()
    }

    #[test]
    fn a_name_tells_phase_and_batch() {
        let named =
            |label: &str| Named::parse(label, 0).map(|named| (named.phase(), named.batch()));
        assert_eq!(named("execute_context_1(888_788544)_generation_0(0)"), Some((Prefill, 1)));
        assert_eq!(named("execute_context_0(0)_generation_64(64)"), Some((Decode, 64)));
        assert_eq!(named("execute_context_2(9)_generation_3(3)"), Some((Mixed, 5)));
        for other in ["execute_context_", "execute_context_x(1)_generation_1(1)", "forward", ""] {
            assert_eq!(named(other), None, "{other}");
        }
        assert_ne!(Named::parse("execute_context_0(0)_generation_0(0)", 0xffff).unwrap().code(), 0);
    }

    #[test]
    fn a_step_ends_with_the_copy_behind_the_sampler() {
        let stepper = run(&[
            graph(10, Kind::Generic),
            to_host(20),
            eager(30, Kind::Sampling),
            to_host(40),
            to_host(50),
            graph(60, Kind::Generic),
            eager(70, Kind::Sampling),
            to_host(80),
            graph(90, Kind::Generic),
        ]);
        let decode = Decode;
        assert_eq!(
            stepper.over,
            [
                Step { start: 10, end: 45, phase: decode, batch: None },
                Step { start: 60, end: 85, phase: decode, batch: None },
            ]
        );
        assert_eq!(stepper.idle(), 15);
        assert_eq!(
            stepper.stats().map(|(phase, s)| (phase, s.count, s.total)).collect::<Vec<_>>(),
            [(decode, 2, 60)]
        );
    }

    #[test]
    fn what_was_launched_behind_the_copy_is_the_next_steps() {
        let early = Stepped { correlation: 45, ..eager(35, Kind::Prefill) };
        let stepper = run(&[
            graph(10, Kind::Generic),
            eager(30, Kind::Sampling),
            early,
            to_host(40),
            eager(50, Kind::Sampling),
            to_host(60),
        ]);
        assert_eq!(phases(&stepper), [Decode, Prefill]);
        assert_eq!((stepper.over[0].end, stepper.over[1].start), (45, 35));
    }

    #[test]
    fn attention_tells_the_phase() {
        let step = |start: u64, work: &[Stepped]| {
            let mut all = work.to_vec();
            all.push(eager(start + 100, Kind::Sampling));
            all.push(to_host(start + 110));
            all
        };
        let all = [
            step(0, &[eager(0, Kind::Prefill)]),
            step(1000, &[eager(1000, Kind::Decode)]),
            step(2000, &[eager(2000, Kind::Decode), eager(2010, Kind::Prefill)]),
            step(3000, &[graph(3000, Kind::Dense), eager(3010, Kind::Generic)]),
            step(4000, &[eager(4000, Kind::Generic)]),
            step(5000, &[graph(5000, Kind::Dense), eager(5010, Kind::Generic)]),
        ]
        .concat();
        assert_eq!(phases(&run(&all)), [Prefill, Decode, Mixed, Mixed, Unknown, Prefill]);
    }

    #[test]
    fn the_cache_writer_tells_the_batch() {
        let writer = Stepped { grid_x: 48, ..graph(20, Kind::KvCache) };
        let work = [graph(10, Kind::Generic), writer, eager(30, Kind::Sampling), to_host(40)];
        assert_eq!(run(&work).over[0].batch, Some(48));
    }

    #[test]
    fn names_rule_out_guesses() {
        let step = Named::parse("execute_context_0(0)_generation_7(7)", 1).unwrap().code();
        let next = Named::parse("execute_context_0(0)_generation_7(7)", 2).unwrap().code();
        let named = |start, step| Stepped { step, ..eager(start, Kind::Sampling) };
        let stepper = run(&[
            eager(0, Kind::Dense),
            named(10, step),
            to_host(20),
            named(30, step),
            named(40, next),
        ]);
        let decode = |start, end| Step { start, end, phase: Decode, batch: Some(7) };
        assert_eq!(stepper.over, [decode(10, 35), decode(40, 45)]);
    }

    #[test]
    fn what_never_samples_shows_no_steps() {
        let work: Vec<Stepped> = (0..30)
            .flat_map(|n| [eager(n * 1_000_000_000, Kind::Dense), to_host(n * 1_000_000_000 + 9)])
            .collect();
        assert_eq!(run(&work).over, []);
    }
}
