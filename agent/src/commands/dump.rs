//! The `dump` command: asks the daemon to write what its flight recorder has.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;

use super::{CommandError, Exit, one_line, screen};
use crate::cli::DumpArgs;
use crate::daemon::control::{Ask, DUMP_PATIENCE, Dumped, Question, Reply, path};
use crate::output::{OutputError, OutputFolder, REPORT_MD};

/// Longest answer that is believed: a full node's metrics are some megabytes.
const REPLY_MAX: u64 = 64 << 20;

/// How long anything but a dump may take.
const PATIENCE: Duration = Duration::from_secs(15);

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    /// Where the dump lies.
    path: PathBuf,
    bytes: u64,
    /// How far back it reaches, seconds.
    window_seconds: f64,
}

/// Why a daemon could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error(
        "no daemon answers at {path}: start `warplens agent`, or name its socket with --socket"
    )]
    Nobody {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("ask the daemon at {path}")]
    Talk {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the daemon at {path} answers nonsense: is it of another version?")]
    Nonsense {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("the daemon at {path} says nothing: only root and its own user are answered")]
    Silence { path: PathBuf },
    #[error("the daemon says: {0}")]
    Refused(String),
}

pub fn run(args: &DumpArgs) -> Result<Exit, CommandError> {
    // An unwritable folder is told before anybody is asked.
    let folder = args.out.as_deref().map(OutputFolder::create).transpose()?;
    let dumped = dump(args.socket.as_deref()).map_err(failed)?;
    let path = match folder {
        Some(folder) => {
            copy(&dumped.path, &folder)?;
            folder.commit()?
        }
        None => dumped.path.clone(),
    };
    let document = Document {
        schema: "warplens.dump/v1",
        path: path.clone(),
        bytes: dumped.bytes,
        window_seconds: Duration::from_nanos(dumped.window_ns).as_secs_f64(),
    };
    if args.json {
        let mut bytes = serde_json::to_vec_pretty(&document).map_err(OutputError::Json)?;
        bytes.push(b'\n');
        screen::out(&bytes).map_err(CommandError::Stdout)?;
    } else {
        let line = format!("{}\n", path.display());
        screen::out(line.as_bytes()).map_err(CommandError::Stdout)?;
    }
    screen::say(&format!(
        "warplens: the last {:.1} s are in {}. Next: `warplens view {}`",
        document.window_seconds,
        path.join(REPORT_MD).display(),
        path.display()
    ));
    Ok(Exit::Ok)
}

/// A dump by the daemon whose socket this is.
pub(super) fn dump(socket: Option<&Path>) -> Result<Dumped, AskError> {
    let reply = ask(socket, Ask::Dump, DUMP_PATIENCE + PATIENCE)?;
    reply.dump.ok_or_else(|| AskError::Refused("no dump".to_owned()))
}

/// The text of `/metrics`.
pub(super) fn metrics(socket: Option<&Path>) -> Result<String, AskError> {
    let reply = ask(socket, Ask::Metrics, PATIENCE)?;
    reply.metrics.ok_or_else(|| AskError::Refused("no metrics".to_owned()))
}

fn ask(socket: Option<&Path>, ask: Ask, patience: Duration) -> Result<Reply, AskError> {
    let path = path(socket);
    let talk = |source| AskError::Talk { path: path.clone(), source };
    let mut stream = UnixStream::connect(&path)
        .map_err(|source| AskError::Nobody { path: path.clone(), source })?;
    stream.set_read_timeout(Some(patience)).map_err(talk)?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(talk)?;
    let nonsense = |source| AskError::Nonsense { path: path.clone(), source };
    let mut question = serde_json::to_vec(&Question { ask }).map_err(nonsense)?;
    question.push(b'\n');
    stream.write_all(&question).map_err(talk)?;
    let mut answer = Vec::new();
    stream.take(REPLY_MAX).read_to_end(&mut answer).map_err(talk)?;
    if answer.is_empty() {
        return Err(AskError::Silence { path });
    }
    let reply: Reply = serde_json::from_slice(&answer).map_err(nonsense)?;
    match reply.error {
        Some(error) => Err(AskError::Refused(error)),
        None => Ok(reply),
    }
}

/// Of the daemon's folder, which only its own mount namespace may show.
fn copy(from: &Path, folder: &OutputFolder) -> Result<(), CommandError> {
    let failed = |source: io::Error| CommandError::Failed {
        message: format!(
            "dump: copy {}: it lies there as the daemon sees it; in a container, look there",
            from.display()
        ),
        source: Some(Box::new(source)),
    };
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        if entry.file_type().map_err(failed)?.is_file() {
            let to = folder.path(&name.to_string_lossy());
            fs::copy(entry.path(), to).map_err(failed)?;
        }
    }
    Ok(())
}

fn failed(error: AskError) -> CommandError {
    let refused = |error: &AskError| match error {
        AskError::Nobody { source, .. } => source.kind() == io::ErrorKind::PermissionDenied,
        _ => false,
    };
    if refused(&error) {
        return CommandError::Privilege {
            what: "dump".to_owned(),
            privilege: "root, or the daemon's own user,".to_owned(),
            advice: one_line(&error),
        };
    }
    CommandError::Failed { message: format!("dump: {error}"), source: source_of(error) }
}

fn source_of(error: AskError) -> Option<Box<dyn std::error::Error + Send + Sync>> {
    match error {
        AskError::Nobody { source, .. } | AskError::Talk { source, .. } => Some(Box::new(source)),
        AskError::Nonsense { source, .. } => Some(Box::new(source)),
        AskError::Silence { .. } | AskError::Refused(_) => None,
    }
}
