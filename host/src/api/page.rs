//! Long lists in pieces: `?limit&cursor`, the next piece in `Link`. Without a `limit`, a piece is the
//! largest there is: no request makes the host write a list of any length.

use axum::response::Response;
use http::{HeaderValue, Uri, header};
use serde::Serialize;

use super::answer;
use super::error::ApiError;
use crate::operations::{AgentListRequest, AuditRequest, Failure, Page};

/// The pairs of a query string.
fn pairs(uri: &Uri) -> Result<Vec<(String, String)>, ApiError> {
    axum::extract::Query::try_from_uri(uri).map(|query| query.0).map_err(|_| {
        let message = "the query string cannot be read".to_owned();
        Failure::Invalid { field: None, message }.into()
    })
}

/// Reads which agents are asked for; unknown parameters are ignored.
pub(super) fn agents(uri: &Uri) -> Result<AgentListRequest, ApiError> {
    let mut asked = AgentListRequest::default();
    for (name, value) in pairs(uri)? {
        match name.as_str() {
            "category" => asked.category = Some(value),
            "cursor" => asked.cursor = Some(value),
            "limit" => asked.limit = Some(number("limit", &value)?),
            _ => {}
        }
    }
    Ok(asked)
}

/// Reads which records of the audit are asked for.
pub(super) fn audit(uri: &Uri) -> Result<AuditRequest, ApiError> {
    let mut asked = AuditRequest::default();
    for (name, value) in pairs(uri)? {
        match name.as_str() {
            "from" => asked.from = Some(value),
            "to" => asked.to = Some(value),
            "operation" => asked.operation = Some(value),
            "agent" => asked.agent = Some(value),
            "cursor" => asked.cursor = Some(value),
            "limit" => asked.limit = Some(number("limit", &value)?),
            _ => {}
        }
    }
    Ok(asked)
}

/// Reads a number. One that is none is out of every range.
fn number(name: &str, text: &str) -> Result<usize, ApiError> {
    text.parse().map_err(|_| ApiError::field(name, "must be a number from 1 to 1000"))
}

/// Writes a piece, and names the next.
pub(super) fn answer<T: Serialize>(uri: &Uri, page: &Page<T>) -> Result<Response, ApiError> {
    let mut response = answer::ok(&page.items)?;
    if let Some(link) = page.next.as_deref().and_then(|next| link(uri, next)) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// The `Link` header that names the next piece: the same query with another cursor. `next` needs no escaping:
/// it is an agent's id or a number.
fn link(uri: &Uri, next: &str) -> Option<HeaderValue> {
    let mut link = format!("<{}?", uri.path());
    for pair in uri.query().unwrap_or_default().split('&') {
        if !pair.is_empty() && pair.split('=').next() != Some("cursor") {
            link.push_str(pair);
            link.push('&');
        }
    }
    link.push_str(&format!("cursor={next}>; rel=\"next\""));
    HeaderValue::from_str(&link).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_limit_is_named() {
        for uri in ["/x?limit=-1", "/x?limit=", "/x?limit=a"] {
            let error = agents(&Uri::from_static(uri)).expect_err(uri);
            assert!(error.to_string().contains("`limit`"), "{error}");
        }
        let asked = agents(&Uri::from_static("/x?limit=7&cursor=a%20b&colour=red")).expect("a page");
        assert_eq!((asked.limit, asked.cursor.as_deref(), asked.category), (Some(7), Some("a b"), None));
    }

    #[test]
    fn the_link_keeps_the_rest_of_the_query() {
        let uri = Uri::from_static("/agents?category=a%20b&cursor=old&limit=2");
        let link = link(&uri, "new").expect("a header");
        assert_eq!(link, "</agents?category=a%20b&limit=2&cursor=new>; rel=\"next\"");
    }
}
