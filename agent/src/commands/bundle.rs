//! The `bundle` command: what an issue report needs, in one file, without what identifies.

mod contents;
mod machine;

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::dump;
use super::{CommandError, Exit, one_line, screen};
use crate::bundle::{Archive, ArchiveError, Known, Manifest, Redactor, SCHEMA};
use crate::cli::BundleArgs;
use crate::daemon::FlightConfig;
use crate::flight::Store;
use crate::output::OutputError;
use contents::Contents;

#[derive(Serialize)]
struct Document<'m> {
    schema: &'static str,
    /// The file; absent with `--dry-run`.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<PathBuf>,
    manifest: &'m Manifest,
}

pub fn run(args: &BundleArgs) -> Result<Exit, CommandError> {
    let mut missing = Vec::new();
    let sources = if args.inputs.is_empty() {
        latest(args, &mut missing).into_iter().collect()
    } else {
        args.inputs.clone()
    };
    let redactor = Redactor::new(Known::of_this_machine(), args.anonymous).map_err(failed_with)?;
    let archive = Archive::create().map_err(failed)?;
    let mut contents = Contents { archive, redactor, missing };
    for (number, source) in sources.iter().enumerate() {
        contents.recording(source, number + 1)?;
    }
    // After the recordings: what their services are called is to be found in texts, too.
    contents.surroundings(args)?;
    let Contents { archive, redactor, missing } = contents;
    let counts = redactor.counts().into_iter();
    let manifest = Manifest {
        schema: SCHEMA.to_owned(),
        warplens: env!("CARGO_PKG_VERSION").to_owned(),
        anonymous: args.anonymous,
        files: archive.files().to_vec(),
        redacted: counts.map(|(kind, count)| (kind.to_owned(), count)).collect(),
        missing,
    };
    let path = if args.dry_run {
        None
    } else {
        let path = args.out.clone().unwrap_or_else(default_name);
        archive.pack(&path, &manifest).map_err(failed)?;
        Some(path)
    };
    tell(args, &manifest, path)?;
    Ok(Exit::Ok)
}

fn tell(args: &BundleArgs, manifest: &Manifest, path: Option<PathBuf>) -> Result<(), CommandError> {
    let verdict = match &path {
        Some(path) => format!(
            "warplens: packed into {}: look into it before you send it. Next: `warplens view {}`",
            path.display(),
            path.display()
        ),
        None => {
            "warplens: nothing was written. Next: `warplens bundle` without --dry-run".to_owned()
        }
    };
    let bytes = if args.json {
        let document = Document { schema: "warplens.bundle-made/v1", path, manifest };
        let mut bytes = serde_json::to_vec_pretty(&document).map_err(OutputError::Json)?;
        bytes.push(b'\n');
        bytes
    } else {
        listing(manifest).into_bytes()
    };
    screen::out(&bytes).map_err(CommandError::Stdout)?;
    screen::say(&verdict);
    Ok(())
}

/// What is in it, for people.
pub(super) fn listing(manifest: &Manifest) -> String {
    let width = manifest.files.iter().map(|file| file.path.len()).max().unwrap_or(0);
    let files = manifest.files.iter();
    let mut lines: Vec<String> = files
        .map(|file| format!("{:<width$}  {:>9}  {}", file.path, file.bytes, file.what))
        .collect();
    let kinds: Vec<String> =
        manifest.redacted.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    lines.push(if kinds.is_empty() {
        "Nothing had to be taken out.".to_owned()
    } else {
        format!("Taken out, different ones: {}.", kinds.join(", "))
    });
    lines.extend(manifest.missing.iter().map(|what| format!("Not in it: {what}")));
    lines.join("\n") + "\n"
}

/// A dump by the daemon, or the latest that lies there.
fn latest(args: &BundleArgs, missing: &mut Vec<String>) -> Option<PathBuf> {
    match dump::dump(args.socket.as_deref()) {
        Ok(dumped) if dumped.path.is_dir() => return Some(dumped.path),
        Ok(dumped) => missing.push(format!(
            "the daemon's dump: {} is not to be seen from here; name it",
            dumped.path.display()
        )),
        Err(error) => missing.push(format!("a dump by the daemon: {}", one_line(&error))),
    }
    let FlightConfig { dir, .. } = FlightConfig::default();
    let found = Store::newest(&dir);
    if found.is_none() {
        missing.push(format!("a recording: no dump lies in {}; name one", dir.display()));
    }
    found
}

fn default_name() -> PathBuf {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    PathBuf::from(format!("warplens-bundle-{unix}.tar.zst"))
}

fn failed(error: ArchiveError) -> CommandError {
    failed_with(error)
}

fn failed_with(error: impl std::error::Error + Send + Sync + 'static) -> CommandError {
    CommandError::Failed { message: "bundle".to_owned(), source: Some(Box::new(error)) }
}
