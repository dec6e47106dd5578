//! agents.toml edited while a host serves: what takes effect at once, what says that it waits, and
//! that a file which is wrong changes nothing.

use std::fs;
use std::io::Write;

use serde_json::{Value, json};

use crate::support::fleet::{digest, key, plain};
use crate::support::{Fleet, Request, Server, poll_until};

const FIRST: &str = "key-of-the-first-0123456789abcdef0123";
const SECOND: &str = "key-of-the-second-0123456789abcdef012";
const ECHO: &str = "[agents.echo]\ncomponent = \"<echo>\"\n";
const HOSTILE: &str = "[agents.hostile]\ncomponent = \"<hostile>\"\n";

fn status_with(server: &Server, key: &str, agent: &str) -> u16 {
    let body = json!({ "agent": agent, "query": "x" });
    server.ask_plainly(Request::post("/orchestrator/execute", &body).key(key)).status
}

/// Waits until the log says so many times that settings were applied.
fn applied(server: &Server, times: usize) -> Value {
    poll_until("the settings are applied", || {
        let lines = server.log_lines("a change", |line| line["message"] == "settings applied");
        (lines.len() >= times).then(|| lines[times - 1].clone())
    })
}

#[test]
fn keys_come_and_go_and_their_scopes_change() {
    let first = key("first", FIRST, "scope = \"*\"\n");
    let fleet = Fleet::new(&format!("{first}{ECHO}{HOSTILE}"));
    let server = fleet.start().key(FIRST).serve();
    assert_eq!((status_with(&server, FIRST, "echo"), status_with(&server, SECOND, "echo")), (200, 401));
    let second = key("second", SECOND, "scope = [\"echo\"]\n");
    fleet.settings(&format!("{first}{second}{ECHO}{HOSTILE}"));
    poll_until("the second key opens", || (status_with(&server, SECOND, "echo") == 200).then_some(()));
    assert_eq!(status_with(&server, SECOND, "hostile"), 403);
    let wider = key("second", SECOND, "scope = [\"hostile\"]\n");
    fleet.settings(&format!("{first}{wider}{ECHO}{HOSTILE}"));
    poll_until("its scope is another", || (status_with(&server, SECOND, "hostile") == 422).then_some(()));
    assert_eq!(status_with(&server, SECOND, "echo"), 403);
    // An open connection is no way around it.
    let mut connection = server.connect();
    let body = json!({ "agent": "hostile", "query": "echo x" });
    let request = Request::post("/orchestrator/execute", &body).key(SECOND);
    connection.ask(&request).expect(200);
    fleet.settings(&format!("{first}{ECHO}{HOSTILE}"));
    poll_until("it is a key no more", || (status_with(&server, SECOND, "hostile") == 401).then_some(()));
    connection.ask(&request).expect_failure(401, "unauthorized");
    assert_eq!(status_with(&server, FIRST, "echo"), 200);
    // Without any key of the file, the host's own holds, and the log says where it is.
    fleet.settings(&format!("{ECHO}{HOSTILE}"));
    poll_until("the first is no key any more", || (status_with(&server, FIRST, "echo") == 401).then_some(()));
    let own = fs::read_to_string(fleet.data().join("admin.key")).expect("the host's own key");
    assert_eq!(status_with(&server, own.trim(), "echo"), 200);
    server.log_lines("where it is", |line| {
        line["level"] == "WARN" && line["file"].to_string().contains("admin.key")
    });
}

#[test]
fn agents_come_change_and_go() {
    let fleet = Fleet::new(ECHO);
    let server = fleet.serve();
    fleet.settings(&format!(
        "{ECHO}{HOSTILE}limits = {{ fuel = 3_000_000 }}\nconfig = {{ word = \"one\" }}\n"
    ));
    server.wait_for_page("hostile", "it is there", |page| page["status"] == "active");
    assert_eq!(server.call("hostile", "config word").expect(200)["response"], "one");
    server.call("hostile", "busy 1").expect_failure(502, "fuel_exhausted");
    let line = applied(&server, 1);
    assert_eq!(
        (&line["added"], &line["changed"], &line["removed"]),
        (&json!("hostile"), &json!(""), &json!(""))
    );
    // Its settings, each with the next call; its code is the same.
    let before = server.agent("hostile");
    fleet.settings(&format!(
        "{ECHO}{HOSTILE}name = \"H\"\ntriggers = [\"braise leeks\"]\ncategory = \"c\"\nconfig = {{ word = \"two\" }}\n"
    ));
    let page = server.wait_for_page("hostile", "it has its name", |page| page["name"] == "H");
    assert_eq!((&page["generation"], &page["digest"]), (&json!(2), &before["digest"]), "{page}");
    assert_eq!(server.call("hostile", "config word").expect(200)["response"], "two");
    server.call("hostile", "busy 1").expect(200);
    let routed = server.post("/orchestrator/route", &json!({ "task": "braise leeks" })).expect(200);
    assert_eq!(routed["agent"]["agent_id"], "hostile", "{routed}");
    // Words for people and tools are no other version.
    fleet.settings(&format!(
        "{ECHO}{HOSTILE}name = \"H\"\ntriggers = [\"braise leeks\"]\ncategory = \"c\"\nconfig = {{ word = \"two\" }}\ntags = [\"t\"]\n"
    ));
    let page = server.wait_for_page("hostile", "it has its tag", |page| page["tags"] == json!(["t"]));
    assert_eq!(page["generation"], 2);
    fleet.settings(HOSTILE);
    poll_until("echo is gone", || (server.call("echo", "x").status == 404).then_some(()));
    let list = server.get("/orchestrator/agents").expect(200);
    assert_eq!(list.as_array().map(Vec::len), Some(1), "{list}");
    let routed = server.post("/orchestrator/route", &json!({ "task": "echo, repeat after me" })).expect(200);
    assert_ne!(routed["agent"]["agent_id"], "echo", "the router forgot it: {routed}");
}

#[test]
fn an_agents_component_can_be_another_file() {
    let fleet = Fleet::new("[agents.a]\ncomponent = \"plugins/a.wasm\"\n");
    fleet.plugin("a", &plain(1));
    let b = fleet.plugin("b", &plain(2));
    let server = fleet.serve();
    fleet.settings("[agents.a]\ncomponent = \"plugins/b.wasm\"\n");
    assert_eq!(server.wait_for_digest("a", &b)["generation"], 2);
    // The new file is followed, the old one is not.
    fleet.plugin("a", &plain(3));
    let next = fleet.plugin("b", &plain(4));
    assert_eq!(server.wait_for_digest("a", &next)["generation"], 3);
    // One that is not there leaves what serves.
    fleet.settings("[agents.a]\ncomponent = \"plugins/c.wasm\"\n");
    let page = server.wait_for_failure("a", &["plugins/c.wasm", "is not there"]);
    assert_eq!((&page["status"], &page["digest"]), (&json!("active"), &json!(next)));
    let c = fleet.plugin("c", &plain(5));
    server.wait_for_digest("a", &c);
}

#[test]
fn limits_of_every_kind_hold_from_the_next_call_on() {
    let fleet = Fleet::new(HOSTILE);
    let server = fleet.serve();
    server.call("hostile", "memory-hold 8").expect(200);
    server.call("hostile", "huge-output 100000").expect(200);
    let limits = "limits = { memory = \"4 MiB\", output = \"10 KiB\", timeout = \"300ms\", host_bytes = \"10 KiB\" }\n";
    fleet.settings(&format!("[defaults]\n{limits}{HOSTILE}"));
    server.wait_for_page("hostile", "it has its limits", |page| page["limits"]["output_bytes"] == 10_240);
    server.call("hostile", "memory-hold 8").expect_failure(502, "memory_exhausted");
    server.call("hostile", "huge-output 100000").expect_failure(502, "output_too_large");
    server.call("hostile", "random 100000").expect_failure(502, "host_limit_exceeded");
    server.call("hostile", "sleep 60000").expect_failure(504, "deadline_exceeded");
    // An agent's own go before the defaults; one that was registered has the defaults, too.
    let guest = json!({ "id": "guest", "component": "hostile" });
    server.post("/api/agents", &guest).expect(201);
    server.call("guest", "huge-output 100000").expect_failure(502, "output_too_large");
    fleet.settings(&format!("{HOSTILE}limits = {{ output = \"20 KiB\" }}\n"));
    server.wait_for_page("hostile", "it has its own", |page| page["limits"]["output_bytes"] == 20_480);
    server.wait_for_page("guest", "it has the defaults", |page| page["limits"]["output_bytes"] != 10_240);
    server.call("guest", "huge-output 100000").expect(200);
    server.call("hostile", "huge-output 100000").expect_failure(502, "output_too_large");
    // A limit that the code cannot live with leaves what served before.
    fleet.settings(&format!("{HOSTILE}limits = {{ memory = \"64 KiB\" }}\n"));
    let page = server.wait_for_failure("hostile", &["limits.memory", "65536"]);
    assert_eq!(page["status"], "active");
    server.call("hostile", "echo x").expect(200);
}

#[test]
fn who_waits_gets_the_room_that_is_made() {
    let fleet = Fleet::new(&format!("{HOSTILE}max_concurrent = 1\nqueue = 1\n"));
    let server = fleet.serve();
    let begin = |query: &str| {
        let mut connection = server.connect();
        let body = json!({ "agent": "hostile", "query": query });
        let request = server.signed(Request::post("/orchestrator/execute", &body));
        connection.send(&request.bytes()).expect("the request is sent");
        connection
    };
    let running = begin("sleep 600000");
    server.wait_for_load("hostile", 1, 0);
    let mut waiting = begin("echo at last");
    server.wait_for_load("hostile", 1, 1);
    server.call("hostile", "echo x").expect_failure(503, "overloaded");
    fleet.settings(&format!("{HOSTILE}max_concurrent = 2\nqueue = 1\n"));
    let answer = waiting.answer(false).expect("an answer").expect(200);
    assert_eq!(answer["response"], "at last");
    server.wait_for_load("hostile", 1, 0);
    drop(running);
    server.wait_for_load("hostile", 0, 0);
    // The same for all agents together, of which one computes.
    let fuel = "limits = { fuel = 1_000_000_000_000, timeout = \"10m\" }\n";
    fleet.settings(&format!("[scheduler]\nmax_concurrent = 1\n{HOSTILE}{fuel}"));
    applied(&server, 2);
    let running = begin("loop");
    server.wait_for_load("hostile", 1, 0);
    let mut waiting = begin("echo at last");
    server.wait_for_load("hostile", 1, 1);
    fleet.settings(&format!("[scheduler]\nmax_concurrent = 8\n{HOSTILE}{fuel}"));
    waiting.answer(false).expect("an answer").expect(200);
    drop(running);
}

#[test]
fn the_servers_and_the_routers_own_settings_change_too() {
    let fleet = Fleet::new(ECHO);
    let server = fleet.serve();
    let route =
        || server.post("/orchestrator/route", &json!({ "task": "echo" })).expect(200)["status"].clone();
    assert_eq!(route(), "routed");
    fleet.settings(&format!(
        "[router]\nthreshold = 1.0\n[server]\nmax_batch = 2\nmax_body = \"1 KiB\"\n{ECHO}"
    ));
    poll_until("nothing is sure enough", || (route() == "no_match").then_some(()));
    let batch = |size: usize| server.post("/orchestrator/batch", &json!(vec!["echo"; size])).status;
    assert_eq!((batch(2), batch(3)), (200, 422));
    let long = "x".repeat(2_000);
    server.call("echo", &long).expect_failure(413, "body_too_large");
    fleet.settings(ECHO);
    poll_until("it is as before", || (route() == "routed").then_some(()));
    server.call("echo", &long).expect(200);
    assert_eq!(batch(3), 200);
}

#[test]
fn patience_changes_for_connections_that_are_open() {
    let fleet = Fleet::new(&format!(
        "[server]\nheader_timeout = \"1h\"\nidle_timeout = \"1h\"\ngrace_period = \"1h\"\n{HOSTILE}"
    ));
    let server = fleet.serve();
    let (mut idle, mut slow) = (server.connect(), server.connect());
    for connection in [&mut idle, &mut slow] {
        assert_eq!(connection.ask(&Request::get("/healthz")).status, 200);
    }
    fleet.settings(&format!(
        "[server]\nheader_timeout = \"300ms\"\nidle_timeout = \"300ms\"\ngrace_period = \"300ms\"\n{HOSTILE}limits.timeout = \"1h\"\n"
    ));
    applied(&server, 1);
    // The next head, and the next silence.
    slow.send(b"GET /healthz HTTP/1.1\r\nx-slow: ").expect("sent");
    let _ = slow.rest().map_err(|error| assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}"));
    assert_eq!(idle.ask(&Request::get("/healthz")).status, 200);
    assert_eq!(idle.rest().expect("the host closes"), b"");
    // The next shutdown.
    let mut running = server.connect();
    let body = json!({ "agent": "hostile", "query": "sleep 3000000" });
    running.send(&server.signed(Request::post("/orchestrator/execute", &body)).bytes()).expect("sent");
    server.wait_for_load("hostile", 1, 0);
    server.terminate();
    let (status, log) = server.ended();
    assert_eq!(status.code(), Some(1), "{log}");
}

#[test]
fn what_needs_a_restart_says_so_and_the_rest_is_applied() {
    let (data, elsewhere) = (fleet_data("data"), fleet_data("elsewhere"));
    let fleet = Fleet::new(&format!("{data}{ECHO}"));
    let server = fleet.start().data_in_settings().serve();
    let guest = |id: &str| json!({ "id": id, "component": "echo" });
    server.post("/api/agents", &guest("before")).expect(201);
    fleet.settings(&format!(
        "{elsewhere}max_connections = 7\n[engine]\nguest_threads = 1\nfuel_yield_interval = 50_000\n[reload]\nwatch = false\n\
         {ECHO}name = \"Renamed\"\n"
    ));
    let lines = server.log_lines("what waits", |line| line["message"] == "settings wait for a restart");
    let keys = lines[0]["keys"].as_str().expect("keys");
    for key in ["server.data_dir", "engine.guest_threads", "engine.fuel_yield_interval", "reload.watch"] {
        assert!(keys.contains(key), "`{key}` is not in {keys}");
    }
    assert_eq!(server.agent("echo")["name"], "Renamed");
    // It is still watched: until the restart, what held holds.
    fleet.settings(&format!("{elsewhere}[engine]\nguest_threads = 1\n{ECHO}name = \"Again\"\n"));
    server.wait_for_page("echo", "it has its name", |page| page["name"] == "Again");
    // What is registered goes where it went, and who was registered stays who it was.
    server.post("/api/agents", &guest("after")).expect(201);
    for id in ["before", "after"] {
        assert_eq!(server.call(id, "x").expect(200)["agent_generation"], 1);
    }
    assert!(!fleet.path("elsewhere").exists());
    drop(server);
    let fresh = fleet.start().data_at("elsewhere").data_in_settings().serve();
    assert!(fleet.path("elsewhere/registry.db").exists());
    assert_eq!(fresh.get("/orchestrator/agents/before").status, 404);
}

/// Settings of a data folder beside agents.toml; more of `[server]` may follow.
fn fleet_data(name: &str) -> String {
    format!("[server]\ndata_dir = \"{name}\"\n")
}

#[test]
fn half_a_file_that_would_be_right_is_not_heard_until_it_is_whole() {
    let fleet = Fleet::new(&format!("{ECHO}{HOSTILE}"));
    let server = fleet.serve();
    let whole = |name: &str| {
        let settings = crate::support::guests::settings(&format!("{ECHO}name = \"{name}\"\n{HOSTILE}"));
        let at = settings.find("[agents.hostile]").expect("the second agent");
        (settings[..at].to_owned(), settings[at..].to_owned())
    };
    for (round, name) in ["One", "Two"].into_iter().enumerate() {
        let (first, rest) = whole(name);
        let mut file = fs::File::create(fleet.path("agents.toml")).expect("the file is emptied");
        file.write_all(first.as_bytes()).expect("the first half");
        file.sync_all().expect("it is there");
        // A writer that takes longer than the pause after which a file counts as complete.
        let begin = std::time::Instant::now();
        while begin.elapsed() < std::time::Duration::from_millis(1_500) {
            assert_ne!(server.agent("echo")["name"], name, "half a file was applied");
            server.call("hostile", "echo x").expect(200);
        }
        file.write_all(rest.as_bytes()).expect("the rest");
        drop(file);
        server.wait_for_page("echo", "the whole file is applied", |page| page["name"] == name);
        assert_eq!(applied(&server, round + 1)["removed"], "");
        assert_eq!(server.call("hostile", "echo x").expect(200)["agent_generation"], 1);
    }
}

#[test]
fn a_file_that_is_wrong_changes_nothing() {
    let fleet = Fleet::new(&format!("{ECHO}name = \"Before\"\n"));
    let server = fleet.serve();
    let not_applied = |words: &[&str]| {
        server.log_lines(&format!("the log says {words:?}"), |line| {
            let reason = line["reason"].as_str().unwrap_or_default();
            line["event"] == "settings.rejected" && words.iter().all(|word| reason.contains(word))
        });
        assert_eq!(server.agent("echo")["name"], "Before");
        server.call("echo", "x").expect(200);
    };
    fleet.settings("[agents.echo\n");
    not_applied(&["agents.toml:1"]);
    // Everything that is wrong, at once, with the nearest known word.
    fleet.settings(&format!("[server]\nmax_batch = 0\n{ECHO}trigers = []\nlimits = {{ fuel = -1 }}\n"));
    not_applied(&["max_batch", "did you mean `triggers`", "limits.fuel"]);
    fleet.settings("[agents.Echo]\ncomponent = \"<echo>\"\n");
    not_applied(&["Echo"]);
    // Keys that the address does not allow.
    let weak = key("weak", "short", "scope = \"*\"\nrole = \"nobody\"\n");
    fleet.settings(&format!("{weak}{ECHO}"));
    not_applied(&["role"]);
    // A file that an editor has emptied, and one that is gone.
    fleet.settings("");
    not_applied(&["the file is empty"]);
    fs::remove_file(fleet.path("agents.toml")).expect("it goes");
    not_applied(&["agents.toml"]);
    // One that is right is all that is needed.
    fleet.settings(&format!("{ECHO}name = \"After\"\n"));
    server.wait_for_page("echo", "it has its name", |page| page["name"] == "After");
    // A comment is no change.
    let lines = || server.log_lines("applied", |line| line["message"] == "settings applied").len();
    let before = lines();
    fleet.settings(&format!("# a comment\n{ECHO}name = \"After\"\n"));
    fleet.settings(&format!("{ECHO}name = \"Last\"\n"));
    server.wait_for_page("echo", "it has its name", |page| page["name"] == "Last");
    poll_until("one change is applied", || (lines() - before == 1).then_some(()));
    assert_eq!(server.agent("echo")["generation"], 3);
}

#[test]
fn an_agent_that_goes_while_its_component_is_loaded_does_not_come_back() {
    let slow = "[agents.slow]\ncomponent = \"plugins/slow.wasm\"\n";
    let fleet = Fleet::new(&format!("{ECHO}{slow}"));
    fleet.plugin("slow", &plain(1));
    let server = fleet.serve();
    let hangs = fs::read(crate::support::guests::text("describe-hangs")).expect("a component");
    for round in 0..4 {
        // Its `describe` takes a second to be given up.
        fleet.plugin("slow", &hangs);
        fleet.settings(ECHO);
        poll_until("it is gone", || (server.call("slow", "x").status == 404).then_some(()));
        fleet.plugin("slow", &plain(10 + round));
        fleet.settings(&format!("{ECHO}{slow}name = \"Round {round}\"\n"));
        let page = server.wait_for_digest("slow", &digest(&plain(10 + round)));
        assert_eq!(page["name"], format!("Round {round}"));
        server.call("slow", "x").expect(200);
        server.call("echo", "x").expect(200);
    }
}

#[test]
fn plugins_and_settings_that_are_saved_at_the_same_moment_end_as_they_were_saved_last() {
    let one =
        |number: usize| format!("[agents.a]\ncomponent = \"plugins/a.wasm\"\nname = \"Number {number}\"\n");
    let fleet = Fleet::new(&one(0));
    fleet.plugin("a", &plain(0));
    let server = fleet.serve();
    let mut generation = 1;
    for round in 1..=15_u8 {
        let component = plain(round);
        std::thread::scope(|scope| {
            scope.spawn(|| fs::write(fleet.path("plugins/a.wasm"), &component).expect("a file"));
            scope.spawn(|| fs::write(fleet.path("agents.toml"), one(round.into())).expect("a file"));
        });
        let name = format!("Number {round}");
        let page = server.wait_for_page("a", "both are taken up", |page| {
            page["digest"] == digest(&component) && page["name"] == name
        });
        let now = page["generation"].as_u64().expect("a generation");
        assert!(now > generation && now <= generation + 2, "{generation} and then {now}");
        generation = now;
    }
}
