//! The daemon's HTTP: `/metrics`, `/healthz`, `/readyz`, `/livez`.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use super::Watcher;
use crate::output::prometheus::{self, Dropped, Exporter};

struct Context {
    watcher: Watcher,
    exporter: tokio::sync::Mutex<Exporter>,
}

/// Serves until `shutdown` completes, then stops the watcher.
pub async fn serve(
    listener: TcpListener,
    watcher: Watcher,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<Watcher> {
    let context =
        Arc::new(Context { watcher, exporter: tokio::sync::Mutex::new(Exporter::default()) });
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .with_state(Arc::clone(&context));
    axum::serve(listener, router).with_graceful_shutdown(shutdown).await?;
    let context =
        Arc::into_inner(context).ok_or_else(|| io::Error::other("a request is still open"))?;
    Ok(context.watcher)
}

async fn metrics(State(context): State<Arc<Context>>) -> Response {
    let Some(answer) = context.watcher.ask().await else {
        return (StatusCode::SERVICE_UNAVAILABLE, "the watcher does not answer\n").into_response();
    };
    let health = prometheus::Health {
        collectors: vec![("workers", context.watcher.health.alive())],
        dropped: vec![
            (Dropped::ShimRing, answer.drops.ring),
            (Dropped::Cupti, answer.drops.cupti),
            (Dropped::Names, answer.drops.names),
            (Dropped::Graphs, answer.drops.graphs),
        ],
        ..prometheus::Health::default()
    };
    match context.exporter.lock().await.render(&answer.capture, &health) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::CONTENT_TYPE)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

async fn healthz(State(context): State<Arc<Context>>) -> Response {
    answer(context.watcher.health.alive() && !context.watcher.finished(), "the watcher is stuck\n")
}

async fn livez() -> Response {
    answer(true, "")
}

async fn readyz(State(context): State<Arc<Context>>) -> Response {
    answer(context.watcher.health.ready(), "no look for workers is done yet\n")
}

fn answer(good: bool, otherwise: &'static str) -> Response {
    if good {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, otherwise).into_response()
    }
}
