//! The configuration's `[probes]`: kernel programs that are not used, everywhere or where a rule fits.
//!
//! A rule that names a property which this node cannot tell fits: whoever wrote it meant it as a promise.

use analysis::level::operator::Pattern;
use serde::Deserialize;

use crate::bpf::probe::{Off, Probe};

/// Unknown keys are errors.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct ProbesConfig {
    /// Never used.
    pub off: Vec<Probe>,
    /// Not used where a rule fits.
    pub deny: Vec<DenyProbe>,
}

/// One rule; patterns with `*` and `?`. It fits where every property it names does.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct DenyProbe {
    pub probe: Probe,
    /// Release of the kernel, as `uname -r` prints it.
    pub kernel: Option<String>,
    /// Name of a device of this node.
    pub gpu: Option<String>,
    /// Image of a container. No node knows it, and a probe is for all of a node: such a rule fits.
    pub image: Option<String>,
}

/// What a rule is held against.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    pub kernel: Option<String>,
    /// Names of all devices; `None`: they cannot be told.
    pub gpus: Option<Vec<String>>,
}

impl Node {
    /// Of this machine.
    pub fn read() -> Self {
        let release = rustix::system::uname().release().to_string_lossy().into_owned();
        Self {
            kernel: Some(release).filter(|text| !text.is_empty()),
            gpus: crate::govern::gpu_names(),
        }
    }
}

impl ProbesConfig {
    /// What is wrong with it, if anything.
    pub fn problem(&self) -> Option<String> {
        let bare =
            |deny: &&DenyProbe| deny.kernel.is_none() && deny.gpu.is_none() && deny.image.is_none();
        self.deny.iter().find(bare).map(|deny| {
            let probe = deny.probe.as_str();
            format!("probes.deny has no kernel, gpu or image for {probe}: use probes.off")
        })
    }

    /// What is off on this node, and why.
    pub fn resolve(&self, node: &Node) -> Off {
        let mut off = Off::default();
        for &probe in &self.off {
            off.add(probe, "probes.off in the configuration");
        }
        for rule in &self.deny {
            if let Some(why) = rule.fits(node) {
                off.add(rule.probe, format!("probes.deny in the configuration: {why}"));
            }
        }
        off
    }
}

impl DenyProbe {
    /// Why, or `None` where some property does not.
    fn fits(&self, node: &Node) -> Option<String> {
        let mut why: Vec<String> = Vec::new();
        let fits = |pattern: &str, value: &str| Pattern::parse(pattern).matches(value);
        if let Some(pattern) = &self.kernel {
            why.push(match &node.kernel {
                Some(release) if fits(pattern, release) => format!("kernel {release}"),
                Some(_) => return None,
                None => "the kernel's release is not known".to_owned(),
            });
        }
        if let Some(pattern) = &self.gpu {
            why.push(match &node.gpus {
                Some(names) => names.iter().find(|name| fits(pattern, name))?.clone(),
                None => "names of GPUs are not known here".to_owned(),
            });
        }
        if self.image.is_some() {
            why.push("images are not known to a node".to_owned());
        }
        (!why.is_empty()).then(|| why.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        Node {
            kernel: Some("5.15.0-1053-gke".to_owned()),
            gpus: Some(vec!["NVIDIA A10".to_owned(), "NVIDIA GB300".to_owned()]),
        }
    }

    fn reason(text: &str, node: &Node) -> Option<String> {
        let config: ProbesConfig = toml::from_str(text).unwrap();
        assert_eq!(config.problem(), None, "{text}");
        config.resolve(node).reason(Probe::ThreadStates).map(ToOwned::to_owned)
    }

    fn rule(rest: &str) -> String {
        format!("[[deny]]\nprobe = \"thread-states\"\n{rest}")
    }

    #[test]
    fn rules_fit_where_every_property_does() {
        let check = |rest: &str, expected: Option<&str>| {
            let found = reason(&rule(rest), &node());
            let expected = expected.map(|why| format!("probes.deny in the configuration: {why}"));
            assert_eq!(found, expected, "{rest}");
        };
        check("kernel = \"5.15.*\"", Some("kernel 5.15.0-1053-gke"));
        check("kernel = \"6.*\"", None);
        check("gpu = \"*gb300*\"", Some("NVIDIA GB300"));
        check("gpu = \"*H200*\"", None);
        check("kernel = \"5.15.*\"\ngpu = \"*A10\"", Some("kernel 5.15.0-1053-gke, NVIDIA A10"));
        check("kernel = \"6.*\"\ngpu = \"*A10\"", None);
        check("image = \"ours/*\"", Some("images are not known to a node"));
        check("kernel = \"6.*\"\nimage = \"ours/*\"", None);
        assert_eq!(
            reason("off = [\"thread-states\"]", &node()).as_deref(),
            Some("probes.off in the configuration")
        );
        assert_eq!(reason("off = [\"python\"]", &node()), None);
    }

    #[test]
    fn what_is_not_known_is_denied() {
        let blind = Node::default();
        for (rest, why) in [
            ("kernel = \"6.*\"", "the kernel's release is not known"),
            ("gpu = \"*H200*\"", "names of GPUs are not known here"),
        ] {
            let found = reason(&rule(rest), &blind).unwrap();
            assert!(found.ends_with(why), "{found}");
        }
        // Known not to be there is no reason.
        let empty = Node { gpus: Some(Vec::new()), ..node() };
        assert_eq!(reason(&rule("gpu = \"*\""), &empty), None);
    }

    #[test]
    fn rules_without_a_property_and_unknown_probes_are_refused() {
        let config: ProbesConfig = toml::from_str(&rule("")).unwrap();
        assert_eq!(
            config.problem().unwrap(),
            "probes.deny has no kernel, gpu or image for thread-states: use probes.off"
        );
        assert!(toml::from_str::<ProbesConfig>("off = [\"sched\"]").is_err());
        assert!(toml::from_str::<ProbesConfig>(&rule("driver = \"5\"")).is_err());
    }
}
