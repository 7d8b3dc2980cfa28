//! Plays recorded work: the same device, its own stream, the recorded start and duration.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::time::Duration;

use sim_channel::clock;

use crate::cuda::{Cuda, CudaError};
use crate::recording::{What, Work};

/// What was played.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    pub(crate) kernels: u64,
    pub(crate) copies: u64,
    pub(crate) sets: u64,
    pub(crate) devices: usize,
    /// Launched after they should have started: these do not have their recorded times.
    pub(crate) late: u64,
}

/// Streams that stand for one recorded stream. Work of graph replays may overlap in a recorded stream,
/// never in a simulated one, so each overlap gets a stream more.
#[derive(Debug, Default)]
struct Lanes(Vec<(usize, u64)>);

/// Memory that copies and sets of a device use.
#[derive(Clone, Copy, Debug)]
struct Memory {
    device: u64,
    other: u64,
    host: u64,
}

/// CUPTI's copy kinds.
const HOST_TO_DEVICE: u32 = 1;
const DEVICE_TO_HOST: u32 = 2;

/// Plays everything, each piece launched `lead` before it starts.
pub(crate) fn play(cuda: &Cuda, works: &[Work], lead: Duration) -> Result<Outcome, CudaError> {
    let mut outcome = Outcome::default();
    let mut names = HashMap::new();
    let mut memory: HashMap<u32, Memory> = HashMap::new();
    for work in works {
        if let What::Kernel { name, .. } = &work.what {
            names.insert(name.as_str(), cuda.register(name)?);
        }
        if let Entry::Vacant(place) = memory.entry(work.device) {
            place.insert(allocate(cuda, works, work.device)?);
        }
    }
    outcome.devices = memory.len();
    let mut lanes: HashMap<(u32, u32), Lanes> = HashMap::new();
    let lead = u64::try_from(lead.as_nanos()).unwrap_or(u64::MAX);
    let first = works.first().map_or(0, |work| work.start);
    let begin = clock::now() + 2 * lead;
    let mut device = None;
    for work in works {
        let start = begin + (work.start - first);
        clock::sleep_until(start.saturating_sub(lead));
        if device != Some(work.device) {
            cuda.set_device(ordinal(work.device))?;
            device = Some(work.device);
        }
        let lane = lanes.entry((work.device, work.stream)).or_default();
        let stream = lane.at(cuda, work.start, work.end)?;
        cuda.prescribe(start, work.end.saturating_sub(work.start));
        match &work.what {
            What::Kernel { name, grid, block } => {
                cuda.launch(names[name.as_str()], *grid, *block, stream)?;
                outcome.kernels += 1;
            }
            What::Copy { kind, bytes } => {
                let memory = memory[&work.device];
                let (to, from) = match *kind {
                    HOST_TO_DEVICE => (memory.device, memory.host),
                    DEVICE_TO_HOST => (memory.host, memory.device),
                    _ => (memory.device, memory.other),
                };
                cuda.copy(to, from, length(*bytes), stream)?;
                outcome.copies += 1;
            }
            What::Set { bytes } => {
                cuda.set(memory[&work.device].device, length(*bytes), stream)?;
                outcome.sets += 1;
            }
        }
        // Read after the launch: only then is it certain that the device saw an earlier time.
        outcome.late += u64::from(clock::now() >= start);
    }
    for &device in memory.keys() {
        cuda.set_device(ordinal(device))?;
        cuda.synchronize()?;
    }
    Ok(outcome)
}

/// Memory for the largest copy or set of a device. Nothing of it is ever touched.
fn allocate(cuda: &Cuda, works: &[Work], device: u32) -> Result<Memory, CudaError> {
    cuda.set_device(ordinal(device))?;
    let own = works.iter().filter(|work| work.device == device);
    let bytes = own.map(|work| match work.what {
        What::Kernel { .. } => 0,
        What::Copy { bytes, .. } | What::Set { bytes } => bytes,
    });
    let most = length(bytes.max().unwrap_or(0)).max(1);
    Ok(Memory {
        device: cuda.allocate(most)?,
        other: cuda.allocate(most)?,
        host: cuda.allocate_host(most)?,
    })
}

fn length(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn ordinal(device: u32) -> i32 {
    i32::try_from(device).unwrap_or(i32::MAX)
}

impl Lanes {
    /// A stream that is free from `start` on; busy until `end` then.
    fn at(&mut self, cuda: &Cuda, start: u64, end: u64) -> Result<usize, CudaError> {
        if let Some((stream, busy)) = self.0.iter_mut().find(|(_, busy)| *busy <= start) {
            *busy = end;
            return Ok(*stream);
        }
        let stream = cuda.create_stream()?;
        self.0.push((stream, end));
        Ok(stream)
    }
}
