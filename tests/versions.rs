//! The operator's word on versions, and the host's own: what waits for approval, what is taken
//! back, and what is true of both after a restart.

use std::fs;

use serde_json::{Value, json};

use crate::support::fleet::{failing, plain, wanting};
use crate::support::{Fleet, Request, Server};

const ONE: &str = "[agents.a]\ncomponent = \"plugins/a.wasm\"\n";
/// A few calls decide.
const STRICT: &str = "[reload]\nrollback_calls = 4\nrollback_error_rate = 0.5\n\
    [agents.a]\ncomponent = \"plugins/a.wasm\"\n";

/// Lets in what the agent's page shows: what waits, or else what was taken back last.
fn approve(server: &Server, agent: &str) -> crate::support::Reply {
    let page = server.get(&format!("/orchestrator/agents/{agent}")).json();
    let waits = &page["pending"]["digest"];
    let digest = if waits.is_string() { waits } else { &page["blocked"][0]["digest"] };
    let digest = digest.as_str().map_or_else(|| "0".repeat(64), str::to_owned);
    approve_this(server, agent, &digest)
}

fn approve_this(server: &Server, agent: &str, digest: &str) -> crate::support::Reply {
    server.post(&format!("/api/agents/{agent}/approve"), &json!({ "digest": digest }))
}

fn roll_back(server: &Server, agent: &str) -> crate::support::Reply {
    server.ask(Request::new("POST", &format!("/api/agents/{agent}/rollback")))
}

/// What `stockade:system` says to the agent.
fn asks_system(server: &Server) -> Value {
    server.call("a", "system memory").expect(200)["data"]["outcome"].clone()
}

#[test]
fn a_version_that_wants_more_waits_until_it_is_approved() {
    let fleet = Fleet::new(ONE);
    let first = fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    let second = fleet.plugin("a", &wanting(2));
    let page = server.wait_for_pending("a", &second);
    assert_eq!((&page["status"], &page["digest"]), (&json!("pending_approval"), &json!(first)), "{page}");
    assert_eq!(page["pending"]["wants"], json!(["system"]));
    let remedy = page["pending"]["remedy"].as_str().expect("a remedy");
    assert!(remedy.contains("stockade approve a") && remedy.contains("system = true"), "{remedy}");
    let report = &page["last_reload"];
    assert_eq!((&report["ok"], &report["error"]), (&json!(false), &Value::Null), "it does not serve: {page}");
    assert_eq!(server.call("a", "system memory").expect(200)["agent_digest"], first);
    server.log_lines("the log says what is wanted", |line| {
        line["level"] == "WARN" && line["agent"] == "a" && line["wants"] == "system"
    });
    let listed = fleet.command(&server, &["agents"]);
    for word in ["waits for approval since", "wants system", "stockade approve a", &second[..12]] {
        assert!(listed.err.contains(word), "`{word}` is not in {listed:?}");
    }
    // It waits on, since the same time, through a crash and a file that is broken meanwhile.
    let since = page["pending"]["since"].clone();
    drop(server);
    fleet.plugin("a", b"this is no component");
    let server = fleet.serve();
    let page = server.wait_for_pending("a", &second);
    assert_eq!((&page["pending"]["since"], &page["digest"]), (&since, &json!(first)), "{page}");
    let said = fleet.command(&server, &["approve", "a", "--yes"]).expect(0);
    assert!(said.contains("generation 2") && said.contains(&second[..12]), "{said}");
    let page = server.agent("a");
    assert_eq!((&page["digest"], &page["pending"]), (&json!(second), &Value::Null), "{page}");
    assert_eq!(page["grants"], json!({ "system": true }));
    assert_eq!(asks_system(&server), "granted");
    // The approval is the agent's: the next version has it, also after a restart.
    let third = fleet.plugin("a", &wanting(3));
    assert_eq!(server.wait_for_digest("a", &third)["generation"], 3);
    drop(server);
    let server = fleet.serve();
    assert_eq!(server.agent("a")["generation"], 3);
    assert_eq!(asks_system(&server), "granted");
    // The file's word goes before it.
    fleet.settings(&format!("{ONE}grants = {{ system = false }}\n"));
    server.wait_for_page("a", "it is not granted", |page| page["grants"]["system"] == false);
    assert_eq!(asks_system(&server), "denied");
    approve(&server, "a").expect_failure(409, "conflict");
}

#[test]
fn a_grant_in_the_file_lets_in_what_waits() {
    let fleet = Fleet::new(ONE);
    fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    let second = fleet.plugin("a", &wanting(2));
    server.wait_for_pending("a", &second);
    let granted = format!("{ONE}grants = {{ system = true }}\n");
    fleet.settings(&granted);
    let page = server.wait_for_digest("a", &second);
    assert_eq!((&page["status"], &page["pending"]), (&json!("active"), &Value::Null), "{page}");
    assert_eq!(asks_system(&server), "granted");
    // Withdrawn, it is refused from the next call on; the version stays.
    fleet.settings(ONE);
    let page = server.wait_for_page("a", "it is withdrawn", |page| page["grants"]["system"] == false);
    assert_eq!(page["digest"], second);
    assert_eq!(asks_system(&server), "denied");
    // Both at the same moment, in either order.
    for (number, file_first) in [(3, true), (5, false)] {
        let plain = fleet.plugin("a", &plain(number));
        server.wait_for_digest("a", &plain);
        let wanting = wanting(number + 1);
        if file_first {
            fleet.plugin("a", &wanting);
            fleet.settings(&granted);
        } else {
            fleet.settings(&granted);
            fleet.plugin("a", &wanting);
        }
        server.wait_for_digest("a", &crate::support::fleet::digest(&wanting));
        assert_eq!(asks_system(&server), "granted");
        fleet.settings(ONE);
        server.wait_for_page("a", "it is withdrawn", |page| page["grants"]["system"] == false);
    }
}

#[test]
fn what_waits_is_replaced_by_what_is_saved_later() {
    let fleet = Fleet::new(ONE);
    let first = fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    server.wait_for_pending("a", &fleet.plugin("a", &wanting(2)));
    let third = fleet.plugin("a", &wanting(3));
    server.wait_for_pending("a", &third);
    approve(&server, "a").expect(200);
    assert_eq!(server.agent("a")["digest"], third, "what waits last is what is let in");
    // A version that wants nothing does not wait, and nothing waits after it.
    let fleet = Fleet::new(ONE);
    fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    server.wait_for_pending("a", &fleet.plugin("a", &wanting(2)));
    fleet.plugin("a", &plain(1));
    let page = server.wait_for_page("a", "nothing waits", |page| page["pending"].is_null());
    assert_eq!((&page["status"], &page["digest"]), (&json!("active"), &json!(first)));
    let refused = approve(&server, "a").expect_failure(409, "conflict");
    assert!(refused["message"].to_string().contains("nothing of agent `a` waits"), "{refused}");
}

#[test]
fn a_version_that_fails_is_taken_back_and_stays_out_until_it_is_let_in() {
    let fleet = Fleet::new(STRICT);
    let first = fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    assert_eq!(server.call_often("a", "x", 10), 0);
    let second = fleet.plugin("a", &failing(2));
    server.wait_for_digest("a", &second);
    assert!(server.call_often("a", "x", 2) > 0);
    let page = server.wait_for_digest("a", &first);
    assert_eq!((&page["generation"], &page["status"]), (&json!(3), &json!("active")), "{page}");
    assert_eq!(page["blocked"][0]["digest"], second, "{page}");
    let reason = page["blocked"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("2 of its first 2 calls failed"), "{reason}");
    server.log_lines("the log says it", |line| {
        line["message"] == "agent was rolled back" && line["from"] == second
    });
    // Its file is saved again, the host is killed: it is not tried again.
    fleet.plugin("a", &failing(2));
    server.wait_for_failure("a", &["was taken back", "stockade approve a"]);
    drop(server);
    let server = fleet.serve();
    let page = server.wait_for_failure("a", &["was taken back", "stockade approve a"]);
    assert_eq!((&page["digest"], &page["generation"]), (&json!(first), &json!(3)), "{page}");
    assert_eq!(server.call_often("a", "x", 10), 0);
    // Other settings reach the code that serves.
    fleet.settings(&format!("{STRICT}name = \"Other\"\n"));
    let page = server.wait_for_page("a", "it has its name", |page| page["name"] == "Other");
    assert_eq!((&page["digest"], &page["generation"]), (&json!(first), &json!(4)), "{page}");
    // Told to, it is tried again, and watched again.
    let page = approve(&server, "a").expect(200);
    assert_eq!((&page["digest"], &page["blocked"]), (&json!(second), &json!([])), "{page}");
    assert!(server.call_often("a", "x", 2) > 0);
    let page = server.wait_for_digest("a", &first);
    assert_eq!(page["generation"], 6, "{page}");
    // Another version is no worse for it.
    let page = server.wait_for_digest("a", &fleet.plugin("a", &plain(3)));
    assert_eq!(page["generation"], 7);
}

#[test]
fn other_settings_do_not_end_a_versions_trial() {
    let fleet = Fleet::new(STRICT);
    let first = fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    let second = fleet.plugin("a", &failing(2));
    server.wait_for_digest("a", &second);
    assert_eq!(server.call_often("a", "x", 1), 1);
    fleet.settings(&format!("{STRICT}name = \"Other\"\n"));
    server.wait_for_page("a", "it has its name", |page| page["name"] == "Other" && page["generation"] == 3);
    server.call_often("a", "x", 1);
    let page = server.wait_for_digest("a", &first);
    assert_eq!((&page["generation"], &page["name"]), (&json!(4), &json!("Other")), "{page}");
}

#[test]
fn only_faults_of_the_code_count_and_only_at_first() {
    let fleet = Fleet::new(&format!("{STRICT}grants = {{ system = true }}\n"));
    fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    let second = fleet.plugin("a", &wanting(2));
    server.wait_for_digest("a", &second);
    for query in ["fail invalid-input x", "fail denied x", "fail unavailable x", "no such behaviour"] {
        assert_ne!(server.call("a", query).status, 200);
    }
    // Its first four calls are over.
    assert_eq!(server.call_often("a", "trap", 10), 10);
    assert_eq!(server.agent("a")["digest"], second, "it is past its trial");
    // What replaces code that fails anyway is no worse: it stays.
    let third = fleet.plugin("a", &failing(3));
    server.wait_for_digest("a", &third);
    server.call_often("a", "x", 10);
    assert_eq!(server.agent("a")["digest"], third);
}

#[test]
fn rolling_back_can_be_forbidden() {
    let fleet = Fleet::new("[reload]\nrollback = false\n[agents.a]\ncomponent = \"plugins/a.wasm\"\n");
    fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    let second = fleet.plugin("a", &failing(2));
    server.wait_for_digest("a", &second);
    assert_eq!(server.call_often("a", "x", 30), 30);
    assert_eq!(server.agent("a")["digest"], second);
}

#[test]
fn an_operator_goes_back_step_by_step_and_no_further_than_there_are_steps() {
    let fleet = Fleet::new(&format!("[reload]\nkeep_versions = 2\n{ONE}"));
    let mut digests = vec![fleet.plugin("a", &plain(0))];
    let server = fleet.serve();
    for number in 1..=3 {
        digests.push(fleet.plugin("a", &plain(number)));
        server.wait_for_digest("a", &digests[usize::from(number)]);
    }
    let said = fleet.command(&server, &["rollback", "a", "--yes"]).expect(0);
    assert!(said.contains("generation 5") && said.contains(&digests[2][..12]), "{said}");
    let page = server.agent("a");
    let reason = page["blocked"][0]["reason"].as_str().expect("a reason");
    assert!(reason.contains("an operator"), "{reason}");
    assert_eq!(page["blocked"][0]["digest"], digests[3]);
    // The next step after a crash; the file still holds the newest.
    drop(server);
    let server = fleet.serve();
    assert_eq!(server.agent("a")["digest"], digests[2]);
    let page = roll_back(&server, "a").expect(200);
    assert_eq!((&page["digest"], &page["generation"]), (&json!(digests[1]), &json!(6)), "{page}");
    assert_eq!(page["previous"], json!([]), "two were kept");
    let none = roll_back(&server, "a").expect_failure(409, "conflict");
    assert!(none["message"].to_string().contains("no earlier version"), "{none}");
    let none = fleet.command(&server, &["rollback", "a", "--yes"]);
    assert!(none.err.contains("no earlier version"), "{none:?}");
    none.expect(1);
    server.call("a", "x").expect(200);
    // Nobody is there, and nobody else may.
    roll_back(&server, "nobody").expect_failure(404, "agent_not_found");
    approve(&server, "nobody").expect_failure(404, "agent_not_found");
}

#[test]
fn what_waits_waits_on_while_another_version_is_taken_back() {
    let fleet = Fleet::new(STRICT);
    let first = fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    server.wait_for_digest("a", &fleet.plugin("a", &failing(2)));
    let third = fleet.plugin("a", &wanting(3));
    server.wait_for_pending("a", &third);
    assert!(server.call_often("a", "x", 4) > 0);
    let page = server.wait_for_digest("a", &first);
    assert_eq!(page["pending"]["digest"], third, "{page}");
    let page = approve(&server, "a").expect(200);
    assert_eq!(page["digest"], third, "what waits is let in, not what was taken back: {page}");
}

#[test]
fn what_was_taken_back_is_let_in_also_when_its_file_is_another_by_now() {
    let fleet = Fleet::new(ONE);
    fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    let second = fleet.plugin("a", &plain(2));
    server.wait_for_digest("a", &second);
    roll_back(&server, "a").expect(200);
    fs::write(fleet.path("plugins/a.wasm"), b"this is no component").expect("a file");
    server.wait_for_failure("a", &["not WebAssembly"]);
    let page = approve(&server, "a").expect(200);
    assert_eq!((&page["digest"], &page["generation"]), (&json!(second), &json!(4)), "{page}");
}

#[test]
fn an_agent_that_is_removed_and_named_again_is_who_it_was_and_the_file_can_say_otherwise() {
    let fleet = Fleet::new(ONE);
    fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    server.wait_for_pending("a", &fleet.plugin("a", &wanting(2)));
    approve(&server, "a").expect(200);
    assert_eq!(asks_system(&server), "granted");
    fleet.settings("# nobody\n");
    server.log_lines("it is gone", |line| line["message"] == "agent removed");
    server.call("a", "x").expect_failure(404, "agent_not_found");
    fleet.settings(ONE);
    let page = server.wait_for_page("a", "it is back", |page| page["status"] == "active");
    assert_eq!((&page["generation"], &page["grants"]), (&json!(2), &json!({ "system": true })), "{page}");
    assert_eq!(asks_system(&server), "granted");
    // The same if no host ran meanwhile; and what the file says counts more than what was approved.
    drop(server);
    fleet.settings("# nobody\n");
    drop(fleet.serve());
    fleet.settings(&format!("{ONE}grants = {{ system = false }}\n"));
    let server = fleet.serve();
    let page = server.agent("a");
    assert_eq!((&page["generation"], &page["grants"]), (&json!(3), &json!({ "system": false })), "{page}");
}
