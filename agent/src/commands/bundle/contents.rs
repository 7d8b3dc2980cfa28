//! What is put into a bundle, piece by piece, each redacted.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use super::{failed, machine};
use crate::bpf::probe::Off;
use crate::bundle::{Archive, Kind, Redactor, redacted};
use crate::cli::BundleArgs;
use crate::commands::{CommandError, analyze, doctor, dump, one_line};
use crate::flight::{WHY_JSON, Why};
use crate::output::{OutputError, REPORT_JSON, REPORT_MD, json, markdown};
use crate::pipeline::Pipeline;
use crate::recording::{self, Reader, Writer};

/// Longest configuration that is read, bytes.
const CONFIG_MAX: u64 = 1 << 20;

pub(super) struct Contents {
    pub(super) archive: Archive,
    pub(super) redactor: Redactor,
    /// What could not be had, and why.
    pub(super) missing: Vec<String>,
}

impl Contents {
    /// A recording, or a folder that `record` or `dump` made, as folder `number`: written anew, with a report of what
    /// is left. Pictures and profiles are not taken along: `warplens analyze` makes them again.
    pub(super) fn recording(&mut self, source: &Path, number: usize) -> Result<(), CommandError> {
        for (position, file) in analyze::expand(&[source.to_owned()])?.iter().enumerate() {
            let folder = match position {
                0 => number.to_string(),
                more => format!("{number}.{}", more + 1),
            };
            self.one(file, &folder)?;
        }
        let why = source.join(WHY_JSON);
        if source.is_dir() && why.is_file() {
            self.why(&why, &number.to_string())?;
        }
        Ok(())
    }

    fn one(&mut self, file: &Path, folder: &str) -> Result<(), CommandError> {
        let mut reader = Reader::open(file)?;
        let name = format!("{folder}/{}", recording::FILE_NAME);
        let mut writer = Writer::create(&self.archive.place(&name).map_err(failed)?)?;
        let mut pipeline = Pipeline::marked();
        while let Some(input) = reader.next_input()? {
            if let Some(input) = redacted(input, &mut self.redactor) {
                writer.write(&input)?;
                pipeline.feed(input);
            }
        }
        writer.finish()?;
        self.archive.add(&name, "what was observed, redacted").map_err(failed)?;
        let capture = pipeline.finish();
        let report = json::render(&capture).map_err(OutputError::Json)?;
        let put = self.archive.put(&format!("{folder}/{REPORT_JSON}"), "its report", &report);
        put.map_err(failed)?;
        let text = markdown::render(&capture);
        let put = self.archive.put(&format!("{folder}/{REPORT_MD}"), "its report", text.as_bytes());
        put.map_err(failed)
    }

    fn why(&mut self, path: &Path, folder: &str) -> Result<(), CommandError> {
        let read = std::fs::read(path).map_err(|error| one_line(&error)).and_then(|bytes| {
            serde_json::from_slice::<Why>(&bytes).map_err(|error| one_line(&error))
        });
        let mut why = match read {
            Ok(why) => why,
            Err(error) => {
                self.missing.push(format!("{WHY_JSON}: {error}"));
                return Ok(());
            }
        };
        let redactor = &mut self.redactor;
        let (texts, code) = why.texts();
        for text in texts {
            *text = redactor.text(text);
        }
        for name in code {
            *name = redactor.code(name);
        }
        self.json(&format!("{folder}/{WHY_JSON}"), "why it was written", &why)
    }

    /// The daemon's metrics and configuration, the machine's checks and versions.
    pub(super) fn surroundings(&mut self, args: &BundleArgs) -> Result<(), CommandError> {
        match dump::metrics(args.socket.as_deref()) {
            Ok(metrics) => {
                self.learn_labels(&metrics);
                let text = self.lines(&metrics);
                let put =
                    self.archive.put("metrics.txt", "/metrics of the daemon", text.as_bytes());
                put.map_err(failed)?;
            }
            Err(error) => self.missing.push(format!("metrics: {}", one_line(&error))),
        }
        if let Some(path) = &args.config {
            let config = self.config(path)?;
            let put = self.archive.put("config.toml", "the configuration", config.as_bytes());
            put.map_err(failed)?;
        }
        let mut checks = serde_json::to_value(doctor::document(&Off::default(), Vec::new()))
            .map_err(OutputError::Json)?;
        self.value(&mut checks);
        self.json("doctor.json", "what the machine allows", &checks)?;
        let versions = machine::versions();
        let versions: BTreeMap<_, _> =
            versions.into_iter().map(|(what, text)| (what, self.redactor.text(&text))).collect();
        self.json("versions.json", "versions of everything concerned", &versions)
    }

    /// Names of services in metrics' labels, which are to be taken out wherever they stand.
    fn learn_labels(&mut self, metrics: &str) {
        for (label, kind) in [
            ("model_name=\"", Kind::Model),
            ("pod=\"", Kind::Pod),
            ("namespace=\"", Kind::Namespace),
            ("container=\"", Kind::Container),
        ] {
            for found in metrics.split(label).skip(1) {
                if let Some((value, _)) = found.split_once('"') {
                    drop(self.redactor.service(value, kind));
                }
            }
        }
    }

    fn lines(&mut self, text: &str) -> String {
        text.lines().map(|line| self.redactor.code(line) + "\n").collect()
    }

    /// The configuration file; values of secrets are left out as a whole.
    fn config(&mut self, path: &Path) -> Result<String, CommandError> {
        let refuse = |why: String| CommandError::Failed {
            message: format!("bundle: configuration {}: {why}", path.display()),
            source: None,
        };
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(CONFIG_MAX).read_to_string(&mut text))
            .map_err(|error| refuse(one_line(&error)))?;
        let mut table: toml::Value =
            toml::from_str(&text).map_err(|error| refuse(error.message().to_owned()))?;
        self.toml("", &mut table);
        toml::to_string(&table).map_err(|error| refuse(one_line(&error)))
    }

    fn toml(&mut self, name: &str, value: &mut toml::Value) {
        match value {
            toml::Value::String(text) if Redactor::is_secret_name(name) => {
                *text = self.redactor.secret(text);
            }
            toml::Value::String(text) => *text = self.redactor.text(text),
            toml::Value::Array(values) => {
                for value in values {
                    self.toml(name, value);
                }
            }
            toml::Value::Table(table) => {
                for (name, value) in table.iter_mut() {
                    self.toml(name, value);
                }
            }
            toml::Value::Integer(_)
            | toml::Value::Float(_)
            | toml::Value::Boolean(_)
            | toml::Value::Datetime(_) => {}
        }
    }

    /// Every text in a JSON document of ours.
    fn value(&mut self, value: &mut serde_json::Value) {
        match value {
            serde_json::Value::String(text) => *text = self.redactor.text(text),
            serde_json::Value::Array(values) => {
                for value in values {
                    self.value(value);
                }
            }
            serde_json::Value::Object(fields) => {
                for value in fields.values_mut() {
                    self.value(value);
                }
            }
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {
            }
        }
    }

    fn json(
        &mut self,
        path: &str,
        what: &str,
        value: &impl serde::Serialize,
    ) -> Result<(), CommandError> {
        let mut bytes = serde_json::to_vec_pretty(value).map_err(OutputError::Json)?;
        bytes.push(b'\n');
        self.archive.put(path, what, &bytes).map_err(failed)
    }
}
