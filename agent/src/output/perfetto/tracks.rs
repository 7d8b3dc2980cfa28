//! Where things are drawn: one group per device with a track per stream, one per process with a
//! track per launching thread. Tracks are described when they are first used.
//!
//! Slices of a track must not overlap, and kernels of one stream may (parallel branches of a
//! graph): each then takes the first of several lanes that is free. Lanes have the same name and
//! parent, which viewers draw as one track of several rows.

use std::collections::HashMap;
use std::io::Write;

use analysis::ids::{DeviceKey, ProcessKey};

use super::directory::Directory;
use super::packets::Packets;
use super::proto::{self, ProcessDescriptor, ThreadDescriptor, TracePacket, TrackDescriptor};
use crate::output::words;

/// Tracks of one file. A node has at most 8 devices of 32 streams and a few hundred threads; only
/// bounds memory.
const TRACKS_MAX: usize = 1 << 16;

/// Kernels of one stream drawn at once. An H100 runs at most 128 kernels at once.
const LANES_MAX: usize = 128;

/// Streams of one process that are told apart in the order of tracks.
const RANKS: i32 = 1 << 16;

/// Drawn below the streams of a device, in this order.
const RANK_IDLE: i32 = 16 * RANKS;
const RANK_UNOBSERVED: i32 = RANK_IDLE + 1;

/// What a track shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Place {
    Device(DeviceKey),
    Stream {
        device: DeviceKey,
        process: ProcessKey,
        context: u32,
        stream: u32,
    },
    Idle(DeviceKey),
    Unobserved(DeviceKey),
    Process(ProcessKey),
    Steps(ProcessKey),
    /// A thread by the kernel's number.
    Thread(ProcessKey, u32),
    /// A launching thread whose kernel number nobody told.
    Launcher(ProcessKey, u32),
}

#[derive(Clone, Copy, Debug)]
struct Lane {
    uuid: u64,
    /// Where its last slice ends.
    end: u64,
}

#[derive(Debug, Default)]
pub(super) struct Tracks {
    lanes: HashMap<Place, Vec<Lane>>,
    count: usize,
    /// Slices that found no track.
    refused: u64,
}

impl Tracks {
    /// The track on which a slice is drawn, described if it was not. Slices of a place come by
    /// start. `None`: the tables are full, which is counted.
    pub(super) fn slice<W: Write>(
        &mut self,
        place: Place,
        (start, end): (u64, u64),
        packets: &mut Packets<W>,
        who: &impl Directory,
    ) -> Option<u64> {
        let lanes = self.lanes.entry(place).or_default();
        if let Some(lane) = lanes.iter_mut().find(|lane| lane.end <= start) {
            lane.end = end;
            return Some(lane.uuid);
        }
        let number = lanes.len();
        if number >= LANES_MAX {
            self.refused += 1;
            return None;
        }
        let uuid = self.add(place, number, end, packets, who);
        self.refused += u64::from(uuid.is_none());
        uuid
    }

    /// The track on which something without a length, or a child track, is drawn.
    pub(super) fn point<W: Write>(
        &mut self,
        place: Place,
        packets: &mut Packets<W>,
        who: &impl Directory,
    ) -> Option<u64> {
        match self.lanes.get(&place).and_then(|lanes| lanes.first()) {
            Some(lane) => Some(lane.uuid),
            None => self.add(place, 0, 0, packets, who),
        }
    }

    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    fn add<W: Write>(
        &mut self,
        place: Place,
        lane: usize,
        end: u64,
        packets: &mut Packets<W>,
        who: &impl Directory,
    ) -> Option<u64> {
        if self.count >= TRACKS_MAX {
            return None;
        }
        let parent = match place {
            Place::Device(_) | Place::Process(_) => None,
            Place::Idle(device) | Place::Unobserved(device) | Place::Stream { device, .. } => {
                Some(self.point(Place::Device(device), packets, who)?)
            }
            // Only one track is the thread itself.
            Place::Thread(..) if lane > 0 => Some(self.point(place, packets, who)?),
            Place::Steps(process) | Place::Thread(process, _) | Place::Launcher(process, _) => {
                Some(self.point(Place::Process(process), packets, who)?)
            }
        };
        self.count += 1;
        let uuid = self.count as u64;
        self.lanes.entry(place).or_default().push(Lane { uuid, end });
        let descriptor =
            TrackDescriptor { uuid: Some(uuid), parent_uuid: parent, ..describe(place, lane, who) };
        packets.push(TracePacket { track_descriptor: Some(descriptor), ..TracePacket::default() });
        Some(uuid)
    }
}

fn describe(place: Place, lane: usize, who: &impl Directory) -> TrackDescriptor {
    let plain = |name: String| TrackDescriptor { name: Some(name), ..TrackDescriptor::default() };
    let ranked =
        |name: String, rank: i32| TrackDescriptor { sibling_order_rank: Some(rank), ..plain(name) };
    match place {
        Place::Device(device) => TrackDescriptor {
            description: who.device(device).and_then(|info| info.uuid.clone()),
            child_ordering: Some(proto::CHILDREN_BY_RANK),
            ..plain(device_title(device, who))
        },
        Place::Stream { device: _, process, context, stream } => {
            let worker = who
                .process(process)
                .map_or_else(String::new, |info| format!(", {}", words::process_title(info)));
            // By process, then by stream.
            let stream_rank = i32::try_from(stream).unwrap_or(RANKS).min(RANKS - 1);
            let process_rank = i32::try_from(process.0 % 16).unwrap_or(0);
            let rank = process_rank * RANKS + stream_rank;
            ranked(format!("stream {stream}, context {context}{worker}"), rank)
        }
        Place::Idle(_) => ranked("idle, by cause".to_owned(), RANK_IDLE),
        Place::Unobserved(_) => ranked("unobserved, by reason".to_owned(), RANK_UNOBSERVED),
        Place::Process(process) => process_track(process, who),
        Place::Steps(_) => plain("engine steps".to_owned()),
        Place::Thread(process, tid) => match pid_of(process, who) {
            Some(pid) if lane == 0 => TrackDescriptor {
                thread: Some(ThreadDescriptor {
                    pid: Some(pid),
                    tid: Some(i64::from(tid)),
                    thread_name: None,
                }),
                ..TrackDescriptor::default()
            },
            _ => plain(format!("launches of thread {tid}")),
        },
        Place::Launcher(_, thread) => plain(format!("launches of thread number {thread}")),
    }
}

fn device_title(device: DeviceKey, who: &impl Directory) -> String {
    match who.device(device) {
        Some(info) => words::gpu_title(info),
        None => format!("GPU number {}", device.0),
    }
}

fn process_track(process: ProcessKey, who: &impl Directory) -> TrackDescriptor {
    let info = who.process(process);
    let simulated = if who.info().simulated { " SIMULATED" } else { "" };
    let title =
        info.map_or(
            "process",
            |info| {
                if info.title.is_empty() { "process" } else { info.title.as_str() }
            },
        );
    let name = format!("{title}{simulated}");
    match pid_of(process, who) {
        Some(pid) => TrackDescriptor {
            process: Some(ProcessDescriptor {
                pid: Some(pid),
                process_name: Some(name),
                process_labels: info
                    .into_iter()
                    .flat_map(|info| [&info.role, &info.rank])
                    .filter(|label| !label.is_empty())
                    .cloned()
                    .collect(),
            }),
            ..TrackDescriptor::default()
        },
        // A trace that does not tell PIDs: number 0 would be the kernel's idle process.
        None => TrackDescriptor { name: Some(name), ..TrackDescriptor::default() },
    }
}

fn pid_of(process: ProcessKey, who: &impl Directory) -> Option<i32> {
    let pid = who.process(process)?.pid;
    i32::try_from(pid).ok().filter(|&pid| pid > 0)
}
