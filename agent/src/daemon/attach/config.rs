//! The configuration's `[attach]`: which processes that were started without the shim have it brought to them, and how
//! carefully.

use std::time::Duration;

use analysis::event::ProcessInfo;
use analysis::level::operator::Pattern;
use serde::Deserialize;

const HOUR: u64 = 3600;

/// Unknown keys are errors.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct AttachConfig {
    /// Enter processes at all.
    pub enabled: bool,
    /// Only those that one of these is about; empty: every one.
    #[serde(rename = "match")]
    pub wanted: Vec<WantedConfig>,
    /// Processes that are entered at a time.
    pub at_once: usize,
    /// A process is left alone until it is so old: a server that starts has other things to do, and no place where its
    /// threads wait.
    pub min_age_seconds: u64,
    /// Between two tries on this node; processes of one server follow each other at once while that goes well.
    pub rest_seconds: u64,
    /// Of each process.
    pub tries: u32,
    /// The first server of a node stands so long with its shims before another is entered.
    pub canary_seconds: u64,
}

/// Patterns with `*` and `?` of one of these. What cannot be read matches nothing.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum WantedConfig {
    Model(String),
    /// Its pod, as `namespace/name`.
    Pod(String),
    /// Id of its container.
    Container(String),
    /// Its process title.
    Title(String),
}

impl Default for AttachConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            wanted: Vec::new(),
            at_once: 1,
            min_age_seconds: 120,
            rest_seconds: 10,
            tries: 3,
            canary_seconds: 600,
        }
    }
}

impl AttachConfig {
    /// What is wrong with it, if anything.
    pub fn problem(&self) -> Option<String> {
        let most = |name: &str, value: u64, most: u64| {
            (value > most).then(|| format!("attach.{name} is {value}: use 0 to {most}"))
        };
        let between = |name: &str, value: u64, most: u64| {
            (value == 0 || value > most)
                .then(|| format!("attach.{name} is {value}: use 1 to {most}"))
        };
        between("at_once", u64::try_from(self.at_once).unwrap_or(u64::MAX), 16)
            .or_else(|| between("tries", self.tries.into(), 100))
            .or_else(|| most("min_age_seconds", self.min_age_seconds, 24 * HOUR))
            .or_else(|| most("rest_seconds", self.rest_seconds, HOUR))
            .or_else(|| most("canary_seconds", self.canary_seconds, 24 * HOUR))
    }

    /// What it means, as a sentence without its end.
    pub fn sentence(&self) -> String {
        if !self.enabled {
            return "enters no process".to_owned();
        }
        let Self { wanted, at_once, min_age_seconds, tries, .. } = self;
        let which = match wanted.len() {
            0 => String::new(),
            count => format!(" that one of {count} patterns fits"),
        };
        format!(
            "enters workers{which} without the shim, {at_once} at a time, from {min_age_seconds} s of age on, {tries} tries each"
        )
    }

    pub(super) fn wants(&self, info: &ProcessInfo) -> bool {
        let fits =
            |text: &str, value: &str| !value.is_empty() && Pattern::parse(text).matches(value);
        let service = &info.service;
        self.wanted.is_empty()
            || self.wanted.iter().any(|wanted| match wanted {
                WantedConfig::Model(text) => fits(text, &service.model),
                WantedConfig::Pod(text) if service.pod.is_empty() => fits(text, ""),
                WantedConfig::Pod(text) => {
                    fits(text, &format!("{}/{}", service.namespace, service.pod))
                }
                WantedConfig::Container(text) => fits(text, &service.container),
                WantedConfig::Title(text) => fits(text, &info.title),
            })
    }

    pub(super) fn min_age(&self) -> Duration {
        Duration::from_secs(self.min_age_seconds)
    }
}

#[cfg(test)]
mod tests {
    use analysis::event::Service;

    use super::*;

    fn config(text: &str) -> AttachConfig {
        toml::from_str(text).unwrap()
    }

    #[test]
    fn off_unless_told_and_typos_are_refused() {
        assert!(!config("").enabled);
        assert_eq!(config("").problem(), None);
        assert!(toml::from_str::<AttachConfig>("enable = true").is_err());
        assert!(toml::from_str::<AttachConfig>("match = [{ image = \"x\" }]").is_err());
        assert_eq!(config("at_once = 0").problem().unwrap(), "attach.at_once is 0: use 1 to 16");
        assert_eq!(
            config("rest_seconds = 3601").problem().unwrap(),
            "attach.rest_seconds is 3601: use 0 to 3600"
        );
    }

    #[test]
    fn what_is_not_known_is_not_wanted() {
        let info = ProcessInfo {
            title: "VLLM::Worker_TP0".to_owned(),
            service: Service {
                model: "org/m".to_owned(),
                pod: "llm-0".to_owned(),
                namespace: "serving".to_owned(),
                ..Service::default()
            },
            ..ProcessInfo::default()
        };
        let check = |text: &str, expected: bool| {
            assert_eq!(config(text).wants(&info), expected, "{text}");
        };
        check("", true);
        check("match = [{ model = \"org/*\" }]", true);
        check("match = [{ model = \"other\" }]", false);
        check("match = [{ model = \"other\" }, { title = \"VLLM::*\" }]", true);
        check("match = [{ pod = \"serving/llm-?\" }]", true);
        check("match = [{ pod = \"llm-?\" }]", false);
        check("match = [{ container = \"*\" }]", false);
        let bare = ProcessInfo::default();
        assert!(!config("match = [{ pod = \"*\" }]").wants(&bare));
    }
}
