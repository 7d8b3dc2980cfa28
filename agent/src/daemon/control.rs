//! The daemon's socket: who may ask it, and what. One JSON object a line, one question a connection.
//!
//! Only root and the daemon's own user are answered, by what the kernel says of them. Everything a client can do is
//! bounded: how many there are, how long they talk, how much they say.

use std::fs;
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::flight::{Desk, Trigger};

/// Names another socket than [`SOCKET`].
const VARIABLE: &str = "WARPLENS_SOCKET";

/// Where only the machine's operator may write, gone after a restart.
const SOCKET: &str = "/run/warplens/agent.sock";

/// Clients at once; further ones wait in the kernel's queue.
const CLIENTS: usize = 16;

/// A question and its line feed, bytes.
const QUESTION_MAX: u64 = 1024;

/// How long a client may take to ask, and to take a piece of its answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a dump may take: a full window on a slow disk beside a busy server.
pub const DUMP_PATIENCE: Duration = Duration::from_mins(5);

/// What can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ask {
    Dump,
    /// The text of `/metrics`.
    Metrics,
}

/// A client's line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    pub ask: Ask,
}

/// The daemon's line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// Version of the daemon.
    pub warplens: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dump: Option<Dumped>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<String>,
}

/// A dump that was written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dumped {
    /// As the daemon sees it: in a container, of the container.
    pub path: PathBuf,
    pub bytes: u64,
    pub window_ns: u64,
}

/// The socket's path: as asked for, by the environment, or the usual one.
pub fn path(asked: Option<&Path>) -> PathBuf {
    let named = || std::env::var_os(VARIABLE).map_or_else(|| PathBuf::from(SOCKET), PathBuf::from);
    asked.map_or_else(named, Path::to_owned)
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    #[error("another daemon answers at {path}")]
    Taken { path: PathBuf },
    #[error("{path} is not a socket: remove it, or name another with WARPLENS_SOCKET")]
    Foreign { path: PathBuf },
    #[error(
        "{dir}: it belongs to another user, or others may write to it: name another with WARPLENS_SOCKET"
    )]
    Open { dir: PathBuf },
    #[error("{path}: name another with WARPLENS_SOCKET")]
    Bind {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// The bound socket; its file goes with it.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
    /// Tells our file from one that took its place.
    inode: u64,
}

impl Drop for Control {
    fn drop(&mut self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|file| file.ino() == self.inode) {
            // A file that stays is replaced by the next daemon.
            let _tried = fs::remove_file(&self.path);
        }
    }
}

impl Control {
    /// Binds `path`. The socket of a daemon that is gone is replaced, one that answers is not.
    pub async fn bind(path: &Path) -> Result<Self, ControlError> {
        let bind = |source| ControlError::Bind { path: path.to_owned(), source };
        let dir = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        // Others may look whether the switch in the same folder is set, not write.
        fs::DirBuilder::new().recursive(true).mode(0o755).create(dir).map_err(bind)?;
        let folder = fs::metadata(dir).map_err(bind)?;
        let own = rustix::process::geteuid().as_raw();
        if ![0, own].contains(&folder.uid()) || folder.mode() & 0o022 != 0 {
            return Err(ControlError::Open { dir: dir.to_owned() });
        }
        match fs::symlink_metadata(path) {
            Ok(file) if !file.file_type().is_socket() => {
                return Err(ControlError::Foreign { path: path.to_owned() });
            }
            Ok(_)
                if timeout(PATIENCE, UnixStream::connect(path))
                    .await
                    .is_ok_and(|it| it.is_ok()) =>
            {
                return Err(ControlError::Taken { path: path.to_owned() });
            }
            Ok(_) | Err(_) => {}
        }
        // Bound under a name of its own, closed to others, and only then given its place.
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        let place = dir.join(format!(".{}.{}", name.unwrap_or_default(), std::process::id()));
        let _none = fs::remove_file(&place);
        let listener = UnixListener::bind(&place).map_err(bind)?;
        let named = fs::set_permissions(&place, fs::Permissions::from_mode(0o600))
            .and_then(|()| fs::rename(&place, path))
            .and_then(|()| fs::symlink_metadata(path));
        match named {
            Ok(file) => Ok(Self { listener, path: path.to_owned(), inode: file.ino() }),
            Err(error) => {
                let _tried = fs::remove_file(&place);
                Err(bind(error))
            }
        }
    }

    /// Answers until it is dropped. `metrics` gives the text of `/metrics`.
    pub async fn serve<M, F>(self, desk: Option<Desk>, metrics: M)
    where
        M: Fn() -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Result<String, String>> + Send,
    {
        let seats = Arc::new(Semaphore::new(CLIENTS));
        loop {
            // Never closed; if it were, nobody would be let in.
            let Ok(seat) = Arc::clone(&seats).acquire_owned().await else {
                return;
            };
            let Ok((stream, _)) = self.listener.accept().await else {
                // Out of descriptors: later there may be some.
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let (desk, metrics) = (desk.clone(), metrics.clone());
            drop(tokio::spawn(async move {
                let _seat = seat;
                // A client that went away, or was too slow, is nobody's concern.
                let _gone = answer(stream, desk, metrics).await;
            }));
        }
    }
}

async fn answer<M, F>(stream: UnixStream, desk: Option<Desk>, metrics: M) -> io::Result<()>
where
    M: Fn() -> F + Send,
    F: Future<Output = Result<String, String>> + Send,
{
    let client = stream.peer_cred()?.uid();
    if ![0, rustix::process::geteuid().as_raw()].contains(&client) {
        return Ok(());
    }
    let (reader, mut writer) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(reader.take(QUESTION_MAX));
    timeout(PATIENCE, reader.read_line(&mut line)).await??;
    let mut reply = match serde_json::from_str::<Question>(&line) {
        Err(error) => refused(format!("not a question: {error}")),
        Ok(Question { ask: Ask::Metrics }) => match metrics().await {
            Ok(text) => Reply { metrics: Some(text), ..Reply::default() },
            Err(error) => refused(error),
        },
        Ok(Question { ask: Ask::Dump }) => dump(desk).await,
    };
    env!("CARGO_PKG_VERSION").clone_into(&mut reply.warplens);
    let mut bytes = serde_json::to_vec(&reply).map_err(io::Error::other)?;
    bytes.push(b'\n');
    for piece in bytes.chunks(64 << 10) {
        timeout(PATIENCE, writer.write_all(piece)).await??;
    }
    timeout(PATIENCE, writer.shutdown()).await?
}

async fn dump(desk: Option<Desk>) -> Reply {
    let Some(desk) = desk else {
        return refused(
            "the flight recorder is off: set flight.seconds in the daemon's configuration"
                .to_owned(),
        );
    };
    let Some(answer) = desk.ask(Trigger::Asked) else {
        return refused("too many dumps wait: ask again later".to_owned());
    };
    match timeout(DUMP_PATIENCE, answer).await {
        Ok(Ok(Ok(written))) => Reply {
            dump: Some(Dumped {
                path: written.path,
                bytes: written.bytes,
                window_ns: written.window_ns,
            }),
            ..Reply::default()
        },
        Ok(Ok(Err(error))) => refused(error),
        Ok(Err(_)) => refused("the daemon ends".to_owned()),
        Err(_) => refused("the dump takes longer than 5 minutes: it goes on".to_owned()),
    }
}

fn refused(error: String) -> Reply {
    Reply { error: Some(error), ..Reply::default() }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream as Client;

    use super::*;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }

    fn serve(runtime: &tokio::runtime::Runtime, path: &Path) -> tokio::task::JoinHandle<()> {
        let control = runtime.block_on(Control::bind(path)).unwrap();
        runtime.spawn(control.serve(None, || async { Ok("text\n".to_owned()) }))
    }

    fn ask(path: &Path, question: &[u8]) -> String {
        let mut client = Client::connect(path).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        client.write_all(question).unwrap();
        let mut answer = String::new();
        let _closed = client.read_to_string(&mut answer);
        answer
    }

    #[test]
    fn questions_are_answered_and_nonsense_is_not() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let path = folder.path().join("run").join("agent.sock");
        let task = serve(&runtime, &path);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let reply: Reply = serde_json::from_str(&ask(&path, b"{\"ask\":\"metrics\"}\n")).unwrap();
        assert_eq!(reply.metrics.as_deref(), Some("text\n"));
        let reply: Reply = serde_json::from_str(&ask(&path, b"{\"ask\":\"dump\"}\n")).unwrap();
        assert!(reply.error.unwrap().contains("is off"));
        for nonsense in [
            &b"\n"[..],
            b"{}\n",
            b"{\"ask\":\"rm\"}\n",
            b"{\"ask\":\"dump\",\"x\":1}\n",
            &[b'x'; 5000],
        ] {
            let answer = ask(&path, nonsense);
            assert!(answer.is_empty() || answer.contains("not a question"), "{answer}");
        }
        // As many as there are seats say nothing; the next one is answered when they are sent away.
        let silent: Vec<Client> = (0..CLIENTS).map(|_| Client::connect(&path).unwrap()).collect();
        assert!(ask(&path, b"{\"ask\":\"metrics\"}\n").contains("text"));
        drop(silent);
        task.abort();
        let _cancelled = runtime.block_on(task);
        assert!(!path.exists(), "its file goes with it");
    }

    #[test]
    fn a_dead_daemons_socket_is_replaced_and_a_living_ones_is_not() {
        let (runtime, folder) = (runtime(), tempfile::tempdir().unwrap());
        let path = folder.path().join("agent.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let task = serve(&runtime, &path);
        let error = runtime.block_on(Control::bind(&path)).unwrap_err().to_string();
        assert!(error.starts_with("another daemon answers"), "{error}");
        assert!(ask(&path, b"{\"ask\":\"metrics\"}\n").contains("text"));
        task.abort();
        fs::write(folder.path().join("file"), "").unwrap();
        let error = runtime.block_on(Control::bind(&folder.path().join("file"))).unwrap_err();
        assert!(error.to_string().contains("is not a socket"), "{error}");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = runtime.block_on(Control::bind(&folder.path().join("x"))).unwrap_err();
        assert!(error.to_string().contains("others may write"), "{error}");
    }
}
