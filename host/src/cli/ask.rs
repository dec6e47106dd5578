//! What a command asks of a host: written once, whether a host that runs is asked over HTTP or one that is made
//! for the command is asked in this process.

use std::sync::Arc;

use http::{Method, StatusCode};
use serde::Serialize;
use serde_json::Value;

use crate::api;
use crate::domain::{Principal, RequestId};
use crate::operations::{AgentListRequest, ExecuteAgentRequest, Failure, Operations, Request, RouteRequest};

/// What is asked.
pub(super) enum Ask {
    /// Which agent a task is for.
    Route(RouteRequest<'static>),
    /// A task for one agent.
    Execute(ExecuteAgentRequest),
    /// Where the agents stand.
    AgentStatus,
}

/// An answer, or a piece of one that is a list.
pub(super) struct Piece {
    pub(super) status: StatusCode,
    pub(super) body: Value,
    /// Where the next piece is, if there is one.
    pub(super) next: Option<String>,
}

impl Ask {
    /// As it is asked over HTTP: method, path and body.
    pub(super) fn http(&self) -> anyhow::Result<(Method, String, Option<Value>)> {
        let (method, body) = match self {
            Self::Route(task) => (Method::POST, Some(serde_json::to_value(task)?)),
            Self::Execute(task) => (Method::POST, Some(serde_json::to_value(task)?)),
            Self::AgentStatus => (Method::GET, None),
        };
        Ok((method, self.path(), body))
    }

    fn path(&self) -> String {
        match self {
            Self::Route(_) => "/orchestrator/route".to_owned(),
            Self::Execute(task) => format!("/api/agents/{}/execute", escape(&task.agent)),
            Self::AgentStatus => "/api/agents/status".to_owned(),
        }
    }

    /// As it is asked in this process, from `cursor` on: what a client of HTTP would get.
    pub(super) async fn here(&self, operations: &Operations, cursor: Option<&str>) -> anyhow::Result<Piece> {
        let who = &Arc::new(Principal::operator("cli"));
        let id = operations.new_request_id();
        match self {
            Self::Route(task) => {
                let routed = operations.route(who, Request::new(id.clone(), task.clone())).await;
                self.piece(&id, routed.map(|routed| (routed, None)))
            }
            Self::Execute(task) => {
                let executed = operations.execute_agent(who, Request::new(id.clone(), task.clone())).await;
                self.piece(&id, executed.map(|executed| (executed, None)))
            }
            Self::AgentStatus => {
                let asked = AgentListRequest { cursor: cursor.map(str::to_owned), ..Default::default() };
                let page = operations.agent_status(who, Request::new(id.clone(), asked)).await;
                self.piece(&id, page.map(|page| (page.items, page.next)))
            }
        }
    }

    fn piece<T: Serialize>(
        &self,
        id: &RequestId,
        ended: Result<(T, Option<String>), Failure>,
    ) -> anyhow::Result<Piece> {
        Ok(match ended {
            Ok((response, next)) => {
                Piece { status: StatusCode::OK, body: serde_json::to_value(response)?, next }
            }
            Err(failure) => {
                let (status, text) = api::failure_text(failure, &self.path(), id);
                Piece { status, body: serde_json::from_slice(&text)?, next: None }
            }
        })
    }
}

/// Writes a text as one segment of a path.
pub(super) fn escape(segment: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let mut escaped = String::new();
    for byte in segment.bytes() {
        match keep(byte) {
            true => escaped.push(byte.into()),
            false => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}
