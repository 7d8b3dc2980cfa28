//! Large Chrome traces, made by repeating a small one: each repetition later in time, with
//! correlation ids of its own. What the result holds is known without reading it.

use std::fs::File;
use std::io::{self, Read as _, Write};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use serde_json::{Value, json};

/// Why a trace could not be made.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    #[error("read the trace {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is not JSON")]
    Json { path: PathBuf, source: serde_json::Error },
    #[error("{path} has no event with a time in `traceEvents`")]
    NoEvents { path: PathBuf },
    #[error("write the trace")]
    Write(#[from] io::Error),
}

/// What a made trace holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    pub bytes: u64,
    pub repeats: u64,
    /// Elements of `traceEvents`.
    pub events: u64,
    pub kernels: u64,
    pub copies: u64,
}

/// The trace at `path` as one document, decompressed where it is.
///
/// # Errors
/// When it cannot be read or is no JSON.
pub fn load(path: &Path) -> Result<Value, TraceError> {
    let failed = |source| TraceError::Read { path: path.to_owned(), source };
    let mut bytes = std::fs::read(path).map_err(failed)?;
    if bytes.starts_with(&[0x1f, 0x8b]) {
        let mut text = Vec::new();
        MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut text).map_err(failed)?;
        bytes = text;
    }
    serde_json::from_slice(&bytes)
        .map_err(|source| TraceError::Json { path: path.to_owned(), source })
}

/// A small trace as PyTorch writes it: a step of launches, operators, kernels on two streams,
/// copies, arrows and Python functions.
pub fn small() -> Value {
    let mut events = vec![json!({
        "ph": "M", "name": "process_name", "pid": 4515, "tid": 0, "ts": 0,
        "args": {"name": "python3"}
    })];
    for step in 0..500_u64 {
        let (at, correlation) =
            (20.5 + 40.25 * f64::from(u32::try_from(step).unwrap_or(0)), step + 1);
        let device = json!({
            "device": 0, "context": 1, "stream": 7 + step % 2, "correlation": correlation,
            "External id": step, "grid": [128, 1, 1], "block": [256, 1, 1], "bytes": 4096,
            "est. achieved occupancy %": 50,
        });
        let (category, name) = match step % 10 {
            9 => ("gpu_memcpy", "Memcpy DtoD (Device -> Device)".to_owned()),
            kernel => ("kernel", format!("void cutlass::gemm_kernel<{kernel}, \"\\\">(float*)")),
        };
        events.push(json!({
            "ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 4515, "tid": 4515, "ts": at,
            "dur": 12.125, "args": {"Input Dims": [[step % 7, 4096], [4096, 64]]}
        }));
        events.push(json!({
            "ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", "pid": 4515, "tid": 4515,
            "ts": at + 2.0, "dur": 5.5, "args": {"correlation": correlation, "cbid": 211}
        }));
        events.push(json!({
            "ph": "X", "cat": category, "name": name, "pid": 0, "tid": 7, "ts": at + 9.0,
            "dur": 25.875, "args": device
        }));
        events.push(json!({
            "ph": "f", "cat": "ac2g", "name": "ac2g", "id": correlation, "pid": 0, "tid": 7,
            "ts": at + 9.0, "bp": "e"
        }));
        events.push(json!({
            "ph": "X", "cat": "python_function", "name": "model.py(17): forward", "pid": 4515,
            "tid": 4515, "ts": at, "dur": 13.0, "args": {"Python id": step}
        }));
    }
    json!({"schemaVersion": 1, "distributedInfo": {"rank": 0}, "traceEvents": events})
}

/// Writes at least `bytes` of the events of `document` over and over.
///
/// # Errors
/// When it cannot be written, or there is nothing to repeat.
pub fn repeat(document: &Value, bytes: u64, out: &mut impl Write) -> Result<Made, TraceError> {
    let none = || TraceError::NoEvents { path: PathBuf::from("the trace to repeat") };
    let events = document["traceEvents"].as_array().ok_or_else(none)?;
    let period = period(events).ok_or_else(none)?;
    let stride = 1 + events.iter().filter_map(correlation).max().unwrap_or(0);
    let pieces: Vec<Pieces> = events.iter().map(Pieces::of).collect();
    let of = |category: &str| events.iter().filter(|event| event["cat"] == category).count() as u64;
    let (kernels, copies) = (of("kernel"), of("gpu_memcpy"));
    let mut made = Made::default();
    let mut text = String::from("{");
    for (key, value) in document.as_object().into_iter().flatten() {
        if key != "traceEvents" {
            text.push_str(&format!("{}: {value}, ", json!(key)));
        }
    }
    text.push_str("\"traceEvents\": [\n");
    while made.bytes + (text.len() as u64) < bytes || made.repeats == 0 {
        for piece in &pieces {
            if made.events > 0 {
                text.push_str(",\n");
            }
            piece.write(made.repeats * period, made.repeats * stride, &mut text);
            made.events += 1;
            if text.len() > 1 << 20 {
                made.bytes += text.len() as u64;
                out.write_all(text.as_bytes())?;
                text.clear();
            }
        }
        made.repeats += 1;
        made.kernels += kernels;
        made.copies += copies;
    }
    text.push_str("\n]}\n");
    made.bytes += text.len() as u64;
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(made)
}

/// Makes the file `to` from the trace at `from`.
///
/// # Errors
/// When one cannot be read or the other not be written.
pub fn make(from: &Path, bytes: u64, to: &Path) -> Result<Made, TraceError> {
    repeat(&load(from)?, bytes, &mut File::create(to)?)
}

/// Nanoseconds of a number of microseconds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "times of a trace: below 2^63 ns, and negative ones are none"
)]
fn nanoseconds(value: &Value) -> Option<u64> {
    let micros = value.as_f64()?;
    Some(micros.trunc() as u64 * 1000 + (micros.fract() * 1000.0).round() as u64)
}

/// From the first start to behind the last end.
fn period(events: &[Value]) -> Option<u64> {
    let timed = || events.iter().filter(|event| event["ph"] == "X");
    let first = timed().filter_map(|event| nanoseconds(&event["ts"])).min()?;
    let last = timed()
        .filter_map(|event| Some(nanoseconds(&event["ts"])? + nanoseconds(&event["dur"])?))
        .max()?;
    // Whole microseconds, for traces that have nothing finer.
    Some((last - first).div_ceil(1_000) * 1_000 + 1_000_000)
}

fn correlation(event: &Value) -> Option<u64> {
    event["args"]["correlation"].as_u64()
}

/// An event's text around what changes from one repetition to the next.
struct Pieces {
    text: Vec<String>,
    /// What stands behind each piece of text but the last.
    holes: Vec<Hole>,
}

#[derive(Clone, Copy)]
enum Hole {
    /// Time in ns, and whether it has a fraction.
    Time(u64, bool),
    Correlation(u64),
}

/// Stands for a hole; no text of a trace holds it.
const MARK: &str = "\u{1}\u{2}";

impl Pieces {
    fn of(event: &Value) -> Self {
        let mut event = event.clone();
        let mut holes = Vec::new();
        // In the order in which members are written: by name.
        if let Some(id) = correlation(&event) {
            event["args"]["correlation"] = json!(MARK);
            holes.push(Hole::Correlation(id));
        }
        if let Some(id) = event["id"].as_u64().filter(|_| event["cat"] == "ac2g") {
            event["id"] = json!(MARK);
            holes.push(Hole::Correlation(id));
        }
        if let Some(ns) = nanoseconds(&event["ts"]).filter(|_| event["ph"] != "M") {
            let fraction = event["ts"].is_f64();
            event["ts"] = json!(MARK);
            holes.push(Hole::Time(ns, fraction));
        }
        let text = event.to_string();
        let mark = json!(MARK).to_string();
        Self { text: text.split(&mark).map(str::to_owned).collect(), holes }
    }

    fn write(&self, later: u64, further: u64, text: &mut String) {
        let mut holes = self.holes.iter();
        for (index, piece) in self.text.iter().enumerate() {
            if index > 0 {
                match holes.next() {
                    Some(Hole::Correlation(id)) => text.push_str(&(id + further).to_string()),
                    Some(Hole::Time(ns, fraction)) => {
                        let ns = ns + later;
                        text.push_str(&(ns / 1_000).to_string());
                        if *fraction {
                            text.push_str(&format!(".{:03}", ns % 1_000));
                        }
                    }
                    None => {}
                }
            }
            text.push_str(piece);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repetitions_differ_in_time_and_correlation_only() {
        let document = small();
        let mut text = Vec::new();
        let once = repeat(&document, 1, &mut text).unwrap();
        assert_eq!((once.repeats, once.kernels, once.copies), (1, 450, 50));
        assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), document);
        let mut text = Vec::new();
        let thrice = repeat(&document, 5 * once.bytes / 2, &mut text).unwrap();
        assert_eq!((thrice.repeats, thrice.kernels, thrice.bytes), (3, 1350, text.len() as u64));
        let read: Value = serde_json::from_slice(&text).unwrap();
        let events = read["traceEvents"].as_array().unwrap();
        let count = document["traceEvents"].as_array().unwrap().len();
        assert_eq!(events.len(), 3 * count);
        let (first, third) = (&events[3], &events[2 * count + 3]);
        assert_eq!(first["name"], third["name"]);
        assert_eq!(third["args"]["correlation"], json!(1 + 2 * 501));
        let moved = |event: &Value| nanoseconds(&event["ts"]).unwrap();
        assert_eq!(moved(third) - moved(first), 2 * period(&events[..count]).unwrap());
    }
}
