//! The HTTP interface: which path and method meet which handler.
//!
//! One file a resource. Owns the handles that handlers use, nothing else: agents belong to the
//! registry, calls to the scheduler, keys to the authenticator. No wasmtime type and no SQL comes
//! in here; `error` is the only place where a failure becomes a status.
//!
//! A request passes the `front` (its id, the browser's cross-origin rules, panics, its log line), is matched
//! here, is authenticated by the `caller` extractor before a byte of its body is read, and ends in
//! JSON, whatever happens.

mod activity;
mod agents;
mod answer;
mod batch;
mod body;
mod call;
mod caller;
mod client;
mod connection;
mod error;
mod execute;
mod front;
mod health;
mod metrics;
mod origins;
mod outgoing;
mod page;
mod register;
mod route;
mod seats;
mod serve;
mod shares;
mod smart;
mod socket;
mod stats;
mod unparsed;

use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use axum::Router;
use axum::routing::{get, post, put};

use crate::auth::Authenticator;
use crate::config::{Config, ServerConfig};
use crate::domain::RequestId;
use crate::registry::Registry;
use crate::scheduler::Scheduler;
use crate::shutdown::Shutdown;

pub use serve::{Ended, serve};

/// Makes ids for requests that bring none. Called once for each of those: it should not block.
pub type RequestIds = Arc<dyn Fn() -> RequestId + Send + Sync>;

/// What the HTTP interface stands on.
pub struct Handles {
    /// The agents.
    pub registry: Registry,
    /// What runs them.
    pub scheduler: Scheduler,
    /// The settings that hold now.
    pub config: Arc<ArcSwap<Config>>,
    /// Who may call; swapped when keys change.
    pub authenticator: Arc<ArcSwap<Authenticator>>,
    /// `[server]`; swapped when it changes. Read at each request, and as each of a connection's times begins.
    pub server: Arc<ArcSwap<ServerConfig>>,
    /// Ids for requests that bring none.
    pub request_ids: RequestIds,
    /// Tells whether the host is going down.
    pub shutdown: Shutdown,
    /// When the host started.
    pub started: Instant,
}

/// The state that all handlers share. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    handles: Arc<Handles>,
    shares: Arc<shares::Shares>,
}

impl Api {
    /// An interface to `handles`.
    pub fn new(handles: Handles) -> Self {
        let shares = shares::Shares::new(handles.server.clone());
        Self { handles: Arc::new(handles), shares }
    }
}

impl std::ops::Deref for Api {
    type Target = Handles;

    fn deref(&self) -> &Handles {
        &self.handles
    }
}

/// Every path that the host answers.
pub fn router(api: Api) -> Router {
    Router::new()
        .route("/orchestrator/route", post(route::route))
        .route("/orchestrator/execute", post(execute::execute))
        .route("/orchestrator/smart-execute", post(smart::smart_execute))
        .route("/orchestrator/batch", post(batch::batch))
        .route("/orchestrator/agents", get(agents::list))
        .route("/orchestrator/agents/{id}", get(agents::one))
        .route("/orchestrator/stats", get(stats::stats))
        .route("/api/agents", post(register::register))
        .route("/api/agents/generate", post(register::generate))
        .route("/api/agents/{id}", put(register::replace).delete(register::remove))
        .route("/api/agents/{id}/approve", post(register::approve))
        .route("/api/agents/{id}/rollback", post(register::roll_back))
        .route("/api/agents/{id}/execute", post(execute::execute_agent))
        .route("/api/agents/status", get(agents::status))
        .route("/agents/status", get(agents::status))
        .route("/metrics", get(metrics::metrics))
        .route("/healthz", get(health::alive))
        .route("/liveness", get(health::alive))
        .route("/health", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/readiness", get(health::ready))
        // Bodies have limits of their own, `[server] max_body` and `[engine] max_component_size`.
        .layer(axum::extract::DefaultBodyLimit::disable())
        .fallback(front::not_found)
        .method_not_allowed_fallback(front::method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(api.clone(), front::front))
        .with_state(api)
}

/// Whether the answers of `path` say `success`, so that its failures do too.
fn says_success(path: &str) -> error::Shape {
    let says = matches!(path, "/orchestrator/execute" | "/orchestrator/smart-execute")
        || (path.starts_with("/api/agents/") && path.ends_with("/execute"));
    if says { error::Shape::WithSuccess } else { error::Shape::Plain }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_say_success_where_answers_would() {
        for path in ["/orchestrator/execute", "/orchestrator/smart-execute", "/api/agents/x/execute"] {
            assert_eq!(says_success(path), error::Shape::WithSuccess, "{path}");
        }
        for path in ["/orchestrator/route", "/orchestrator/batch", "/api/agents/status", "/"] {
            assert_eq!(says_success(path), error::Shape::Plain, "{path}");
        }
    }
}
