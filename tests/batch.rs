//! Many tasks in one request: order, side by side, and each failing alone.

use serde_json::{Value, json};

use crate::support::{Request, Server};

const FLEET: &str = "[server]\nmax_batch = 20\n[agents.echo]\ncomponent = \"<echo>\"\n[agents.calculator]\ncomponent = \"<calculator>\"\n\
    [agents.hostile]\ncomponent = \"<hostile>\"\nlimits = { fuel = 100_000_000 }\n\
    [agents.narrow]\ncomponent = \"<hostile>\"\nmax_concurrent = 1\nqueue = 0\n\
    [agents.broken]\ncomponent = \"/nowhere.wasm\"\n";

fn batch(server: &Server, items: Value) -> Vec<Value> {
    server.post("/orchestrator/batch", &items).expect(200).as_array().expect("a list").clone()
}

#[test]
fn answers_come_in_the_order_of_the_tasks() {
    let server = Server::with(FLEET);
    let items: Vec<Value> = (0..20)
        .map(|number| match number % 2 {
            0 => json!(format!("Calculate {number} times 1000 plus 7")),
            _ => json!({ "agent": "echo", "query": format!("item {number}") }),
        })
        .collect();
    let answers = batch(&server, json!(items));
    assert_eq!(answers.len(), 20);
    for (number, answer) in answers.iter().enumerate() {
        assert_eq!(answer["success"], true, "{answer}");
        let response = answer["response"].as_str().expect("a response");
        let said = match number % 2 {
            0 => (number * 1_000 + 7).to_string(),
            _ => format!("item {number}"),
        };
        assert!(response.replace(',', "").contains(&said), "{number}: {answer}");
        assert!(answer["receipt"]["fuel"].as_u64() > Some(0), "{answer}");
    }
    assert_eq!(batch(&server, json!([])), Vec::<Value>::new());
}

#[test]
fn what_is_wrong_with_an_item_is_that_items_failure() {
    let server = Server::with(FLEET);
    let items = json!([
        "What is 17 times 23?",
        "How do I braise leeks",
        "",
        7,
        {},
        { "agent": "echo" },
        { "agent": "nobody", "query": "x" },
        { "agent": "hostile", "query": "trap" },
        { "agent": "hostile", "query": "loop" },
        { "agent": "hostile", "query": "fail unavailable later" },
        { "agent": "broken", "query": "x" },
        { "task": 5 },
        { "agent": "hostile", "query": "info", "context": { "a": 1 } },
        "Calculate 12 * (3 + 4)",
    ]);
    let request = Request::post("/orchestrator/batch", &items).header("x-request-id", "batch-1");
    let reply = server.ask(request);
    let answers = reply.expect(200);
    let expected = [
        (200, ""),
        (404, "no_agent_matched"),
        (422, "invalid_request"),
        (422, "invalid_request"),
        (422, "invalid_request"),
        (422, "invalid_request"),
        (404, "agent_not_found"),
        (502, "agent_trapped"),
        (502, "fuel_exhausted"),
        (503, "agent_unavailable"),
        (503, "agent_unavailable"),
        (422, "invalid_request"),
        (200, ""),
        (200, ""),
    ];
    let answers = answers.as_array().expect("a list");
    assert_eq!(answers.len(), expected.len());
    let mut ids = Vec::new();
    for (number, ((status, code), answer)) in expected.iter().zip(answers).enumerate() {
        if *status == 200 {
            assert_eq!(answer["success"], true, "{number}: {answer}");
        } else {
            assert_eq!(
                (&answer["success"], &answer["code"]),
                (&json!(false), &json!(code)),
                "{number}: {answer}"
            );
            assert_eq!(answer["status_code"], *status, "{number}: {answer}");
            assert_eq!(answer["path"], "/orchestrator/batch", "{number}: {answer}");
            assert_eq!(answer["retry_after"].is_number(), *status == 503, "{number}: {answer}");
        }
        let id = answer["request_id"].as_str().expect("an id").to_owned();
        assert!(id.starts_with("batch-1"), "{id}");
        ids.push(id);
    }
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), expected.len(), "every item has an id of its own");
    assert_eq!(answers[12]["data"]["context"], json!({ "a": 1 }));
}

#[test]
fn each_item_is_a_request_of_its_own_to_limits() {
    let server = Server::with(FLEET);
    // Side by side they do not all fit: the others are rejected with `Retry-After`.
    let items = json!(vec![json!({ "agent": "narrow", "query": "sleep 300" }); 5]);
    let answers = batch(&server, items);
    let served = answers.iter().filter(|answer| answer["success"] == true).count();
    assert!((1..5).contains(&served), "{answers:?}");
    for answer in answers.iter().filter(|answer| answer["success"] == false) {
        assert_eq!((&answer["code"], &answer["retry_after"]), (&json!("overloaded"), &json!(1)), "{answer}");
    }
}

#[test]
fn the_answers_of_a_batch_are_bounded_together() {
    let server = Server::with(
        "[agents.hostile]\ncomponent = \"<hostile>\"\nlimits = { output = \"2 MiB\" }\n\
         [agents.echo]\ncomponent = \"<echo>\"\n",
    );
    for query in ["huge-output 2000000", "huge-data 2000000"] {
        let mut items = vec![json!({ "agent": "hostile", "query": query }); 12];
        items.push(json!({ "agent": "nobody", "query": "x" }));
        let reply = server.post("/orchestrator/batch", &json!(items));
        assert!(reply.text.len() < 16 * 1024 * 1024 + 100_000, "{query}: {} bytes", reply.text.len());
        let answers = reply.expect(200);
        let answers = answers.as_array().expect("a list");
        assert_eq!(answers.len(), 13);
        let full: Vec<&Value> =
            answers.iter().filter(|answer| answer["code"] == "output_too_large").collect();
        assert_eq!(full.len(), 4, "{query}: eight of two million bytes fit");
        for answer in full {
            assert_eq!(
                (&answer["success"], &answer["status_code"], &answer["agent"]),
                (&json!(false), &json!(502), &json!("hostile")),
                "{answer}"
            );
            assert!(answer["message"].as_str().is_some_and(|text| text.contains("16777216")), "{answer}");
            assert!(answer["receipt"]["fuel"].as_u64() > Some(0), "{answer}");
        }
        assert_eq!(answers[12]["code"], "agent_not_found", "a short failure always fits");
    }
}

#[test]
fn a_batch_is_a_list_and_not_too_long() {
    let server = Server::with(FLEET);
    let body =
        server.post("/orchestrator/batch", &json!(vec!["x"; 21])).expect_failure(422, "invalid_request");
    assert!(body["message"].as_str().is_some_and(|text| text.contains("20")), "{body}");
    for wrong in [json!({ "tasks": ["x"] }), json!("x"), Value::Null] {
        server.post("/orchestrator/batch", &wrong).expect_failure(422, "invalid_request");
    }
}
