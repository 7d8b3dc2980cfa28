//! The daemon's configuration file.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use thiserror::Error;

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
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9400)),
            scan_seconds: 2,
            enabled: true,
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
        Ok(config)
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
    fn typos_and_nonsense_are_refused() {
        assert!(parse("scan_second = 1").is_err());
        assert!(parse("listen = 9400").is_err());
        let refused = parse("scan_seconds = 0").unwrap_err();
        assert_eq!(refused, "configuration w.toml: scan_seconds is 0: use 1 to 3600");
    }
}
