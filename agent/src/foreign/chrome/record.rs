//! One event object: its fields as pieces of the text, those nobody asked for skipped.

use super::category::Category;
use super::scan::{self, Found};

/// The fields of one event. Each is the text of its JSON value; empty where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Record<'t> {
    pub(super) category: Category,
    pub(super) phase: &'t [u8],
    pub(super) name: &'t [u8],
    pub(super) pid: &'t [u8],
    pub(super) tid: &'t [u8],
    pub(super) ts: &'t [u8],
    pub(super) dur: &'t [u8],
    pub(super) arguments: Arguments<'t>,
}

/// The members of `args` that are read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Arguments<'t> {
    pub(super) device: &'t [u8],
    pub(super) context: &'t [u8],
    pub(super) stream: &'t [u8],
    pub(super) correlation: &'t [u8],
    pub(super) graph: &'t [u8],
    pub(super) graph_node: &'t [u8],
    pub(super) grid: &'t [u8],
    pub(super) bytes: &'t [u8],
    pub(super) dims: &'t [u8],
    pub(super) sync_kind: &'t [u8],
    pub(super) name: &'t [u8],
}

/// Reads the object that begins at `at`, and says where it ends.
pub(super) fn read(text: &[u8], at: usize) -> Found<(Record<'_>, usize)> {
    let mut record = Record::default();
    let end = scan::members(text, at, |key, begin| {
        // What a category does not use costs only the way over it; a category that comes last
        // finds everything read.
        if key == b"args" && record.category.has_arguments() && text.get(begin) == Some(&b'{') {
            return arguments(text, begin, &mut record.arguments);
        }
        let end = scan::value(text, begin)?;
        let value = text.get(begin..end).unwrap_or_default();
        match key {
            b"ph" => record.phase = value,
            b"cat" => record.category = Category::of(value),
            b"name" => record.name = value,
            b"pid" => record.pid = value,
            b"tid" => record.tid = value,
            b"ts" => record.ts = value,
            b"dur" => record.dur = value,
            _ => {}
        }
        Ok(end)
    })?;
    Ok((record, end))
}

fn arguments<'t>(text: &'t [u8], at: usize, arguments: &mut Arguments<'t>) -> Found<usize> {
    scan::members(text, at, |key, begin| {
        let end = scan::value(text, begin)?;
        let value = text.get(begin..end).unwrap_or_default();
        match key {
            b"device" => arguments.device = value,
            b"context" => arguments.context = value,
            b"stream" => arguments.stream = value,
            b"correlation" => arguments.correlation = value,
            b"graph id" => arguments.graph = value,
            b"graph node id" => arguments.graph_node = value,
            b"grid" => arguments.grid = value,
            b"bytes" | b"Bytes" => arguments.bytes = value,
            b"Input Dims" | b"Input dims" => arguments.dims = value,
            b"cuda_sync_kind" => arguments.sync_kind = value,
            b"name" => arguments.name = value,
            _ => {}
        }
        Ok(end)
    })
}
