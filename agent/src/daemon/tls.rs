//! TLS for the daemon's HTTP. A client that is slow to greet waits by itself, and a certificate that is renewed on disk is
//! taken over while the daemon runs.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use axum::serve::Listener;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio_rustls::server::TlsStream;

use super::listen::{Connection, Limited};
use crate::commands::{one_line, screen};

/// A handshake takes two turns of the network.
const GREETING: Duration = Duration::from_secs(5);

/// Connections that are greeted and not served yet.
const GREETED: usize = 16;

/// Between two looks at the certificate's file.
const LOOK: Duration = Duration::from_secs(30);

/// Why a certificate cannot be used.
#[derive(Debug, Error)]
pub enum TlsError {
    #[error("read the {what} in {}: PEM is expected", path.display())]
    Pem {
        what: &'static str,
        path: PathBuf,
        #[source]
        source: pem::Error,
    },
    #[error("the certificate in {} does not fit the key in {}, or neither is usable", certificate.display(), key.display())]
    Unfit {
        certificate: PathBuf,
        key: PathBuf,
        #[source]
        source: tokio_rustls::rustls::Error,
    },
}

/// Where a certificate and its key lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    pub certificate: PathBuf,
    pub key: PathBuf,
}

/// A certificate that is read again when its file changes.
#[derive(Debug)]
pub struct Tls {
    files: Files,
    changed: Option<SystemTime>,
    present: Arc<RwLock<Arc<ServerConfig>>>,
}

impl Tls {
    /// # Errors
    /// [`TlsError`] for files that make no server's identity.
    pub fn read(files: Files) -> Result<Self, TlsError> {
        let changed = changed(&files.certificate);
        let config = load(&files)?;
        Ok(Self { files, changed, present: Arc::new(RwLock::new(Arc::new(config))) })
    }

    /// Takes a changed certificate over; a wrong one is told, and the one before stays.
    fn look(&mut self) {
        let changed = changed(&self.files.certificate);
        if changed == self.changed {
            return;
        }
        self.changed = changed;
        match load(&self.files) {
            Ok(config) => {
                *self.present.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                screen::say("warplens: the certificate was renewed");
            }
            Err(error) => {
                let error = one_line(&error);
                screen::say(&format!("warplens: the certificate before stays in use: {error}"));
            }
        }
    }
}

fn changed(path: &Path) -> Option<SystemTime> {
    path.metadata().and_then(|metadata| metadata.modified()).ok()
}

fn load(files: &Files) -> Result<ServerConfig, TlsError> {
    let pem = |what, path: &Path| {
        let path = path.to_owned();
        move |source| TlsError::Pem { what, path, source }
    };
    let Files { certificate, key } = files;
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(pem("certificate", certificate))?;
    let secret = PrivateKeyDer::from_pem_file(key).map_err(pem("key", key))?;
    ServerConfig::builder().with_no_client_auth().with_single_cert(chain, secret).map_err(
        |source| TlsError::Unfit { certificate: certificate.clone(), key: key.clone(), source },
    )
}

/// Connections that were greeted.
#[derive(Debug)]
pub(super) struct Secured {
    greeted: mpsc::Receiver<(TlsStream<Connection>, SocketAddr)>,
    address: SocketAddr,
}

impl Secured {
    pub(super) fn new(mut listener: Limited, mut tls: Tls) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let (sender, greeted) = mpsc::channel(GREETED);
        let present = Arc::clone(&tls.present);
        drop(tokio::spawn(async move {
            let mut looks = tokio::time::interval(LOOK);
            loop {
                tokio::select! {
                    _tick = looks.tick() => tls.look(),
                    (connection, peer) = listener.accept() => {
                        let config = Arc::clone(&present.read().unwrap_or_else(PoisonError::into_inner));
                        drop(tokio::spawn(greet(config, connection, peer, sender.clone())));
                    }
                    // Nobody serves any more.
                    () = sender.closed() => return,
                }
            }
        }));
        Ok(Self { greeted, address })
    }
}

/// One that does not greet in time, or not in TLS, is left.
async fn greet(
    config: Arc<ServerConfig>,
    connection: Connection,
    peer: SocketAddr,
    greeted: mpsc::Sender<(TlsStream<Connection>, SocketAddr)>,
) {
    let greeting = TlsAcceptor::from(config).accept(connection);
    if let Ok(Ok(stream)) = tokio::time::timeout(GREETING, greeting).await {
        // The server has ended.
        let _gone = greeted.send((stream, peer)).await;
    }
}

impl Listener for Secured {
    type Io = TlsStream<Connection>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        match self.greeted.recv().await {
            Some(connection) => connection,
            // Whoever greets lives as long as this.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::net::TcpStream;

    use axum::Router;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio_rustls::TlsConnector;
    use tokio_rustls::rustls::pki_types::ServerName;
    use tokio_rustls::rustls::{ClientConfig, RootCertStore};

    use super::*;

    /// A certificate of its own for `localhost`, and its key, in files.
    fn identity(folder: &Path) -> (Files, CertificateDer<'static>) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let files = Files { certificate: folder.join("cert.pem"), key: folder.join("key.pem") };
        fs::write(&files.certificate, made.cert.pem()).unwrap();
        fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
        (files, made.cert.der().clone())
    }

    async fn ask(address: SocketAddr, trusted: &CertificateDer<'static>) -> io::Result<String> {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let stream = tokio::net::TcpStream::connect(address).await?;
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
        let mut answer = Vec::new();
        // Closed without a farewell: the answer is whole all the same.
        let _unannounced = stream.read_to_end(&mut answer).await;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
    }

    #[test]
    fn figures_go_over_tls_and_slow_greetings_hold_nobody_up() {
        let folder = tempfile::tempdir().unwrap();
        let (files, certificate) = identity(folder.path());
        let tls = Tls::read(files).unwrap();
        runtime().block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let secured = Secured::new(Limited::new(listener), tls).unwrap();
            let router = Router::new().route("/", get(|| async { "here" }));
            let server = tokio::spawn(async move { axum::serve(secured, router).await });
            // They connect and say nothing.
            let silent: Vec<TcpStream> =
                (0..30).map(|_| TcpStream::connect(address).unwrap()).collect();
            let answer = tokio::time::timeout(GREETING / 2, ask(address, &certificate)).await;
            let answer = answer.unwrap().unwrap();
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
            drop(silent);
            server.abort();
        });
    }

    #[test]
    fn a_renewed_certificate_is_taken_over_and_a_wrong_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let (files, before) = identity(folder.path());
        let mut tls = Tls::read(files.clone()).unwrap();
        let shown = |tls: &Tls| Arc::as_ptr(&tls.present.read().unwrap());
        let first = shown(&tls);
        tls.look();
        assert_eq!(shown(&tls), first, "nothing changed");
        let later = SystemTime::now() + Duration::from_secs(10);
        let touch = |files: &Files| {
            fs::File::options().write(true).open(&files.certificate).unwrap().set_modified(later)
        };
        fs::write(&files.certificate, "no certificate").unwrap();
        touch(&files).unwrap();
        tls.look();
        assert_eq!(shown(&tls), first, "the one before stays");
        let (files, after) = identity(folder.path());
        assert_ne!(before, after);
        tls.look();
        assert_ne!(shown(&tls), first);
        drop(files);
    }

    #[test]
    fn files_that_are_no_identity_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (files, _) = identity(folder.path());
        let other = tempfile::tempdir().unwrap();
        let (another, _) = identity(other.path());
        let mixed = Files { certificate: files.certificate.clone(), key: another.key };
        assert!(matches!(Tls::read(mixed), Err(TlsError::Unfit { .. })));
        fs::write(&files.key, "nothing").unwrap();
        let error = Tls::read(files.clone()).unwrap_err().to_string();
        assert!(error.starts_with("read the key in"), "{error}");
        fs::remove_file(&files.certificate).unwrap();
        assert!(Tls::read(files).unwrap_err().to_string().starts_with("read the certificate in"));
    }
}
