//! Which processes an observation is about.

use crate::proc;

/// What the user asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// These processes and everything below them, as it comes and goes.
    Trees(Vec<u32>),
    /// Every process that has a ring.
    Rings,
}

impl Selection {
    /// PIDs it covers at this moment.
    pub fn pids(&self) -> Vec<u32> {
        match self {
            Self::Trees(roots) => {
                let mut pids: Vec<_> =
                    roots.iter().flat_map(|&root| proc::descendants(root)).collect();
                pids.sort_unstable();
                pids.dedup();
                pids
            }
            Self::Rings => proc::pids(),
        }
    }

    /// Also processes without a ring are watched (their CPU is sampled).
    pub fn covers_ringless(&self) -> bool {
        matches!(self, Self::Trees(_))
    }
}
