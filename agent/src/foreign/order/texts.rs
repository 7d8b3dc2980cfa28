//! Texts of one trace by number, each kept once, within a budget.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use analysis::ids::ProcessKey;

/// Bytes of texts kept. Real traces have some thousand names of at most 6 kB, and fewer shapes.
const BYTES_MAX: usize = 32 << 20;

/// Texts kept; with less than 100 bytes beside each of them, the table stays below 64 MB.
const COUNT_MAX: usize = 1 << 18;

/// Stands for what found the table full.
const FULL: &str = "[further names]";

/// A table of texts. Number 0 is no text.
#[derive(Debug, Default)]
pub struct Texts {
    numbers: HashMap<Arc<str>, u32>,
    list: Vec<Arc<str>>,
    bytes: usize,
    further: Option<u32>,
    refused: u64,
}

impl Texts {
    /// The number of `text`. Empty text is 0; when the table is full, one number stands for all
    /// that is not in it, and each use is counted.
    pub fn number(&mut self, text: &str) -> u32 {
        if text.is_empty() {
            return 0;
        }
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        if self.list.len() >= COUNT_MAX || self.bytes.saturating_add(text.len()) > BYTES_MAX {
            self.refused += 1;
            return self.full();
        }
        self.bytes += text.len();
        let text: Arc<str> = Arc::from(text);
        self.list.push(Arc::clone(&text));
        let number = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        self.numbers.insert(text, number);
        number
    }

    /// The text of `number`.
    pub fn text(&self, number: u32) -> Option<&str> {
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.list.get(index).map(AsRef::as_ref)
    }

    fn full(&mut self) -> u32 {
        if let Some(number) = self.further {
            return number;
        }
        self.list.push(Arc::from(FULL));
        let number = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        self.further = Some(number);
        number
    }

    /// Nothing more is added: the index goes, the texts stay to be told.
    pub(super) fn into_teller(self) -> Teller {
        Teller { texts: self.list, told: HashSet::new(), last: None, refused: self.refused }
    }
}

/// Tells each text once to each process.
#[derive(Debug)]
pub(super) struct Teller {
    texts: Vec<Arc<str>>,
    told: HashSet<(ProcessKey, u32)>,
    /// What was asked last: the same kernel often comes many times in a row.
    last: Option<(ProcessKey, u32)>,
    refused: u64,
}

impl Teller {
    /// The text, when `process` was not told it before.
    pub(super) fn tell(&mut self, process: ProcessKey, number: u32) -> Option<String> {
        let asked = Some((process, number));
        if self.last == asked || !self.told.insert((process, number)) {
            return None;
        }
        self.last = asked;
        let index = usize::try_from(number).ok()?.checked_sub(1)?;
        self.texts.get(index).map(|text| text.as_ref().to_owned())
    }

    /// How often the table was full.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }
}
