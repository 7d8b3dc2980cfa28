//! What is read of every process: little, because a node has thousands.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::proc::command::{self, Entry, Options};
use crate::proc::read;
use crate::proc::stat::Stat;
use crate::proc::title::{Role, Title};

/// A process as it shows itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glance {
    /// With the PID, who it is.
    pub start: u64,
    pub parent: u32,
    pub session: u32,
    pub title: Title,
    /// It runs Python, by its arguments or by a title that only Ray gives.
    pub python: bool,
    /// It starts Ray's workers.
    pub raylet: bool,
    /// Tells command lines from each other without keeping them.
    words: u64,
    /// What its arguments say, where they are a server's.
    pub command: Option<Box<(Entry, Options)>>,
}

impl Glance {
    /// Of a process of this node; `None` when it is gone.
    pub(crate) fn read(pid: u32) -> Option<Self> {
        let stat = Stat::read(pid).filter(Stat::alive)?;
        // What is left of a process without its first thread has no command line.
        Some(Self::new(&stat, &read::words(pid)))
    }

    /// From what was read.
    pub(crate) fn new(stat: &Stat, words: &[String]) -> Self {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let title = Title::parse(&words, &stat.comm);
        let mut hasher = DefaultHasher::new();
        words.hash(&mut hasher);
        Self {
            start: stat.start,
            parent: stat.parent,
            session: stat.session,
            python: command::runs_python(&words) || title.text.starts_with("ray::"),
            raylet: stat.comm == "raylet",
            words: hasher.finish(),
            command: command::options(&words).map(Box::new),
            title,
        }
    }

    /// It has its parent's command line: a child that `fork` made and that has not said yet what it
    /// is, or never will.
    pub(super) fn copies(&self, parent: &Self) -> bool {
        parent.title.role != Role::Process && self.words == parent.words
    }

    /// What it was before, where that says more: Ray and vLLM overwrite each other's titles.
    pub(super) fn after(mut self, before: &Self) -> Self {
        let same = self.start == before.start && self.title.role == before.title.role;
        if same && self.title.rank.is_empty() && self.title.text.starts_with("ray::") {
            self.title = before.title.clone();
        }
        self
    }
}
