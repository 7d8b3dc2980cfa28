//! The daemon's HTTP: `/metrics`, `/healthz`, `/readyz`, `/livez`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::Asker;
use super::access::{self, Token};
use super::listen::Limited;
use super::tls::{Secured, Tls};
use crate::flight::Desk;
use crate::output::prometheus::{self, Dropped, Exporter};

/// How long open connections may hold up the end.
const FAREWELL: Duration = Duration::from_secs(1);

struct Context {
    asker: Asker,
    desk: Option<Desk>,
    exporter: tokio::sync::Mutex<Exporter>,
}

/// What is asked for over HTTP and over the socket.
#[derive(Clone)]
pub struct Serving(Arc<Context>);

impl Serving {
    pub fn new(asker: Asker, desk: Option<Desk>) -> Self {
        let exporter = tokio::sync::Mutex::new(Exporter::default());
        Self(Arc::new(Context { asker, desk, exporter }))
    }

    /// The text of `/metrics`, or why there is none.
    pub async fn metrics(&self) -> Result<String, (StatusCode, String)> {
        let Self(context) = self;
        let Some(answer) = context.asker.ask().await else {
            let why = "the watcher does not answer\n".to_owned();
            return Err((StatusCode::SERVICE_UNAVAILABLE, why));
        };
        let health = prometheus::Health {
            collectors: std::iter::once(("workers", context.asker.health.alive()))
                .chain(answer.collected.and_then(|found| found.well).map(|well| ("vllm", well)))
                .collect(),
            collected: answer.collected.map(|found| (found.read, found.failed)),
            dropped: vec![
                (Dropped::ShimRing, answer.drops.ring),
                (Dropped::Cupti, answer.drops.cupti),
                (Dropped::Names, answer.drops.names),
                (Dropped::Graphs, answer.drops.graphs),
            ],
            windows: answer.windows,
            estimates: answer.estimates,
            rearms: answer.guarded.rearms,
            guard_fallbacks: answer.guarded.fallbacks,
            yields: answer.yields,
            governed: answer.governed,
            entered: answer.entered,
            faults: answer.faults,
            flight: answer.flight.zip(context.desk.as_ref().map(Desk::counted)),
        };
        let rendered = context.exporter.lock().await.render(&answer.capture, &health);
        rendered.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")))
    }
}

/// What stands between the port and the figures.
#[derive(Debug, Default)]
pub struct Guarding {
    /// Who reads figures must show it. Whether the daemon is well is told to everybody.
    pub token: Option<Token>,
    pub tls: Option<Tls>,
}

/// Serves until `shutdown` completes, and a little longer where an answer is under way.
pub async fn serve(
    listener: TcpListener,
    serving: Serving,
    guarding: Guarding,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let Guarding { token, tls } = guarding;
    let mut figures = Router::new().route("/metrics", get(metrics));
    if let Some(token) = token {
        figures = figures.layer(middleware::from_fn(move |request: Request, next: Next| {
            let shown = token.is_shown(request.headers());
            async move {
                if shown { next.run(request).await } else { access::refusal().into_response() }
            }
        }));
    }
    let router = figures
        .route("/healthz", get(healthz))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(serving);
    let (ending, ended) = oneshot::channel();
    let ends = async move {
        shutdown.await;
        // Nobody listens when the server failed first.
        let _failed = ending.send(());
    };
    let limited = Limited::new(listener);
    let server: Pin<Box<dyn Future<Output = io::Result<()>> + Send>> = match tls {
        Some(tls) => {
            let secured = Secured::new(limited, tls)?;
            Box::pin(axum::serve(secured, router).with_graceful_shutdown(ends).into_future())
        }
        None => Box::pin(axum::serve(limited, router).with_graceful_shutdown(ends).into_future()),
    };
    tokio::select! {
        served = server => served,
        // A client that is slow to ask or to take its answer is not waited for.
        () = async { drop(ended.await); tokio::time::sleep(FAREWELL).await } => Ok(()),
    }
}

async fn metrics(State(serving): State<Serving>) -> Response {
    match serving.metrics().await {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::CONTENT_TYPE)], text).into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn healthz(State(Serving(context)): State<Serving>) -> Response {
    answer(context.asker.health.alive(), "the watcher is stuck\n")
}

async fn livez() -> Response {
    answer(true, "")
}

async fn readyz(State(Serving(context)): State<Serving>) -> Response {
    answer(context.asker.health.ready(), "no look for workers is done yet\n")
}

fn answer(good: bool, otherwise: &'static str) -> Response {
    if good {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, otherwise).into_response()
    }
}
