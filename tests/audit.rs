//! Who changed what: a record of every change, which outlives the host, and whom it is shown to.

use serde_json::{Value, json};

use crate::support::fleet::{self, digest, failing, of_category, plain, wanting};
use crate::support::{Fleet, Request, Server, poll_until};

const ADMIN: &str = "key-of-an-admin-0123456789abcdef0123";
const OPERATOR: &str = "key-of-an-operator-0123456789abcdef0";
const CALLER: &str = "key-of-a-caller-0123456789abcdef0123";

fn key(name: &str, secret: &str, role: &str, scope: &str) -> String {
    fleet::key(name, secret, &format!("role = \"{role}\"\nscope = {scope}\n"))
}

fn keys() -> String {
    [
        key("anna", ADMIN, "admin", "[\"team-*\"]"),
        key("otto", OPERATOR, "operator", "\"*\""),
        key("carl", CALLER, "call", "\"*\""),
    ]
    .concat()
}

/// The records that this key is shown, the oldest first.
fn records(server: &Server, key: &str, query: &str) -> Vec<Value> {
    let reply = server.ask_plainly(Request::get(&format!("/api/audit{query}")).key(key));
    let mut records = reply.expect(200).as_array().expect("a list").clone();
    records.reverse();
    records
}

/// A record in short: who did what with what.
fn short(record: &Value) -> String {
    let word = |field: &str| record[field].as_str().unwrap_or("-").to_owned();
    format!("{} {} {}", word("who"), word("operation"), word("subject"))
}

fn shorts(records: &[Value]) -> Vec<String> {
    records.iter().map(short).collect()
}

fn post(server: &Server, key: &str, path: &str, body: &Value) -> crate::support::Reply {
    server.ask_plainly(Request::post(path, body).key(key))
}

#[test]
fn a_day_of_changes_is_read_in_order_after_a_kill() {
    let settings = format!("{}[agents.team-file]\ncomponent = \"plugins/a.wasm\"\n", keys());
    let fleet = Fleet::new(&settings);
    let first = fleet.plugin("a", &plain(1));
    let server = fleet.start().key(OPERATOR).serve();
    server.wait_for_digest("team-file", &first);
    let put = |method: &str, path: &str, settings: Value, component: &[u8]| {
        server.ask_plainly(Request::multipart(method, path, &settings, component).key(ADMIN))
    };
    put("POST", "/api/agents", json!({ "id": "team-1" }), &plain(1)).expect(201);
    put("PUT", "/api/agents/team-1", json!({}), &plain(2)).expect(200);
    post(&server, ADMIN, "/api/agents/team-1/rollback", &json!({})).expect(200);
    put("PUT", "/api/agents/team-1", json!({}), &wanting(3)).expect(202);
    // What is refused, and what does not go, changes nothing and leaves nothing.
    post(&server, CALLER, "/api/agents/team-1/rollback", &json!({})).expect_failure(403, "forbidden");
    post(&server, ADMIN, "/api/agents/team-1/approve", &json!({ "digest": digest(&plain(9)) }))
        .expect_failure(409, "conflict");
    put("POST", "/api/agents", json!({ "id": "team-1" }), &plain(4)).expect_failure(409, "conflict");
    put("POST", "/api/agents", json!({ "id": "team-9" }), b"no component")
        .expect_failure(422, "invalid_request");
    let id = post(&server, ADMIN, "/api/agents/team-1/approve", &json!({ "digest": digest(&wanting(3)) }));
    id.expect(200);
    let made = json!({ "template": "team-1", "count": 3, "prefix": "team-made-" });
    post(&server, ADMIN, "/api/agents/generate", &made).expect(201);
    // A file's new version, then settings: a key that goes, another's scope, an agent's limit.
    let second = fleet.plugin("a", &plain(5));
    server.wait_for_digest("team-file", &second);
    poll_until("the reload stands in the audit", || {
        let records = records(&server, OPERATOR, "?agent=team-file");
        records.last().filter(|last| last["to"]["digest"] == json!(second)).map(drop)
    });
    let other = [
        key("anna", ADMIN, "admin", "[\"team-*\", \"other\"]"),
        key("otto", OPERATOR, "operator", "\"*\""),
        "[server]\nmax_batch = 7\n[agents.team-file]\ncomponent = \"plugins/a.wasm\"\nlimits.fuel = 77_000_000\n"
            .to_owned(),
    ];
    fleet.settings(&other.concat());
    poll_until("the settings stand in the audit", || {
        let records = records(&server, OPERATOR, "?operation=settings");
        (records.len() == 4).then_some(())
    });
    server.ask_plainly(Request::new("DELETE", "/api/agents/team-made-001").key(ADMIN)).expect(200);
    let told = records(&server, OPERATOR, "");

    server.kill();
    drop(server);
    let server = fleet.start().key(OPERATOR).serve();
    let after = records(&server, OPERATOR, "");
    assert_eq!(after[..told.len()], told[..], "nothing is lost or changed");
    // The settings' limit goes live with its reload, whenever that is.
    let mut seen: Vec<String> =
        shorts(&told).into_iter().filter(|one| one != "file reload team-file").collect();
    let settings: Vec<String> = seen.extract_if(.., |one| one.contains("settings")).collect();
    assert_eq!(
        seen,
        [
            "anna register team-1",
            "anna replace team-1",
            "anna roll_back team-1",
            "anna replace team-1",
            "anna approve team-1",
            "anna generate team-1",
            "anna remove team-made-001",
        ]
    );
    assert_eq!(
        settings,
        [
            "file settings anna",
            "file settings carl",
            "file settings server.max_batch",
            "file settings team-file"
        ]
    );
    // From what to what, each of them.
    let one = |operation: &str, number: usize| {
        let mut fit = told.iter().filter(|record| record["operation"] == operation);
        fit.nth(number).cloned().expect("a record")
    };
    let digests = |record: &Value| (record["from"]["digest"].clone(), record["to"]["digest"].clone());
    let (one_, two, three) = (json!(digest(&plain(1))), json!(digest(&plain(2))), json!(digest(&wanting(3))));
    assert_eq!(one("register", 0)["from"], Value::Null);
    assert_eq!(digests(&one("replace", 0)), (one_.clone(), two.clone()));
    assert_eq!(digests(&one("roll_back", 0)), (two, one_.clone()));
    assert_eq!(digests(&one("replace", 1)), (one_.clone(), one_.clone()), "it waits: what served serves");
    assert_eq!(one("replace", 1)["to"]["pending"], three);
    assert_eq!(digests(&one("approve", 0)), (one_, three));
    assert_eq!(one("approve", 0)["to"]["approved"], json!(["system"]));
    let generated = one("generate", 0);
    assert_eq!(generated["reason"], "3 agents, from team-made-000 to team-made-002");
    assert_eq!(one("remove", 0)["to"], Value::Null);
    assert_eq!((&generated["role"], &generated["tenant"]), (&json!("admin"), &json!("default")));
    assert!(generated["request_id"].is_string() && generated["at"].is_string(), "{generated}");
    let reloads = records(&server, OPERATOR, "?operation=reload&agent=team-file");
    assert_eq!(digests(&reloads[1]), (json!(first), json!(second)), "{reloads:?}");
    assert_eq!((&reloads[1]["who"], &reloads[1]["role"]), (&json!("file"), &Value::Null));
    let named = |name: &str| told.iter().find(|record| record["subject"] == name).cloned().expect("a record");
    let scopes = |state: &Value| state["settings"]["scope"].clone();
    let anna = named("anna");
    assert_eq!((scopes(&anna["from"]), scopes(&anna["to"])), (json!("team-*"), json!("other, team-*")));
    assert_eq!((&named("carl")["kind"], &named("carl")["to"]), (&json!("key"), &Value::Null));
    // No key stands there, and no key's hash.
    let all = json!(after).to_string();
    for secret in [ADMIN, OPERATOR, CALLER] {
        assert!(!all.contains(secret) && !all.contains(&digest(secret.as_bytes())), "{all}");
    }
}

#[test]
fn an_admin_is_shown_its_scope_and_an_operator_everything_in_pieces() {
    let fleet = Fleet::new(&keys());
    let server = fleet.start().key(OPERATOR).serve();
    let register = |key: &str, id: &str, component: &[u8]| {
        let settings = json!({ "id": id });
        server
            .ask_plainly(Request::multipart("POST", "/api/agents", &settings, component).key(key))
            .expect(201)
    };
    for number in 0..5 {
        register(OPERATOR, &format!("team-{number}"), &plain(1));
        register(OPERATOR, &format!("other-{number}"), &plain(1));
    }
    server.ask_plainly(Request::get("/api/audit")).expect_failure(401, "unauthorized");
    server.ask_plainly(Request::get("/api/audit").key(CALLER)).expect_failure(403, "forbidden");
    assert_eq!(records(&server, OPERATOR, "").len(), 10);
    let team = |number| format!("otto register team-{number}");
    assert_eq!(shorts(&records(&server, ADMIN, "")), (0..5).map(team).collect::<Vec<_>>());
    assert_eq!(shorts(&records(&server, ADMIN, "?agent=other-1")), [] as [String; 0]);
    assert_eq!(shorts(&records(&server, ADMIN, "?agent=team-1")), [team(1)]);
    // Pieces follow each other by `Link`, and what is not shown takes no place in them.
    let (mut target, mut seen) = ("/api/audit?limit=2".to_owned(), Vec::new());
    loop {
        let reply = server.ask_plainly(Request::get(&target).key(ADMIN));
        let piece = reply.expect(200).as_array().expect("a list").clone();
        assert!(piece.len() <= 2);
        seen.extend(shorts(&piece));
        let Some(link) = reply.header("link") else { break };
        target = link.trim_start_matches('<').split('>').next().expect("a path").to_owned();
    }
    assert_eq!(seen, (0..5).rev().map(team).collect::<Vec<_>>());
    // Between two moments, and what is no moment.
    let all = records(&server, OPERATOR, "");
    let (from, to) = (all[3]["at"].as_str().expect("a time"), all[6]["at"].as_str().expect("a time"));
    let between = records(&server, OPERATOR, &format!("?from={from}&to={to}"));
    // Seconds with three decimals each, so that texts are in the order of times.
    let padded = |at: &str| {
        let (whole, part) =
            at.trim_end_matches('Z').split_once('.').unwrap_or((at.trim_end_matches('Z'), ""));
        format!("{whole}.{part:0<3}")
    };
    let within = |one: &&Value| {
        let at = padded(one["at"].as_str().expect("a time"));
        at >= padded(from) && at < padded(to)
    };
    let expected: Vec<&Value> = all.iter().filter(within).collect();
    assert_eq!(between.iter().collect::<Vec<_>>(), expected);
    for wrong in ["from=yesterday", "to=1", "limit=0", "limit=1001", "cursor=x"] {
        let reply = server.ask_plainly(Request::get(&format!("/api/audit?{wrong}")).key(OPERATOR));
        let field = wrong.split('=').next().expect("a name");
        assert_eq!(reply.expect_failure(422, "invalid_request")["field"], field);
    }
}

#[test]
fn the_oldest_records_go_and_an_agents_words_stay_bounded() {
    let fleet = Fleet::new(&format!("[server]\naudit_records = 5\n{}", keys()));
    let server = fleet.start().key(OPERATOR).serve();
    let category = "\u{1b}[2J";
    let settings = json!({ "id": "team-1" });
    let put = Request::multipart("POST", "/api/agents", &settings, &of_category("games", 1));
    server.ask_plainly(put.key(OPERATOR)).expect(201);
    for number in 2..9 {
        let settings = json!({ "category": format!("{category}{}", "x".repeat(300)), "version": "1" });
        let put = Request::multipart("PUT", "/api/agents/team-1", &settings, &plain(number));
        assert_eq!(server.ask_plainly(put.key(OPERATOR)).status / 100, 4, "a category is no such text");
        let put = Request::multipart("PUT", "/api/agents/team-1", &json!({}), &of_category("games", number));
        server.ask_plainly(put.key(OPERATOR)).expect(200);
    }
    let kept = records(&server, OPERATOR, "");
    assert_eq!(shorts(&kept), ["otto replace team-1"; 5]);
    assert_eq!(kept[4]["to"]["digest"], json!(digest(&of_category("games", 8))));
    let reply = server.ask_plainly(Request::get("/api/audit").key(OPERATOR));
    assert!(!reply.text.contains('\u{1b}'), "{}", reply.text);
    let shown = fleet.command(&server, &["audit", "--agent", "team-1", "--limit", "2"]);
    assert_eq!(
        shown.out.lines().filter(|line| line.contains("otto  replace    team-1")).count(),
        2,
        "{shown:?}"
    );
    let json = fleet.command(&server, &["audit", "--limit", "2", "--json"]);
    let json: Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(json, json!([kept[4], kept[3]]));
    let wrong = fleet.command(&server, &["audit", "--from", "yesterday"]);
    assert!(wrong.code == 1 && wrong.err.contains("`from`"), "{wrong:?}");
}

#[test]
fn a_version_that_the_host_takes_back_is_the_hosts_change() {
    let settings = format!(
        "[reload]\nrollback_calls = 4\nrollback_error_rate = 0.5\n{}[agents.a]\ncomponent = \"plugins/a.wasm\"\n",
        keys()
    );
    let fleet = Fleet::new(&settings);
    let good = fleet.plugin("a", &plain(1));
    let server = fleet.start().key(OPERATOR).serve();
    server.wait_for_digest("a", &good);
    let bad = fleet.plugin("a", &failing(2));
    server.wait_for_digest("a", &bad);
    server.call_often("a", "x", 4);
    server.wait_for_digest("a", &good);
    let record = poll_until("it stands in the audit", || {
        records(&server, OPERATOR, "?operation=roll_back").into_iter().next()
    });
    assert_eq!((&record["who"], &record["role"]), (&json!("host"), &Value::Null));
    let digests = (&record["from"]["digest"], &record["to"]["digest"]);
    assert_eq!(digests, (&json!(bad), &json!(good)));
    assert!(record["reason"].to_string().contains("first"), "{record}");
}

#[test]
fn what_cannot_be_recorded_is_not_changed_and_what_was_only_begun_is_settled() {
    let fleet = Fleet::new(&keys());
    let server = fleet.start().key(OPERATOR).serve();
    let put = |id: &str| Request::multipart("POST", "/api/agents", &json!({ "id": id }), &plain(1));
    server.ask(put("one")).expect(201);
    server.ask(put("two")).expect(201);
    let open = || rusqlite::Connection::open(fleet.data().join("audit.db")).expect("the audit");
    open()
        .execute_batch("CREATE TRIGGER full BEFORE INSERT ON changes BEGIN SELECT RAISE(ABORT, 'full'); END")
        .expect("a trigger");
    let refused = server.ask(put("three")).expect_failure(500, "internal");
    assert!(refused["message"].to_string().contains("audit"), "{refused}");
    let removed = server.ask(Request::new("DELETE", "/api/agents/one"));
    removed.expect_failure(500, "internal");
    server.get("/orchestrator/agents/three").expect_failure(404, "agent_not_found");
    server.agent("one");
    server.kill();
    drop(server);
    // As a host leaves it that is killed in the middle: begun, and made or not.
    let database = open();
    database.execute_batch("DROP TRIGGER full; UPDATE changes SET done = 0, now = NULL").expect("begun");
    let state = database.query_row("SELECT now FROM changes WHERE subject = 'one'", [], |row| row.get(0));
    assert_eq!(state, Ok(None::<String>));
    let as_it_is = "UPDATE changes SET was = (SELECT json_object('digest', ?, 'generation', 1, 'version', '(text)', 'category', 'test')) WHERE subject = 'two'";
    database.execute(as_it_is, [digest(&plain(1))]).expect("as it is now");
    drop(database);
    let server = fleet.start().key(OPERATOR).serve();
    let two = server.agent("two");
    assert_eq!((&two["version"], &two["category"]), (&json!("(text)"), &json!("test")), "as written above");
    let kept = records(&server, OPERATOR, "");
    assert_eq!(shorts(&kept), ["otto register one"], "what is other than before was changed");
    assert_eq!(kept[0]["to"]["digest"], json!(digest(&plain(1))));
}
