//! What of a worker's shim is left off, for known faults and by the operator: asked of it before any level is, and told.

use std::collections::BTreeMap;

use super::{ObserveError, Observer};
use crate::govern::faults::{Applied, Faults, word};
use crate::observe::target::Target;
use crate::shim::WorkerRing;

/// From this version on a shim heeds what it is to leave off.
const HEEDS_FROM: u32 = 4;

impl Observer {
    /// These are heeded from here on.
    #[must_use]
    pub fn heeding(mut self, faults: Faults) -> Self {
        self.faults = faults;
        self
    }

    /// How many workers each is in force for, by what it is called and does.
    pub fn faults_in_force(&self) -> BTreeMap<(&'static str, String), u64> {
        let mut counts = BTreeMap::new();
        for applied in self.targets.iter().flat_map(|target| &target.faults) {
            *counts.entry((applied.quirk, applied.effect_text())).or_default() += 1;
        }
        counts
    }

    /// What a shim says of its CUPTI comes an instant after its ring.
    pub(super) fn heed_faults(&mut self) -> Result<(), ObserveError> {
        let mut notes = Vec::new();
        for target in &mut self.targets {
            notes.extend(heed(&self.faults, target));
        }
        notes.into_iter().try_for_each(|note| self.note(note))
    }
}

/// Asks the target's shim for what is in force; sentences on what was not before.
pub(super) fn heed(faults: &Faults, target: &mut Target) -> Vec<String> {
    let Some(ring) = &target.ring else { return Vec::new() };
    let devices: Vec<String> = WorkerRing::devices(ring)
        .into_iter()
        .map(|device| crate::observe::uuid_text(device.uuid, target.simulated))
        .collect();
    let applied = faults.of(ring.status().cupti_version, &devices);
    let asked = word(&applied);
    ring.leave_off(asked);
    let fresh = applied.iter().filter(|one| !target.faults.contains(one));
    let mut notes: Vec<String> = fresh.map(|one: &Applied| one.sentence(target.pid)).collect();
    let version = ring.memory().header().wire_version;
    if !notes.is_empty() && asked != 0 && version < HEEDS_FROM {
        notes.push(format!(
            "The shim of process {} has wire version {version} and leaves nothing off: start the process anew with this release's shim.",
            target.pid
        ));
    }
    target.faults = applied;
    notes
}
