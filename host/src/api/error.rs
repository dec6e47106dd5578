//! Failures as clients see them: the only place where one becomes a status.
//!
//! Handlers return [`ApiError`]. As a response it is a placeholder that carries itself: the front
//! renders it, since only the front knows the request's path and id. A failure speaks twice: what
//! is rendered here is public; [`ApiError::internal`] is for the log.

use std::any::Any;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer;
use crate::domain::{Denial, Failure, Receipt, RecordedFailure, text};
use crate::operations::{self, Described, Ran};

/// What a client is told to wait where the failure itself knows no better.
const RETRY_SOON: Duration = Duration::from_secs(1);
/// What a client is told to wait where something has to be repaired or restarted first.
const RETRY_LATER: Duration = Duration::from_secs(5);
/// What is shown of a path, in bytes.
const PATH_SHOWN: usize = 1024;

/// Why a request got no answer. `Display` is the public message.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum ApiError {
    /// An operation was not carried out.
    #[error(transparent)]
    Operation(#[from] operations::Failure),
    /// An answer for which too many others wait to be read.
    #[error(
        "answers that nobody has read yet leave no room for this one: read them, or ask for less at once (`key_answers` and `max_answers` in [server])"
    )]
    NoRoom {
        /// The agent that gave it.
        agent: Box<str>,
        /// What the call came to.
        ran: Box<Ran>,
    },
    /// Too much is under way. No guest code ran. Says what there is too much of, and the setting.
    #[error("{0}")]
    Overloaded(&'static str),
    /// The body did not come in its time.
    #[error("the body did not arrive within {} ms (`body_timeout` in [server])", .limit.as_millis())]
    BodyTimeout {
        /// `body_timeout`.
        limit: Duration,
    },
    /// The body is not JSON, or ended early.
    #[error("{0}")]
    MalformedJson(String),
    /// No key, or none that is known.
    #[error("a valid key is required: send it as `Authorization: Bearer KEY`")]
    Unauthorized,
    /// A caller without a key, from where those are not let in.
    #[error("{0}")]
    Forbidden(&'static str),
    /// Nothing is served under this path.
    #[error("there is nothing at this path")]
    NotFound,
    /// The path does not take this method.
    #[error("this path does not take this method: the `Allow` header names those it takes")]
    MethodNotAllowed,
    /// More than a body may have.
    #[error("the body exceeds the limit of {limit} bytes ({setting})")]
    BodyTooLarge {
        /// Bytes.
        limit: u64,
        /// The setting that says so.
        setting: &'static str,
    },
    /// A body that says it is not JSON.
    #[error("the body must be {0}")]
    UnsupportedMediaType(&'static str),
}

/// A failure's place among the statuses.
struct Verdict {
    status: StatusCode,
    code: &'static str,
    retry_after: Option<Duration>,
}

impl ApiError {
    /// A field that is wrong; `message` goes on after the field's name.
    pub(super) fn field(field: &str, message: impl std::fmt::Display) -> Self {
        operations::Failure::field(field, message).into()
    }

    /// A request that is understood and wrong.
    pub(super) fn invalid(message: String) -> Self {
        operations::Failure::Invalid { field: None, message }.into()
    }

    /// Something of ours broke; `internal` is for the log.
    pub(super) fn internal_fault(internal: String) -> Self {
        operations::Failure::Internal { internal }.into()
    }

    /// A handler that panicked.
    pub(super) fn panicked(panic: &(dyn Any + Send)) -> Self {
        let text = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("no message");
        Self::internal_fault(format!("a handler panicked: {text}"))
    }

    /// The status, the code for programs, and when to try again.
    fn verdict(&self) -> Verdict {
        let plain = |status, code| Verdict { status, code, retry_after: None };
        match self {
            Self::Operation(failure) => of_operation(failure),
            Self::NoRoom { .. } => plain(StatusCode::BAD_GATEWAY, "output_too_large"),
            Self::Overloaded(_) => Verdict {
                status: StatusCode::SERVICE_UNAVAILABLE,
                code: "overloaded",
                retry_after: Some(RETRY_SOON),
            },
            Self::BodyTimeout { .. } => plain(StatusCode::REQUEST_TIMEOUT, "request_timeout"),
            Self::MalformedJson(_) => plain(StatusCode::BAD_REQUEST, "malformed_json"),
            Self::Unauthorized => plain(StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::Forbidden(_) => plain(StatusCode::FORBIDDEN, "forbidden"),
            Self::NotFound => plain(StatusCode::NOT_FOUND, "not_found"),
            Self::MethodNotAllowed => plain(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::BodyTooLarge { .. } => plain(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::UnsupportedMediaType(_) => {
                plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type")
            }
        }
    }

    /// The word for programs.
    pub(super) fn code(&self) -> &'static str {
        self.verdict().code
    }

    /// The operation's failure, where it is one: the rest are the door's own.
    fn operation(&self) -> Option<&operations::Failure> {
        if let Self::Operation(failure) = self { Some(failure) } else { None }
    }

    /// The agent that was involved.
    pub(super) fn agent(&self) -> Option<&str> {
        match self {
            Self::NoRoom { agent, .. } => Some(agent),
            other => other.operation()?.agent(),
        }
    }

    /// What the log should know beyond the public message.
    pub(super) fn internal(&self) -> Option<String> {
        self.operation()?.internal()
    }

    /// What the call came to, where there was one that got as far as its agent.
    fn came_to(&self) -> Option<&Ran> {
        match self {
            Self::NoRoom { ran, .. } => Some(ran),
            other => other.operation()?.came_to(),
        }
    }

    /// The failure as an item of a batch.
    pub(super) fn item(&self, path: &str, request_id: &str) -> Result<Vec<u8>, Self> {
        let verdict = self.verdict();
        let status_code = Some(verdict.status.as_u16());
        let success = Some(Unsuccessful);
        answer::to_bytes(&self.body(&verdict, path, request_id, success, status_code))
    }

    /// The failure as a response.
    pub(super) fn render(&self, path: &str, request_id: &str, shape: Shape) -> Response {
        let verdict = self.verdict();
        let (status, json) = self.text(path, request_id, shape);
        let mut response = answer::response(status, json);
        let headers = response.headers_mut();
        if let Some(after) = verdict.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
        }
        // What is left of the body is not read: another request cannot follow it.
        if matches!(self, Self::BodyTooLarge { .. } | Self::BodyTimeout { .. }) {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if verdict.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Bearer realm=\"stockade\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }

    /// The failure's status and JSON.
    pub(super) fn text(&self, path: &str, request_id: &str, shape: Shape) -> (StatusCode, Vec<u8>) {
        let verdict = self.verdict();
        let success = match shape {
            Shape::Plain => None,
            Shape::WithSuccess => Some(Unsuccessful),
        };
        let body = self.body(&verdict, path, request_id, success, None);
        // Strings and numbers always become JSON: the fallback is for the compiler.
        (verdict.status, answer::to_bytes(&body).unwrap_or_default())
    }

    fn body<'a>(
        &'a self,
        verdict: &Verdict,
        path: &'a str,
        request_id: &'a str,
        success: Option<Unsuccessful>,
        status_code: Option<u16>,
    ) -> FailureBody<'a> {
        let ran = self.came_to();
        FailureBody {
            success,
            error: verdict.status.canonical_reason().unwrap_or("Error"),
            code: verdict.code,
            message: self.to_string(),
            field: self.operation().and_then(operations::Failure::wrong_field),
            agent: self.agent(),
            status_code,
            receipt: ran.and_then(|ran| ran.receipt),
            denials: ran.map(|ran| ran.denials.as_slice()).unwrap_or_default(),
            retry_after: status_code.and(verdict.retry_after).map(whole_seconds),
            path: text::beginning(path, PATH_SHOWN),
            request_id,
        }
    }
}

/// How an operation's failure is answered.
fn of_operation(failure: &operations::Failure) -> Verdict {
    use operations::Failure as F;
    let status = match failure {
        F::Call { failure, .. } => return of_call(failure),
        F::BatchFull { .. } => StatusCode::BAD_GATEWAY,
        F::Invalid { .. } => StatusCode::UNPROCESSABLE_ENTITY,
        F::Conflict { .. } => StatusCode::CONFLICT,
        F::Forbidden(_) => StatusCode::FORBIDDEN,
        F::NoAgentMatched => StatusCode::NOT_FOUND,
        F::NotAudited { .. } | F::Internal { .. } => StatusCode::INTERNAL_SERVER_ERROR,
    };
    Verdict { status, code: failure.code(), retry_after: None }
}

/// How a call's failure is answered.
fn of_call(failure: &Failure) -> Verdict {
    let (status, retry_after) = match failure {
        Failure::AgentNotFound(_) => (StatusCode::NOT_FOUND, None),
        Failure::Forbidden(_) | Failure::Denied(_) => (StatusCode::FORBIDDEN, None),
        Failure::KeyWithdrawn => (StatusCode::UNAUTHORIZED, None),
        Failure::QueryRequired(_) | Failure::InvalidContext(_) | Failure::InvalidInput(_) => {
            (StatusCode::UNPROCESSABLE_ENTITY, None)
        }
        Failure::AgentFailed(_)
        | Failure::Trapped { .. }
        | Failure::Exited { .. }
        | Failure::Interrupted
        | Failure::FuelExhausted { .. }
        | Failure::MemoryExhausted { .. }
        | Failure::OutputTooLarge { .. }
        | Failure::HostLimitExceeded { .. } => (StatusCode::BAD_GATEWAY, None),
        Failure::AgentUnavailable { .. } | Failure::Unavailable(_) | Failure::Draining => {
            (StatusCode::SERVICE_UNAVAILABLE, Some(RETRY_LATER))
        }
        Failure::Overloaded { retry_after, .. } => {
            (StatusCode::SERVICE_UNAVAILABLE, Some((*retry_after).max(RETRY_SOON)))
        }
        Failure::DeadlineExceeded { .. } => (StatusCode::GATEWAY_TIMEOUT, None),
        Failure::Cancelled => (StatusCode::CONFLICT, None),
        Failure::Internal { .. } => (StatusCode::INTERNAL_SERVER_ERROR, None),
        Failure::Recorded(recorded) => of_recorded(recorded),
    };
    Verdict { status, code: failure.code(), retry_after }
}

/// How a failure is answered of which a record is left: as it was, but for how long to wait.
fn of_recorded(recorded: &RecordedFailure) -> (StatusCode, Option<Duration>) {
    let after = recorded.retry_after_s.map(Duration::from_secs);
    let status = match recorded.code {
        "unauthorized" => StatusCode::UNAUTHORIZED,
        "forbidden" | "denied" => StatusCode::FORBIDDEN,
        "agent_not_found" => StatusCode::NOT_FOUND,
        "cancelled" => StatusCode::CONFLICT,
        "invalid_request" | "invalid_input" => StatusCode::UNPROCESSABLE_ENTITY,
        "overloaded" | "draining" | "agent_unavailable" => {
            return (StatusCode::SERVICE_UNAVAILABLE, after.or(Some(RETRY_LATER)));
        }
        "deadline_exceeded" => StatusCode::GATEWAY_TIMEOUT,
        "internal" => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::BAD_GATEWAY,
    };
    (status, after)
}

fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

/// Whether the answer would have said `success`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// It would not.
    Plain,
    /// It would: so the failure says `success: false`.
    WithSuccess,
}

/// `success: false`.
#[derive(Debug, Clone, Copy)]
struct Unsuccessful;

impl Serialize for Unsuccessful {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bool(false)
    }
}

/// What a client gets instead of an answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Failure)]
struct FailureBody<'a> {
    /// `false`, where the answer would have said `success`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<bool>)]
    success: Option<Unsuccessful>,
    /// The status's name.
    error: &'a str,
    /// For programs.
    code: &'a str,
    /// For people.
    message: String,
    /// The field at fault, where `code` is `invalid_request` and it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    /// The agent's id, where one was involved.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<&'a str>,
    /// What the call spent, where guest code ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt: Option<Receipt>,
    /// The capabilities that were refused on the way, with what would allow them.
    #[serde(skip_serializing_if = "<[Denial]>::is_empty")]
    #[schema(value_type = Vec<Denial>, required = false)]
    denials: &'a [Denial],
    /// In a batch: the status that the item would have had alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    status_code: Option<u16>,
    /// In a batch: the seconds that the header `Retry-After` would have told.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    /// The request's path.
    path: &'a str,
    /// The request's id, under which the log has it.
    request_id: &'a str,
}

/// The schema of every failure.
pub(super) fn schema() -> Described {
    Described::of::<FailureBody<'static>>()
}

/// A response that the front turns into the failure's rendering.
impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = Response::default();
        *response.status_mut() = self.verdict().status;
        response.extensions_mut().insert(self);
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::every_failure;

    fn rendered(error: &ApiError, shape: Shape) -> (StatusCode, Option<HeaderValue>) {
        let response = error.render("/p", "r", shape);
        (response.status(), response.headers().get(header::RETRY_AFTER).cloned())
    }

    #[test]
    fn statuses_are_the_promised_ones() {
        let text = || "x".to_owned();
        let at =
            |failure| rendered(&operations::Failure::call(failure, None).into(), Shape::Plain).0.as_u16();
        assert_eq!(at(Failure::AgentNotFound(text())), 404);
        assert_eq!(at(Failure::Forbidden(text())), 403);
        assert_eq!(at(Failure::Denied(text())), 403);
        assert_eq!(at(Failure::KeyWithdrawn), 401);
        assert_eq!(at(Failure::QueryRequired(text())), 422);
        assert_eq!(at(Failure::InvalidContext(text())), 422);
        assert_eq!(at(Failure::InvalidInput(text())), 422);
        assert_eq!(at(Failure::Unavailable(text())), 503);
        assert_eq!(at(Failure::AgentUnavailable { agent: text(), reason: text() }), 503);
        assert_eq!(at(Failure::AgentFailed(text())), 502);
        assert_eq!(at(Failure::Trapped { internal: text() }), 502);
        assert_eq!(at(Failure::Exited { internal: text() }), 502);
        assert_eq!(at(Failure::FuelExhausted { limit: 1 }), 502);
        assert_eq!(at(Failure::MemoryExhausted { limit: 1, internal: String::new() }), 502);
        assert_eq!(at(Failure::OutputTooLarge { size: 2, limit: 1 }), 502);
        assert_eq!(at(Failure::HostLimitExceeded { what: "handles", limit: 1 }), 502);
        assert_eq!(at(Failure::Draining), 503);
        assert_eq!(at(Failure::Internal { internal: text() }), 500);
        let late = Failure::DeadlineExceeded { limit: Duration::from_secs(1), queued: false };
        assert_eq!(at(late), 504);
    }

    #[test]
    fn a_failure_that_was_kept_is_answered_as_it_would_have_been() {
        for failure in every_failure() {
            let kept = serde_json::to_string(&failure).expect("JSON");
            let kept: Failure = serde_json::from_str(&kept).expect("a failure");
            let answer = |failure: &Failure| {
                rendered(&operations::Failure::call(failure.clone(), None).into(), Shape::Plain)
            };
            assert_eq!(answer(&kept), answer(&failure), "{failure:?}");
        }
    }

    #[test]
    fn every_503_says_when_to_try_again() {
        let overloaded = Failure::Overloaded {
            agent: "a".into(),
            reason: "its queue is full",
            retry_after: Duration::from_millis(1_200),
        };
        let cases = [(overloaded, "2"), (Failure::Draining, "5"), (Failure::Unavailable("x".into()), "5")];
        for (failure, seconds) in cases {
            let (status, after) = rendered(&operations::Failure::call(failure, None).into(), Shape::Plain);
            assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(after, Some(HeaderValue::from_static(seconds)));
        }
    }

    #[test]
    fn the_body_tells_what_and_where_but_nothing_internal() {
        let error = ApiError::from(operations::Failure::Call {
            failure: Failure::Trapped { internal: "secret".into() },
            agent: Some("a".into()),
            ran: None,
        });
        let bytes = error.item("/p", "r-0").expect("a failure is JSON");
        let body: serde_json::Value = serde_json::from_slice(&bytes).expect("JSON");
        assert_eq!(
            body,
            serde_json::json!({
                "success": false, "error": "Bad Gateway", "code": "agent_trapped",
                "message": "the agent stopped with a fault", "agent": "a", "status_code": 502,
                "path": "/p", "request_id": "r-0",
            })
        );
        assert!(error.internal().is_some_and(|text| text.contains("secret")));
    }
}
