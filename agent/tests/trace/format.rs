//! The part of Perfetto's format that the tests read, written down from its published messages on
//! its own: what is repeated there is repeated here.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Trace {
    #[prost(message, repeated, tag = "1")]
    pub(crate) packet: Vec<Packet>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Packet {
    #[prost(message, optional, tag = "6")]
    pub(crate) clock_snapshot: Option<ClockSnapshot>,
    #[prost(uint64, optional, tag = "8")]
    pub(crate) timestamp: Option<u64>,
    #[prost(uint32, optional, tag = "10")]
    pub(crate) sequence: Option<u32>,
    #[prost(message, optional, tag = "11")]
    pub(crate) event: Option<Event>,
    #[prost(message, optional, tag = "12")]
    pub(crate) interned: Option<Interned>,
    #[prost(uint32, optional, tag = "13")]
    pub(crate) flags: Option<u32>,
    #[prost(bytes = "vec", optional, tag = "50")]
    pub(crate) compressed: Option<Vec<u8>>,
    #[prost(message, optional, tag = "59")]
    pub(crate) defaults: Option<Defaults>,
    #[prost(message, optional, tag = "60")]
    pub(crate) track: Option<Track>,
    #[prost(message, optional, tag = "66")]
    pub(crate) sample: Option<Sample>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct ClockSnapshot {
    #[prost(message, repeated, tag = "1")]
    pub(crate) clocks: Vec<Clock>,
    #[prost(int32, optional, tag = "2")]
    pub(crate) primary: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Clock {
    #[prost(uint32, optional, tag = "1")]
    pub(crate) id: Option<u32>,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) timestamp: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Defaults {
    #[prost(uint32, optional, tag = "58")]
    pub(crate) clock: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Event {
    #[prost(uint64, repeated, packed = "false", tag = "3")]
    pub(crate) categories: Vec<u64>,
    #[prost(message, repeated, tag = "4")]
    pub(crate) annotations: Vec<Annotation>,
    #[prost(int32, optional, tag = "9")]
    pub(crate) r#type: Option<i32>,
    #[prost(uint64, optional, tag = "10")]
    pub(crate) name: Option<u64>,
    #[prost(uint64, optional, tag = "11")]
    pub(crate) track: Option<u64>,
    #[prost(fixed64, repeated, packed = "false", tag = "47")]
    pub(crate) flows: Vec<u64>,
    #[prost(uint64, optional, tag = "54")]
    pub(crate) colour: Option<u64>,
    #[prost(uint64, optional, tag = "56")]
    pub(crate) callstack: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Annotation {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) name: Option<u64>,
    #[prost(uint64, optional, tag = "3")]
    pub(crate) number: Option<u64>,
    #[prost(uint64, optional, tag = "17")]
    pub(crate) text: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Track {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) uuid: Option<u64>,
    #[prost(string, optional, tag = "2")]
    pub(crate) name: Option<String>,
    #[prost(message, optional, tag = "3")]
    pub(crate) process: Option<Process>,
    #[prost(message, optional, tag = "4")]
    pub(crate) thread: Option<Thread>,
    #[prost(uint64, optional, tag = "5")]
    pub(crate) parent: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Process {
    #[prost(int32, optional, tag = "1")]
    pub(crate) pid: Option<i32>,
    #[prost(string, optional, tag = "6")]
    pub(crate) name: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Thread {
    #[prost(int32, optional, tag = "1")]
    pub(crate) pid: Option<i32>,
    #[prost(int32, optional, tag = "2")]
    pub(crate) tid: Option<i32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Sample {
    #[prost(uint32, optional, tag = "1")]
    pub(crate) cpu: Option<u32>,
    #[prost(uint32, optional, tag = "2")]
    pub(crate) pid: Option<u32>,
    #[prost(uint32, optional, tag = "3")]
    pub(crate) tid: Option<u32>,
    #[prost(uint64, optional, tag = "4")]
    pub(crate) callstack: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Interned {
    #[prost(message, repeated, tag = "1")]
    pub(crate) categories: Vec<Text>,
    #[prost(message, repeated, tag = "2")]
    pub(crate) names: Vec<Text>,
    #[prost(message, repeated, tag = "3")]
    pub(crate) annotation_names: Vec<Text>,
    #[prost(message, repeated, tag = "5")]
    pub(crate) functions: Vec<Bytes>,
    #[prost(message, repeated, tag = "6")]
    pub(crate) frames: Vec<Frame>,
    #[prost(message, repeated, tag = "7")]
    pub(crate) callstacks: Vec<Callstack>,
    #[prost(message, repeated, tag = "18")]
    pub(crate) files: Vec<Bytes>,
    #[prost(message, repeated, tag = "29")]
    pub(crate) texts: Vec<Bytes>,
    #[prost(message, repeated, tag = "43")]
    pub(crate) colours: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Text {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) iid: Option<u64>,
    #[prost(string, optional, tag = "2")]
    pub(crate) text: Option<String>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Bytes {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) iid: Option<u64>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(crate) text: Option<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Frame {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) iid: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    pub(crate) function: Option<u64>,
    #[prost(uint64, optional, tag = "5")]
    pub(crate) file: Option<u64>,
    #[prost(uint32, optional, tag = "6")]
    pub(crate) line: Option<u32>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Callstack {
    #[prost(uint64, optional, tag = "1")]
    pub(crate) iid: Option<u64>,
    #[prost(uint64, repeated, packed = "false", tag = "2")]
    pub(crate) frames: Vec<u64>,
}
