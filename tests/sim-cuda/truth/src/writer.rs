//! Collects entries in memory and appends them to the file from a thread of its own.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::entry::{Counters, Entry};
use crate::{CLOCK_MONOTONIC, HEADER_BYTES, MAGIC, VERSION};

/// How often the thread looks: twice within the 200 ms a reader may rely on.
const PERIOD: Duration = Duration::from_millis(100);

/// Bytes kept while the disk does not take them; beyond, entries are counted as lost. Ten seconds of
/// 100 000 entries/s.
const CAPACITY: usize = 96 << 20;

/// Appends to one process's truth file.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    buffer: Mutex<Buffer>,
    file: Mutex<File>,
}

#[derive(Debug)]
struct Buffer {
    bytes: Vec<u8>,
    counters: Counters,
    written: Counters,
}

impl Writer {
    /// Creates `directory/<pid>.truth` and starts the thread that fills it.
    ///
    /// # Errors
    /// When the file cannot be created or written, or the thread not started.
    pub fn create(directory: &Path, pid: u32) -> io::Result<Self> {
        let mut file = File::create(directory.join(format!("{pid}.truth")))?;
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(&MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.extend_from_slice(&pid.to_le_bytes());
        header.extend_from_slice(&CLOCK_MONOTONIC.to_le_bytes());
        header.resize(HEADER_BYTES, 0);
        file.write_all(&header)?;
        let shared = Arc::new(Shared {
            buffer: Mutex::new(Buffer {
                bytes: Vec::with_capacity(1 << 20),
                counters: Counters::default(),
                written: Counters::default(),
            }),
            file: Mutex::new(file),
        });
        let weak = Arc::downgrade(&shared);
        std::thread::Builder::new().name("sim-truth".to_owned()).spawn(move || {
            while let Some(shared) = weak.upgrade() {
                shared.flush();
                drop(shared);
                std::thread::sleep(PERIOD);
            }
        })?;
        Ok(Self { shared })
    }

    /// Adds one entry.
    pub fn append(&self, entry: &Entry) {
        let mut buffer = lock(&self.shared.buffer);
        if buffer.bytes.len() >= CAPACITY {
            buffer.counters.lost += 1;
            return;
        }
        entry.encode(&mut buffer.bytes);
    }

    /// Changes the running totals; they reach the file with the next flush.
    pub fn count(&self, change: impl FnOnce(&mut Counters)) {
        change(&mut lock(&self.shared.buffer).counters);
    }

    /// Writes everything collected so far.
    pub fn flush(&self) {
        self.shared.flush();
    }
}

impl Shared {
    fn flush(&self) {
        // The file's lock is taken first, so that two flushes cannot swap their order on disk.
        let mut file = lock(&self.file);
        let bytes = {
            let mut buffer = lock(&self.buffer);
            if buffer.counters != buffer.written {
                let counters = buffer.counters;
                Entry::Counters(counters).encode(&mut buffer.bytes);
                buffer.written = counters;
            }
            let room = buffer.bytes.len().next_power_of_two();
            std::mem::replace(&mut buffer.bytes, Vec::with_capacity(room))
        };
        if bytes.is_empty() {
            return;
        }
        if file.write_all(&bytes).is_err() {
            lock(&self.buffer).counters.lost += 1;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
