//! The audit beside whatever else happens: changes that cross each other, keys that go, a host that is killed
//! between two writes. What it says stays what happened.
//!
//! A change is held up where it waits for the disk: another connection has the database to itself.

use rusqlite::Connection as Sqlite;
use serde_json::{Value, json};

use crate::support::fleet::{self, digest, plain, wanting};
use crate::support::{Connection, Fleet, Request, Server, poll_until};

const ADMIN: &str = "key-of-an-admin-0123456789abcdef0123";
const OPERATOR: &str = "key-of-an-operator-0123456789abcdef0";

fn operator() -> String {
    fleet::key("otto", OPERATOR, "role = \"operator\"\nscope = \"*\"\n")
}

fn admin() -> String {
    fleet::key("anna", ADMIN, "role = \"admin\"\nscope = [\"team-*\"]\n")
}

/// The records that an operator is shown, the oldest first.
fn records(server: &Server, query: &str) -> Vec<Value> {
    let reply = server.ask_plainly(Request::get(&format!("/api/audit{query}")).key(OPERATOR));
    let mut records = reply.expect(200).as_array().expect("a list").clone();
    records.reverse();
    records
}

fn digests(record: &Value) -> (Value, Value) {
    (record["from"]["digest"].clone(), record["to"]["digest"].clone())
}

/// Nobody else writes this database until it is dropped.
fn hold(fleet: &Fleet, name: &str) -> Sqlite {
    let database = Sqlite::open(fleet.data().join(name)).expect("a database");
    database.busy_timeout(std::time::Duration::from_secs(20)).expect("it waits");
    database.execute_batch("BEGIN IMMEDIATE").expect("it is held");
    database
}

/// Sends a request whose answer is not there yet.
fn sent(server: &Server, request: Request) -> Connection {
    let mut connection = server.connect();
    connection.send(&request.bytes()).expect("it is sent");
    // What comes on other connections after it is answered after it was taken up.
    for _ in 0..5 {
        server.get("/orchestrator/stats").expect(200);
    }
    connection
}

/// Waits until this change stands in the audit as begun.
fn wait_until_begun(fleet: &Fleet, operation: &str) {
    let database = Sqlite::open(fleet.data().join("audit.db")).expect("the audit");
    poll_until("it is begun", || {
        let query = "SELECT count(*) FROM changes WHERE NOT done AND operation = ?1";
        let begun: i64 = database.query_row(query, [operation], |row| row.get(0)).expect("a count");
        (begun == 1).then_some(())
    });
}

#[test]
fn a_change_that_waited_says_from_what_it_was_made_and_not_what_it_was_asked_on() {
    let fleet = Fleet::new(&format!("{}[agents.a]\ncomponent = \"plugins/a.wasm\"\n", operator()));
    let versions = [1, 2, 3].map(|number| digest(&plain(number)));
    fleet.plugin("a", &plain(1));
    let server = fleet.start().key(OPERATOR).serve();
    server.wait_for_digest("a", &versions[0]);
    fleet.plugin("a", &plain(2));
    server.wait_for_digest("a", &versions[1]);
    poll_until("both are written down", || (records(&server, "").len() == 2).then_some(()));
    let held = hold(&fleet, "audit.db");
    let mut asked = sent(&server, server.signed(Request::post("/api/agents/a/rollback", &json!({}))));
    // A file's version goes live meanwhile: it waits for no audit.
    fleet.plugin("a", &plain(3));
    server.wait_for_digest("a", &versions[2]);
    drop(held);
    let page = asked.answer(false).expect("an answer").expect(200);
    assert_eq!(page["digest"], versions[1]);
    let record = records(&server, "?operation=roll_back").pop().expect("a record");
    assert_eq!(digests(&record), (json!(versions[2]), json!(versions[1])), "{record}");
}

#[test]
fn a_key_that_goes_while_its_removal_waits_removes_nothing() {
    let fleet = Fleet::new(&[operator(), admin()].concat());
    let server = fleet.start().key(OPERATOR).serve();
    server.ask(Request::multipart("POST", "/api/agents", &json!({ "id": "team-1" }), &plain(1))).expect(201);
    let held = hold(&fleet, "audit.db");
    let mut asked = sent(&server, Request::new("DELETE", "/api/agents/team-1").key(ADMIN));
    fleet.settings(&operator());
    poll_until("the key is gone", || {
        let reply = server.ask_plainly(Request::get("/orchestrator/stats").key(ADMIN));
        (reply.status == 401).then_some(())
    });
    drop(held);
    asked.answer(false).expect("an answer").expect_failure(401, "unauthorized");
    server.agent("team-1");
    assert_eq!(records(&server, "?operation=remove"), [] as [Value; 0]);
}

#[test]
fn agents_that_were_never_made_are_not_told_of_after_a_kill() {
    let fleet = Fleet::new(&operator());
    let server = fleet.start().key(OPERATOR).serve();
    server.ask(Request::multipart("POST", "/api/agents", &json!({ "id": "like" }), &plain(1))).expect(201);
    let made = json!({ "template": "like", "count": 3, "prefix": "made-" });
    let generate = || server.signed(Request::post("/api/agents/generate", &made));
    let held = hold(&fleet, "registry.db");
    let asked = sent(&server, generate());
    wait_until_begun(&fleet, "generate");
    server.kill();
    drop((held, asked, server));
    let server = fleet.start().key(OPERATOR).serve();
    server.get("/orchestrator/agents/made-000").expect_failure(404, "agent_not_found");
    assert_eq!(records(&server, "?operation=generate"), [] as [Value; 0]);
    // The same, killed between the two writes: they are made.
    let held = hold(&fleet, "registry.db");
    let asked = sent(&server, server.signed(Request::post("/api/agents/generate", &made)));
    wait_until_begun(&fleet, "generate");
    let finish = hold(&fleet, "audit.db");
    drop(held);
    poll_until("they are made", || (server.get("/orchestrator/agents/made-002").status == 200).then_some(()));
    server.kill();
    drop((finish, asked, server));
    let server = fleet.start().key(OPERATOR).serve();
    server.agent("made-002");
    let records = records(&server, "?operation=generate");
    assert_eq!(records.len(), 1, "{records:?}");
    assert_eq!(records[0]["reason"], "3 agents, from made-000 to made-002");
}

#[test]
fn what_a_registered_agent_is_granted_and_bounded_by_stands_in_the_audit() {
    let fleet = Fleet::new(&operator());
    let server = fleet.start().key(OPERATOR).serve();
    let secret = "a secret of its configuration";
    let put = |method: &str, path: &str, settings: Value| {
        server.ask(Request::multipart(method, path, &settings, &wanting(1)))
    };
    put("POST", "/api/agents", json!({ "id": "a", "grants": { "system": false } })).expect(201);
    let wider = json!({
        "grants": { "system": true }, "limits": { "fuel": 77_000_000 }, "config": { "token": secret },
    });
    put("PUT", "/api/agents/a", wider).expect(200);
    let records = records(&server, "");
    let (from, to) = (&records[1]["from"]["settings"], &records[1]["to"]["settings"]);
    let grants = |settings: &Value| settings["grants"].as_str().expect("grants").to_owned();
    assert!(grants(from).contains("false") && grants(to).contains("true"), "{from} {to}");
    assert!(to["limits"].to_string().contains("77000000"), "{to}");
    assert!(!json!(records).to_string().contains(secret));
}

#[test]
fn what_ends_by_a_file_waits_for_no_audit_and_is_told_of_later() {
    let berta = "key-of-another-0123456789abcdef01234";
    let other = || fleet::key("berta", berta, "role = \"call\"\nscope = \"*\"\n");
    let agent = "[agents.a]\ncomponent = \"plugins/a.wasm\"\n";
    let fleet = Fleet::new(&[&operator(), &admin(), &other(), agent].concat());
    fleet.plugin("a", &plain(1));
    let server = fleet.start().key(OPERATOR).serve();
    server.wait_for_digest("a", &digest(&plain(1)));
    let held = hold(&fleet, "audit.db");
    let gone = |secret: &str| {
        poll_until("the key is gone", || {
            let reply = server.ask_plainly(Request::get("/orchestrator/stats").key(secret));
            (reply.status == 401).then_some(())
        });
    };
    fleet.settings(&[&operator(), &other(), agent].concat());
    gone(ADMIN);
    fleet.settings(&[&operator(), agent].concat());
    gone(berta);
    for number in 2..5 {
        let next = fleet.plugin("a", &plain(number));
        server.wait_for_digest("a", &next);
    }
    drop(held);
    // In their order, none of them given up.
    let told = poll_until("all of it is told of", || {
        let told = records(&server, "");
        (told.len() >= 6).then_some(told)
    });
    let subjects: Vec<&Value> = told.iter().map(|record| &record["subject"]).collect();
    assert_eq!(subjects, ["a", "anna", "berta", "a", "a", "a"]);
    let served: Vec<(Value, Value)> = told[3..].iter().map(digests).collect();
    let expected = [1, 2, 3].map(|number| (json!(digest(&plain(number))), json!(digest(&plain(number + 1)))));
    assert_eq!(served, expected);
}

#[test]
fn of_several_changes_that_a_kill_cut_short_it_is_said_that_not_all_may_have_been_made() {
    let fleet = Fleet::new(&operator());
    let server = fleet.start().key(OPERATOR).serve();
    let put = |method: &str, path: &str, settings: Value, component: &[u8]| {
        server.ask(Request::multipart(method, path, &settings, component)).json()
    };
    for id in ["one", "two"] {
        put("POST", "/api/agents", json!({ "id": id }), &plain(1));
    }
    put("PUT", "/api/agents/two", json!({}), &plain(2));
    server.kill();
    drop(server);
    // As a host leaves it that is killed before it wrote down how they ended.
    let database = Sqlite::open(fleet.data().join("audit.db")).expect("the audit");
    database.execute_batch("UPDATE changes SET done = 0, now = NULL").expect("begun");
    drop(database);
    let server = fleet.start().key(OPERATOR).serve();
    let told = records(&server, "");
    let subjects: Vec<&Value> = told.iter().map(|record| &record["subject"]).collect();
    assert_eq!(subjects, ["one", "two", "two"]);
    assert_eq!(told[0]["reason"], Value::Null, "there is no doubt");
    for record in &told[1..] {
        let reason = record["reason"].as_str().expect("a reason");
        assert!(reason.contains("2 changes of this agent"), "{reason}");
    }
}

#[test]
fn a_change_that_was_begun_on_what_another_was_made_on_was_not_made() {
    let fleet = Fleet::new(&operator());
    let server = fleet.start().key(OPERATOR).serve();
    let put = |method: &str, path: &str, settings: Value, component: &[u8]| {
        server.ask(Request::multipart(method, path, &settings, component)).json()
    };
    put("POST", "/api/agents", json!({ "id": "a" }), &plain(1));
    put("PUT", "/api/agents/a", json!({}), &plain(2));
    let told = records(&server, "");
    server.kill();
    drop(server);
    // One that failed, and of which that could not be written down.
    let database = Sqlite::open(fleet.data().join("audit.db")).expect("the audit");
    let orphan = "INSERT INTO changes (done, at, tenant, who, operation, kind, subject, category, was)
        SELECT 0, at, tenant, who, operation, kind, subject, category, was FROM changes WHERE was IS NOT NULL";
    assert_eq!(database.execute(orphan, []), Ok(1));
    drop(database);
    let server = fleet.start().key(OPERATOR).serve();
    assert_eq!(records(&server, ""), told);
}
