//! Going down: what was accepted is answered, nothing more is accepted, and a second word is the last.

use serde_json::json;

use crate::support::server::Start;
use crate::support::{Connection, Request, Server, poll_until};

const FLEET: &str = "[agents.hostile]\ncomponent = \"<hostile>\"\nlimits.timeout = \"60s\"\n";

/// Sends a call that sleeps, and waits until it runs.
fn sleeping(server: &Server, milliseconds: u32) -> Connection {
    let mut connection = server.connect();
    let body = json!({ "agent": "hostile", "query": format!("sleep {milliseconds}") });
    let request = server.signed(Request::post("/orchestrator/execute", &body));
    connection.send(&request.bytes()).expect("sent");
    server.wait_for_load("hostile", 1, 0);
    connection
}

fn wait_until_refused(server: &Server) {
    poll_until("new connections are refused", || Connection::try_open(server.address).err());
}

#[test]
fn what_runs_is_answered_and_nothing_more_is_accepted() {
    let server = Server::with(FLEET);
    let mut idle = server.connect();
    assert_eq!(idle.ask(&Request::get("/healthz")).status, 200);
    let mut running = sleeping(&server, 1_000);
    server.terminate();
    wait_until_refused(&server);
    assert_eq!(idle.rest().expect("an idle connection is closed"), b"");
    let answer = running.answer(false).expect("an answer");
    assert_eq!(answer.expect(200)["success"], true);
    assert_eq!(running.rest().expect("then the connection ends"), b"");
    let (status, log) = server.ended();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(log.contains("shutting down"), "{log}");
}

#[test]
fn a_host_with_nothing_to_do_leaves_at_once_and_well() {
    let server = Server::with(FLEET);
    server.terminate();
    let (status, log) = server.ended();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}

#[test]
fn a_second_signal_leaves_at_once() {
    let server = Server::with(FLEET);
    let mut running = sleeping(&server, 600_000);
    server.terminate();
    wait_until_refused(&server);
    server.terminate();
    // Closed, or answered with a failure: but not left open.
    if let Ok(answer) = running.answer(false) {
        answer.expect_failure(503, "draining");
    }
    let (status, log) = server.ended();
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("leaving at once") && log.contains("1 requests unfinished"), "{log}");
}

#[test]
fn the_grace_period_ends_by_itself() {
    let server = Start::settings(&format!("[server]\ngrace_period = \"200ms\"\n{FLEET}")).serve();
    let _running = sleeping(&server, 600_000);
    server.terminate();
    let (status, log) = server.ended();
    assert_eq!(status.code(), Some(1), "{log}");
}

#[test]
fn a_client_that_leaves_meanwhile_holds_nothing_up() {
    let server = Server::with(FLEET);
    let running = sleeping(&server, 600_000);
    server.terminate();
    wait_until_refused(&server);
    drop(running);
    let (status, log) = server.ended();
    assert_eq!(status.code(), Some(0), "{log}");
}
