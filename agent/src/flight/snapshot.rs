//! One window as the inputs of a recording: what stands first, then what happened, cut at the window's beginning.
//!
//! A process that was met before the cut is introduced at the head and attached at the cut: whatever reads it knows
//! of nothing earlier, as if an agent had come then. Nothing of what was read from a ring before the cut is there, and
//! all that was read after it is; a kernel's record comes after its end, so every kernel that still ran at the cut is
//! there. One that was met later is introduced where it was met.

use std::collections::BTreeMap;

use analysis::event::DeviceInfo;
use analysis::ids::{DeviceKey, Ns, ProcessKey};
use wire::kernel::{StackEvent, WaitEvent, event_kind};
use wire::limits::STACK_FRAMES;
use zerocopy::{FromBytes, IntoBytes};

use super::pack::{Packed, UnpackError};
use super::recorder::Stats;
use super::standing::Standing;
use crate::pipeline::{Input, Start};

/// The latest past, to be written or read at leisure.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(super) start: Start,
    pub(super) taken: Ns,
    pub(super) since: Ns,
    pub(super) cut: Option<Ns>,
    pub(super) devices: BTreeMap<DeviceKey, DeviceInfo>,
    pub(super) notes: Vec<String>,
    pub(super) processes: BTreeMap<ProcessKey, Standing>,
    pub(super) chunks: Vec<Packed>,
    pub(super) stats: Stats,
}

impl Snapshot {
    /// When it was taken.
    pub fn taken(&self) -> Ns {
        self.taken
    }

    /// Where its window begins.
    pub fn begin(&self) -> Ns {
        self.cut.unwrap_or(self.since)
    }

    /// What the recorder said of itself.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// What a process is called, by its number.
    pub fn title(&self, pid: u32) -> Option<&str> {
        let mut processes = self.processes.values().rev();
        processes.find(|known| known.info.pid == pid).map(|known| known.info.title.as_str())
    }

    /// Every input of the recording, in order. `unix` is the wall clock when it was taken, seconds.
    pub fn inputs<E: From<UnpackError>>(
        &self,
        unix: Option<u64>,
        mut each: impl FnMut(Input) -> Result<(), E>,
    ) -> Result<(), E> {
        let window = self.taken.0.saturating_sub(self.begin().0);
        each(Input::Start(Start {
            command: "dump".to_owned(),
            started_unix: unix.map(|unix| unix.saturating_sub(window / 1_000_000_000)),
            ..self.start.clone()
        }))?;
        for (&device, info) in &self.devices {
            each(Input::Device { device, info: info.clone() })?;
        }
        self.notes.iter().try_for_each(|note| each(Input::Note(note.clone())))?;
        self.remarks().into_iter().try_for_each(|note| each(Input::Note(note)))?;
        let mut later = BTreeMap::new();
        for (&process, standing) in &self.processes {
            match self.cut {
                Some(cut) if standing.met <= cut => {
                    let info = standing.info.clone();
                    each(Input::Process { process, info })?;
                    if standing.attached {
                        each(Input::Attached { process, at: cut })?;
                    }
                    introduce(process, standing, &mut each)?;
                }
                _ => {
                    later.insert(process, standing);
                }
            }
        }
        for chunk in &self.chunks {
            chunk.unpack(&mut |input| {
                let met = match &input {
                    Input::Process { process, .. } => {
                        later.remove(process).map(|it| (*process, it))
                    }
                    _ => None,
                };
                each(self.clipped(input))?;
                met.map_or(Ok(()), |(process, standing)| introduce(process, standing, &mut each))
            })?;
        }
        Ok(())
    }

    /// A sleep that began before the window is told from its beginning on.
    fn clipped(&self, input: Input) -> Input {
        let Input::KernelEvent(bytes) = input else {
            return input;
        };
        let kind = bytes.first_chunk().copied().map(u32::from_ne_bytes);
        if kind == Some(event_kind::WAIT)
            && let Some(cut) = self.cut
            && let Ok(mut wait) = WaitEvent::read_from_bytes(&bytes)
        {
            wait.from_ns = wait.from_ns.max(cut.0).min(wait.to_ns);
            return Input::KernelEvent(wait.as_bytes().to_vec());
        }
        Input::KernelEvent(bytes)
    }

    /// What the reader of this window should know of it.
    fn remarks(&self) -> Vec<String> {
        let Stats { cut_by_size, standing_refused, lost, .. } = self.stats;
        let told = [
            (
                cut_by_size,
                "parts of a second or less left the flight recorder early, in this window or before it: its ring was full, see flight.bytes",
            ),
            (
                standing_refused,
                "names, graph entries, stacks or symbols found no room in the flight recorder",
            ),
            (lost, "parts of the window could not be compressed and are missing"),
        ];
        let told = told.iter().filter(|(count, _)| *count > 0);
        told.map(|(count, text)| format!("{count} {text}.")).collect()
    }
}

fn introduce<E: From<UnpackError>>(
    process: ProcessKey,
    standing: &Standing,
    each: &mut impl FnMut(Input) -> Result<(), E>,
) -> Result<(), E> {
    for &(ordinal, device) in &standing.ordinals {
        each(Input::Ordinal { process, ordinal, device })?;
    }
    for &ordinal in &standing.unopened {
        each(Input::Unopened { process, ordinal })?;
    }
    for packed in &standing.log {
        packed.unpack(each)?;
    }
    for (&thread, tid) in &standing.threads {
        // A stack without frames: only which thread it was.
        let event = StackEvent {
            kind: event_kind::LAUNCH_STACK,
            frames: 0,
            time_ns: 0,
            tgid: standing.info.pid,
            tid: tid.0,
            correlation: 0,
            weight: 1,
            thread,
            cpu: 0,
            key: 0,
            flags: 0,
            reserved: 0,
            addresses: [0; STACK_FRAMES],
        };
        each(Input::KernelEvent(event.as_bytes().to_vec()))?;
    }
    Ok(())
}
