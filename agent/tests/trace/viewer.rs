//! Reads a trace as a viewer does, by the rules of the format's documentation: packets in file
//! order give meaning to numbers, events are then sorted by time and opened and closed per track.
//! Whatever a viewer would drop or count as an error fails the test here.

use std::collections::{BTreeMap, HashMap};
use std::io::Read;

use flate2::read::ZlibDecoder;
use prost::Message;

use crate::format::{self, Interned, Packet};

/// A slice, or an instant (`end` is `None`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Names of its track and the tracks above it, outermost first.
    pub(crate) track: String,
    pub(crate) uuid: u64,
    pub(crate) start: u64,
    pub(crate) end: Option<u64>,
    pub(crate) name: String,
    pub(crate) category: String,
    pub(crate) colour: Option<String>,
    pub(crate) arguments: BTreeMap<String, String>,
    pub(crate) flows: Vec<u64>,
    /// Root first.
    pub(crate) stack: Vec<String>,
}

impl Shown {
    pub(crate) fn length(&self) -> u64 {
        self.end.map_or(0, |end| end - self.start)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CpuShown {
    pub(crate) at: u64,
    pub(crate) pid: u32,
    pub(crate) tid: u32,
    pub(crate) stack: Vec<String>,
}

#[derive(Debug, Default)]
pub(crate) struct View {
    pub(crate) slices: Vec<Shown>,
    pub(crate) samples: Vec<CpuShown>,
    /// Every group and track, by its path of names.
    pub(crate) tracks: Vec<String>,
    pub(crate) blocks: usize,
}

impl View {
    pub(crate) fn on<'v>(&'v self, track: &'v str) -> impl Iterator<Item = &'v Shown> {
        self.slices.iter().filter(move |slice| slice.track == track)
    }
}

pub(crate) fn view(bytes: &[u8]) -> View {
    let mut viewer = Viewer::default();
    let trace = format::Trace::decode(bytes).unwrap();
    for packet in trace.packet {
        let block = packet.compressed.expect("only compressed blocks stand in the file");
        let mut inside = Vec::new();
        ZlibDecoder::new(block.as_slice()).read_to_end(&mut inside).unwrap();
        viewer.view.blocks += 1;
        for packet in format::Trace::decode(inside.as_slice()).unwrap().packet {
            viewer.packet(packet);
        }
    }
    viewer.finish()
}

#[derive(Default)]
struct Viewer {
    view: View,
    begun: bool,
    categories: HashMap<u64, String>,
    names: HashMap<u64, String>,
    annotations: HashMap<u64, String>,
    texts: HashMap<u64, String>,
    colours: HashMap<u64, String>,
    functions: HashMap<u64, String>,
    files: HashMap<u64, String>,
    frames: HashMap<u64, String>,
    stacks: HashMap<u64, Vec<String>>,
    /// Path of names by uuid.
    tracks: HashMap<u64, String>,
    events: Vec<(u64, format::Event, Option<Shown>)>,
}

impl Viewer {
    fn packet(&mut self, packet: Packet) {
        assert_eq!(packet.sequence, Some(1));
        if packet.flags == Some(1) {
            assert!(!self.begun, "state is cleared once");
            self.begun = true;
            assert_eq!(packet.defaults.unwrap().clock, Some(3), "CLOCK_MONOTONIC");
            let snapshot = packet.clock_snapshot.unwrap();
            assert_eq!(snapshot.primary, Some(3));
            assert_eq!(snapshot.clocks[0].id, Some(3));
            return;
        }
        assert!(self.begun, "the first packet says what holds for all");
        if let Some(interned) = packet.interned {
            self.learn(interned);
        }
        if let Some(track) = packet.track {
            self.track(&track);
        }
        if packet.event.is_some() || packet.sample.is_some() {
            assert_eq!(packet.flags, Some(2), "it uses what was interned");
        }
        if let Some(event) = packet.event {
            let at = packet.timestamp.unwrap();
            let shown = (event.r#type != Some(2)).then(|| self.shown(at, &event));
            self.events.push((at, event, shown));
        }
        if let Some(sample) = packet.sample {
            self.view.samples.push(CpuShown {
                at: packet.timestamp.unwrap(),
                pid: sample.pid.unwrap(),
                tid: sample.tid.unwrap(),
                stack: self.stacks[&sample.callstack.unwrap()].clone(),
            });
        }
    }

    fn learn(&mut self, interned: Interned) {
        for (known, fresh) in [
            (&mut self.categories, interned.categories),
            (&mut self.names, interned.names),
            (&mut self.annotations, interned.annotation_names),
        ] {
            for entry in fresh {
                let twice = known.insert(entry.iid.unwrap(), entry.text.unwrap());
                assert_eq!(twice, None, "a number has one meaning");
            }
        }
        for (known, fresh) in [
            (&mut self.functions, interned.functions),
            (&mut self.files, interned.files),
            (&mut self.texts, interned.texts),
            (&mut self.colours, interned.colours),
        ] {
            for entry in fresh {
                let text = String::from_utf8(entry.text.unwrap()).unwrap();
                assert_eq!(known.insert(entry.iid.unwrap(), text), None);
            }
        }
        for frame in interned.frames {
            let function = &self.functions[&frame.function.unwrap()];
            let shown = match frame.file {
                Some(file) => format!("{function} ({}:{})", self.files[&file], frame.line.unwrap()),
                None => function.clone(),
            };
            assert_eq!(self.frames.insert(frame.iid.unwrap(), shown), None);
        }
        for stack in interned.callstacks {
            let frames = stack.frames.iter().map(|frame| self.frames[frame].clone()).collect();
            assert_eq!(self.stacks.insert(stack.iid.unwrap(), frames), None);
        }
    }

    fn track(&mut self, track: &format::Track) {
        let own = match (&track.process, &track.thread) {
            (Some(process), None) => {
                format!("{} {}", process.name.clone().unwrap(), process.pid.unwrap())
            }
            (None, Some(thread)) => format!("thread {}", thread.tid.unwrap()),
            (None, None) => track.name.clone().unwrap(),
            both => panic!("{both:?}"),
        };
        let path = match track.parent {
            Some(parent) => format!("{}/{own}", self.tracks[&parent]),
            None => own,
        };
        self.view.tracks.push(path.clone());
        assert_eq!(self.tracks.insert(track.uuid.unwrap(), path), None, "described once");
    }

    fn shown(&self, start: u64, event: &format::Event) -> Shown {
        let uuid = event.track.unwrap();
        let argument = |annotation: &format::Annotation| {
            let value = match (annotation.number, annotation.text) {
                (Some(number), None) => number.to_string(),
                (None, Some(text)) => self.texts[&text].clone(),
                both => panic!("{both:?}"),
            };
            (self.annotations[&annotation.name.unwrap()].clone(), value)
        };
        assert_eq!(event.categories.len(), 1);
        Shown {
            track: self.tracks[&uuid].clone(),
            uuid,
            start,
            end: None,
            name: self.names[&event.name.unwrap()].clone(),
            category: self.categories[&event.categories[0]].clone(),
            colour: event.colour.map(|colour| self.colours[&colour].clone()),
            arguments: event.annotations.iter().map(argument).collect(),
            flows: event.flows.clone(),
            stack: event.callstack.map_or_else(Vec::new, |stack| self.stacks[&stack].clone()),
        }
    }

    fn finish(mut self) -> View {
        // Stable, as viewers sort: what was written first comes first.
        self.events.sort_by_key(|&(at, ..)| at);
        let mut open: HashMap<u64, Shown> = HashMap::new();
        for (at, event, shown) in self.events {
            let track = event.track.unwrap();
            match (event.r#type, shown) {
                (Some(1), Some(slice)) => {
                    let before = open.insert(track, slice);
                    assert_eq!(before, None, "slices of a track overlap at {at}");
                }
                (Some(2), None) => {
                    let mut slice = open.remove(&track).expect("an end without its begin");
                    slice.end = Some(at);
                    self.view.slices.push(slice);
                }
                (Some(3), Some(instant)) => self.view.slices.push(instant),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(open.len(), 0, "{open:?} has no end");
        self.view
    }
}
