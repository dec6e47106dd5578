//! Agents that are registered over HTTP: `POST /api/agents`, `PUT /api/agents/{id}` and
//! `POST /api/agents/generate`.
//!
//! A component comes as bytes in a `multipart/form-data` body with the parts `component` and `settings`, or is
//! named in JSON settings.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, Multipart, Path, Request, State};
use axum::response::Response;
use http::{HeaderMap, StatusCode, header};
use serde_json::Map;

use super::agents::admitted;
use super::body::BodyLimit;
use super::caller::Caller;
use super::error::ApiError;
use super::{Api, answer, body};
use crate::domain::AgentId;
use crate::operations::{
    Component, GenerateRequest, Operation, RegisterRequest, RegisterResponse, Registered, ReplaceRequest,
};

/// What settings may have in a multipart body, in bytes, beside the component.
const MAX_SETTINGS: u64 = 1024 * 1024;

/// `POST /api/agents`
pub(super) async fn register(
    State(api): State<Api>,
    mut caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    api.operations.admit(&caller.principal, Operation::Register, None)?;
    let asked = read(&api, &mut caller, request).await?;
    // What is no id is said by the operation.
    if let Some(Ok(id)) = asked.settings.get("id").and_then(|id| id.as_str()).map(AgentId::parse) {
        caller.request.note_agent(id.as_str());
    }
    put(api.operations.register(&caller.principal, caller.asks(asked)).await?)
}

/// `PUT /api/agents/{id}`
pub(super) async fn replace(
    State(api): State<Api>,
    mut caller: Caller,
    id: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ApiError> {
    let id = admitted(&api, &caller, Operation::Replace, id)?;
    let RegisterRequest { settings, component } = read(&api, &mut caller, request).await?;
    let asked = ReplaceRequest { agent: id.to_string(), settings, component };
    put(api.operations.replace(&caller.principal, caller.asks(asked)).await?)
}

fn put(put: RegisterResponse) -> Result<Response, ApiError> {
    let status = match put.registered {
        Registered::Created => StatusCode::CREATED,
        Registered::Replaced => StatusCode::OK,
        Registered::Waits => StatusCode::ACCEPTED,
    };
    answer::json(status, &put.agent)
}

/// `POST /api/agents/generate`
pub(super) async fn generate(
    State(api): State<Api>,
    mut caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    api.operations.admit(&caller.principal, Operation::Generate, None)?;
    let body = body::read(&api, &mut caller, request).await?;
    let asked: GenerateRequest = body::parse_object(&api.server.load(), &body)?;
    if let Ok(template) = AgentId::parse(&asked.template) {
        caller.request.note_agent(template.as_str());
    }
    let made = api.operations.generate(&caller.principal, caller.asks(asked)).await?;
    answer::json(StatusCode::CREATED, &made)
}

/// Reads either kind of body.
async fn read(api: &Api, caller: &mut Caller, request: Request) -> Result<RegisterRequest, ApiError> {
    if is_multipart(request.headers()) {
        return read_parts(api, caller, request).await;
    }
    if !body::is_json(request.headers()) {
        return Err(ApiError::UnsupportedMediaType(
            "JSON settings (`Content-Type: application/json`), or `multipart/form-data` with the parts `component` and `settings`",
        ));
    }
    let text = body::read(api, caller, request).await?;
    let settings = body::parse_object(&api.server.load(), &text)?;
    Ok(RegisterRequest { settings, component: None })
}

fn is_multipart(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.trim_start().to_ascii_lowercase().starts_with("multipart/form-data")
}

async fn read_parts(api: &Api, caller: &mut Caller, request: Request) -> Result<RegisterRequest, ApiError> {
    let largest = api.config.load().engine.max_component_size;
    let setting = "`max_component_size` in [engine], and 1 MiB for the settings";
    let limit = BodyLimit { bytes: largest + MAX_SETTINGS, setting };
    let (parts, body) = request.into_parts();
    // Room for all of it is taken before any of it is read, and kept until the component is registered.
    let hint = hyper::body::Body::size_hint(&body);
    if hint.lower() > limit.bytes {
        return Err(limit.exceeded());
    }
    let bytes = hint.upper().map_or(limit.bytes, |bytes| bytes.min(limit.bytes));
    caller.request.reserve_upload(bytes, limit.bytes, api.server.load().body_timeout).await?;
    let whole = body::read_up_to(api, caller, &parts, body, limit).await?;
    let request = Request::from_parts(parts, axum::body::Body::from(whole));
    let odd = |error: String| ApiError::MalformedJson(format!("the multipart body cannot be read: {error}"));
    let mut parts = Multipart::from_request(request, &()).await.map_err(|error| odd(error.body_text()))?;
    let mut asked = RegisterRequest { settings: Map::new(), component: None };
    let mut seen = Vec::new();
    while let Some(part) = parts.next_field().await.map_err(|error| odd(error.body_text()))? {
        let name = part.name().unwrap_or_default().to_owned();
        let bytes = part.bytes().await.map_err(|error| odd(error.body_text()))?;
        if seen.contains(&name) {
            return Err(ApiError::field(&name, "is given twice"));
        }
        match name.as_str() {
            "component" => asked.component = Some(Component(Arc::from(&*bytes))),
            "settings" if bytes.len() as u64 > MAX_SETTINGS => {
                return Err(BodyLimit { bytes: MAX_SETTINGS, setting: "for the part `settings`" }.exceeded());
            }
            "settings" => asked.settings = body::parse_object(&api.server.load(), &bytes)?,
            _ => {
                return Err(ApiError::field(&name, "is not known: the parts are `component` and `settings`"));
            }
        }
        seen.push(name);
    }
    if !seen.iter().any(|name| name == "settings") {
        return Err(ApiError::field(
            "settings",
            "is missing: send the agent's settings as JSON in this part",
        ));
    }
    Ok(asked)
}
