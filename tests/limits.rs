//! What a guest may spend, and how each way to spend more ends, while others are served beside it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::support::{Request, Server};

/// One component under several limits, and a bystander.
const FLEET: &str = r#"
[defaults.limits]
timeout = "20s"
[agents.echo]
component = "<echo>"
[agents.hostile]
component = "<hostile>"
limits = { fuel = 300_000_000, memory = "8 MiB", output = "100 KiB", host_bytes = "1 MiB", handles = 100 }
[agents.patient]
component = "<hostile>"
limits = { fuel = 1_000_000_000_000, timeout = "300ms", host_bytes = "1 GiB" }
[agents.tables]
component = "<table-bomb>"
[agents.tables-cramped]
component = "<table-bomb>"
limits = { memory = "512 KiB" }
[agents.memories]
component = "<two-memories>"
limits = { memory = "1 MiB" }
[agents.filler]
component = "<bulk-fill>"
[agents.filler-patient]
component = "<bulk-fill>"
limits = { fuel = 1_000_000_000_000, timeout = "300ms" }
[agents.outside]
component = "<reply-out-of-bounds>"
[agents.not-text]
component = "<reply-not-utf8>"
"#;

/// Who is asked what, and how it ends.
const ENDS: &[(&str, &str, u16, &str)] = &[
    ("hostile", "loop", 502, "fuel_exhausted"),
    ("patient", "loop", 504, "deadline_exceeded"),
    ("hostile", "memory-bomb", 502, "memory_exhausted"),
    ("tables", "bomb", 502, "memory_exhausted"),
    ("tables-cramped", "bomb", 502, "memory_exhausted"),
    ("memories", "bomb", 502, "memory_exhausted"),
    ("filler", "fill", 502, "fuel_exhausted"),
    ("filler-patient", "fill", 504, "deadline_exceeded"),
    ("hostile", "recurse", 502, "agent_trapped"),
    ("hostile", "trap", 502, "agent_trapped"),
    ("hostile", "panic the-panics-own-words", 502, "agent_trapped"),
    ("outside", "x", 502, "agent_trapped"),
    ("not-text", "x", 502, "agent_trapped"),
    ("hostile", "exit 0", 502, "agent_stopped"),
    ("hostile", "exit 3", 502, "agent_stopped"),
    ("hostile", "huge-output 200000", 502, "output_too_large"),
    ("hostile", "huge-output 4000000", 502, "output_too_large"),
    ("hostile", "huge-data 200000", 502, "output_too_large"),
    ("hostile", "invalid-json", 502, "agent_failed"),
    ("patient", "sleep 600000", 504, "deadline_exceeded"),
    ("hostile", "handles 1000000", 502, "host_limit_exceeded"),
    ("hostile", "random 100000000", 502, "host_limit_exceeded"),
    ("hostile", "stdout-flood 100000 100", 502, "host_limit_exceeded"),
    ("hostile", "stderr-flood 100000 100", 502, "host_limit_exceeded"),
    ("hostile", "log-flood 100000 100", 502, "host_limit_exceeded"),
    ("hostile", "fail invalid-input say it otherwise", 422, "invalid_input"),
    ("hostile", "fail denied not for you", 403, "denied"),
    ("hostile", "fail unavailable come back later", 503, "agent_unavailable"),
    ("hostile", "fail failed no luck", 502, "agent_failed"),
    ("hostile", "no-such-behaviour", 422, "invalid_input"),
];

/// Asks `echo` over five connections, at least fifty times in all and until `done`: each is answered, and
/// rightly. How many answers there were.
fn crowd(server: &Server, done: &AtomicBool) -> usize {
    let member = |number: usize| {
        let mut connection = server.connect();
        let mut answers = 0;
        while answers < 10 || !done.load(Ordering::Relaxed) {
            let words = format!("call {answers} of member {number}");
            let request = server
                .signed(Request::post("/orchestrator/execute", &json!({ "agent": "echo", "query": words })));
            let answer = connection.ask(&request).expect(200);
            answers += 1;
            assert!(answer["response"].as_str().is_some_and(|text| text.contains(&words)), "{answer}");
        }
        answers
    };
    thread::scope(|scope| {
        let members: Vec<_> = (0..5).map(|number| scope.spawn(move || member(number))).collect();
        members.into_iter().map(|one| one.join().expect("no bystander fails")).sum()
    })
}

#[test]
fn each_ends_as_promised_and_nobody_beside_it_notices() {
    let server = Server::with(FLEET);
    let (mut beside, mut wrong) = (0, Vec::new());
    for (agent, query, status, code) in ENDS {
        let done = AtomicBool::new(false);
        let answers = thread::scope(|scope| {
            let bystanders = scope.spawn(|| crowd(&server, &done));
            let ended = server.call(agent, query);
            done.store(true, Ordering::Relaxed);
            let body = ended.json();
            if (ended.status, &body["code"]) != (*status, &json!(code)) {
                wrong.push(format!("{agent}: {query}: not {status} {code} but {}", ended.text));
            } else {
                ended.expect_failure(*status, code);
                assert!(body["receipt"]["fuel"].as_u64() > Some(0), "a failure has its receipt: {body}");
                assert_eq!((&body["success"], &body["agent"]), (&json!(false), &json!(agent)), "{body}");
                assert_eq!(ended.header("retry-after").is_some(), *status == 503, "{query}");
            }
            bystanders.join().expect("no bystander fails")
        });
        assert!(answers >= 50);
        beside += answers;
        if server.agent(agent)["name"] == "Hostile" {
            let after = server.call(agent, "count").expect(200);
            assert_eq!(after["response"], "1", "{agent} after {query}");
        }
    }
    let bystander = server.agent("echo");
    assert_eq!((&bystander["calls"], &bystander["errors"]), (&json!(beside), &json!(0)), "{bystander}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let page = server.agent("hostile");
    // What the caller can correct is no error of the agent's.
    let its_own = |(agent, _, status, _): &&(&str, &str, u16, &str)| *agent == "hostile" && *status >= 500;
    let errors: Vec<_> = ENDS.iter().filter(its_own).collect();
    assert_eq!(page["errors"], errors.len(), "{page}");
    assert_eq!(page["last_error"], errors.last().map_or("", |end| end.3), "{page}");
    assert_eq!((&page["running"], &page["queued"]), (&json!(0), &json!(0)), "{page}");
}

#[test]
fn the_agents_own_words_reach_the_client_and_a_panics_only_the_log() {
    let server = Server::with(FLEET);
    let body = server.call("hostile", "fail invalid-input say it otherwise").json();
    assert_eq!(body["message"], "say it otherwise");
    let ended = server.call("hostile", "panic the-panics-own-words");
    assert!(!ended.text.contains("own-words"), "{}", ended.text);
    let id = ended.header("x-request-id").expect("an id").to_owned();
    let lines = server.log_lines("the panic is in the log", |line| {
        line["request"] == id.as_str()
            && line["reason"].as_str().is_some_and(|text| text.contains("own-words"))
    });
    assert_eq!(lines[0]["agent"], "hostile");
    assert_eq!(lines[0]["code"], "agent_trapped");
    assert!(lines[0]["fuel"].as_u64() > Some(0), "a trap has a receipt, too: {}", lines[0]);
}

#[test]
fn a_long_message_of_a_failure_is_cut() {
    let server = Server::with(FLEET);
    let body = server.call("hostile", "huge-error 50000").expect_failure(502, "agent_failed");
    assert!(body["message"].as_str().is_some_and(|text| text.chars().count() <= 2_001), "too long");
}

#[test]
fn floods_within_the_limits_are_bounded_in_the_log_and_said_there() {
    let server = Server::with(
        "[agents.hostile]\ncomponent = \"<hostile>\"\nlimits = { log = \"2 KiB\", host_calls = 1_000_000 }",
    );
    for query in ["log-flood 1000 100", "stdout-flood 1000 100", "stderr-flood 1000 100"] {
        let answer = server.call("hostile", query);
        answer.expect(200);
        let id = answer.header("x-request-id").expect("an id").to_owned();
        let said = server.log_lines("lines are left out", |line| {
            line["request"] == id.as_str()
                && line["message"].as_str().is_some_and(|text| text.contains("left out"))
        });
        assert!(said[0]["lines"].as_u64() >= Some(900), "{}", said[0]);
        let kept = server.log().matches(id.as_str()).count();
        assert!(kept <= 60, "{query} left {kept} lines");
    }
}

#[test]
fn the_receipt_shows_what_was_spent() {
    let server = Server::with("[agents.hostile]\ncomponent = \"<hostile>\"\n");
    let receipt = |query: &str| server.call("hostile", query).expect(200)["receipt"].clone();
    let number = |receipt: &Value, field: &str| receipt[field].as_u64().expect("a number");
    let small = receipt("echo hello");
    assert_eq!(number(&small, "output_bytes"), 5);
    let held = number(&receipt("memory-hold 10"), "peak_memory_bytes");
    assert!((10 << 20..20 << 20).contains(&held), "{held}");
    let one = number(&receipt("busy 1"), "fuel");
    let ten = number(&receipt("busy 10"), "fuel");
    assert!(ten > 8 * one && ten < 12 * one, "{one} {ten}");
    let logged = receipt("log-flood 7 10");
    assert_eq!(number(&logged, "host_calls") - number(&small, "host_calls"), 7);
    assert!(number(&logged, "host_bytes") >= 70, "{logged}");
}

#[test]
fn a_refused_growth_that_is_taken_well_is_no_failure() {
    let server = Server::with(
        "[agents.hostile]\ncomponent = \"<hostile>\"\nlimits.memory = \"4 MiB\"\n[agents.tables]\ncomponent = \"<table-bomb>\"\nlimits.memory = \"1 MiB\"",
    );
    let answer = server.call("hostile", "memory-grow").expect(200);
    let pages = answer["data"]["pages"].as_u64().expect("a number");
    assert!(pages <= 64, "{answer}");
    assert!(answer["receipt"]["peak_memory_bytes"].as_u64() <= Some(4 << 20), "{answer}");
    server.call("tables", "survive").expect(200);
}

#[test]
fn many_host_calls_are_allowed_only_so_far_as_their_limit() {
    let server = Server::with(
        "[agents.hostile]\ncomponent = \"<hostile>\"\nlimits = { host_calls = 100 }\n\
         [agents.cheap]\ncomponent = \"<hostile>\"\nlimits = { fuel = 50_000_000, handles = 100 }",
    );
    server.call("hostile", "log-flood 50 1").expect(200);
    server.call("hostile", "log-flood 500 1").expect_failure(502, "host_limit_exceeded");
    // Ambient ones cost the guest fuel, which ends them.
    let ended = server.call("cheap", "host-calls 1000000000");
    assert_eq!(ended.status, 502, "{}", ended.text);
    server.call("cheap", "poll-many 1000000").expect_failure(502, "host_limit_exceeded");
    server.call("cheap", "poll-many 50").expect(200);
}
