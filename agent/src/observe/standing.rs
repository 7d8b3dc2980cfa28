//! How the observing thread fared among the others.

use std::time::{Duration, Instant};

/// Part of the time that a thread may wait before it is told, as a divisor.
const WAITED_PART: u32 = 20;

/// From when it began to observe.
#[derive(Debug)]
pub(super) struct Standing {
    since: Instant,
    /// For a processor, before.
    waited: Option<Duration>,
}

impl Standing {
    pub(super) fn of_this_thread() -> Self {
        Self { since: Instant::now(), waited: waited() }
    }

    /// What the reader should know. `first`: this thread comes before ordinary ones.
    pub(super) fn note(&self, first: bool) -> Option<String> {
        let waited = waited()?.saturating_sub(self.waited?);
        note(waited, self.since.elapsed(), first)
    }
}

/// A thread that waited long for a processor explains what was lost.
fn note(waited: Duration, lasted: Duration, first: bool) -> Option<String> {
    (waited > lasted / WAITED_PART).then(|| {
        let (waited, lasted) = (waited.as_secs_f64(), lasted.as_secs_f64());
        let advice = if first {
            "something else here is in the real-time class, too"
        } else {
            "give it CAP_SYS_NICE, or a CPU request"
        };
        format!("Warplens waited {waited:.1} of {lasted:.1} s for a processor: {advice}.")
    })
}

/// How long this thread has waited for a processor, by the scheduler's account; `None` where it keeps none.
fn waited() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(Duration::from_nanos(text.split_whitespace().nth(1)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    #[test]
    fn waiting_is_counted() {
        assert!(waited().is_some());
        assert_eq!(Standing::of_this_thread().note(true), None, "it has only begun");
    }

    #[test]
    fn long_waiting_is_told_with_what_to_do() {
        assert_eq!(note(Duration::from_secs(3), MINUTE, false), None);
        let told = note(Duration::from_secs(4), MINUTE, false).unwrap();
        assert!(told.starts_with("Warplens waited 4.0 of 60.0 s"), "{told}");
        assert!(told.contains("CAP_SYS_NICE"), "{told}");
        assert!(!note(MINUTE / 2, MINUTE, true).unwrap().contains("CAP_SYS_NICE"));
    }
}
