//! The daemon's configuration file.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

use super::access::{Token, TokenError};
use super::attach::AttachConfig;
use super::evidence::EvidenceConfig;
use super::flight::FlightConfig;
use super::http::Guarding;
use super::memory::MemoryConfig;
use super::probes::ProbesConfig;
use super::tls::{Files, Tls, TlsError};
use crate::collect::CollectConfig;
use crate::govern::{LevelsConfig, ShimConfig};
use crate::rules::{RuleText, RulesError};

/// What the file may say. Unknown keys are errors: a typo must not silently change nothing.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where HTTP is served. Loopback unless told otherwise.
    pub listen: SocketAddr,
    /// Seconds between looks for new workers.
    pub scan_seconds: u64,
    /// Observe workers at all; `false` leaves every shim dormant.
    pub enabled: bool,
    /// How kernels are classified.
    pub classify: ClassifyConfig,
    /// The latest past in memory, and where it is written.
    pub flight: FlightConfig,
    /// What bounds the levels of workers.
    pub levels: LevelsConfig,
    /// Kernel programs that are not used.
    pub probes: ProbesConfig,
    /// Features of shims that are left off.
    pub shim: ShimConfig,
    /// Workers that were started without the shim.
    pub attach: AttachConfig,
    /// What is looked at to tell why a worker ended, or that it hangs.
    pub evidence: EvidenceConfig,
    /// What servers are asked for.
    pub collect: CollectConfig,
    /// What is told of memory.
    pub memory: MemoryConfig,
    /// What stands between the port and the figures.
    pub http: HttpConfig,
    /// Give up what the daemon does not need before it begins.
    pub drop_privileges: bool,
}

/// Classification rules that come before the built-in ones; docs/classify.md has their syntax.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct ClassifyConfig {
    /// Rules, a line each.
    pub rules: String,
    /// Files of rules; tried after `rules`, in their order.
    pub rules_files: Vec<PathBuf>,
}

/// `[http]`. Paths of PEM files, and of a file whose only line is a token.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub struct HttpConfig {
    /// Who reads `/metrics` must show what this file holds.
    pub token_file: Option<PathBuf>,
    /// With `key`: TLS, with this certificate and those above it.
    pub certificate: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

impl HttpConfig {
    /// What it asks for, read.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn guarding(&self) -> Result<Guarding, GuardingError> {
        let token = self.token_file.as_deref().map(Token::read).transpose()?;
        let tls = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key)) => {
                Some(Tls::read(Files { certificate: certificate.clone(), key: key.clone() })?)
            }
            _ => None,
        };
        Ok(Guarding { token, tls })
    }

    fn problem(&self) -> Option<String> {
        (self.certificate.is_some() != self.key.is_some())
            .then(|| "http.certificate and http.key go together".to_owned())
    }
}

/// Why HTTP cannot be guarded as it was asked for.
#[derive(Debug, Error)]
pub enum GuardingError {
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9400)),
            scan_seconds: 2,
            enabled: true,
            classify: ClassifyConfig::default(),
            flight: FlightConfig::default(),
            levels: LevelsConfig::default(),
            probes: ProbesConfig::default(),
            shim: ShimConfig::default(),
            attach: AttachConfig::default(),
            evidence: EvidenceConfig::default(),
            collect: CollectConfig::default(),
            memory: MemoryConfig::default(),
            http: HttpConfig::default(),
            drop_privileges: true,
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("read configuration {}: check that it exists and may be read", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("configuration {}: correct it", path.display())]
    Parse {
        path: PathBuf,
        #[source]
        source: Box<toml::de::Error>,
    },
    #[error("configuration {}: scan_seconds is {found}: use 1 to 3600", path.display())]
    ScanSeconds { path: PathBuf, found: u64 },
    #[error("configuration {}: {problem}", path.display())]
    Section { path: PathBuf, problem: String },
}

impl Config {
    /// The file's settings, or the defaults without a file.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let read = |source| ConfigError::Read { path: path.to_owned(), source };
        Self::parse(path, &fs::read_to_string(path).map_err(read)?)
    }

    /// The user's rules, in the order in which they are tried.
    pub fn rule_texts(&self) -> Result<Vec<RuleText>, RulesError> {
        let ClassifyConfig { rules, rules_files } = &self.classify;
        let own =
            RuleText { name: "configuration, classify.rules".to_owned(), text: rules.clone() };
        let files = rules_files.iter().map(|path| RuleText::read(path));
        std::iter::once(Ok(own)).chain(files).collect()
    }

    fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|source| ConfigError::Parse {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
        if !(1..=3600).contains(&config.scan_seconds) {
            return Err(ConfigError::ScanSeconds {
                path: path.to_owned(),
                found: config.scan_seconds,
            });
        }
        match config
            .flight
            .problem()
            .or_else(|| config.levels.problem())
            .or_else(|| config.probes.problem())
            .or_else(|| config.shim.problem())
            .or_else(|| config.attach.problem())
            .or_else(|| config.collect.problem())
            .or_else(|| config.memory.problem())
            .or_else(|| config.evidence.problem())
            .or_else(|| config.http.problem())
        {
            Some(problem) => Err(ConfigError::Section { path: path.to_owned(), problem }),
            None => Ok(config),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("w.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_file_is_the_default_and_binds_loopback() {
        let config = parse("").unwrap();
        assert_eq!(config, Config::default());
        assert!(config.listen.ip().is_loopback());
    }

    #[test]
    fn every_key_is_read() {
        let config = parse("listen = \"0.0.0.0:9\"\nscan_seconds = 7\nenabled = false\n").unwrap();
        assert_eq!(config.listen.port(), 9);
        assert_eq!((config.scan_seconds, config.enabled), (7, false));
    }

    #[test]
    fn rules_are_read_and_wrong_ones_say_where() {
        let text = "[classify]\nrules = \"\"\"\n# ours\ngemm moe function word acme\n\"\"\"\n";
        let texts = parse(text).unwrap().rule_texts().unwrap();
        let classifier = crate::rules::classifier(&texts).unwrap();
        assert_eq!(classifier.rules()[0].line, 2);
        let wrong = "[classify]\nrules = \"gemm moe\"\n";
        let texts = parse(wrong).unwrap().rule_texts().unwrap();
        let error = crate::rules::classifier(&texts).unwrap_err().to_string();
        assert!(error.starts_with("configuration, classify.rules:1:9: no condition"), "{error}");
        assert!(parse("[classify]\nrule = \"\"").is_err());
        let missing = parse("[classify]\nrules_files = [\"/nowhere/x\"]\n").unwrap();
        assert!(missing.rule_texts().is_err());
    }

    #[test]
    fn typos_and_nonsense_are_refused() {
        assert!(parse("scan_second = 1").is_err());
        assert!(parse("listen = 9400").is_err());
        let refused = parse("scan_seconds = 0").unwrap_err();
        assert_eq!(refused, "configuration w.toml: scan_seconds is 0: use 1 to 3600");
        let refused = parse("[flight]\nkeep = 0").unwrap_err();
        assert_eq!(refused, "configuration w.toml: flight.keep is 0: use 1 to 1000");
        let refused = parse("[collect]\nseconds = 0").unwrap_err();
        assert_eq!(refused, "configuration w.toml: collect.seconds is 0: use 1 to 3600");
        assert!(parse("[flight]\nsecond = 5").is_err());
        assert_eq!(parse("[flight]\nseconds = 5").unwrap().flight.seconds, 5);
    }
}
