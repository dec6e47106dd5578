//! Browsers: which pages may read answers, and which may ask without a key.
//!
//! Pure rules over headers; the allowed origins are handed in at each request, so that a changed
//! setting counts at once. (tower-http's layer answers every OPTIONS request itself and varies each answer by
//! three headers; and the same rules have to guard callers without a key.)

use std::net::IpAddr;

use axum::response::Response;
use http::header::{self, HeaderMap, HeaderValue};
use http::request::Parts;
use http::{Method, StatusCode};

use super::client::{self, Peer};
use super::error::ApiError;
use crate::config::ServerConfig;

/// What a page may read besides the body.
const EXPOSED: HeaderValue = HeaderValue::from_static("x-request-id, link, retry-after");
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, DELETE");
const HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type, x-request-id");
/// How long a browser may remember a preflight, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");

/// Whether a browser asks if it may ask.
pub(super) fn is_preflight<B>(request: &http::Request<B>) -> bool {
    request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ORIGIN)
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight; it allows nothing until it is [signed](sign).
pub(super) fn preflight() -> Response {
    let mut response = Response::default();
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
    headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
    response
}

/// Lets pages of `origin` read the answer, if that origin is allowed.
pub(super) fn sign(allowed: &[String], origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
    if allowed.is_empty() {
        return;
    }
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = origin.filter(|origin| is_allowed(allowed, origin)) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    }
}

/// Lets in without a key only what a program on this machine sent by itself. Refused is what came from
/// another machine, what somebody handed on (a proxy lets the world in under its own address), what a
/// page on another site made a browser send, and what was sent to a name that was made to resolve to this
/// machine (DNS rebinding).
pub(super) fn guard_anonymous(parts: &Parts, server: &ServerConfig) -> Result<(), ApiError> {
    let peer = parts.extensions.get::<Peer>().map(|Peer(peer)| peer.to_canonical());
    let Some(peer) = peer.filter(IpAddr::is_loopback) else {
        return Err(ApiError::Forbidden(
            "without a key, this host answers programs on its own machine only: send a key",
        ));
    };
    if client::is_handed_on(peer, &parts.headers, &server.trusted_proxies) {
        return Err(ApiError::Forbidden(
            "without a key, this host answers nothing that a proxy handed on: send a key",
        ));
    }
    let mut hosts = hosts_of(parts).peekable();
    let host = hosts.peek().copied();
    if host.is_none() || !hosts.all(is_local_name) {
        return Err(ApiError::Forbidden(
            "without a key, this host answers only as localhost or by a loopback address: send a key",
        ));
    }
    let allowed = &server.allowed_origins;
    let foreign = parts
        .headers
        .get_all(header::ORIGIN)
        .iter()
        .any(|origin| !is_allowed(allowed, origin) && !host.is_some_and(|host| is_same(origin, host)));
    if foreign {
        return Err(ApiError::Forbidden(
            "without a key, pages of other origins may not call: add theirs to `allowed_origins` in [server], or send a key",
        ));
    }
    Ok(())
}

fn is_allowed(allowed: &[String], origin: &HeaderValue) -> bool {
    allowed.iter().any(|own| own == "*" || own.as_bytes() == origin.as_bytes())
}

/// The host and port that the request was sent to, as often as it says so; none where an old client
/// does not say.
fn hosts_of(parts: &Parts) -> impl Iterator<Item = &str> {
    let of_target = parts.uri.authority().map(http::uri::Authority::as_str).into_iter();
    // A host that is not text is no name of ours.
    let of_headers = parts.headers.get_all(header::HOST).iter().map(|host| host.to_str().unwrap_or("?"));
    of_target.chain(of_headers)
}

fn is_local_name(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or(rest),
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let lower = name.to_ascii_lowercase();
    let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
    lower == "localhost" || lower.ends_with(".localhost") || name.parse().is_ok_and(is_loopback)
}

fn is_same(origin: &HeaderValue, host: &str) -> bool {
    origin
        .to_str()
        .ok()
        .and_then(|origin| origin.split_once("://"))
        .is_some_and(|(_, authority)| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard_from(peer: Option<&str>, headers: &[(&str, &str)], allowed: &[String]) -> bool {
        let mut request = http::Request::builder().uri("/x");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (mut parts, ()) = request.body(()).expect("a request").into_parts();
        if let Some(peer) = peer {
            parts.extensions.insert(Peer(peer.parse().expect("an address")));
        }
        let mut server = crate::config::Config::defaults(std::path::Path::new("/")).server;
        server.allowed_origins = allowed.to_vec();
        guard_anonymous(&parts, &server).is_ok()
    }

    fn guard(host: &str, origin: Option<&str>, allowed: &[String]) -> bool {
        let origin = origin.map(|origin| ("origin", origin));
        let headers: Vec<_> = [("host", host)].into_iter().chain(origin).collect();
        guard_from(Some("127.0.0.1"), &headers, allowed)
    }

    #[test]
    fn without_a_key_only_this_machine_is_answered() {
        let host = ("host", "localhost");
        for peer in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
            assert!(guard_from(Some(peer), &[host], &[]), "{peer}");
        }
        for peer in [Some("192.168.1.1"), Some("::ffff:10.0.0.1"), Some("2001:db8::1"), None] {
            assert!(!guard_from(peer, &[host], &[]), "{peer:?}");
        }
        let local = |headers: &[(&str, &str)]| guard_from(Some("127.0.0.1"), headers, &[]);
        assert!(!local(&[host, ("x-forwarded-for", "127.0.0.1")]));
        assert!(!local(&[host, ("via", "1.1 proxy")]));
        assert!(!local(&[]), "a host that is not named");
        assert!(!local(&[host, ("host", "evil.example")]));
        assert!(!local(&[host, ("origin", "http://localhost"), ("origin", "http://evil.example")]));
    }

    #[test]
    fn without_a_key_only_local_names_are_answered() {
        for host in [
            "localhost",
            "localhost:8001",
            "LOCALHOST.",
            "a.localhost:1",
            "127.0.0.1:8001",
            "[::1]:8001",
            "[::1]",
            "127.8.8.8",
            "[::ffff:127.0.0.1]",
        ] {
            assert!(guard(host, None, &[]), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:8001",
            "localhost.evil.example",
            "127.0.0.1.nip.io",
            "",
            "[",
            "10.0.0.7",
            "203.0.113.5",
            "0.0.0.0",
        ] {
            assert!(!guard(host, None, &[]), "{host}");
        }
    }

    #[test]
    fn without_a_key_only_known_pages_may_call() {
        let own = Some("http://localhost:8001");
        let other = Some("http://localhost:3000");
        let listed = ["http://localhost:3000".to_owned()];
        assert!(guard("localhost:8001", own, &[]));
        assert!(!guard("localhost:8001", other, &[]));
        assert!(!guard("localhost:8001", Some("null"), &[]));
        assert!(guard("localhost:8001", other, &listed));
        assert!(!guard("localhost:8001", Some("http://localhost:3000.evil.example"), &listed));
        assert!(guard("localhost:8001", Some("https://any.example"), &["*".to_owned()]));
    }

    #[test]
    fn answers_name_the_origin_only_where_it_is_allowed() {
        let allowed = ["https://a.example".to_owned()];
        let signed = |origin: &'static str| {
            let mut headers = HeaderMap::new();
            sign(&allowed, Some(&HeaderValue::from_static(origin)), &mut headers);
            assert_eq!(headers.get(header::VARY), Some(&HeaderValue::from_static("origin")));
            headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN)
        };
        assert!(signed("https://a.example"));
        assert!(!signed("https://A.example"));
        assert!(!signed("https://b.example"));
    }
}
