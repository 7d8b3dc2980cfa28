//! Nsight Systems' export by SQL.

use std::path::Path;

use rusqlite::Connection;

use crate::trace::{Kind, Record, Stretch, Trace};

const TABLES: [(Kind, &str, &str); 3] = [
    (
        Kind::Kernel,
        "CUPTI_ACTIVITY_KIND_KERNEL",
        "(SELECT value FROM StringIds WHERE id = w.demangledName)",
    ),
    (Kind::Memcpy, "CUPTI_ACTIVITY_KIND_MEMCPY", "''"),
    (Kind::Memset, "CUPTI_ACTIVITY_KIND_MEMSET", "''"),
];

/// A record's call has its correlation id and its process, which is what a thread's id without
/// its low 24 bits is.
fn records(table: &str, name: &str) -> String {
    format!(
        "SELECT w.deviceId, w.start, w.end, {name}, r.globalTid, r.start FROM {table} AS w
        LEFT JOIN CUPTI_ACTIVITY_KIND_RUNTIME AS r ON r.correlationId = w.correlationId
            AND (r.globalTid >> 24) = (w.globalPid >> 24)"
    )
}

/// `emit_nvtx` writes `aten::mm, op_id = 7`.
const STRETCHES: &str = "
    SELECT globalTid, start, end,
        substr(text, 1, CASE instr(text, ', op_id') WHEN 0 THEN length(text)
            ELSE instr(text, ', op_id') - 1 END)
    FROM NVTX_EVENTS WHERE eventType = 59 AND end IS NOT NULL";

pub(crate) fn read(path: &Path) -> Trace {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(
            "CREATE TEMP TABLE calls AS SELECT * FROM CUPTI_ACTIVITY_KIND_RUNTIME;
            CREATE INDEX temp.by_correlation ON calls (correlationId);",
        )
        .unwrap();
    let mut trace = Trace::default();
    for (kind, table, name) in TABLES {
        let sql = records(table, name).replace("CUPTI_ACTIVITY_KIND_RUNTIME", "temp.calls");
        let mut statement = connection.prepare(&sql).unwrap();
        let rows = statement
            .query_map([], |row| {
                let thread: Option<i64> = row.get(4)?;
                let at: Option<i64> = row.get(5)?;
                Ok(Record {
                    kind,
                    device: row.get(0)?,
                    start: row.get(1)?,
                    end: row.get(2)?,
                    name: row.get(3)?,
                    launched: thread
                        .zip(at)
                        .map(|(thread, at)| ((String::new(), thread.to_string()), at)),
                })
            })
            .unwrap();
        trace.records.extend(rows.map(Result::unwrap));
    }
    let mut statement = connection.prepare(STRETCHES).unwrap();
    let rows = statement
        .query_map([], |row| {
            let thread: i64 = row.get(0)?;
            let (start, end, name) = (row.get(1)?, row.get(2)?, row.get(3)?);
            Ok(((String::new(), thread.to_string()), Stretch { name, start, end }))
        })
        .unwrap();
    for row in rows {
        let (thread, stretch) = row.unwrap();
        trace.stretches.entry(thread).or_default().push(stretch);
    }
    trace
}
