//! `report.json` and `analyze --json`: schema `warplens.report/v1`, written and read.

mod counters;
mod document;
pub mod host;
mod make;
mod memory;
mod read;

pub use counters::Counters;
pub use document::{
    Coverage, Device, Document, Exclusive, Gap, GapHost, GapLaunch, GapPart, Histogram, HostBound,
    Inclusive, Kernel, PhaseSteps, Range, Records, SCHEMA, Sentence, Steps, Stream, Stretch,
    Worker,
};
pub use host::Host;
pub(crate) use make::{gap, host_bound};
pub use memory::{Memory, MemoryFinding, ProcessBytes, Site, Who};
pub use read::{ReadReportError, looks_like_report, read};

use crate::capture::Capture;

/// The document, pretty-printed, with a line feed at its end.
pub fn render(capture: &Capture) -> Result<Vec<u8>, serde_json::Error> {
    let mut bytes = serde_json::to_vec_pretty(&Document::of(capture))?;
    bytes.push(b'\n');
    Ok(bytes)
}
