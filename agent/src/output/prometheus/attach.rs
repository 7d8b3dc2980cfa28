//! Processes that the daemon brought the shim to.

use std::collections::BTreeMap;

use super::families::number;
use super::{Family, FamilyKind};
use crate::inject::Outcome;

/// Without series where the daemon enters none.
pub(super) fn of(entered: Option<&BTreeMap<Outcome, u64>>) -> Family {
    let series = entered.into_iter().flatten();
    Family {
        name: "warplens_attach",
        help: "Tries to bring the shim to workers that were started without it, by what became of them.",
        kind: FamilyKind::Counter,
        series: series
            .map(|(outcome, &count)| {
                (vec![("outcome", outcome.as_str().to_owned())], number(count))
            })
            .collect(),
    }
}
