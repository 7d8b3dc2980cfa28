//! The `view` command: opens a bundle, a dump or a recording's folder and says what is in it.

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use analysis::classify::Classifier;
use serde::Serialize;
use serde_json::Value;

use super::bundle::listing;
use super::findings::findings;
use super::{CommandError, Exit, analyze, screen};
use crate::bundle::{self, Limits, MANIFEST_JSON, Manifest, ZSTD_MAGIC};
use crate::cli::ViewArgs;
use crate::flight::{WHY_JSON, Why};
use crate::output::folder::PARTIAL_PREFIX;
use crate::output::{OutputError, json, summary};
use crate::pipeline::Pipeline;
use crate::recording::{self, Reader};

/// What the recordings of one bundle may unpack to, bytes: an hour of a full node.
const RECORDING_MAX: u64 = 64 << 30;

/// Longest file of texts that is read, bytes.
const TEXT_MAX: u64 = 16 << 20;

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    manifest: Option<Manifest>,
    versions: Option<Value>,
    doctor: Option<Value>,
    recordings: Vec<Shown>,
}

/// One recording.
#[derive(Serialize)]
struct Shown {
    /// Below what was opened.
    path: PathBuf,
    why: Option<Why>,
    report: Value,
    #[serde(skip)]
    text: String,
    #[serde(skip)]
    verdict: String,
}

pub fn run(args: &ViewArgs) -> Result<Exit, CommandError> {
    let packed = is_bundle(&args.input)?;
    if args.extract.is_some() && !packed {
        return Err(CommandError::Usage(
            "view: --extract unpacks a bundle; this is none".to_owned(),
        ));
    }
    let staging = if packed { Some(unpacked(args)?) } else { None };
    let root = staging.as_ref().map_or(args.input.as_path(), tempfile::TempDir::path);
    let document = read(root)?;
    let mut next = match document.recordings.first() {
        Some(_) if packed => format!("warplens view {} --extract FOLDER", args.input.display()),
        Some(_) => format!("warplens analyze {} -o warplens-out", args.input.display()),
        None => "warplens dump".to_owned(),
    };
    if let (Some(target), Some(staging)) = (&args.extract, staging) {
        let kept = staging.keep();
        std::fs::rename(&kept, target).map_err(|source| {
            // It lies beside its place still, and is nobody's.
            let _tried = std::fs::remove_dir_all(&kept);
            CommandError::Failed {
                message: format!(
                    "view: extract to {}: name a folder that is not there",
                    target.display()
                ),
                source: Some(Box::new(source)),
            }
        })?;
        next = format!("warplens analyze {} -o warplens-out", target.display());
    }
    let verdict = match document.recordings.first() {
        Some(shown) => shown.verdict.clone(),
        None => "no recording is in it".to_owned(),
    };
    if args.json {
        let mut bytes = serde_json::to_vec_pretty(&document).map_err(OutputError::Json)?;
        bytes.push(b'\n');
        screen::out(&bytes).map_err(CommandError::Stdout)?;
        screen::say(&summary::last_line(&verdict, &next));
    } else {
        let mut text = render(&document);
        text.push_str(&summary::last_line(&verdict, &next));
        text.push('\n');
        screen::out(text.as_bytes()).map_err(CommandError::Stdout)?;
    }
    Ok(Exit::Ok)
}

fn is_bundle(path: &Path) -> Result<bool, CommandError> {
    let failed = |source: std::io::Error| CommandError::Failed {
        message: format!("view: {}: check the path and its permissions", path.display()),
        source: Some(Box::new(source)),
    };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        return Ok(false);
    }
    let mut head = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(4).read_to_end(&mut head).map_err(failed)?;
    Ok(head == ZSTD_MAGIC)
}

/// Beside its later place, where it has one: it is moved there.
fn unpacked(args: &ViewArgs) -> Result<tempfile::TempDir, CommandError> {
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix(PARTIAL_PREFIX);
    let made = match &args.extract {
        Some(target) if target.symlink_metadata().is_ok() => {
            return Err(CommandError::Failed {
                message: format!(
                    "view: {} is there already: name a folder that is not",
                    target.display()
                ),
                source: None,
            });
        }
        Some(target) => match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => builder.tempdir_in(parent),
            _ => builder.tempdir_in("."),
        },
        None => builder.tempdir(),
    };
    let folder = made.map_err(|source| CommandError::Failed {
        message: "view: make a folder to unpack into: check TMPDIR and the free space".to_owned(),
        source: Some(Box::new(source)),
    })?;
    let unpacked = bundle::unpack(&args.input, folder.path(), Limits::default());
    unpacked.map_err(|error| CommandError::Failed {
        message: format!("view: {}", super::one_line(&error)),
        source: None,
    })?;
    Ok(folder)
}

fn read(root: &Path) -> Result<Document, CommandError> {
    let mut recordings = Vec::new();
    let mut left = RECORDING_MAX;
    for file in files(root)? {
        let capture = capture(&file, &mut left)?;
        let found = findings(&capture);
        let report = json::render(&capture).map_err(OutputError::Json)?;
        let why = file.parent().and_then(|folder| document(&folder.join(WHY_JSON)));
        recordings.push(Shown {
            path: file.strip_prefix(root).unwrap_or(&file).to_owned(),
            why,
            report: serde_json::from_slice(&report).map_err(OutputError::Json)?,
            text: summary::render(&capture, &found),
            verdict: summary::verdict(&capture, &found),
        });
    }
    Ok(Document {
        schema: "warplens.view/v1",
        manifest: document(&root.join(MANIFEST_JSON)),
        versions: document(&root.join("versions.json")),
        doctor: document(&root.join("doctor.json")),
        recordings,
    })
}

/// Recordings; a bundle may hold none.
fn files(root: &Path) -> Result<Vec<PathBuf>, CommandError> {
    if root.is_dir() && root.join(MANIFEST_JSON).is_file() {
        return Ok(analyze::expand(&[root.to_owned()]).unwrap_or_default());
    }
    let mut files = analyze::expand(&[root.to_owned()])?;
    // Traces of other tools are what `analyze` is for.
    files.retain(|file| file.extension().is_some_and(|end| end == "warplens"));
    Ok(files)
}

/// One recording, as far as the rest of what may be unpacked reaches.
fn capture(file: &Path, left: &mut u64) -> Result<crate::capture::Capture, CommandError> {
    let mut reader = Reader::open(file)?;
    let mut pipeline = Pipeline::marked().classified_by(Classifier::default());
    while let Some(input) = reader.next_input()? {
        if reader.unpacked() > *left {
            return Err(CommandError::Failed {
                message: format!(
                    "view: {}: refused: its recordings unpack to more than {} GiB",
                    recording::FILE_NAME,
                    RECORDING_MAX >> 30
                ),
                source: None,
            });
        }
        pipeline.feed(input);
    }
    *left = left.saturating_sub(reader.unpacked());
    Ok(pipeline.finish())
}

/// A file of ours, where it is there and is one.
fn document<T: serde::de::DeserializeOwned>(path: &Path) -> Option<T> {
    let short = std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() <= TEXT_MAX);
    serde_json::from_slice(&short.then(|| std::fs::read(path).ok())??).ok()
}

fn render(document: &Document) -> String {
    let mut parts = Vec::new();
    if let Some(manifest) = &document.manifest {
        let head = format!("In the bundle, packed by warplens {}:\n", manifest.warplens);
        parts.push(head + &listing(manifest));
    }
    if let Some(Value::Object(versions)) = &document.versions {
        let mut lines = vec!["Versions".to_owned()];
        let told = |(what, version): (&String, &Value)| {
            format!("  {what}: {}", version.as_str().unwrap_or(""))
        };
        lines.extend(versions.iter().map(told));
        parts.push(lines.join("\n") + "\n");
    }
    parts.extend(missing(document.doctor.as_ref()));
    for shown in &document.recordings {
        let head = format!("{}\n", shown.path.display());
        parts.push(head + &shown.why.as_ref().map(reason).unwrap_or_default());
        parts.push(shown.text.clone());
    }
    parts.join("\n") + "\n"
}

/// What `doctor` found missing.
fn missing(doctor: Option<&Value>) -> Option<String> {
    let checks = doctor?["checks"].as_array()?;
    let word = |check: &Value, key: &str| check[key].as_str().unwrap_or("").to_owned();
    let lost = checks.iter().filter(|check| check["state"] == "missing");
    let lines: Vec<String> = lost
        .map(|check| format!("  {}: {}\n", word(check, "name"), word(check, "found")))
        .collect();
    Some(if lines.is_empty() {
        "Doctor found nothing missing.\n".to_owned()
    } else {
        format!("Missing, by doctor\n{}", lines.concat())
    })
}

/// What made the dump, and the last of each worker.
fn reason(why: &Why) -> String {
    let seconds = Duration::from_nanos(why.window_ns).as_secs_f64();
    let head = format!("  the last {seconds:.1} s before: {} ({})\n", why.detail, why.trigger);
    let last = why.workers.iter().filter_map(|worker| {
        let name = &worker.last_kernels.last()?.name;
        Some(format!("  last kernel of {} (pid {}): {name}\n", worker.title, worker.pid))
    });
    head + &last.collect::<Vec<_>>().concat()
}
