//! Nsight Systems' `.sqlite` export: kernels, copies and sets, row by row, as whole-mode inputs.
//!
//! Tables and columns differ between versions; what is absent is tolerated where a meaning
//! remains (no uuid, no process) and an error where none does (no start, no CUDA table at all).
//! Host-side tables are not read.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use analysis::event::{DeviceInfo, Event, ProcessInfo, Work, WorkKind};
use analysis::ids::{Correlation, DeviceKey, Ns, ProcessKey};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags, Row};

use crate::pipeline::{Input, Start};
use crate::proc::parse_title;

/// First bytes of every `SQLite` database.
pub const SQLITE_MAGIC: &[u8] = b"SQLite format 3\0";

/// Names read in one trace; real ones hold thousands. Only bounds memory.
const NAMES_MAX: usize = 1 << 20;

#[derive(Debug, thiserror::Error)]
pub enum NsysError {
    #[error("open {path} as a SQLite database: export it again with `nsys export --type sqlite`")]
    Open {
        path: PathBuf,
        #[source]
        source: rusqlite::Error,
    },
    #[error("read table {table} of {path}: the database is damaged, export it again")]
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

#[derive(Clone, Copy, PartialEq, Eq)]
enum Activity {
    Kernel,
    Memcpy,
    Memset,
}

impl Activity {
    const ALL: [Self; 3] = [Self::Kernel, Self::Memcpy, Self::Memset];

    fn table(self) -> &'static str {
        match self {
            Self::Kernel => "CUPTI_ACTIVITY_KIND_KERNEL",
            Self::Memcpy => "CUPTI_ACTIVITY_KIND_MEMCPY",
            Self::Memset => "CUPTI_ACTIVITY_KIND_MEMSET",
        }
    }
}

/// Columns that must be there.
const REQUIRED: [&str; 3] = ["start", "end", "deviceId"];

/// Columns selected, in this order; an absent one is selected as NULL.
const COLUMNS: [&str; 14] = [
    "start",
    "end",
    "deviceId",
    "contextId",
    "streamId",
    "correlationId",
    "globalPid",
    "graphId",
    "graphNodeId",
    "demangledName",
    "shortName",
    "mangledName",
    "bytes",
    "copyKind",
];

/// Streams the trace at `path` into `sink`.
pub fn read(path: &Path, sink: &mut impl FnMut(Input)) -> Result<(), NsysError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = |source| NsysError::Open { path: path.to_owned(), source };
    let connection = Connection::open_with_flags(path, flags).map_err(open)?;
    let tables = tables(&connection).map_err(open)?;
    if !Activity::ALL.iter().any(|activity| tables.contains(activity.table())) {
        return Err(NsysError::NoActivity { path: path.to_owned() });
    }
    sink(Input::Start(Start {
        command: "analyze".to_owned(),
        source: path.display().to_string(),
        started_unix: None,
        cpu_hz: 0,
    }));
    let mut trace = Trace::new(path, &connection, &tables)?;
    for activity in Activity::ALL {
        if tables.contains(activity.table()) {
            trace.activity(activity, sink)?;
        } else {
            sink(Input::Note(format!("the trace has no table {}", activity.table())));
        }
    }
    if tables.contains("CUPTI_ACTIVITY_KIND_GRAPH_TRACE") {
        sink(Input::Note(
            "CUDA graphs were traced as a whole (`--cuda-graph-trace=graph`): their kernels are \
             not in the trace and their time shows as idle; use `--cuda-graph-trace=node`"
                .to_owned(),
        ));
    }
    sink(Input::Note(
        "launches, idle causes and host stacks are not read from this format".to_owned(),
    ));
    Ok(())
}

/// What is known while rows stream by.
struct Trace<'c> {
    path: &'c Path,
    connection: &'c Connection,
    has_names: bool,
    titles: HashMap<i64, String>,
    uuids: Uuids,
    processes: HashMap<i64, ProcessKey>,
    devices: Vec<Device>,
    ordinals: HashSet<(ProcessKey, u32)>,
    /// `StringIds.id` to the id told to the session.
    names: HashMap<i64, (u32, String)>,
    named: HashSet<(ProcessKey, u32)>,
}

/// A device told to the session.
struct Device {
    uuid: Option<String>,
    ordinal: u32,
}

/// Device uuids: per process where the trace tells, else per device.
#[derive(Default)]
struct Uuids {
    by_process: HashMap<(i64, i64), String>,
    by_device: HashMap<i64, String>,
}

impl<'c> Trace<'c> {
    fn new(
        path: &'c Path,
        connection: &'c Connection,
        tables: &HashSet<String>,
    ) -> Result<Self, NsysError> {
        let query = |table| move |source| NsysError::Query { path: path.to_owned(), table, source };
        let mut titles = HashMap::new();
        if tables.contains("PROCESSES") {
            titles = titles_of(connection).map_err(query("PROCESSES"))?;
        }
        let mut uuids = Uuids::default();
        if tables.contains("TARGET_INFO_GPU") {
            uuids.by_device = device_uuids(connection).map_err(query("TARGET_INFO_GPU"))?;
        }
        if tables.contains("TARGET_INFO_CUDA_DEVICE") {
            uuids.by_process =
                process_uuids(connection).map_err(query("TARGET_INFO_CUDA_DEVICE"))?;
        }
        Ok(Self {
            path,
            connection,
            has_names: tables.contains("StringIds"),
            titles,
            uuids,
            processes: HashMap::new(),
            devices: Vec::new(),
            ordinals: HashSet::new(),
            names: HashMap::new(),
            named: HashSet::new(),
        })
    }

    fn activity(
        &mut self,
        activity: Activity,
        sink: &mut impl FnMut(Input),
    ) -> Result<(), NsysError> {
        let table = activity.table();
        let path = self.path;
        let query = |source| NsysError::Query { path: path.to_owned(), table, source };
        let present = columns(self.connection, table).map_err(query)?;
        if let Some(column) = REQUIRED.iter().find(|&&column| !present.contains(column)) {
            return Err(NsysError::Column { path: path.to_owned(), table, column });
        }
        let selected: Vec<String> =
            COLUMNS
                .iter()
                .map(|&column| {
                    if present.contains(column) {
                        format!("\"{column}\"")
                    } else {
                        "NULL".to_owned()
                    }
                })
                .collect();
        // Table and column names are this file's constants.
        let sql = format!("SELECT {} FROM {table}", selected.join(", "));
        let mut statement = self.connection.prepare(&sql).map_err(query)?;
        let mut rows = statement.query([]).map_err(query)?;
        while let Some(row) = rows.next().map_err(query)? {
            let fields = Fields::read(row).map_err(query)?;
            self.row(activity, &fields, sink)?;
        }
        Ok(())
    }

    fn row(
        &mut self,
        activity: Activity,
        fields: &Fields,
        sink: &mut impl FnMut(Input),
    ) -> Result<(), NsysError> {
        let global_pid = fields.get("globalPid").unwrap_or(0);
        let process = self.process(global_pid, sink);
        let ordinal = fields.number("deviceId");
        self.device(process, global_pid, ordinal, sink);
        let kind = match activity {
            Activity::Kernel => WorkKind::Kernel { name: self.name(process, fields, sink)? },
            Activity::Memcpy => {
                let copy_kind = u8::try_from(fields.number("copyKind")).unwrap_or(0);
                WorkKind::Memcpy { bytes: fields.wide("bytes"), copy_kind }
            }
            Activity::Memset => WorkKind::Memset { bytes: fields.wide("bytes") },
        };
        // A time that is missing or negative makes the record one without timestamps.
        let time = |column| fields.get(column).and_then(|value| u64::try_from(value).ok());
        let (start, end) = match (time("start"), time("end")) {
            (Some(start), Some(end)) => (start, end),
            _ => (0, 0),
        };
        sink(Input::Foreign(Event::Work(Work {
            process,
            ordinal,
            context: fields.number("contextId"),
            stream: fields.number("streamId"),
            correlation: Correlation(fields.number("correlationId")),
            graph: fields.number("graphId"),
            graph_node: fields.wide("graphNodeId"),
            source_node: 0,
            grid_x: 0,
            start: Ns(start),
            end: Ns(end),
            kind,
        })));
        Ok(())
    }

    fn process(&mut self, global_pid: i64, sink: &mut impl FnMut(Input)) -> ProcessKey {
        if let Some(&process) = self.processes.get(&global_pid) {
            return process;
        }
        let process = ProcessKey(u32::try_from(self.processes.len()).unwrap_or(u32::MAX));
        self.processes.insert(global_pid, process);
        let title = self.titles.get(&global_pid).cloned().unwrap_or_default();
        let (_, role, rank) = parse_title(&[&title], &title);
        sink(Input::Process {
            process,
            info: ProcessInfo { pid: pid(global_pid), title, role, rank, server: 0 },
        });
        process
    }

    /// Tells the session which device `ordinal` is for this process. A device is its uuid where
    /// the trace has one, else its number.
    fn device(
        &mut self,
        process: ProcessKey,
        global_pid: i64,
        ordinal: u32,
        sink: &mut impl FnMut(Input),
    ) {
        if !self.ordinals.insert((process, ordinal)) {
            return;
        }
        let uuid = self.uuids.of(i64::from(pid(global_pid)), i64::from(ordinal));
        let known = self.devices.iter().position(|device| match (&device.uuid, &uuid) {
            (Some(a), Some(b)) => a == b,
            (None, None) => device.ordinal == ordinal,
            _ => false,
        });
        let position = known.unwrap_or(self.devices.len());
        let device = DeviceKey(u32::try_from(position).unwrap_or(u32::MAX));
        if known.is_none() {
            let taken = self.devices.iter().any(|other| other.ordinal == ordinal);
            // Two GPUs that their processes both call 0 need two numbers.
            let index = if taken { device.0 } else { ordinal };
            self.devices.push(Device { uuid: uuid.clone(), ordinal });
            let info = DeviceInfo { index, uuid, simulated: false };
            sink(Input::Device { device, info });
        }
        sink(Input::Ordinal { process, ordinal, device });
    }

    fn name(
        &mut self,
        process: ProcessKey,
        fields: &Fields,
        sink: &mut impl FnMut(Input),
    ) -> Result<u32, NsysError> {
        let Some(string) = ["demangledName", "shortName", "mangledName"]
            .iter()
            .find_map(|column| fields.get(column))
        else {
            return Ok(0);
        };
        if !self.names.contains_key(&string) {
            if self.names.len() >= NAMES_MAX {
                return Err(NsysError::Names { path: self.path.to_owned() });
            }
            let id = u32::try_from(self.names.len() + 1).unwrap_or(u32::MAX);
            let text = self.string(string)?;
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

    fn string(&self, id: i64) -> Result<String, NsysError> {
        let missing = || format!("[string {id} is not in the trace]");
        if !self.has_names {
            return Ok(missing());
        }
        let query =
            |source| NsysError::Query { path: self.path.to_owned(), table: "StringIds", source };
        let mut statement = self
            .connection
            .prepare_cached("SELECT value FROM StringIds WHERE id = ?1")
            .map_err(query)?;
        let mut rows = statement.query([id]).map_err(query)?;
        let Some(row) = rows.next().map_err(query)? else {
            return Ok(missing());
        };
        Ok(text(row.get_ref(0).map_err(query)?).unwrap_or_else(missing))
    }
}

impl Uuids {
    fn of(&self, pid: i64, ordinal: i64) -> Option<String> {
        self.by_process.get(&(pid, ordinal)).or_else(|| self.by_device.get(&ordinal)).cloned()
    }
}

/// One row's integers, by position in [`COLUMNS`]; anything else than an integer is `None`.
struct Fields([Option<i64>; COLUMNS.len()]);

impl Fields {
    fn read(row: &Row<'_>) -> Result<Self, rusqlite::Error> {
        let mut values = [None; COLUMNS.len()];
        for (index, value) in values.iter_mut().enumerate() {
            *value = match row.get_ref(index)? {
                ValueRef::Integer(number) => Some(number),
                _ => None,
            };
        }
        Ok(Self(values))
    }

    fn get(&self, column: &str) -> Option<i64> {
        let index = COLUMNS.iter().position(|&name| name == column)?;
        self.0.get(index).copied().flatten()
    }

    /// 0 where absent or out of range.
    fn number(&self, column: &str) -> u32 {
        self.get(column).and_then(|value| u32::try_from(value).ok()).unwrap_or(0)
    }

    fn wide(&self, column: &str) -> u64 {
        self.get(column).and_then(|value| u64::try_from(value).ok()).unwrap_or(0)
    }
}

/// The process id inside Nsight's serialised global id: bits 24..48.
fn pid(global_pid: i64) -> u32 {
    u32::try_from((global_pid >> 24) & 0xff_ffff).unwrap_or(0)
}

fn tables(connection: &Connection) -> Result<HashSet<String>, rusqlite::Error> {
    let mut statement =
        connection.prepare("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')")?;
    let names = statement.query_map([], |row| row.get(0))?;
    names.collect()
}

fn columns(connection: &Connection, table: &str) -> Result<HashSet<String>, rusqlite::Error> {
    let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?1)")?;
    let names = statement.query_map([table], |row| row.get(0))?;
    names.collect()
}

fn titles_of(connection: &Connection) -> Result<HashMap<i64, String>, rusqlite::Error> {
    let present = columns(connection, "PROCESSES")?;
    if !present.contains("globalPid") || !present.contains("name") {
        return Ok(HashMap::new());
    }
    let mut statement = connection.prepare(
        "SELECT globalPid, name FROM PROCESSES WHERE globalPid IS NOT NULL AND name IS NOT NULL",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

fn device_uuids(connection: &Connection) -> Result<HashMap<i64, String>, rusqlite::Error> {
    let present = columns(connection, "TARGET_INFO_GPU")?;
    if !present.contains("id") || !present.contains("uuid") {
        return Ok(HashMap::new());
    }
    let mut statement = connection.prepare("SELECT id, uuid FROM TARGET_INFO_GPU")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, uuid(row.get_ref(1)?))))?;
    rows.filter_map(|row| row.map(|(id, uuid)| Some((id, uuid?))).transpose()).collect()
}

fn process_uuids(connection: &Connection) -> Result<HashMap<(i64, i64), String>, rusqlite::Error> {
    let present = columns(connection, "TARGET_INFO_CUDA_DEVICE")?;
    if !["pid", "cudaId", "uuid"].iter().all(|&column| present.contains(column)) {
        return Ok(HashMap::new());
    }
    let mut statement =
        connection.prepare("SELECT pid, cudaId, uuid FROM TARGET_INFO_CUDA_DEVICE")?;
    let rows = statement.query_map([], |row| {
        Ok(((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?), uuid(row.get_ref(2)?)))
    })?;
    rows.filter_map(|row| row.map(|(key, uuid)| Some((key, uuid?))).transpose()).collect()
}

fn text(value: ValueRef<'_>) -> Option<String> {
    match value {
        ValueRef::Text(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        _ => None,
    }
}

/// `GPU-...` from text with or without the prefix, or from 16 bytes.
fn uuid(value: ValueRef<'_>) -> Option<String> {
    let bare = match value {
        ValueRef::Text(bytes) if !bytes.is_empty() => String::from_utf8_lossy(bytes).into_owned(),
        ValueRef::Blob(bytes) if bytes.len() == 16 => {
            let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
            let part = |range| hex.get(range).unwrap_or_default();
            [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
        }
        _ => return None,
    };
    if bare.starts_with("GPU-") || bare.starts_with("MIG-") || bare.starts_with("SIM-") {
        Some(bare)
    } else {
        Some(format!("GPU-{bare}"))
    }
}
