//! Versions of drivers as text. Total: what does not begin with a number is no version.

/// Up to four numbers; missing ones are 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version([u32; 4]);

impl Version {
    pub const fn of(major: u32, minor: u32, patch: u32) -> Self {
        Self([major, minor, patch, 0])
    }

    /// `580.126.09`, `r610`, `v13.0.85-rc1`: leading letter `r` or `v`, then numbers between dots, up
    /// to the first thing that is neither. Numbers too large are the largest.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let text = text.strip_prefix(['r', 'R', 'v', 'V']).unwrap_or(text);
        let mut numbers = [0; 4];
        let mut rest = text;
        for (index, number) in numbers.iter_mut().enumerate() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits == 0 {
                return (index > 0).then_some(Self(numbers));
            }
            let (here, behind) = rest.split_at(digits);
            *number = here.parse().unwrap_or(u32::MAX);
            match behind.strip_prefix('.') {
                Some(next) => rest = next,
                None => break,
            }
        }
        Some(Self(numbers))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn tolerant_of_what_drivers_and_packages_write() {
        let check = |text: &str, expected: Option<[u32; 4]>| {
            assert_eq!(Version::parse(text), expected.map(Version), "{text}");
        };
        check("580.126.09", Some([580, 126, 9, 0]));
        check(" r610\n", Some([610, 0, 0, 0]));
        check("v13.0.85-rc1", Some([13, 0, 85, 0]));
        check("1.2.3.4.5", Some([1, 2, 3, 4]));
        check("12.", Some([12, 0, 0, 0]));
        check("12..3", Some([12, 0, 0, 0]));
        check("99999999999.1", Some([u32::MAX, 1, 0, 0]));
        check("", None);
        check("N/A", None);
        check(".5", None);
        check("rr5", None);
    }

    proptest! {
        #[test]
        fn order_is_that_of_the_numbers(a: [u16; 3], b: [u16; 3]) {
            let text = |n: [u16; 3]| format!("{}.{}.{:02}", n[0], n[1], n[2]);
            prop_assert_eq!(Version::parse(&text(a)).cmp(&Version::parse(&text(b))), a.cmp(&b));
        }

        #[test]
        fn nothing_panics(text in "\\PC{0,40}", dotted in "[0-9.rvx]{0,40}") {
            Version::parse(&text);
            Version::parse(&dotted);
        }
    }
}
