//! The HTTP interface: which path and method meet which handler.
//!
//! It translates, nothing else: each path is an operation's (`ROUTES`), a handler makes a request of path, query
//! and body, and JSON of the response; `error` is the only place where a failure becomes a status. Owns the
//! connections and who may hold how much of them. It decides no right, and knows neither registry nor
//! scheduler.
//!
//! A request passes the `front` (its id, the browser's cross-origin rules, panics, its log line), is matched
//! here, is authenticated by the `caller` extractor before a byte of its body is read, and ends in
//! JSON, whatever happens.

mod activity;
mod agents;
mod answer;
mod body;
mod caller;
mod client;
mod connection;
mod error;
mod front;
mod host;
mod origins;
mod outgoing;
mod page;
mod path;
mod register;
mod repoll;
mod seats;
mod serve;
mod shares;
mod socket;
mod tasks;
mod unparsed;

use std::sync::Arc;

use arc_swap::ArcSwap;
use axum::Router;
use axum::routing::{MethodFilter, MethodRouter, on};
use http::{Method, StatusCode};

use crate::auth::Authenticator;
use crate::config::{Config, ServerConfig};
use crate::domain::RequestId;
use crate::operations::{self, Operation, Operations, RequestIds, Subject};
use crate::shutdown::Shutdown;

pub use serve::{Ended, serve};

/// What the HTTP interface stands on.
pub struct Handles {
    /// Everything that may be asked.
    pub operations: Operations,
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

/// Where an operation is asked for over HTTP.
#[derive(Debug, Clone)]
pub struct Route {
    /// How.
    pub method: Method,
    /// Where, with `{id}` for an agent's id.
    pub path: &'static str,
    /// What.
    pub operation: Operation,
}

const fn route(method: Method, path: &'static str, operation: Operation) -> Route {
    Route { method, path, operation }
}

/// Everything that HTTP answers: each path is an operation's.
pub const ROUTES: &[Route] = &[
    route(Method::POST, "/orchestrator/route", Operation::Route),
    route(Method::POST, "/orchestrator/execute", Operation::Execute),
    route(Method::POST, "/orchestrator/smart-execute", Operation::SmartExecute),
    route(Method::POST, "/orchestrator/batch", Operation::Batch),
    route(Method::GET, "/orchestrator/agents", Operation::ListAgents),
    route(Method::GET, "/orchestrator/agents/{id}", Operation::ShowAgent),
    route(Method::GET, "/orchestrator/stats", Operation::Stats),
    route(Method::POST, "/api/agents", Operation::Register),
    route(Method::POST, "/api/agents/generate", Operation::Generate),
    route(Method::PUT, "/api/agents/{id}", Operation::Replace),
    route(Method::DELETE, "/api/agents/{id}", Operation::Remove),
    route(Method::POST, "/api/agents/{id}/approve", Operation::Approve),
    route(Method::POST, "/api/agents/{id}/rollback", Operation::RollBack),
    route(Method::POST, "/api/agents/{id}/execute", Operation::ExecuteAgent),
    route(Method::GET, "/api/agents/status", Operation::AgentStatus),
    route(Method::GET, "/agents/status", Operation::AgentStatus),
    route(Method::GET, "/api/audit", Operation::Audit),
    route(Method::GET, "/metrics", Operation::Metrics),
    route(Method::GET, "/healthz", Operation::Health),
    route(Method::GET, "/liveness", Operation::Health),
    route(Method::GET, "/health", Operation::Health),
    route(Method::GET, "/readyz", Operation::Readiness),
    route(Method::GET, "/readiness", Operation::Readiness),
];

/// Whether `path` is answered for everybody and in any state of the host: also from the connections that are
/// kept in reserve.
fn is_open(path: &str) -> bool {
    let open = |route: &&Route| route.operation.terms().subject == Subject::Everybody;
    ROUTES.iter().filter(open).any(|route| route.path == path)
}

/// What answers an operation.
fn handler(operation: Operation, on_method: MethodFilter) -> MethodRouter<Api> {
    match operation {
        Operation::Route => on(on_method, tasks::route),
        Operation::Execute => on(on_method, tasks::execute),
        Operation::ExecuteAgent => on(on_method, tasks::execute_agent),
        Operation::SmartExecute => on(on_method, tasks::smart_execute),
        Operation::Batch => on(on_method, tasks::batch),
        Operation::ListAgents => on(on_method, agents::list),
        Operation::ShowAgent => on(on_method, agents::one),
        Operation::AgentStatus => on(on_method, agents::status),
        Operation::Stats => on(on_method, host::stats),
        Operation::Metrics => on(on_method, host::metrics),
        Operation::Register => on(on_method, register::register),
        Operation::Generate => on(on_method, register::generate),
        Operation::Replace => on(on_method, register::replace),
        Operation::Remove => on(on_method, agents::remove),
        Operation::Approve => on(on_method, agents::approve),
        Operation::RollBack => on(on_method, agents::roll_back),
        Operation::Audit => on(on_method, host::audit),
        Operation::Health => on(on_method, host::health),
        Operation::Readiness => on(on_method, host::readiness),
    }
}

/// Every path that the host answers.
pub fn router(api: Api) -> Router {
    let mut router = Router::new();
    for Route { method, path, operation } in ROUTES {
        let method = match *method {
            Method::GET => MethodFilter::GET,
            Method::PUT => MethodFilter::PUT,
            Method::DELETE => MethodFilter::DELETE,
            _ => MethodFilter::POST,
        };
        router = router.route(path, handler(*operation, method));
    }
    router
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

/// The schema of every failure, whatever was asked.
pub fn failure_schema() -> operations::Described {
    error::schema()
}

/// A failure as a client of `path` would get it: its status and its JSON.
pub fn failure_text(
    failure: operations::Failure,
    path: &str,
    request_id: &RequestId,
) -> (StatusCode, Vec<u8>) {
    error::ApiError::from(failure).text(path, request_id.as_str(), says_success(path))
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
