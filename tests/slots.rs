//! A call that waits for the host keeps its sandbox and gives its slot to compute to others.

use serde_json::json;

use crate::support::{Connection, Request, Server, poll_until};

/// Agents that may compute and sleep as long as they like.
const FREE: &str =
    "component = \"<hostile>\"\nlimits = { fuel = 1_000_000_000_000, timeout = \"10m\" }\nqueue = 100\n";

/// Sends a call and does not wait for its answer.
fn begin(server: &Server, agent: &str, query: &str) -> Connection {
    let mut connection = server.connect();
    let body = json!({ "agent": agent, "query": query });
    let request = server.signed(Request::post("/orchestrator/execute", &body));
    connection.send(&request.bytes()).expect("the request is sent");
    connection
}

fn server(slots: u32, agents: &[&str]) -> Server {
    let agents: String = agents.iter().map(|name| format!("[agents.{name}]\n{FREE}")).collect();
    let settings = format!(
        "[scheduler]\nmax_concurrent = {slots}\n{agents}[agents.echo]\ncomponent = \"<echo>\"\nqueue = 100\n"
    );
    Server::with(&settings)
}

#[test]
fn who_sleeps_leaves_the_slots_to_others() {
    let server = server(2, &["sleeps"]);
    let asleep: Vec<_> = (0..20).map(|_| begin(&server, "sleeps", "sleep 600000")).collect();
    server.wait_for_load("sleeps", 20, 0);
    for number in 0..10 {
        let answer = server.call("echo", &format!("call {number}")).expect(200);
        assert!(answer["response"].as_str().is_some_and(|text| text.contains("call")), "{answer}");
    }
    assert_eq!(server.agent("sleeps")["running"], 20);
    // Clients that leave give back what they hold, and the next ones have it.
    drop(asleep);
    server.wait_for_load("sleeps", 0, 0);
    server.call("sleeps", "echo x").expect(200);
}

#[test]
fn who_wakes_does_not_wait_behind_those_who_came_since() {
    let server = server(1, &["sleeps", "computes", "comes"]);
    let mut asleep: Vec<_> = (0..8).map(|_| begin(&server, "sleeps", "sleep 1500")).collect();
    server.wait_for_load("sleeps", 8, 0);
    // The only slot is taken while they sleep, for longer than anything here takes.
    let computing = begin(&server, "computes", "loop");
    server.wait_for_load("computes", 1, 0);
    let mut new = begin(&server, "comes", "echo at last");
    server.wait_for_load("comes", 0, 1);
    for asleep in &mut asleep {
        let answer = asleep.answer(false).expect("an answer").expect(200);
        assert_eq!(answer["response"], "slept 1500 ms");
    }
    assert_eq!(server.agent("computes")["running"], 1);
    assert_eq!(server.agent("comes")["queued"], 1);
    drop(computing);
    new.answer(false).expect("an answer").expect(200);
    poll_until("all is given back", || {
        let status = server.get("/api/agents/status").json();
        let idle = |agent: &serde_json::Value| agent["running"] == 0 && agent["queued"] == 0;
        status.as_array().expect("a list").iter().all(idle).then_some(())
    });
}

#[test]
fn who_computes_keeps_others_waiting_and_sleepers_deadlines_are_theirs() {
    let server = Server::with(&format!(
        "[scheduler]\nmax_concurrent = 2\n[agents.a]\n{FREE}[agents.b]\n{FREE}\
         [agents.late]\ncomponent = \"<hostile>\"\nlimits.timeout = \"1s\"\n\
         [agents.echo]\ncomponent = \"<echo>\"\n"
    ));
    let mut late: Vec<_> = (0..5).map(|_| begin(&server, "late", "sleep 600000")).collect();
    server.wait_for_load("late", 5, 0);
    let computing = [begin(&server, "a", "loop"), begin(&server, "b", "loop")];
    server.wait_for_load("a", 1, 0);
    server.wait_for_load("b", 1, 0);
    let mut waiting = begin(&server, "echo", "in its turn");
    server.wait_for_load("echo", 0, 1);
    for late in &mut late {
        late.answer(false).expect("an answer").expect_failure(504, "deadline_exceeded");
    }
    server.wait_for_load("echo", 0, 1);
    drop(computing);
    waiting.answer(false).expect("an answer").expect(200);
}

#[test]
fn sandboxes_are_the_bound_of_calls_that_sleep() {
    let server = Server::with(&format!(
        "[engine]\nmax_instances = 8\n[scheduler]\nmax_concurrent = 2\n[agents.sleeps]\n{FREE}\
         [agents.echo]\ncomponent = \"<echo>\"\n"
    ));
    let asleep: Vec<_> = (0..9).map(|_| begin(&server, "sleeps", "sleep 600000")).collect();
    // One of the eight is kept for agents that have none.
    server.wait_for_load("sleeps", 7, 2);
    for _ in 0..5 {
        server.call("echo", "x").expect(200);
    }
    drop(asleep);
    server.wait_for_load("sleeps", 0, 0);
}

#[test]
fn one_agent_that_wakes_keeps_no_other_out() {
    for slots in [2, 8] {
        let server = server(slots, &["wakes"]);
        // More of them than there are slots sleep, and then they compute for as long as they like.
        let awake: Vec<_> = (0..slots + 2).map(|_| begin(&server, "wakes", "wake 1000")).collect();
        server.wait_for_load("wakes", u64::from(slots + 2), 0);
        let mut waiting = Vec::new();
        poll_until("its next calls wait", || {
            waiting.push(begin(&server, "wakes", "echo x"));
            (server.agent("wakes")["queued"].as_u64() > Some(0)).then_some(())
        });
        for number in 0..10 {
            let answer = server.call("echo", &format!("call {number}")).expect(200);
            assert!(answer["response"].as_str().is_some_and(|text| text.contains("call")), "{answer}");
        }
        assert_eq!(server.agent("wakes")["running"], slots + 2);
        drop((awake, waiting));
        server.wait_for_load("wakes", 0, 0);
    }
}
