//! The data folder over the years: moved, made by an older program or a later one, damaged, and what it
//! keeps of agents that went.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::registering::register;
use crate::support::fleet::{digest, plain, wanting};
use crate::support::server::Start;
use crate::support::{Fleet, Request, Server, command, poll_until};

const ONE: &str = "[agents.a]\ncomponent = \"plugins/a.wasm\"\n";
const NONE: &str = "# no agents\n";

fn database(data: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(data.join("registry.db")).expect("the database")
}

fn record(data: &Path, id: &str) -> Value {
    let query = "SELECT record FROM agents WHERE id = ?1";
    let text: String = database(data).query_row(query, [id], |row| row.get(0)).expect("a record");
    serde_json::from_str(&text).expect("JSON")
}

fn set_record(data: &Path, id: &str, record: &Value) {
    let update = "UPDATE agents SET record = ?2 WHERE id = ?1";
    assert_eq!(database(data).execute(update, [id, &record.to_string()]).expect("an update"), 1);
}

fn component(fleet: &Fleet, bytes: &[u8]) -> PathBuf {
    fleet.data().join("components").join(digest(bytes))
}

/// The same length, other bytes.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).expect("a component that is kept");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(path, bytes).expect("damaged");
}

#[test]
fn it_can_be_moved() {
    let fleet = Fleet::new(ONE);
    fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    register(&server, &json!({ "id": "guest", "name": "A guest" }), &plain(2)).expect(201);
    let made = json!({ "template": "guest", "count": 2, "prefix": "made-" });
    server.post("/api/agents/generate", &made).expect(201);
    drop(server);
    let moved = fleet.path("moved/data");
    fs::create_dir(fleet.path("moved")).expect("a folder");
    fs::rename(fleet.data(), &moved).expect("it moves");
    let server = Start::file(&fleet.path("agents.toml"), &moved).serve();
    for id in ["guest", "made-000", "made-001"] {
        let answer = server.call(id, "x").expect(200);
        assert_eq!(
            (&answer["agent_generation"], &answer["agent_digest"]),
            (&json!(1), &json!(digest(&plain(2))))
        );
    }
    assert_eq!(server.agent("guest")["name"], "A guest");
    // Nothing of the old place comes back.
    register(&server, &json!({ "id": "later" }), &plain(3)).expect(201);
    assert!(!fleet.data().exists());
}

#[test]
fn what_waits_in_it_waits_there_too_when_it_is_moved() {
    let fleet = Fleet::new(NONE);
    let server = fleet.serve();
    let agent = |component: &[u8], name: &str| json!({ "component": digest(component), "name": name });
    let put = |server: &Server, id: &str, settings: Value| {
        let request = Request::new("PUT", &format!("/api/agents/{id}"));
        server.ask(request.header("content-type", "application/json").body(settings.to_string()))
    };
    register(&server, &json!({ "id": "new", "name": "First" }), &wanting(2)).expect(201);
    for id in ["guest", "adopted"] {
        register(&server, &json!({ "id": id, "name": "First", "grants": { "system": true } }), &plain(1))
            .expect(201);
    }
    put(&server, "guest", agent(&wanting(2), "Second")).expect(202);
    // The file names one of them, with a file whose code waits and fewer rights: what serves goes on, and
    // its settings are written down again.
    fleet.plugin("adopted", &wanting(3));
    fleet.settings("[agents.adopted]\ncomponent = \"plugins/adopted.wasm\"\nname = \"Second\"\n");
    server.wait_for_pending("adopted", &digest(&wanting(3)));
    drop(server);
    for id in ["guest", "adopted", "new"] {
        let record = record(&fleet.data(), id).to_string();
        assert!(!record.contains("/components/"), "{id}: {record}");
    }
    let moved = fleet.path("moved/data");
    fs::create_dir(fleet.path("moved")).expect("a folder");
    fs::rename(fleet.data(), &moved).expect("it moves");
    let server = Start::file(&fleet.path("agents.toml"), &moved).serve();
    for (id, waits) in [("guest", wanting(2)), ("adopted", wanting(3))] {
        let page = server.wait_for_pending(id, &digest(&waits));
        assert_eq!((&page["name"], &page["digest"]), (&json!("First"), &json!(digest(&plain(1)))), "{page}");
        assert_eq!(server.call(id, "x").expect(200)["agent_digest"], digest(&plain(1)));
        let word = json!({ "digest": digest(&waits) });
        let page = server.post(&format!("/api/agents/{id}/approve"), &word).expect(200);
        assert_eq!((&page["name"], &page["digest"]), (&json!("Second"), &json!(digest(&waits))), "{page}");
    }
}

#[test]
fn one_of_an_older_program_is_brought_up_to_date() {
    let fleet = Fleet::new(ONE);
    fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    register(&server, &json!({ "id": "guest", "name": "A guest" }), &plain(2)).expect(201);
    drop(server);
    // As it was before forms were counted: a path where the digest is now, in another place by now.
    let mut old = record(&fleet.data(), "guest");
    let text = old["registered"].as_str().expect("settings");
    let mut settings: Value = serde_json::from_str(text).expect("JSON");
    settings["component"] = json!(format!("/srv/before/components/{}", digest(&plain(2))));
    old["registered"] = json!(settings.to_string());
    set_record(&fleet.data(), "guest", &old);
    let first = "DROP TABLE about; PRAGMA user_version = 0";
    database(&fleet.data()).execute_batch(first).expect("the first form");
    for _ in 0..2 {
        let server = fleet.serve();
        let page = server.agent("guest");
        assert_eq!((&page["status"], &page["name"]), (&json!("active"), &json!("A guest")), "{page}");
        assert_eq!(server.call("guest", "x").expect(200)["agent_generation"], 1);
        assert_eq!(server.call("a", "x").expect(200)["agent_generation"], 1);
    }
}

#[test]
fn settings_that_an_older_program_wrote_down_are_the_same_settings() {
    let fleet = Fleet::new(&format!("{ONE}grants = {{ system = true }}\n"));
    fleet.plugin("a", &wanting(1));
    let server = fleet.serve();
    register(&server, &json!({ "id": "guest", "grants": { "system": true } }), &wanting(2)).expect(201);
    drop(server);
    // What stockade 0.1.0 made of these settings; approvals were names.
    let before = |id: &str, settings: &str| {
        let mut record = record(&fleet.data(), id);
        record["serving"]["settings"] = json!(settings);
        record["approved"] = json!(["system"]);
        set_record(&fleet.data(), id, &record);
    };
    before("a", "169e9d7788195b8fa779f15dae002ac959ef65faa627e263b169256fb6c187ef");
    before("guest", "7b068ee1d9a3496145af29f7a35451cbe23c25cd6cf25304f15236aa270db1d2");
    for _ in 0..2 {
        let server = fleet.serve();
        for id in ["a", "guest"] {
            let page = server.agent(id);
            assert_eq!((&page["generation"], &page["pending"]), (&json!(1), &Value::Null), "{page}");
            assert_eq!((&page["status"], &page["blocked"]), (&json!("active"), &json!([])), "{page}");
            let answer = server.call(id, "system memory").expect(200);
            assert_eq!(
                (&answer["agent_generation"], &answer["data"]["outcome"]),
                (&json!(1), &json!("granted"))
            );
        }
    }
    let known = record(&fleet.data(), "a");
    assert_ne!(
        known["serving"]["settings"],
        "169e9d7788195b8fa779f15dae002ac959ef65faa627e263b169256fb6c187ef"
    );
    assert_eq!(known["approved"], json!({ "system": true }));
}

#[test]
fn one_of_a_later_program_is_refused_with_who_made_it_and_left_alone() {
    let fleet = Fleet::new(ONE);
    fleet.plugin("a", &plain(1));
    drop(fleet.serve());
    let later = "UPDATE about SET value = 'stockade 9.1' WHERE key = 'program'; PRAGMA user_version = 99";
    database(&fleet.data()).execute_batch(later).expect("a later form");
    let config = fleet.path("agents.toml").display().to_string();
    let data = fleet.data().display().to_string();
    let ran =
        command::stockade(["serve", "--listen", "127.0.0.1:0", "--config", &config, "--data-dir", &data]);
    for word in ["registry.db", "stockade 9.1", "99", "data_dir", "changed nothing"] {
        assert!(ran.err.contains(word), "`{word}` is not in {}", ran.err);
    }
    ran.expect(1);
    let form = "SELECT user_version FROM pragma_user_version";
    assert_eq!(database(&fleet.data()).query_row(form, [], |row| row.get(0)), Ok(99));
}

#[test]
fn a_damaged_component_is_mended_by_whoever_has_it_and_said_where_nobody_does() {
    let fleet = Fleet::new(ONE);
    fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    register(&server, &json!({ "id": "same" }), &plain(1)).expect(201);
    register(&server, &json!({ "id": "other" }), &plain(2)).expect(201);
    let second = fleet.plugin("a", &plain(3));
    server.wait_for_digest("a", &second);
    drop(server);
    // A plugin's file has the first one again, and nobody has the second.
    fleet.plugin("a", &plain(1));
    for number in [1, 2, 3] {
        damage(&component(&fleet, &plain(number)));
    }
    let server = fleet.serve();
    assert_eq!(server.call("same", "x").expect(200)["agent_digest"], digest(&plain(1)));
    assert_eq!(fs::read(component(&fleet, &plain(1))).expect("mended"), plain(1));
    let page = server.wait_for_failure("other", &["is damaged", &digest(&plain(2)), "register"]);
    assert_eq!((&page["status"], &page["digest"]), (&json!("failed"), &Value::Null), "{page}");
    server.call("other", "x").expect_failure(503, "agent_unavailable");
    // Its content comes with another agent: it is mended, and who waited for it serves.
    register(&server, &json!({ "id": "third" }), &plain(2)).expect(201);
    let page = server.wait_for_digest("other", &digest(&plain(2)));
    assert_eq!((&page["status"], &page["generation"]), (&json!("active"), &json!(1)), "{page}");
    assert_eq!(fs::read(component(&fleet, &plain(2))).expect("mended"), plain(2));
    // What serves is mended too, as soon as it comes again.
    damage(&component(&fleet, &plain(2)));
    register(&server, &json!({ "id": "fourth" }), &plain(2)).expect(201);
    assert_eq!(fs::read(component(&fleet, &plain(2))).expect("mended"), plain(2));
    // Nobody has what would have to come back.
    let ran = fleet.command(&server, &["rollback", "a", "--yes"]);
    assert!(ran.err.contains("is damaged") && ran.code != 0, "{ran:?}");
    assert_eq!(server.call("a", "x").expect(200)["agent_digest"], digest(&plain(1)));
}

#[test]
fn an_agent_that_comes_back_finds_what_was_decided_of_it() {
    let fleet = Fleet::new(ONE);
    fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    server.wait_for_pending("a", &fleet.plugin("a", &wanting(2)));
    fleet.command(&server, &["approve", "a", "--yes"]).expect(0);
    let before = server.wait_for_digest("a", &digest(&wanting(2)));
    assert_eq!(before["generation"], 2);
    // It goes from a file that is right in itself, and comes back: at once, and after a restart.
    fleet.settings(NONE);
    poll_until("it is gone", || (server.call("a", "x").status == 404).then_some(()));
    fleet.settings(ONE);
    let same = |page: &Value| {
        for field in ["generation", "digest", "previous", "capabilities", "status", "loaded_at"] {
            assert_eq!(page[field], before[field], "{field}: {page}");
        }
    };
    same(&server.wait_for_digest("a", &digest(&wanting(2))));
    fleet.settings(NONE);
    poll_until("it is gone", || (server.call("a", "x").status == 404).then_some(()));
    drop(server);
    drop(fleet.serve());
    fleet.settings(ONE);
    let server = fleet.serve();
    same(&server.agent("a"));
    fleet.command(&server, &["rollback", "a", "--yes"]).expect(0);
    assert_eq!(server.call("a", "x").expect(200)["agent_digest"], digest(&plain(1)));
}

#[test]
fn what_is_kept_of_an_agent_that_went_is_swept_when_its_time_is_up() {
    let fleet = Fleet::new(ONE);
    fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    server.wait_for_digest("a", &fleet.plugin("a", &plain(2)));
    drop(server);
    fleet.settings(NONE);
    let server = fleet.serve();
    let kept = || component(&fleet, &plain(1)).exists() && component(&fleet, &plain(2)).exists();
    drop(server);
    let mut old = record(&fleet.data(), "a");
    assert!(old["removed"].is_object() && old["serving"].is_object() && kept(), "{old}");
    old["removed"] = json!({ "secs_since_epoch": 1_600_000_000, "nanos_since_epoch": 0 });
    set_record(&fleet.data(), "a", &old);
    let server = fleet.serve();
    poll_until("its generation alone is kept", || {
        let record = record(&fleet.data(), "a");
        (record["serving"].is_null() && record["generation"] == 2).then_some(())
    });
    poll_until("its components go", || (!kept()).then_some(()));
    fleet.settings(ONE);
    let page = server.wait_for_digest("a", &digest(&plain(2)));
    assert_eq!((&page["generation"], &page["previous"]), (&json!(3), &json!([])), "{page}");
}

#[test]
fn who_registers_under_a_name_that_was_the_files_finds_nothing_of_it() {
    let fleet = Fleet::new(ONE);
    fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    server.wait_for_digest("a", &fleet.plugin("a", &plain(2)));
    fleet.settings(NONE);
    poll_until("it is gone", || (server.call("a", "x").status == 404).then_some(()));
    let page = register(&server, &json!({ "id": "a" }), &plain(3)).expect(201);
    assert_eq!((&page["generation"], &page["previous"]), (&json!(3), &json!([])), "{page}");
}
