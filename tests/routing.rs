//! From a task in plain language to an agent: picked, offered, explained, or none.

use serde_json::{Value, json};

use crate::support::Server;

const FLEET: &str = r#"
[agents.billing]
component = "<echo>"
name = "Billing"
description = "Invoices and payments of customers."
triggers = ["invoice", "payment", "refund"]
[agents.weather]
component = "<echo>"
name = "Weather"
description = "Rain, wind and temperature."
triggers = ["weather", "forecast", "rain"]
[agents.twin-a]
component = "<echo>"
name = "Twin"
description = "Waters the plants."
triggers = ["water the plants", "watering"]
[agents.twin-b]
component = "<echo>"
name = "Twin"
description = "Waters the plants."
triggers = ["water the plants", "watering"]
"#;

fn route(server: &Server, body: Value) -> Value {
    server.post("/orchestrator/route", &body).expect(200)
}

#[test]
fn a_clear_task_is_routed_with_the_words_that_counted() {
    let server = Server::with(FLEET);
    let body =
        json!({ "task": "Send the refund for this invoice", "auto_select": true, "context": { "page": 1 } });
    let answer = route(&server, body);
    assert_eq!(answer["status"], "routed", "{answer}");
    let agent = &answer["agent"];
    assert_eq!((&agent["agent_id"], &agent["agent_name"]), (&json!("billing"), &json!("Billing")));
    let confidence = agent["confidence"].as_f64().expect("a confidence");
    assert!(confidence > 0.0 && confidence <= 1.0, "{answer}");
    let words = agent["matched_keywords"].as_array().expect("words");
    assert!(words.contains(&json!("refund")) && words.contains(&json!("invoice")), "{answer}");
    assert!(answer["execution_time_ms"].is_number(), "{answer}");
    assert!(answer.get("explanation").is_none(), "{answer}");
}

#[test]
fn without_auto_select_candidates_are_offered_and_none_is_picked() {
    let server = Server::with(FLEET);
    let answer = route(&server, json!({ "task": "refund the invoice", "auto_select": false }));
    assert_eq!((&answer["status"], &answer["agent"]), (&json!("ambiguous"), &Value::Null), "{answer}");
    assert_eq!(answer["alternatives"][0]["agent_id"], "billing", "{answer}");
    let answer = route(&server, json!({ "task": "xylophone zeppelin", "auto_select": false }));
    assert_eq!((&answer["status"], &answer["agent"]), (&json!("no_match"), &Value::Null), "{answer}");
}

#[test]
fn two_equal_agents_are_ambiguous_and_both_are_named() {
    let server = Server::with(FLEET);
    let answer = route(&server, json!({ "task": "water the plants please" }));
    assert_eq!(answer["status"], "ambiguous", "{answer}");
    let mut named =
        vec![answer["agent"]["agent_id"].as_str(), answer["alternatives"][0]["agent_id"].as_str()];
    named.sort();
    assert_eq!(named, [Some("twin-a"), Some("twin-b")], "{answer}");
    // Executed at once, the best runs and the answer says that it was close.
    let answer =
        server.post("/orchestrator/smart-execute", &json!({ "task": "water the plants please" })).expect(200);
    assert_eq!((&answer["success"], &answer["ambiguous"]), (&json!(true), &json!(true)), "{answer}");
    let mut named = vec![answer["agent"].as_str(), answer["alternatives"][0]["agent_id"].as_str()];
    named.sort();
    assert_eq!(named, [Some("twin-a"), Some("twin-b")], "{answer}");
    for _ in 0..5 {
        let again = server
            .post("/orchestrator/smart-execute", &json!({ "task": "water the plants please" }))
            .expect(200);
        assert_eq!(again["agent"], answer["agent"], "the same task goes the same way");
    }
}

#[test]
fn a_clear_answer_says_nothing_of_others() {
    let server = Server::with(FLEET);
    let answer = server.post("/orchestrator/smart-execute", &json!({ "task": "will it rain" })).expect(200);
    assert_eq!(answer["agent"], "weather");
    assert!(answer.get("ambiguous").is_none() && answer.get("alternatives").is_none(), "{answer}");
}

#[test]
fn an_explanation_comes_where_it_is_asked_for() {
    let server = Server::with(FLEET);
    let answer = route(&server, json!({ "task": "weather forecast", "explain": true }));
    assert!(answer["explanation"].is_object(), "{answer}");
    assert!(answer["explanation"].to_string().contains("forecast"), "{answer}");
    let answer = route(&server, json!({ "task": "xylophone zeppelin", "explain": true }));
    assert!(answer["explanation"].is_object(), "also where nothing matched: {answer}");
}

#[test]
fn agents_that_do_not_serve_get_no_tasks() {
    let server = Server::with(
        "[agents.gone]\ncomponent = \"/nowhere.wasm\"\ntriggers = [\"umbrella\"]\n[agents.echo]\ncomponent = \"<echo>\"\n",
    );
    assert_eq!(route(&server, json!({ "task": "umbrella" }))["status"], "no_match");
}
