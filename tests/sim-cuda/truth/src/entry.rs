//! The entries of a truth file and their bytes: `tag u16, length u16, payload`, little-endian.

/// What kind of work a device did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum WorkKind {
    Kernel = 1,
    Copy = 2,
    Set = 3,
}

/// What became of the activity record of a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Outcome {
    /// Handed to the profiler with its timestamps.
    Delivered = 1,
    /// Handed over with start and end 0.
    Zeroed = 2,
    /// Never handed over; counted as dropped.
    Dropped = 3,
    /// Its activity kind was off at launch: there never was a record.
    NotEnabled = 4,
    /// Handed over by a forced flush before it ended: end 0.
    Incomplete = 5,
}

/// What a call does, as far as the truth cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Effect {
    Kernel = 1,
    Graph = 2,
    Copy = 3,
    Set = 4,
    Sync = 5,
}

/// A kernel name and the number other entries use for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    pub id: u32,
    pub text: String,
}

/// A device as the process numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    pub ordinal: u32,
    pub uuid: [u8; 16],
}

/// A piece of device work, written when it is launched: its times are known from then on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Work {
    /// Counts up from 1 per process.
    pub sequence: u64,
    /// Sequence of the outermost call that launched it.
    pub call: u64,
    pub start_ns: u64,
    pub end_ns: u64,
    /// Node of the executed graph, or 0.
    pub graph_node: u64,
    /// Bytes copied or set, or 0.
    pub bytes: u64,
    pub correlation: u32,
    /// A [`Name::id`], or 0 for copies and sets.
    pub name: u32,
    pub device: u32,
    pub context: u32,
    pub stream: u32,
    /// Executed graph, or 0.
    pub graph: u32,
    pub kind: WorkKind,
}

/// What became of the record of a piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// [`Work::sequence`].
    pub work: u64,
    /// The record's clock minus `CLOCK_MONOTONIC`, ns.
    pub clock_offset: i64,
    pub outcome: Outcome,
}

/// An outermost launch, copy, set or synchronisation call that returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub sequence: u64,
    /// Read just before the first ENTER callback.
    pub enter_ns: u64,
    /// Read just after it: what a profiler takes for the entry lies between the two.
    pub entered_ns: u64,
    /// Read just before the last EXIT callback.
    pub leaving_ns: u64,
    /// Read just after it.
    pub exit_ns: u64,
    pub correlation: u32,
    /// Kernel's thread id of the caller.
    pub thread: u32,
    /// 1 = driver, 2 = runtime.
    pub domain: u32,
    pub callback: u32,
    /// `CUresult` or `cudaError_t`.
    pub result: i32,
    pub effect: Effect,
    /// The call added a graph node instead of launching.
    pub captured: bool,
}

/// Running totals, written with every flush. Outermost calls; nested ones count once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Kernel and graph launches that succeeded, captured ones included.
    pub launches: u64,
    pub launches_failed: u64,
    /// Of `launches`, graph launches.
    pub graph_launches: u64,
    /// Entries the writer had no room for.
    pub lost: u64,
}

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Name(Name),
    Device(Device),
    Work(Work),
    Settled(Settled),
    Call(Call),
    Counters(Counters),
}

impl Effect {
    /// Whether the call launches a kernel or a graph.
    pub fn is_launch(self) -> bool {
        matches!(self, Self::Kernel | Self::Graph)
    }

    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Kernel, Self::Graph, Self::Copy, Self::Set, Self::Sync]
            .into_iter()
            .find(|&effect| effect as u8 == byte)
    }
}

impl WorkKind {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Kernel, Self::Copy, Self::Set].into_iter().find(|&kind| kind as u8 == byte)
    }
}

impl Outcome {
    fn from_byte(byte: u8) -> Option<Self> {
        [Self::Delivered, Self::Zeroed, Self::Dropped, Self::NotEnabled, Self::Incomplete]
            .into_iter()
            .find(|&outcome| outcome as u8 == byte)
    }
}

const TAG_NAME: u16 = 1;
const TAG_DEVICE: u16 = 2;
const TAG_WORK: u16 = 3;
const TAG_SETTLED: u16 = 4;
const TAG_CALL: u16 = 5;
const TAG_COUNTERS: u16 = 6;

/// Bytes of tag and length.
pub(crate) const PREFIX: usize = 4;

/// Longest text of a [`Name`]; what is beyond is cut. Only bounds the length field.
const TEXT_MAX: usize = 60_000;

impl Entry {
    /// Appends the entry's bytes.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let begin = out.len();
        out.extend_from_slice(&[0; PREFIX]);
        let tag = match self {
            Self::Name(name) => {
                out.extend_from_slice(&name.id.to_le_bytes());
                let bytes = name.text.as_bytes();
                out.extend_from_slice(&bytes[..bytes.len().min(TEXT_MAX)]);
                TAG_NAME
            }
            Self::Device(device) => {
                out.extend_from_slice(&device.ordinal.to_le_bytes());
                out.extend_from_slice(&device.uuid);
                TAG_DEVICE
            }
            Self::Work(work) => {
                let longs = [
                    work.sequence,
                    work.call,
                    work.start_ns,
                    work.end_ns,
                    work.graph_node,
                    work.bytes,
                ];
                let words = [
                    work.correlation,
                    work.name,
                    work.device,
                    work.context,
                    work.stream,
                    work.graph,
                ];
                put_longs(out, &longs);
                put_words(out, &words);
                out.push(work.kind as u8);
                TAG_WORK
            }
            Self::Settled(settled) => {
                put_longs(out, &[settled.work]);
                out.extend_from_slice(&settled.clock_offset.to_le_bytes());
                out.push(settled.outcome as u8);
                TAG_SETTLED
            }
            Self::Call(call) => {
                let times = [call.enter_ns, call.entered_ns, call.leaving_ns, call.exit_ns];
                put_longs(out, &[call.sequence]);
                put_longs(out, &times);
                put_words(out, &[call.correlation, call.thread, call.domain, call.callback]);
                out.extend_from_slice(&call.result.to_le_bytes());
                out.push(call.effect as u8);
                out.push(u8::from(call.captured));
                TAG_CALL
            }
            Self::Counters(counters) => {
                put_longs(
                    out,
                    &[
                        counters.launches,
                        counters.launches_failed,
                        counters.graph_launches,
                        counters.lost,
                    ],
                );
                TAG_COUNTERS
            }
        };
        let length = u16::try_from(out.len() - begin).unwrap_or(u16::MAX);
        out[begin..begin + 2].copy_from_slice(&tag.to_le_bytes());
        out[begin + 2..begin + PREFIX].copy_from_slice(&length.to_le_bytes());
    }

    /// The entry of `tag` in `payload`; `None` when it is not one.
    pub(crate) fn decode(tag: u16, payload: &[u8]) -> Option<Self> {
        let mut take = Take(payload);
        let entry = match tag {
            TAG_NAME => {
                let id = take.word()?;
                let text = String::from_utf8_lossy(std::mem::take(&mut take.0)).into_owned();
                Self::Name(Name { id, text })
            }
            TAG_DEVICE => Self::Device(Device { ordinal: take.word()?, uuid: take.bytes()? }),
            TAG_WORK => Self::Work(Work {
                sequence: take.long()?,
                call: take.long()?,
                start_ns: take.long()?,
                end_ns: take.long()?,
                graph_node: take.long()?,
                bytes: take.long()?,
                correlation: take.word()?,
                name: take.word()?,
                device: take.word()?,
                context: take.word()?,
                stream: take.word()?,
                graph: take.word()?,
                kind: WorkKind::from_byte(take.byte()?)?,
            }),
            TAG_SETTLED => Self::Settled(Settled {
                work: take.long()?,
                clock_offset: i64::from_le_bytes(take.bytes()?),
                outcome: Outcome::from_byte(take.byte()?)?,
            }),
            TAG_CALL => Self::Call(Call {
                sequence: take.long()?,
                enter_ns: take.long()?,
                entered_ns: take.long()?,
                leaving_ns: take.long()?,
                exit_ns: take.long()?,
                correlation: take.word()?,
                thread: take.word()?,
                domain: take.word()?,
                callback: take.word()?,
                result: i32::from_le_bytes(take.bytes()?),
                effect: Effect::from_byte(take.byte()?)?,
                captured: take.byte()? != 0,
            }),
            TAG_COUNTERS => Self::Counters(Counters {
                launches: take.long()?,
                launches_failed: take.long()?,
                graph_launches: take.long()?,
                lost: take.long()?,
            }),
            _ => return None,
        };
        take.0.is_empty().then_some(entry)
    }
}

fn put_longs(out: &mut Vec<u8>, values: &[u64]) {
    for value in values {
        out.extend_from_slice(&value.to_le_bytes());
    }
}

fn put_words(out: &mut Vec<u8>, values: &[u32]) {
    for value in values {
        out.extend_from_slice(&value.to_le_bytes());
    }
}

/// Bytes still to be decoded.
struct Take<'a>(&'a [u8]);

impl Take<'_> {
    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    fn long(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    fn word(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    fn byte(&mut self) -> Option<u8> {
        self.bytes::<1>().map(|[byte]| byte)
    }
}
