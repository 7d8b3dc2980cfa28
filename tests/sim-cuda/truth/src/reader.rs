//! Reads truth files, finished or growing, and joins work with its call and its record's fate.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::entry::{Call, Counters, Device, Entry, Outcome, PREFIX, Settled, Work};
use crate::{HEADER_BYTES, MAGIC, VERSION};

/// Why a truth file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("read truth file {path}: check WARPLENS_SIM_TRUTH")]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{path} is not a truth file of version {VERSION}: rebuild the simulator and the reader"
    )]
    Foreign { path: PathBuf },
    #[error("{path}: no entry can be decoded at byte {offset}: the file is damaged")]
    Damaged { path: PathBuf, offset: u64 },
}

/// Reads the entries of one file as it grows.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: File,
    pid: u32,
    offset: u64,
    pending: Vec<u8>,
}

impl Reader {
    /// Opens a file; its header must be there.
    ///
    /// # Errors
    /// When the file cannot be read or is of another format.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        let io = |source| ReadError::Io { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(io)?;
        let mut header = [0; HEADER_BYTES];
        file.read_exact(&mut header).map_err(io)?;
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        if header[..8] != MAGIC || word(8) != VERSION {
            return Err(ReadError::Foreign { path: path.to_owned() });
        }
        let pid = word(12);
        let offset = HEADER_BYTES as u64;
        Ok(Self { path: path.to_owned(), file, pid, offset, pending: Vec::new() })
    }

    /// Process the file is about, as it numbers itself.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Bytes of a last entry that is not whole yet.
    pub fn torn_bytes(&self) -> usize {
        self.pending.len()
    }

    /// The entries appended since the last call.
    ///
    /// # Errors
    /// When the file cannot be read, or holds something that is no entry.
    pub fn poll(&mut self) -> Result<Vec<Entry>, ReadError> {
        self.file
            .read_to_end(&mut self.pending)
            .map_err(|source| ReadError::Io { path: self.path.clone(), source })?;
        let mut entries = Vec::new();
        let mut used = 0;
        while let Some(&[t0, t1, l0, l1]) = self.pending[used..].first_chunk::<PREFIX>() {
            let tag = u16::from_le_bytes([t0, t1]);
            let length = usize::from(u16::from_le_bytes([l0, l1]));
            let damaged = || ReadError::Damaged {
                path: self.path.clone(),
                offset: self.offset + used as u64,
            };
            if length < PREFIX {
                return Err(damaged());
            }
            let Some(bytes) = self.pending.get(used + PREFIX..used + length) else {
                break;
            };
            entries.push(Entry::decode(tag, bytes).ok_or_else(damaged)?);
            used += length;
        }
        self.pending.drain(..used);
        self.offset += used as u64;
        Ok(entries)
    }
}

/// A piece of work with what became of its record; `None` while it is still to come.
#[derive(Clone, Copy, Debug)]
pub struct Joined<'a> {
    pub work: &'a Work,
    pub settled: Option<&'a Settled>,
    pub call: Option<&'a Call>,
}

impl Joined<'_> {
    /// What became of the record, if that is decided.
    pub fn outcome(&self) -> Option<Outcome> {
        self.settled.map(|settled| settled.outcome)
    }
}

/// All that one process's file says.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    pub pid: u32,
    pub works: Vec<Work>,
    pub settled: HashMap<u64, Settled>,
    pub calls: HashMap<u64, Call>,
    pub devices: HashMap<u32, Device>,
    pub names: HashMap<u32, String>,
    pub counters: Counters,
    /// Bytes of a torn last entry, left out.
    pub torn_bytes: usize,
}

impl Truth {
    /// Reads a file as far as it goes.
    ///
    /// # Errors
    /// When the file cannot be read or is damaged before its end.
    pub fn read(path: &Path) -> Result<Self, ReadError> {
        let mut reader = Reader::open(path)?;
        let mut truth = Self { pid: reader.pid(), ..Self::default() };
        for entry in reader.poll()? {
            truth.add(entry);
        }
        truth.torn_bytes = reader.torn_bytes();
        Ok(truth)
    }

    /// Takes one more entry in.
    pub fn add(&mut self, entry: Entry) {
        match entry {
            Entry::Name(name) => {
                self.names.insert(name.id, name.text);
            }
            Entry::Device(device) => {
                self.devices.insert(device.ordinal, device);
            }
            Entry::Work(work) => self.works.push(work),
            Entry::Settled(settled) => {
                self.settled.insert(settled.work, settled);
            }
            Entry::Call(call) => {
                self.calls.insert(call.sequence, call);
            }
            Entry::Counters(counters) => self.counters = counters,
        }
    }

    /// Every piece of work, in launch order, with its call and its record's fate.
    pub fn joined(&self) -> impl Iterator<Item = Joined<'_>> {
        self.works.iter().map(|work| Joined {
            work,
            settled: self.settled.get(&work.sequence),
            call: self.calls.get(&work.call),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::{Effect, Name, WorkKind};
    use std::io::Write;

    fn entries() -> Vec<Entry> {
        vec![
            Entry::Name(Name { id: 1, text: "void gemm<T>()".to_owned() }),
            Entry::Device(Device { ordinal: 3, uuid: *b"SIM-0123456789ab" }),
            Entry::Work(Work {
                sequence: 1,
                call: 9,
                start_ns: 10,
                end_ns: 20,
                graph_node: 1 << 32,
                bytes: 7,
                correlation: u32::MAX,
                name: 1,
                device: 3,
                context: 1,
                stream: 7,
                graph: 1,
                kind: WorkKind::Kernel,
            }),
            Entry::Call(Call {
                sequence: 9,
                enter_ns: 1,
                entered_ns: 2,
                leaving_ns: 4,
                exit_ns: 5,
                correlation: u32::MAX,
                thread: 4,
                domain: 2,
                callback: 211,
                result: -1,
                effect: Effect::Kernel,
                captured: false,
            }),
            Entry::Settled(Settled { work: 1, clock_offset: -5, outcome: Outcome::Zeroed }),
            Entry::Counters(Counters { launches: 1, ..Counters::default() }),
        ]
    }

    fn file(name: &str, entries: &[Entry]) -> (PathBuf, Vec<u8>) {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&42u32.to_le_bytes());
        bytes.resize(HEADER_BYTES, 0);
        for entry in entries {
            entry.encode(&mut bytes);
        }
        let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        std::fs::write(&path, &bytes).unwrap();
        (path, bytes)
    }

    #[test]
    fn entries_come_back_as_written_and_join() {
        let (path, _) = file("sim-truth-whole", &entries());
        let mut reader = Reader::open(&path).unwrap();
        assert_eq!(reader.poll().unwrap(), entries());
        let truth = Truth::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let joined: Vec<_> = truth.joined().collect();
        assert_eq!((truth.pid, joined.len()), (42, 1));
        assert_eq!(joined[0].outcome(), Some(Outcome::Zeroed));
        assert_eq!(joined[0].call.map(|call| call.exit_ns), Some(5));
    }

    #[test]
    fn every_torn_end_is_tolerated_and_completed_later() {
        let (path, bytes) = file("sim-truth-torn", &entries());
        for cut in HEADER_BYTES..bytes.len() {
            std::fs::write(&path, &bytes[..cut]).unwrap();
            let mut reader = Reader::open(&path).unwrap();
            let mut seen = reader.poll().unwrap();
            let mut file = std::fs::OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(&bytes[cut..]).unwrap();
            seen.extend(reader.poll().unwrap());
            assert_eq!(seen, entries(), "cut at {cut}");
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn damage_is_named_with_its_place() {
        let (path, mut bytes) = file("sim-truth-damage", &entries());
        bytes[HEADER_BYTES] = 99;
        std::fs::write(&path, &bytes).unwrap();
        let error = Reader::open(&path).unwrap().poll().unwrap_err();
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(error, ReadError::Damaged { offset: 32, .. }), "{error}");
    }
}
