//! Small databases of each schema, and every event they become.

use analysis::event::{LaunchKind, RangeKind, SyncScope};
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;

/// Process 7, thread 7 and thread 9, as Nsight serialises them.
const PROCESS: i64 = 7 << 24;
const MAIN: i64 = PROCESS | 7;
const OTHER: i64 = PROCESS | 9;

struct Database {
    folder: TempDir,
    connection: Connection,
}

impl Database {
    fn with(sql: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let connection = Connection::open(folder.path().join("trace.sqlite")).unwrap();
        connection.execute_batch(sql).unwrap();
        Self { folder, connection }
    }

    fn insert(&self, table: &str, values: &str) {
        self.connection.execute_batch(&format!("INSERT INTO {table} VALUES ({values})")).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("trace.sqlite")
    }

    /// What was told, a line each: introductions, events, notes.
    fn read(&self) -> Result<Vec<String>, NsysError> {
        let mut told = Vec::new();
        let mut last = (0, 0);
        read(&self.path(), &mut |input| told.extend(line(&input)), &mut |done, total| {
            assert!(done <= total && done >= last.0, "{done} of {total} after {last:?}");
            last = (done, total);
        })?;
        assert_eq!(last.0, last.1, "progress ends at its end");
        Ok(told)
    }
}

fn line(input: &Input) -> Option<String> {
    use analysis::event::{Event, Launch, Range, Sync, Work, WorkKind};
    Some(match input {
        Input::Process { process, info } => format!("process {} pid {}", process.0, info.pid),
        Input::Name { id, name, .. } => format!("name {id} {name}"),
        Input::Note(note) => format!("note {note}"),
        Input::Foreign(Event::Work(Work { correlation, start, end, grid_x, kind, .. })) => {
            let kind = match kind {
                WorkKind::Kernel { name } => format!("kernel {name} grid {grid_x}"),
                WorkKind::Memcpy { bytes, .. } => format!("copy {bytes}"),
                WorkKind::Memset { bytes } => format!("set {bytes}"),
            };
            format!("{}-{} {kind} of {}", start.0, end.0, correlation.0)
        }
        Input::Foreign(Event::Launch(Launch {
            correlation, kind, enter, exit, thread, ..
        })) => {
            let kind = match kind {
                LaunchKind::Kernel => "kernel",
                LaunchKind::Graph => "graph",
                LaunchKind::Copy => "copy",
            };
            let exit = exit.map_or(0, |exit| exit.0);
            format!("{}-{exit} launch {} {kind} by {thread}", enter.0, correlation.0)
        }
        Input::Foreign(Event::LaunchFailed { correlation, .. }) => {
            format!("failed {}", correlation.0)
        }
        Input::Foreign(Event::Sync(Sync { scope, enter, exit, thread, succeeded, .. })) => {
            let scope = match scope {
                SyncScope::Context => "context",
                SyncScope::Stream => "stream",
                SyncScope::Event => "event",
            };
            format!("{}-{} sync {scope} by {thread} {succeeded}", enter.0, exit.0)
        }
        Input::Foreign(Event::Range(Range { start, end, thread, kind, label, shapes, .. })) => {
            format!("{}-{} {} {label} {shapes} by {thread}", start.0, end.0, kind.as_str())
        }
        Input::Foreign(Event::Label { id, text, .. }) => format!("label {id} {text}"),
        Input::Foreign(Event::Thread { thread, tid, .. }) => {
            format!("thread {thread} is {}", tid.0)
        }
        _ => return None,
    })
}

const STRINGS: &str = "
    CREATE TABLE StringIds (id INTEGER PRIMARY KEY, value TEXT NOT NULL);
    INSERT INTO StringIds VALUES (1, 'cudaLaunchKernel_v7000'), (2, 'cuLaunchKernel'),
        (3, 'cudaStreamSynchronize_v3020'), (4, 'cudaMemcpyAsync_v3020'),
        (5, 'cudaEventQuery_v3020'), (6, 'cudaGraphLaunch_v10000'), (7, 'gemm_kernel'),
        (8, 'registered');";

const CALLS: &str = "
    CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME (start INTEGER NOT NULL, end INTEGER NOT NULL,
        eventClass INTEGER NOT NULL, globalTid INTEGER, correlationId INTEGER,
        nameId INTEGER NOT NULL, returnValue INTEGER NOT NULL);";

const KERNELS: &str = "
    CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER NOT NULL, end INTEGER NOT NULL,
        deviceId INTEGER NOT NULL, streamId INTEGER NOT NULL, correlationId INTEGER,
        globalPid INTEGER, demangledName INTEGER NOT NULL, gridX INTEGER NOT NULL);";

/// Start, end, thread, correlation, name and result of a call.
fn call(database: &Database, values: [i64; 6]) {
    let [start, end, thread, correlation, name, result] = values;
    database.insert(
        "CUPTI_ACTIVITY_KIND_RUNTIME",
        &format!("{start}, {end}, 0, {thread}, {correlation}, {name}, {result}"),
    );
}

#[test]
fn calls_and_their_work_come_in_time_order() {
    let database = Database::with(&format!(
        "{STRINGS} {CALLS} {KERNELS}
        CREATE TABLE CUPTI_ACTIVITY_KIND_MEMCPY (start INTEGER, end INTEGER, deviceId INTEGER,
            correlationId INTEGER, globalPid INTEGER, bytes INTEGER, copyKind INTEGER);
        CREATE TABLE CUPTI_ACTIVITY_KIND_MEMSET (start INTEGER, end INTEGER, deviceId INTEGER);
        CREATE TABLE CUPTI_ACTIVITY_KIND_SYNCHRONIZATION (start INTEGER, end INTEGER,
            correlationId INTEGER, globalPid INTEGER, syncType INTEGER);"
    ));
    // The rows lie in no order, as in exports of several threads.
    call(&database, [500, 900, MAIN, 15, 3, 0]);
    call(&database, [300, 340, OTHER, 14, 4, 0]);
    call(&database, [100, 120, MAIN, 11, 1, 0]);
    // The driver call that the runtime call makes, and a query, which is not read.
    call(&database, [105, 115, MAIN, 11, 2, 0]);
    call(&database, [130, 131, MAIN, 12, 5, 0]);
    call(&database, [200, 210, MAIN, 13, 1, 700]);
    call(&database, [950, 960, MAIN, 16, 6, 0]);
    let kernels = "CUPTI_ACTIVITY_KIND_KERNEL";
    database.insert(kernels, &format!("970, 990, 0, 7, 16, {PROCESS}, 7, 100000"));
    database.insert(kernels, &format!("100, 140, 0, 7, 11, {PROCESS}, 7, 3"));
    database.insert("CUPTI_ACTIVITY_KIND_MEMCPY", &format!("310, 330, 0, 14, {PROCESS}, 64, 1"));
    let waits = "CUPTI_ACTIVITY_KIND_SYNCHRONIZATION";
    // The stream wait of a device, the copy's own wait, the call's, and one of nobody's call.
    database.insert(waits, &format!("301, 302, 14, {PROCESS}, 2"));
    database.insert(waits, &format!("305, 335, 14, {PROCESS}, 3"));
    database.insert(waits, &format!("501, 899, 15, {PROCESS}, 3"));
    database.insert(waits, &format!("600, 700, 99, {PROCESS}, 3"));
    assert_eq!(
        database.read().unwrap(),
        [
            "process 0 pid 7",
            "thread 7 is 7",
            "100-120 launch 11 kernel by 7",
            "name 1 gemm_kernel",
            "100-140 kernel 1 grid 3 of 11",
            "200-210 launch 13 kernel by 7",
            "failed 13",
            "thread 9 is 9",
            "300-340 launch 14 copy by 9",
            "305-335 sync stream by 9 true",
            "310-330 copy 64 of 14",
            "500-900 sync stream by 7 true",
            "950-960 launch 16 graph by 7",
            "970-990 kernel 1 grid 65535 of 16",
            "note 1 synchronisation records belong to no call in the trace: left out",
        ]
    );
}

#[test]
fn ranges_have_their_labels_and_what_does_not_nest_is_counted() {
    let database = Database::with(&format!(
        "{STRINGS} {KERNELS}
        CREATE TABLE NVTX_EVENTS (start INTEGER NOT NULL, end INTEGER, eventType INTEGER NOT NULL,
            text TEXT, globalTid INTEGER, textId INTEGER);"
    ));
    let ranges = "NVTX_EVENTS";
    database.insert(ranges, &format!("10, 20, 59, 'aten::mm, op_id = 4', {MAIN}, NULL"));
    database.insert(ranges, &format!("10, 90, 59, 'step', {MAIN}, NULL"));
    database
        .insert(ranges, &format!("30, 40, 59, 'aten::mm, op_id = 5, sizes = [[2]]', {MAIN}, NULL"));
    database.insert(ranges, &format!("50, 60, 59, NULL, {MAIN}, 8"));
    database.insert(ranges, &format!("95, NULL, 59, 'open', {MAIN}, NULL"));
    database.insert(ranges, &format!("11, 12, 60, 'free', {MAIN}, NULL"));
    database.insert(ranges, &format!("13, NULL, 34, 'mark', {MAIN}, NULL"));
    database.insert(ranges, &format!("15, 14, 59, 'backwards', {MAIN}, NULL"));
    assert_eq!(
        database.read().unwrap(),
        [
            "note the trace has no usable table CUPTI_ACTIVITY_KIND_RUNTIME: launches are not known, so neither are the causes of idle time",
            "note the trace has no table CUPTI_ACTIVITY_KIND_MEMCPY",
            "note the trace has no table CUPTI_ACTIVITY_KIND_MEMSET",
            "process 0 pid 7",
            "thread 7 is 7",
            "label 1 step",
            "10-90 annotation 1 0 by 7",
            "label 2 aten::mm",
            "10-20 operator 2 0 by 7",
            "label 3 [[2]]",
            "30-40 operator 2 3 by 7",
            "label 4 registered",
            "50-60 annotation 4 0 by 7",
            "note 1 NVTX ranges were still open when the trace ended: left out",
            "note 1 NVTX start/end ranges do not nest on a thread: left out",
            "note 1 calls and ranges have no usable times: left out",
        ]
    );
    assert_eq!(RangeKind::ALL.len(), 3, "a kind more has its text told in ranges.rs");
}

#[test]
fn a_table_of_three_columns_is_enough() {
    let database = Database::with(
        "CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER, end INTEGER, deviceId INTEGER);
        INSERT INTO CUPTI_ACTIVITY_KIND_KERNEL VALUES (20, 30, 0), (NULL, 5, 0), (-4, 5, 0);
        CREATE TABLE NVTX_EVENTS (start INTEGER, text TEXT);",
    );
    assert_eq!(
        database.read().unwrap(),
        [
            "note table NVTX_EVENTS has no column `end`: it is not read",
            "note the trace has no usable table CUPTI_ACTIVITY_KIND_RUNTIME: launches are not known, so neither are the causes of idle time",
            "note the trace has no table CUPTI_ACTIVITY_KIND_MEMCPY",
            "note the trace has no table CUPTI_ACTIVITY_KIND_MEMSET",
            "process 0 pid 0",
            "0-0 kernel 0 grid 0 of 0",
            "0-0 kernel 0 grid 0 of 0",
            "20-30 kernel 0 grid 0 of 0",
        ]
    );
}

#[test]
fn what_has_no_meaning_is_refused() {
    let refused = |sql| Database::with(sql).read().unwrap_err().to_string();
    let said = refused("CREATE TABLE CUPTI_ACTIVITY_KIND_RUNTIME (start INTEGER);");
    assert!(said.contains("no CUDA activity"), "{said}");
    let said = refused("CREATE TABLE CUPTI_ACTIVITY_KIND_KERNEL (start INTEGER, end INTEGER);");
    assert!(said.contains("has no column `deviceId`"), "{said}");
    let said = refused(
        "CREATE VIEW CUPTI_ACTIVITY_KIND_KERNEL AS
            SELECT 1 AS start, 2 AS end, abs(-9223372036854775807 - 1) AS deviceId;",
    );
    assert!(said.contains("read table CUPTI_ACTIVITY_KIND_KERNEL"), "{said}");
}
