//! What strangers hand to the host to be evaluated or passed on: schemas, contexts for them, `data`. Each
//! is bounded before it costs anything, and its sender gets the reason.

use serde_json::{Map, Value, json};

use crate::support::command::stockade;
use crate::support::written::{Words, component};
use crate::support::{Server, guests};

/// More than any of this may take beside what an idle host has, in bytes.
const MEMORY: u64 = 150 << 20;

/// Settings of an agent `stranger` with this schema, beside a polite one.
fn fleet(name: &str, schema: &Value) -> String {
    let text = schema.to_string();
    let component = component(name, &Words { schema: Some(&text), response: "fine", ..Words::default() });
    format!("[agents.polite]\ncomponent = \"<echo>\"\n[agents.stranger]\ncomponent = {component:?}\n")
}

fn with_context(server: &Server, context: &Value) -> crate::support::Reply {
    let body = json!({ "agent": "stranger", "query": "x", "context": context });
    server.post("/orchestrator/execute", &body)
}

#[test]
fn a_schema_that_costs_too_much_is_refused_at_load_and_takes_no_memory() {
    let many: Vec<Value> = (0..1_800).map(|_| json!({ "pattern": r"\p{L}{80}N" })).collect();
    let falses = json!({ "properties": { "s": { "anyOf": vec![false; 10_000] } } });
    let few: Vec<Value> =
        (0..20).map(|_| json!({ "pattern": r"(\p{L}{0,9}\p{N}{0,9}){0,9}é{0,99}\p{L}{0,50}Qn$" })).collect();
    for (name, schema, words) in [
        ("many-patterns", json!({ "allOf": many }), ["1800 patterns", "32 are allowed"]),
        ("many-values", falses, ["4096 values", "context-schema"]),
        ("large-patterns", json!({ "allOf": few }), ["256 KiB", "maxLength"]),
    ] {
        let settings = fleet(name, &schema);
        let server = Server::with(&settings);
        let page = server.wait_for_failure("stranger", &words);
        assert_eq!(page["status"], "failed", "{page}");
        assert!(server.resident() < MEMORY, "{name}: {}", server.resident());
        assert_eq!(server.call("polite", "hello").expect(200)["success"], true);

        let file = guests::folder().join(format!("{name}.wasm"));
        for command in ["check", "test"] {
            let ran = stockade([command, file.to_str().expect("a path in UTF-8")]);
            let said = ran.expect(1);
            assert!(words.iter().all(|word| said.contains(word)), "{command}: {said}");
        }
    }
}

#[test]
fn a_check_that_costs_too_much_is_refused_before_it_is_made() {
    // As dear as a schema may be: a pattern at each of a thousand places.
    let dear = json!({ "items": { "pattern": r"^(\p{L}{0,2}\p{N}){0,2}Qn$" } });
    let server = Server::with(&fleet("dear-pattern", &dear));
    let idle = server.resident();
    let long = json!(["é".repeat(300_000)]);
    for _ in 0..4 {
        let failure = with_context(&server, &long).expect_failure(422, "invalid_request");
        assert!(
            failure["message"].as_str().is_some_and(|text| text.contains("too large to be checked")),
            "{failure}"
        );
    }
    assert!(server.resident() < idle + MEMORY);
    with_context(&server, &json!(["ab12Qn"])).expect(200);
    let failure = with_context(&server, &json!(["no"])).expect_failure(422, "invalid_request");
    assert!(failure["message"].as_str().is_some_and(|text| text.contains("at `/0`")), "{failure}");
    assert!(failure.get("receipt").is_none(), "no guest ran: {failure}");
}

#[test]
fn a_context_that_does_not_fit_is_not_copied_into_its_own_failure() {
    let falses = json!({ "properties": { "s": { "anyOf": vec![false; 4_000] } } });
    let names = json!({ "anyOf": [{ "propertyNames": { "maxLength": 0 } }] });
    let keys: Map<String, Value> =
        (0..6_000).map(|number| (format!("key-{number:06}"), Value::Null)).collect();
    for (name, schema, context) in
        [("falses", falses, json!({ "s": "x".repeat(1_000_000) })), ("names", names, Value::Object(keys))]
    {
        let server = Server::with(&fleet(name, &schema));
        let idle = server.resident();
        for _ in 0..3 {
            let failure = with_context(&server, &context).expect_failure(422, "invalid_request");
            assert!(failure.to_string().len() < 2_000, "{failure}");
        }
        let grown = server.resident().saturating_sub(idle);
        assert!(grown < MEMORY, "{name}: {grown}");
    }
}

#[test]
fn data_that_readers_of_json_refuse_is_the_agents_failure() {
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let fine = format!("{}1{}", "[".repeat(60), "]".repeat(60));
    for (name, data, word) in [
        ("deep-data", deep.as_str(), Some("nested more than 60 levels")),
        ("endless-number", "[1e999]", Some("number out of range")),
        ("half-character", r#"["\ud800"]"#, Some("readers of JSON refuse")),
        ("flat-data", fine.as_str(), None),
    ] {
        let component = component(name, &Words { response: "x", data: Some(data), ..Words::default() });
        let server = Server::with(&format!("[agents.stranger]\ncomponent = {component:?}\n"));
        let reply = server.call("stranger", "x");
        match word {
            Some(word) => {
                let failure = reply.expect_failure(502, "agent_failed");
                assert!(failure["message"].as_str().is_some_and(|text| text.contains(word)), "{failure}");
            }
            None => assert_eq!(reply.expect(200)["data"], serde_json::from_str::<Value>(data).expect("JSON")),
        }
    }
}
