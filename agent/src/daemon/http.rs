//! The daemon's HTTP: `/metrics`, `/healthz`, `/readyz`, `/livez`.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::Asker;
use super::listen::Limited;
use crate::output::prometheus::{self, Dropped, Exporter};

/// How long open connections may hold up the end.
const FAREWELL: Duration = Duration::from_secs(1);

struct Context {
    asker: Asker,
    exporter: tokio::sync::Mutex<Exporter>,
}

/// Serves until `shutdown` completes, and a little longer where an answer is under way.
pub async fn serve(
    listener: TcpListener,
    asker: Asker,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let context =
        Arc::new(Context { asker, exporter: tokio::sync::Mutex::new(Exporter::default()) });
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(context);
    let (ending, ended) = oneshot::channel();
    let server = axum::serve(Limited::new(listener), router).with_graceful_shutdown(async move {
        shutdown.await;
        // Nobody listens when the server failed first.
        let _failed = ending.send(());
    });
    tokio::select! {
        served = server => served,
        // A client that is slow to ask or to take its answer is not waited for.
        () = async { drop(ended.await); tokio::time::sleep(FAREWELL).await } => Ok(()),
    }
}

async fn metrics(State(context): State<Arc<Context>>) -> Response {
    let Some(answer) = context.asker.ask().await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the watcher does not answer\n").into_response();
    };
    let health = prometheus::Health {
        collectors: vec![("workers", context.asker.health.alive())],
        dropped: vec![
            (Dropped::ShimRing, answer.drops.ring),
            (Dropped::Cupti, answer.drops.cupti),
            (Dropped::Names, answer.drops.names),
            (Dropped::Graphs, answer.drops.graphs),
        ],
        windows: answer.windows,
        rearms: answer.guarded.rearms,
        guard_fallbacks: answer.guarded.fallbacks,
    };
    match context.exporter.lock().await.render(&answer.capture, &health) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn healthz(State(context): State<Arc<Context>>) -> Response {
    answer(context.asker.health.alive(), "the watcher is stuck\n")
}

async fn livez() -> Response {
    answer(true, "")
}

async fn readyz(State(context): State<Arc<Context>>) -> Response {
    answer(context.asker.health.ready(), "no look for workers is done yet\n")
}

fn answer(good: bool, otherwise: &'static str) -> Response {
    if good {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, otherwise).into_response()
    }
}
