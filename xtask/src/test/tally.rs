//! What a test run said: libtest's result lines and the SKIP lines of our tests.

use std::fmt;

/// Tests by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub passed: u64,
    pub failed: u64,
    pub skipped: u64,
}

impl Counts {
    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }

    pub(crate) fn total(self) -> u64 {
        self.passed + self.failed + self.skipped
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} passed, {} failed, {} skipped",
            self.passed, self.failed, self.skipped
        )
    }
}

/// Reads a test run's output line by line.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    counts: Counts,
    /// Reasons, as the tests printed them.
    pub skips: Vec<String>,
}

impl Tally {
    pub(crate) fn line(&mut self, line: &str) {
        if let Some(reason) = line.trim_start().strip_prefix("SKIP ") {
            self.skips.push(reason.to_owned());
        } else if let Some(result) = line.strip_prefix("test result: ") {
            self.counts.add(parse_result(result));
        }
    }

    /// A test that printed SKIP ended as libtest's `ok`, so it is taken off the passed ones. Tests
    /// that libtest itself ignored are skipped too.
    pub(crate) fn counts(&self) -> Counts {
        let printed = (self.skips.len() as u64).min(self.counts.passed);
        Counts {
            passed: self.counts.passed - printed,
            failed: self.counts.failed,
            skipped: self.counts.skipped + printed,
        }
    }
}

/// `ok. 3 passed; 0 failed; 1 ignored; ...`
fn parse_result(text: &str) -> Counts {
    let number = |label: &str| {
        text.split([';', '.'])
            .filter_map(|part| part.trim().strip_suffix(label))
            .find_map(|part| part.trim().parse().ok())
            .unwrap_or(0)
    };
    Counts { passed: number("passed"), failed: number("failed"), skipped: number("ignored") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_add_up_and_skips_are_not_passes() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s",
            "SKIP real::cupti: no libraries",
            "test result: FAILED. 2 passed; 4 failed; 0 ignored; 0 measured; 9 filtered out; finished in 0.1s",
        ] {
            tally.line(line);
        }
        assert_eq!(tally.counts(), Counts { passed: 4, failed: 4, skipped: 2 });
        assert_eq!(tally.skips, ["real::cupti: no libraries"]);
    }
}
