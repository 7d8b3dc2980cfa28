//! What the benches share: one line per figure on standard output.
#![forbid(unsafe_code)]

use anyhow::Context;

/// Prints one figure as `cargo xtask bench` reads it.
#[expect(clippy::print_stdout, reason = "figures are the output")]
pub fn figure(name: &str, value: f64, unit: &str) {
    println!("{}", serde_json::json!({ "bench": name, "value": value, "unit": unit }));
}

/// `total / count`; the totals of a bench lie far below what an `f64` counts exactly.
#[expect(clippy::cast_precision_loss, reason = "figures of a bench, below 2^52")]
pub fn per(total: u64, count: u64) -> f64 {
    total as f64 / count as f64
}

/// The middle value.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Prints the mean of values and its 95 % interval, as three figures. `student`: Student's t at 97.5 % for one degree of
/// freedom fewer than there are values.
pub fn interval(name: &str, values: &[f64], student: f64, unit: &str) {
    #[expect(clippy::cast_precision_loss, reason = "a count of rounds")]
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    let off = student * (squares / (count - 1.0) / count).sqrt();
    for (bound, value) in [("", mean), ("-low", mean - off), ("-high", mean + off)] {
        figure(&format!("{name}{bound}"), value, unit);
    }
}

/// The greatest resident set of this process so far, MiB.
///
/// # Errors
/// When `/proc` does not tell.
pub fn peak_rss_mib() -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("no VmHWM")?;
    let kib: f64 = line.split_whitespace().nth(1).context("no value")?.parse()?;
    Ok(kib / 1024.0)
}
