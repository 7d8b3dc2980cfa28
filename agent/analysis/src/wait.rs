//! Why a thread slept.

/// What a thread waited for, as far as its stack and system call tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WaitReason {
    /// Neither its system call nor its stack says.
    #[default]
    Unknown,
    /// A lock or condition of user space (futex) that is none of the others.
    Lock,
    /// Python's global interpreter lock.
    Gil,
    /// A file, block device or pipe.
    Io,
    /// Nothing: it asked to sleep for a time.
    Sleep,
    /// The device, in a CUDA synchronisation.
    Cuda,
    /// A socket, or readiness of several descriptors.
    Network,
    /// The queue between vLLM's engine and its workers or API servers.
    Queue,
    /// Another process: that it ends, or is ready.
    Child,
}

impl WaitReason {
    pub const ALL: [Self; 9] = [
        Self::Unknown,
        Self::Lock,
        Self::Gil,
        Self::Io,
        Self::Sleep,
        Self::Cuda,
        Self::Network,
        Self::Queue,
        Self::Child,
    ];

    /// As reports spell it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Lock => "lock",
            Self::Gil => "gil",
            Self::Io => "io",
            Self::Sleep => "sleep",
            Self::Cuda => "cuda",
            Self::Network => "network",
            Self::Queue => "queue",
            Self::Child => "child",
        }
    }

    /// From its number in a stack event; one of another version is unknown.
    pub fn from_number(number: u32) -> Self {
        let known = usize::try_from(number).ok().and_then(|number| Self::ALL.get(number));
        known.copied().unwrap_or_default()
    }

    /// Its number in a stack event.
    pub fn number(self) -> u32 {
        let number = Self::ALL.iter().position(|&reason| reason == self).unwrap_or(0);
        u32::try_from(number).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_survive_their_numbers() {
        for reason in WaitReason::ALL {
            assert_eq!(WaitReason::from_number(reason.number()), reason);
        }
        assert_eq!(WaitReason::from_number(u32::MAX), WaitReason::Unknown);
    }
}
