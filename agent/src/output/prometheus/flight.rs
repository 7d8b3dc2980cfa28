//! The flight recorder: how far back it reaches, and what became of dumps.

use super::families::{number, seconds};
use super::{Family, FamilyKind, Labels, Value};
use crate::flight::{Counted, Stats};

/// Without series where it is off.
pub(super) fn of(flight: Option<(Stats, Counted)>) -> Vec<Family> {
    let one = |value: fn(&(Stats, Counted)) -> Value| -> Vec<(Labels, Value)> {
        flight.iter().map(|told| (Vec::new(), value(told))).collect()
    };
    let outcomes = |(_, counted): &(Stats, Counted)| {
        let Counted { written, failed, suppressed } = *counted;
        [("written", written), ("failed", failed), ("suppressed", suppressed)]
            .map(|(outcome, count)| (vec![("outcome", outcome.to_owned())], number(count)))
    };
    vec![
        Family {
            name: "warplens_flight_reach_seconds",
            help: "How far back the flight recorder reaches.",
            kind: FamilyKind::Gauge,
            series: one(|(stats, _)| seconds(stats.reach_ns)),
        },
        Family {
            name: "warplens_flight_bytes",
            help: "Memory of the flight recorder, compressed.",
            kind: FamilyKind::Gauge,
            series: one(|(stats, _)| number(stats.ring_bytes.saturating_add(stats.standing_bytes))),
        },
        Family {
            name: "warplens_flight_cut_short",
            help: "Parts of a second or less that left the flight recorder early because its ring was full.",
            kind: FamilyKind::Counter,
            series: one(|(stats, _)| number(stats.cut_by_size)),
        },
        Family {
            name: "warplens_flight_refused",
            help: "Names, graph entries, stacks and symbols that found no room in the flight recorder.",
            kind: FamilyKind::Counter,
            series: one(|(stats, _)| number(stats.standing_refused)),
        },
        Family {
            name: "warplens_dumps",
            help: "Dumps of the flight recorder by what became of them.",
            kind: FamilyKind::Counter,
            series: flight.iter().flat_map(outcomes).collect(),
        },
    ]
}
