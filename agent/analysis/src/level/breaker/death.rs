//! Whose fault the end of a worker is, as far as it can be told.
//!
//! | end | verdict | because |
//! |---|---|---|
//! | exit 0 | innocent | it had finished |
//! | SIGTERM, SIGINT, SIGHUP, SIGQUIT, and exits 143, 130, 129, 131 | innocent | somebody asked it to end |
//! | GPU error (Xid, or a CUDA error that sticks) | guilty | what CUPTI does, it does on the device |
//! | SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGTRAP, SIGFPE, SIGSYS, and exits 128 + these | guilty | a crash, as of code we brought in |
//! | SIGKILL (or exit 137), OOM count of its control group grew | guilty | levels cost memory |
//! | SIGKILL (or exit 137), count unchanged or unread | unknown | an orchestrator whose patience ended kills alike |
//! | any other exit or signal | unknown | Python ends with 1 for anything, CUDA errors among them |
//!
//! Guilty means suspected: most crashes within ten minutes of a rise are the worker's own. It is cheap
//! to be wrong that way, a level for some days, and dear to be wrong the other.

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// By itself, with this status.
    Exit(i32),
    /// By this signal.
    Signal(i32),
    /// By SIGKILL, with what became of its control group's count of OOM kills.
    Killed(OomCount),
    /// After an error of its device: the Xid, or the CUDA error.
    GpuError(u32),
    /// It is gone, and nobody knows how.
    Unseen,
}

/// `oom_kill` of `memory.events`, before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OomCount {
    Unchanged,
    Grew,
    Unread,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Innocent,
    Guilty,
    Unknown,
}

// Numbers of signals on x86-64 and arm64 Linux.
const HUP: i32 = 1;
const INT: i32 = 2;
const QUIT: i32 = 3;
const ILL: i32 = 4;
const TRAP: i32 = 5;
const ABRT: i32 = 6;
const BUS: i32 = 7;
const FPE: i32 = 8;
const SEGV: i32 = 11;
const TERM: i32 = 15;
const SYS: i32 = 31;

impl Death {
    pub fn verdict(self) -> Verdict {
        match self {
            Self::Exit(0) => Verdict::Innocent,
            // A shell or an init of a container tells a child's signal as 128 + its number.
            Self::Exit(status) => status.checked_sub(128).map_or(Verdict::Unknown, of_signal),
            Self::Signal(signal) => of_signal(signal),
            Self::Killed(OomCount::Grew) | Self::GpuError(_) => Verdict::Guilty,
            Self::Killed(OomCount::Unchanged | OomCount::Unread) | Self::Unseen => Verdict::Unknown,
        }
    }
}

fn of_signal(signal: i32) -> Verdict {
    match signal {
        HUP | INT | QUIT | TERM => Verdict::Innocent,
        ILL | TRAP | ABRT | BUS | FPE | SEGV | SYS => Verdict::Guilty,
        _ => Verdict::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_table() {
        let check = |death: Death, expected| assert_eq!(death.verdict(), expected, "{death:?}");
        for status in [0, 143, 130, 129, 131] {
            check(Death::Exit(status), Verdict::Innocent);
        }
        for signal in [15, 2, 1, 3] {
            check(Death::Signal(signal), Verdict::Innocent);
        }
        for signal in [11, 7, 6, 4, 5, 8, 31] {
            check(Death::Signal(signal), Verdict::Guilty);
            check(Death::Exit(128 + signal), Verdict::Guilty);
        }
        check(Death::GpuError(31), Verdict::Guilty);
        check(Death::Killed(OomCount::Grew), Verdict::Guilty);
        for death in [
            Death::Killed(OomCount::Unchanged),
            Death::Killed(OomCount::Unread),
            Death::Signal(9),
            Death::Exit(137),
            Death::Exit(1),
            Death::Signal(10),
            Death::Signal(64),
            Death::Unseen,
        ] {
            check(death, Verdict::Unknown);
        }
    }

    proptest! {
        #[test]
        fn every_number_has_a_verdict(number: i32) {
            Death::Exit(number).verdict();
            Death::Signal(number).verdict();
        }
    }
}
