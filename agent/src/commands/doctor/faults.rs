//! Rows of the table of known faults that apply here.

use std::collections::BTreeSet;

use analysis::level::quirk::{Effect, Feature, TABLE};

use super::Check;
use crate::govern::faults::{Faults, bit};
use crate::proc;
use crate::shim::{self, Memory};

const NAME: &str = "known faults";

/// `operator`: what a configuration leaves off.
pub(super) fn checks(operator: Vec<Feature>) -> Vec<Check> {
    let faults = Faults::read(operator);
    let workers = proc::pids().into_iter().filter_map(|pid| {
        let location = shim::find(pid).ok().flatten()?;
        let memory = Memory::open(&location, false).ok()?;
        Some((Some(pid), shim::status(&memory).cupti_version))
    });
    // Without a worker no CUPTI is known, and rows about none may apply.
    let mut checks: Vec<Check> = std::iter::once((None, 0))
        .chain(workers)
        .flat_map(|(pid, cupti)| {
            let whose = match pid {
                None => "every worker".to_owned(),
                Some(pid) => format!("process {pid} (CUPTI {cupti})"),
            };
            faults.of(cupti, &[]).into_iter().map(move |applied| {
                let what = applied.effect_text();
                Check::info(
                    NAME,
                    format!("{whose}: {what}: {} ({})", applied.quirk, applied.source),
                )
            })
        })
        .collect();
    if checks.is_empty() {
        checks.push(Check::ok(NAME, "none applies"));
    }
    let unused: BTreeSet<&str> = TABLE
        .iter()
        .filter_map(|row| match row.effect {
            Effect::Off(feature) if bit(feature).is_none() => Some(feature.name()),
            Effect::Off(_) | Effect::Cap(_) => None,
        })
        .collect();
    let unused: Vec<&str> = unused.into_iter().collect();
    checks.push(Check::info(
        NAME,
        format!("of no concern, since the shim does not use them: {}", unused.join(", ")),
    ));
    checks
}
