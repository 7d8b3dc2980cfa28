//! Versions of CPython whose frames can be walked.

use std::fmt;

/// A version: within one of them, every release keeps its layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Version {
    V3_10,
    V3_11,
    V3_12,
    V3_13,
    V3_14,
}

impl Version {
    pub const ALL: [Self; 5] = [Self::V3_10, Self::V3_11, Self::V3_12, Self::V3_13, Self::V3_14];

    /// Of `PY_VERSION_HEX`; `None` for a version that is not known.
    pub fn of_hex(hex: u64) -> Option<Self> {
        if hex >> 24 != 3 {
            return None;
        }
        Self::ALL.into_iter().find(|version| version.minor() == hex >> 16 & 0xff)
    }

    pub const fn minor(self) -> u64 {
        match self {
            Self::V3_10 => 10,
            Self::V3_11 => 11,
            Self::V3_12 => 12,
            Self::V3_13 => 13,
            Self::V3_14 => 14,
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "3.{}", self.minor())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_by_their_number() {
        assert_eq!(Version::of_hex(0x030c_01f0), Some(Version::V3_12));
        assert_eq!(Version::of_hex(0x030a_0df0), Some(Version::V3_10));
        assert_eq!(Version::of_hex(0x0309_12f0), None);
        assert_eq!(Version::of_hex(0x030f_02f0), None);
        assert_eq!(Version::of_hex(0x0003_030c_01f0), None);
        assert_eq!(Version::V3_14.to_string(), "3.14");
    }
}
