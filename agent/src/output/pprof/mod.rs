//! `gpu.pb.gz`, `cpu.pb.gz`, `offcpu.pb.gz`, `wall.pb.gz`, `memory.pb.gz`: the same rows as the flame graphs, as `go tool pprof` reads them.

mod proto;

use std::collections::HashMap;
use std::io::{self, Write};

use analysis::event::ProcessInfo;
use analysis::ids::ProcessKey;
use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

use super::rows::{self, Row, RowFrame, Tint, Titles};
use crate::capture::Capture;

/// GPU time in ns. Labels: `gpu`, `UUID`, `class`, `kind`, `cause` (of idle and unobserved time),
/// `process`, `graph`.
pub fn gpu(capture: &Capture) -> io::Result<Vec<u8>> {
    let titles = Titles::of(capture);
    let mut builder = Builder::new(capture, &[("gpu_time", "nanoseconds")]);
    rows::gpu(capture, &titles, |row| builder.add(&row, &[row.value]));
    let duration = capture.report.devices.iter().map(super::words::window_ns).max().unwrap_or(0);
    builder.profile.duration_nanos = signed(duration);
    builder.gzip()
}

/// CPU samples and the time they stand for. Labels of this and the next two: `process`, `role`, `rank`,
/// `thread`, `class` (language or layer of the leaf), `reason` (of time off the CPU).
pub fn cpu(capture: &Capture) -> io::Result<Vec<u8>> {
    let titles = Titles::of(capture);
    let mut builder = Builder::new(capture, &[("samples", "count"), ("cpu", "nanoseconds")]);
    let period = 1_000_000_000 / u64::from(capture.info.cpu_hz.max(1));
    rows::cpu(capture, &titles, |row| {
        builder.add(&row, &[row.value, row.value.saturating_mul(period)]);
    });
    if capture.info.cpu_hz > 0 {
        builder.profile.period = signed(period);
        builder.profile.period_type = Some(builder.value_type("cpu", "nanoseconds"));
    }
    builder.gzip()
}

/// Time off the CPU in ns.
pub fn offcpu(capture: &Capture) -> io::Result<Vec<u8>> {
    let titles = Titles::of(capture);
    let mut builder = Builder::new(capture, &[("off_cpu", "nanoseconds")]);
    rows::offcpu(capture, &titles, |row| builder.add(&row, &[row.value]));
    builder.gzip()
}

/// Time of threads in ns: on the CPU, off the CPU, both.
pub fn wall(capture: &Capture) -> io::Result<Vec<u8>> {
    const NS: &str = "nanoseconds";
    let titles = Titles::of(capture);
    let mut builder = Builder::new(capture, &[("cpu", NS), ("off_cpu", NS), ("wall", NS)]);
    rows::wall(capture, &titles, |row| {
        let [on, off] = match row.tint {
            Tint::Waiting(_) => [0, row.value],
            _ => [row.value, 0],
        };
        builder.add(&row, &[on, off, row.value]);
    });
    builder.gzip()
}

/// Memory as heap profiles have it: taken since calls are told, and live.
pub fn memory(capture: &Capture) -> io::Result<Vec<u8>> {
    let titles = Titles::of(capture);
    let types = [
        ("alloc_objects", "count"),
        ("alloc_space", "bytes"),
        ("inuse_objects", "count"),
        ("inuse_space", "bytes"),
    ];
    let mut builder = Builder::new(capture, &types);
    rows::memory(capture, &titles, |row, site| {
        let [taken, live] = [site.allocated, site.live];
        builder.add(&row, &[taken.blocks, taken.bytes, live.blocks, live.bytes]);
    });
    builder.gzip()
}

/// Tables of a profile; ids start at 1, string 0 is empty.
struct Builder<'c> {
    processes: &'c HashMap<ProcessKey, ProcessInfo>,
    profile: proto::Profile,
    strings: HashMap<String, i64>,
    mappings: HashMap<String, u64>,
    functions: HashMap<(i64, i64), u64>,
    locations: HashMap<(u64, u64, i64), u64>,
}

impl<'c> Builder<'c> {
    fn new(capture: &'c Capture, types: &[(&str, &str)]) -> Self {
        let mut builder = Self {
            processes: &capture.processes,
            profile: proto::Profile::default(),
            strings: HashMap::new(),
            mappings: HashMap::new(),
            functions: HashMap::new(),
            locations: HashMap::new(),
        };
        builder.string("");
        builder.profile.sample_type =
            types.iter().map(|(name, unit)| builder.value_type(name, unit)).collect();
        let started = capture.info.started_unix.unwrap_or(0);
        builder.profile.time_nanos = signed(started.saturating_mul(1_000_000_000));
        let mut comments = vec![format!("warplens {}", env!("CARGO_PKG_VERSION"))];
        if capture.simulated() {
            comments.push("SIMULATED: from the simulated CUDA, not from a GPU".to_owned());
        }
        comments.extend(capture.info.notes.iter().cloned());
        builder.profile.comment = comments.iter().map(|text| builder.string(text)).collect();
        builder
    }

    fn add(&mut self, row: &Row<'_, '_>, values: &[u64]) {
        // Leaf first.
        let location_id = row.frames.iter().rev().map(|frame| self.location(frame)).collect();
        let mut label = vec![self.text_label("class", row.tint.as_str())];
        if let Some(kind) = row.kind {
            label.push(self.text_label("kind", kind.as_str()));
        }
        if let Some(cause) = row.cause {
            let key = if matches!(row.tint, Tint::Waiting(_)) { "reason" } else { "cause" };
            label.push(self.text_label(key, cause));
        }
        if let Some(device) = row.device {
            label.push(self.text_label("gpu", &device.info.index.to_string()));
            if let Some(uuid) = &device.info.uuid {
                label.push(self.text_label("UUID", uuid));
            }
        }
        if let Some(process) = row.process {
            let info = self.processes.get(&process).cloned();
            let process = row
                .frames
                .iter()
                .find(|frame| frame.tint == Tint::Process)
                .map_or("process", |frame| frame.text);
            label.push(self.text_label("process", process));
            for (key, text) in
                info.iter().flat_map(|info| [("role", &info.role), ("rank", &info.rank)])
            {
                if !text.is_empty() {
                    label.push(self.text_label(key, text));
                }
            }
        }
        if let Some(thread) = row.thread {
            let key = self.string("thread");
            label.push(proto::Label { key, str: 0, num: i64::from(thread.0), num_unit: 0 });
        }
        if row.graph != 0 {
            let key = self.string("graph");
            label.push(proto::Label { key, str: 0, num: i64::from(row.graph), num_unit: 0 });
        }
        let value = values.iter().map(|&value| signed(value)).collect();
        self.profile.sample.push(proto::Sample { location_id, value, label });
    }

    fn location(&mut self, frame: &RowFrame<'_>) -> u64 {
        let (file, line, module) = match frame.host {
            Some(host) => (host.file.as_deref(), host.line, host.module.as_deref()),
            None => (None, None, None),
        };
        let name = self.string(frame.name);
        let file = self.string(file.unwrap_or_default());
        let mapping = module.map_or(0, |module| self.mapping(module));
        let next = self.profile.function.len() as u64 + 1;
        let function = *self.functions.entry((name, file)).or_insert(next);
        if function == next {
            self.profile.function.push(proto::Function {
                id: next,
                name,
                system_name: name,
                filename: file,
                start_line: 0,
            });
        }
        let line = line.map_or(0, i64::from);
        let next = self.profile.location.len() as u64 + 1;
        let location = *self.locations.entry((function, mapping, line)).or_insert(next);
        if location == next {
            self.profile.location.push(proto::Location {
                id: next,
                mapping_id: mapping,
                address: 0,
                line: vec![proto::Line { function_id: function, line }],
                is_folded: false,
            });
        }
        location
    }

    fn mapping(&mut self, module: &str) -> u64 {
        if let Some(&id) = self.mappings.get(module) {
            return id;
        }
        let id = self.profile.mapping.len() as u64 + 1;
        let filename = self.string(module);
        self.profile.mapping.push(proto::Mapping {
            id,
            filename,
            // Symbols are resolved already: pprof must not look for the file.
            has_functions: true,
            has_filenames: true,
            has_line_numbers: true,
            has_inline_frames: true,
            ..proto::Mapping::default()
        });
        self.mappings.insert(module.to_owned(), id);
        id
    }

    fn value_type(&mut self, name: &str, unit: &str) -> proto::ValueType {
        proto::ValueType { r#type: self.string(name), unit: self.string(unit) }
    }

    fn text_label(&mut self, key: &str, text: &str) -> proto::Label {
        proto::Label { key: self.string(key), str: self.string(text), num: 0, num_unit: 0 }
    }

    fn string(&mut self, text: &str) -> i64 {
        if let Some(&id) = self.strings.get(text) {
            return id;
        }
        let id = signed(self.profile.string_table.len() as u64);
        self.profile.string_table.push(text.to_owned());
        self.strings.insert(text.to_owned(), id);
        id
    }

    fn gzip(self) -> io::Result<Vec<u8>> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&self.profile.encode_to_vec())?;
        encoder.finish()
    }
}

/// The format's integers are signed; 2^63 ns are 292 years.
fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
