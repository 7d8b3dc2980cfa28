//! The session (public surface; the parts behind it follow).
use crate::defect::Defect;
use crate::event::Event;
use crate::ids::Ns;
use crate::report::Report;

/// When time becomes final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Live rings and our recordings: only marks in the stream move the watermark.
    Marked,
    /// Foreign traces: everything becomes final at `finish`.
    Whole,
}

/// Settings of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    pub mode: Mode,
    /// Start of every device's window; `None`: where observation of the device began.
    pub start: Option<Ns>,
}

#[derive(Debug)]
pub struct Session {}

impl Session {
    pub fn new(_options: Options) -> Self {
        Self {}
    }
    pub fn ingest(&mut self, _event: Event) {}
    /// Adds what the caller found wrong, such as an `Err` of decode.
    pub fn note(&mut self, _defect: Defect) {}
    pub fn limit_end(&mut self, _end: Ns) {}
    /// The instant up to which every device is final, if any is.
    pub fn watermark(&self) -> Option<Ns> {
        None
    }
    pub fn finish(&mut self) {}
    pub fn report(&self) -> Report {
        Report::default()
    }
}
