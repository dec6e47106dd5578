//! The lists of agents, one agent in full, and the fleet in figures.

use serde_json::{Value, json};

use crate::support::server::Start;
use crate::support::{Reply, Server, poll_until};

fn ids(list: &Value) -> Vec<String> {
    list.as_array()
        .expect("a list")
        .iter()
        .map(|agent| agent["id"].as_str().expect("an id").to_owned())
        .collect()
}

/// The target of the `Link` to the next piece.
fn next(reply: &Reply) -> Option<String> {
    let link = reply.header("link")?;
    assert!(link.ends_with("rel=\"next\""), "{link}");
    Some(link.strip_prefix('<')?.split('>').next()?.to_owned())
}

#[test]
fn a_list_comes_in_pieces_that_lead_on() {
    let mut settings = String::new();
    for number in 0..25 {
        let category = if number % 2 == 0 { "even" } else { "odd" };
        settings +=
            &format!("[agents.agent-{number:02}]\ncomponent = \"<echo>\"\ncategory = \"{category}\"\n");
    }
    let server = Server::with(&settings);
    for path in ["/orchestrator/agents", "/api/agents/status", "/agents/status"] {
        let all = ids(&server.get(path).expect(200));
        assert_eq!(all.len(), 25, "all without a limit");
        let mut seen = Vec::new();
        let mut target = Some(format!("{path}?limit=10"));
        while let Some(piece) = target {
            let reply = server.get(&piece);
            let got = ids(&reply.expect(200));
            assert!(got.len() <= 10);
            seen.extend(got);
            target = next(&reply);
        }
        assert_eq!(seen, all, "{path}");
    }
    let reply = server.get("/orchestrator/agents?category=odd&limit=5");
    assert_eq!(ids(&reply.expect(200)).len(), 5);
    let rest = next(&reply).expect("more");
    assert!(rest.contains("category=odd") && rest.contains("limit=5"), "{rest}");
    assert_eq!(ids(&server.get("/orchestrator/agents?category=nothing").expect(200)), Vec::<String>::new());
    for wrong in ["limit=0", "limit=x", "limit=100000"] {
        let body =
            server.get(&format!("/orchestrator/agents?{wrong}")).expect_failure(422, "invalid_request");
        assert_eq!(body["field"], "limit");
    }
}

#[test]
fn a_list_of_a_large_fleet_comes_in_pieces_without_being_asked() {
    let server = Server::with("[agents.template]\ncomponent = \"<echo>\"\n");
    let made = json!({ "template": "template", "count": 1_010 });
    server.post("/api/agents/generate", &made).expect(201);
    for path in ["/orchestrator/agents", "/api/agents/status", "/agents/status"] {
        let reply = server.get(path);
        let mut seen = ids(&reply.expect(200));
        assert_eq!(seen.len(), 1_000, "{path}");
        let rest = server.get(&next(&reply).expect("there is more"));
        seen.extend(ids(&rest.expect(200)));
        assert_eq!((seen.len(), next(&rest)), (1_011, None), "{path}");
        seen.dedup();
        assert_eq!(seen.len(), 1_011, "{path}: each once");
    }
    // The command shows all of them.
    let folder = tempfile::tempdir().expect("a temporary folder");
    let key = folder.path().join("key");
    std::fs::write(&key, &server.key).expect("a key's file");
    let at = ["agents", "--json", "--server", &server.url(), "--key-file", key.to_str().expect("a path")]
        .map(str::to_owned);
    let all = crate::support::command::stockade(at).expect_json(0);
    assert_eq!(ids(&all).len(), 1_011);
}

#[test]
fn the_operators_words_go_over_the_components_own() {
    let server = Server::with(
        "[agents.calculator]\ncomponent = \"<calculator>\"\n\
         [agents.renamed]\ncomponent = \"<calculator>\"\nname = \"Sums\"\ndescription = \"Adds.\"\ncategory = \"office\"\n\
         triggers = [\"sum\"]\nmodel = \"none\"\ncost_per_query = \"$0.002\"\nexamples = [\"1 + 1\"]\ntags = [\"blue\"]\n\
         limits = { fuel = 5_000_000, timeout = \"2s\" }\n",
    );
    let own = server.agent("calculator");
    assert_eq!(own["category"], "utility");
    assert!(own["triggers"].as_array().is_some_and(|triggers| triggers.len() > 5));
    let page = server.agent("renamed");
    for (field, value) in [
        ("name", json!("Sums")),
        ("description", json!("Adds.")),
        ("category", json!("office")),
        ("triggers", json!(["sum"])),
        ("model", json!("none")),
        ("cost_per_query", json!("$0.002")),
        ("examples", json!(["1 + 1"])),
        ("tags", json!(["blue"])),
        ("status", json!("active")),
        ("version", own["version"].clone()),
        ("digest", own["digest"].clone()),
        ("generation", json!(1)),
        ("denials", json!([])),
        ("grants", json!({})),
        ("exports_health", json!(false)),
    ] {
        assert_eq!(page[field], value, "{field}");
    }
    assert_eq!(page["limits"]["fuel"], 5_000_000);
    assert_eq!(page["limits"]["timeout_ms"], 2_000.0);
    assert_eq!(page["last_reload"]["ok"], true);
    assert!(page["loaded_at"].as_str().is_some_and(|time| time.ends_with('Z')), "{page}");
    let answer = server.call("renamed", "1 + 1").expect(200);
    assert_eq!((&answer["agent_name"], &answer["model"]), (&json!("Sums"), &json!("none")), "{answer}");
    let list = server.get("/orchestrator/agents?category=office").expect(200);
    for field in
        ["id", "name", "description", "status", "category", "triggers", "model", "cost_per_query", "version"]
    {
        assert_eq!(list[0][field], page[field], "{field}");
    }
}

#[test]
fn the_page_and_the_status_count_calls_and_errors() {
    let server = Server::with(
        "[agents.hostile]\ncomponent = \"<hostile>\"\n[agents.health]\ncomponent = \"<health>\"\n",
    );
    for query in ["echo a", "trap", "echo b"] {
        server.call("hostile", query);
    }
    let page = server.agent("hostile");
    assert_eq!(
        (&page["calls"], &page["errors"], &page["last_error"]),
        (&json!(3), &json!(1), &json!("agent_trapped"))
    );
    let status = server.get("/api/agents/status").expect(200);
    let hostile = &status[1];
    for (field, value) in [
        ("id", json!("hostile")),
        ("status", json!("active")),
        ("generation", json!(1)),
        ("calls", json!(3)),
        ("errors", json!(1)),
        ("running", json!(0)),
        ("queued", json!(0)),
    ] {
        assert_eq!(hostile[field], value, "{field}");
    }
    assert!(hostile.get("last_heartbeat").is_some());
    assert_eq!(server.agent("health")["exports_health"], true);
}

#[test]
fn the_fleet_in_figures() {
    let server = Server::with(
        "[agents.a]\ncomponent = \"<echo>\"\ncategory = \"x\"\ncost_per_query = \"$0.002\"\n\
         [agents.b]\ncomponent = \"<echo>\"\ncategory = \"x\"\ncost_per_query = \"$0.004\"\n\
         [agents.c]\ncomponent = \"<echo>\"\ncategory = \"y\"\ncost_per_query = \"free\"\n",
    );
    server.call("a", "x").expect(200);
    let stats = server.get("/orchestrator/stats").expect(200);
    for (field, value) in [
        ("total_agents", json!(3)),
        ("active_agents", json!(3)),
        ("categories", json!({ "x": 2, "y": 1 })),
        ("average_cost", json!("$0.003")),
        ("summary", json!({ "operational_status": "fully operational" })),
        ("calls", json!(1)),
    ] {
        assert_eq!(stats[field], value, "{field}");
    }
    let degraded =
        Server::with("[agents.a]\ncomponent = \"<echo>\"\n[agents.b]\ncomponent = \"/nowhere.wasm\"\n");
    let stats = degraded.get("/orchestrator/stats").expect(200);
    assert_eq!(stats["summary"]["operational_status"], "degraded");
    assert_eq!((&stats["total_agents"], &stats["active_agents"]), (&json!(2), &json!(1)));
}

#[test]
fn nothing_is_said_of_a_load_that_has_not_ended() {
    let server = Start::settings("[agents.hostile]\ncomponent = \"<hostile>\"\n").at_once().serve();
    poll_until("the agent is loaded", || {
        let page = server.agent("hostile");
        let status = server.get("/api/agents/status").expect(200)[0].clone();
        for shown in [&page, &status] {
            match shown["status"].as_str() {
                Some("loading") => assert_eq!(shown["last_reload"], Value::Null, "{shown}"),
                _ => assert_eq!(shown["last_reload"]["ok"], true, "{shown}"),
            }
        }
        (page["status"] == "active").then_some(())
    });
}
