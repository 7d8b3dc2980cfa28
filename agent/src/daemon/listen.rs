//! Connections with limits: however many clients come, and however slowly they talk, the daemon
//! keeps its descriptors and its shutdown.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// Connections at once; further ones wait in the kernel's queue. Far more than scrapers and probes
/// need, far less than the usual 1024 descriptors.
const CONNECTIONS: usize = 256;

/// A connection that was answered nothing for this long is closed: idle, slow to ask, or slow to
/// take the answer. Answers take 10 s at most; a scraper with a longer interval connects again.
const PATIENCE: Duration = Duration::from_secs(30);

/// The same while more than half of the connections are taken: room is then worth more.
const HASTE: Duration = Duration::from_secs(2);

/// A listener whose connections are counted and not waited for.
#[derive(Debug)]
pub(super) struct Limited {
    listener: TcpListener,
    seats: Arc<Semaphore>,
    connections: usize,
    patience: Duration,
}

impl Limited {
    pub(super) fn new(listener: TcpListener) -> Self {
        Self::with(listener, CONNECTIONS, PATIENCE)
    }

    fn with(listener: TcpListener, connections: usize, patience: Duration) -> Self {
        Self { listener, seats: Arc::new(Semaphore::new(connections)), connections, patience }
    }
}

impl Listener for Limited {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        // The semaphore is never closed; if it were, connections would go uncounted.
        let seat = Arc::clone(&self.seats).acquire_owned().await.ok();
        let (stream, address) = Listener::accept(&mut self.listener).await;
        let crowded = self.seats.available_permits() < self.connections / 2;
        let patience = if crowded { self.patience.min(HASTE) } else { self.patience };
        (Connection { stream, limit: Box::pin(sleep(patience)), patience, _seat: seat }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends when nothing was written to it for too long.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    limit: Pin<Box<Sleep>>,
    patience: Duration,
    _seat: Option<OwnedSemaphorePermit>,
}

impl Connection {
    fn unless_over<T>(
        &mut self,
        context: &mut Context<'_>,
        poll: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if poll.is_pending() {
            ready!(self.limit.as_mut().poll(context));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        poll
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let poll = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.unless_over(context, poll)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let poll = Pin::new(&mut self.stream).poll_write(context, bytes);
        if matches!(poll, Poll::Ready(Ok(_))) {
            let limit = Instant::now() + self.patience;
            self.limit.as_mut().reset(limit);
        }
        self.unless_over(context, poll)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream as Client;

    use axum::Router;
    use axum::routing::get;

    use super::*;

    /// A server with room for two connections that waits 300 ms.
    fn serve(runtime: &tokio::runtime::Runtime) -> SocketAddr {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/", get(|| async { "here" }));
        let limited = Limited::with(listener, 2, Duration::from_millis(300));
        runtime.spawn(async move { axum::serve(limited, router).await });
        address
    }

    fn client(address: SocketAddr) -> Client {
        let client = Client::connect(address).unwrap();
        client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        client
    }

    #[test]
    fn clients_that_never_finish_asking_give_way_to_others() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let address = serve(&runtime);
        let mut slow = [client(address), client(address)];
        for client in &mut slow {
            client.write_all(b"GET / HT").unwrap();
        }
        let mut third = client(address);
        third.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        third.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
        for client in &mut slow {
            let mut rest = Vec::new();
            assert!(client.read_to_end(&mut rest).is_ok(), "closed, not left open");
        }
    }
}
