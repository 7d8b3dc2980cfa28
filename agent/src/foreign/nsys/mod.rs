//! Nsight Systems' `.sqlite` export as whole-mode inputs in time order: kernels, copies and sets,
//! the calls that launched them, synchronisation, NVTX ranges.
//!
//! Every table is sorted by `SQLite` and all are merged row by row, so that memory grows neither
//! with rows nor with tables. What an export lacks is tolerated where a meaning remains (no uuid,
//! no process, no calls: then idle causes are unknown, and a note says so) and an error where none
//! does (no start, no CUDA work at all).

mod calls;
mod export;
mod identity;
mod ranges;
mod schema;
mod strings;
mod trace;

pub use export::{ExportError, Exported, export};

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use crate::pipeline::{Input, Start};
use schema::{Cursor, Schema, Source};
use strings::NAMES_MAX;
use trace::Trace;

/// First bytes of every `SQLite` database.
pub const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";

/// Rows between two marks: some ms of work for the session, a few MB of events.
const MARK_ROWS: u64 = 50_000;

/// Rows between two calls of whoever shows progress.
const PROGRESS_ROWS: u64 = 4096;

#[derive(Debug, thiserror::Error)]
pub enum NsysError {
    #[error("open {path} as a SQLite database: export it again with `nsys export --type sqlite`")]
    Open {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error(
        "read table {table} of {path}: export it again if it is damaged; sorting needs room in the temporary folder (SQLITE_TMPDIR)"
    )]
    Query {
        path: PathBuf,
        table: &'static str,
        #[source]
        source: rusqlite::Error,
    },
    #[error(
        "{path}: no CUDA activity: none of the tables CUPTI_ACTIVITY_KIND_KERNEL, _MEMCPY, _MEMSET is there; profile with `nsys profile --trace cuda` and export again"
    )]
    NoActivity { path: PathBuf },
    #[error(
        "{path}: table {table} has no column `{column}`: this export's schema is not supported"
    )]
    Column { path: PathBuf, table: &'static str, column: &'static str },
    #[error("{path}: more than {NAMES_MAX} kernel names: not a plausible trace")]
    Names { path: PathBuf },
}

/// Streams the export at `path` into `sink`. `progress` is told rows done and, about, rows there
/// are.
pub fn read(
    path: &Path,
    sink: &mut impl FnMut(Input),
    progress: &mut dyn FnMut(u64, u64),
) -> Result<(), NsysError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = |source| NsysError::Open { path: path.to_owned(), source };
    let connection = Connection::open_with_flags(path, flags).map_err(open)?;
    schema::bound(&connection).map_err(open)?;
    let schema = Schema::read(&connection).map_err(open)?;
    if !Source::WORK.iter().any(|source| schema.has(source.table())) {
        return Err(NsysError::NoActivity { path: path.to_owned() });
    }
    sink(Input::Start(Start {
        command: "analyze".to_owned(),
        source: path.display().to_string(),
        started_unix: None,
        cpu_hz: 0,
        memory_step_ns: 0,
    }));
    let mut trace = Trace::new(path, &connection, &schema)?;
    let mut queries = Vec::new();
    let mut total = 0;
    for source in readable(path, &schema, sink)? {
        let query = |error| trace::query(path, source, error);
        let names: Vec<i64> = trace.calls().collect();
        queries.push(schema.prepare(&connection, source, &names).map_err(query)?);
        total += schema::rows_at_most(&connection, source);
    }
    let mut cursors = Vec::with_capacity(queries.len());
    for query in &mut queries {
        let source = query.source();
        cursors.push(query.open().map_err(|error| trace::query(path, source, error))?);
    }
    let mut done = 0;
    let mut since_mark = 0;
    while let Some(cursor) = first(&mut cursors) {
        let source = cursor.source;
        let row = cursor.take().map_err(|error| trace::query(path, source, error))?;
        let Some(row) = row else { break };
        if since_mark >= MARK_ROWS {
            since_mark = 0;
            trace.mark(&row, sink);
        }
        trace.row(source, &row, sink)?;
        since_mark += 1;
        done += 1;
        if done % PROGRESS_ROWS == 0 {
            progress(done, total.max(done));
        }
    }
    progress(done, done);
    trace.finish(sink);
    if schema.has("CUPTI_ACTIVITY_KIND_GRAPH_TRACE") {
        sink(Input::Note(
            "CUDA graphs were traced as a whole (`--cuda-graph-trace=graph`): their kernels are \
             not in the trace and their time shows as idle; use `--cuda-graph-trace=node`"
                .to_owned(),
        ));
    }
    Ok(())
}

/// The tables that can be read. One of work that cannot is an error, any other a note.
fn readable(
    path: &Path,
    schema: &Schema,
    sink: &mut impl FnMut(Input),
) -> Result<Vec<Source>, NsysError> {
    let mut found = Vec::new();
    for source in Source::ALL {
        let table = source.table();
        let is_work = Source::WORK.contains(&source);
        let lacks = schema.lacks(source);
        match lacks {
            None => found.push(source),
            Some(column) if is_work && schema.has(table) => {
                return Err(NsysError::Column { path: path.to_owned(), table, column });
            }
            Some(_) if is_work => sink(Input::Note(format!("the trace has no table {table}"))),
            Some(_) if source == Source::Call => sink(Input::Note(format!(
                "the trace has no usable table {table}: launches are not known, so neither are the causes of idle time"
            ))),
            // Without NVTX or synchronisation the trace has none of it.
            Some(_) if !schema.has(table) => {}
            Some(column) => {
                sink(Input::Note(format!(
                    "table {table} has no column `{column}`: it is not read"
                )));
            }
        }
    }
    Ok(found)
}

/// The cursor whose next row comes first.
fn first<'a, 's>(cursors: &'a mut [Cursor<'s>]) -> Option<&'a mut Cursor<'s>> {
    cursors.iter_mut().filter(|cursor| cursor.key().is_some()).min_by_key(|cursor| cursor.key())
}

#[cfg(test)]
mod tests;
