//! Servers that can be asked, and what they said.

use super::govern::server_name;
use super::{ObserveError, Observer};
use crate::collect::{Report, Served};
use crate::proc::Server;

impl Observer {
    /// Servers of this node that serve HTTP, as discovery saw them last.
    pub fn served(&self) -> Vec<Served> {
        if self.switch.is_off() {
            return Vec::new();
        }
        self.node.servers().iter().filter_map(served).collect()
    }

    /// A server was asked.
    pub fn on_report(&mut self, report: &Report) -> Result<(), ObserveError> {
        let Ok(reading) = &report.outcome else { return Ok(()) };
        self.hear_for_hangs(report);
        let server = (report.server, report.start);
        let sample = self.paces.on_reading(server, report.at, reading);
        if let Some((sample, governor)) = sample.zip(self.governor.as_mut()) {
            governor.on_pace(&server_name(report.server), sample);
        }
        self.say_what_was_decided()
    }
}

fn served(server: &Server) -> Option<Served> {
    Some(Served {
        server: server.id,
        start: server.member(server.id)?.start,
        port: server.port?,
        listening: server.listening.clone(),
    })
}
