//! Names of kernels and labels of ranges, each told to a process once.

use std::collections::{HashMap, HashSet};

use analysis::event::{Event, RangeKind};
use analysis::ids::ProcessKey;
use rusqlite::Connection;

use super::calls::{self, Call};
use super::ranges::Label;
use super::schema::{Column, Fields, Schema, text};
use crate::pipeline::Input;

/// Kernel names read in one trace; real ones hold thousands. Only bounds memory.
pub(super) const NAMES_MAX: usize = 1 << 20;

/// Labels of ranges. A model has thousands of operators, modules and shapes; ranges named by a
/// counter have no end, and nobody reads a table of them.
const LABELS_MAX: usize = 1 << 16;

/// Why a name could not be had.
pub(super) enum NameError {
    Query(rusqlite::Error),
    TooMany,
}

pub(super) struct Strings<'c> {
    connection: &'c Connection,
    present: bool,
    /// `StringIds.id` to the id told to the session.
    names: HashMap<i64, (u32, String)>,
    named: HashSet<(ProcessKey, u32)>,
    /// A text to the id told to the session; 0 is no label.
    labels: HashMap<String, u32>,
    labelled: HashSet<(ProcessKey, u32)>,
}

impl<'c> Strings<'c> {
    pub(super) fn new(connection: &'c Connection, schema: &Schema) -> Self {
        Self {
            connection,
            present: schema.has_columns("StringIds", &["id", "value"]),
            names: HashMap::new(),
            named: HashSet::new(),
            labels: HashMap::new(),
            labelled: HashSet::new(),
        }
    }

    /// String ids that name calls which launch work or wait for it.
    pub(super) fn calls(&self) -> Result<HashMap<i64, Call>, rusqlite::Error> {
        let mut found = HashMap::new();
        if !self.present {
            return Ok(found);
        }
        let mut statement = self.connection.prepare(
            "SELECT id, value FROM StringIds WHERE value GLOB 'cu*' AND length(value) <= ?1",
        )?;
        let mut rows = statement.query([i64::try_from(calls::NAME_MAX).unwrap_or(i64::MAX)])?;
        while let Some(row) = rows.next()? {
            let call = text(row.get_ref(1)?).as_deref().and_then(Call::named);
            if let Some(call) = call {
                found.insert(row.get(0)?, call);
            }
        }
        Ok(found)
    }

    /// The id of a kernel's name; 0 where the row has none.
    pub(super) fn kernel(
        &mut self,
        process: ProcessKey,
        fields: &Fields,
        sink: &mut impl FnMut(Input),
    ) -> Result<u32, NameError> {
        let Some(string) = [Column::DemangledName, Column::ShortName, Column::MangledName]
            .iter()
            .find_map(|&column| fields.get(column))
        else {
            return Ok(0);
        };
        if !self.names.contains_key(&string) {
            if self.names.len() >= NAMES_MAX {
                return Err(NameError::TooMany);
            }
            let id = u32::try_from(self.names.len() + 1).unwrap_or(u32::MAX);
            let text = self.string(string).map_err(NameError::Query)?;
            self.names.insert(string, (id, text));
        }
        let Some((id, text)) = self.names.get(&string) else {
            return Ok(0);
        };
        if self.named.insert((process, *id)) {
            sink(Input::Name { process, id: *id, name: text.clone() });
        }
        Ok(*id)
    }

    /// What a range is about: kind, label and shapes. `None` when the label table is full.
    pub(super) fn range(
        &mut self,
        process: ProcessKey,
        fields: &Fields,
        sink: &mut impl FnMut(Input),
    ) -> Result<Option<(RangeKind, u32, u32)>, rusqlite::Error> {
        let registered;
        let text = match (&fields.text, fields.get(Column::TextId)) {
            (Some(text), _) => text,
            (None, Some(id)) => {
                registered = self.string(id)?;
                &registered
            }
            (None, None) => "[range without text]",
        };
        let label = Label::of(text);
        let Some(id) = self.label(process, label.text, sink) else {
            return Ok(None);
        };
        let shapes = match label.shapes {
            Some(shapes) => self.label(process, shapes, sink).unwrap_or(0),
            None => 0,
        };
        Ok(Some((label.kind, id, shapes)))
    }

    fn label(
        &mut self,
        process: ProcessKey,
        text: &str,
        sink: &mut impl FnMut(Input),
    ) -> Option<u32> {
        let id = match self.labels.get(text) {
            Some(&id) => id,
            None if self.labels.len() >= LABELS_MAX => return None,
            None => {
                let id = u32::try_from(self.labels.len() + 1).unwrap_or(u32::MAX);
                self.labels.insert(text.to_owned(), id);
                id
            }
        };
        if self.labelled.insert((process, id)) {
            sink(Input::Foreign(Event::Label { process, id, text: text.to_owned() }));
        }
        Some(id)
    }

    fn string(&self, id: i64) -> Result<String, rusqlite::Error> {
        let missing = || format!("[string {id} is not in the trace]");
        if !self.present {
            return Ok(missing());
        }
        let mut statement =
            self.connection.prepare_cached("SELECT value FROM StringIds WHERE id = ?1")?;
        let mut rows = statement.query([id])?;
        let Some(row) = rows.next()? else {
            return Ok(missing());
        };
        Ok(text(row.get_ref(0)?).unwrap_or_else(missing))
    }
}
