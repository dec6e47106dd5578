//! Who is let in, to what, and what those learn who are not.

use serde_json::{Value, json};

use crate::support::fleet;
use crate::support::server::Start;
use crate::support::{Reply, Request, Server};

const ALL: &str = "key-for-all-agents-0123456789abcdef";
const ONE: &str = "key-for-one-agent-0123456789abcdef0";
const GLOB: &str = "key-for-a-glob-0123456789abcdef0123";
const CATEGORY: &str = "key-for-a-category-0123456789abcdef";
const NONE: &str = "key-for-no-agent-0123456789abcdef01";

fn start() -> Start {
    let mut settings = String::new();
    for (name, key, scope) in [
        ("all", ALL, "\"*\""),
        ("one", ONE, "[\"echo\"]"),
        ("glob", GLOB, "[\"team-*\"]"),
        ("category", CATEGORY, "\"category:tools\""),
        ("none", NONE, "[]"),
    ] {
        settings += &fleet::key(name, key, &format!("scope = {scope}\n"));
    }
    for (id, category) in [("echo", "plain"), ("team-1", "plain"), ("team-2", "tools"), ("tool", "tools")] {
        settings += &format!(
            "[agents.{id}]\ncomponent = \"<echo>\"\ncategory = \"{category}\"\ntriggers = [\"{id}\"]\n"
        );
    }
    Start::settings(&settings).key(ALL)
}

fn execute(server: &Server, agent: &str, key: &str) -> Reply {
    let body = json!({ "agent": agent, "query": "hello" });
    server.ask_plainly(Request::post("/orchestrator/execute", &body).key(key))
}

#[test]
fn both_forms_of_the_header_open_the_door_and_nothing_else_does() {
    let server = start().serve();
    let with = |header: &str| {
        server.ask_plainly(Request::get("/orchestrator/agents").header("authorization", header))
    };
    for good in [format!("Bearer {ALL}"), ALL.to_owned(), format!("bearer {ALL}"), format!("Bearer   {ALL} ")]
    {
        with(&good).expect(200);
    }
    let mut bodies = Vec::new();
    let wrong = format!("{}x", &ALL[..ALL.len() - 1]);
    for bad in [
        format!("Bearer {wrong}"),
        wrong,
        "Bearer an-unknown-key".to_owned(),
        "Bearer".to_owned(),
        "Bearer ".to_owned(),
        String::new(),
        format!("Basic {ALL}"),
        format!("Bearer {ALL} {ALL}"),
        format!("Bearer {}", ALL.to_uppercase()),
        "x".repeat(10_000),
    ] {
        let reply = with(&bad);
        let mut body = reply.expect_failure(401, "unauthorized");
        assert!(reply.header("www-authenticate").is_some_and(|how| how.starts_with("Bearer")), "{reply:?}");
        body["request_id"] = Value::Null;
        bodies.push(body);
    }
    let mut body =
        server.ask_plainly(Request::get("/orchestrator/agents")).expect_failure(401, "unauthorized");
    body["request_id"] = Value::Null;
    bodies.push(body);
    assert!(bodies.iter().all(|body| *body == bodies[0]), "a client could tell them apart: {bodies:?}");
    let twice = Request::get("/orchestrator/agents").key(ALL).key(ALL);
    server.ask_plainly(twice).expect_failure(401, "unauthorized");
}

#[test]
fn every_path_but_the_health_of_the_host_wants_a_key() {
    let server = start().serve();
    for path in [
        "/orchestrator/agents",
        "/orchestrator/agents/echo",
        "/orchestrator/stats",
        "/api/agents/status",
        "/agents/status",
    ] {
        server.ask_plainly(Request::get(path)).expect_failure(401, "unauthorized");
    }
    for path in [
        "/orchestrator/route",
        "/orchestrator/execute",
        "/orchestrator/smart-execute",
        "/orchestrator/batch",
        "/api/agents/echo/execute",
    ] {
        // Before anything of the body is read, whatever it is.
        let request = Request::new("POST", path).header("content-type", "text/plain").body("{");
        server.ask_plainly(request).expect_failure(401, "unauthorized");
    }
}

#[test]
fn a_key_never_reaches_the_log_or_an_answer() {
    let server = start().serve();
    execute(&server, "echo", ALL).expect(200);
    let secret = "an-unknown-key-that-somebody-mistyped";
    let refused = execute(&server, "echo", secret);
    assert!(!refused.text.contains(secret));
    server.log_lines("both requests are in the log", |line| line["status"] == 401);
    let log = server.log();
    assert!(!log.contains(secret) && !log.contains(ALL), "{log}");
    assert!(log.contains("\"key\":\"all\""), "a key is logged by its name: {log}");
}

#[test]
fn a_scope_reaches_ids_globs_and_categories_and_no_further() {
    let server = start().serve();
    let reach = |key: &str| -> Vec<String> {
        let list = server.ask_plainly(Request::get("/orchestrator/agents").key(key)).expect(200);
        let list = list.as_array().expect("a list").clone();
        list.iter().map(|agent| agent["id"].as_str().expect("an id").to_owned()).collect()
    };
    for (key, agents) in [
        (ALL, &["echo", "team-1", "team-2", "tool"][..]),
        (ONE, &["echo"]),
        (GLOB, &["team-1", "team-2"]),
        (CATEGORY, &["team-2", "tool"]),
        (NONE, &[]),
    ] {
        assert_eq!(reach(key), agents, "{key}");
        let stats = server.ask_plainly(Request::get("/orchestrator/stats").key(key)).expect(200);
        assert_eq!(stats["total_agents"], agents.len(), "{key}");
        let status = server.ask_plainly(Request::get("/api/agents/status").key(key)).expect(200);
        assert_eq!(status.as_array().map(Vec::len), Some(agents.len()), "{key}");
        for agent in ["echo", "team-1", "team-2", "tool"] {
            let reply = execute(&server, agent, key);
            let page = server.ask_plainly(Request::get(&format!("/orchestrator/agents/{agent}")).key(key));
            if agents.contains(&agent) {
                reply.expect(200);
                page.expect(200);
            } else {
                let body = reply.expect_failure(403, "forbidden");
                assert_eq!(body["success"], false);
                page.expect_failure(403, "forbidden");
            }
        }
    }
}

#[test]
fn whether_an_agent_exists_is_not_told_outside_the_scope() {
    let server = start().serve();
    let told = |reply: Reply, name: &str| {
        let mut body = reply.json();
        body["request_id"] = Value::Null;
        (reply.status, body.to_string().replace(name, "NAME"))
    };
    for key in [ONE, NONE, CATEGORY] {
        for path in ["/orchestrator/agents/", "/api/agents/"] {
            let ask = |name: &str| {
                let request = match path {
                    "/api/agents/" => Request::new("POST", &format!("/api/agents/{name}/execute")),
                    _ => Request::get(&format!("{path}{name}")),
                };
                told(server.ask_plainly(request.key(key)), name)
            };
            assert_eq!(ask("team-1"), ask("team-9"), "{key} {path}");
        }
        let (there, not) = (execute(&server, "team-1", key), execute(&server, "team-9", key));
        assert_eq!(told(there, "team-1"), told(not, "team-9"), "{key}");
        let task = json!({ "task": "team-1 please", "explain": true });
        let routed = server.ask_plainly(Request::post("/orchestrator/route", &task).key(key));
        let other = json!({ "task": "team-9 please", "explain": true });
        let unknown = server.ask_plainly(Request::post("/orchestrator/route", &other).key(key));
        assert_eq!(routed.expect(200)["status"], unknown.expect(200)["status"]);
        assert!(!routed.text.contains("\"team-1\""), "{key}: {}", routed.text);
    }
}

#[test]
fn agents_out_of_reach_do_not_change_what_is_routed() {
    let server = start().serve();
    let route = |key: &str| {
        let task = json!({ "task": "team-2", "explain": true });
        let mut body = server.ask_plainly(Request::post("/orchestrator/route", &task).key(key)).expect(200);
        body["execution_time_ms"] = Value::Null;
        body
    };
    let alone = Start::settings(
        "[agents.team-1]\ncomponent = \"<echo>\"\ncategory = \"plain\"\ntriggers = [\"team-1\"]\n\
         [agents.team-2]\ncomponent = \"<echo>\"\ncategory = \"tools\"\ntriggers = [\"team-2\"]\n",
    )
    .anonymous()
    .serve();
    let mut expected =
        alone.post("/orchestrator/route", &json!({ "task": "team-2", "explain": true })).expect(200);
    expected["execution_time_ms"] = Value::Null;
    assert_eq!(route(GLOB), expected);
}

#[test]
fn the_environment_adds_a_key_with_its_own_scope() {
    let secret = "from-the-environment-0123456789abcdef";
    let server = start()
        .environment("ORCHESTRATOR_API_KEY", secret)
        .environment("AUTHORIZED_AGENTS_SCOPE", "echo,team-2")
        .serve();
    execute(&server, "echo", secret).expect(200);
    execute(&server, "team-2", secret).expect(200);
    execute(&server, "tool", secret).expect_failure(403, "forbidden");
    execute(&server, "tool", ALL).expect(200);
}

#[test]
fn callers_without_a_key_come_in_only_where_that_is_said_and_only_from_here() {
    let server = start().anonymous().serve();
    let bare = |request: Request| server.ask_plainly(request);
    bare(Request::get("/orchestrator/agents")).expect(200);
    bare(Request::get("/orchestrator/agents").header("authorization", "Bearer wrong"))
        .expect_failure(401, "unauthorized");
    // A page elsewhere, and a name that was made to lead here.
    bare(Request::get("/orchestrator/agents").header("origin", "https://evil.example"))
        .expect_failure(403, "forbidden");
    bare(Request::get("/orchestrator/agents").header("host", "evil.example"))
        .expect_failure(403, "forbidden");
    bare(Request::get("/orchestrator/agents").header("host", "localhost:8001")).expect(200);
    let with_key = Request::get("/orchestrator/agents").header("host", "evil.example").key(ALL);
    bare(with_key).expect(200);
}

#[test]
fn a_host_without_keys_makes_one_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let server = Server::with("[agents.echo]\ncomponent = \"<echo>\"\n");
    assert!(server.key.len() >= 32);
    let file = std::fs::metadata(server.data_dir.join("admin.key")).expect("the key's file");
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    server.call("echo", "hello").expect(200);
    assert_eq!(server.log().matches(&server.key).count(), 1, "it is shown once");
}
