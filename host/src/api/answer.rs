//! How answers are written: JSON bodies, numbers and times as clients see them.
//!
//! Pure; owns nothing.

use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};
use serde::{Serialize, Serializer};

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
        .map_err(|error| ApiError::Internal { internal: format!("writing an answer: {error}") })?;
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

/// Whole milliseconds, rounded up.
pub(super) fn whole_millis(duration: Duration) -> u64 {
    Micros::from(duration).whole_ms()
}

/// A confidence with at most four decimals.
pub(super) fn confidence(value: f64) -> f64 {
    (value * 1e4).round() / 1e4
}

/// Writes a point in time as RFC 3339 in UTC, to the millisecond; `null` far outside of our era.
pub(super) fn time<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let moment = jiff::Timestamp::try_from(*at).and_then(|moment| moment.round(jiff::Unit::Millisecond)).ok();
    match moment {
        Some(moment) => serializer.collect_str(&moment),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_few_decimals() {
        assert_eq!(millis(Duration::from_nanos(1_234_567)), 1.234);
        assert_eq!(millis(Duration::from_secs(2)), 2000.0);
        assert_eq!(whole_millis(Duration::from_nanos(1_234_567)), 2);
        assert_eq!(confidence(0.123_456), 0.1235);
    }

    #[test]
    fn times_are_rfc_3339() {
        #[derive(Serialize)]
        struct At(#[serde(serialize_with = "time")] SystemTime);
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        let text = serde_json::to_string(&At(at)).expect("a time is JSON");
        assert_eq!(text, "\"1970-01-01T00:00:01.5Z\"");
    }
}
