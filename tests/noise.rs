//! Ten thousand odd requests, and bytes that are no requests: the host answers
//! what can be answered, in JSON, and is the same afterwards as before.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};

use serde_json::Value;

use crate::support::random::Random;
use crate::support::{Connection, PATIENCE, Reply, Request, Server};

const REQUESTS: usize = 10_000;
/// More than the host may grow by from the first thousands of requests to the last.
const GROWTH: u64 = 32 << 20;

const METHODS: &[&str] = &[
    "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "TRACE", "CONNECT", "PURGE", "get", "X",
    "M-SEARCH",
];
const PATHS: &[&str] = &[
    "/orchestrator/route",
    "/orchestrator/execute",
    "/orchestrator/smart-execute",
    "/orchestrator/batch",
    "/orchestrator/agents",
    "/orchestrator/agents/echo",
    "/orchestrator/agents/%ff",
    "/orchestrator/stats",
    "/api/agents/echo/execute",
    "/api/agents/hostile/execute",
    "/api/agents/status",
    "/api/agents//execute",
    "/healthz",
    "/readyz",
    "/metrics",
    "/",
    "//",
    "/..",
    "/%2e%2e/%2e%2e/etc/passwd",
    "*",
    "http://localhost/healthz",
    "/orchestrator/agents?limit=%00&cursor=%zz",
    "/orchestrator/agents?category=%f0%9f",
    "/ws/orchestrator",
    "/orchestrator/tasks/1/events",
];
const BODIES: &[&str] = &[
    "",
    "{}",
    "[]",
    "null",
    "0",
    "\"x\"",
    "{\"task\": \"server memory\"}",
    "{\"task\": \"\"}",
    "{\"task\": 1e400}",
    "{\"agent\": \"echo\", \"query\": \"x\"}",
    "{\"agent\": \"hostile\", \"query\": \"trap\"}",
    "{\"agent\": \"hostile\", \"query\": \"fail unavailable x\"}",
    "{\"agent\": \"echo\", \"query\": \"x\", \"context\": [[[[{}]]]]}",
    "[\"echo\", {\"agent\": \"echo\", \"query\": \"x\"}, 7, null, {\"agent\": 1}]",
    "{\"task\": \"a\", \"task\": \"b\"}",
    "{\"query\": \"\\u0000\\ud83d\"}",
    "{\"task\": \"<script>alert(1)</script>\", \"explain\": true}",
];
const HEADERS: &[&str] = &[
    "content-type",
    "accept",
    "x-request-id",
    "authorization",
    "origin",
    "host",
    "cookie",
    "connection",
    "upgrade",
    "expect",
    "content-encoding",
    "access-control-request-method",
    "if-none-match",
    "range",
    "transfer-encoding",
    "content-length",
    "x-forwarded-for",
    "te",
    "sec-websocket-key",
];
const VALUES: &[&str] = &[
    "",
    "application/json",
    "text/html",
    "keep-alive",
    "close",
    "upgrade",
    "websocket",
    "100-continue",
    "gzip",
    "chunked",
    "0",
    "5",
    "-1",
    "99999999999999999999",
    "http://localhost",
    "null",
    "*",
    "Bearer x",
    "bytes=0-1",
    "localhost",
];

/// A request of chance: mostly nearly right, often in one way wrong.
fn request(random: &mut Random, key: &str) -> (String, Vec<u8>) {
    let method = (*random.of(METHODS)).to_owned();
    let mut path = (*random.of(PATHS)).to_owned();
    if random.one_in(8) {
        path = format!(
            "/{}",
            String::from_utf8_lossy(&random.bytes(60))
                .replace(|c: char| c.is_whitespace() || c.is_control(), "%")
        );
    }
    let mut request = Request::new(&method, &path);
    if !random.one_in(5) {
        request = request.key(key);
    }
    if !random.one_in(4) {
        request = request.header("content-type", "application/json");
    }
    for _ in 0..random.below(4) {
        let name = *random.of(HEADERS);
        let value = match random.below(6) {
            0 => random.bytes(40).into_iter().filter(|byte| *byte >= 32 && *byte != 127).collect(),
            _ => random.of(VALUES).as_bytes().to_vec(),
        };
        request = request.header(name, value);
    }
    request = match random.below(8) {
        0 => request,
        1 => request.body(random.bytes(2_000)),
        2 => request.body("[".repeat(random.below(5_000))),
        3 => {
            let mut body = random.of(BODIES).as_bytes().to_vec();
            if !body.is_empty() {
                let at = random.below(body.len());
                body[at] = random.bytes(1).first().copied().unwrap_or(0);
            }
            request.body(body)
        }
        _ => request.body(*random.of(BODIES)),
    };
    (method, request.bytes())
}

#[track_caller]
fn check(reply: &Reply, sent: &[u8]) {
    let shown = || format!("{reply:?}\nto {}", String::from_utf8_lossy(sent));
    assert!((200..505).contains(&reply.status) && reply.status != 500 && reply.status != 501, "{}", shown());
    assert!(!reply.text.to_lowercase().contains("<html"), "{}", shown());
    // Metrics alone are no JSON.
    let metrics = reply.status == 200 && reply.text.ends_with("# EOF\n");
    if reply.text.is_empty() || metrics {
        return;
    }
    let body = reply.json();
    if reply.status >= 500 {
        let code = body["code"].as_str().unwrap_or_default();
        assert!(matches!(code, "agent_trapped" | "agent_unavailable"), "{}", shown());
    }
    if reply.status >= 400 {
        assert!(body["code"].is_string() && body["message"].is_string(), "{}", shown());
    }
}

#[test]
fn ten_thousand_requests_of_chance_change_nothing() {
    let server = Server::with(
        "[server]\nheader_timeout = \"300ms\"\nbody_timeout = \"300ms\"\n[agents.echo]\ncomponent = \"<echo>\"\n\
         triggers = [\"echo\"]\n[agents.hostile]\ncomponent = \"<hostile>\"\nlimits.fuel = 10_000_000\n",
    );
    let mut random = Random::new(42);
    let mut connections: Vec<Option<Connection>> = (0..4).map(|_| None).collect();
    let mut answered = 0;
    let mut early = 0;
    for number in 0..REQUESTS {
        let (method, bytes) = request(&mut random, &server.key);
        let place = random.below(connections.len());
        let mut connection = connections[place].take().unwrap_or_else(|| server.connect());
        // The host may have closed it after the last answer, or may close it on this request.
        let answer = connection.send(&bytes).and_then(|()| connection.answer(method == "HEAD"));
        if let Ok(reply) = answer {
            check(&reply, &bytes);
            answered += 1;
            let simple = reply.status < 400 || number % 2 == 0;
            if simple && reply.header("connection") != Some("close") && method != "CONNECT" {
                connections[place] = Some(connection);
            }
        }
        if number % 50 == 0 {
            garbage(&server, &mut random);
        }
        if number == REQUESTS / 5 {
            early = server.resident();
        }
    }
    let late = server.resident();
    eprintln!(
        "{answered} of {REQUESTS} requests were answered; {} MiB resident, then {}",
        early >> 20,
        late >> 20
    );
    assert!(answered > REQUESTS / 2, "only {answered} answers");
    assert!(late < early + GROWTH, "grew from {early} to {late} bytes");
    server.call("echo", "still here").expect(200);
    for agent in server.get("/api/agents/status").expect(200).as_array().expect("a list") {
        assert_eq!((&agent["running"], &agent["queued"]), (&Value::from(0), &Value::from(0)), "{agent}");
    }
    assert!(!server.log().contains("panicked"), "nothing of the host's own broke");
}

/// Bytes that are no request, on a socket of their own, which is then closed.
fn garbage(server: &Server, random: &mut Random) {
    let mut stream = TcpStream::connect(server.address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    let _ = stream.write_all(&random.bytes(4_000));
    if random.one_in(2) {
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(!String::from_utf8_lossy(&answer).to_lowercase().contains("<html"));
    }
}
