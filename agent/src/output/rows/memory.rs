//! The rows of memory: process, where it is taken from, the stack that asked for it.

use analysis::memory::Place;
use analysis::memory::live::Of;

use super::{NOT_TAKEN, Row, Tint, Titles, plain, push_host};
use crate::capture::{Capture, LiveSite, ProcessMemory};

/// Stands where code with little memory is counted together.
const OTHERS: &str = "[other code]";

/// Live bytes, with all that is known of the site.
pub(crate) fn memory<'c>(
    capture: &'c Capture,
    titles: &'c Titles,
    each: impl FnMut(Row<'_, 'c>, &LiveSite),
) {
    sites(capture, titles, |memory| &memory.sites, each);
}

/// Bytes of pages that are there, by who touched them first.
pub(crate) fn touched<'c>(
    capture: &'c Capture,
    titles: &'c Titles,
    mut each: impl FnMut(Row<'_, 'c>),
) {
    sites(capture, titles, |memory| &memory.touched, |row, _site| each(row));
}

fn sites<'c>(
    capture: &'c Capture,
    titles: &'c Titles,
    which: impl Fn(&'c ProcessMemory) -> &'c [LiveSite],
    mut each: impl FnMut(Row<'_, 'c>, &LiveSite),
) {
    let mut frames = Vec::new();
    for (memory, site) in
        capture.memory.iter().flat_map(|of| which(of).iter().map(move |site| (of, site)))
    {
        frames.clear();
        frames.push(plain(titles.role(memory.process), Tint::Process));
        frames.push(plain(place(site.place), Tint::Marker));
        match site.stack().and_then(|stack| capture.stacks.get(&stack)) {
            Some(stack) => push_host(&mut frames, stack, titles),
            None if matches!(site.of, Of::Others) => frames.push(plain(OTHERS, Tint::Marker)),
            None => frames.push(plain(NOT_TAKEN, Tint::Marker)),
        }
        let row = Row {
            frames: &frames,
            value: site.live.bytes,
            tint: frames.last().map_or(Tint::Host, |leaf| leaf.tint),
            kind: None,
            cause: None,
            device: None,
            process: Some(memory.process),
            thread: None,
            graph: 0,
        };
        each(row, site);
    }
}

fn place(place: Place) -> &'static str {
    match place {
        Place::Device => "[device memory]",
        Place::Virtual => "[virtual-memory API]",
        Place::Managed => "[managed memory]",
        Place::Pinned => "[pinned memory]",
        Place::Registered => "[registered memory]",
        Place::HostHeap => "[host heap]",
        Place::Resident => "[resident memory]",
    }
}
