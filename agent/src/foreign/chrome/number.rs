//! Numbers of a trace from their text, without a detour over floating point.
//!
//! Times are microseconds with a fraction. `f64` holds microseconds since 1970 to a quarter of a
//! microsecond only, so the digits are read as they stand, to the picosecond (finer ones are cut
//! off), and rounded once: `ns = floor(ps / 1000 + 1/2)`. An end is `ns(ts + dur)`, not
//! `ns(ts) + ns(dur)`: rounding is monotonic, so what ends before something begins still does.

/// A time or duration, ps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Picoseconds(i128);

/// Picoseconds in a microsecond: 10 to the sixth.
const SCALE: i32 = 6;

/// Digits behind the first that count: more of them are no time of any machine, or below what any
/// clock shows.
const DIGITS: u32 = 34;

impl Picoseconds {
    /// From the text of a number of microseconds; `None` for anything else.
    pub(super) fn from_micros(text: &[u8]) -> Option<Self> {
        let (negative, text) = match text.strip_prefix(b"-") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let mut mantissa: i128 = 0;
        let mut digits = 0;
        let mut exponent = SCALE;
        let (mut seen, mut fraction) = (false, false);
        let mut bytes = text.iter();
        for byte in bytes.by_ref() {
            match byte {
                b'0'..=b'9' => {
                    seen = true;
                    if digits == DIGITS {
                        if fraction {
                            continue;
                        }
                        return None;
                    }
                    digits += u32::from(mantissa != 0);
                    mantissa = mantissa * 10 + i128::from(byte - b'0');
                    exponent -= i32::from(fraction);
                }
                b'.' if !fraction && seen => fraction = true,
                b'e' | b'E' if seen => {
                    exponent = exponent.checked_add(power(bytes.as_slice())?)?;
                    break;
                }
                _ => return None,
            }
        }
        if !seen {
            return None;
        }
        let value = if exponent >= 0 {
            let factor = 10_i128.checked_pow(exponent.unsigned_abs())?;
            mantissa.checked_mul(factor)?
        } else {
            // More than i128 holds makes zero of any mantissa.
            10_i128.checked_pow(exponent.unsigned_abs()).map_or(0, |factor| mantissa / factor)
        };
        Some(Self(if negative { -value } else { value }))
    }

    pub(super) fn plus(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// Rounded, half up; `None` before zero or after 292 years, which no clock shows.
    pub(super) fn nanoseconds(self) -> Option<u64> {
        let ns = self.0.checked_add(500)?.div_euclid(1000);
        i64::try_from(ns).ok().and_then(|ns| u64::try_from(ns).ok())
    }
}

/// The exponent behind an `e`.
fn power(text: &[u8]) -> Option<i32> {
    let (negative, digits) = match text.first()? {
        b'-' => (true, text.get(1..)?),
        b'+' => (false, text.get(1..)?),
        _ => (false, text),
    };
    if digits.is_empty() || digits.len() > 4 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits.iter().fold(0, |value, digit| value * 10 + i32::from(digit - b'0'));
    Some(if negative { -value } else { value })
}

/// An integer from the text of a number or of a string that holds one; a fraction of zero, as
/// tools make it that read everything as floats, is none.
pub(super) fn integer(text: &[u8]) -> Option<i128> {
    let text = match text {
        [b'"', inner @ .., b'"'] => inner,
        text => text,
    };
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (digits, fraction) = match text.iter().position(|&byte| byte == b'.') {
        Some(point) => text.split_at(point),
        None => (text, &[][..]),
    };
    let plain = !digits.is_empty() && digits.len() <= 20 && digits.iter().all(u8::is_ascii_digit);
    if !plain || !fraction.iter().skip(1).all(|&byte| byte == b'0') {
        return None;
    }
    let value = digits.iter().fold(0, |value, digit| value * 10 + i128::from(digit - b'0'));
    Some(if negative { -value } else { value })
}

/// An id as it is printed: 64 bits, of which negative ones are the two's complement.
pub(super) fn id(text: &[u8]) -> Option<u64> {
    let value = integer(text)?;
    u64::try_from(value).ok().or_else(|| i64::try_from(value).ok().map(i64::cast_unsigned))
}

/// The low 32 bits of an id.
pub(super) fn id32(text: &[u8]) -> Option<u32> {
    id(text).map(low)
}

/// The low 32 bits.
fn low(value: u64) -> u32 {
    u32::try_from(value & u64::from(u32::MAX)).unwrap_or_default()
}

/// A number that is there and fits; 0 otherwise.
pub(super) fn small(text: &[u8]) -> Option<u32> {
    u32::try_from(integer(text)?).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nanoseconds(text: &str) -> Option<u64> {
        Picoseconds::from_micros(text.as_bytes())?.nanoseconds()
    }

    #[test]
    fn microseconds_become_nanoseconds_digit_by_digit() {
        for (text, expected) in [
            ("0", Some(0)),
            ("15", Some(15_000)),
            ("4458676522690.655", Some(4_458_676_522_690_655)),
            ("1682725898236567.125", Some(1_682_725_898_236_567_125)),
            ("1.0004", Some(1_000)),
            ("1.0005", Some(1_001)),
            ("1.00049999999999999999999999999999", Some(1_000)),
            ("0.0005", Some(1)),
            ("0.00000000000000000000000000000000000000000001", Some(0)),
            ("1.5e3", Some(1_500_000)),
            ("1.682725898236567e+15", Some(1_682_725_898_236_567_000)),
            ("15E-1", Some(1_500)),
            ("1e-99", Some(0)),
            ("-0.0004", Some(0)),
            ("-1", None),
            ("9223372036854775.807", Some(i64::MAX.cast_unsigned())),
            ("9223372036854775.808", None),
            ("1e400", None),
            ("1e99999999999", None),
            ("99999999999999999999999999999999999999999999999999", None),
            ("NaN", None),
            ("Infinity", None),
            ("\"5\"", None),
            ("", None),
            ("-", None),
            (".5", None),
            ("1.2.3", None),
            ("1e", None),
            ("1e+", None),
            ("1x", None),
        ] {
            assert_eq!(nanoseconds(text), expected, "{text}");
        }
    }

    #[test]
    fn what_touches_does_not_overlap_by_rounding() {
        // Each rounded by itself: 1000 + 1001 = 2001 > 2000.
        let start = Picoseconds::from_micros(b"1.0004").unwrap();
        let end = start.plus(Picoseconds::from_micros(b"1.0005").unwrap()).unwrap();
        let next = Picoseconds::from_micros(b"2.0009").unwrap();
        assert!(end <= next && end.nanoseconds() <= next.nanoseconds());
        assert_eq!(end.nanoseconds(), Some(2_001));
    }

    #[test]
    fn ids_may_be_written_in_several_ways() {
        for (text, expected) in [
            ("863350", Some(863_350)),
            ("\"17\"", Some(17)),
            ("4294967297", Some(1)),
            ("-1", Some(u32::MAX)),
            ("7.0", Some(7)),
            ("7.5", None),
            ("18446744073709551615", Some(u32::MAX)),
            ("18446744073709551616", None),
            ("999999999999999999999", None),
            ("", None),
            ("x", None),
        ] {
            assert_eq!(id32(text.as_bytes()), expected, "{text}");
        }
        assert_eq!(small(b"4294967296"), None);
    }

    proptest! {
        #[test]
        fn text_with_three_digits_is_exact(micros in 0..9_000_000_000_000_000_u64, ns in 0..1000_u64) {
            let text = format!("{micros}.{ns:03}");
            prop_assert_eq!(nanoseconds(&text), Some(micros * 1000 + ns));
        }

        #[test]
        fn arbitrary_bytes_are_no_reason_to_panic(text in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Picoseconds::from_micros(&text).map(Picoseconds::nanoseconds);
            let _ = (integer(&text), id(&text), small(&text));
        }

        #[test]
        fn arbitrary_digits_are_no_reason_to_panic(text in "-?[0-9.eE+-]{0,60}") {
            let _ = Picoseconds::from_micros(text.as_bytes()).map(Picoseconds::nanoseconds);
            let _ = (integer(text.as_bytes()), id(text.as_bytes()), small(text.as_bytes()));
        }
    }
}
