//! What a guest can reach: nothing but its task, its own settings and log, and what is granted.

use serde_json::{Value, json};

use crate::support::fleet::key;
use crate::support::server::Start;
use crate::support::{Fleet, Request, Server};

#[test]
fn every_call_has_a_fresh_sandbox() {
    let server = Server::with("[agents.hostile]\ncomponent = \"<hostile>\"\n");
    let mut connection = server.connect();
    for _ in 0..20 {
        let request =
            Request::post("/orchestrator/execute", &json!({ "agent": "hostile", "query": "count" }));
        let answer = connection.ask(&server.signed(request)).expect(200);
        assert_eq!(answer["data"]["calls"], 1);
    }
}

#[test]
fn what_every_program_expects_is_there_and_reaches_nothing() {
    let start = Start::settings("[agents.hostile]\ncomponent = \"<hostile>\"\n");
    let server = start.environment("SECRET_OF_THE_HOST", "must not be seen").serve();
    for query in ["environment", "files", "sockets", "stdin"] {
        let answer = server.call("hostile", query).expect(200);
        assert_eq!(answer["data"]["got"], json!([]), "{query}: {answer}");
        assert!(!answer.to_string().contains("must not be seen"), "{answer}");
    }
}

#[test]
fn the_guest_is_given_its_task_and_its_own_settings() {
    let server = Server::with(
        "[agents.one]\ncomponent = \"<hostile>\"\nconfig = { city = \"Oslo\", count = 7, on = true }\n\
         [agents.two]\ncomponent = \"<hostile>\"\n",
    );
    let all = server.call("one", "config").expect(200);
    assert_eq!(all["data"], json!({ "city": "Oslo", "count": "7", "on": "true" }));
    assert_eq!(server.call("one", "config city").expect(200)["response"], "Oslo");
    assert_eq!(server.call("two", "config city").expect(200)["response"], "not set");
    let body = json!({ "agent": "one", "query": "info", "context": { "page": ["ü", 1, null] } });
    let request = Request::post("/orchestrator/execute", &body).header("x-request-id", "mine-7");
    let answer = server.ask(request).expect(200);
    let seen = &answer["data"];
    assert_eq!(seen["context"], body["context"]);
    assert_eq!((&seen["request_id"], &answer["request_id"]), (&json!("mine-7"), &json!("mine-7")));
    assert!(seen["deadline_ms"].as_u64().is_some_and(|ms| ms > 0 && ms <= 30_000), "{seen}");
    assert_eq!(server.call("one", "info").expect(200)["data"]["has_context"], false);
}

#[test]
fn what_is_not_granted_is_refused_visibly_and_never_traps() {
    let server = Server::with(
        "[agents.refused]\ncomponent = \"<hostile>\"\n\
         [agents.switched-off]\ncomponent = \"<hostile>\"\ngrants = { system = false }\n\
         [agents.granted]\ncomponent = \"<hostile>\"\ngrants = { system = true }\n\
         [agents.monitor]\ncomponent = \"<vps_monitor>\"\n",
    );
    let figures = ["cpu", "load", "memory", "machine", "disks", "networks", "processes"];
    for agent in ["refused", "switched-off"] {
        for figure in figures {
            let answer = server.call(agent, &format!("system {figure}")).expect(200);
            assert_eq!(answer["data"]["outcome"], "denied", "{answer}");
            let denials = json!([{
                "capability": "system",
                "key_to_add": format!("[agents.{agent}.grants] system = true"),
            }]);
            assert_eq!(answer["denials"], denials);
        }
        let page = server.agent(agent);
        assert_eq!(page["grants"], json!({ "system": false }), "{page}");
        assert_eq!(page["denials"].as_array().map(Vec::len), Some(1), "{page}");
        assert!(
            page["imports"]
                .as_array()
                .is_some_and(|imports| { imports.contains(&json!("stockade:system/system@0.1.0")) })
        );
        server.log_lines("the refusal is in the log", |line| {
            line["agent"] == agent && line["key_to_add"].is_string() && line["request"].is_string()
        });
    }
    for figure in figures {
        let answer = server.call("granted", &format!("system {figure}")).expect(200);
        assert_ne!(answer["data"]["outcome"], "denied", "{answer}");
        assert!(answer.get("denials").is_none(), "{answer}");
    }
    assert_eq!(server.agent("granted")["grants"], json!({ "system": true }));
    // An agent that passes the refusal on: the client reads what would help.
    let body = server.call("monitor", "cpu").expect_failure(403, "denied");
    assert!(body["message"].as_str().is_some_and(|text| text.contains("grants")), "{body}");
    let denials = json!([{ "capability": "system", "key_to_add": "[agents.monitor.grants] system = true" }]);
    assert_eq!(body["denials"], denials, "{body}");
    assert!(body["receipt"]["host_calls"].as_u64() > Some(0), "{body}");
}

#[test]
fn a_policy_grants_some_figures_and_a_denial_says_which_policy_would_do() {
    let settings =
        |policy: &str| format!("[agents.part]\ncomponent = \"<hostile>\"\n[agents.part.grants]\n{policy}\n");
    let fleet = Fleet::new(&settings("system = { figures = [\"memory\", \"machine\"] }"));
    let server = fleet.serve();
    let outcome = |figure: &str| {
        let answer = server.call("part", &format!("system {figure}")).expect(200);
        (answer["data"]["outcome"].as_str().expect("an outcome").to_owned(), answer["denials"][0].clone())
    };
    assert_eq!(server.agent("part")["grants"], json!({ "system": { "figures": ["machine", "memory"] } }));
    for figure in ["memory", "machine"] {
        assert_ne!(outcome(figure).0, "denied", "{figure}");
    }
    for figure in ["cpu", "load", "networks", "processes"] {
        assert_eq!(outcome(figure).0, "denied", "{figure}");
    }
    let (refused, denial) = outcome("disks");
    assert_eq!((refused.as_str(), &denial["capability"]), ("denied", &json!("system")), "{denial}");
    // What is said to be added is added, as it is said.
    let key = denial["key_to_add"].as_str().expect("a key");
    let policy = key.strip_prefix("[agents.part.grants] ").expect("a table of its own");
    fleet.settings(&settings(policy));
    let wider = json!({ "system": { "figures": ["disks", "machine", "memory"] } });
    server.wait_for_page("part", "it is granted", |page| page["grants"] == wider);
    assert_ne!(outcome("disks").0, "denied");
    assert_eq!(outcome("cpu").0, "denied");
    // The same over HTTP.
    let guest =
        json!({ "id": "guest", "component": "part", "grants": { "system": { "figures": ["load"] } } });
    let page = server.post("/api/agents", &guest).expect(201);
    assert_eq!(page["grants"], json!({ "system": { "figures": ["load"] } }));
    let wrong =
        json!({ "id": "other", "component": "part", "grants": { "system": { "figures": ["loud"] } } });
    let refused = server.post("/api/agents", &wrong).expect_failure(422, "invalid_request");
    let refused = refused["message"].to_string();
    assert!(
        refused.contains("grants.system.figures") && refused.contains("did you mean `load`"),
        "{refused}"
    );
}

#[test]
fn a_key_lends_only_the_capabilities_that_it_has() {
    let lent = "a-key-for-tests-that-lends-everything";
    let kept = "a-key-for-tests-that-lends-nothing-at-all";
    let server = Start::settings(&format!(
        "{}{}[agents.granted]\ncomponent = \"<hostile>\"\ngrants = {{ system = true }}\n",
        key("lent", lent, "scope = \"*\"\ncapabilities = \"system\"\n"),
        key("kept", kept, "scope = \"*\"\ncapabilities = []\n"),
    ))
    .key(lent)
    .serve();
    assert_eq!(server.call("granted", "system memory").expect(200)["data"]["outcome"], "granted");
    let body = json!({ "agent": "granted", "query": "system memory" });
    let answer = server.ask_plainly(Request::post("/orchestrator/execute", &body).key(kept)).expect(200);
    assert_eq!(answer["data"]["outcome"], "denied", "{answer}");
    let denial: &Value = &answer["denials"][0];
    assert!(denial["key_to_add"].as_str().is_some_and(|text| text.contains("auth.keys")), "{answer}");
}
