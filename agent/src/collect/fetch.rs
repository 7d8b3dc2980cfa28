//! One HTTP answer from somebody who may be hostile: plain HTTP to an address, no names looked up, no proxy, no redirect,
//! nothing unpacked, everything bounded. Time is bounded by whoever waits for it.

use std::net::SocketAddr;

use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::{Body as _, Bytes};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Longest answer, bytes. vLLM's is 50 kB.
const BODY_MAX: usize = 4 << 20;

/// Longest head of an answer, bytes.
const HEAD_MAX: usize = 64 << 10;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum FetchError {
    #[error("connect to {0}")]
    Connect(SocketAddr, #[source] std::io::Error),
    #[error("{0} speaks no plain HTTP that is understood")]
    Http(SocketAddr, #[source] hyper::Error),
    #[error("{0} answered {1}")]
    Status(SocketAddr, StatusCode),
    #[error("{0} sent its answer in an encoding that was not asked for")]
    Encoded(SocketAddr),
    #[error("{0} sent more than {BODY_MAX} bytes")]
    TooLong(SocketAddr),
    #[error("{0} broke off: {1}")]
    Broken(SocketAddr, String),
}

/// The body of `GET path`.
pub(super) async fn get(address: SocketAddr, path: &str) -> Result<Bytes, FetchError> {
    let http = |source| FetchError::Http(address, source);
    let stream =
        TcpStream::connect(address).await.map_err(|error| FetchError::Connect(address, error))?;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_MAX);
    let (mut sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(http)?;
    // Ends with this set, whichever way this function is left.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let request = Request::get(path)
        .header(header::HOST, address.to_string())
        .header(header::ACCEPT, "text/plain")
        .header(header::CONNECTION, "close")
        .header(header::USER_AGENT, concat!("warplens/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<Bytes>::new())
        .map_err(|error| FetchError::Broken(address, error.to_string()))?;
    let answer = sender.send_request(request).await.map_err(http)?;
    if answer.status() != StatusCode::OK {
        return Err(FetchError::Status(address, answer.status()));
    }
    let encoding = answer.headers().get(header::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| encoding != "identity") {
        return Err(FetchError::Encoded(address));
    }
    // What it announces need not come first.
    if answer.body().size_hint().lower() > BODY_MAX as u64 {
        return Err(FetchError::TooLong(address));
    }
    match Limited::new(answer.into_body(), BODY_MAX).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(FetchError::TooLong(address)),
        Err(error) => Err(FetchError::Broken(address, error.to_string())),
    }
}
