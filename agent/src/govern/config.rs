//! The part of the daemon's configuration that bounds levels.

use std::path::PathBuf;

use analysis::level::budget::Budget;
use analysis::level::operator::{Deny, Identity, KillSwitch, Pattern, Percent, Policy, Subject};
use analysis::level::{Level, Settings};
use serde::Deserialize;

/// `[levels]`. Unknown keys are errors.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct LevelsConfig {
    /// No worker is higher than this: `dormant`, `watching` or `counting`.
    pub maximum: Maximum,
    /// Part of the fleet that may be above `dormant`, percent; a hash of the node's name decides.
    pub percent: u8,
    /// The node's name, for the part of the fleet. Without it: the variable `NODE_NAME`, or the host's name.
    pub node: Option<String>,
    /// A level is stood for so long before the next is taken.
    pub dwell_seconds: u64,
    /// The first server of a node stands a level for so long before the others follow.
    pub canary_seconds: u64,
    /// Workers that are left dormant.
    pub deny: Vec<DenyConfig>,
    /// What a worker's observation may cost.
    pub budget: BudgetConfig,
    /// What is remembered of crashes. An empty path: nothing is.
    pub state: PathBuf,
}

/// Levels that a daemon may be allowed.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub enum Maximum {
    Dormant,
    Watching,
    #[default]
    Counting,
}

/// One entry of the deny-list: patterns with `*` and `?` of one of these.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum DenyConfig {
    /// Name of a device, as the driver tells it.
    Gpu(String),
    /// Id of its container, or its pod as `namespace/name`. Images are not known to a node.
    Container(String),
    Model(String),
    /// Its process title.
    Title(String),
}

/// [`Budget`], with its defaults.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct BudgetConfig {
    /// Of a worker's time in callbacks, per mille.
    pub callback_permille: u32,
    /// Of a processor for the shim's own thread and CUPTI's, per mille.
    pub shim_permille: u32,
    /// Of a processor for the agent, for this worker, per mille.
    pub agent_permille: u32,
    pub memory_mib: u64,
    /// Bus to and from the device, MiB per second.
    pub bus_mib: u64,
}

impl Default for BudgetConfig {
    fn default() -> Self {
        let Budget { callback_permille, shim_permille, agent_permille, memory_bytes, bus_bytes } =
            Budget::default();
        Self {
            callback_permille,
            shim_permille,
            agent_permille,
            memory_mib: memory_bytes >> 20,
            bus_mib: bus_bytes >> 20,
        }
    }
}

impl Default for LevelsConfig {
    fn default() -> Self {
        let careful = Settings::careful(Identity::of(""));
        Self {
            maximum: Maximum::default(),
            percent: 100,
            node: None,
            dwell_seconds: careful.dwell_ns / 1_000_000_000,
            canary_seconds: careful.stands_ns / 1_000_000_000,
            deny: Vec::new(),
            budget: BudgetConfig::default(),
            state: PathBuf::from("/var/lib/warplens/breaker.json"),
        }
    }
}

impl LevelsConfig {
    /// What is wrong with it, if anything.
    pub fn problem(&self) -> Option<String> {
        let day = 24 * 3600;
        match self {
            Self { percent, .. } if *percent > 100 => {
                Some(format!("levels.percent is {percent}: use 0 to 100"))
            }
            Self { dwell_seconds: s, .. } if *s > day => {
                Some(format!("levels.dwell_seconds is {s}: use 0 to {day}"))
            }
            Self { canary_seconds: s, .. } if *s > day => {
                Some(format!("levels.canary_seconds is {s}: use 0 to {day}"))
            }
            _ => None,
        }
    }

    /// The highest level it allows.
    pub fn maximum(&self) -> Level {
        match self.maximum {
            Maximum::Dormant => Level::Dormant,
            Maximum::Watching => Level::Watching,
            Maximum::Counting => Level::Counting,
        }
    }

    /// What it means for workers, as the end of a sentence that begins with them.
    pub fn sentence(&self) -> String {
        let level = analysis::level::bound::name(self.maximum());
        let part = if self.percent < 100 {
            format!(" on {} % of the nodes", self.percent)
        } else {
            String::new()
        };
        let denied = match self.deny.len() {
            0 => String::new(),
            count => format!(", unless one of {count} deny patterns matches"),
        };
        format!("observed, {level} at most{part}{denied}")
    }

    pub(super) fn settings(&self) -> Settings {
        let seconds = |seconds: u64| seconds.saturating_mul(1_000_000_000);
        let BudgetConfig { callback_permille, shim_permille, agent_permille, memory_mib, bus_mib } =
            self.budget;
        Settings {
            budget: Budget {
                callback_permille,
                shim_permille,
                agent_permille,
                memory_bytes: memory_mib.saturating_mul(1 << 20),
                bus_bytes: bus_mib.saturating_mul(1 << 20),
            },
            dwell_ns: seconds(self.dwell_seconds),
            stands_ns: seconds(self.canary_seconds),
            ..Settings::careful(self.identity())
        }
    }

    pub(super) fn policy(&self) -> Policy {
        let deny = |deny: &DenyConfig| {
            let (subject, text) = match deny {
                DenyConfig::Gpu(text) => (Subject::Gpu, text),
                DenyConfig::Container(text) => (Subject::Image, text),
                DenyConfig::Model(text) => (Subject::Model, text),
                DenyConfig::Title(text) => (Subject::Title, text),
            };
            Deny { subject, pattern: Pattern::parse(text) }
        };
        Policy {
            maximum: self.maximum(),
            deny: self.deny.iter().map(deny).collect(),
            // The switch lets go of every worker before any level is asked for.
            switch: KillSwitch::Released,
            fleet: Percent::of(self.percent),
        }
    }

    fn identity(&self) -> Identity {
        let named = self.node.clone().or_else(|| std::env::var("NODE_NAME").ok());
        let node = named
            .filter(|name| !name.is_empty())
            .unwrap_or_else(|| rustix::system::uname().nodename().to_string_lossy().into_owned());
        Identity::of(&node)
    }
}
