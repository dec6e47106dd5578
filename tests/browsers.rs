//! Pages in browsers: which may read answers, and how they ask for leave.

use serde_json::json;

use crate::support::{Request, Server};

const FLEET: &str = "[server]\nallowed_origins = [\"https://app.example.com\", \"http://localhost:3000\"]\n\
    [agents.echo]\ncomponent = \"<echo>\"\n";

fn preflight(origin: &str) -> Request {
    Request::new("OPTIONS", "/orchestrator/smart-execute")
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type")
}

#[test]
fn a_preflight_is_answered_without_a_key() {
    let server = Server::with(FLEET);
    let reply = server.ask_plainly(preflight("http://localhost:3000"));
    assert_eq!((reply.status, reply.text.as_str()), (204, ""));
    assert_eq!(reply.header("access-control-allow-origin"), Some("http://localhost:3000"));
    assert!(reply.header("access-control-allow-methods").is_some_and(|methods| methods.contains("POST")));
    let headers = reply.header("access-control-allow-headers").expect("headers").to_ascii_lowercase();
    assert!(headers.contains("authorization") && headers.contains("content-type"), "{headers}");
    let reply = server.ask_plainly(preflight("https://evil.example"));
    assert_eq!(reply.header("access-control-allow-origin"), None);
}

#[test]
fn answers_and_failures_can_be_read_by_allowed_pages_only() {
    let server = Server::with(FLEET);
    for origin in ["https://app.example.com", "http://localhost:3000"] {
        for path in ["/orchestrator/agents", "/nowhere", "/healthz"] {
            let reply = server.ask(Request::get(path).header("origin", origin));
            assert_eq!(reply.header("access-control-allow-origin"), Some(origin), "{path}");
            assert!(reply.header("vary").is_some_and(|vary| vary.contains("origin")), "{path}");
            assert!(
                reply
                    .header("access-control-expose-headers")
                    .is_some_and(|names| names.contains("x-request-id"))
            );
        }
        let reply = server.ask_plainly(Request::get("/orchestrator/agents").header("origin", origin));
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (401, Some(origin)));
    }
    for origin in
        ["https://evil.example", "https://app.example.com.evil.example", "http://app.example.com", "null"]
    {
        let reply = server.ask(Request::get("/orchestrator/agents").header("origin", origin));
        assert_eq!(reply.header("access-control-allow-origin"), None, "{origin}");
    }
}

#[test]
fn any_origin_can_be_allowed_and_none_is_by_default() {
    let open = Server::with("[server]\nallowed_origins = \"*\"\n[agents.echo]\ncomponent = \"<echo>\"\n");
    let request = Request::post("/orchestrator/execute", &json!({ "agent": "echo", "query": "x" }));
    let reply = open.ask(request.clone().header("origin", "https://any.example"));
    reply.expect(200);
    assert!(reply.header("access-control-allow-origin").is_some());
    let closed = Server::with("[agents.echo]\ncomponent = \"<echo>\"\n");
    let reply = closed.ask(request.header("origin", "https://any.example"));
    reply.expect(200);
    assert_eq!(reply.header("access-control-allow-origin"), None);
}
