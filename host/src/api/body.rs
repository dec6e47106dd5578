//! Request bodies: read under a size, a time and a depth, then parsed into a typed request.
//!
//! Owns nothing. What is wrong with a body is said with its place: a line and column where it is
//! not JSON, a field where it is the wrong JSON.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::caller::Caller;
use super::error::ApiError;
use super::{Api, front};
use crate::config::ServerConfig;
use crate::domain::{json, text};

/// What is shown of a parser's message, which can quote the input, in bytes.
const MESSAGE_SHOWN: usize = 300;

/// After this a body that is not there counts among its key's slow ones.
const SLOW_AFTER: Duration = Duration::from_millis(100);

/// How large a body may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct BodyLimit {
    /// Bytes.
    pub(super) bytes: u64,
    /// The setting that says so, for who is beyond it.
    pub(super) setting: &'static str,
}

impl BodyLimit {
    /// What a body beyond it gets.
    pub(super) fn exceeded(self) -> ApiError {
        ApiError::BodyTooLarge { limit: self.bytes, setting: self.setting }
    }
}

/// Reads the whole body; empty if there is none. The caller goes on with what its key may do afterwards:
/// whoever sends slowly keeps no right by that.
pub(super) async fn read(api: &Api, caller: &mut Caller, request: Request) -> Result<Bytes, ApiError> {
    let (parts, body) = request.into_parts();
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if !is_json(&parts.headers) {
        return Err(ApiError::UnsupportedMediaType("JSON: send it with `Content-Type: application/json`"));
    }
    let limit = BodyLimit { bytes: api.server.load().max_body, setting: "`max_body` in [server]" };
    read_up_to(api, caller, &parts, body, limit).await
}

/// Reads a whole body within `limit`, in the time that bodies have, as [`read`] does. `parts` are
/// its request's.
pub(super) async fn read_up_to(
    api: &Api,
    caller: &mut Caller,
    parts: &Parts,
    body: Body,
    limit: BodyLimit,
) -> Result<Bytes, ApiError> {
    let body = read_in_time(api, parts, body, limit).await?;
    caller.go_on(api)?;
    Ok(body)
}

async fn read_in_time(api: &Api, parts: &Parts, body: Body, limit: BodyLimit) -> Result<Bytes, ApiError> {
    let time = api.server.load().body_timeout;
    // What the head announces is refused before any of it is read.
    if body.size_hint().lower() > limit.bytes {
        return Err(limit.exceeded());
    }
    let mut reading = pin!(collect(body, limit));
    if let Ok(read) = tokio::time::timeout(time.min(SLOW_AFTER), reading.as_mut()).await {
        return read;
    }
    let turn = parts.extensions.get::<Arc<front::Request>>().and_then(|request| request.turn());
    let _slow = match turn {
        None => None,
        Some(turn) => Some(turn.body().ok_or(ApiError::Overloaded(
            "too many bodies of this key are on their way: send fewer at once (`key_bodies` in [server])",
        ))?),
    };
    let left = time.saturating_sub(SLOW_AFTER);
    tokio::time::timeout(left, reading).await.unwrap_or(Err(ApiError::BodyTimeout { limit: time }))
}

/// One frame is the usual body, and is not copied.
async fn collect(mut body: Body, limit: BodyLimit) -> Result<Bytes, ApiError> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    // What has come as it was announced has ended: nobody waits to hear so.
    while !body.is_end_stream()
        && let Some(frame) = body.frame().await
    {
        let frame = frame.map_err(|_| ApiError::MalformedJson("the body ended early".to_owned()))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        let size = first.len() + rest.len() + data.len();
        if size as u64 > limit.bytes {
            return Err(limit.exceeded());
        }
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    if rest.is_empty() {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok(whole.freeze())
}

/// JSON by its own word, or without a word; in UTF-8 and not compressed.
pub(super) fn is_json(headers: &HeaderMap) -> bool {
    if headers.get(header::CONTENT_ENCODING).is_some_and(|how| how != "identity") {
        return false;
    }
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return true;
    };
    let Ok(text) = value.to_str() else {
        return false;
    };
    let mut parts = text.split(';').map(str::trim);
    let essence = parts.next().unwrap_or_default().to_ascii_lowercase();
    let json =
        essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"));
    json && parts.all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => {
            let value = value.trim().trim_matches('"');
            value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("utf8")
        }
        _ => true,
    })
}

/// Parses a body that is one object.
pub(super) fn parse_object<'de, T: Deserialize<'de>>(
    server: &ServerConfig,
    body: &'de [u8],
) -> Result<T, ApiError> {
    parse(server, body, b'{', "an object")
}

/// Parses a body that is a list.
pub(super) fn parse_list<'de, T: Deserialize<'de>>(
    server: &ServerConfig,
    body: &'de [u8],
) -> Result<T, ApiError> {
    parse(server, body, b'[', "a list")
}

fn parse<'de, T: Deserialize<'de>>(
    server: &ServerConfig,
    body: &'de [u8],
    opening: u8,
    kind: &str,
) -> Result<T, ApiError> {
    let max = server.max_json_depth;
    if json::is_deeper(body, max) {
        return Err(ApiError::invalid(format!(
            "the body is nested more than {max} levels deep: make it flatter (`max_json_depth` in [server])"
        )));
    }
    let first = body.iter().find(|byte| !byte.is_ascii_whitespace());
    match first {
        None => Err(ApiError::MalformedJson(format!("the body is empty: send {kind} as JSON"))),
        Some(byte) if *byte == opening => part(body),
        Some(_) => {
            serde_json::from_slice::<IgnoredAny>(body).map_err(|error| malformed(&error))?;
            Err(ApiError::invalid(format!("the body must be {kind}")))
        }
    }
}

/// Parses JSON that is known to be of the right kind and depth.
pub(super) fn part<'de, T: Deserialize<'de>>(json: &'de [u8]) -> Result<T, ApiError> {
    serde_json::from_slice(json).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => wrong_field::<T>(json, &error),
        serde_json::error::Category::Syntax
        | serde_json::error::Category::Eof
        | serde_json::error::Category::Io => malformed(&error),
    })
}

fn malformed(error: &serde_json::Error) -> ApiError {
    ApiError::MalformedJson(format!("the body is not JSON: {}", shown(&error.to_string())))
}

/// Parses once more, this time keeping track of the place.
fn wrong_field<'de, T: Deserialize<'de>>(json: &'de [u8], error: &serde_json::Error) -> ApiError {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let path = match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Ok(_) => ".".to_owned(),
        Err(error) => error.path().to_string(),
    };
    let text = error.to_string();
    if path != "." && !path.starts_with('?') {
        return ApiError::field(shown(&path), format_args!("is wrong: {}", shown(&text)));
    }
    let missing = text.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    match missing {
        Some(field) => ApiError::field(field, "is required"),
        None => ApiError::invalid(shown(&text).to_owned()),
    }
}

fn shown(text: &str) -> &str {
    text::beginning(text, MESSAGE_SHOWN)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operations::Failure;

    #[derive(Debug, Deserialize)]
    struct Sample {
        #[expect(dead_code, reason = "only parsed")]
        task: String,
    }

    #[test]
    fn a_wrong_field_is_named() {
        let field = |json: &[u8]| match part::<Sample>(json) {
            Err(ApiError::Operation(Failure::Invalid { field, message })) => (field, message),
            other => panic!("{other:?}"),
        };
        let (name, message) = field(br#"{"task": 5}"#);
        assert_eq!(name.as_deref(), Some("task"));
        assert!(message.contains("`task`") && message.contains("integer"), "{message}");
        assert_eq!(field(b"{}").0.as_deref(), Some("task"));
        let long = format!(r#"{{"task": ["{}"]}}"#, "x".repeat(10_000));
        assert!(field(long.as_bytes()).1.len() < 1_000);
    }

    #[test]
    fn what_is_not_json_is_located() {
        match part::<Sample>(b"{\n  \"task\": }") {
            Err(ApiError::MalformedJson(message)) => {
                assert!(message.contains("line 2 column 11"), "{message}");
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn media_types() {
        let is = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(value));
            is_json(&headers)
        };
        assert!(is_json(&HeaderMap::new()));
        for good in [
            "application/json",
            "Application/JSON; charset=UTF-8",
            "application/problem+json",
            "application/json;charset=\"utf-8\"",
            "application/json; x",
        ] {
            assert!(is(good), "{good}");
        }
        for bad in [
            "text/plain",
            "text/json",
            "application/jsonp",
            "application/json; charset=latin1",
            "",
            "multipart/form-data; boundary=x",
        ] {
            assert!(!is(bad), "{bad}");
        }
    }
}
