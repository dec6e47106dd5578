//! Where a request comes from: the client's address, and whether a proxy stands between.
//!
//! Pure rules over the peer's address and the request's headers. A header that anybody can write is
//! believed only where a trusted proxy (`[server] trusted_proxies`) handed the request on.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{FORWARDED, HeaderName, VIA};

use crate::config::TrustedProxies;

/// The other end of a request's connection; connections put it among the request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Peer(pub(super) IpAddr);

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// What proxies and content networks add to what they hand on, beside `Forwarded`, `Via` and everything
/// that begins with one of [`PREFIXES`].
const OF_PROXIES: &[&str] = &[
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-original-host",
    "x-original-for",
    "x-host",
    "x-appengine-user-ip",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-arr-log-id",
    "true-client-ip",
    "fastly-client-ip",
    "client-ip",
    "remote-addr",
    "cdn-loop",
    "x-varnish",
    "x-amzn-trace-id",
];
const PREFIXES: &[&str] = &["x-forwarded", "x-original-forwarded", "x-proxyuser", "x-envoy-", "cf-"];

/// The client's address: the peer's own, or, where the peer is a trusted proxy, the rightmost address of
/// `X-Forwarded-For` or `Forwarded` that is not a trusted proxy's.
///
/// What stands further left was written by whoever sent the request, and counts for nothing. An entry that
/// is no address ends the search at the proxy that wrote it. Where both headers are there and name
/// different clients, one of them came through a proxy that only knows the other: neither is believed, and
/// the proxy's own address stands.
pub(super) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &TrustedProxies) -> IpAddr {
    let peer = peer.to_canonical();
    if !trusted.contains(peer) {
        return peer;
    }
    let lists = |name: &HeaderName| {
        let values = headers.get_all(name).iter().rev();
        values.flat_map(|value| value.as_bytes().rsplit(|byte| *byte == b','))
    };
    let of_list = headers
        .contains_key(&FORWARDED_FOR)
        .then(|| nearest(peer, lists(&FORWARDED_FOR).map(address), trusted));
    let of_standard =
        headers.contains_key(FORWARDED).then(|| nearest(peer, lists(&FORWARDED).map(forwarded_for), trusted));
    match (of_list, of_standard) {
        (Some(one), Some(other)) if one != other => peer,
        (Some(client), _) | (None, Some(client)) => client,
        (None, None) => peer,
    }
}

/// Whether a request was handed on by somebody: its headers say so, or it comes from a trusted proxy.
pub(super) fn is_handed_on(peer: IpAddr, headers: &HeaderMap, trusted: &TrustedProxies) -> bool {
    trusted.contains(peer) || headers.keys().any(is_of_a_proxy)
}

fn is_of_a_proxy(name: &HeaderName) -> bool {
    *name == FORWARDED
        || *name == VIA
        || OF_PROXIES.contains(&name.as_str())
        || PREFIXES.iter().any(|prefix| name.as_str().starts_with(prefix))
}

/// Walks from the proxy towards the client, over hops from right to left.
fn nearest(peer: IpAddr, hops: impl Iterator<Item = Option<IpAddr>>, trusted: &TrustedProxies) -> IpAddr {
    let mut client = peer;
    for hop in hops {
        let Some(hop) = hop else { break };
        client = hop;
        if !trusted.contains(hop) {
            break;
        }
    }
    client
}

/// The address in an element of `Forwarded`: `for=192.0.2.1;proto=https`, `for="[2001:db8::1]:80"`.
fn forwarded_for(element: &[u8]) -> Option<IpAddr> {
    let mut found = element.split(|byte| *byte == b';').filter_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        let (name, value) = pair.split_at(equals);
        name.trim_ascii().eq_ignore_ascii_case(b"for").then(|| value.get(1..).unwrap_or_default())
    });
    let value = found.next()?.trim_ascii();
    if found.next().is_some() {
        return None;
    }
    let inner = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\""));
    address(inner.unwrap_or(value))
}

/// An address as proxies write it: with or without brackets and port.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let bracketed = || {
        let (inside, port) = text.strip_prefix('[')?.split_once(']')?;
        let port_fits =
            port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
        port_fits.then(|| inside.parse().ok()).flatten().map(IpAddr::V6)
    };
    let with_port = || text.parse::<std::net::SocketAddrV4>().ok().map(|socket| IpAddr::V4(*socket.ip()));
    text.parse().ok().or_else(bracketed).or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const PROXY: &str = "10.0.0.5";

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    fn client(peer: &str, lines: &[(&'static str, &'static str)]) -> String {
        let trusted = TrustedProxies::parse(["10.0.0.0/8", "2001:db8:ffff::/48"]).expect("proxies");
        client_address(peer.parse().expect("an address"), &headers(lines), &trusted).to_string()
    }

    #[test]
    fn who_is_no_trusted_proxy_is_the_client_whatever_it_says() {
        let lines = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=192.0.2.1")];
        assert_eq!(client("203.0.113.9", &lines), "203.0.113.9");
        assert_eq!(client("::ffff:203.0.113.9", &lines), "203.0.113.9");
        assert_eq!(client(PROXY, &[]), PROXY);
    }

    #[test]
    fn the_rightmost_address_that_is_not_trusted_is_the_client() {
        for (value, expected) in [
            ("192.0.2.1", "192.0.2.1"),
            ("1.1.1.1, 192.0.2.1", "192.0.2.1"),
            ("1.1.1.1,192.0.2.1 , 10.0.0.9,10.9.9.9", "192.0.2.1"),
            ("192.0.2.1:4711", "192.0.2.1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("2001:db8::1, 2001:db8:ffff::9", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
            // Who is inside is a client too.
            ("10.0.0.77", "10.0.0.77"),
            ("10.0.0.77, 10.0.0.9", "10.0.0.77"),
            // What is no address was written by the proxy to its right.
            ("192.0.2.1, unknown, 10.0.0.9", "10.0.0.9"),
            ("192.0.2.1, unknown", PROXY),
            ("192.0.2.1,", PROXY),
            ("", PROXY),
        ] {
            assert_eq!(client(PROXY, &[("x-forwarded-for", value)]), expected, "{value}");
        }
        let several = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "192.0.2.1, 10.0.0.9")];
        assert_eq!(client(PROXY, &several), "192.0.2.1");
    }

    #[test]
    fn the_standard_header_says_the_same() {
        for (value, expected) in [
            ("for=192.0.2.1", "192.0.2.1"),
            ("for=1.1.1.1, For=\"192.0.2.1:80\";proto=https;by=10.0.0.5", "192.0.2.1"),
            ("proto=http ; for=\"[2001:db8::1]:4711\"", "2001:db8::1"),
            ("for=192.0.2.1, for=10.0.0.9", "192.0.2.1"),
            ("for=192.0.2.1, for=_hidden", PROXY),
            ("for=192.0.2.1;for=192.0.2.2", PROXY),
            ("for=\"1.1.1.1, for=192.0.2.1", "192.0.2.1"),
            ("proto=https", PROXY),
        ] {
            assert_eq!(client(PROXY, &[("forwarded", value)]), expected, "{value}");
        }
    }

    #[test]
    fn two_headers_that_disagree_are_not_believed() {
        let same = [("x-forwarded-for", "1.1.1.1, 192.0.2.1"), ("forwarded", "for=192.0.2.1")];
        assert_eq!(client(PROXY, &same), "192.0.2.1");
        let forged = [("x-forwarded-for", "192.0.2.1"), ("forwarded", "for=127.0.0.1")];
        assert_eq!(client(PROXY, &forged), PROXY);
    }

    #[test]
    fn proxies_are_known_by_what_they_add() {
        let none = TrustedProxies::default();
        let local = IpAddr::from([127, 0, 0, 1]);
        for name in [
            "forwarded",
            "via",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-forwarded",
            "x-real-ip",
            "cf-connecting-ip",
            "cf-ray",
            "true-client-ip",
            "fastly-client-ip",
            "x-envoy-external-address",
            "x-client-ip",
        ] {
            assert!(is_handed_on(local, &headers(&[(name, "")]), &none), "{name}");
        }
        let plain =
            headers(&[("host", "localhost"), ("accept", "*/*"), ("x-request-id", "1"), ("origin", "x")]);
        assert!(!is_handed_on(local, &plain, &none));
        assert!(is_handed_on(local, &plain, &TrustedProxies::parse(["127.0.0.1"]).expect("proxies")));
    }
}
