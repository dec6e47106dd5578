//! What the host answers is what its schemas say: every operation, asked over HTTP.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use stockade::api::failure_schema;
use stockade::operations::{Described, Operation};

use crate::support::fleet::{digest, plain, wanting};
use crate::support::{Fleet, Request, Server};

/// A schema that also refuses what it does not name.
fn strict(described: &Described) -> Value {
    fn all_of(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(fields) => {
                for part in fields.get("allOf").and_then(Value::as_array).into_iter().flatten() {
                    let name = part["$ref"].as_str().and_then(|path| path.rsplit('/').next());
                    found.extend(name.map(str::to_owned));
                }
                fields.values().for_each(|value| all_of(value, found));
            }
            Value::Array(values) => values.iter().for_each(|value| all_of(value, found)),
            _ => {}
        }
    }
    fn close(schema: &mut Value) {
        if schema.get("properties").is_some() || schema.get("allOf").is_some() {
            schema["unevaluatedProperties"] = json!(false);
        }
    }
    let mut document = described.document();
    let mut parts_of_others = BTreeSet::new();
    all_of(&document, &mut parts_of_others);
    close(&mut document);
    if document["type"] == "array" {
        close(&mut document["items"]);
    }
    for (name, part) in document["components"]["schemas"].as_object_mut().expect("parts") {
        if !parts_of_others.contains(name) {
            close(part);
        }
    }
    document
}

#[track_caller]
fn fits(what: &str, described: &Described, answer: &Value) {
    let schema = strict(described);
    let validator =
        jsonschema::draft202012::new(&schema).unwrap_or_else(|error| panic!("{what}: {error} in {schema}"));
    let problems: Vec<String> = validator
        .iter_errors(answer)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    assert!(problems.is_empty(), "{what}: {problems:#?} in {answer}");
}

/// Answers of this operation, with their statuses.
fn answers(server: &Server, operation: Operation) -> Vec<(u16, Value)> {
    let call = |target: &str, body: Value| server.post(target, &body);
    let with = |method: &str, target: &str, settings: Value, component: &[u8]| {
        server.ask(Request::multipart(method, target, &settings, component))
    };
    let replies = match operation {
        Operation::Route => vec![
            call("/orchestrator/route", json!({ "task": "say echo", "explain": true })),
            call("/orchestrator/route", json!({ "task": "say echo", "auto_select": false })),
            call("/orchestrator/route", json!({ "task": "" })),
        ],
        Operation::Execute => vec![
            call("/orchestrator/execute", json!({ "agent": "echo", "query": "hello", "context": [1] })),
            call("/orchestrator/execute", json!({ "agent": "hostile", "query": "system memory" })),
            call("/orchestrator/execute", json!({ "agent": "hostile", "query": "spin" })),
            call("/orchestrator/execute", json!({ "agent": "nobody", "query": "x" })),
            call("/orchestrator/execute", json!({ "agent": "echo" })),
        ],
        Operation::ExecuteAgent => {
            vec![
                call("/api/agents/echo/execute", json!({ "query": "x" })),
                call("/api/agents/A/execute", json!({})),
            ]
        }
        Operation::SmartExecute => vec![
            call("/orchestrator/smart-execute", json!({ "task": "echo this text" })),
            call("/orchestrator/smart-execute", json!({ "task": "xyzzy qwerty" })),
        ],
        Operation::Batch => vec![call(
            "/orchestrator/batch",
            json!([
                { "agent": "echo", "query": "x" }, { "agent": "hostile", "query": "spin" }, 5, "xyzzy", {}
            ]),
        )],
        Operation::ListAgents => {
            vec![server.get("/orchestrator/agents"), server.get("/orchestrator/agents?limit=0")]
        }
        Operation::ShowAgent => ["echo", "hostile", "missing", "waiting", "nobody"]
            .map(|id| server.get(&format!("/orchestrator/agents/{id}")))
            .into(),
        Operation::AgentStatus => vec![server.get("/api/agents/status"), server.get("/agents/status")],
        Operation::Stats => vec![server.get("/orchestrator/stats")],
        Operation::Register => vec![
            with("POST", "/api/agents", json!({ "id": "new", "tags": ["a"] }), &plain(1)),
            with("POST", "/api/agents", json!({ "id": "new" }), &plain(1)),
            with("POST", "/api/agents", json!({}), &plain(1)),
        ],
        Operation::Replace => vec![
            with("PUT", "/api/agents/new", json!({}), &plain(2)),
            with("PUT", "/api/agents/new", json!({}), &wanting(3)),
            with("PUT", "/api/agents/echo", json!({}), &plain(2)),
        ],
        Operation::Approve => {
            vec![
                call("/api/agents/new/approve", json!({ "digest": digest(&wanting(3)) })),
                call("/api/agents/new/approve", json!({})),
            ]
        }
        Operation::RollBack => vec![
            call("/api/agents/new/rollback", json!({ "to": digest(&plain(2)) })),
            call("/api/agents/echo/rollback", json!({})),
        ],
        Operation::Generate => vec![
            call("/api/agents/generate", json!({ "template": "new", "count": 2, "prefix": "made-" })),
            call("/api/agents/generate", json!({ "template": "new", "count": 0 })),
        ],
        Operation::Remove => vec![
            server.ask(Request::new("DELETE", "/api/agents/made-000")),
            server.ask(Request::new("DELETE", "/api/agents/echo")),
        ],
        Operation::Audit => vec![server.get("/api/audit"), server.get("/api/audit?from=x")],
        Operation::Health => vec![server.get("/healthz")],
        Operation::Readiness => vec![server.get("/readyz")],
        Operation::Metrics => Vec::new(),
    };
    replies.into_iter().map(|reply| (reply.status, reply.json())).collect()
}

#[test]
fn every_answer_and_every_failure_is_what_its_schema_says() {
    let fleet = Fleet::new(
        "[agents.echo]\ncomponent = \"<echo>\"\n[agents.hostile]\ncomponent = \"<hostile>\"\nlimits.fuel = 1_000_000\n\
         [agents.missing]\ncomponent = \"plugins/missing.wasm\"\n[agents.waiting]\ncomponent = \"plugins/waiting.wasm\"\n",
    );
    let first = fleet.plugin("waiting", &plain(1));
    let server = fleet.serve();
    server.wait_for_digest("waiting", &first);
    let second = fleet.plugin("waiting", &wanting(2));
    server.wait_for_pending("waiting", &second);
    let failure = failure_schema();
    let in_order = [
        Operation::Register,
        Operation::Replace,
        Operation::Approve,
        Operation::RollBack,
        Operation::Generate,
        Operation::Remove,
    ];
    let others = Operation::ALL.into_iter().filter(|operation| !in_order.contains(operation));
    for operation in in_order.into_iter().chain(others) {
        let answers = answers(&server, operation);
        let Some(described) = operation.response() else {
            assert!(answers.is_empty(), "{operation:?}");
            continue;
        };
        assert!(answers.iter().any(|(status, _)| *status < 300), "{operation:?}: {answers:?}");
        for (status, answer) in answers {
            let what = format!("{operation:?} {status}");
            if status >= 300 {
                fits(&what, &failure, &answer);
            } else if operation == Operation::Batch {
                for item in answer.as_array().expect("a list") {
                    match item["success"] == true {
                        true => fits(&what, &described, &json!([item])),
                        false => fits(&what, &failure, item),
                    }
                }
            } else {
                fits(&what, &described, &answer);
            }
        }
    }
}

#[test]
fn a_schema_that_is_not_true_is_found() {
    let described = Operation::Health.response().expect("a schema");
    let validator = jsonschema::draft202012::new(&strict(&described)).expect("a schema");
    assert!(validator.is_valid(&json!({ "status": "healthy" })));
    assert!(!validator.is_valid(&json!({ "status": "healthy", "more": 1 })));
    assert!(!validator.is_valid(&json!({})));
}

#[test]
fn every_field_that_can_be_sent_and_answered_is_described() {
    for operation in Operation::ALL {
        for described in [operation.request(), operation.response()].into_iter().flatten() {
            let document = described.document();
            let parts = document["components"]["schemas"].as_object().expect("parts").values();
            for schema in parts.chain([&document]) {
                for (name, field) in schema["properties"].as_object().into_iter().flatten() {
                    // One that another type describes refers to it.
                    let text = field.to_string();
                    let words = text.contains("\"description\":") || text.contains("\"$ref\":");
                    assert!(words, "{}: {name}: {field}", described.name);
                }
            }
        }
    }
}
