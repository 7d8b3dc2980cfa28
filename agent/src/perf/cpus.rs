//! Which CPUs are online.

use std::fs;

use super::PerfError;

const ONLINE: &str = "/sys/devices/system/cpu/online";

/// CPUs a list may name. More than any kernel is built for (`NR_CPUS` is 8192 at most), so that a
/// strange file cannot make the list long.
const CPUS_MAX: u32 = 1 << 16;

pub(super) fn online() -> Result<Vec<u32>, PerfError> {
    let failed = |source| PerfError::Cpus { path: ONLINE, source };
    let text = fs::read_to_string(ONLINE).map_err(failed)?;
    parse(&text).ok_or_else(|| {
        failed(std::io::Error::new(std::io::ErrorKind::InvalidData, format!("`{}`", text.trim())))
    })
}

/// Of `0-3,5`.
fn parse(text: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if last >= CPUS_MAX {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        for (text, expected) in [
            ("0\n", Some(vec![0])),
            ("0-3,5\n", Some(vec![0, 1, 2, 3, 5])),
            ("", None),
            ("0-", None),
            ("0-4294967295", None),
        ] {
            assert_eq!(parse(text), expected, "{text:?}");
        }
        assert!(!online().unwrap().is_empty());
    }
}
