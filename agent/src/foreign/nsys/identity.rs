//! Who did what: processes, their threads and their devices, told to the session when they first
//! appear.

use std::collections::{HashMap, HashSet};

use analysis::event::{DeviceInfo, Event, ProcessInfo};
use analysis::ids::{DeviceKey, ProcessKey, Thread};
use rusqlite::Connection;
use rusqlite::types::ValueRef;

use super::schema::Schema;
use crate::pipeline::Input;
use crate::proc::parse_title;

/// Threads known at once. Arbitrary, only bounds memory: servers have some hundreds.
const THREADS_MAX: usize = 1 << 16;

/// A thread that made calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Caller {
    pub(super) process: ProcessKey,
    /// The thread's id, which is also the number it is told by.
    pub(super) number: u32,
    /// Correlation id of its last call.
    pub(super) last: Option<u32>,
}

/// A device told to the session.
struct Device {
    uuid: Option<String>,
    ordinal: u32,
}

#[derive(Default)]
pub(super) struct Identities {
    titles: HashMap<i64, String>,
    /// Device uuids: per process where the trace tells, else per device.
    by_process: HashMap<(i64, i64), String>,
    by_device: HashMap<i64, String>,
    processes: HashMap<i64, ProcessKey>,
    devices: Vec<Device>,
    ordinals: HashSet<(ProcessKey, u32)>,
    callers: HashMap<i64, Caller>,
    /// Rows of threads that found the table full.
    pub(super) callers_refused: u64,
}

impl Identities {
    /// Reads the tables that name processes and devices. The error names the table.
    pub(super) fn read(
        connection: &Connection,
        schema: &Schema,
    ) -> Result<Self, (&'static str, rusqlite::Error)> {
        let mut identities = Self::default();
        let in_table = |table| move |error| (table, error);
        if schema.has_columns("PROCESSES", &["globalPid", "name"]) {
            identities.titles = titles(connection).map_err(in_table("PROCESSES"))?;
        }
        if schema.has_columns("TARGET_INFO_GPU", &["id", "uuid"]) {
            identities.by_device = device_uuids(connection).map_err(in_table("TARGET_INFO_GPU"))?;
        }
        if schema.has_columns("TARGET_INFO_CUDA_DEVICE", &["pid", "cudaId", "uuid"]) {
            identities.by_process =
                process_uuids(connection).map_err(in_table("TARGET_INFO_CUDA_DEVICE"))?;
        }
        Ok(identities)
    }

    /// Every process told so far.
    pub(super) fn processes(&self) -> impl Iterator<Item = ProcessKey> + '_ {
        (0..u32::try_from(self.processes.len()).unwrap_or(u32::MAX)).map(ProcessKey)
    }

    pub(super) fn process(&mut self, global_pid: i64, sink: &mut impl FnMut(Input)) -> ProcessKey {
        if let Some(&process) = self.processes.get(&global_pid) {
            return process;
        }
        let process = ProcessKey(u32::try_from(self.processes.len()).unwrap_or(u32::MAX));
        self.processes.insert(global_pid, process);
        let title = self.titles.get(&global_pid).cloned().unwrap_or_default();
        let (_, role, rank) = parse_title(&[&title], &title);
        sink(Input::Process {
            process,
            info: ProcessInfo { pid: pid(global_pid), title, role, rank, ..ProcessInfo::default() },
        });
        process
    }

    /// The thread of a global id; `None` when the table is full.
    pub(super) fn caller(
        &mut self,
        global_tid: i64,
        sink: &mut impl FnMut(Input),
    ) -> Option<&mut Caller> {
        if !self.callers.contains_key(&global_tid) {
            if self.callers.len() >= THREADS_MAX {
                self.callers_refused += 1;
                return None;
            }
            let process = self.process(global_tid & !THREAD_BITS, sink);
            let number = u32::try_from(global_tid & THREAD_BITS).unwrap_or(0);
            sink(Input::Foreign(Event::Thread { process, thread: number, tid: Thread(number) }));
            self.callers.insert(global_tid, Caller { process, number, last: None });
        }
        self.callers.get_mut(&global_tid)
    }

    /// Tells the session which device `ordinal` is for this process. A device is its uuid where
    /// the trace has one, else its number.
    pub(super) fn device(
        &mut self,
        process: ProcessKey,
        global_pid: i64,
        ordinal: u32,
        sink: &mut impl FnMut(Input),
    ) {
        if !self.ordinals.insert((process, ordinal)) {
            return;
        }
        let uuid = self.uuid(i64::from(pid(global_pid)), i64::from(ordinal));
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

    fn uuid(&self, pid: i64, ordinal: i64) -> Option<String> {
        self.by_process.get(&(pid, ordinal)).or_else(|| self.by_device.get(&ordinal)).cloned()
    }
}

/// Where the thread id stands in Nsight's serialised global id; the process id is above it, and
/// above that the machine.
const THREAD_BITS: i64 = 0xff_ffff;

fn pid(global_pid: i64) -> u32 {
    u32::try_from((global_pid >> 24) & 0xff_ffff).unwrap_or(0)
}

fn titles(connection: &Connection) -> Result<HashMap<i64, String>, rusqlite::Error> {
    let mut statement = connection.prepare(
        "SELECT globalPid, name FROM PROCESSES WHERE globalPid IS NOT NULL AND name IS NOT NULL",
    )?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

fn device_uuids(connection: &Connection) -> Result<HashMap<i64, String>, rusqlite::Error> {
    let mut statement = connection.prepare("SELECT id, uuid FROM TARGET_INFO_GPU")?;
    let rows = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, uuid(row.get_ref(1)?))))?;
    rows.filter_map(|row| row.map(|(id, uuid)| Some((id, uuid?))).transpose()).collect()
}

fn process_uuids(connection: &Connection) -> Result<HashMap<(i64, i64), String>, rusqlite::Error> {
    let mut statement =
        connection.prepare("SELECT pid, cudaId, uuid FROM TARGET_INFO_CUDA_DEVICE")?;
    let rows = statement.query_map([], |row| {
        Ok(((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?), uuid(row.get_ref(2)?)))
    })?;
    rows.filter_map(|row| row.map(|(key, uuid)| Some((key, uuid?))).transpose()).collect()
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
