//! What Prometheus sees: figures that agree with the agents' pages, for operators only.

use crate::support::fleet::key;
use crate::support::{Fleet, Request, Server, poll_until};

/// The value of a line that begins with this name and labels.
fn value(page: &str, line: &str) -> Option<f64> {
    page.lines().find_map(|shown| shown.strip_prefix(line)?.trim().parse().ok())
}

#[test]
fn metrics_tell_of_calls_and_of_loads_that_fail() {
    let server =
        Server::with("[agents.echo]\ncomponent = \"<echo>\"\n[agents.gone]\ncomponent = \"/nowhere.wasm\"\n");
    let answer = server.call("echo", "hello").expect(200);
    let reply = server.get("/metrics");
    assert_eq!(reply.status, 200);
    assert!(
        reply.header("content-type").is_some_and(|kind| kind.starts_with("application/openmetrics-text"))
    );
    let page = reply.text;
    for (line, expected) in [
        ("stockade_agents{status=\"active\"}", 1.0),
        ("stockade_agents{status=\"missing\"}", 1.0),
        ("stockade_agent_calls_total{tenant=\"default\",agent=\"echo\"}", 1.0),
        ("stockade_agent_generation{tenant=\"default\",agent=\"echo\"}", 1.0),
        ("stockade_agent_reload_failing{tenant=\"default\",agent=\"echo\"}", 0.0),
        ("stockade_agent_reload_failing{tenant=\"default\",agent=\"gone\"}", 1.0),
        ("stockade_reloads_total{outcome=\"failed\"}", 1.0),
        ("stockade_log_lines_dropped_total", 0.0),
        ("stockade_calls_begun_inline_total", 0.0),
    ] {
        assert_eq!(value(&page, line), Some(expected), "{line}\n{page}");
    }
    let fuel = value(&page, "stockade_agent_fuel_total{tenant=\"default\",agent=\"echo\"}");
    assert_eq!(fuel, answer["receipt"]["fuel"].as_f64(), "{page}");
    let seconds = value(&page, "stockade_agent_seconds_total{tenant=\"default\",agent=\"echo\"}");
    assert!(seconds > Some(0.0), "{page}");
    assert!(
        value(&page, "stockade_agent_reload_failing_since_seconds{tenant=\"default\",agent=\"gone\"}")
            .is_some()
    );
    assert!(page.ends_with("# EOF\n"));
}

#[test]
fn metrics_are_for_operators() {
    let mut settings = "[agents.echo]\ncomponent = \"<echo>\"\n".to_owned();
    let secret = |role: &str| format!("a-key-of-the-role-{role}-and-some-characters");
    for role in ["call", "admin", "operator"] {
        settings += &key(role, &secret(role), &format!("scope = \"*\"\nrole = \"{role}\"\n"));
    }
    let server = crate::support::server::Start::settings(&settings).key(&secret("operator")).serve();
    assert_eq!(server.get("/metrics").status, 200);
    for role in ["call", "admin"] {
        let refused = server.ask_plainly(Request::get("/metrics").key(&secret(role)));
        let message = refused.expect_failure(403, "forbidden")["message"].to_string();
        assert!(message.contains("`operator`"), "{message}");
    }
    server.ask_plainly(Request::get("/metrics")).expect_failure(401, "unauthorized");
}

#[test]
fn who_comes_under_a_removed_agents_id_starts_at_zero() {
    const OTHER: &str = "[agents.echo]\ncomponent = \"<echo>\"\n";
    let both = format!("{OTHER}[agents.again]\ncomponent = \"<hostile>\"\n");
    let fleet = Fleet::new(&both);
    let server = fleet.serve();
    server.call("again", "system memory").expect(200);
    server.wait_for_page("again", "its denial is shown", |page| {
        page["calls"] == 1 && page["denials"].as_array().is_some_and(|denials| denials.len() == 1)
    });
    fleet.settings(OTHER);
    poll_until("it is removed", || (server.get("/orchestrator/agents/again").status == 404).then_some(()));
    assert!(!server.get("/metrics").text.contains("again"), "its series are gone");
    fleet.settings(&both);
    let page = server.wait_for_page("again", "it serves again", |page| page["status"] == "active");
    assert_eq!((&page["calls"], &page["denials"]), (&0.into(), &serde_json::json!([])), "{page}");
}
