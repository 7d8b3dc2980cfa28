//! The daemon: one thread observes, an HTTP server asks it. Nothing else decides anything.

mod config;
mod http;
mod watcher;

pub use config::{Config, ConfigError};
pub use http::serve;
pub use watcher::{Health, Watcher};
