//! A change of very many agents, and who does not wait for it.

use std::fs;
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::registering::register;
use crate::support::fleet::{digest, plain};
use crate::support::{Connection, Fleet, Reply, Request, Server, poll_until};

const SETTINGS: &str = "[server]\nlog_level = \"debug\"\n[agents.a]\ncomponent = \"plugins/a.wasm\"\n[agents.b]\ncomponent = \"plugins/b.wasm\"\n";
const MANY: usize = 10_000;

/// Sends a request from a thread of its own.
fn send(server: &Server, request: Request) -> JoinHandle<Reply> {
    let (request, address) = (server.signed(request), server.address);
    std::thread::spawn(move || Connection::open(address).ask(&request))
}

/// How often so many records were to be written.
fn writes(server: &Server, records: usize) -> usize {
    let log = server.log();
    let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["message"] == "records are being written" && line["records"] == records).count()
}

#[test]
fn while_ten_thousand_agents_are_being_written_nobody_else_waits() {
    let fleet = Fleet::new(SETTINGS);
    fleet.plugin("a", &plain(1));
    fleet.plugin("b", &plain(2));
    let server = fleet.serve();
    register(&server, &json!({ "id": "guest" }), &plain(3)).expect(201);
    // Another program has the database: what is written waits for as long as this test wants.
    let held = rusqlite::Connection::open(fleet.data().join("registry.db")).expect("the database");
    held.busy_timeout(std::time::Duration::from_secs(30)).expect("it waits");
    held.execute_batch("BEGIN IMMEDIATE").expect("nobody else writes");
    let made = json!({ "template": "a", "count": MANY, "prefix": "made-" });
    let made = send(&server, Request::post("/api/agents/generate", &made));
    poll_until("they are being written", || (writes(&server, MANY) == 1).then_some(()));
    // Calls are answered, and pages.
    for id in ["a", "b", "guest"] {
        server.call(id, "x").expect(200);
        assert_eq!(server.agent(id)["status"], "active");
    }
    // Another agent's change is decided, and what needs no disk takes effect.
    fs::write(fleet.path("plugins/b.wasm"), "this is no component").expect("a file");
    let page = server.wait_for_failure("b", &["not WebAssembly"]);
    assert_eq!(page["digest"], digest(&plain(2)), "{page}");
    // One that has to be written is decided too: it waits for the disk, and not for the ten thousand.
    let before = writes(&server, 1);
    let replaced =
        send(&server, Request::multipart("PUT", "/api/agents/guest", &json!({ "name": "New" }), &plain(4)));
    poll_until("it is being written", || (writes(&server, 1) > before).then_some(()));
    server.call("guest", "x").expect(200);
    assert!(!made.is_finished() && !replaced.is_finished(), "nothing is promised before it is on disk");
    server.call("made-000", "x").expect_failure(404, "agent_not_found");
    assert_eq!(server.agent("guest")["digest"], digest(&plain(3)));
    held.execute_batch("COMMIT").expect("others write");
    assert_eq!(made.join().expect("the client ends").status, 201);
    assert_eq!(replaced.join().expect("the client ends").expect(200)["digest"], digest(&plain(4)));
    // What was answered is there, and survives the host.
    let check = |server: &Server| {
        let stats = server.get("/orchestrator/stats").expect(200);
        assert_eq!((&stats["total_agents"], &stats["active_agents"]), (&json!(MANY + 3), &json!(MANY + 3)));
        for id in ["made-000", "made-9999"] {
            assert_eq!(server.call(id, "x").expect(200)["agent_digest"], digest(&plain(1)), "{id}");
        }
        assert_eq!(server.call("guest", "x").expect(200)["agent_digest"], digest(&plain(4)));
    };
    check(&server);
    drop(server);
    let written = rusqlite::Connection::open(fleet.data().join("registry.db")).expect("the database");
    let count = written.query_row("SELECT count(*) FROM agents", [], |row| row.get(0));
    assert_eq!(count, Ok(i64::try_from(MANY + 3).expect("a small number")));
}

#[test]
fn changes_of_one_agent_take_turns_and_none_is_lost() {
    let fleet = Fleet::new(SETTINGS);
    fleet.plugin("a", &plain(1));
    fleet.plugin("b", &plain(2));
    let server = fleet.serve();
    register(&server, &json!({ "id": "guest", "name": "0" }), &plain(3)).expect(201);
    let requests = (1..=8).map(|number: u8| {
        let settings = json!({ "name": number.to_string() });
        send(&server, Request::multipart("PUT", "/api/agents/guest", &settings, &plain(3 + number)))
    });
    let answers: Vec<_> = requests.collect::<Vec<_>>().into_iter().map(JoinHandle::join).collect();
    let answers: Vec<Reply> = answers.into_iter().map(|answer| answer.expect("the client ends")).collect();
    // Who was overtaken is told so, and everybody else has a generation of their own.
    let mut generations: Vec<u64> = answers
        .iter()
        .filter(|answer| answer.status == 200)
        .map(|answer| answer.json()["generation"].as_u64().expect("a generation"))
        .collect();
    assert!(answers.iter().all(|answer| [200, 409].contains(&answer.status)));
    let page = server.agent("guest");
    let last = page["generation"].as_u64().expect("a generation");
    generations.sort_unstable();
    assert!(!generations.is_empty() && generations.last() <= Some(&last));
    assert_eq!(last, 1 + generations.len() as u64, "{generations:?}");
    drop(server);
    let server = fleet.serve();
    poll_until("it is as it was", || {
        let again = server.agent("guest");
        let same = |field: &str| again[field] == page[field];
        (again["status"] == "active" && same("generation") && same("digest") && same("name")).then_some(())
    });
    assert_ne!(server.agent("guest")["name"], Value::Null);
}
