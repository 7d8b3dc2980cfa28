//! What is worth telling of a process's memory: verdicts on places and on their sites, brought together.

use super::event::Place;
use super::live::{Held, Judged, Known, Live, Of};
use super::number::{bytes, float};
use super::verdict::{Interval, Kind, Until, Verdict};
use crate::ids::{Ns, StackId};

/// A site explains the growth of its place where it makes up this part of it, or more.
const EXPLAINS: f64 = 0.1;

/// Growth of memory that has pages is explained by findings that make up this part of it.
const EXPLAINED: f64 = 0.5;

/// Sites told of a place at most, the fastest first: who reads more has the flame graph of live bytes.
const SITES: usize = 8;

/// What grows, and what of the rest was asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    pub place: Place,
    /// Who asks for it.
    pub culprit: Culprit,
    /// `Leak` or `Fragmentation` where something is wrong; anything else where a whole place is told for completeness.
    pub kind: Kind,
    /// From 0 to 1, as a [`Verdict`]'s.
    pub confidence: f64,
    /// Bytes per second.
    pub rate: Option<Interval>,
    pub per_thousand_requests: Option<Interval>,
    pub until_limit: Option<Until>,
    pub live_bytes: u64,
    /// Sentences with numbers, the most telling first; last what was not seen.
    pub evidence: Vec<String>,
    /// What to do.
    pub next_step: &'static str,
}

/// Who asks for memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Culprit {
    /// Code with this stack; `None`: its stack was not taken.
    Site(Option<StackId>),
    /// No site explains it.
    Place,
}

impl Culprit {
    pub fn stack(self) -> Option<StackId> {
        match self {
            Self::Site(stack) => stack,
            Self::Place => None,
        }
    }
}

impl Finding {
    /// Whether something is wrong.
    pub fn is_problem(&self) -> bool {
        is_problem(self.kind)
    }
}

fn is_problem(kind: Kind) -> bool {
    matches!(kind, Kind::Leak | Kind::Fragmentation)
}

/// One finding for each place that memory was taken from, or, where it leaks, for each site that explains a part of it.
/// What leaks comes first, the fastest first.
pub fn findings(live: &Live, now: Ns, known: &Known<'_>) -> Vec<Finding> {
    let judged = live.judge(now, known);
    let mut found = Vec::new();
    for whole in judged.iter().filter(|one| one.of == Of::Whole) {
        found.extend(of_place(whole, &judged, live));
    }
    let pages = judged.iter().find(|one| one.place == Place::Resident && one.of == Of::Whole);
    if let Some(pages) = pages.filter(|pages| is_problem(pages.verdict.kind)) {
        explain(&mut found, slope(&pages.verdict));
    }
    let rate = |finding: &Finding| finding.rate.map_or(0.0, |rate| rate.value);
    found.sort_by(|one, other| {
        let problem = other.is_problem().cmp(&one.is_problem());
        problem.then(rate(other).total_cmp(&rate(one)))
    });
    found
}

/// Memory that has pages grows where somebody takes it: what says who stands for it. Where nobody does, or not enough, it
/// is a finding of its own. `growth`: of all pages, bytes per second.
fn explain(found: &mut Vec<Finding>, growth: f64) {
    let rate = |finding: &Finding| finding.rate.map_or(0.0, |rate| rate.value);
    let takes_pages = |place| {
        matches!(place, Place::HostHeap | Place::Pinned | Place::Registered | Place::Managed)
    };
    let those = found.iter().filter(|one| takes_pages(one.place) && one.is_problem());
    let explained: f64 = those.map(rate).sum();
    if explained <= 0.0 {
        return;
    }
    if explained >= EXPLAINED * growth {
        found.retain(|one| one.place != Place::Resident);
        return;
    }
    let sentence =
        format!("{:.0} % of it is that of the other findings", 100.0 * explained / growth);
    let pages = found.iter_mut().filter(|one| one.place == Place::Resident);
    pages.for_each(|one| one.evidence.push(sentence.clone()));
}

/// Sites that leak are told though their place does not seem to: what comes and goes may hide them there.
fn of_place(whole: &Judged, judged: &[Judged], live: &Live) -> Vec<Finding> {
    let grows = is_problem(whole.verdict.kind).then(|| slope(&whole.verdict));
    let explains = |one: &&Judged| {
        let part_of_it = one.place == whole.place && one.of != Of::Whole;
        // What is counted hides nothing; pages are touched anew where nothing grows, as after a fork.
        let part_of_it = part_of_it && (one.place != Place::Resident || grows.is_some());
        let enough = grows.is_none_or(|all| slope(&one.verdict) >= EXPLAINS * all);
        part_of_it && is_problem(one.verdict.kind) && enough
    };
    let mut leaking: Vec<&Judged> = judged.iter().filter(explains).collect();
    leaking.sort_by(|one, other| slope(&other.verdict).total_cmp(&slope(&one.verdict)));
    leaking.truncate(SITES);
    if leaking.is_empty() {
        return vec![told(whole, Culprit::Place, None, live)];
    }
    let all = grows.filter(|all| *all > 0.0);
    let told_of = |site: &&Judged| {
        let culprit = match site.of {
            Of::Site(stack) => Culprit::Site(stack),
            Of::Whole | Of::Others => Culprit::Place,
        };
        let share = all.map(|all| slope(&site.verdict) / all);
        told(site, culprit, share, live)
    };
    leaking.iter().map(told_of).collect()
}

/// Bytes per second; 0 where none is known.
fn slope(verdict: &Verdict) -> f64 {
    verdict.rate.map_or(0.0, |rate| rate.value)
}

fn told(judged: &Judged, culprit: Culprit, share: Option<f64>, live: &Live) -> Finding {
    let Judged { place, live: counts, verdict, .. } = judged;
    let held = live.held();
    let mut evidence = verdict.evidence.clone();
    if let Some(share) = share {
        // More than the whole where another site shrinks.
        evidence.push(format!("{:.0} % of the growth of its place", share * 100.0));
    }
    if *place == Place::Virtual {
        evidence.extend(held_by(held));
    }
    // What is counted by the kernel misses nothing.
    if *place != Place::Resident {
        evidence.extend(live.unseen().sentences());
    }
    Finding {
        place: *place,
        culprit,
        kind: verdict.kind,
        confidence: verdict.confidence,
        rate: verdict.rate,
        per_thousand_requests: verdict.per_thousand_requests,
        until_limit: verdict.until_limit,
        live_bytes: counts.bytes,
        evidence,
        next_step: next_step(*place, verdict.kind, culprit, live),
    }
}

/// What of the virtual-memory API is held by one thing alone.
fn held_by(held: Held) -> impl Iterator<Item = String> {
    let told = [
        (held.by_mapping_alone, "released, and mapped still (`cuMemUnmap` is missing)"),
        (held.by_handle_alone, "mapped nowhere, and not released (`cuMemRelease` is missing)"),
    ];
    let some = told.into_iter().filter(|(amount, _)| *amount > 0);
    some.map(|(amount, what)| format!("{} are {what}", bytes(float(amount))))
}

fn next_step(place: Place, kind: Kind, culprit: Culprit, live: &Live) -> &'static str {
    let held = live.held();
    match (kind, place) {
        (Kind::Leak, Place::Virtual) if held.by_mapping_alone > held.by_handle_alone => {
            "unmap what was released: look at what the caller does on sleep, reset or an error after this call"
        }
        (Kind::Leak, Place::Virtual) => {
            "release the handle when it is unmapped: look at what the caller does on sleep, reset or an error after this call"
        }
        (Kind::Leak, Place::Pinned | Place::Registered) => {
            "give pinned memory back where it is taken, or take it once: it is never swapped out, and the node's limit is the next thing it meets"
        }
        (Kind::Leak, Place::Device | Place::Managed) => {
            "look for what keeps it beyond the request: a list, a cache without a bound, an exception that holds its frames; until then restart the worker before the limit"
        }
        (Kind::Leak, Place::HostHeap) => {
            "free it where the stack's caller is done with it; until then restart the process before the limit"
        }
        (Kind::Leak, Place::Resident) if culprit != Culprit::Place => {
            "this code touches pages that stay: give back what it fills (munmap, madvise), or fill what is there already"
        }
        (Kind::Leak, Place::Resident) if live.of(Place::HostHeap).is_some() => {
            "what was looked at does not explain it: observe it for longer; what is mapped past the allocators (mmap, arenas of a library's own) nothing tells yet"
        }
        (Kind::Leak, Place::Resident) => {
            "what takes it is not among what was looked at: look into the heap with `warplens leaks`; what is mapped past the allocators (mmap, arenas of a library's own) nothing tells yet"
        }
        (Kind::Fragmentation, Place::HostHeap | Place::Pinned | Place::Registered) => {
            "fewer arenas (MALLOC_ARENA_MAX=2) or another allocator (jemalloc, mimalloc): what lives does not grow"
        }
        (Kind::Fragmentation, _) => {
            "expandable segments (PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True): what lives does not grow"
        }
        (Kind::Undecided(_), _) => "observe it for longer",
        (Kind::GrowthToPlateau | Kind::Sawtooth | Kind::Burst | Kind::Stable, _) => "none",
    }
}
