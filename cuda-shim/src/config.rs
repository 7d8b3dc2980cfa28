//! What the environment asks of the shim. Pure: the lookup is an argument.

use std::time::Duration;

use wire::shim::Level;

/// Settings, read once when the driver loads the shim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// Level until an agent speaks; `None` = off for good.
    pub(crate) level: Option<Level>,
    /// How long that level holds while no agent comes.
    pub(crate) unattended: Duration,
    /// How long the first `cuInit` waits for an agent to set a level.
    pub(crate) wait: Duration,
    /// Keep the memfd's descriptor open.
    pub(crate) keep_descriptor: bool,
    /// This libcupti and no other.
    pub(crate) cupti: Option<String>,
    /// Leave CUPTI to another tool that asks for it, until that has been quiet for so long; `None` = never.
    pub(crate) yields: Option<Duration>,
}

/// vLLM captures its graphs minutes after its first `cuInit`; an agent is there by then or not at all.
const UNATTENDED: Duration = Duration::from_mins(10);
/// Profilers are started several times in a row.
const QUIET: Duration = Duration::from_secs(10);
/// Longest wait honoured: a server whose agent never comes still starts.
const WAIT_MAX: Duration = Duration::from_secs(30);

impl Config {
    /// Unknown values fall back to the default: a typo must not stop a server.
    pub(crate) fn parse(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let level = match lookup("WARPLENS_LEVEL").as_deref() {
            Some("off") => None,
            Some("dormant") => Some(Level::Dormant),
            Some("counting") => Some(Level::Counting),
            Some("stacks") => Some(Level::Stacks),
            _ => Some(Level::Watching),
        };
        let number = |key: &str| lookup(key).and_then(|text| text.parse::<u64>().ok());
        Self {
            level,
            unattended: number("WARPLENS_UNATTENDED_SECONDS")
                .map_or(UNATTENDED, Duration::from_secs),
            wait: number("WARPLENS_WAIT_MS")
                .map_or(Duration::ZERO, |ms| Duration::from_millis(ms).min(WAIT_MAX)),
            keep_descriptor: lookup("WARPLENS_KEEP_FD").is_some_and(|text| text == "1"),
            cupti: lookup("WARPLENS_CUPTI").filter(|text| !text.is_empty()),
            yields: match lookup("WARPLENS_YIELD").as_deref() {
                Some("off") => None,
                _ => Some(number("WARPLENS_YIELD").map_or(QUIET, Duration::from_secs)),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Config {
        Config::parse(|key| {
            pairs.iter().find(|(name, _)| *name == key).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_set_watches_for_ten_minutes() {
        assert_eq!(
            parse(&[]),
            Config {
                level: Some(Level::Watching),
                unattended: Duration::from_mins(10),
                wait: Duration::ZERO,
                keep_descriptor: false,
                cupti: None,
                yields: Some(Duration::from_secs(10)),
            }
        );
    }

    #[test]
    fn every_key_is_read_and_bounded() {
        let config = parse(&[
            ("WARPLENS_LEVEL", "stacks"),
            ("WARPLENS_UNATTENDED_SECONDS", "5"),
            ("WARPLENS_WAIT_MS", "99999999"),
            ("WARPLENS_KEEP_FD", "1"),
            ("WARPLENS_CUPTI", "/x/libcupti.so.12"),
            ("WARPLENS_YIELD", "off"),
        ]);
        assert_eq!(
            config,
            Config {
                level: Some(Level::Stacks),
                unattended: Duration::from_secs(5),
                wait: WAIT_MAX,
                keep_descriptor: true,
                cupti: Some("/x/libcupti.so.12".to_owned()),
                yields: None,
            }
        );
    }

    #[test]
    fn off_is_off_and_a_typo_is_the_default() {
        assert_eq!(parse(&[("WARPLENS_LEVEL", "off")]).level, None);
        assert_eq!(parse(&[("WARPLENS_LEVEL", "stakcs")]).level, Some(Level::Watching));
        assert_eq!(parse(&[("WARPLENS_WAIT_MS", "soon")]).wait, Duration::ZERO);
    }
}
