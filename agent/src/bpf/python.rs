//! Which processes' interpreters the kernel programs walk, and how.

use aya::maps::{HashMap, MapData};
use wire::kernel::{NO_OFFSET, PythonLayout};
use wire::limits::TARGETS;

use super::attach::{absent_is_fine, system_error};
use super::error::BpfError;
use super::load::Bpf;
use super::pod::MapValue;

/// The map of interpreters.
pub(super) type Pythons = HashMap<MapData, u32, MapValue<PythonLayout>>;

/// Bytes of a frame that the programs read at once.
const WINDOW: u32 = 128;

impl Bpf {
    /// Whether stacks come with Python's frames at all; [`Bpf::missing`] says why not.
    pub fn walks_python(&self) -> bool {
        self.walks_python
    }

    /// Lets the programs walk the interpreter of this process, in the stacks they take of it. It is
    /// forgotten when the process executes another program, ends, or is not watched any more.
    pub fn set_python(&mut self, pid: u32, layout: &PythonLayout) -> Result<(), BpfError> {
        if !self.walks_python {
            return Err(BpfError::NoPython { pid });
        }
        if let Some(field) = misplaced(layout) {
            return Err(BpfError::Layout { pid, field });
        }
        self.pythons.insert(pid, MapValue(*layout), 0).map_err(|source| {
            match system_error(&source) {
                Some(libc::E2BIG) => BpfError::Full { pid, capacity: TARGETS },
                _ => BpfError::map("PYTHONS", source),
            }
        })
    }

    /// Ends [`Bpf::set_python`]. Not an error when there was none.
    pub fn forget_python(&mut self, pid: u32) -> Result<(), BpfError> {
        absent_is_fine(self.pythons.remove(&pid)).map_err(|source| BpfError::map("PYTHONS", source))
    }
}

/// A field the programs would look for in the wrong place: beyond what they read of a frame, or not
/// aligned as C aligns it.
fn misplaced(layout: &PythonLayout) -> Option<&'static str> {
    let lies = |offset: u32, bytes: u32| {
        offset.is_multiple_of(bytes) && offset.checked_add(bytes).is_some_and(|end| end <= WINDOW)
    };
    let byte = |offset: u32| offset == NO_OFFSET || lies(offset, 1);
    if !matches!(layout.instruction_bytes, 4 | 8) {
        return Some("instruction_bytes");
    }
    [
        ("code", lies(layout.code, 8)),
        ("previous", lies(layout.previous, 8)),
        ("instruction", lies(layout.instruction, layout.instruction_bytes)),
        ("owner", byte(layout.owner)),
        ("entry", byte(layout.entry)),
    ]
    .into_iter()
    .find_map(|(field, right)| (!right).then_some(field))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_outside_of_what_is_read_are_named() {
        let right = PythonLayout {
            thread_state: 0x318,
            gil_locked: 0,
            gil_holder: 0,
            frame: 56,
            cframe: 0,
            code: 0,
            previous: 8,
            instruction: 56,
            instruction_bytes: 8,
            owner: 70,
            entry: NO_OFFSET,
        };
        let check = |layout, expected| assert_eq!(misplaced(&layout), expected, "{layout:?}");
        check(right, None);
        check(PythonLayout { instruction: 96, instruction_bytes: 4, ..right }, None);
        check(PythonLayout { code: 120, owner: 127, ..right }, None);
        check(PythonLayout { code: 128, ..right }, Some("code"));
        check(PythonLayout { code: NO_OFFSET, ..right }, Some("code"));
        check(PythonLayout { previous: 12, ..right }, Some("previous"));
        check(PythonLayout { instruction_bytes: 2, ..right }, Some("instruction_bytes"));
        check(PythonLayout { owner: 128, ..right }, Some("owner"));
        check(PythonLayout { entry: 1 << 20, ..right }, Some("entry"));
    }
}
