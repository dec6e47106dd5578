//! Guests that mean harm, two for each thread that runs guests, in a loop and with a key of their own:
//! what everybody else notices of them is nothing.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::fleet::{key, plain};
use crate::support::server::Start;
use crate::support::{Fleet, Reply, Request, Server, guests};

const POLITE: &str = "a-key-for-tests-of-a-polite-caller";
const HARMFUL: &str = "a-key-for-tests-of-one-who-means-harm";

/// What an attacker's call may take, in milliseconds.
const TIMEOUT: f64 = 1_000.0;
/// What it may take besides on a machine that does much else, in milliseconds.
const GRACE: f64 = 5_000.0;
/// What the host may hold above what it holds at rest, in bytes.
const MEMORY: u64 = 200_000_000;

/// Two guest threads; who attacks and who is polite.
fn settings(agents: &str) -> String {
    format!(
        "engine.guest_threads = 2\n{}{}[agents.polite]\ncomponent = \"<echo>\"\nlimits.timeout = \"5s\"\n{agents}",
        key("polite", POLITE, "scope = \"*\"\nrole = \"admin\"\n"),
        key("harmful", HARMFUL, "scope = \"harmful*\"\n"),
    )
}

fn start(agents: &str) -> Server {
    Start::settings(&settings(agents)).key(POLITE).serve()
}

/// An agent that attacks, with the timeout of all of them.
fn harmful(id: &str, component: &str) -> String {
    format!("[agents.{id}]\ncomponent = \"{component}\"\nlimits.timeout = \"1s\"\n")
}

/// Asks `polite` `calls` times, about 20 times a second, on one connection; each answer is right and the host's
/// memory stays where it was.
fn polite_calls(server: &Server, calls: usize, idle: u64) {
    let mut connection = server.connect();
    for number in 0..calls {
        let words = format!("polite call {number}");
        let body = json!({ "agent": "polite", "query": words });
        let answer = connection.ask(&server.signed(Request::post("/orchestrator/execute", &body)));
        assert_eq!(answer.expect(200)["response"], words.as_str());
        let more = server.resident().saturating_sub(idle);
        assert!(more < MEMORY, "the host holds {more} bytes more than at rest");
        // The pace of the calls, not a wait for anything.
        thread::park_timeout(Duration::from_millis(50));
    }
}

/// An attacker's call has an end that is its own affair, in its time.
fn check_end(reply: &Reply) {
    let body = reply.json();
    assert!([200, 422, 502, 503, 504].contains(&reply.status), "{body}");
    let part = |name: &str| body["receipt"][name].as_f64().unwrap_or_default();
    let took = part("queue_ms") + part("run_queue_ms") + part("wall_ms");
    assert!(took < TIMEOUT + GRACE, "{body}");
}

/// Runs these calls, two for each guest thread, in a loop beside polite ones.
fn beside(server: &Server, agent: &str, queries: &[&str]) {
    server.call("polite", "before").expect(200);
    let idle = server.resident();
    let done = AtomicBool::new(false);
    let attack = |number: usize| {
        let body = json!({ "agent": agent, "query": queries[number % queries.len()] });
        let request = Request::post("/orchestrator/execute", &body).key(HARMFUL);
        let mut connection = server.connect();
        let mut ends = 0;
        while ends == 0 || !done.load(Ordering::Relaxed) {
            check_end(&connection.ask(&request));
            ends += 1;
        }
    };
    let over = |done: &AtomicBool| done.store(true, Ordering::Relaxed);
    thread::scope(|scope| {
        let attackers: Vec<_> = (0..4).map(|number| scope.spawn(move || attack(number))).collect();
        let polite = scope.spawn(|| polite_calls(server, 40, idle)).join();
        over(&done);
        let ends = attackers.into_iter().map(thread::ScopedJoinHandle::join);
        let failed: Vec<_> = ends.chain([polite]).filter_map(Result::err).collect();
        assert!(failed.is_empty(), "{agent} {queries:?}: {} sides failed", failed.len());
    });
    // Who attacked can go on working, too.
    server.call("polite", "after").expect(200);
}

#[test]
fn polling_harms_nobody() {
    let server = start(&harmful("harmful", "<hostile>"));
    beside(&server, "harmful", &["poll-copies 900", "poll-timers 450", "poll-copies 1000000"]);
    beside(&server, "harmful", &["block", "timers"]);
}

#[test]
fn passing_strings_between_components_harms_nobody() {
    let server = start(&harmful("harmful", "<transcode>"));
    beside(&server, "harmful", &["a", "b", "c", "d"]);
}

#[test]
fn resolving_names_harms_nobody() {
    let server = start(&harmful("harmful", "<hostile>"));
    beside(&server, "harmful", &["resolve"]);
}

#[test]
fn writing_harms_nobody() {
    let server = start(&harmful("harmful", "<hostile>"));
    beside(&server, "harmful", &["write", "write-lines 8000000", "log-messages 65536", "write-zeroes 4096"]);
}

#[test]
fn other_calls_of_the_host_harm_nobody() {
    let server = start(&harmful("harmful", "<hostile>"));
    beside(&server, "harmful", &["random-numbers", "random-bytes 65536", "clocks", "start-up"]);
    beside(&server, "harmful", &["flush", "splice", "make-sockets", "nested-data 10000"]);
}

#[test]
fn names_of_functions_harm_nobody() {
    let agents = harmful("harmful-cpp", "<trap-cpp-name>") + &harmful("harmful-rust", "<trap-rust-name>");
    let server = start(&agents);
    beside(&server, "harmful-cpp", &["trap"]);
    beside(&server, "harmful-rust", &["trap"]);
}

#[test]
fn a_component_may_hold_components_that_pass_texts_to_each_other() {
    let server = Server::with("[agents.transcode]\ncomponent = \"<transcode>\"\n");
    for query in ["a2 64", "b2 64", "c2 64", "d2 64", "e2 64", "f2 64"] {
        assert_eq!(server.call("transcode", query).expect(200)["response"], "(text)", "{query}");
    }
}

#[test]
fn what_is_told_is_said_and_a_describe_that_does_not_answer_is_refused() {
    let fleet = Fleet::new(
        "[agents.a]\ncomponent = \"plugins/a.wasm\"\n[agents.b]\ncomponent = \"plugins/b.wasm\"\n",
    );
    fleet.plugin("a", &guests::storied(&json!({ "name": "Anna", "triggers": ["what is told"] })));
    fleet.plugin("b", &guests::storied(&json!({ "describe": "wait" })));
    let server = fleet.serve();
    let page = server.agent("a");
    assert_eq!((&page["name"], &page["triggers"]), (&json!("Anna"), &json!(["what is told"])), "{page}");
    assert_eq!(server.call("a", "hello").expect(200)["response"], "hello");
    server.wait_for_failure("b", &["describe"]);
}

/// The context schemas of an attack, each with a context for it.
fn schemas() -> Vec<(Value, Value)> {
    let pattern = |pattern: &str, number: usize| json!({ "pattern": format!("{pattern}{number}") });
    let long = "x".repeat(1_000_000);
    vec![
        (
            json!({ "allOf": (0..1_800).map(|number| pattern("\\p{L}{80}", number)).collect::<Vec<_>>() }),
            json!(long),
        ),
        (json!({ "properties": { "s": { "anyOf": vec![false; 10_000] } } }), json!({ "s": long })),
        (
            json!({ "anyOf": [{ "propertyNames": { "maxLength": 0 } }] }),
            (0..6_000).map(|number| (format!("key-{number}"), json!(1))).collect::<Value>(),
        ),
        (
            json!({ "allOf": (0..20)
                .map(|number| pattern("(\\p{L}{0,9}\\p{N}{0,9}){0,9}é{0,99}\\p{L}{0,50}Qn$", number))
                .collect::<Vec<_>>() }),
            json!("ü".repeat(500_000)),
        ),
    ]
}

#[test]
fn schemas_of_contexts_harm_nobody() {
    let agents: String = (0..schemas().len())
        .map(|number| harmful(&format!("harmful-{number}"), &format!("plugins/{number}.wasm")))
        .collect();
    let fleet = Fleet::new(&settings("").replace("[agents.polite]", &format!("{agents}[agents.polite]")));
    for (number, (schema, _)) in schemas().into_iter().enumerate() {
        fleet.plugin(&number.to_string(), &guests::storied(&json!({ "schema": schema.to_string() })));
    }
    let server = fleet.start().key(POLITE).serve();
    server.call("polite", "before").expect(200);
    let idle = server.resident();
    thread::scope(|scope| {
        for (number, (_, context)) in schemas().into_iter().enumerate() {
            let agent = format!("harmful-{number}");
            let body = json!({ "agent": agent, "query": "x", "context": context });
            let request = Request::post("/orchestrator/execute", &body).key(HARMFUL);
            let server = &server;
            scope.spawn(move || {
                let mut connection = server.connect();
                for _ in 0..4 {
                    check_end(&connection.ask(&request));
                }
            });
        }
        polite_calls(&server, 40, idle);
    });
}

/// Registers a component under `id`, with the polite caller's key.
fn register(server: &Server, id: &str, component: &[u8]) -> Reply {
    let settings = json!({ "id": id, "limits": { "timeout": "1s" } });
    let request = Request::multipart("POST", "/api/agents", &settings, component).key(POLITE);
    server.ask_plainly(request)
}

#[test]
fn agents_that_never_say_who_they_are_take_nobodys_place() {
    let fleet = Fleet::new(&settings(""));
    let server = fleet.start().key(POLITE).serve();
    server.call("polite", "before").expect(200);
    let idle = server.resident();
    let waits = fs::read(guests::text("describe-waits")).expect("a component");
    let asked: Vec<_> = (0..280)
        .map(|number| {
            // Another component each time: a custom section at its end.
            let mut component = waits.clone();
            component.extend([0, 11, 7]);
            component.extend(format!("variant{number:03}").bytes());
            (format!("harmful-{number}"), component)
        })
        .collect();
    thread::scope(|scope| {
        for (id, component) in &asked {
            let server = &server;
            scope.spawn(move || {
                let answer = register(server, id, component);
                assert!([422, 429, 503].contains(&answer.status), "{} {}", answer.status, answer.text);
            });
        }
        polite_calls(&server, 60, idle);
    });
}

#[test]
fn a_host_with_harmful_agents_starts_again_and_serves_the_others() {
    let mut agents = String::new();
    for number in 0..40 {
        agents += &harmful(&format!("harmful-waits-{number}"), "<describe-waits>");
    }
    for kind in ["spins", "traps", "panics", "schema"] {
        agents += &harmful(&format!("harmful-{kind}"), &format!("plugins/{kind}.wasm"));
    }
    agents += &harmful("harmful-name", "<describe-traps-cpp-name>");
    agents += &harmful("harmful-lies", "<lying-export>");
    let fleet = Fleet::new(&settings(&agents));
    for (name, describe) in [("spins", "spin"), ("traps", "trap"), ("panics", "panic")] {
        fleet.plugin(name, &guests::storied(&json!({ "describe": describe })));
    }
    let (schema, _) = schemas().swap_remove(0);
    fleet.plugin("schema", &guests::storied(&json!({ "schema": schema.to_string() })));
    let server = fleet.start().key(POLITE).serve();
    polite_calls(&server, 5, server.resident());
    // One that came by request is there again, beside them.
    register(&server, "kept", &plain(1)).expect(201);
    for _ in 0..2 {
        server.kill();
        let server = fleet.start().key(POLITE).serve();
        polite_calls(&server, 5, server.resident());
        server.call("kept", "x").expect(200);
        for agent in ["harmful-waits-0", "harmful-spins", "harmful-traps", "harmful-panics", "harmful-name"] {
            assert_eq!(server.agent(agent)["status"], "failed", "{agent}");
            server.call(agent, "x").expect_failure(503, "agent_unavailable");
        }
        server.kill();
    }
}
