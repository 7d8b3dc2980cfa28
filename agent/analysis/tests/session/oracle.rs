//! The definitions, applied one nanosecond at a time. Shares no code with the library.

use analysis::report::Exclusive;

/// A record as the oracle sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ran {
    pub(crate) process: u32,
    pub(crate) stream: u32,
    /// Order of launch within the process.
    pub(crate) launch: u32,
    pub(crate) enter: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) what: What,
    /// Its timestamps did not arrive.
    pub(crate) invalid: bool,
    pub(crate) graph: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Attention,
    Gemm,
    Norm,
    Nccl,
    Copy,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Truth {
    pub(crate) exclusive: Exclusive,
    /// attention, gemm, communication, other
    pub(crate) inclusive: [u64; 4],
    pub(crate) overlap: u64,
    pub(crate) kernels: u64,
    pub(crate) copies: u64,
}

/// Splits `[from, to)`. With `process`, only its records count.
pub(crate) fn split(all: &[Ran], from: u64, to: u64, process: Option<u32>) -> Truth {
    let mine = |ran: &&Ran| process.is_none_or(|process| process == ran.process);
    let valid: Vec<&Ran> = all.iter().filter(mine).filter(|ran| !ran.invalid).collect();
    let hidden: Vec<(u64, u64)> = all
        .iter()
        .filter(mine)
        .filter(|ran| ran.invalid)
        .map(|ran| may_have_run(all, ran))
        .collect();
    let mut truth = Truth::default();
    for t in from..to {
        let runs =
            |what| valid.iter().any(|ran| ran.what == what && (ran.start..ran.end).contains(&t));
        let [attention, gemm, norm, nccl, copy] =
            [What::Attention, What::Gemm, What::Norm, What::Nccl, What::Copy].map(runs);
        let sum = &mut truth.exclusive;
        let taker = if attention {
            &mut sum.attention
        } else if gemm {
            &mut sum.gemm
        } else if norm {
            &mut sum.other
        } else if nccl {
            &mut sum.communication
        } else if copy {
            &mut sum.other
        } else if hidden.iter().any(|&(start, end)| (start..end).contains(&t)) {
            &mut sum.unobserved
        } else {
            &mut sum.idle
        };
        *taker += 1;
        for (sum, runs) in truth.inclusive.iter_mut().zip([attention, gemm, nccl, norm || copy]) {
            *sum += u64::from(runs);
        }
        truth.overlap += u64::from((attention || gemm || norm) && nccl);
    }
    for ran in &valid {
        let inside = if ran.start == ran.end {
            (from..to).contains(&ran.start)
        } else {
            ran.start < to && ran.end > from
        };
        match ran.what {
            What::Copy => truth.copies += u64::from(inside),
            _ => truth.kernels += u64::from(inside),
        }
    }
    truth
}

/// `[max(e, entry of its launch), s)`.
fn may_have_run(all: &[Ran], invalid: &Ran) -> (u64, u64) {
    let neighbours = || {
        all.iter().filter(|ran| {
            !ran.invalid && (ran.process, ran.stream) == (invalid.process, invalid.stream)
        })
    };
    let e = neighbours().filter(|ran| ran.launch < invalid.launch).map(|ran| ran.end).max();
    let s = neighbours().filter(|ran| ran.launch > invalid.launch).map(|ran| ran.start).min();
    (e.unwrap_or(0).max(invalid.enter), s.unwrap_or(u64::MAX))
}
