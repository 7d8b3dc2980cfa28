//! Conversions and the normal distribution, and how amounts are written.

#[expect(clippy::cast_precision_loss, reason = "a count of windows or points")]
pub(super) fn count(count: usize) -> f64 {
    count as f64
}

#[expect(clippy::cast_precision_loss, reason = "bytes beyond 2^53 are rounded to 1 in 10^15")]
pub(super) fn float(bytes: u64) -> f64 {
    bytes as f64
}

pub(super) fn squared(value: f64) -> f64 {
    value * value
}

/// `amount - base`, rounded once.
pub(super) fn off(amount: u64, base: u64) -> f64 {
    if amount >= base { float(amount - base) } else { -float(base - amount) }
}

/// Chance that a normal value is above `z`.
pub(super) fn normal_above(z: f64) -> f64 {
    libm::erfc(z / std::f64::consts::SQRT_2) / 2.0
}

/// Bytes as people read them: `90 B`, `-1.5 MiB`.
pub fn bytes(bytes: f64) -> String {
    let mut scaled = bytes;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if scaled.abs() < 1000.0 {
            return with_unit(scaled, unit);
        }
        scaled /= 1024.0;
    }
    with_unit(scaled, "TiB")
}

fn with_unit(value: f64, unit: &str) -> String {
    let digits = usize::from(value.abs() < 99.95 && unit != "B");
    format!("{value:.digits$} {unit}")
}

/// A length of time as people read it: `45 s`, `12 min`, `7.5 h`, `3.1 days`.
pub(super) fn time(seconds: f64) -> String {
    match seconds {
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s if s < 172_800.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        let cases = [
            (90.0, "90 B"),
            (999.0, "999 B"),
            (1024.0, "1.0 KiB"),
            (-1_572_864.0, "-1.5 MiB"),
            (130.0 * 1024.0, "130 KiB"),
            (6.57 * 1_073_741_824.0, "6.6 GiB"),
            (1e15, "909 TiB"),
        ];
        for (value, text) in cases {
            assert_eq!(bytes(value), text);
        }
        let cases = [(0.4, "0 s"), (119.0, "119 s"), (600.0, "10 min"), (9000.0, "2.5 h")];
        for (value, text) in cases {
            assert_eq!(time(value), text);
        }
    }

    #[test]
    fn the_normal_distribution_is_the_usual_one() {
        assert!((normal_above(1.959_963_984_540_054) - 0.025).abs() < 1e-12);
        assert!((normal_above(0.0) - 0.5).abs() < 1e-12);
    }
}
