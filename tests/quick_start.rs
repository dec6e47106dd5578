//! The first ten minutes: the shipped fleet, asked what its README asks.

use std::fs;

use serde_json::{Value, json};

use crate::support::server::Start;
use crate::support::{Server, guests, root};

/// The fleet of the repository's agents.toml.
fn shipped() -> Server {
    for plugin in ["vps_monitor", "calculator", "calendar", "text_tools"] {
        guests::plugin(plugin);
    }
    let data = tempfile::tempdir_in(guests::folder()).expect("a folder").keep();
    guests::warm(&data);
    Start::file(&root().join("agents.toml"), &data).serve()
}

fn ask(server: &Server, task: &str) -> Value {
    let answer = server.post("/orchestrator/smart-execute", &json!({ "task": task })).expect(200);
    assert_eq!(answer["success"], true, "{answer}");
    answer
}

#[test]
fn the_figures_agree_with_this_machine() {
    let server = shipped();
    let answer = ask(&server, "Check CPU usage on the server");
    assert_eq!(answer["agent"], "vps-monitor", "{answer}");
    assert!(answer["response"].as_str().is_some_and(|text| text.contains("CPU")), "{answer}");
    let cores = fs::read_to_string("/proc/cpuinfo").expect("/proc/cpuinfo");
    let cores = cores.lines().filter(|line| line.starts_with("processor")).count();
    assert_eq!(answer["data"]["cpu"]["cores"], cores, "{answer}");
    let usage = answer["data"]["cpu"]["usage_percent"].as_f64().expect("a figure");
    assert!((0.0..=100.0).contains(&usage), "{answer}");

    let answer = server.call("vps-monitor", "How much memory is free?").expect(200);
    let meminfo = fs::read_to_string("/proc/meminfo").expect("/proc/meminfo");
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:")).expect("MemTotal");
    let total: u64 = total.trim().trim_end_matches(" kB").parse().expect("a number");
    assert_eq!(answer["data"]["memory"]["total_bytes"], total * 1024, "{answer}");

    let before = uptime();
    let answer = server.call("vps-monitor", "How long has the server been up?").expect(200);
    let said = answer["data"]["uptime"]["seconds"].as_f64().expect("a figure");
    assert!(said >= before.floor() && said <= uptime().ceil(), "{before} {answer}");
    drop_folder(server);
}

fn uptime() -> f64 {
    let text = fs::read_to_string("/proc/uptime").expect("/proc/uptime");
    text.split_whitespace().next().and_then(|seconds| seconds.parse().ok()).expect("a number")
}

/// The data folder of [`shipped`] belongs to no value that removes it.
fn drop_folder(server: Server) {
    let data = server.data_dir.clone();
    drop(server);
    fs::remove_dir_all(data).expect("the data folder goes");
}

#[test]
fn a_task_for_nobody_is_nobodys() {
    let server = shipped();
    for task in ["How do I braise leeks", "Write me a poem about autumn", "Who won the match last night?"] {
        let task = json!({ "task": task });
        let body = server.post("/orchestrator/smart-execute", &task).expect_failure(404, "no_agent_matched");
        assert_eq!(body["success"], false, "{body}");
        let body = server.post("/orchestrator/route", &task).expect(200);
        assert_eq!(body["status"], "no_match", "{task} {body}");
        assert_eq!(body["agent"], Value::Null, "{task} {body}");
    }
    drop_folder(server);
}

#[test]
fn every_shipped_agent_answers_its_own_examples() {
    let server = shipped();
    let agents = server.get("/orchestrator/agents").expect(200);
    let agents = agents.as_array().expect("a list");
    assert_eq!(agents.len(), 4);
    for agent in agents {
        assert_eq!(agent["status"], "active", "{agent}");
        let id = agent["id"].as_str().expect("an id");
        let page = server.agent(id);
        let examples = page["examples"].as_array().expect("examples");
        assert!(examples.len() >= 5, "{id} has too few examples");
        for example in examples {
            let query = example.as_str().expect("a task");
            let answer = server.call(id, query).expect(200);
            let response = answer["response"].as_str().unwrap_or_default();
            assert!(!response.trim().is_empty(), "{id} has no answer to {query}: {answer}");
            let routed = ask(&server, query);
            assert_eq!(routed["agent"], id, "{query}");
        }
    }
    drop_folder(server);
}

#[test]
fn an_answer_has_the_shape_that_is_promised() {
    let server = shipped();
    let body = json!({ "task": "What is 17 times 23?", "context": { "userId": "user123" } });
    let answer = server.post("/orchestrator/smart-execute", &body).expect(200);
    assert_eq!(answer["agent"], "calculator");
    assert!(answer["agent_name"].is_string() && answer["agent_version"].is_string(), "{answer}");
    assert!(answer["response"].as_str().is_some_and(|text| text.contains("391")), "{answer}");
    let confidence = answer["confidence"].as_f64().expect("a confidence");
    assert!(confidence > 0.0 && confidence <= 1.0, "{answer}");
    assert!(answer["matched_keywords"].as_array().is_some_and(|words| !words.is_empty()), "{answer}");
    assert!(answer["execution_time_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{answer}");
    assert_eq!(answer["agent_generation"], 1);
    assert!(answer["agent_digest"].as_str().is_some_and(|digest| digest.len() == 64), "{answer}");
    let receipt = &answer["receipt"];
    for (field, least) in [("fuel", 1), ("peak_memory_bytes", 65_536), ("output_bytes", 3)] {
        assert!(receipt[field].as_u64().is_some_and(|spent| spent >= least), "{field}: {receipt}");
    }
    for field in ["wall_ms", "queue_ms", "host_calls", "host_bytes"] {
        assert!(receipt[field].is_number(), "{field}: {receipt}");
    }
    assert!(answer.get("denials").is_none() && answer.get("ambiguous").is_none(), "{answer}");
    drop_folder(server);
}
