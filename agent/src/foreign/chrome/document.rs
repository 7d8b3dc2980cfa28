//! The document around the events: `{"traceEvents": [...], ...}` with its members in any order, or
//! the bare array. Text comes in pieces of any size; at most one event is held whole.
//!
//! What is damaged ends the reading there: the events before it count, and [`End`] says where.

use std::io::{self, Read};

use super::record::{self, Record};
use super::scan::{self, Stop};

/// Text asked for at once: large enough that events cut by its end, which are looked at twice, are
/// few; small enough for the processor's cache.
const PIECE: usize = 256 << 10;

/// The longest event that is read. Real ones stay below 100 kB; a longer one is skipped in
/// pieces and counted.
const EVENT_MAX: usize = 8 << 20;

/// The longest member beside the events that is read, such as `distributedInfo` of a large job.
const MEMBER_MAX: usize = 1 << 20;

/// Who takes what is read. An error of its ends the reading.
pub(super) trait Taker {
    type Error;

    fn event(&mut self, record: &Record<'_>) -> Result<(), Self::Error>;

    /// A member beside the events, with its value's text.
    fn member(&mut self, key: &[u8], value: &[u8]);

    /// An element of the array that is no event, or too long for one.
    fn strange(&mut self);
}

/// How the text ended. Positions count bytes of the (decompressed) text.
#[derive(Debug)]
pub(super) enum End {
    Whole,
    /// In the middle of the document; the error where it could not be read further.
    Cut {
        at: u64,
        error: Option<io::Error>,
    },
    /// At this byte stands what does not belong there.
    Damaged {
        at: u64,
        byte: u8,
    },
    /// A whole document without `traceEvents`.
    NoEvents,
}

/// Why reading went no further.
enum Halt<E> {
    Cut,
    Damaged(usize),
    Taker(E),
}

type Step<T, E> = Result<T, Halt<E>>;

/// Reads one document.
pub(super) fn read<T: Taker>(source: impl Read, taker: &mut T) -> Result<End, T::Error> {
    let text = Text { source, buffer: Vec::new(), at: 0, end: 0, before: 0, error: None };
    let mut document = Document { text, taker, arrays: 0 };
    let ended = document.whole();
    let Document { mut text, arrays, .. } = document;
    Ok(match ended {
        Ok(()) if arrays == 0 => End::NoEvents,
        Ok(()) => End::Whole,
        Err(Halt::Cut) => End::Cut { at: text.before + text.end as u64, error: text.error.take() },
        Err(Halt::Damaged(at)) => End::Damaged {
            at: text.before + at as u64,
            byte: text.buffer.get(at).copied().unwrap_or_default(),
        },
        Err(Halt::Taker(error)) => return Err(error),
    })
}

/// The piece of the text that is at hand.
struct Text<R> {
    source: R,
    buffer: Vec<u8>,
    /// The first byte not yet dealt with.
    at: usize,
    /// Behind the last byte that was read.
    end: usize,
    /// Bytes of the text that are no longer in the buffer.
    before: u64,
    error: Option<io::Error>,
}

impl<R: Read> Text<R> {
    fn known(&self) -> &[u8] {
        self.buffer.get(..self.end).unwrap_or_default()
    }

    /// Reads on. `false` at the end of the text.
    fn more(&mut self) -> bool {
        if self.at > 0 {
            self.buffer.copy_within(self.at..self.end, 0);
            self.before += self.at as u64;
            self.end -= self.at;
            self.at = 0;
        }
        // Twice as much each time, so that a long value is looked at a few times only.
        let wanted = (2 * self.end).max(self.end + PIECE);
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        let known = self.end;
        while self.end < wanted {
            let free = self.buffer.get_mut(self.end..wanted).unwrap_or_default();
            match self.source.read(free) {
                Ok(0) => break,
                Ok(count) => self.end += count.min(free.len()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.error = Some(error);
                    break;
                }
            }
        }
        self.end > known
    }
}

struct Document<'t, R, T> {
    text: Text<R>,
    taker: &'t mut T,
    /// Arrays of events met.
    arrays: usize,
}

impl<R: Read, T: Taker> Document<'_, R, T> {
    fn whole(&mut self) -> Step<(), T::Error> {
        // A byte order mark.
        while self.text.end < 3 && self.text.more() {}
        if self.text.known().starts_with(b"\xef\xbb\xbf") {
            self.text.at = 3;
        }
        match self.peek()? {
            b'{' => self.members(),
            b'[' => self.events(),
            _ => Err(Halt::Damaged(self.text.at)),
        }
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Step<u8, T::Error> {
        loop {
            if let Ok(at) = scan::space(self.text.known(), self.text.at) {
                self.text.at = at;
                return Ok(self.text.buffer[at]);
            }
            self.text.at = self.text.end;
            self.read_on()?;
        }
    }

    fn members(&mut self) -> Step<(), T::Error> {
        self.text.at += 1;
        loop {
            match self.peek()? {
                b'}' => {
                    self.text.at += 1;
                    return Ok(());
                }
                b',' => self.text.at += 1,
                b'"' => self.member()?,
                _ => return Err(Halt::Damaged(self.text.at)),
            }
        }
    }

    fn member(&mut self) -> Step<(), T::Error> {
        let Some(end) = self.within(MEMBER_MAX, scan::string)? else {
            return Err(Halt::Damaged(self.text.at));
        };
        let key = self.text.buffer.get(self.text.at + 1..end - 1).unwrap_or_default().to_vec();
        self.text.at = end;
        if self.peek()? != b':' {
            return Err(Halt::Damaged(self.text.at));
        }
        self.text.at += 1;
        let begins = self.peek()?;
        if key == b"traceEvents" && begins == b'[' {
            return self.events();
        }
        let Some(end) = self.within(MEMBER_MAX, scan::value)? else {
            return self.skip();
        };
        let value = self.text.buffer.get(self.text.at..end).unwrap_or_default();
        self.taker.member(&key, value);
        self.text.at = end;
        Ok(())
    }

    fn events(&mut self) -> Step<(), T::Error> {
        self.text.at += 1;
        self.arrays += 1;
        loop {
            match self.peek()? {
                b']' => {
                    self.text.at += 1;
                    return Ok(());
                }
                b',' => self.text.at += 1,
                b'{' => self.event()?,
                _ => {
                    self.taker.strange();
                    match self.within(EVENT_MAX, scan::value)? {
                        Some(end) => self.text.at = end,
                        None => self.skip()?,
                    }
                }
            }
        }
    }

    fn event(&mut self) -> Step<(), T::Error> {
        loop {
            let at = self.text.at;
            match record::read(self.text.buffer.get(..self.text.end).unwrap_or_default(), at) {
                // The same whatever the sizes of the pieces.
                Ok((_, end)) if end - at > EVENT_MAX => {
                    self.taker.strange();
                    self.text.at = end;
                    return Ok(());
                }
                Ok((record, end)) => {
                    self.taker.event(&record).map_err(Halt::Taker)?;
                    self.text.at = end;
                    return Ok(());
                }
                Err(Stop::Bad(at)) => return Err(Halt::Damaged(at)),
                Err(Stop::More) if self.text.end - at > EVENT_MAX => {
                    self.taker.strange();
                    return self.skip();
                }
                Err(Stop::More) => self.read_on()?,
            }
        }
    }

    /// Where the value that begins here ends; `None` when it is longer than `most`.
    fn within(
        &mut self,
        most: usize,
        find: fn(&[u8], usize) -> scan::Found<usize>,
    ) -> Step<Option<usize>, T::Error> {
        loop {
            match find(self.text.known(), self.text.at) {
                Ok(end) if end - self.text.at > most => return Ok(None),
                Ok(end) => return Ok(Some(end)),
                Err(Stop::Bad(at)) => return Err(Halt::Damaged(at)),
                Err(Stop::More) if self.text.end - self.text.at > most => return Ok(None),
                Err(Stop::More) => self.read_on()?,
            }
        }
    }

    /// Passes over a value too long to hold, piece by piece.
    fn skip(&mut self) -> Step<(), T::Error> {
        if !matches!(self.text.known().get(self.text.at), Some(b'"' | b'{' | b'[')) {
            return Err(Halt::Damaged(self.text.at));
        }
        let mut pass = Pass::default();
        loop {
            let rest = self.text.known().get(self.text.at..).unwrap_or_default();
            match pass.over(rest) {
                Some(length) => {
                    self.text.at += length;
                    return Ok(());
                }
                None => self.text.at = self.text.end,
            }
            self.read_on()?;
        }
    }

    fn read_on(&mut self) -> Step<(), T::Error> {
        if self.text.more() { Ok(()) } else { Err(Halt::Cut) }
    }
}

/// Finds the end of a string, array or object over any number of pieces.
#[derive(Default)]
struct Pass {
    depth: usize,
    quoted: bool,
    escaped: bool,
}

impl Pass {
    /// Bytes of `piece` up to the end of the value, if it is in there.
    fn over(&mut self, piece: &[u8]) -> Option<usize> {
        for (index, byte) in piece.iter().enumerate() {
            let closed = match byte {
                _ if self.escaped => {
                    self.escaped = false;
                    false
                }
                b'\\' if self.quoted => {
                    self.escaped = true;
                    false
                }
                b'"' => {
                    self.quoted = !self.quoted;
                    !self.quoted
                }
                b'{' | b'[' if !self.quoted => {
                    self.depth += 1;
                    false
                }
                b'}' | b']' if !self.quoted => {
                    self.depth = self.depth.saturating_sub(1);
                    true
                }
                _ => false,
            };
            if closed && self.depth == 0 {
                return Some(index + 1);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
