//! Stacks by number: functions, files, frames and stacks, each written once.
//!
//! How many there are is bounded by the tables of stacks and symbols they come from.

use std::collections::HashMap;
use std::sync::Arc;

use analysis::ids::StackId;

use super::directory::Directory;
use super::interned::{Interned, named};
use super::proto;
use crate::capture::{Frame, Stack};
use crate::output::rows::cut_mark;
use crate::output::words;

/// Frames of a stack that are also shown as one line, innermost first, for viewers that do not
/// show stacks of events. More do not fit a line.
const LINE_FRAMES: usize = 6;
/// Characters of each.
const LINE_FUNCTION: usize = 60;

/// A stack that was used while some of its names were unknown is looked at again at its 2nd, 4th,
/// 8th, ... use, up to this one: names come within a few records, or never.
const LAST_LOOK: u32 = 1 << 10;

/// How a stack is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Site {
    pub(super) callstack: u64,
    /// Its innermost frames as one line.
    pub(super) line: u64,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    site: Site,
    named: bool,
    uses: u32,
}

#[derive(Debug, Default)]
pub(super) struct Callstacks {
    functions: HashMap<String, u64>,
    files: HashMap<String, u64>,
    frames: HashMap<(u64, u64, u32), u64>,
    known: HashMap<StackId, Known>,
    written: u64,
}

impl Callstacks {
    pub(super) fn site(
        &mut self,
        id: StackId,
        interned: &mut Interned,
        who: &impl Directory,
    ) -> Option<Site> {
        let mut uses = 1;
        if let Some(known) = self.known.get_mut(&id) {
            known.uses = known.uses.saturating_add(1);
            uses = known.uses;
            if known.named || uses > LAST_LOOK || !uses.is_power_of_two() {
                return Some(known.site);
            }
        }
        let (stack, named) = who.stack(id)?;
        let site = self.write(&stack, interned);
        self.known.insert(id, Known { site, named, uses });
        Some(site)
    }

    fn write(&mut self, stack: &Stack, interned: &mut Interned) -> Site {
        let mut frame_ids = Vec::with_capacity(stack.frames.len() + 1);
        if let Some(mark) = cut_mark(stack) {
            frame_ids.push(self.frame(mark, None, None, interned));
        }
        for frame in &stack.frames {
            let Frame { language: _, function, module: _, file, line } = &**frame;
            frame_ids.push(self.frame(function, file.as_deref(), *line, interned));
        }
        self.written += 1;
        let callstack = self.written;
        let entry = proto::Callstack { iid: Some(callstack), frame_ids };
        interned.fresh().callstacks.push(entry);
        Site { callstack, line: interned.text(&line(&stack.frames)) }
    }

    fn frame(
        &mut self,
        function: &str,
        file: Option<&str>,
        line: Option<u32>,
        interned: &mut Interned,
    ) -> u64 {
        let fresh = interned.fresh();
        let function = intern(&mut self.functions, &mut fresh.function_names, function);
        let file = file.map(|file| intern(&mut self.files, &mut fresh.source_paths, file));
        let next = self.frames.len() as u64 + 1;
        let key = (function, file.unwrap_or(0), line.unwrap_or(0));
        let iid = *self.frames.entry(key).or_insert(next);
        if iid == next {
            fresh.frames.push(proto::Frame {
                iid: Some(iid),
                function_name_id: Some(function),
                source_path_iid: file,
                line_number: line,
            });
        }
        iid
    }
}

fn intern(known: &mut HashMap<String, u64>, fresh: &mut Vec<proto::Named>, text: &str) -> u64 {
    if let Some(&iid) = known.get(text) {
        return iid;
    }
    let iid = known.len() as u64 + 1;
    known.insert(text.to_owned(), iid);
    fresh.push(named(iid, text));
    iid
}

/// `f < its caller < its caller`.
fn line(frames: &[Arc<Frame>]) -> String {
    let innermost = frames.iter().rev().take(LINE_FRAMES);
    let shown: Vec<String> = innermost.map(|frame| shown(frame)).collect();
    let more = if frames.len() > LINE_FRAMES { " < ..." } else { "" };
    format!("{}{more}", shown.join(" < "))
}

fn shown(frame: &Frame) -> String {
    let function = words::shorten(&frame.function, LINE_FUNCTION);
    match (&frame.file, frame.line) {
        (Some(file), Some(line)) => {
            let file = file.rsplit_once('/').map_or(file.as_str(), |(_, name)| name);
            format!("{function} ({file}:{line})")
        }
        _ => function,
    }
}
