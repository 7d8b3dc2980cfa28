//! Reads the device work out of a Nsight Systems export, in the order it started.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, Row};

/// Why a recording cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordingError {
    #[error("open recording {path}: give the path of a `.sqlite` export of Nsight Systems")]
    Open { path: PathBuf, source: rusqlite::Error },
    #[error("read table {table} of {path}: is it an export of Nsight Systems?")]
    Table { table: &'static str, path: PathBuf, source: rusqlite::Error },
    #[error("{path} holds no kernels, copies or sets")]
    Empty { path: PathBuf },
}

/// What a piece of recorded work was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Kernel {
        name: String,
        grid: [u32; 3],
        block: [u32; 3],
    },
    /// CUPTI's copy kind.
    Copy {
        kind: u32,
        bytes: u64,
    },
    Set {
        bytes: u64,
    },
}

/// A piece of recorded work. Times are the recording's, ns.
#[derive(Clone, Debug)]
pub(crate) struct Work {
    pub(crate) device: u32,
    pub(crate) stream: u32,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) what: What,
}

const KERNELS: &str = "SELECT k.deviceId, k.streamId, k.start, k.end, s.value,
    k.gridX, k.gridY, k.gridZ, k.blockX, k.blockY, k.blockZ
    FROM CUPTI_ACTIVITY_KIND_KERNEL k JOIN StringIds s ON s.id = k.demangledName";
const COPIES: &str = "SELECT deviceId, streamId, start, end, copyKind, bytes
    FROM CUPTI_ACTIVITY_KIND_MEMCPY";
const SETS: &str = "SELECT deviceId, streamId, start, end, bytes FROM CUPTI_ACTIVITY_KIND_MEMSET";

/// Makes of the columns after the first four what the work was.
type Decode = fn(&Row<'_>) -> rusqlite::Result<What>;

/// All work of a recording, ordered by start. A table that is not there was not recorded.
pub(crate) fn read(path: &Path) -> Result<Vec<Work>, RecordingError> {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .map_err(|source| RecordingError::Open { path: path.to_owned(), source })?;
    let mut works = Vec::new();
    let tables: [(&'static str, &str, Decode); 3] = [
        ("CUPTI_ACTIVITY_KIND_KERNEL", KERNELS, kernel),
        ("CUPTI_ACTIVITY_KIND_MEMCPY", COPIES, copy),
        ("CUPTI_ACTIVITY_KIND_MEMSET", SETS, set),
    ];
    for (table, query, what) in tables {
        let read = || -> rusqlite::Result<Vec<Work>> {
            if !connection.table_exists(None, table)? {
                return Ok(Vec::new());
            }
            let mut statement = connection.prepare(query)?;
            let rows = statement.query_map([], |row| {
                Ok(Work {
                    device: row.get(0)?,
                    stream: row.get(1)?,
                    start: unsigned(row, 2)?,
                    end: unsigned(row, 3)?,
                    what: what(row)?,
                })
            })?;
            rows.collect()
        };
        let rows = read().map_err(|source| RecordingError::Table {
            table,
            path: path.to_owned(),
            source,
        })?;
        works.extend(rows);
    }
    if works.is_empty() {
        return Err(RecordingError::Empty { path: path.to_owned() });
    }
    works.sort_by_key(|work| (work.start, work.end));
    Ok(works)
}

fn kernel(row: &Row<'_>) -> rusqlite::Result<What> {
    Ok(What::Kernel {
        name: row.get(4)?,
        grid: [row.get(5)?, row.get(6)?, row.get(7)?],
        block: [row.get(8)?, row.get(9)?, row.get(10)?],
    })
}

fn copy(row: &Row<'_>) -> rusqlite::Result<What> {
    Ok(What::Copy { kind: row.get(4)?, bytes: unsigned(row, 5)? })
}

fn set(row: &Row<'_>) -> rusqlite::Result<What> {
    Ok(What::Set { bytes: unsigned(row, 4)? })
}

/// `SQLite`'s integers are signed; what is counted here is not.
fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_error| rusqlite::Error::IntegralValueOutOfRange(column, value))
}
