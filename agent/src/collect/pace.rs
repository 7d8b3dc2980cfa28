//! Tokens a second between two readings of a server. Pure: time comes in.

use std::collections::BTreeMap;

use analysis::ids::Ns;
use analysis::level::breaker;

use super::vllm::Reading;

/// Servers remembered; discovery knows no more.
const SERVERS_MAX: usize = 256;

/// A reading older than this is of another load: turns were missed.
const OLDEST_NS: u64 = 120_000_000_000;

/// The last reading of each server, by its first process and when that started.
#[derive(Clone, Debug, Default)]
pub struct Paces {
    last: BTreeMap<(u32, u64), (Ns, Reading)>,
}

impl Paces {
    /// The pace since the last reading; `None` where nothing can be said of it: the first one, an engine that was started
    /// over, came or went, and a server that was without a request at one of the two, which was idle for some of the time.
    pub fn on_reading(
        &mut self,
        server: (u32, u64),
        at: Ns,
        reading: &Reading,
    ) -> Option<breaker::Sample> {
        if self.last.len() >= SERVERS_MAX && !self.last.contains_key(&server) {
            // Those that went are not told of: the one not heard of for longest makes room.
            let oldest = self.last.iter().min_by_key(|(_, (at, _))| *at).map(|(key, _)| *key)?;
            self.last.remove(&oldest);
        }
        let (then, before) = self.last.insert(server, (at, reading.clone()))?;
        let elapsed = at.0.checked_sub(then.0).filter(|&ns| (1..=OLDEST_NS).contains(&ns))?;
        let mut generated = 0.0;
        for (engine, now) in &reading.engines {
            let grown = now.generated - before.engines.get(engine)?.generated;
            if grown < 0.0 {
                return None;
            }
            generated += grown;
        }
        let (first, last) = (before.running(), reading.running());
        if reading.engines.len() != before.engines.len() || first < 1.0 || last < 1.0 {
            return None;
        }
        #[expect(clippy::cast_precision_loss, reason = "two minutes in nanoseconds at most")]
        let seconds = elapsed as f64 / 1e9;
        let running = f64::midpoint(first, last).round().min(f64::from(u32::MAX));
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 1 and u32::MAX"
        )]
        let running = running as u32;
        Some(breaker::Sample { at, tokens_per_second: generated / seconds, running })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collect::vllm::Engine;

    const S: u64 = 1_000_000_000;
    const SERVER: (u32, u64) = (7, 70);

    fn engines(engines: &[(&str, f64, f64)]) -> Reading {
        let engine = |&(name, generated, running): &(&str, f64, f64)| {
            (("m".to_owned(), name.to_owned()), Engine { generated, running, waiting: 0.0 })
        };
        Reading { engines: engines.iter().map(engine).collect() }
    }

    fn one(generated: f64, running: f64) -> Reading {
        engines(&[("0", generated, running)])
    }

    #[test]
    fn tokens_over_time_and_the_requests_meanwhile() {
        let mut paces = Paces::default();
        assert_eq!(paces.on_reading(SERVER, Ns(0), &one(100.0, 3.0)), None);
        let sample = paces.on_reading(SERVER, Ns(10 * S), &one(600.0, 8.0)).unwrap();
        assert_eq!((sample.tokens_per_second, sample.running), (50.0, 6));
        assert_eq!(sample.at, Ns(10 * S));
        assert_eq!(
            paces.on_reading((7, 71), Ns(20 * S), &one(900.0, 8.0)),
            None,
            "another process"
        );
    }

    #[test]
    fn what_cannot_be_compared_is_no_sample() {
        let two = |a, b| engines(&[("0", a, 4.0), ("1", b, 4.0)]);
        for (what, before, after, seconds) in [
            ("started over", one(900.0, 4.0), one(10.0, 4.0), 10),
            // The sum alone has grown.
            ("one of two started over", two(900.0, 0.0), two(10.0, 5_000.0), 10),
            ("one came", one(900.0, 4.0), two(910.0, 0.0), 10),
            ("one went", two(900.0, 0.0), one(910.0, 4.0), 10),
            ("idle before", one(900.0, 0.0), one(910.0, 4.0), 10),
            ("idle after", one(900.0, 4.0), one(910.0, 0.0), 10),
            ("long ago", one(900.0, 4.0), one(910.0, 4.0), 121),
            ("no time", one(900.0, 4.0), one(910.0, 4.0), 0),
        ] {
            let mut paces = Paces::default();
            paces.on_reading(SERVER, Ns(S), &before);
            assert_eq!(paces.on_reading(SERVER, Ns(S + seconds * S), &after), None, "{what}");
        }
    }

    #[test]
    fn servers_that_went_make_room() {
        let mut paces = Paces::default();
        for server in 0..1000 {
            paces.on_reading((server, 0), Ns(u64::from(server)), &one(1.0, 1.0));
        }
        assert_eq!(paces.last.len(), SERVERS_MAX);
        assert!(paces.on_reading((999, 0), Ns(S), &one(2.0, 1.0)).is_some());
    }
}
