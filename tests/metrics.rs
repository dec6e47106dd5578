//! What Prometheus sees: figures that agree with the agents' pages, for admins only.

use crate::support::{Request, Server};

/// The value of a line that begins with this name and labels.
fn value(page: &str, line: &str) -> Option<f64> {
    page.lines().find_map(|shown| shown.strip_prefix(line)?.trim().parse().ok())
}

#[test]
fn metrics_tell_of_calls_and_of_loads_that_fail() {
    let server =
        Server::with("[agents.echo]\ncomponent = \"<echo>\"\n[agents.gone]\ncomponent = \"/nowhere.wasm\"\n");
    server.call("echo", "hello").expect(200);
    let reply = server.get("/metrics");
    assert_eq!(reply.status, 200);
    assert!(
        reply.header("content-type").is_some_and(|kind| kind.starts_with("application/openmetrics-text"))
    );
    let page = reply.text;
    for (line, expected) in [
        ("stockade_agents{status=\"active\"}", 1.0),
        ("stockade_agents{status=\"missing\"}", 1.0),
        ("stockade_agent_calls_total{agent=\"echo\"}", 1.0),
        ("stockade_agent_generation{agent=\"echo\"}", 1.0),
        ("stockade_agent_reload_failing{agent=\"echo\"}", 0.0),
        ("stockade_agent_reload_failing{agent=\"gone\"}", 1.0),
        ("stockade_reloads_total{outcome=\"failed\"}", 1.0),
    ] {
        assert_eq!(value(&page, line), Some(expected), "{line}\n{page}");
    }
    assert!(value(&page, "stockade_agent_reload_failing_since_seconds{agent=\"gone\"}").is_some());
    assert!(page.ends_with("# EOF\n"));
}

#[test]
fn metrics_are_for_admins() {
    let key = "a-key-for-calls-of-thirty-two-characters";
    let hash = stockade::domain::Digest::of(key.as_bytes());
    let settings = format!(
        "[[auth.keys]]\nname = \"caller\"\nsha256 = \"{hash}\"\nscope = \"*\"\n[agents.echo]\ncomponent = \"<echo>\"\n"
    );
    let server = crate::support::server::Start::settings(&settings).key(key).serve();
    server.get("/metrics").expect_failure(403, "forbidden");
    server.ask_plainly(Request::get("/metrics")).expect_failure(401, "unauthorized");
}
