//! Which libcupti is simulated.

use std::sync::OnceLock;

/// A released libcupti.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(crate) major: u32,
    pub(crate) minor: u32,
    /// What `cuptiGetVersion` answers.
    pub(crate) api: u32,
    /// Column of [`crate::layout`]'s table.
    pub(crate) column: usize,
}

const fn version(major: u32, minor: u32, api: u32, column: usize) -> Version {
    Version { major, minor, api, column }
}

/// All of them, in the order of the layout table.
pub(crate) const VERSIONS: [Version; 15] = [
    version(12, 0, 18, 0),
    version(12, 1, 18, 1),
    version(12, 2, 20, 2),
    version(12, 3, 21, 3),
    version(12, 4, 22, 4),
    version(12, 5, 23, 5),
    version(12, 6, 24, 6),
    version(12, 8, 26, 7),
    version(12, 9, 28, 8),
    version(13, 0, 130_001, 9),
    version(13, 1, 130_101, 10),
    version(13, 2, 130_202, 11),
    version(13, 3, 130_301, 12),
    version(13, 4, 130_401, 13),
    version(13, 5, 130_500, 14),
];

static CURRENT: OnceLock<Version> = OnceLock::new();

/// Chooses the version named by `text` (`12.4`) if it is of this major, else the newest of it.
pub(crate) fn select(major: u32, text: Option<&str>) {
    CURRENT.get_or_init(|| choose(major, text));
}

fn choose(major: u32, text: Option<&str>) -> Version {
    let named = text.and_then(|text| {
        let (major, minor) = text.trim().split_once('.')?;
        let wanted = (major.parse().ok()?, minor.parse().ok()?);
        VERSIONS.into_iter().find(|version| version.number() == wanted)
    });
    let newest = VERSIONS.into_iter().rfind(|version| version.major == major);
    named.filter(|version| version.major == major).or(newest).unwrap_or(VERSIONS[0])
}

/// The version simulated in this process.
pub(crate) fn current() -> Version {
    CURRENT.get().copied().unwrap_or(VERSIONS[0])
}

impl Version {
    /// Major and minor, for comparison.
    pub(crate) fn number(self) -> (u32, u32) {
        (self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_chooses_within_the_major() {
        let check = |major, text, expected| {
            assert_eq!(choose(major, text).number(), expected, "{major} {text:?}");
        };
        check(12, None, (12, 9));
        check(13, None, (13, 5));
        check(12, Some("12.4"), (12, 4));
        check(12, Some("13.2"), (12, 9));
        check(13, Some("13.2"), (13, 2));
        check(12, Some("12.7"), (12, 9));
    }
}
