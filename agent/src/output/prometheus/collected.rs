//! What became of asking servers for their own figures.

use super::families::number;
use super::{Family, FamilyKind, Health};

/// Without series where nobody asks.
pub(super) fn of(health: &Health) -> Vec<Family> {
    let counter = |name, help, series| Family { name, help, kind: FamilyKind::Counter, series };
    let scrapes = health.collected.iter().flat_map(|&(read, failed)| {
        [("read", read), ("failed", failed)]
            .map(|(outcome, count)| (vec![("outcome", outcome.to_owned())], number(count)))
    });
    let samples =
        health.governed.iter().map(|(governed, _)| (Vec::new(), number(governed.samples)));
    vec![
        counter(
            "warplens_scrapes",
            "Answers of servers that were asked for their metrics.",
            scrapes.collect(),
        ),
        counter(
            "warplens_pace_samples",
            "Looks at how many tokens a server makes, for the crash breaker.",
            samples.collect(),
        ),
    ]
}
