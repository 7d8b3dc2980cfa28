//! Nsight's own report format, which only Nsight reads: `nsys export` makes a `.sqlite` of it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// An export reads at some MB/s; what takes longer than this hangs.
const LIMIT: Duration = Duration::from_mins(30);

/// How often a running export is looked at.
const POLL: Duration = Duration::from_millis(20);

/// Of what `nsys` printed, this much of the end is shown.
const SAID_MAX: usize = 2000;

/// `nsys` exits with its reason on either stream.
const SAID: &str = "said.txt";

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error(
        "{path}: an Nsight Systems report, which only `nsys` reads, and `nsys` is not on PATH: where it is installed, run `nsys export --type sqlite --output {output} {path}`, then analyze {output}"
    )]
    NoNsys { path: PathBuf, output: PathBuf },
    #[error("run `nsys export` on {path}: check that `nsys` on PATH can be executed")]
    Run {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("make a temporary folder for the export of {path}: check TMPDIR and its space")]
    Place {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("`nsys export --type sqlite {path}` failed ({status}): {said}")]
    Failed { path: PathBuf, status: ExitStatus, said: String },
    #[error(
        "`nsys export --type sqlite {path}` did not end within {} minutes: run it by hand, then analyze its output",
        LIMIT.as_secs() / 60
    )]
    Late { path: PathBuf },
}

/// An export, gone when dropped.
#[derive(Debug)]
pub struct Exported {
    folder: TempDir,
}

impl Exported {
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("export.sqlite")
    }
}

/// Exports the report at `path` to a temporary `.sqlite`.
pub fn export(path: &Path) -> Result<Exported, ExportError> {
    let place = |source| ExportError::Place { path: path.to_owned(), source };
    let exported = Exported { folder: tempfile::tempdir().map_err(place)? };
    let said = exported.folder.path().join(SAID);
    let output = File::create(&said).map_err(place)?;
    let errors = output.try_clone().map_err(place)?;
    let mut command = Command::new("nsys");
    command
        .args(["export", "--type", "sqlite", "--force-overwrite", "true", "--output"])
        .arg(exported.path())
        .arg(path)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors);
    let run = |source| ExportError::Run { path: path.to_owned(), source };
    let child = command.spawn().map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => {
            ExportError::NoNsys { path: path.to_owned(), output: path.with_extension("sqlite") }
        }
        _ => run(source),
    })?;
    let Some(status) = wait(child, LIMIT).map_err(run)? else {
        return Err(ExportError::Late { path: path.to_owned() });
    };
    if !status.success() || !exported.path().is_file() {
        let said = fs::read(&said).unwrap_or_default();
        let said = tail(&String::from_utf8_lossy(&said));
        return Err(ExportError::Failed { path: path.to_owned(), status, said });
    }
    Ok(exported)
}

/// How it ended; `None` when it had to be ended.
fn wait(mut child: Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if began.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

/// The end of what was printed, which is where the reason stands.
fn tail(said: &str) -> String {
    let said = said.trim();
    if said.is_empty() {
        return "it printed nothing".to_owned();
    }
    let from = said.ceil_char_boundary(said.len().saturating_sub(SAID_MAX));
    said[from..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_hangs_is_ended() {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        assert_eq!(wait(child, Duration::ZERO).unwrap(), None);
        let child = Command::new("true").spawn().unwrap();
        assert!(wait(child, LIMIT).unwrap().unwrap().success());
    }

    #[test]
    fn the_end_of_what_was_printed_is_shown() {
        assert_eq!(tail(" \n"), "it printed nothing");
        assert_eq!(tail(&format!("{}reason\n", "\u{e9}".repeat(SAID_MAX))).len(), SAID_MAX);
    }
}
