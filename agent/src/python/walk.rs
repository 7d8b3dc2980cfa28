//! The Python frames of a thread, read from outside without the kernel program: for threads that sleep
//! or are stopped. Of a thread that runs meanwhile the frames may not belong together.

use wire::kernel::{NO_OFFSET, PYTHON_ENTRY, PythonFrame, PythonLayout, python_walk};
use wire::limits::PYTHON_FRAMES;

use super::memory::Memory;
use super::runtime::Runtime;

/// The frames of one thread, as the kernel program would have taken them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walked {
    /// Leaf first.
    pub frames: Vec<PythonFrame>,
    /// One of [`python_walk`].
    pub end: u32,
    /// The thread holds the global lock.
    pub holds_gil: bool,
}

impl Runtime {
    /// Walks the thread `tid` (as this PID namespace numbers it).
    pub fn walk(&self, tid: u32) -> Walked {
        let memory = self.memory();
        let layout = self.layout();
        let state = crate::proc::inner_number(tid).and_then(|number| self.state_of(number));
        let Some(state) = state else {
            return Walked {
                frames: Vec::new(),
                end: python_walk::NO_THREAD_STATE,
                holds_gil: false,
            };
        };
        let (frames, end) = frames(memory, &layout, state);
        Walked { frames, end, holds_gil: holds_gil(memory, &layout, state) }
    }

    /// The state of the thread with this number in its own PID namespace.
    fn state_of(&self, number: u32) -> Option<u64> {
        let (threads, tid) = self.threads();
        let is_it = |state: u64, thread_id: u64| match self.offsets().thread.native_id {
            Some(offset) => {
                self.memory().u64(state.checked_add(offset)?).map(|id| id == u64::from(number))
            }
            None => self.memory().u32(thread_id.checked_add(tid)?).map(|id| id == number),
        };
        threads
            .into_iter()
            .find(|thread| is_it(thread.state, thread.thread_id) == Some(true))
            .map(|thread| thread.state)
    }
}

fn holds_gil(memory: &impl Memory, layout: &PythonLayout, state: u64) -> bool {
    memory.u32(layout.gil_locked) == Some(1) && memory.u64(layout.gil_holder) == Some(state)
}

/// The frames below a thread's state, leaf first, and how the walk ended.
pub(super) fn frames(
    memory: &impl Memory,
    layout: &PythonLayout,
    state: u64,
) -> (Vec<PythonFrame>, u32) {
    let word = |base: u64, offset: u32| memory.u64(base.checked_add(u64::from(offset))?);
    let mut frames = Vec::new();
    let mut next = word(state, layout.frame);
    if layout.cframe != NO_OFFSET {
        next = next.and_then(|cframe| word(cframe, layout.cframe));
    }
    loop {
        match next {
            None => return (frames, python_walk::FAULT),
            Some(0) => return (frames, python_walk::WHOLE),
            Some(_) if frames.len() == PYTHON_FRAMES => return (frames, python_walk::TRUNCATED),
            Some(at) => {
                let Some(frame) = frame(memory, layout, at) else {
                    return (frames, python_walk::FAULT);
                };
                frames.push(frame);
                next = word(at, layout.previous);
            }
        }
    }
}

fn frame(memory: &impl Memory, layout: &PythonLayout, at: u64) -> Option<PythonFrame> {
    let place = |offset: u32| at.checked_add(u64::from(offset));
    let byte = |offset: u32| match offset {
        NO_OFFSET => Some(0),
        offset => memory.u8(place(offset)?),
    };
    let instruction = if layout.instruction_bytes as usize == size_of::<u32>() {
        u64::from(memory.u32(place(layout.instruction)?)?)
    } else {
        memory.u64(place(layout.instruction)?)?
    };
    let entry = if byte(layout.entry)? == 0 { 0 } else { PYTHON_ENTRY };
    Some(PythonFrame {
        code: memory.u64(place(layout.code)?)?,
        instruction: instruction & (PYTHON_ENTRY - 1)
            | entry
            | u64::from(byte(layout.owner)?) << 56,
    })
}

#[cfg(test)]
mod tests {
    use super::super::memory::fake::Fake;
    use super::*;

    /// 3.12's layout over memory that a test writes.
    fn layout() -> PythonLayout {
        PythonLayout {
            thread_state: 0,
            gil_locked: 0x100,
            gil_holder: 0x108,
            frame: 56,
            cframe: 0,
            code: 0,
            previous: 8,
            instruction: 56,
            instruction_bytes: 8,
            owner: 70,
            entry: NO_OFFSET,
        }
    }

    fn put_frame(memory: &mut Fake, at: u64, code: u64, previous: u64, owner: u8) {
        memory.put(at, &[0; 80]);
        memory.put_u64(at, code);
        memory.put_u64(at + 8, previous);
        memory.put_u64(at + 56, code + 0x100);
        memory.put(at + 70, &[owner]);
    }

    fn thread(leaf: u64) -> Fake {
        let mut memory = Fake::default();
        memory.put_u64(0x5000 + 56, 0x5100);
        memory.put_u64(0x5100, leaf);
        memory
    }

    #[test]
    fn frames_are_read_from_the_leaf_on() {
        let mut memory = thread(0x6000);
        put_frame(&mut memory, 0x6000, 0x9000, 0x6100, 0);
        put_frame(&mut memory, 0x6100, 0xa000, 0, 3);
        let (found, end) = frames(&memory, &layout(), 0x5000);
        assert_eq!(end, python_walk::WHOLE);
        let expected = [
            PythonFrame { code: 0x9000, instruction: 0x9100 },
            PythonFrame { code: 0xa000, instruction: 0xa100 | 3 << 56 },
        ];
        assert_eq!(found, expected);
        assert!(!holds_gil(&memory, &layout(), 0x5000));
        memory.put_u32(0x100, 1);
        memory.put_u64(0x108, 0x5000);
        assert!(holds_gil(&memory, &layout(), 0x5000));
    }

    #[test]
    fn loops_and_wild_pointers_end() {
        let mut circle = thread(0x6000);
        put_frame(&mut circle, 0x6000, 0x9000, 0x6000, 0);
        let (found, end) = frames(&circle, &layout(), 0x5000);
        assert_eq!((found.len(), end), (PYTHON_FRAMES, python_walk::TRUNCATED));
        let mut wild = thread(0x6000);
        put_frame(&mut wild, 0x6000, 0x9000, u64::MAX - 4, 0);
        let (found, end) = frames(&wild, &layout(), 0x5000);
        assert_eq!((found.len(), end), (1, python_walk::FAULT));
        let (found, end) = frames(&Fake::default(), &layout(), u64::MAX);
        assert_eq!((found.len(), end), (0, python_walk::FAULT));
    }
}
