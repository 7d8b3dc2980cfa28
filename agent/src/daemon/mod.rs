//! The daemon: one thread observes, an HTTP server asks it. Nothing else decides anything.

pub mod access;
mod attach;
mod config;
pub mod control;
mod evidence;
mod flight;
mod http;
mod listen;
mod memory;
mod probes;
pub mod tls;
mod watcher;

pub use attach::{AttachConfig, Attacher};
pub use config::{Config, ConfigError, GuardingError, HttpConfig};
pub use evidence::EvidenceConfig;
pub use flight::FlightConfig;
pub use http::{Guarding, Serving, serve};
pub use probes::{Node, ProbesConfig};
pub use watcher::{Answer, Asker, Collected, Health, Watcher};
