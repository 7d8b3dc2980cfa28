//! Known faults of drivers and CUPTI, and what of the shim an operator does not want: what is left off in a worker, and why.
//!
//! The table is `analysis::level::quirk`. What bounds a level is the decider's; here is what turns a feature off.

use analysis::level::bound;
use analysis::level::quirk::{Effect, Feature, Machine as Known, TABLE};
use serde::Deserialize;
use wire::shim::feature;

use super::facts::Machine;

/// `[shim]` of the configuration. Unknown keys are errors.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct ShimConfig {
    /// Features of the shim that are left off: those of [`CHOICES`].
    pub off: Vec<String>,
}

/// What can be left off, as configurations name it.
pub const CHOICES: [Feature; 4] = [
    Feature::RearmedCorrelation,
    Feature::GraphCallbacks,
    Feature::Neighbours,
    Feature::ZeroedBuffers,
];

impl ShimConfig {
    /// What is wrong with it, if anything.
    pub fn problem(&self) -> Option<String> {
        let unknown = self.off.iter().find(|name| feature_of(name).is_none())?;
        let names = CHOICES.map(Feature::name).join(", ");
        Some(format!("shim.off has {unknown:?}: use {names}"))
    }

    pub fn features(&self) -> Vec<Feature> {
        self.off.iter().filter_map(|name| feature_of(name)).collect()
    }
}

fn feature_of(name: &str) -> Option<Feature> {
    CHOICES.into_iter().find(|feature| feature.name() == name)
}

/// The shim's bit for a feature; `None`: the shim does not use it, so there is nothing to leave off.
pub fn bit(feature: Feature) -> Option<u32> {
    match feature {
        Feature::RearmedCorrelation => Some(feature::REARMING),
        Feature::GraphCallbacks => Some(feature::GRAPHS),
        Feature::Neighbours => Some(feature::NEIGHBOURS),
        Feature::ZeroedBuffers => Some(feature::ZEROED_BUFFERS),
        Feature::Finalize
        | Feature::RefusedBuffers
        | Feature::HardwareTrace
        | Feature::GraphTrace
        | Feature::LatencyTimestamps
        | Feature::SharedSubscription
        | Feature::CallsWithoutDriver => None,
    }
}

/// Something that is in force for a worker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Applied {
    /// The row's name, or `operator`.
    pub quirk: &'static str,
    pub effect: Effect,
    /// Who says so.
    pub source: &'static str,
}

impl Applied {
    /// What it does, for labels: `rearming off`, `at most watching`.
    pub fn effect_text(&self) -> String {
        match self.effect {
            Effect::Cap(level) => format!("at most {}", bound::name(level)),
            Effect::Off(feature) => format!("{} off", feature.name()),
        }
    }

    /// For notes, of a process.
    pub fn sentence(&self, pid: u32) -> String {
        let Self { quirk, source, .. } = self;
        match self.effect {
            Effect::Off(feature) => {
                format!(
                    "The shim of process {pid} does without {}: {quirk} ({source}).",
                    feature.name()
                )
            }
            Effect::Cap(level) => format!(
                "Process {pid} has a CUPTI or a machine with a known fault, {quirk}, which has daemons observe it at {} at most ({source}).",
                bound::name(level)
            ),
        }
    }
}

/// What is known of this machine, and what the operator wants.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    machine: Machine,
    operator: Vec<Feature>,
}

impl Faults {
    /// Of this machine.
    pub fn read(operator: Vec<Feature>) -> Self {
        Self { machine: Machine::read(), operator }
    }

    /// What is in force for a worker with this CUPTI (0: not known) and these devices, each feature once.
    pub fn of(&self, cupti: u32, devices: &[String]) -> Vec<Applied> {
        in_force(&self.machine.known(cupti, devices), &self.operator)
    }
}

/// The operator's word first, then the table's rows that apply, without features that the shim does not use.
pub fn in_force(machine: &Known, operator: &[Feature]) -> Vec<Applied> {
    let mut applied: Vec<Applied> = operator
        .iter()
        .map(|&feature| Applied {
            quirk: "operator",
            effect: Effect::Off(feature),
            source: "shim.off in the configuration",
        })
        .collect();
    let rows = TABLE.iter().filter(|row| row.applies(machine));
    for row in rows {
        let used = match row.effect {
            Effect::Cap(_) => true,
            Effect::Off(feature) => bit(feature).is_some(),
        };
        if used && applied.iter().all(|known| known.effect != row.effect) {
            applied.push(Applied { quirk: row.name, effect: row.effect, source: row.source });
        }
    }
    applied
}

/// What is asked of the shim.
pub fn word(applied: &[Applied]) -> u32 {
    let bits = applied.iter().filter_map(|applied| match applied.effect {
        Effect::Off(feature) => bit(feature),
        Effect::Cap(_) => None,
    });
    bits.fold(0, |word, bit| word | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(cupti: u32) -> Known {
        Known { cupti: Some(cupti), ..Known::default() }
    }

    fn names(applied: &[Applied]) -> Vec<(&'static str, String)> {
        applied.iter().map(|applied| (applied.quirk, applied.effect_text())).collect()
    }

    #[test]
    fn rows_that_the_shim_can_heed_are_in_force_and_no_others() {
        let check = |cupti: u32, expected: &[(&'static str, &str)], bits: u32| {
            let applied = in_force(&machine(cupti), &[]);
            let expected: Vec<(&str, String)> =
                expected.iter().map(|(name, effect)| (*name, (*effect).to_owned())).collect();
            assert_eq!(names(&applied), expected, "{cupti}");
            assert_eq!(word(&applied), bits, "{cupti}");
        };
        // Every row for these is about features that the shim does not use.
        check(22, &[], 0);
        check(130_500, &[], 0);
        check(130_100, &[("cupti-13.1-graph-correlation", "rearming off")], feature::REARMING);
        check(130_101, &[], 0);
        check(130_400, &[("cupti-13.4-processor-time", "at most watching")], 0);
    }

    #[test]
    fn the_operators_word_comes_first_and_once() {
        let operator = [Feature::RearmedCorrelation, Feature::GraphCallbacks];
        let applied = in_force(&machine(130_100), &operator);
        let expected = [("operator", "rearming off"), ("operator", "graph-callbacks off")];
        assert_eq!(names(&applied), expected.map(|(name, effect)| (name, effect.to_owned())));
        assert_eq!(word(&applied), feature::REARMING | feature::GRAPHS);
        let sentence = applied[1].sentence(7);
        assert_eq!(
            sentence,
            "The shim of process 7 does without graph-callbacks: operator (shim.off in the configuration)."
        );
    }

    #[test]
    fn only_what_the_shim_uses_can_be_chosen() {
        let config: ShimConfig = toml::from_str("off = [\"rearming\", \"neighbours\"]").unwrap();
        assert_eq!(config.problem(), None);
        assert_eq!(config.features(), [Feature::RearmedCorrelation, Feature::Neighbours]);
        let config: ShimConfig = toml::from_str("off = [\"finalize\"]").unwrap();
        assert_eq!(
            config.problem().unwrap(),
            "shim.off has \"finalize\": use rearming, graph-callbacks, neighbours, zeroed-buffers"
        );
        assert!(CHOICES.into_iter().all(|feature| bit(feature).is_some()));
        let bits: Vec<u32> = CHOICES.into_iter().filter_map(bit).collect();
        assert_eq!(bits.iter().fold(0, |word, bit| word | bit).count_ones(), 4);
    }
}
