//! Requests that hyper refuses by itself, before any handler could.
//!
//! A head that is too large gets an empty 414 or 431 from hyper: no JSON, and statuses that this
//! interface does not have. The connection puts the answer made here in their place. What is not HTTP at all
//! keeps hyper's empty 400.

use super::RequestIds;
use super::connection::{MAX_FIELDS, MAX_HEAD};
use super::error::{ApiError, Shape};

/// Whether hyper is about to refuse a head as too large: no handler answers with these.
pub(super) fn is_hypers_own(bytes: &[u8]) -> bool {
    bytes.starts_with(b"HTTP/1.1 414 ") || bytes.starts_with(b"HTTP/1.1 431 ")
}

/// The answer to send instead, from its status line to its end.
pub(super) fn answer(request_ids: &RequestIds) -> Vec<u8> {
    let id = request_ids();
    let error = ApiError::invalid(format!(
        "the request's head is too large: at most {MAX_HEAD} bytes and {MAX_FIELDS} fields"
    ));
    tracing::info!(request_id = id.as_str(), code = error.code(), "a request's head was too large");
    let (status, json) = error.text("", id.as_str(), Shape::Plain);
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\nx-request-id: {id}\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n",
        json.len()
    );
    [head.into_bytes(), json].concat()
}
