//! Kineto's JSON, read whole and from its own text: times are decimal microseconds and become
//! nanoseconds digit by digit, never by way of a float.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::trace::{Kind, Record, Stretch, Thread, Trace};

#[derive(Deserialize)]
struct Document<'t> {
    #[serde(borrow, rename = "traceEvents")]
    events: Vec<Event<'t>>,
}

#[derive(Deserialize)]
struct Event<'t> {
    ph: Option<String>,
    cat: Option<String>,
    name: Option<String>,
    #[serde(borrow)]
    ts: Option<&'t RawValue>,
    #[serde(borrow)]
    dur: Option<&'t RawValue>,
    pid: Option<Value>,
    tid: Option<Value>,
    #[serde(default)]
    args: Value,
}

impl Event<'_> {
    fn thread(&self) -> Thread {
        let text = |value: &Option<Value>| value.as_ref().unwrap().to_string();
        (text(&self.pid), text(&self.tid))
    }

    fn number(&self, key: &str) -> Option<i64> {
        self.args.get(key).and_then(Value::as_i64)
    }

    fn start(&self) -> i64 {
        nanoseconds(self.ts.unwrap().get())
    }

    fn end(&self) -> i64 {
        self.start() + nanoseconds(self.dur.unwrap().get())
    }
}

/// `12.5` microseconds are 12500 ns. No trace of the corpus has more than three decimals.
fn nanoseconds(text: &str) -> i64 {
    let text = text.trim_matches('"');
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    assert!(decimals.len() <= 3, "{text} is finer than a nanosecond");
    whole.parse::<i64>().unwrap() * 1000 + format!("{decimals:0<3}").parse::<i64>().unwrap()
}

#[test]
fn decimal_microseconds_are_exact() {
    for (text, expected) in
        [("0", 0), ("12.5", 12_500), ("1700000000000000.123", 1_700_000_000_000_000_123)]
    {
        assert_eq!(nanoseconds(text), expected, "{text}");
    }
}

fn text(path: &Path) -> String {
    let mut text = String::new();
    GzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

/// An event with a length, as a reader sees it that asks for no more than its fields.
pub(crate) struct Plain {
    pub(crate) category: String,
    pub(crate) name: String,
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) stream: Option<i64>,
    pub(crate) correlation: Option<i64>,
}

/// Every event that has a length and a category.
pub(crate) fn plain(path: &Path) -> Vec<Plain> {
    let text = text(path);
    let document: Document<'_> = serde_json::from_str(&text).unwrap();
    document
        .events
        .iter()
        .filter_map(|event| {
            event.dur?;
            Some(Plain {
                category: event.cat.clone()?,
                name: event.name.clone()?,
                start: event.start(),
                end: event.end(),
                stream: event.number("stream"),
                correlation: event.number("correlation"),
            })
        })
        .collect()
}

pub(crate) fn read(path: &Path) -> Trace {
    let text = text(path);
    let document: Document<'_> = serde_json::from_str(&text).unwrap();
    let mut trace = Trace::default();
    let mut launches: HashMap<i64, (Thread, i64)> = HashMap::new();
    let mut operators: HashMap<i64, (Thread, i64)> = HashMap::new();
    let complete = || document.events.iter().filter(|event| event.ph.as_deref() == Some("X"));
    for event in complete() {
        match event.cat.as_deref() {
            Some("cuda_runtime" | "cuda_driver") => {
                // A graph's kernels were asked for when it was captured, not here.
                let is_graph = event.name.as_ref().is_some_and(|name| name.contains("GraphLaunch"));
                if let Some(correlation) = event.number("correlation").filter(|_| !is_graph) {
                    launches.entry(correlation).or_insert((event.thread(), event.start()));
                }
            }
            Some("cpu_op" | "user_annotation") => {
                if let Some(id) = event.number("External id") {
                    operators.entry(id).or_insert((event.thread(), event.start()));
                }
                let name = event.name.clone().unwrap_or_default();
                let (start, end) = (event.start(), event.end());
                let stretch = Stretch { name, start, end };
                trace.stretches.entry(event.thread()).or_default().push(stretch);
            }
            _ => {}
        }
    }
    let graphs: Vec<i64> = complete()
        .filter(|event| event.name.as_ref().is_some_and(|name| name.contains("GraphLaunch")))
        .filter_map(|event| event.number("correlation"))
        .collect();
    for event in complete() {
        let kind = match event.cat.as_deref() {
            Some("kernel") => Kind::Kernel,
            Some("gpu_memcpy") => Kind::Memcpy,
            Some("gpu_memset") => Kind::Memset,
            _ => continue,
        };
        let correlation = event.number("correlation").filter(|id| !graphs.contains(id));
        // The record's own operator, where the call is not in the trace.
        let launched = correlation.and_then(|correlation| {
            let by_operator = || operators.get(&event.number("External id")?);
            launches.get(&correlation).or_else(by_operator).cloned()
        });
        trace.records.push(Record {
            kind,
            name: event.name.clone().unwrap(),
            device: event.number("device").unwrap(),
            start: event.start(),
            end: event.end(),
            launched,
        });
    }
    trace
}
