//! How answers are written: JSON bodies, numbers and times as clients see them.
//!
//! Pure; owns nothing.

use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde::Serialize;

use super::error::ApiError;
use crate::domain::Micros;

/// Writes `value` as an answer with status 200.
pub(super) fn ok<T: Serialize + ?Sized>(value: &T) -> Result<Response, ApiError> {
    json(StatusCode::OK, value)
}

/// Writes `value` as an answer.
pub(super) fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Result<Response, ApiError> {
    Ok(response(status, to_bytes(value)?))
}

/// Writes `value` as JSON.
pub(super) fn to_bytes<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, ApiError> {
    let mut bytes = Vec::with_capacity(768);
    serde_json::to_writer(&mut bytes, value)
        .map_err(|error| ApiError::internal_fault(format!("writing an answer: {error}")))?;
    Ok(bytes)
}

/// Makes an answer of JSON text.
pub(super) fn response(status: StatusCode, json: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(json));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// Milliseconds with at most three decimals.
pub(super) fn millis(duration: Duration) -> f64 {
    Micros::from(duration).as_ms()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_few_decimals() {
        assert_eq!(millis(Duration::from_nanos(1_234_567)), 1.234);
        assert_eq!(millis(Duration::from_secs(2)), 2000.0);
    }
}
