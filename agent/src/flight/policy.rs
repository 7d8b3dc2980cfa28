//! When the flight recorder writes by itself. Pure: time comes in.

use std::collections::HashMap;
use std::time::Duration;

use analysis::ids::Ns;

use crate::observe::{Ending, HowEnded};

/// Between two dumps that the same worker is the reason of.
const EVERY: Duration = Duration::from_mins(5);

/// After the first end others of the same cause follow: the ranks of a server die together, and one dump tells of
/// all.
const GATHER: Duration = Duration::from_secs(1);

/// Workers remembered. Only bounds memory.
const WORKERS_MAX: usize = 1024;

/// Signals by which processes are asked to end: SIGHUP, SIGINT, SIGTERM.
const ASKED: [u8; 3] = [1, 2, 15];

/// Added by shells and runtimes to the signal that ended what they ran.
const BY_SIGNAL: u8 = 128;

/// What of ends is a reason to write.
#[derive(Debug)]
pub(super) struct Policy {
    /// Also where nobody knows how it ended.
    unknown_too: bool,
    last: HashMap<String, Ns>,
    gathered: Vec<Ending>,
    since: Option<Ns>,
    suppressed: u64,
    /// When a hang of each server was told last.
    hangs: HashMap<u32, Ns>,
}

impl Policy {
    pub(super) fn new(unknown_too: bool) -> Self {
        Self {
            unknown_too,
            last: HashMap::new(),
            gathered: Vec::new(),
            since: None,
            suppressed: 0,
            hangs: HashMap::new(),
        }
    }

    /// A target ended.
    pub(super) fn hear(&mut self, ending: Ending, now: Ns) {
        if self.is_crash(&ending) {
            self.since.get_or_insert(now);
            self.gathered.push(ending);
        }
    }

    /// Ends are being gathered for a dump.
    pub(super) fn gathers(&self) -> bool {
        self.since.is_some()
    }

    /// A server hangs: whether to write. One that comes and goes is told rarely.
    pub(super) fn may_tell_hang(&mut self, server: u32, now: Ns) -> bool {
        self.hangs.retain(|_, last| now.0.saturating_sub(last.0) < nanoseconds(EVERY));
        let may = !self.hangs.contains_key(&server) && self.hangs.len() < WORKERS_MAX;
        if may {
            self.hangs.insert(server, now);
        } else {
            self.suppressed += 1;
        }
        may
    }

    fn is_crash(&self, ending: &Ending) -> bool {
        let matters =
            ending.worker || matches!(ending.info.role.as_str(), "worker" | "engine_core");
        matters
            && match ending.how {
                HowEnded::Code(0) => false,
                // Who asked it to end may have done so for that.
                _ if ending.xid.is_some() => true,
                HowEnded::Code(code) => !ASKED.iter().any(|asked| code == BY_SIGNAL + asked),
                HowEnded::Signal { number, .. } => !ASKED.contains(&number),
                HowEnded::Unknown => self.unknown_too,
            }
    }

    /// What is to be told by one dump, if it is time.
    pub(super) fn due(&mut self, now: Ns) -> Option<Vec<Ending>> {
        let since = self.since?;
        if now.0.saturating_sub(since.0) < nanoseconds(GATHER) {
            return None;
        }
        self.take(now)
    }

    /// The same, where nobody will ask again.
    pub(super) fn take(&mut self, now: Ns) -> Option<Vec<Ending>> {
        self.since = None;
        let endings = std::mem::take(&mut self.gathered);
        if endings.is_empty() {
            return None;
        }
        let every = nanoseconds(EVERY);
        self.last.retain(|_, last| now.0.saturating_sub(last.0) < every);
        let fresh = endings.iter().any(|ending| !self.last.contains_key(&who(ending)));
        if !fresh || self.last.len() >= WORKERS_MAX {
            self.suppressed += 1;
            return None;
        }
        for ending in &endings {
            self.last.insert(who(ending), now);
        }
        Some(endings)
    }

    /// Dumps that were not written because the same workers had one shortly before. Only grows.
    pub(super) fn suppressed(&self) -> u64 {
        self.suppressed
    }
}

/// Who a worker is over its restarts: one that crashes in a loop has another PID each time.
fn who(ending: &Ending) -> String {
    let info = &ending.info;
    let service = &info.service;
    [&info.title, &info.rank, &service.model, &service.namespace, &service.pod, &service.engine]
        .map(String::as_str)
        .join("\n")
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use analysis::event::ProcessInfo;
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn ending(rank: &str, how: HowEnded) -> Ending {
        let info = ProcessInfo { pid: 7, rank: rank.to_owned(), ..ProcessInfo::default() };
        Ending { info, at: Ns(0), worker: true, how, xid: None }
    }

    const SEGV: HowEnded = HowEnded::Signal { number: 11, core: false };

    #[test]
    fn what_nobody_asked_for_is_a_crash() {
        let crash = |how| Policy::new(false).is_crash(&ending("", how));
        let signal = |number| HowEnded::Signal { number, core: false };
        for asked in
            [HowEnded::Code(0), HowEnded::Code(143), HowEnded::Code(130), signal(15), signal(2)]
        {
            assert!(!crash(asked), "{asked:?}");
        }
        for not in [HowEnded::Code(1), HowEnded::Code(139), signal(9), signal(6), SEGV] {
            assert!(crash(not), "{not:?}");
        }
        assert!(!crash(HowEnded::Unknown));
        assert!(Policy::new(true).is_crash(&ending("", HowEnded::Unknown)));
        let mut other = ending("", SEGV);
        other.worker = false;
        assert!(!Policy::new(false).is_crash(&other), "a process of no interest");
        other.info.role = "engine_core".to_owned();
        assert!(Policy::new(false).is_crash(&other));
    }

    #[test]
    fn ranks_that_die_together_are_one_dump() {
        let mut policy = Policy::new(false);
        policy.hear(ending("TP0", SEGV), Ns(0));
        assert_eq!(policy.due(Ns(SECOND / 2)), None);
        policy.hear(ending("TP1", HowEnded::Signal { number: 9, core: false }), Ns(SECOND / 2));
        assert_eq!(policy.due(Ns(SECOND)).unwrap().len(), 2);
        assert_eq!(policy.due(Ns(3 * SECOND)), None);
        // Again within five minutes: counted, not written; another rank is written.
        policy.hear(ending("TP0", SEGV), Ns(100 * SECOND));
        assert_eq!((policy.due(Ns(102 * SECOND)), policy.suppressed()), (None, 1));
        policy.hear(ending("TP2", SEGV), Ns(110 * SECOND));
        assert!(policy.due(Ns(112 * SECOND)).is_some());
        policy.hear(ending("TP0", SEGV), Ns(400 * SECOND));
        assert!(policy.due(Ns(402 * SECOND)).is_some());
    }

    #[test]
    fn a_hang_that_comes_and_goes_is_told_rarely() {
        let mut policy = Policy::new(false);
        assert!(policy.may_tell_hang(1, Ns(0)) && policy.may_tell_hang(2, Ns(0)));
        assert!(!policy.may_tell_hang(1, Ns(200 * SECOND)));
        assert!(policy.may_tell_hang(1, Ns(301 * SECOND)));
        assert_eq!(policy.suppressed(), 1);
    }

    proptest! {
        /// However a worker crashes: at most one dump in five minutes names it first.
        #[test]
        fn a_loop_of_crashes_is_written_rarely(gaps in prop::collection::vec(1_u64..200, 1..100)) {
            let (mut policy, mut now, mut written, mut heard) = (Policy::new(false), 0, Vec::new(), 0);
            for gap in gaps {
                now += gap * SECOND;
                policy.hear(ending("TP0", SEGV), Ns(now));
                heard += 1;
                now += 2 * SECOND;
                written.extend(policy.due(Ns(now)).map(|_| now));
            }
            prop_assert!(written.windows(2).all(|pair| pair[1] - pair[0] >= nanoseconds(EVERY)));
            prop_assert_eq!(written.len() as u64 + policy.suppressed(), heard);
        }
    }
}
