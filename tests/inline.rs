//! Calls that are known to be short begin on the thread that accepted them, and nobody can hold that thread:
//! what turns out to be long goes on on the guests' threads, and so do the next calls of its version.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::json;
use stockade::domain::{Principal, RequestId, TaskText};
use stockade::scheduler::{Outcome, Submission};

use crate::metering::Held;
use crate::support::{Request, Server, poll_until};

fn submit(host: &Held, agent: &str, query: &str, alone: bool) -> Outcome {
    let submission = Submission {
        caller: Arc::new(Principal::operator("test")).into(),
        agent: agent.to_owned(),
        query: Some(TaskText::parse(query).expect("a task")),
        context: None,
        alone,
        request_id: RequestId::from_random(1),
        timeout: None,
    };
    host.runtime.block_on(host.host.scheduler.submit(submission))
}

/// Whether a call of this query began on the thread that accepted it.
fn begins_inline(host: &Held, agent: &str, query: &str, alone: bool) -> bool {
    let before = host.host.engine.inline_turns();
    let outcome = submit(host, agent, query, alone);
    assert!(outcome.guest_ran, "{query}: {:?}", outcome.result);
    host.host.engine.inline_turns() > before
}

/// What makes a call long, each in another way.
const LONG: &[&str] = &[
    "busy 1",
    "memory-hold 8",
    "sleep 1",
    "random 65536",
    "poll-many 200",
    "system load",
    "host-calls 1000",
    "log-flood 100 10",
    "huge-output 200000",
    "panic on purpose",
    "trap",
    "loop",
];

#[test]
fn what_turns_out_to_be_long_is_not_begun_where_it_is_accepted_again() {
    let agents = (0..LONG.len())
        .map(|number| format!("[agents.a-{number}]\ncomponent = \"<hostile>\"\nlimits.fuel = 100_000_000\ngrants.system = true\n"));
    let host = Held::new(&agents.collect::<String>());
    for (number, long) in LONG.iter().enumerate() {
        let agent = format!("a-{number}");
        let is_inline = |alone| begins_inline(&host, &agent, "echo short", alone);
        assert!(!is_inline(true), "nothing is known of it yet");
        poll_until("short calls begin at once", || is_inline(true).then_some(()));
        assert!(!is_inline(false), "its request waits for others, too");
        submit(&host, &agent, long, true);
        let inline: Vec<bool> = (0..16).map(|_| is_inline(true)).collect();
        assert!(!inline.contains(&true), "{long}: {inline:?}");
    }
}

/// Each goes on for ever, in another way; none of them is charged so much that it ends.
const ENDLESS: &[&str] =
    &["loop", "memory-fill 50 1000000000", "poll-copies 900", "random-bytes 65536", "clocks", "sleep 600000"];

#[test]
fn a_guest_that_is_short_a_thousand_times_and_then_endless_delays_nobody() {
    let agents: String = (0..ENDLESS.len())
        .map(|number| {
            format!(
                "[agents.hostile-{number}]\ncomponent = \"<hostile>\"\n[agents.hostile-{number}.limits]\n\
                 fuel = 1_000_000_000_000_000\ntimeout = \"1h\"\nhost_calls = 1_000_000_000\nhost_bytes = \"1000 GiB\"\n"
            )
        })
        .collect();
    let server =
        Server::with(&format!("engine.guest_threads = 2\n[agents.polite]\ncomponent = \"<echo>\"\n{agents}"));
    let ask = |agent: &str, query: &str| {
        server.signed(Request::post("/orchestrator/execute", &json!({ "agent": agent, "query": query })))
    };
    let ended = AtomicUsize::new(0);
    thread::scope(|scope| {
        let mut attacks = Vec::new();
        for (number, query) in ENDLESS.iter().enumerate() {
            let agent = format!("hostile-{number}");
            let mut connection = server.connect();
            let short = ask(&agent, "echo short");
            for _ in 0..if number == 0 { 1_000 } else { 100 } {
                assert_eq!(connection.ask(&short).expect(200)["response"], "short");
            }
            // As many at once as there could be threads that accept calls.
            for mut connection in [connection, server.connect()] {
                let (attack, ended) = (ask(&agent, query), &ended);
                let stream = connection.stream();
                attacks.push(stream);
                scope.spawn(move || {
                    // It ends when its client leaves.
                    let _ = connection.try_ask(&attack);
                    ended.fetch_add(1, Ordering::SeqCst);
                });
            }
            server.wait_for_load(&agent, 2, 0);
        }
        for number in 0..20 {
            assert_eq!(server.ask_plainly(Request::get("/healthz")).status, 200);
            let words = format!("polite {number}");
            assert_eq!(server.call("polite", &words).expect(200)["response"], words.as_str());
        }
        assert_eq!(ended.load(Ordering::SeqCst), 0, "all that time they went on");
        for stream in attacks {
            stream.shutdown(std::net::Shutdown::Both).expect("a connection");
        }
    });
}
