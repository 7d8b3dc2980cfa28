//! The daemon: one thread observes, an HTTP server asks it. Nothing else decides anything.

mod config;
mod http;
mod listen;
mod watcher;

pub use config::{Config, ConfigError};
pub use http::serve;
pub use watcher::{Answer, Asker, Health, Watcher};
