//! Rights that end while something is under way: bodies that come slowly, and a disk that takes nothing.

use serde_json::json;

use crate::support::fleet;
use crate::support::{Connection, Fleet, Request, Server, poll_until};

const ADMIN: &str = "key-of-an-admin-0123456789abcdef0123";
const ONE: &str = "key-one-0123456789abcdef0123456789ab";
const TWO: &str = "key-two-0123456789abcdef0123456789ab";

/// An admin's key.
fn key(name: &str, secret: &str) -> String {
    fleet::key(name, secret, "scope = \"*\"\nrole = \"admin\"\n")
}

#[test]
fn a_body_that_comes_slowly_keeps_no_right_alive() {
    let settings = |keys: &str| {
        format!(
            "{}{keys}[agents.a]\ncomponent = \"<echo>\"\n[agents.b]\ncomponent = \"<echo>\"\n",
            key("admin", ADMIN)
        )
    };
    let both = format!("{}{}", key("one", ONE), key("two", TWO));
    let fleet = Fleet::new(&settings(&both));
    let server = fleet.start().key(ADMIN).serve();
    let body = json!({ "component": "a", "prefix": "made-", "template": "a", "count": 1, "task": "echo" });
    let body = body.to_string().into_bytes();
    let (start, rest) = body.split_at(1);
    let begin = |secret: &str, method: &str, target: &str| {
        let request = Request::new(method, target)
            .key(secret)
            .header("content-type", "application/json")
            .header("expect", "100-continue")
            .header("content-length", body.len().to_string());
        let mut connection = server.connect();
        connection.send(&request.bytes()).expect("sent");
        // It has passed the door, and its body is waited for.
        connection.arrives().expect("it goes on");
        connection.send(start).expect("sent");
        connection
    };
    let targets = [
        ("PUT", "/api/agents/late"),
        ("POST", "/api/agents/generate"),
        ("POST", "/api/agents/a/approve"),
        ("POST", "/api/agents/a/rollback"),
        ("POST", "/orchestrator/route"),
    ];
    let mut revoked: Vec<Connection> =
        targets.iter().map(|(method, target)| begin(ONE, method, target)).collect();
    let mut fewer = [begin(TWO, "PUT", "/api/agents/late"), begin(TWO, "POST", "/orchestrator/route")];
    let call = key("two", TWO).replace("\"admin\"", "\"call\"").replace("\"*\"", "\"b\"");
    fleet.settings(&settings(&call));
    poll_until("the key is withdrawn", || {
        (server.ask_plainly(Request::get("/orchestrator/agents").key(ONE)).status == 401).then_some(())
    });
    for connection in revoked.iter_mut().chain(&mut fewer) {
        connection.send(rest).expect("sent");
    }
    for (connection, target) in revoked.iter_mut().zip(targets) {
        let reply = connection.answer(false).expect("an answer");
        assert_eq!(reply.status, 401, "{target:?}: {}", reply.text);
    }
    let [put, route] = &mut fewer;
    put.answer(false).expect("an answer").expect_failure(403, "forbidden");
    let routed = route.answer(false).expect("an answer").expect(200);
    assert_ne!(routed["agent"]["agent_id"], "a", "{routed}");
    assert!(!routed["alternatives"].to_string().contains("\"a\""), "{routed}");
    assert_eq!(server.get("/orchestrator/agents/late").status, 404);
    assert_eq!(server.get("/orchestrator/agents/made-000").status, 404);
}

#[test]
fn rights_are_withdrawn_also_where_nothing_can_be_written_down() {
    let settings =
        |grants: &str, more: &str| format!("[agents.a]\ncomponent = \"<hostile>\"\n{grants}{more}");
    let granted = "grants = { system = true }\n";
    let fleet = Fleet::new(&settings(granted, "[agents.b]\ncomponent = \"<echo>\"\n"));
    let server = fleet.serve();
    let outcome = |server: &Server| server.call("a", "system memory").expect(200)["data"]["outcome"].clone();
    assert_eq!(outcome(&server), "granted");
    let store = rusqlite::Connection::open(fleet.data().join("registry.db")).expect("the store");
    let no_room = "CREATE TRIGGER no_room BEFORE INSERT ON agents BEGIN SELECT RAISE(FAIL, 'no room'); END";
    store.execute(no_room, []).expect("a trigger");
    fleet.settings(&settings("", "[agents.c]\ncomponent = \"<echo>\"\n"));
    server.log_lines("it is said", |line| line["message"].to_string().contains("save the file again"));
    assert_eq!(outcome(&server), "denied");
    let gone = |id: &str| server.get(&format!("/orchestrator/agents/{id}")).status == 404;
    assert!(gone("b") && gone("c"));
    // It is made good for when there is room again.
    store.execute("DROP TRIGGER no_room", []).expect("no trigger");
    fleet.settings(&settings("", "[agents.c]\ncomponent = \"<echo>\"\n# again\n"));
    server.wait_for_page("c", "it is there", |page| page["status"] == "active");
    assert_eq!((outcome(&server), gone("b")), (json!("denied"), true));
    drop(server);
    assert_eq!(outcome(&fleet.serve()), "denied");
}

#[test]
fn of_a_policy_what_is_withdrawn_ends_at_once_and_what_is_new_comes_with_its_version() {
    let settings = |figures: &str| {
        format!("[agents.a]\ncomponent = \"<hostile>\"\ngrants = {{ system = {{ figures = {figures} }} }}\n")
    };
    let fleet = Fleet::new(&settings(r#"["machine", "memory"]"#));
    let server = fleet.serve();
    let denied = |server: &Server| {
        let denied = |figure: &&str| {
            server.call("a", &format!("system {figure}")).expect(200)["data"]["outcome"] == "denied"
        };
        ["load", "machine", "memory"].into_iter().filter(denied).collect::<Vec<_>>()
    };
    assert_eq!(denied(&server), ["load"]);
    let store = rusqlite::Connection::open(fleet.data().join("registry.db")).expect("the store");
    let no_room = "CREATE TRIGGER no_room BEFORE INSERT ON agents BEGIN SELECT RAISE(FAIL, 'no room'); END";
    store.execute(no_room, []).expect("a trigger");
    // One figure goes and another comes, and nothing can be written down.
    fleet.settings(&settings(r#"["load", "memory"]"#));
    server.log_lines("it is said", |line| line["message"].to_string().contains("save the file again"));
    assert_eq!(denied(&server), ["load", "machine"]);
    assert_eq!(server.agent("a")["grants"], json!({ "system": { "figures": ["memory"] } }));
    // Saved once more, there is nothing left to withdraw: it is the version that cannot be written down.
    fleet.settings(&(settings(r#"["load", "memory"]"#) + "# once more\n"));
    server.wait_for_page("a", "its load cannot be written down", |page| {
        page["last_reload"]["error"].to_string().contains("no room")
    });
    assert_eq!(denied(&server), ["load", "machine"]);
    store.execute("DROP TRIGGER no_room", []).expect("no trigger");
    fleet.settings(&(settings(r#"["load", "memory"]"#) + "# again\n"));
    let wider = json!({ "system": { "figures": ["load", "memory"] } });
    server.wait_for_page("a", "it is granted", |page| page["grants"] == wider);
    assert_eq!(denied(&server), ["machine"]);
    drop(server);
    assert_eq!(denied(&fleet.serve()), ["machine"]);
}
