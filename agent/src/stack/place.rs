//! One place of a stack in 64 bits, as unwound stacks and recordings carry it. The two highest bits
//! tell user addresses (00) and the kernel's (11), which the processor itself keeps apart, from what
//! the agent numbers itself: frames of Python (01) and remarks (10).

use crate::capture::{Frame, Language};

const SORT: u64 = 3 << 62;
const PYTHON: u64 = 1 << 62;
const REMARK: u64 = 2 << 62;

/// One place of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// An instruction of user space.
    User(u64),
    /// An instruction of the kernel.
    Kernel(u64),
    /// A line of a Python function, by the number the agent gave it in its process.
    Python(u64),
    /// No code.
    Remark(Remark),
}

/// What a stack says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Remark {
    /// A number this version does not know.
    Unknown,
    /// The stack goes on behind the bytes that were copied.
    TooLong,
    /// The caller's frame cannot be found: code without unwind information.
    NoUnwindInformation,
    /// The walk came to an address that is no code.
    Astray,
    /// There are more Python frames than are taken.
    PythonTooDeep,
    /// A Python frame could not be read.
    PythonUnread,
    /// Native and Python frames do not fit together: they stand one below the other.
    Unmerged,
    /// The process mapped or lost code while it was looked at.
    MapsChanged,
    /// The walk reached as many frames as are kept.
    TooManyFrames,
    /// The caller's frame is not in the copied bytes, although the stack is not longer: it is in
    /// another stack, or in memory that was not there.
    StackUnread,
    /// The caller's frame cannot be found: the code was made at run time and describes itself nowhere.
    AnonymousCode,
    /// Python frames stood here, whose numbers meant something to an agent that is gone.
    PythonNotKept,
}

impl Remark {
    pub const ALL: [Self; 12] = [
        Self::Unknown,
        Self::TooLong,
        Self::NoUnwindInformation,
        Self::Astray,
        Self::PythonTooDeep,
        Self::PythonUnread,
        Self::Unmerged,
        Self::MapsChanged,
        Self::TooManyFrames,
        Self::StackUnread,
        Self::AnonymousCode,
        Self::PythonNotKept,
    ];

    /// As a frame of the stack shows it.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Unknown => "[cut]",
            Self::TooLong => "[cut: stack longer than 32 KiB]",
            Self::NoUnwindInformation => "[cut: no unwind information]",
            Self::Astray => "[cut: not code]",
            Self::PythonTooDeep => "[cut: more than 256 Python frames]",
            Self::PythonUnread => "[cut: Python frame not readable]",
            Self::Unmerged => "[native and Python frames not merged]",
            Self::MapsChanged => "[cut: code mapped or unmapped meanwhile]",
            Self::TooManyFrames => "[cut: too many frames]",
            Self::StackUnread => "[cut: stack not readable]",
            Self::AnonymousCode => "[cut: code made at run time]",
            Self::PythonNotKept => "[Python frames not kept by the agent before]",
        }
    }

    /// Frames are missing where it stands.
    pub const fn is_cut(self) -> bool {
        !matches!(self, Self::Unmerged | Self::PythonNotKept)
    }
}

impl Place {
    pub fn from_bits(bits: u64) -> Self {
        match bits & SORT {
            0 => Self::User(bits),
            PYTHON => Self::Python(bits & !SORT),
            REMARK => {
                let known = usize::try_from(bits & !SORT).ok().and_then(|at| Remark::ALL.get(at));
                Self::Remark(known.copied().unwrap_or(Remark::Unknown))
            }
            _ => Self::Kernel(bits),
        }
    }

    /// A number or address that does not fit its sort loses its highest bits.
    pub fn to_bits(self) -> u64 {
        match self {
            Self::User(address) => address & !SORT,
            Self::Kernel(address) => address | SORT,
            Self::Python(number) => number & !SORT | PYTHON,
            Self::Remark(remark) => {
                let at = Remark::ALL.iter().position(|&known| known == remark).unwrap_or(0);
                at as u64 | REMARK
            }
        }
    }

    /// The frame of a place that needs no symbols.
    pub fn own_frame(self) -> Option<Frame> {
        let Self::Remark(remark) = self else {
            return None;
        };
        let function = remark.text().to_owned();
        Some(Frame { language: Language::Remark, function, ..Frame::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_survive_their_bits() {
        let remarks = Remark::ALL.into_iter().map(Place::Remark);
        let others = [
            Place::User(0x7fff_ffff_f000),
            Place::User(0),
            Place::Kernel(0xffff_ffff_8100_0000),
            Place::Python(0),
            Place::Python(77),
        ];
        for place in remarks.chain(others) {
            assert_eq!(Place::from_bits(place.to_bits()), place);
        }
        assert_eq!(Place::from_bits(REMARK | 0x3e7), Place::Remark(Remark::Unknown));
    }
}
