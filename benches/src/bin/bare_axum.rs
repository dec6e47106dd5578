//! The yardstick: an axum server that echoes JSON and does nothing else, settings as they come.

use axum::routing::post;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Request {
    query: String,
}

#[derive(Serialize)]
struct Answer {
    success: bool,
    response: String,
}

async fn echo(Json(request): Json<Request>) -> Json<Answer> {
    Json(Answer { success: true, response: request.query })
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8002".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    axum::serve(listener, Router::new().route("/orchestrator/execute", post(echo))).await
}
