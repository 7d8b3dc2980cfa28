//! Texts by number: each is written once, with the first packet that needs it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use analysis::classify::Kind;
use analysis::ids::NameId;

use super::directory::Directory;
use super::proto::{InternedData, Named};
use crate::output::words;

/// Names of arguments, as a viewer shows them. Written whole with the first packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Correlation = 1,
    Kind,
    Graph,
    Captured,
    Launched,
    Batch,
    Cause,
    Reason,
}

impl Key {
    const ALL: [(Self, &'static str); 8] = [
        (Self::Correlation, "correlation"),
        (Self::Kind, "kind"),
        (Self::Graph, "graph"),
        (Self::Captured, "captured at"),
        (Self::Launched, "launched at"),
        (Self::Batch, "batch"),
        (Self::Cause, "cause"),
        (Self::Reason, "reason"),
    ];

    pub(super) fn iid(self) -> u64 {
        self as u64
    }
}

/// Numbers below this are for names that are not a kernel's.
const KERNELS: u64 = 1 << 8;

/// How a kind is written: its class as category and as what decides the colour, itself as text.
#[derive(Clone, Copy, Debug)]
pub(super) struct KindIids {
    pub(super) category: u64,
    pub(super) colour: u64,
    pub(super) text: u64,
}

#[derive(Debug, Default)]
pub(super) struct Interned {
    /// Not written yet.
    fresh: InternedData,
    started: bool,
    names: HashMap<&'static str, u64>,
    categories: HashMap<&'static str, u64>,
    colours: HashMap<&'static str, u64>,
    kinds: HashMap<Kind, KindIids>,
    texts: HashMap<String, u64>,
    /// By `NameId`: written.
    kernels: Vec<bool>,
}

impl Interned {
    /// What the next packet has to carry.
    pub(super) fn take_fresh(&mut self) -> Option<InternedData> {
        if !self.started {
            self.started = true;
            self.fresh.debug_annotation_names =
                Key::ALL.iter().map(|&(key, text)| named(key.iid(), text)).collect();
        }
        let InternedData {
            event_categories,
            event_names,
            debug_annotation_names,
            function_names,
            frames,
            callstacks,
            source_paths,
            debug_annotation_string_values,
            correlation_id_str,
        } = &self.fresh;
        let is_empty = event_categories.is_empty()
            && event_names.is_empty()
            && debug_annotation_names.is_empty()
            && function_names.is_empty()
            && frames.is_empty()
            && callstacks.is_empty()
            && source_paths.is_empty()
            && debug_annotation_string_values.is_empty()
            && correlation_id_str.is_empty();
        (!is_empty).then(|| std::mem::take(&mut self.fresh))
    }

    pub(super) fn fresh(&mut self) -> &mut InternedData {
        &mut self.fresh
    }

    /// The name of an event that is not a kernel.
    pub(super) fn name(&mut self, text: &'static str) -> u64 {
        intern(&mut self.names, &mut self.fresh.event_names, text)
    }

    pub(super) fn category(&mut self, text: &'static str) -> u64 {
        intern(&mut self.categories, &mut self.fresh.event_categories, text)
    }

    /// Events of one of these look alike: viewers colour by it.
    pub(super) fn colour(&mut self, text: &'static str) -> u64 {
        intern(&mut self.colours, &mut self.fresh.correlation_id_str, text)
    }

    pub(super) fn kind(&mut self, kind: Kind) -> KindIids {
        if let Some(&known) = self.kinds.get(&kind) {
            return known;
        }
        let class = kind.class().as_str();
        let iids = KindIids {
            category: self.category(class),
            colour: self.colour(class),
            text: self.text(kind.as_str()),
        };
        self.kinds.insert(kind, iids);
        iids
    }

    /// The value of an argument.
    pub(super) fn text(&mut self, text: &str) -> u64 {
        if let Some(&known) = self.texts.get(text) {
            return known;
        }
        let iid = self.texts.len() as u64 + 1;
        self.texts.insert(text.to_owned(), iid);
        self.fresh.debug_annotation_string_values.push(named(iid, text));
        iid
    }

    /// The name of a kernel or copy.
    pub(super) fn kernel(&mut self, name: NameId, who: &impl Directory) -> u64 {
        let iid = KERNELS + u64::from(name.0);
        let index = usize::try_from(name.0).unwrap_or(usize::MAX);
        if self.kernels.get(index).is_some_and(|written| *written) {
            return iid;
        }
        let Some(text) = who.kernel_name(name) else {
            return self.name(words::NAME_UNKNOWN);
        };
        // Names that exist are numbered without holes.
        if index >= self.kernels.len() {
            self.kernels.resize(index.saturating_add(1), false);
        }
        if let Some(written) = self.kernels.get_mut(index) {
            *written = true;
        }
        self.fresh.event_names.push(named(iid, text));
        iid
    }
}

pub(super) fn named(iid: u64, text: &str) -> Named {
    Named { iid: Some(iid), text: Some(text.to_owned()) }
}

fn intern(
    known: &mut HashMap<&'static str, u64>,
    fresh: &mut Vec<Named>,
    text: &'static str,
) -> u64 {
    let next = known.len() as u64 + 1;
    match known.entry(text) {
        Entry::Occupied(entry) => *entry.get(),
        Entry::Vacant(entry) => {
            fresh.push(named(next, text));
            *entry.insert(next)
        }
    }
}
