//! Permits and queues: who waits, who is rejected, and what a client that leaves gives back.

use std::thread;

use serde_json::{Value, json};

use crate::support::{Connection, Request, Server, poll_until};

const NARROW: &str = "[agents.narrow]\ncomponent = \"<hostile>\"\nmax_concurrent = 1\nqueue = 1\n";

fn request(server: &Server, query: &str) -> Request {
    server.signed(Request::post("/orchestrator/execute", &json!({ "agent": "narrow", "query": query })))
}

/// Sends a call and does not wait for its answer.
fn begin(server: &Server, query: &str) -> Connection {
    let mut connection = server.connect();
    connection.send(&request(server, query).bytes()).expect("the request is sent");
    connection
}

#[test]
fn a_client_that_leaves_frees_its_permit() {
    let server = Server::with(NARROW);
    let gone = begin(&server, "sleep 600000");
    server.wait_for_load("narrow", 1, 0);
    drop(gone);
    server.wait_for_load("narrow", 0, 0);
    server.call("narrow", "echo next").expect(200);
    // A guest that computes is given up as one that waits is.
    let gone = begin(&server, "busy 1000000");
    server.wait_for_load("narrow", 1, 0);
    drop(gone);
    server.wait_for_load("narrow", 0, 0);
    server.call("narrow", "echo next").expect(200);
    // Also one that had begun to send its next request.
    let mut gone = server.connect();
    let mut bytes = request(&server, "sleep 600000").bytes();
    bytes.extend(b"GET /healthz HTTP/1.1\r\n");
    gone.send(&bytes).expect("sent");
    server.wait_for_load("narrow", 1, 0);
    drop(gone);
    server.wait_for_load("narrow", 0, 0);
    let lines = server.log_lines("the call's end is in the log", |line| line["code"] == "cancelled");
    assert_eq!(lines[0]["agent"], "narrow");
    assert!(lines[0]["wall_ms"].is_number(), "a cancelled call has a receipt: {}", lines[0]);
}

#[test]
fn a_client_that_leaves_the_queue_gives_its_place_up() {
    let server = Server::with(NARROW);
    let running = begin(&server, "sleep 600000");
    server.wait_for_load("narrow", 1, 0);
    let waiting = begin(&server, "echo never");
    server.wait_for_load("narrow", 1, 1);
    drop(waiting);
    server.wait_for_load("narrow", 1, 0);
    let left = server.log_lines("its end is in the log", |line| line["code"] == "cancelled");
    assert!(left[0]["queue_ms"].as_f64() > Some(0.0) && left[0].get("wall_ms").is_none(), "{}", left[0]);
    let mut waiting = begin(&server, "echo in time");
    server.wait_for_load("narrow", 1, 1);
    drop(running);
    let answer = waiting.answer(false).expect("an answer").expect(200);
    assert_eq!(answer["response"], "in time");
    assert!(answer["receipt"]["queue_ms"].as_f64() > Some(0.0), "{answer}");
}

#[test]
fn when_the_queue_is_full_a_client_is_told_when_to_come_again() {
    let server = Server::with(NARROW);
    let running = begin(&server, "sleep 600000");
    server.wait_for_load("narrow", 1, 0);
    let mut waiting = begin(&server, "count");
    server.wait_for_load("narrow", 1, 1);
    let refused = server.call("narrow", "count");
    let body = refused.expect_failure(503, "overloaded");
    assert_eq!((&body["success"], &body["agent"]), (&json!(false), &json!("narrow")), "{body}");
    let after: u64 = refused.header("retry-after").and_then(|after| after.parse().ok()).expect("Retry-After");
    assert!(after >= 1);
    drop(running);
    waiting.answer(false).expect("an answer").expect(200);
    // Two calls ran: the one that was refused ran no guest code.
    server.wait_for_load("narrow", 0, 0);
    assert_eq!(server.agent("narrow")["calls"], 2);
}

#[test]
fn one_agents_queue_does_not_hold_others_up() {
    let server = Server::with(&format!("{NARROW}[agents.echo]\ncomponent = \"<echo>\"\n"));
    let _running = begin(&server, "sleep 600000");
    server.wait_for_load("narrow", 1, 0);
    let _waiting = begin(&server, "sleep 600000");
    server.wait_for_load("narrow", 1, 1);
    for _ in 0..20 {
        server.call("echo", "x").expect(200);
    }
}

#[test]
fn a_wait_in_the_queue_ends() {
    let server = Server::with(&format!("[scheduler]\nqueue_timeout = \"100ms\"\n{NARROW}"));
    let _running = begin(&server, "sleep 600000");
    server.wait_for_load("narrow", 1, 0);
    let refused = server.call("narrow", "count");
    refused.expect_failure(503, "overloaded");
    assert!(refused.header("retry-after").is_some());
    // Where the task's own time is shorter, that is what was up.
    let server = Server::with(&format!("{NARROW}limits.timeout = \"1s\"\n"));
    let mut running = begin(&server, "sleep 600000");
    server.wait_for_load("narrow", 1, 0);
    let mut waiting = begin(&server, "sleep 600000");
    for late in [&mut running, &mut waiting] {
        late.answer(false).expect("an answer").expect_failure(504, "deadline_exceeded");
    }
}

#[test]
fn everything_that_is_accepted_is_answered_however_many_come_at_once() {
    let server = Server::with(
        "[scheduler]\nmax_concurrent = 4\n[agents.a]\ncomponent = \"<hostile>\"\nmax_concurrent = 3\nqueue = 1000\n\
         [agents.b]\ncomponent = \"<echo>\"\nqueue = 1000\n",
    );
    let ask = |number: usize| -> Vec<Value> {
        let mut connection = server.connect();
        let one = |round: usize| {
            let words = format!("{number}-{round}");
            let (agent, query) = match (number + round) % 2 {
                0 => ("a", format!("echo {words}")),
                _ => ("b", words.clone()),
            };
            let request = Request::post("/orchestrator/execute", &json!({ "agent": agent, "query": query }));
            let answer = connection.ask(&server.signed(request)).expect(200);
            assert!(answer["response"].as_str().is_some_and(|text| text.contains(&words)), "{answer}");
            answer
        };
        (0..20).map(one).collect()
    };
    let answers = thread::scope(|scope| {
        let clients: Vec<_> = (0..40).map(|number| scope.spawn(move || ask(number))).collect();
        clients.into_iter().flat_map(|client| client.join().expect("no client fails")).count()
    });
    assert_eq!(answers, 800);
    let status = server.get("/api/agents/status").expect(200);
    for agent in status.as_array().expect("a list") {
        assert_eq!((&agent["calls"], &agent["errors"]), (&json!(400), &json!(0)), "{agent}");
    }
    poll_until("no permit is lost", || {
        let status = server.get("/api/agents/status").json();
        let idle = |agent: &Value| agent["running"] == 0 && agent["queued"] == 0;
        status.as_array().expect("a list").iter().all(idle).then_some(())
    });
}
