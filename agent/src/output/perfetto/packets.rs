//! Packets on their way into the file: encoded, gathered into blocks, compressed.
//!
//! Nothing of the trace stays in memory but the block in the making. An error of the file is kept
//! until [`Packets::finish`], so that whoever draws need not ask after every piece.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::ZlibEncoder;
use prost::Message;
use prost::encoding::{WireType, encode_key};

use super::proto::{self, TracePacket};

/// Encoded packets a compressed block holds, bytes. As Perfetto's own service: large enough to
/// compress well, small enough for a viewer to take in one piece.
const BLOCK: usize = 512 << 10;

/// `Trace.packet`.
const PACKET: u32 = 1;

/// All packets are of one sequence, so that they share what is interned.
const SEQUENCE: u32 = 1;

#[derive(Debug)]
pub(super) struct Packets<W: Write> {
    out: W,
    block: Vec<u8>,
    error: Option<io::Error>,
}

impl<W: Write> Packets<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, block: Vec::with_capacity(BLOCK + (BLOCK >> 3)), error: None }
    }

    /// Adds a packet that stands for itself, such as a track's description.
    pub(super) fn push(&mut self, packet: TracePacket) {
        self.append(packet);
    }

    /// Adds a packet that uses what was interned before it.
    pub(super) fn push_event(&mut self, packet: TracePacket) {
        self.append(TracePacket { sequence_flags: Some(proto::NEEDS_INCREMENTAL_STATE), ..packet });
    }

    fn append(&mut self, packet: TracePacket) {
        if self.error.is_some() {
            return;
        }
        let packet = TracePacket { trusted_packet_sequence_id: Some(SEQUENCE), ..packet };
        if let Err(error) = framed(&packet, &mut self.block) {
            self.error = Some(error);
        }
        if self.block.len() >= BLOCK {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.block.is_empty() || self.error.is_some() {
            return;
        }
        if let Err(error) = self.write_block() {
            self.error = Some(error);
        }
        self.block.clear();
    }

    fn write_block(&mut self) -> io::Result<()> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(&self.block)?;
        let packet =
            TracePacket { compressed_packets: Some(encoder.finish()?), ..TracePacket::default() };
        let mut bytes = Vec::new();
        framed(&packet, &mut bytes)?;
        self.out.write_all(&bytes)
    }

    /// Writes what is left; the first error that was met.
    pub(super) fn finish(mut self) -> io::Result<W> {
        self.flush();
        if let Some(error) = self.error {
            return Err(error);
        }
        self.out.flush()?;
        Ok(self.out)
    }
}

/// One packet as it stands in a file.
fn framed(packet: &TracePacket, to: &mut Vec<u8>) -> io::Result<()> {
    encode_key(PACKET, WireType::LengthDelimited, to);
    packet.encode_length_delimited(to).map_err(io::Error::other)
}
