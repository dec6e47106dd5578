//! What the host does for a guest is charged to the guest: fuel and its own time, not others'.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use serde_json::json;
use stockade::app::{Host, Purpose};
use stockade::config::{self, NoEnvironment};
use stockade::domain::{AgentId, AgentKey, Failure, Principal, RequestId, TaskText, TenantId};
use stockade::scheduler::{Outcome, Submission};
use tempfile::TempDir;

use crate::registering::register;
use crate::support::server::Start;
use crate::support::{Request, Server, guests, poll_until};

/// Longer than anything here takes; a hang is a failure.
const LONG: Duration = Duration::from_secs(60);

/// What ends a guest that has all the host calls in the world.
const ENDS: &[(&str, &str)] = &[
    ("poll-copies 900", "fuel_exhausted"),
    ("poll-copies 1000000", "host_limit_exceeded"),
    ("poll-timers 450", "fuel_exhausted"),
    ("timers", "fuel_exhausted"),
    ("block", "fuel_exhausted"),
    ("resolve 200000", "fuel_exhausted"),
    ("resolve 15728640", "host_limit_exceeded"),
    ("write 1048576", "host_limit_exceeded"),
    ("write 65536", "host_limit_exceeded"),
    ("flush", "fuel_exhausted"),
    ("splice", "fuel_exhausted"),
    ("random-numbers", "fuel_exhausted"),
    ("random-bytes 65536", "fuel_exhausted"),
    ("clocks", "fuel_exhausted"),
    ("start-up", "fuel_exhausted"),
    ("make-sockets", "fuel_exhausted"),
    ("log-messages 65536", "fuel_exhausted"),
];

#[test]
fn host_work_burns_fuel() {
    let server = Server::with(
        "[agents.hostile]\ncomponent = \"<hostile>\"\n\
         limits = { fuel = 20_000_000, timeout = \"10m\", host_calls = 1_000_000_000, host_bytes = \"1 GiB\" }\n",
    );
    let mut wrong = Vec::new();
    for (query, code) in ENDS {
        let body = server.call("hostile", query).json();
        if body["code"] != *code {
            wrong.push(format!("{query}: not {code} but {body}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_a_host_call_costs_follows_from_its_arguments_alone() {
    let server = Server::with("[agents.hostile]\ncomponent = \"<hostile>\"\nlimits.host_calls = 100_000\n");
    let fuel = |query: &str| {
        let answer = server.call("hostile", query).expect(200);
        answer["receipt"]["fuel"].as_u64().expect("a number")
    };
    for query in ["poll-many 200", "stdout-flood 500 40", "stderr-flood 500 40", "log-flood 500 40", "stdin"]
    {
        assert_eq!(fuel(query), fuel(query), "{query}");
    }
    // A handle in a list costs what waiting for it does.
    let (few, many) = (fuel("poll-many 10"), fuel("poll-many 210"));
    assert!(many - few >= 200 * 300, "{few} {many}");
    // So does each byte of a text.
    let (short, long) = (fuel("log-flood 10 100"), fuel("log-flood 10 10100"));
    assert!(long - short >= 100_000, "{short} {long}");
}

#[test]
fn lines_without_end_are_counted_and_not_held() {
    let server = Server::with(
        "[agents.hostile]\ncomponent = \"<hostile>\"\n\
         limits = { fuel = 10_000_000_000, timeout = \"10m\", host_bytes = \"1 GiB\", log = \"4 KiB\" }\n",
    );
    let answer = server.call("hostile", "write-lines 1000000");
    answer.expect(200);
    let id = answer.header("x-request-id").expect("an id").to_owned();
    let said = server.log_lines("lines are left out", |line| {
        line["request"] == id.as_str()
            && line["message"].as_str().is_some_and(|text| text.contains("left out"))
    });
    assert!(said[0]["lines"].as_u64() >= Some(999_000), "{}", said[0]);
}

/// A host in this process, whose guests' threads a test can hold.
pub(crate) struct Held {
    pub(crate) host: Host,
    pub(crate) runtime: tokio::runtime::Runtime,
    _data: TempDir,
}

impl Held {
    pub(crate) fn new(settings: &str) -> Self {
        let runtime = tokio::runtime::Runtime::new().expect("a runtime");
        let data = tempfile::tempdir().expect("a folder");
        guests::warm(data.path());
        let text = guests::settings(settings);
        let mut config = config::parse(&text, "agents.toml", data.path(), &NoEnvironment).expect("settings");
        config.server.data_dir = data.path().to_owned();
        let host = runtime.block_on(async {
            let host = Host::new(config, Purpose::Ask).expect("a host");
            host.load_all().await;
            host
        });
        Self { host, runtime, _data: data }
    }

    /// Holds every thread for guests, spare ones too, until what it gives is dropped.
    fn hold(&self, threads: usize) -> Vec<mpsc::Sender<()>> {
        let mut holding = Vec::new();
        for _ in 0..threads {
            let (begun, has_begun) = mpsc::channel();
            let (let_go, go) = mpsc::channel::<()>();
            let guest = self.host.engine.spawn(async move {
                let _ = begun.send(());
                let _ = go.recv();
            });
            // Nobody waits for it, and it must not be cancelled.
            self.runtime.spawn(guest);
            has_begun.recv_timeout(LONG).expect("a thread takes it");
            holding.push(let_go);
        }
        holding
    }

    fn submission(query: &str) -> Submission {
        Submission {
            caller: Arc::new(Principal::operator("test")).into(),
            agent: "echo".to_owned(),
            query: Some(TaskText::parse(query).expect("a task")),
            context: None,
            alone: true,
            request_id: RequestId::from_random(1),
            timeout: None,
        }
    }

    fn load(&self) -> stockade::scheduler::AgentLoad {
        self.host.scheduler.load_of(&AgentKey {
            tenant: TenantId::default_tenant(),
            id: AgentId::parse("echo").expect("an id"),
        })
    }
}

#[test]
fn a_caller_does_not_wait_past_its_deadline_for_a_guest_that_gets_no_turn() {
    let held = Held::new(
        "engine.guest_threads = 1\n[agents.echo]\ncomponent = \"<echo>\"\nlimits.timeout = \"100ms\"\n",
    );
    // One thread and two spare ones.
    let holding = held.hold(3);
    let late = held.host.scheduler.submit(Held::submission("in time"));
    let late = held.runtime.block_on(async { tokio::time::timeout(LONG, late).await });
    let Outcome { result, receipt, guest_ran, .. } = late.expect("it is answered while the threads are held");
    assert!(matches!(result, Err(Failure::DeadlineExceeded { queued: true, .. })), "{result:?}");
    assert!(!guest_ran && !receipt.run_queue.is_zero() && receipt.wall.is_zero(), "{receipt:?}");
    // Its guest is not gone, so its permit is not free, and nothing is written down yet.
    let load = held.load();
    assert_eq!((load.running, load.errors), (1, 0), "{load:?}");
    drop(holding);
    poll_until("the guest goes", || (held.load().running == 0).then_some(()));
    let load = held.load();
    assert_eq!((load.errors, load.last_error), (1, Some("deadline_exceeded")), "{load:?}");
    let next = held.host.scheduler.submit(Held::submission("in time"));
    let next = held.runtime.block_on(next).result.expect("an answer");
    assert_eq!(next.response, "in time");
}

#[test]
fn a_call_that_is_left_before_its_first_turn_gives_its_permit_back_and_is_counted_once() {
    let held = Held::new("engine.guest_threads = 1\n[agents.echo]\ncomponent = \"<echo>\"\n");
    let holding = held.hold(3);
    let left = held.host.scheduler.submit(Held::submission("never"));
    let left = held.runtime.block_on(async { tokio::time::timeout(Duration::from_millis(20), left).await });
    assert!(left.is_err(), "no thread is free");
    drop(left);
    drop(holding);
    poll_until("the permit is back", || (held.load().running == 0).then_some(()));
    let load = held.load();
    assert_eq!((load.calls, load.errors), (1, 0), "it had its permit, and leaving is no error");
}

#[test]
fn versions_that_wait_in_their_trials_take_nothing_from_calls() {
    let start = Start::settings(
        "engine.max_instances = 1\nengine.trial_instances = 2\n[agents.echo]\ncomponent = \"<echo>\"\n",
    );
    let server = start.serve();
    let waiting = guests::storied(&json!({ "describe": "wait", "name": "waits" }));
    let answered = AtomicUsize::new(0);
    let register = &|number: usize| {
        let refused = register(&server, &json!({ "id": format!("waits-{number}") }), &waiting);
        answered.fetch_add(1, Ordering::Relaxed);
        refused
    };
    std::thread::scope(|scope| {
        let attackers: Vec<_> = (0..6).map(|number| scope.spawn(move || (*register)(number))).collect();
        let mut calls = 0;
        while calls < 50 || answered.load(Ordering::Relaxed) < attackers.len() {
            calls += 1;
            let answer = server.call("echo", &format!("call {calls}")).expect(200);
            let said = answer["response"].as_str().expect("a response");
            assert!(said.contains(&format!("call {calls}")), "{answer}");
        }
        for attacker in attackers {
            let refused = attacker.join().expect("an answer").expect_failure(422, "invalid_request");
            let said = refused["message"].as_str().expect("a message");
            assert!(said.contains("`describe` waited"), "{said}");
        }
    });
}

#[test]
fn one_agents_long_turns_take_no_more_of_anothers_time_than_one_agents_share() {
    let server = Server::with(
        "[agents.transcode]\ncomponent = \"<transcode>\"\nlimits.timeout = \"9s\"\n\
         [agents.hostile]\ncomponent = \"<hostile>\"\nlimits.timeout = \"6s\"\n",
    );
    std::thread::scope(|scope| {
        // Strings between two components cost next to no fuel: only the clock tells how long this takes.
        for _ in 0..48 {
            scope.spawn(|| server.call("transcode", "e").expect_failure(504, "deadline_exceeded"));
        }
        poll_until("all of them run", || (server.agent("transcode")["running"] == 48).then_some(()));
        // It has two thousand turns; behind 48 turns of others each, it would have no more than a few hundred.
        server.call("hostile", "busy 10").expect(200);
    });
}

#[test]
fn an_answer_that_is_far_too_large_is_not_held_while_its_guest_goes_on() {
    let server = Server::with("[agents.long]\ncomponent = \"<answers-at-length>\"\n");
    server.call("long", "anything").expect_failure(502, "output_too_large");
}

#[test]
fn two_agents_that_sleep_leave_room_for_the_calls_of_others() {
    let sleeper = "component = \"<hostile>\"\nlimits.timeout = \"10m\"\n";
    let server = Server::with(&format!(
        "[scheduler]\nmax_concurrent = 8\nqueue_timeout = \"2s\"\n[agents.a]\n{sleeper}[agents.b]\n{sleeper}\
         [agents.echo]\ncomponent = \"<echo>\"\n",
    ));
    let asleep: Vec<_> = (0..8)
        .map(|number| {
            let agent = ["a", "b"][number % 2];
            let body = json!({ "agent": agent, "query": "sleep 600000" });
            let mut connection = server.connect();
            let request = server.signed(Request::post("/orchestrator/execute", &body));
            connection.send(&request.bytes()).expect("the request is sent");
            connection
        })
        .collect();
    let load = |name: &str| {
        let agent = server.agent(name);
        ["running", "queued"].map(|key| agent[key].as_u64().expect("a number"))
    };
    poll_until("all have come", || {
        let all: u64 = ["a", "b"].into_iter().flat_map(load).sum();
        (all == 8).then_some(())
    });
    for _ in 0..20 {
        server.call("echo", "x").expect(200);
    }
    drop(asleep);
}
