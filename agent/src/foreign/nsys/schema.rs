//! Which of Nsight's tables are read, column by column, in time order.
//!
//! Tables and columns differ between versions of Nsight Systems: an absent column reads as
//! "not told". Each table is one statement sorted by `SQLite`, whose sorter writes to temporary
//! files beyond [`CACHE_KIB`], so that memory does not grow with the trace.

use std::collections::{HashMap, HashSet};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Rows, Statement};

/// Memory of the page cache, and of each of the six sorters before it writes to disk.
const CACHE_KIB: u32 = 8192;

/// A table that becomes events, in the order in which rows of one instant are told: a range
/// holds the call made in it, a call comes before its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Range,
    Call,
    Wait,
    Kernel,
    Memcpy,
    Memset,
}

impl Source {
    pub(super) const ALL: [Self; 6] =
        [Self::Range, Self::Call, Self::Wait, Self::Kernel, Self::Memcpy, Self::Memset];
    /// Without any of these there is nothing to report on.
    pub(super) const WORK: [Self; 3] = [Self::Kernel, Self::Memcpy, Self::Memset];

    pub(super) const fn table(self) -> &'static str {
        match self {
            Self::Range => "NVTX_EVENTS",
            Self::Call => "CUPTI_ACTIVITY_KIND_RUNTIME",
            Self::Wait => "CUPTI_ACTIVITY_KIND_SYNCHRONIZATION",
            Self::Kernel => "CUPTI_ACTIVITY_KIND_KERNEL",
            Self::Memcpy => "CUPTI_ACTIVITY_KIND_MEMCPY",
            Self::Memset => "CUPTI_ACTIVITY_KIND_MEMSET",
        }
    }

    /// Columns without which the rows mean nothing.
    pub(super) const fn required(self) -> &'static [Column] {
        match self {
            Self::Range => &[Column::Start, Column::End, Column::GlobalTid],
            Self::Call => &[
                Column::Start,
                Column::End,
                Column::GlobalTid,
                Column::CorrelationId,
                Column::NameId,
            ],
            Self::Wait => &[
                Column::Start,
                Column::End,
                Column::CorrelationId,
                Column::GlobalPid,
                Column::SyncType,
            ],
            Self::Kernel | Self::Memcpy | Self::Memset => {
                &[Column::Start, Column::End, Column::DeviceId]
            }
        }
    }

    const fn optional(self) -> &'static [Column] {
        match self {
            Self::Range => &[Column::EventType, Column::TextId],
            Self::Call => &[Column::ReturnValue],
            Self::Wait => &[],
            Self::Kernel => &[
                Column::ContextId,
                Column::StreamId,
                Column::CorrelationId,
                Column::GlobalPid,
                Column::GraphId,
                Column::GraphNodeId,
                Column::DemangledName,
                Column::ShortName,
                Column::MangledName,
                Column::GridX,
            ],
            Self::Memcpy => &[
                Column::ContextId,
                Column::StreamId,
                Column::CorrelationId,
                Column::GlobalPid,
                Column::GraphId,
                Column::GraphNodeId,
                Column::Bytes,
                Column::CopyKind,
            ],
            Self::Memset => &[
                Column::ContextId,
                Column::StreamId,
                Column::CorrelationId,
                Column::GlobalPid,
                Column::GraphId,
                Column::GraphNodeId,
                Column::Bytes,
            ],
        }
    }
}

/// A column that holds an integer, in any of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Column {
    Start,
    End,
    DeviceId,
    ContextId,
    StreamId,
    CorrelationId,
    GlobalPid,
    GlobalTid,
    GraphId,
    GraphNodeId,
    DemangledName,
    ShortName,
    MangledName,
    GridX,
    Bytes,
    CopyKind,
    NameId,
    ReturnValue,
    SyncType,
    EventType,
    TextId,
}

impl Column {
    const COUNT: usize = Self::TextId as usize + 1;

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::End => "end",
            Self::DeviceId => "deviceId",
            Self::ContextId => "contextId",
            Self::StreamId => "streamId",
            Self::CorrelationId => "correlationId",
            Self::GlobalPid => "globalPid",
            Self::GlobalTid => "globalTid",
            Self::GraphId => "graphId",
            Self::GraphNodeId => "graphNodeId",
            Self::DemangledName => "demangledName",
            Self::ShortName => "shortName",
            Self::MangledName => "mangledName",
            Self::GridX => "gridX",
            Self::Bytes => "bytes",
            Self::CopyKind => "copyKind",
            Self::NameId => "nameId",
            Self::ReturnValue => "returnValue",
            Self::SyncType => "syncType",
            Self::EventType => "eventType",
            Self::TextId => "textId",
        }
    }
}

/// The only column of text: an NVTX message that is not in the string table.
const TEXT: &str = "text";

/// One row's integers; what is absent or no integer is `None`.
#[derive(Debug)]
pub(super) struct Fields {
    values: [Option<i64>; Column::COUNT],
    pub(super) text: Option<String>,
}

impl Fields {
    pub(super) fn get(&self, column: Column) -> Option<i64> {
        self.values[column as usize]
    }

    /// 0 where absent or out of range.
    pub(super) fn number(&self, column: Column) -> u32 {
        self.get(column).and_then(|value| u32::try_from(value).ok()).unwrap_or(0)
    }

    /// As [`Self::number`], for 64 bits.
    pub(super) fn wide(&self, column: Column) -> u64 {
        self.time(column).unwrap_or(0)
    }

    /// `None` where absent or negative.
    pub(super) fn time(&self, column: Column) -> Option<u64> {
        self.get(column).and_then(|value| u64::try_from(value).ok())
    }
}

/// The tables of a database and their columns.
pub(super) struct Schema {
    tables: HashMap<String, HashSet<String>>,
}

impl Schema {
    pub(super) fn read(connection: &Connection) -> Result<Self, rusqlite::Error> {
        let mut statement = connection.prepare(
            "SELECT m.name, c.name FROM sqlite_master AS m, pragma_table_info(m.name) AS c
             WHERE m.type IN ('table', 'view')",
        )?;
        let mut rows = statement.query([])?;
        let mut tables: HashMap<String, HashSet<String>> = HashMap::new();
        while let Some(row) = rows.next()? {
            tables.entry(row.get(0)?).or_default().insert(row.get(1)?);
        }
        Ok(Self { tables })
    }

    pub(super) fn has(&self, table: &str) -> bool {
        self.tables.contains_key(table)
    }

    pub(super) fn has_columns(&self, table: &str, columns: &[&str]) -> bool {
        self.tables
            .get(table)
            .is_some_and(|present| columns.iter().all(|&column| present.contains(column)))
    }

    /// The first required column that the table lacks.
    pub(super) fn lacks(&self, source: Source) -> Option<&'static str> {
        source
            .required()
            .iter()
            .map(|column| column.name())
            .find(|&column| !self.has_columns(source.table(), &[column]))
    }

    /// Rows of `source` in time order. `names`: only calls of these names.
    pub(super) fn prepare<'c>(
        &self,
        connection: &'c Connection,
        source: Source,
        names: &[i64],
    ) -> Result<Query<'c>, rusqlite::Error> {
        let table = source.table();
        let columns: Vec<Column> = source
            .required()
            .iter()
            .chain(source.optional())
            .copied()
            .filter(|column| self.has_columns(table, &[column.name()]))
            .collect();
        let mut selected: Vec<String> =
            columns.iter().map(|column| format!("\"{}\"", column.name())).collect();
        if source == Source::Range {
            let known = self.has_columns(table, &[TEXT]);
            selected.push(if known { format!("\"{TEXT}\"") } else { "NULL".to_owned() });
        }
        let filter = match source {
            Source::Call => {
                let list: Vec<String> = names.iter().map(i64::to_string).collect();
                format!("WHERE nameId IN ({})", list.join(", "))
            }
            _ => String::new(),
        };
        // Of two ranges that begin together the longer one holds the other.
        let order = match source {
            Source::Range => "start, end DESC",
            _ => "start, end",
        };
        // Table and column names are this file's constants, the rest are integers.
        let sql = format!("SELECT {} FROM {table} {filter} ORDER BY {order}", selected.join(", "));
        Ok(Query { source, columns, statement: connection.prepare(&sql)? })
    }
}

/// Bounds what `SQLite` keeps in memory.
pub(super) fn bound(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.execute_batch(&format!("PRAGMA temp_store = FILE; PRAGMA cache_size = -{CACHE_KIB}"))
}

/// How many rows a table holds at most; instant, unlike counting them.
pub(super) fn rows_at_most(connection: &Connection, source: Source) -> u64 {
    let sql = format!("SELECT MAX(rowid) FROM {}", source.table());
    let rows = connection.query_row(&sql, [], |row| row.get::<_, Option<i64>>(0));
    // A view has no rowid; then progress does not count it.
    rows.ok().flatten().and_then(|rows| u64::try_from(rows).ok()).unwrap_or(0)
}

/// A prepared statement over one table.
pub(super) struct Query<'c> {
    source: Source,
    columns: Vec<Column>,
    statement: Statement<'c>,
}

impl Query<'_> {
    pub(super) fn source(&self) -> Source {
        self.source
    }

    pub(super) fn open(&mut self) -> Result<Cursor<'_>, rusqlite::Error> {
        let Self { source, columns, statement } = self;
        let rows = statement.query([])?;
        let mut cursor = Cursor { source: *source, columns, rows, head: None };
        cursor.advance()?;
        Ok(cursor)
    }
}

/// One table's rows, the next one in hand.
pub(super) struct Cursor<'s> {
    pub(super) source: Source,
    columns: &'s [Column],
    rows: Rows<'s>,
    head: Option<Fields>,
}

impl Cursor<'_> {
    /// What the next row sorts by; `None` at the end. Rows without a start come first.
    pub(super) fn key(&self) -> Option<(i64, Source)> {
        let head = self.head.as_ref()?;
        Some((head.get(Column::Start).unwrap_or(i64::MIN), self.source))
    }

    /// The row in hand; the one behind it takes its place.
    pub(super) fn take(&mut self) -> Result<Option<Fields>, rusqlite::Error> {
        let taken = self.head.take();
        if taken.is_some() {
            self.advance()?;
        }
        Ok(taken)
    }

    fn advance(&mut self) -> Result<(), rusqlite::Error> {
        let Some(row) = self.rows.next()? else {
            self.head = None;
            return Ok(());
        };
        let mut fields = Fields { values: [None; Column::COUNT], text: None };
        for (index, &column) in self.columns.iter().enumerate() {
            if let ValueRef::Integer(number) = row.get_ref(index)? {
                fields.values[column as usize] = Some(number);
            }
        }
        if self.source == Source::Range {
            fields.text = text(row.get_ref(self.columns.len())?);
        }
        self.head = Some(fields);
        Ok(())
    }
}

pub(super) fn text(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    }
}
