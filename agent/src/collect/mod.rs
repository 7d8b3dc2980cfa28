//! What servers say of themselves: `/metrics` of every vLLM server that discovery knows, each read by a task of its own,
//! so that a server that hangs, floods or lies costs only its own figures.
//!
//! ```text
//! observer ─ Served ─> Collection ─ one task a server and turn ─> route ─> fetch ─> exposition ─> vllm::Reading
//!    ^                                                                                                │
//!    └──────────────────────────── Report { server, at, outcome } <───────────────────────────────────┘
//! ```
//! Being scraped costs vLLM 23 to 36 ms under load, hence 10 s between two turns by default.

mod collection;
mod config;
mod exposition;
mod fetch;
mod pace;
mod route;
mod vllm;

pub use collection::{Collection, Report, Served};
pub use config::CollectConfig;
pub use exposition::{Exposition, Sample, parse};
pub use pace::Paces;
pub use vllm::{Engine, Incomplete, Reading};

/// The text of vLLM's `/metrics` as what it says of its engines; any bytes will do.
///
/// # Errors
/// When what is needed of it is not there.
pub fn reading(bytes: &[u8]) -> Result<Reading, Incomplete> {
    Reading::of(&parse(bytes))
}
