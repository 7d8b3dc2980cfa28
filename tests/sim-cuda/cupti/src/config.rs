//! What the environment asks of the simulated CUPTI.

use std::sync::OnceLock;

/// Every knob.
#[derive(Clone, Debug, Default)]
pub(crate) struct Config {
    /// `WARPLENS_SIM_SEED`.
    pub(crate) seed: u64,
    /// `WARPLENS_SIM_LATE=permille,max_ms`: records held back.
    pub(crate) late_permille: u64,
    pub(crate) late_max_ns: u64,
    /// `WARPLENS_SIM_ZERO=permille`: records without timestamps.
    pub(crate) zero_permille: u64,
    /// `WARPLENS_SIM_DROP=permille`: records dropped and counted.
    pub(crate) drop_permille: u64,
    /// `WARPLENS_SIM_EXHAUST=nodes[,forever]`: records of graph nodes that have timestamps; those
    /// after have none.
    pub(crate) exhaust: Option<Exhaust>,
    /// `WARPLENS_SIM_ERROR_SUBSCRIBE`: what `cuptiSubscribe` answers; 0 = works.
    pub(crate) subscribe_error: i32,
    /// `WARPLENS_SIM_ERROR_ENABLE`: what `cuptiActivityEnable` answers; 0 = works.
    pub(crate) enable_error: i32,
}

/// Room for timestamps on the device, and whether it comes back when kinds are switched off and on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exhaust {
    pub(crate) nodes: u64,
    pub(crate) forever: bool,
}

/// The configuration of this process, read at its first use.
pub(crate) fn get() -> &'static Config {
    static CONFIG: OnceLock<Config> = OnceLock::new();
    CONFIG.get_or_init(|| parse(|key| std::env::var(key).ok()))
}

fn parse(look_up: impl Fn(&str) -> Option<String>) -> Config {
    let number = |key: &str, default: u64| {
        look_up(key).and_then(|text| text.trim().parse().ok()).unwrap_or(default)
    };
    let error = |key: &str| i32::try_from(number(key, 0)).unwrap_or(0);
    let late = look_up("WARPLENS_SIM_LATE").unwrap_or_default();
    let (late_permille, late_ms) = late.split_once(',').unwrap_or((&late, "100"));
    let late_ms: u64 = late_ms.trim().parse().unwrap_or(100);
    Config {
        seed: number("WARPLENS_SIM_SEED", 1),
        late_permille: late_permille.trim().parse().unwrap_or(0),
        late_max_ns: late_ms * 1_000_000,
        zero_permille: number("WARPLENS_SIM_ZERO", 0),
        drop_permille: number("WARPLENS_SIM_DROP", 0),
        exhaust: look_up("WARPLENS_SIM_EXHAUST").as_deref().and_then(exhaust),
        subscribe_error: error("WARPLENS_SIM_ERROR_SUBSCRIBE"),
        enable_error: error("WARPLENS_SIM_ERROR_ENABLE"),
    }
}

fn exhaust(text: &str) -> Option<Exhaust> {
    let (nodes, rest) = text.split_once(',').unwrap_or((text, ""));
    Some(Exhaust { nodes: nodes.trim().parse().ok()?, forever: rest.trim() == "forever" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exhaustion_is_a_number_and_a_word() {
        assert_eq!(exhaust("500"), Some(Exhaust { nodes: 500, forever: false }));
        assert_eq!(exhaust("500,forever"), Some(Exhaust { nodes: 500, forever: true }));
        assert_eq!(exhaust("x"), None);
    }
}
