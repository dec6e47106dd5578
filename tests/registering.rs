//! Agents that come and go over HTTP: what is taken, what is refused and how, and what is there
//! after a restart.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::fleet::{digest, failing, key, plain, wanting};
use crate::support::{Fleet, Reply, Request, Server, guests, poll_until, wire};

const FILE: &str = "[agents.named]\ncomponent = \"<echo>\"\n";

pub(crate) fn register(server: &Server, settings: &Value, component: &[u8]) -> Reply {
    server.ask(Request::multipart("POST", "/api/agents", settings, component))
}

fn replace(server: &Server, id: &str, settings: &Value, component: &[u8]) -> Reply {
    server.ask(Request::multipart("PUT", &format!("/api/agents/{id}"), settings, component))
}

fn remove(server: &Server, id: &str) -> Reply {
    server.ask(Request::new("DELETE", &format!("/api/agents/{id}")))
}

#[test]
fn an_agent_is_registered_replaced_and_removed_and_kept_through_crashes() {
    let fleet = Fleet::new(FILE);
    let server = fleet.serve();
    let settings = json!({
        "id": "guest", "name": "A guest", "triggers": ["visit"], "tags": ["new"],
        "limits": { "fuel": 5_000_000 }, "config": { "word": "w" },
    });
    let page = register(&server, &settings, &plain(1)).expect(201);
    for (field, value) in [
        ("id", json!("guest")),
        ("name", json!("A guest")),
        ("status", json!("active")),
        ("registered", json!(true)),
        ("generation", json!(1)),
        ("digest", json!(digest(&plain(1)))),
        ("triggers", json!(["visit"])),
        ("tags", json!(["new"])),
    ] {
        assert_eq!(page[field], value, "{field}: {page}");
    }
    assert_eq!(page["limits"]["fuel"], 5_000_000);
    assert_eq!(server.agent("named")["registered"], false);
    assert_eq!(server.call("guest", "x").expect(200)["agent_generation"], 1);
    let routed = server.post("/orchestrator/route", &json!({ "task": "I come to visit" })).expect(200);
    assert!(routed.to_string().contains("\"agent_id\":\"guest\""), "the router knows it: {routed}");
    drop(server);
    let server = fleet.serve();
    let again = server.agent("guest");
    for field in ["name", "registered", "generation", "digest", "loaded_at", "triggers", "tags", "limits"] {
        assert_eq!(again[field], page[field], "{field}");
    }
    // Another version, with other settings: settings that are left out are as if they had never been set.
    let page = replace(&server, "guest", &json!({ "name": "Other" }), &plain(2)).expect(200);
    assert_eq!((&page["generation"], &page["name"], &page["tags"]), (&json!(2), &json!("Other"), &json!([])));
    assert_eq!(page["previous"][0]["generation"], 1);
    // The same again changes nothing.
    let page = replace(&server, "guest", &json!({ "name": "Other" }), &plain(2)).expect(200);
    assert_eq!(page["generation"], 2);
    // By the digest of what is here, and by an agent: another one with the same code.
    let by_digest = json!({ "id": "second", "component": digest(&plain(1)) });
    let page = server.post("/api/agents", &by_digest).expect(201);
    assert_eq!(page["digest"], digest(&plain(1)));
    let by_agent = json!({ "component": "guest" });
    let put = Request::new("PUT", "/api/agents/third").header("content-type", "application/json");
    let page = server.ask(put.body(by_agent.to_string())).expect(201);
    assert_eq!(page["digest"], digest(&plain(2)));
    // Gone is gone, through a crash too; and who comes back counts on.
    assert_eq!(remove(&server, "guest").expect(200), json!({ "removed": "guest" }));
    server.call("guest", "x").expect_failure(404, "agent_not_found");
    remove(&server, "guest").expect_failure(404, "agent_not_found");
    drop(server);
    let server = fleet.serve();
    assert_eq!(server.get("/orchestrator/agents/guest").status, 404);
    server.call("second", "x").expect(200);
    server.call("third", "x").expect(200);
    let page = register(&server, &json!({ "id": "guest" }), &plain(1)).expect(201);
    assert_eq!((&page["generation"], &page["previous"]), (&json!(3), &json!([])), "{page}");
}

#[test]
fn only_an_admin_changes_what_runs() {
    const ADMIN: &str = "key-of-an-admin-0123456789abcdef0123";
    const CALLER: &str = "key-of-a-caller-0123456789abcdef012";
    let admin = key("admin", ADMIN, "scope = \"*\"\nrole = \"admin\"\n");
    let settings = format!("{admin}{}{FILE}", key("caller", CALLER, "scope = \"*\"\n"));
    let fleet = Fleet::new(&settings);
    let server = fleet.start().key(ADMIN).serve();
    register(&server, &json!({ "id": "guest" }), &plain(1)).expect(201);
    let json = |method: &str, target: &str| {
        Request::new(method, target).header("content-type", "application/json").body("{}")
    };
    for request in [
        Request::multipart("POST", "/api/agents", &json!({ "id": "other" }), &plain(1)),
        Request::multipart("PUT", "/api/agents/guest", &json!({}), &plain(1)),
        json("POST", "/api/agents"),
        json("DELETE", "/api/agents/guest"),
        json("POST", "/api/agents/generate"),
        json("POST", "/api/agents/guest/approve"),
        json("POST", "/api/agents/guest/rollback"),
    ] {
        server.ask_plainly(request.clone().key(CALLER)).expect_failure(403, "forbidden");
        server.ask_plainly(request).expect_failure(401, "unauthorized");
    }
    let page = server.agent("guest");
    assert_eq!(page["generation"], 1);
    server.ask_plainly(json("DELETE", "/api/agents/guest").key(ADMIN)).expect(200);
}

#[test]
fn what_is_wrong_with_a_request_is_said_and_changes_nothing() {
    let fleet = Fleet::new(&format!("[engine]\nmax_component_size = \"1 MiB\"\n{FILE}"));
    let server = fleet.serve();
    let invalid = |reply: Reply, words: &[&str]| {
        let body = reply.expect_failure(422, "invalid_request");
        let message = body["message"].as_str().expect("a message");
        for word in words {
            assert!(message.contains(word), "`{word}` is not in {message}");
        }
    };
    let named = json!({ "id": "guest" });
    // Settings.
    invalid(register(&server, &json!({}), &plain(1)), &["`id`", "required"]);
    invalid(register(&server, &json!({ "id": 5 }), &plain(1)), &["`id`", "text"]);
    invalid(register(&server, &json!({ "id": "Not An Id" }), &plain(1)), &["`id`"]);
    invalid(register(&server, &json!({ "id": "generate" }), &plain(1)), &["`id`", "generate"]);
    invalid(
        register(&server, &json!({ "id": "x", "tags": [null] }), &plain(1)),
        &["`tags[0]` is null", "a value"],
    );
    invalid(register(&server, &json!({ "id": "x", "queue": u64::MAX }), &plain(1)), &["`queue`", "at most"]);
    invalid(
        register(&server, &json!({ "id": "guest", "triger": ["x"] }), &plain(1)),
        &["triger", "triggers"],
    );
    let wrong = json!({ "id": "guest", "limits": { "fuel": "much" }, "queue": -1 });
    invalid(register(&server, &wrong, &plain(1)), &["limits.fuel", "queue"]);
    invalid(replace(&server, "guest", &named["id"].clone(), &plain(1)), &["object"]);
    invalid(replace(&server, "guest", &json!({ "id": "other" }), &plain(1)), &["`id`", "guest"]);
    // However many words of a list are wrong, no more are told than anybody reads.
    let words: Vec<String> = (0..20_000).map(|number| format!("word-{number}")).collect();
    let many = json!({ "id": "guest", "grants": { "system": { "figures": words } } });
    let reply = register(&server, &many, &plain(1));
    assert!(reply.text.len() < 16 * 1024, "{} bytes", reply.text.len());
    invalid(reply, &["`word-0`", "20000 problems, of which 50 are shown"]);
    // Components.
    invalid(server.post("/api/agents", &named), &["`component`", "multipart"]);
    let by = |component: Value| server.post("/api/agents", &json!({ "id": "guest", "component": component }));
    invalid(by(json!("nobody")), &["no agent `nobody`"]);
    invalid(by(json!("../../etc/passwd")), &["`component`"]);
    invalid(by(json!(5)), &["`component`"]);
    invalid(by(json!("a".repeat(64))), &["no component with the digest"]);
    let both = json!({ "id": "guest", "component": "named" });
    invalid(register(&server, &both, &plain(1)), &["given twice"]);
    let native = fs::read(std::env::current_exe().expect("this test")).expect("native code")[..4096].to_vec();
    invalid(register(&server, &named, &native), &["native code"]);
    let compiled = fs::read_dir(fleet.data().join("cache")).expect("the cache").flatten().next();
    let compiled = fs::read_dir(compiled.expect("the engine's folder").path()).expect("compiled code");
    let mut compiled = compiled.flatten().map(|entry| entry.path());
    let is_code = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "cwasm");
    let compiled = compiled.find(is_code).expect("compiled code");
    let mut compiled = fs::read(compiled).expect("compiled code");
    compiled.truncate(1 << 20);
    invalid(register(&server, &named, &compiled), &["native code"]);
    for (guest, word) in [
        ("core-module", "core WebAssembly module"),
        ("no-agent", "does not export"),
        ("unknown-import", "stockade:unknown/thing"),
        ("describe-traps", "`describe` failed"),
        ("describe-hangs", "`describe`"),
        ("large-memory", "can never run"),
    ] {
        let component = fs::read(guests::text(guest)).expect("a component");
        invalid(register(&server, &named, &component), &[word]);
    }
    let large = vec![0; (1 << 20) + 1];
    invalid(register(&server, &named, &large), &["max_component_size", "1048576"]);
    let larger = vec![0; 3 << 20];
    register(&server, &named, &larger).expect_failure(413, "body_too_large");
    // Bodies.
    let send = |body: Vec<u8>, kind: &str| {
        server.ask(Request::new("POST", "/api/agents").header("content-type", kind).body(body))
    };
    let form = "multipart/form-data; boundary=frontier";
    send(b"{".to_vec(), "application/json").expect_failure(400, "malformed_json");
    send(b"x".to_vec(), "text/plain").expect_failure(415, "unsupported_media_type");
    send(plain(1), "application/wasm").expect_failure(415, "unsupported_media_type");
    send(wire::form(&[]), "multipart/form-data").expect_failure(400, "malformed_json");
    send(b"--frontier\r\ncontent-disposition".to_vec(), form).expect_failure(400, "malformed_json");
    let settings = named.to_string();
    invalid(send(wire::form(&[("component", &plain(1))]), form), &["`settings`", "missing"]);
    invalid(send(wire::form(&[("settings", settings.as_bytes())]), form), &["`component`"]);
    let twice = [("settings", settings.as_bytes()), ("settings", settings.as_bytes())];
    invalid(send(wire::form(&twice), form), &["`settings`", "twice"]);
    let other = [("settings", settings.as_bytes()), ("code", b"x")];
    invalid(send(wire::form(&other), form), &["`code`", "`component` and `settings`"]);
    send(wire::form(&[("settings", b"{"), ("component", &plain(1))]), form)
        .expect_failure(400, "malformed_json");
    let long = format!("{{\"id\": \"guest\", \"description\": \"{}\"}}", "x".repeat(1 << 20));
    let long = wire::form(&[("settings", long.as_bytes()), ("component", &plain(1))]);
    let large = send(long, form).expect_failure(413, "body_too_large");
    assert!(large["message"].to_string().contains("`settings`"), "{large}");
    // Nothing of it is there, nor kept.
    assert_eq!(server.get("/orchestrator/agents").expect(200).as_array().map(Vec::len), Some(1));
    server.call("named", "x").expect(200);
    poll_until("what was refused is not kept", || {
        let kept = fs::read_dir(fleet.data().join("components")).expect("a folder");
        (kept.count() == 1).then_some(())
    });
}

#[test]
fn an_agent_of_the_file_is_the_files() {
    let fleet = Fleet::new(FILE);
    let server = fleet.serve();
    let conflict = |reply: Reply, word: &str| {
        let body = reply.expect_failure(409, "conflict");
        assert!(body["message"].to_string().contains(word), "{body}");
    };
    conflict(register(&server, &json!({ "id": "named" }), &plain(1)), "agents.toml");
    conflict(replace(&server, "named", &json!({}), &plain(1)), "agents.toml");
    conflict(remove(&server, "named"), "agents.toml");
    register(&server, &json!({ "id": "guest" }), &plain(1)).expect(201);
    conflict(register(&server, &json!({ "id": "guest" }), &plain(2)), "PUT");
    assert_eq!(server.agent("guest")["generation"], 1);
    // The file names it: it is the file's, and stays it; the generations go on.
    let both = format!("{FILE}[agents.guest]\ncomponent = \"<echo>\"\nname = \"The file's\"\n");
    fleet.settings(&both);
    let page = server.wait_for_page("guest", "it is the file's", |page| page["name"] == "The file's");
    assert_eq!((&page["registered"], &page["generation"]), (&json!(false), &json!(2)), "{page}");
    conflict(remove(&server, "guest"), "agents.toml");
    fleet.settings(FILE);
    poll_until("it is gone", || (server.get("/orchestrator/agents/guest").status == 404).then_some(()));
    // The same where the file names it while no host runs.
    assert_eq!(register(&server, &json!({ "id": "guest" }), &plain(1)).expect(201)["generation"], 3);
    drop(server);
    fleet.settings(&both);
    let server = fleet.serve();
    let page = server.agent("guest");
    assert_eq!((&page["registered"], &page["name"]), (&json!(false), &json!("The file's")), "{page}");
    drop(server);
    fleet.settings(FILE);
    let server = fleet.serve();
    assert_eq!(server.get("/orchestrator/agents/guest").status, 404, "it does not come back from before");
}

#[test]
fn a_registered_agents_versions_wait_and_are_taken_back_as_a_files_are() {
    let fleet = Fleet::new(&format!("[reload]\nrollback_calls = 4\n{FILE}"));
    let server = fleet.serve();
    register(&server, &json!({ "id": "guest" }), &plain(1)).expect(201);
    // More rights: accepted, not serving.
    let page = replace(&server, "guest", &json!({}), &wanting(2)).expect(202);
    assert_eq!((&page["status"], &page["generation"]), (&json!("pending_approval"), &json!(1)), "{page}");
    drop(server);
    let server = fleet.serve();
    let page = server.agent("guest");
    assert_eq!(
        (&page["pending"]["digest"], &page["digest"]),
        (&json!(digest(&wanting(2))), &json!(digest(&plain(1))))
    );
    let approve = |server: &Server, component: &[u8]| {
        server.post("/api/agents/guest/approve", &json!({ "digest": digest(component) }))
    };
    assert_eq!(approve(&server, &wanting(2)).expect(200)["generation"], 2);
    assert_eq!(server.call("guest", "system memory").expect(200)["data"]["outcome"], "granted");
    // A version that fails is taken back; also after a crash, and let in again without a file.
    assert_eq!(replace(&server, "guest", &json!({}), &failing(3)).expect(200)["generation"], 3);
    assert!(server.call_often("guest", "echo", 2) > 0);
    server.wait_for_digest("guest", &digest(&wanting(2)));
    let refused = replace(&server, "guest", &json!({}), &failing(3)).expect_failure(422, "invalid_request");
    assert!(refused["message"].to_string().contains("taken back"), "{refused}");
    drop(server);
    let server = fleet.serve();
    let page = server.agent("guest");
    assert_eq!((&page["generation"], &page["status"]), (&json!(4), &json!("active")), "{page}");
    assert_eq!(page["blocked"][0]["digest"], digest(&failing(3)));
    let page = approve(&server, &failing(3)).expect(200);
    assert_eq!((&page["digest"], &page["generation"]), (&json!(digest(&failing(3))), &json!(5)), "{page}");
    // Who has the id next has none of its rights.
    remove(&server, "guest").expect(200);
    let page = register(&server, &json!({ "id": "guest" }), &wanting(2)).expect(201);
    assert_eq!(page["grants"], json!({ "system": false }), "{page}");
}

#[test]
fn many_agents_are_made_of_one() {
    let template = "[agents.template]\ncomponent = \"<hostile>\"\ntags = [\"own\"]\nmax_concurrent = 3\n\
        limits = { fuel = 7_000_000 }\nconfig = { word = \"w\" }\ngrants = { system = true }\n";
    let fleet = Fleet::new(template);
    let server = fleet.serve();
    let generate = |body: Value| server.post("/api/agents/generate", &body);
    let made = generate(json!({ "template": "template", "count": 120, "tags": ["batch-7"] })).expect(201);
    assert_eq!((&made["success"], &made["registered"]), (&json!(true), &json!(120)), "{made}");
    let ids: Vec<&str> =
        made["agents"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert_eq!((ids[0], ids[119]), ("autogen_agent_000", "autogen_agent_119"));
    let own = generate(json!({ "template": "template", "count": 2, "prefix": "x-", "max_concurrent": 1 }));
    assert_eq!(own.expect(201)["agents"], json!(["x-000", "x-001"]));
    let check = |server: &Server| {
        for id in ["autogen_agent_000", "autogen_agent_119"] {
            let page = server.agent(id);
            assert_eq!(page["tags"], json!(["own", "autogenerated", "batch-7"]), "{page}");
            assert_eq!((&page["registered"], &page["generation"]), (&json!(true), &json!(1)), "{page}");
            assert_eq!(page["limits"]["fuel"], 7_000_000);
            assert_eq!(server.call(id, "config word").expect(200)["response"], "w");
            assert_eq!(server.call(id, "system memory").expect(200)["data"]["outcome"], "granted");
        }
        assert_eq!(server.get("/orchestrator/stats").expect(200)["active_agents"], 123);
    };
    check(&server);
    // All or none.
    let taken = generate(json!({ "template": "template", "count": 5, "prefix": "autogen_agent_11" }));
    assert_eq!(taken.status, 201, "`autogen_agent_11000` is another id: {}", taken.text);
    let taken = generate(json!({ "template": "template", "count": 121 })).expect_failure(409, "conflict");
    assert!(taken["message"].to_string().contains("autogen_agent_000"), "{taken}");
    assert_eq!(server.get("/orchestrator/agents/autogen_agent_120").status, 404);
    for (body, field) in [
        (json!({ "template": "template", "count": 0 }), "count"),
        (json!({ "template": "template", "count": 10_001 }), "count"),
        (json!({ "template": "template", "count": -1 }), "count"),
        (json!({ "template": "template", "count": "many" }), "count"),
        (json!({ "template": "template" }), "count"),
        (json!({ "count": 1 }), "template"),
        (json!({ "template": "No Id", "count": 1 }), "template"),
        (json!({ "template": "template", "count": 1, "prefix": "No Id" }), "prefix"),
        (json!({ "template": "template", "count": 1, "prefix": "x".repeat(64) }), "prefix"),
        (json!({ "template": "template", "count": 1, "max_concurrent": 0 }), "max_concurrent"),
        (json!({ "template": "template", "count": 1, "prefix": "y", "tags": [5] }), "tags"),
    ] {
        let refused = generate(body.clone()).expect_failure(422, "invalid_request");
        assert!(refused["message"].to_string().contains(field), "{body}: {refused}");
    }
    // What could not be read again at a start is not made.
    for tags in [json!([""]), json!(["x".repeat(100_000)])] {
        let refused = generate(json!({ "template": "template", "count": 1, "prefix": "y", "tags": tags }));
        let refused = refused.expect_failure(422, "invalid_request");
        assert!(refused["message"].to_string().contains("tags"), "{refused}");
    }
    generate(json!({ "template": "nobody", "count": 1 })).expect_failure(404, "agent_not_found");
    for number in 0..5 {
        remove(&server, &format!("autogen_agent_11{number:03}")).expect(200);
    }
    remove(&server, "x-000").expect(200);
    remove(&server, "x-001").expect(200);
    generate(json!({ "template": "template", "count": 2, "prefix": "x-" })).expect(201);
    drop(server);
    check(&fleet.serve());
}

#[test]
fn what_was_approved_of_a_template_is_granted_to_what_is_made_of_it() {
    let fleet = Fleet::new("[agents.a]\ncomponent = \"plugins/a.wasm\"\n");
    fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    server.wait_for_pending("a", &fleet.plugin("a", &wanting(2)));
    fleet.command(&server, &["approve", "a", "--yes"]).expect(0);
    server.post("/api/agents/generate", &json!({ "template": "a", "count": 1, "prefix": "b" })).expect(201);
    let granted = |server: &Server| {
        assert_eq!(server.call("b000", "system memory").expect(200)["data"]["outcome"], "granted");
        assert_eq!(server.agent("b000")["generation"], 1);
    };
    granted(&server);
    drop(server);
    granted(&fleet.serve());
}

#[test]
fn an_agent_whose_settings_are_too_much_for_a_host_comes_back_with_a_larger_one() {
    let fleet = Fleet::new(FILE);
    let server = fleet.serve();
    let settings = json!({ "id": "guest", "limits": { "memory": "64 MiB" } });
    register(&server, &settings, &plain(1)).expect(201);
    drop(server);
    fleet.settings(&format!("[engine]\nmax_memory = \"32 MiB\"\n{FILE}"));
    let server = fleet.serve();
    assert_eq!(server.get("/orchestrator/agents/guest").status, 404);
    server.log_lines("the log says which", |line| {
        line["level"] == "ERROR" && line["agent"] == "guest" && line["reason"].to_string().contains("memory")
    });
    // What is removed meanwhile is not its component.
    register(&server, &json!({ "id": "other" }), &plain(2)).expect(201);
    remove(&server, "other").expect(200);
    drop(server);
    fleet.settings(FILE);
    let server = fleet.serve();
    let page = server.agent("guest");
    assert_eq!((&page["status"], &page["generation"]), (&json!("active"), &json!(1)), "{page}");
}

#[test]
fn those_who_register_at_the_same_moment_do_not_mix() {
    let fleet = Fleet::new(FILE);
    let server = fleet.serve();
    let components: Vec<_> = (0..4).map(plain).collect();
    let post = |component: &Vec<u8>| register(&server, &json!({ "id": "guest" }), component).status;
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = components.iter().map(|component| scope.spawn(|| post(component))).collect();
        threads.into_iter().map(|thread| thread.join().expect("an answer")).collect()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 409).count(), 3, "{statuses:?}");
    assert_eq!(server.agent("guest")["generation"], 1);
    // Nobody sees half of it.
    let put = |component: &Vec<u8>| replace(&server, "guest", &json!({}), component).status;
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let threads: Vec<_> = components.iter().map(|component| scope.spawn(|| put(component))).collect();
        threads.into_iter().map(|thread| thread.join().expect("an answer")).collect()
    });
    assert!(statuses.iter().all(|status| [200, 409].contains(status)), "{statuses:?}");
    let page = server.agent("guest");
    drop(server);
    let server = fleet.serve();
    for field in ["digest", "generation", "previous"] {
        assert_eq!(server.agent("guest")[field], page[field], "{field}");
    }
}
