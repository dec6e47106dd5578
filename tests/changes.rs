//! Changes that overlap or wait: code and settings that wait as one, rights that are withdrawn while
//! something loads or queues, an operator's word against what was begun before it, and whose faults
//! take a version back.

use serde_json::{Value, json};

use crate::registering::register;
use crate::support::fleet::{self, digest, failing, of_category, plain, variant, wanting};
use crate::support::{Connection, Fleet, Reply, Request, Server, guests, poll_until};

const ADMIN: &str = "key-of-an-admin-0123456789abcdef0123";
const ONE: &str = "key-one-0123456789abcdef0123456789ab";
const TWO: &str = "key-two-0123456789abcdef0123456789ab";

/// A key for every agent.
fn key(name: &str, secret: &str, more: &str) -> String {
    fleet::key(name, secret, &format!("scope = \"*\"\n{more}"))
}

fn admin() -> String {
    key("admin", ADMIN, "role = \"admin\"\n")
}

fn approve(server: &Server, agent: &str, digest: &str) -> Reply {
    server.post(&format!("/api/agents/{agent}/approve"), &json!({ "digest": digest }))
}

fn roll_back(server: &Server, agent: &str) -> Reply {
    server.ask(Request::new("POST", &format!("/api/agents/{agent}/rollback")))
}

/// Replaces a registered agent by one with this component, which is here already.
fn put(server: &Server, agent: &str, settings: Value) -> Reply {
    let request = Request::new("PUT", &format!("/api/agents/{agent}"));
    server.ask(request.header("content-type", "application/json").body(settings.to_string()))
}

fn task(agent: &str, query: &str) -> Request {
    Request::post("/orchestrator/execute", &json!({ "agent": agent, "query": query }))
}

/// Sends a call with this key and does not wait for its answer.
fn begin(server: &Server, secret: &str, agent: &str, query: &str) -> Connection {
    let mut connection = server.connect();
    connection.send(&task(agent, query).key(secret).bytes()).expect("the request is sent");
    connection
}

/// Calls `agent` so many times with this key; how often it failed through the code's own fault.
fn call_with(server: &Server, secret: &str, agent: &str, calls: usize) -> usize {
    let mut connection = server.connect();
    let request = task(agent, "x").key(secret);
    (0..calls).filter(|_| connection.ask(&request).status == 502).count()
}

#[test]
fn a_version_that_is_taken_back_while_it_is_described_anew_stays_out() {
    // Others describe themselves at the same time on the one thread there is: it takes a while.
    let settings = |memory: &str, name: &str| {
        let mut text = "[engine]\nguest_threads = 1\n".to_owned();
        text += &format!("[agents.fast]\ncomponent = \"plugins/fast.wasm\"\nname = \"{name}\"\n");
        for agent in ["a", "s1", "s2", "s3", "s4", "s5", "s6"] {
            text += &format!("[agents.{agent}]\ncomponent = \"plugins/{agent}.wasm\"\n");
            text += &format!("limits.memory = \"{memory}\"\n");
        }
        text
    };
    let slow = |number: u8| variant(&guests::text("describe-slow"), number);
    let fleet = Fleet::new(&settings("16 MiB", "First"));
    let first = fleet.plugin("a", &plain(1));
    fleet.plugin("fast", &plain(2));
    for number in 1..=6 {
        fleet.plugin(&format!("s{number}"), &slow(number));
    }
    let server = fleet.serve();
    let second = fleet.plugin("a", &slow(7));
    server.wait_for_digest("a", &second);
    // What its file holds waits, so that other limits are for what serves: it describes itself again.
    let waits = fleet.plugin("a", &wanting(3));
    server.wait_for_pending("a", &waits);
    fleet.settings(&settings("17 MiB", "Second"));
    server.wait_for_page("fast", "the settings are being applied", |page| page["name"] == "Second");
    let page = roll_back(&server, "a").expect(200);
    assert_eq!(page["digest"], first, "{page}");
    let check = |page: &Value| {
        assert_eq!(page["digest"], first, "what was taken back serves again: {page}");
        assert_eq!(page["blocked"][0]["digest"], second, "{page}");
        assert_eq!(page["pending"]["digest"], waits, "{page}");
    };
    server.log_lines("they are applied", |line| line["message"] == "settings applied");
    let limit = 17 * 1024 * 1024;
    check(&server.wait_for_page("a", "it has its limits", |page| page["limits"]["memory_bytes"] == limit));
    drop(server);
    check(&fleet.serve().agent("a"));
}

#[test]
fn what_is_put_and_waits_changes_nothing_until_it_is_let_in() {
    let fleet = Fleet::new("[agents.named]\ncomponent = \"<echo>\"\n");
    let server = fleet.serve();
    for (id, component) in [("one", plain(1)), ("two", wanting(2)), ("three", wanting(3))] {
        register(&server, &json!({ "id": id }), &component).expect(201);
    }
    let settings = |component: &[u8], name: &str, fuel: u64| json!({ "component": digest(component), "name": name, "limits": { "fuel": fuel } });
    put(&server, "guest", settings(&plain(1), "First", 1_000_000)).expect(201);
    let same = |server: &Server| {
        let page = server.agent("guest");
        assert_eq!((&page["name"], &page["generation"]), (&json!("First"), &json!(1)), "{page}");
        assert_eq!(
            (&page["limits"]["fuel"], &page["digest"]),
            (&json!(1_000_000), &json!(digest(&plain(1))))
        );
        page
    };
    let waits = put(&server, "guest", settings(&wanting(2), "Second", 2_000_000)).expect(202);
    assert_eq!(waits["pending"]["settings"], true, "{waits}");
    same(&server);
    drop(server);
    let server = fleet.serve();
    assert_eq!(same(&server)["pending"]["digest"], digest(&wanting(2)));
    // The next one takes its place, and the operator's word is for what they have seen.
    put(&server, "guest", settings(&wanting(3), "Third", 500_000_000)).expect(202);
    let refused = approve(&server, "guest", &digest(&wanting(2))).expect_failure(409, "conflict");
    for digest in [digest(&wanting(2)), digest(&wanting(3))] {
        assert!(refused["message"].to_string().contains(&digest), "{refused}");
    }
    same(&server);
    drop(server);
    let server = fleet.serve();
    same(&server);
    let check = |page: Value| {
        assert_eq!((&page["name"], &page["generation"]), (&json!("Third"), &json!(2)), "{page}");
        assert_eq!(
            (&page["limits"]["fuel"], &page["pending"]),
            (&json!(500_000_000), &Value::Null),
            "{page}"
        );
        assert_eq!((&page["digest"], &page["grants"]["system"]), (&json!(digest(&wanting(3))), &json!(true)));
    };
    check(approve(&server, "guest", &digest(&wanting(3))).expect(200));
    drop(server);
    check(fleet.serve().agent("guest"));
}

#[test]
fn settings_of_the_file_wait_with_the_code_that_they_came_with() {
    let settings = |component: &str, name: &str| {
        format!("[agents.a]\ncomponent = \"plugins/{component}.wasm\"\nname = \"{name}\"\n")
    };
    let fleet = Fleet::new(&settings("a", "First"));
    let first = fleet.plugin("a", &plain(1));
    let second = fleet.plugin("b", &wanting(2));
    let server = fleet.serve();
    fleet.settings(&settings("b", "Second"));
    let same = |server: &Server| {
        let page = server.wait_for_pending("a", &second);
        assert_eq!((&page["name"], &page["generation"]), (&json!("First"), &json!(1)), "{page}");
        assert_eq!((&page["digest"], &page["pending"]["settings"]), (&json!(first), &json!(true)), "{page}");
    };
    same(&server);
    drop(server);
    let server = fleet.serve();
    same(&server);
    // They go on waiting with what takes their place.
    fleet.settings(&settings("b", "Third"));
    server.log_lines("the settings are read", |line| line["message"] == "settings applied");
    same(&server);
    let page = approve(&server, "a", &second).expect(200);
    assert_eq!((&page["name"], &page["generation"]), (&json!("Third"), &json!(2)), "{page}");
    drop(server);
    let server = fleet.serve();
    let page = server.agent("a");
    assert_eq!((&page["name"], &page["generation"]), (&json!("Third"), &json!(2)), "{page}");
    // Code that cannot be loaded keeps its settings to itself as well.
    fleet.plugin("c", b"this is no component");
    fleet.settings(&settings("c", "Fourth"));
    let page = server.wait_for_failure("a", &["not WebAssembly"]);
    assert_eq!((&page["name"], &page["generation"]), (&json!("Third"), &json!(2)), "{page}");
    let third = fleet.plugin("c", &wanting(4));
    let page = server.wait_for_digest("a", &third);
    assert_eq!((&page["name"], &page["generation"]), (&json!("Fourth"), &json!(3)), "{page}");
}

#[test]
fn a_wider_policy_waits_with_the_code_that_it_came_with_and_a_narrower_one_does_not() {
    let settings = |component: &str, figures: &str| {
        format!("[agents.a]\ncomponent = \"plugins/{component}.wasm\"\ngrants.system.figures = {figures}\n")
    };
    let fleet = Fleet::new(&settings("a", r#"["machine", "memory"]"#));
    let first = fleet.plugin("a", &wanting(1));
    let second = fleet.plugin("b", &of_category("elsewhere", 2));
    let server = fleet.serve();
    let grants = |figures: Value| json!({ "system": { "figures": figures } });
    fleet.settings(&settings("b", r#"["load", "memory"]"#));
    let page = server.wait_for_pending("a", &second);
    assert_eq!((&page["digest"], &page["grants"]), (&json!(first), &grants(json!(["memory"]))), "{page}");
    drop(server);
    let server = fleet.serve();
    let page = server.wait_for_pending("a", &second);
    assert_eq!((&page["digest"], &page["grants"]), (&json!(first), &grants(json!(["memory"]))), "{page}");
    // With the code that it was for before, it is for that.
    fleet.settings(&settings("a", r#"["load", "memory"]"#));
    let wider = grants(json!(["load", "memory"]));
    server.wait_for_page("a", "it is granted", |page| page["grants"] == wider);
}

#[test]
fn rights_are_withdrawn_while_everything_else_still_loads() {
    let settings = |keys: &str, grants: &str, more: &str| {
        format!(
            "[engine]\ncompile_jobs = 1\n{}{keys}[agents.a]\ncomponent = \"plugins/z.wasm\"\n{grants}{more}",
            admin()
        )
    };
    let granted = "grants = { system = true }\n";
    let one = key("one", ONE, "");
    let fleet = Fleet::new(&settings(&one, granted, ""));
    // Whoever reads files in their order comes to it last.
    fleet.plugin("z", &wanting(1));
    let mut slow = String::new();
    for number in 0..6 {
        fleet.plugin(&format!("slow-{number}"), &wanting(100 + number));
        slow += &format!("[agents.slow-{number}]\ncomponent = \"plugins/slow-{number}.wasm\"\n");
    }
    let server = fleet.start().key(ADMIN).serve();
    assert_eq!(server.call("a", "system memory").expect(200)["data"]["outcome"], "granted");
    let loading = || {
        let agents = server.get("/orchestrator/agents").expect(200);
        agents.as_array().into_iter().flatten().filter(|agent| agent["status"] == "loading").count()
    };
    // A grant, behind what the same edit has to compile.
    fleet.settings(&settings(&one, "", &slow));
    let page = server.wait_for_page("a", "it is withdrawn", |page| page["grants"]["system"] == false);
    assert!(loading() > 0, "it waited until everything was loaded: {page}");
    assert_eq!(server.call("a", "system memory").expect(200)["data"]["outcome"], "denied");
    // A key, and an agent, behind what the edit before has to compile.
    let fewer = slow.split("[agents.slow-5]").next().unwrap_or_default().to_owned();
    fleet.settings(&settings("", "", &fewer));
    poll_until("the key is withdrawn", || {
        let reply = server.ask_plainly(task("a", "echo").key(ONE));
        (reply.status == 401).then_some(())
    });
    assert!(loading() > 0, "it waited until everything was loaded");
    poll_until("the agent is gone", || {
        (server.get("/orchestrator/agents/slow-5").status == 404).then_some(())
    });
}

#[test]
fn what_waits_in_a_queue_runs_with_what_its_key_and_its_agent_may_then() {
    let settings = |keys: &str, grants: &str| {
        format!(
            "{}{keys}[agents.a]\ncomponent = \"<hostile>\"\nmax_concurrent = 1\nqueue = 9\n{grants}",
            admin()
        )
    };
    let granted = "grants = { system = true }\n";
    let both = format!("{}{}", key("one", ONE, ""), key("two", TWO, ""));
    let fleet = Fleet::new(&settings(&both, granted));
    let server = fleet.start().key(ADMIN).serve();
    let running = begin(&server, ADMIN, "a", "sleep 600000");
    server.wait_for_load("a", 1, 0);
    let mut revoked = begin(&server, ONE, "a", "echo never");
    server.wait_for_load("a", 1, 1);
    let mut fewer = begin(&server, TWO, "a", "system memory");
    server.wait_for_load("a", 1, 2);
    fleet.settings(&settings(&key("two", TWO, "capabilities = []\n"), granted));
    poll_until("the key is withdrawn", || {
        (server.ask_plainly(Request::get("/orchestrator/agents").key(ONE)).status == 401).then_some(())
    });
    drop(running);
    let refused = revoked.answer(false).expect("an answer").expect_failure(401, "unauthorized");
    assert!(refused["message"].to_string().contains("does not hold"), "{refused}");
    let lent = fewer.answer(false).expect("an answer").expect(200);
    assert_eq!(lent["data"]["outcome"], "denied", "{lent}");
    let ended = server.log_lines("a task has ended", |line| line["message"] == "task ended");
    assert!(ended.iter().all(|line| line["key"] != "one"), "what came with the key ran: {ended:?}");
    assert_eq!(server.agent("a")["calls"], 2, "the one that ran, and the other key's");
    // The same for a grant of the agent.
    let running = begin(&server, ADMIN, "a", "sleep 600000");
    server.wait_for_load("a", 1, 0);
    let mut queued = begin(&server, ADMIN, "a", "system memory");
    server.wait_for_load("a", 1, 1);
    fleet.settings(&settings(&both, ""));
    server.wait_for_page("a", "it is withdrawn", |page| page["grants"]["system"] == false);
    drop(running);
    let answer = queued.answer(false).expect("an answer").expect(200);
    assert_eq!(answer["data"]["outcome"], "denied", "{answer}");
}

#[test]
fn approvals_and_rollbacks_name_what_was_seen() {
    let fleet = Fleet::new("[agents.a]\ncomponent = \"plugins/a.wasm\"\n");
    let first = fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    let second = fleet.plugin("a", &plain(2));
    server.wait_for_digest("a", &second);
    let third = fleet.plugin("a", &wanting(3));
    server.wait_for_pending("a", &third);
    let target = "/api/agents/a/approve";
    for request in [Request::new("POST", target), Request::post(target, &json!({}))] {
        let refused = server.ask(request).expect_failure(422, "invalid_request");
        assert!(refused["message"].to_string().contains("`digest`"), "{refused}");
    }
    for wrong in [json!({ "digest": "abc" }), json!({ "digest": 5 })] {
        let refused = server.post(target, &wrong).expect_failure(422, "invalid_request");
        assert!(refused["message"].to_string().contains("digest"), "{refused}");
    }
    let conflict = |reply: Reply, words: &[&str]| {
        let refused = reply.expect_failure(409, "conflict");
        for word in words {
            assert!(refused["message"].to_string().contains(word), "`{word}` is not in {refused}");
        }
    };
    conflict(approve(&server, "a", &first), &[&first, &third]);
    let other = fleet.command(&server, &["approve", "a", "--digest", &first]);
    assert!(other.err.contains(&third), "{other:?}");
    other.expect(1);
    let said = fleet.command(&server, &["approve", "a", "--digest", &third[..12], "--yes"]);
    assert!(said.err.contains("wants    system") && said.err.contains(&third[..12]), "{said:?}");
    assert!(said.expect(0).contains("generation 3"));
    conflict(approve(&server, "a", &third), &["nothing of agent `a` waits"]);
    // Back by name, over what came between.
    let back = |to: &str| server.post("/api/agents/a/rollback", &json!({ "to": to }));
    conflict(back(&third), &[&third, "no earlier version", "serves now"]);
    server.post("/api/agents/a/rollback", &json!({ "to": "x" })).expect_failure(422, "invalid_request");
    let said = fleet.command(&server, &["rollback", "a", "--to", &first[..12], "--yes"]);
    assert!(said.err.contains(&third[..12]) && said.err.contains(&first[..12]), "{said:?}");
    said.expect(0);
    let page = server.agent("a");
    assert_eq!((&page["digest"], &page["previous"]), (&json!(first), &json!([])), "{page}");
    conflict(back(&second), &[&second, &first]);
}

#[test]
fn an_approval_of_an_older_version_holds_through_restarts() {
    let fleet = Fleet::new("[agents.a]\ncomponent = \"plugins/a.wasm\"\n");
    fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    let second = fleet.plugin("a", &plain(2));
    server.wait_for_digest("a", &second);
    roll_back(&server, "a").expect(200);
    let third = fleet.plugin("a", &plain(3));
    server.wait_for_digest("a", &third);
    assert_eq!(approve(&server, "a", &second).expect(200)["digest"], second);
    drop(server);
    for _ in 0..2 {
        fleet.plugin("a", &plain(3));
        let server = fleet.serve();
        let page = server.wait_for_failure("a", &["was taken back", "an operator let"]);
        assert_eq!((&page["digest"], &page["generation"]), (&json!(second), &json!(5)), "{page}");
    }
    let server = fleet.serve();
    let fourth = fleet.plugin("a", &plain(4));
    server.wait_for_digest("a", &fourth);
}

#[test]
fn one_caller_of_several_takes_nothing_back() {
    let settings = format!(
        "{}{}{}[reload]\nrollback_calls = 8\n[agents.a]\ncomponent = \"plugins/a.wasm\"\n",
        admin(),
        key("one", ONE, ""),
        key("two", TWO, "")
    );
    let fleet = Fleet::new(&settings);
    let first = fleet.plugin("a", &plain(1));
    let server = fleet.start().key(ADMIN).serve();
    assert_eq!(call_with(&server, ONE, "a", 3) + call_with(&server, TWO, "a", 3), 0);
    let second = fleet.plugin("a", &failing(2));
    server.wait_for_digest("a", &second);
    assert_eq!(call_with(&server, ONE, "a", 50), 50);
    assert_eq!(server.agent("a")["digest"], second, "one caller has taken it back");
    call_with(&server, TWO, "a", 4);
    let page = server.wait_for_digest("a", &first);
    let reason = page["blocked"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("for 2 callers"), "{reason}");
}

#[test]
fn a_trial_goes_on_after_a_restart() {
    let fleet = Fleet::new(
        "[reload]\nrollback_calls = 4\nrollback_error_rate = 0.5\n[agents.a]\ncomponent = \"plugins/a.wasm\"\n",
    );
    let first = fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    let second = fleet.plugin("a", &failing(2));
    server.wait_for_digest("a", &second);
    assert_eq!(server.call_often("a", "x", 1), 1);
    server.terminate();
    let (status, _) = server.ended();
    assert!(status.success(), "{status}");
    let server = fleet.serve();
    assert_eq!(server.agent("a")["digest"], second);
    assert_eq!(server.call_often("a", "x", 1), 1);
    let page = server.wait_for_digest("a", &first);
    assert_eq!(page["blocked"][0]["digest"], second, "{page}");
}

#[test]
fn an_approval_with_a_stamp_lets_in_no_other_settings_than_were_seen() {
    let fleet = Fleet::new("");
    let server = fleet.serve();
    let put = |settings: Value, component: &[u8]| {
        server.ask(Request::multipart("PUT", "/api/agents/a", &settings, component))
    };
    put(json!({}), &plain(1)).expect(201);
    let seen = put(json!({ "description": "modest" }), &wanting(2)).expect(202)["pending"].clone();
    // The same code comes again, and asks for more.
    let more = json!({ "description": "more", "limits": { "fuel": 777_000_000 } });
    let now = put(more, &wanting(2)).expect(202)["pending"].clone();
    assert_eq!(seen["digest"], now["digest"]);
    let approve = |pending: &Value| {
        let body = json!({ "digest": pending["digest"], "stamp": pending["stamp"] });
        server.post("/api/agents/a/approve", &body)
    };
    let refused = approve(&seen).expect_failure(409, "conflict");
    assert!(refused["message"].to_string().contains("other settings"), "{refused}");
    assert_eq!(server.agent("a")["digest"], digest(&plain(1)));
    // The command line names what it has shown.
    fleet.command(&server, &["approve", "a", "--yes"]).expect(0);
    let page = server.agent("a");
    assert_eq!((&page["description"], &page["pending"]), (&json!("more"), &Value::Null));
    approve(&now).expect_failure(409, "conflict");
}

#[test]
fn what_is_put_while_agents_toml_names_the_agent_takes_nothing_from_the_file() {
    let settings = |more: &str| format!("[engine]\nguest_threads = 1\n{more}");
    let fleet = Fleet::new(&settings(""));
    let server = fleet.serve();
    let put = Request::multipart("PUT", "/api/agents/a", &json!({ "name": "First" }), &plain(1));
    server.ask(put).expect(201);
    // Others describe themselves at the same time on the one thread there is: it takes a while.
    let slow = |id: &str, number: u8| {
        let code = variant(&guests::text("describe-slow"), number);
        let request =
            Request::multipart("PUT", &format!("/api/agents/{id}"), &json!({ "name": "Put" }), &code);
        let mut connection = server.connect();
        connection.send(&server.signed(request).bytes()).expect("sent");
        connection
    };
    let mut beside: Vec<Connection> = (1..=5).map(|number| slow(&format!("s{number}"), number)).collect();
    let mut late = slow("a", 6);
    // Its file is not there yet: what it served before serves on.
    fleet.settings(&settings("[agents.a]\ncomponent = \"plugins/a.wasm\"\nname = \"Named\"\n"));
    let named = |page: &Value| page["registered"] == false;
    server.wait_for_page("a", "the file names it", named);
    late.answer(false).expect("an answer").expect_failure(409, "conflict");
    for connection in &mut beside {
        connection.answer(false).expect("an answer").expect(201);
    }
    let page = server.agent("a");
    assert_eq!((&page["name"], &page["registered"]), (&json!("First"), &json!(false)), "{page}");
    let of_the_file = fleet.plugin("a", &plain(9));
    let page = server.wait_for_digest("a", &of_the_file);
    assert_eq!((&page["name"], &page["registered"]), (&json!("Named"), &json!(false)), "{page}");
}
