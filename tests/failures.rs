//! Requests that are wrong: each gets JSON that says what, with the status and code that are promised.

use serde_json::{Value, json};

use crate::support::{Request, Server};

const FLEET: &str = "[agents.echo]\ncomponent = \"<echo>\"\n[agents.calendar]\ncomponent = \"<calendar>\"\n\
    [agents.vps-monitor]\ncomponent = \"<vps_monitor>\"\ngrants = { system = true }\n";

#[test]
fn an_unknown_path_is_json_like_everything() {
    let server = Server::with(FLEET);
    for path in
        ["/", "/api/nonexistent", "/orchestrator", "/orchestrator/", "/favicon.ico", "/healthz/x", "/a%00b"]
    {
        let body = server.ask_plainly(Request::get(path)).expect_failure(404, "not_found");
        assert_eq!((&body["error"], &body["path"]), (&json!("Not Found"), &json!(path)));
        assert!(body.get("success").is_none(), "{body}");
    }
}

#[test]
fn a_wrong_method_is_told_the_right_one() {
    let server = Server::with(FLEET);
    for (method, path, allowed) in [
        ("GET", "/orchestrator/route", "POST"),
        ("DELETE", "/orchestrator/smart-execute", "POST"),
        ("PATCH", "/api/agents/echo/execute", "POST"),
        ("POST", "/orchestrator/agents", "GET"),
        ("OPTIONS", "/orchestrator/stats", "GET"),
        ("PURGE", "/healthz", "GET"),
    ] {
        let reply = server.ask(Request::new(method, path));
        reply.expect_failure(405, "method_not_allowed");
        assert!(
            reply.header("allow").is_some_and(|allow| allow.contains(allowed)),
            "{method} {path}: {reply:?}"
        );
    }
    let head = server.ask_plainly(Request::new("HEAD", "/healthz"));
    assert_eq!((head.status, head.text.as_str()), (200, ""));
}

#[test]
fn a_body_that_is_not_json_is_refused_by_its_media_type() {
    let server = Server::with(FLEET);
    let ask = |media: &str, body: &str| {
        server.ask(Request::new("POST", "/orchestrator/route").header("content-type", media).body(body))
    };
    for media in
        ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin1", "nonsense"]
    {
        ask(media, r#"{"task": "x"}"#).expect_failure(415, "unsupported_media_type");
    }
    for media in ["application/json", "application/json; charset=utf-8", "application/merge-patch+json"] {
        ask(media, r#"{"task": "x"}"#).expect(200);
    }
    let compressed =
        Request::post("/orchestrator/route", &json!({ "task": "x" })).header("content-encoding", "gzip");
    server.ask(compressed).expect_failure(415, "unsupported_media_type");
    let without = Request::new("POST", "/orchestrator/route").body(r#"{"task": "x"}"#);
    server.ask(without).expect(200);
}

#[test]
fn a_malformed_body_is_located() {
    let server = Server::with(FLEET);
    let ask = |body: &[u8]| {
        let request = Request::new("POST", "/orchestrator/smart-execute");
        server.ask(request.header("content-type", "application/json").body(body))
    };
    for body in [
        &b""[..],
        b" ",
        b"{",
        b"{\"task\": \"x\"",
        b"{\"task\": }",
        b"{'task': 'x'}",
        b"{\"task\": \"x\"} more",
        b"{\"task\": \"\xff\xfe\"}",
        b"{\"task\": \"a\nb\"}",
        b"\xef\xbb\xbf{\"task\": \"x\"}",
        b"{\"task\": \"\\ud800\"}",
        b"nonsense",
    ] {
        let reply = ask(body).expect_failure(400, "malformed_json");
        assert_eq!(reply["success"], false, "{reply}");
    }
    let reply = ask(b"{\n  \"task\": }").expect_failure(400, "malformed_json");
    assert!(reply["message"].as_str().is_some_and(|text| text.contains("line 2")), "{reply}");
}

#[test]
fn a_wrong_field_is_named() {
    let server = Server::with(FLEET);
    let named = |path: &str, body: Value, field: &str| {
        let reply = server.post(path, &body).expect_failure(422, "invalid_request");
        assert_eq!(reply["field"], field, "{body}: {reply}");
        assert!(reply["message"].as_str().is_some_and(|text| text.contains(field)), "{body}: {reply}");
    };
    let (route, smart, execute) =
        ("/orchestrator/route", "/orchestrator/smart-execute", "/orchestrator/execute");
    for path in [route, smart] {
        for body in [
            json!({}),
            json!({ "task": 5 }),
            json!({ "task": null }),
            json!({ "task": "" }),
            json!({ "task": " \n" }),
        ] {
            named(path, body, "task");
        }
        named(path, json!({ "task": "x".repeat(5_001) }), "task");
    }
    named(route, json!({ "task": "x", "auto_select": "yes" }), "auto_select");
    named(route, json!({ "task": "x", "explain": 1 }), "explain");
    named(execute, json!({ "query": "x" }), "agent");
    named(execute, json!({ "agent": "echo" }), "query");
    named(execute, json!({ "agent": "echo", "query": ["x"] }), "query");
    named("/api/agents/echo/execute", json!({ "query": 7 }), "query");
    for body in [json!([]), json!("x"), json!(1), json!(null)] {
        server.post(route, &body).expect_failure(422, "invalid_request");
    }
}

#[test]
fn a_task_is_counted_in_characters() {
    let server = Server::with(FLEET);
    let longest = "ü".repeat(5_000);
    let answer = server.call("echo", &format!("  {longest}\n")).expect(200);
    assert!(answer["response"].as_str().is_some_and(|text| text.contains(&longest)));
    server.call("echo", &"ü".repeat(5_001)).expect_failure(422, "invalid_request");
}

#[test]
fn deep_and_large_bodies_are_refused_unread() {
    let server = Server::with(&format!("[server]\nmax_body = \"10 KiB\"\nmax_json_depth = 8\n{FLEET}"));
    let nested = |depth: usize| {
        let context = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let body = format!(r#"{{"agent": "echo", "query": "x", "context": {context}}}"#);
        let request =
            Request::new("POST", "/orchestrator/execute").header("content-type", "application/json");
        server.ask(request.body(body))
    };
    nested(7).expect(200);
    nested(8).expect_failure(422, "invalid_request");
    nested(4_000).expect_failure(422, "invalid_request");
    let large = json!({ "task": "x", "context": "y".repeat(20_000) });
    let body = server.post("/orchestrator/route", &large).expect_failure(413, "body_too_large");
    assert!(
        body["message"].as_str().is_some_and(|text| text.contains("10240") && text.contains("`max_body`")),
        "{body}"
    );
    // What is only announced is refused before it is sent.
    let announced = Request::new("POST", "/orchestrator/route").header("content-length", "99999999999");
    server.ask(announced.header("content-type", "application/json")).expect_failure(413, "body_too_large");
    // In pieces, nothing announces it.
    let mut pieces = String::new();
    for _ in 0..40 {
        pieces.push_str(&format!("200\r\n{}\r\n", " ".repeat(512)));
    }
    let chunked = Request::new("POST", "/orchestrator/route").header("transfer-encoding", "chunked");
    server.ask(chunked.body(format!("{pieces}0\r\n\r\n"))).expect_failure(413, "body_too_large");
}

#[test]
fn a_head_that_is_too_large_is_answered_in_json() {
    let server = Server::with(FLEET);
    let long = server.ask_plainly(Request::get(&format!("/{}", "x".repeat(100_000))));
    assert!((400..500).contains(&long.status), "{long:?}");
    assert!(long.json()["code"].is_string());
    let mut many = Request::get("/healthz");
    for number in 0..200 {
        many = many.header(&format!("x-{number}"), "1");
    }
    let many = server.ask_plainly(many);
    assert!((400..500).contains(&many.status), "{many:?}");
    assert!(many.json()["code"].is_string());
}

#[test]
fn a_context_that_does_not_fit_the_agents_schema_is_refused() {
    let server = Server::with(FLEET);
    let ask = |context: Value| {
        let body = json!({ "agent": "calendar", "query": "What day is it today?", "context": context });
        server.post("/orchestrator/execute", &body)
    };
    let answer = ask(json!({ "today": "2025-11-21" })).expect(200);
    assert!(answer["response"].as_str().is_some_and(|text| text.contains("Friday")), "{answer}");
    for wrong in [json!({ "today": 7 }), json!("2025-11-21"), json!([])] {
        let body = ask(wrong).expect_failure(422, "invalid_request");
        assert!(body["message"].as_str().is_some_and(|text| text.contains("context")), "{body}");
        assert_eq!(body["agent"], "calendar");
    }
    ask(Value::Null).expect(200);
}

#[test]
fn an_agent_that_is_not_there_is_said_to_be_missing() {
    let server = Server::with(FLEET);
    for id in ["nobody", "UPPER", "a/b", "", "status", "\u{e9}"] {
        let body = server.post("/orchestrator/execute", &json!({ "agent": id, "query": "x" }));
        body.expect_failure(404, "agent_not_found");
    }
    server.ask(Request::new("POST", "/api/agents/nobody/execute")).expect_failure(404, "agent_not_found");
    server.ask(Request::new("POST", "/api/agents/%ff/execute")).expect_failure(404, "agent_not_found");
    server.get("/orchestrator/agents/nobody").expect_failure(404, "agent_not_found");
}

#[test]
fn an_agents_own_path_takes_no_body_where_there_is_a_default() {
    let server = Server::with(&format!(
        "{FLEET}[agents.asked]\ncomponent = \"<echo>\"\ndefault_query = \"the default\"\n"
    ));
    let bare = |agent: &str| server.ask(Request::new("POST", &format!("/api/agents/{agent}/execute")));
    let answer = bare("vps-monitor").expect(200);
    assert_eq!(answer["agent"], "vps-monitor");
    assert!(answer["data"]["memory"].is_object(), "{answer}");
    let answer = bare("asked").expect(200);
    assert!(answer["response"].as_str().is_some_and(|text| text.contains("the default")), "{answer}");
    let body = bare("echo").expect_failure(422, "invalid_request");
    assert!(body["message"].as_str().is_some_and(|text| text.contains("query")), "{body}");
    for body in [json!({ "query": "said" }), json!({ "task": "said" })] {
        let answer = server.post("/api/agents/asked/execute", &body).expect(200);
        assert!(answer["response"].as_str().is_some_and(|text| text.contains("said")), "{answer}");
    }
    server.post("/api/agents/asked/execute", &json!({})).expect(200);
}

#[test]
fn a_sane_request_id_comes_back_and_another_does_not() {
    let server = Server::with(FLEET);
    let reply = server.ask(Request::get("/healthz").header("x-request-id", "abc-123_x.y"));
    assert_eq!(reply.header("x-request-id"), Some("abc-123_x.y"));
    for wild in ["", "a b", "quo\"te", &"x".repeat(129), "\u{e9}"] {
        let reply = server.ask(Request::get("/nowhere").header("x-request-id", wild));
        let id = reply.header("x-request-id").expect("an id");
        assert!(id.len() == 32 && id != wild, "{wild:?} {id:?}");
    }
    let first = server.get("/healthz").header("x-request-id").map(str::to_owned);
    assert_ne!(first.as_deref(), server.get("/healthz").header("x-request-id"));
}

#[test]
fn unknown_fields_are_ignored() {
    let server = Server::with(FLEET);
    let body = json!({ "agent": "echo", "query": "x", "novel": { "deep": [1] } });
    server.post("/orchestrator/execute", &body).expect(200);
    server.post("/orchestrator/route", &json!({ "task": "x", "priority": 9 })).expect(200);
}

#[test]
fn health_is_open_and_names_no_agent() {
    let server = Server::with("[agents.secret-name]\ncomponent = \"/nowhere/at/all.wasm\"\n");
    for path in ["/healthz", "/liveness", "/health"] {
        let reply = server.ask_plainly(Request::get(path));
        assert_eq!(reply.expect(200), json!({ "status": "healthy" }));
    }
    for path in ["/readyz", "/readiness"] {
        let reply = server.ask_plainly(Request::get(path));
        let body = reply.expect(200);
        assert_eq!(body["ready"], true);
        let checks = body["checks"].as_array().expect("checks");
        assert!(checks.iter().all(|check| check["name"].is_string() && check["ok"] == true), "{body}");
        assert!(!reply.text.contains("secret-name"));
    }
}
