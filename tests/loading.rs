//! Components that cannot serve: each is refused with the remedy, and the others serve on.

use std::fs;

use serde_json::{Value, json};

use crate::support::command::stockade;
use crate::support::server::Start;
use crate::support::{Server, guests, poll_until};

/// What is wrong, the agent's status, and words of the message that say what to do.
pub(crate) fn refused() -> Vec<(&'static str, String, &'static str, &'static [&'static str])> {
    let path = |path: std::path::PathBuf| path.to_str().expect("a path in UTF-8").to_owned();
    let text = |name: &str| path(guests::text(name));
    let file = |name: &str, bytes: &[u8]| path(guests::file(name, bytes));
    let echo = fs::read(guests::guest("echo")).expect("a component");
    let half = &echo[..echo.len() / 2];
    let mut damaged = echo.clone();
    damaged[8] = 0xff;
    let elf = fs::read(std::env::current_exe().expect("this test")).expect("native code")[..4096].to_vec();
    vec![
        (
            "missing",
            "/nowhere/at/all.wasm".to_owned(),
            "missing",
            &["/nowhere/at/all.wasm", "stockade build"],
        ),
        ("folder", path(guests::folder().to_owned()), "failed", &["cannot read"]),
        ("empty", file("empty.wasm", b""), "failed", &["empty", "build"]),
        ("prose", file("prose.wasm", b"this is a letter"), "failed", &["not WebAssembly", "stockade build"]),
        ("native", file("native.wasm", &elf), "failed", &["native code", ".wasm"]),
        ("truncated", file("truncated.wasm", half), "failed", &["not valid", "build it again"]),
        ("damaged", file("damaged.wasm", &damaged), "failed", &["not valid", "build it again"]),
        ("core-module", text("core-module"), "failed", &["core WebAssembly module", "wasm32-wasip2"]),
        ("no-agent", text("no-agent"), "failed", &["does not export", "stockade:agent"]),
        ("wrong-agent", text("wrong-agent"), "failed", &["does not fit the contract", "WIT"]),
        (
            "unknown-import",
            text("unknown-import"),
            "failed",
            &["stockade:unknown/thing", "Remove the import"],
        ),
        ("large-memory", text("large-memory"), "failed", &["can never run", "314572800", "max_memory"]),
        ("large-table", text("large-table"), "failed", &["can never run", "10000000", "max_table_elements"]),
        ("many-memories", text("many-memories"), "failed", &["can never run", "max_memories"]),
        ("describe-traps", text("describe-traps"), "failed", &["`describe` failed"]),
        ("describe-hangs", text("describe-hangs"), "failed", &["`describe`"]),
        ("describe-too-large", text("describe-too-large"), "failed", &["65536"]),
        ("describe-many-triggers", text("describe-many-triggers"), "failed", &["65 triggers", "64"]),
        ("describe-long-trigger", text("describe-long-trigger"), "failed", &["101 characters", "100"]),
    ]
}

/// The words that a message should have and has not.
pub(crate) fn unsaid(id: &str, words: &[&str], message: &str) -> Vec<String> {
    let missing = words.iter().filter(|word| !message.contains(**word));
    missing.map(|word| format!("{id} does not say {word:?}: {message}")).collect()
}

#[test]
fn each_is_refused_with_its_remedy_and_the_others_serve() {
    let cases = refused();
    let mut settings =
        "[agents.good]\ncomponent = \"<echo>\"\n[agents.plain]\ncomponent = \"<plain>\"\n".to_owned();
    for (id, component, ..) in &cases {
        settings += &format!("[agents.{id}]\ncomponent = {component:?}\n");
    }
    let server = Server::with(&settings);
    server.call("good", "hello").expect(200);
    assert_eq!(server.call("plain", "hello").expect(200)["response"], "(text)");
    let mut wrong = Vec::new();
    for (id, component, status, words) in &cases {
        let page = server.agent(id);
        assert_eq!(page["status"], *status, "{id}: {page}");
        assert_eq!(
            (&page["last_reload"]["ok"], &page["generation"]),
            (&json!(false), &Value::Null),
            "{page}"
        );
        let error = page["last_reload"]["error"].as_str().expect("a reason");
        wrong.extend(unsaid(id, words, error));
        assert!(error.contains(component.as_str()), "{id} does not name its file: {error}");
        let call = server.call(id, "hello");
        let body = call.expect_failure(503, "agent_unavailable");
        assert!(call.header("retry-after").is_some(), "{body}");
        assert!(
            !call.text.contains(component.as_str()),
            "a client need not know the operator's files: {body}"
        );
        server.log_lines("the refusal is in the log", |line| {
            line["level"] == "ERROR"
                && line["agent"] == *id
                && line["reason"].to_string().contains(component.as_str())
        });
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(server.ask_plainly(crate::support::Request::get("/readyz")).expect(200)["ready"], true);
    let stats = server.get("/orchestrator/stats").expect(200);
    assert_eq!(stats["active_agents"], 2);
}

#[test]
fn check_says_the_same_before_anything_is_served() {
    let mut wrong = Vec::new();
    for (id, component, _, words) in refused() {
        if id == "folder" || !component.ends_with(".wasm") {
            continue;
        }
        let report = stockade(["check", "--json", &component]).expect_json(1);
        let message = report[0]["problems"][0]["message"].as_str().expect("a message").to_owned();
        wrong.extend(unsaid(id, words, &message));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_component_that_needs_more_than_its_agents_memory_is_told_both_settings() {
    let server = Server::with("[agents.cramped]\ncomponent = \"<hostile>\"\nlimits.memory = \"64 KiB\"\n");
    let page = server.agent("cramped");
    assert_eq!(page["status"], "failed");
    let error = page["last_reload"]["error"].as_str().expect("a reason");
    assert!(
        error.contains("limits.memory") && error.contains("max_memory") && error.contains("65536"),
        "{error}"
    );
}

#[test]
fn a_component_that_is_too_large_is_told_by_how_much() {
    let server =
        Server::with("[engine]\nmax_component_size = \"1 KiB\"\n[agents.echo]\ncomponent = \"<echo>\"\n");
    let error = server.agent("echo")["last_reload"]["error"].to_string();
    assert!(error.contains("max_component_size") && error.contains("1024"), "{error}");
}

#[test]
fn ready_means_that_every_agent_is_loaded_or_was_given_up() {
    for _ in 0..5 {
        let start = Start::settings(
            "[agents.echo]\ncomponent = \"<echo>\"\n[agents.slow]\ncomponent = \"<describe-hangs>\"\n[agents.gone]\ncomponent = \"/nowhere.wasm\"\n",
        );
        let server = start.at_once().serve();
        poll_until("the host is ready", || {
            let reply = server.get("/readyz");
            let ready = reply.json();
            assert_eq!(reply.status, if ready["ready"] == true { 200 } else { 503 }, "{ready}");
            (ready["ready"] == true).then_some(())
        });
        let agents = server.get("/orchestrator/agents").expect(200);
        let words: Vec<_> =
            agents.as_array().expect("a list").iter().map(|agent| agent["status"].clone()).collect();
        assert_eq!(words, [json!("active"), json!("missing"), json!("failed")], "{agents}");
    }
}

#[test]
fn many_agents_share_one_component_each_with_its_own_settings() {
    let mut settings = String::new();
    for number in 0..100 {
        settings += &format!(
            "[agents.agent-{number:03}]\ncomponent = \"<hostile>\"\nconfig = {{ number = {number} }}\n"
        );
    }
    let server = Server::with(&settings);
    assert_eq!(server.get("/orchestrator/stats").expect(200)["active_agents"], 100);
    for number in [0, 42, 99] {
        let answer = server.call(&format!("agent-{number:03}"), "config number").expect(200);
        assert_eq!(answer["response"], number.to_string());
    }
}
