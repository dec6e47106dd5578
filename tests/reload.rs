//! Plugin files that change while calls are being made: what serves, what each answer says of it,
//! and that nothing which is wrong with a new version reaches a caller.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::loading::{refused, unsaid};
use crate::support::fleet::{digest, plain, variant};
use crate::support::random::Random;
use crate::support::{Connection, Fleet, Request, Server, guests, poll_until};

const ONE: &str = "[agents.a]\ncomponent = \"plugins/a.wasm\"\n";

fn task(server: &Server, agent: &str, query: &str) -> Request {
    server.signed(Request::post("/orchestrator/execute", &json!({ "agent": agent, "query": query })))
}

/// Sends a call and does not wait for its answer.
fn begin(server: &Server, agent: &str, query: &str) -> Connection {
    let mut connection = server.connect();
    connection.send(&task(server, agent, query).bytes()).expect("the request is sent");
    connection
}

/// Calls `agent` from several clients while `change` runs: every call has to be answered, and the
/// generations that a client sees must never go down. Returns which digest each generation had.
fn under_calls(server: &Server, agent: &str, change: impl FnOnce()) -> BTreeMap<u64, String> {
    let (going, seen) = (AtomicBool::new(true), Mutex::new(BTreeMap::new()));
    let client = || {
        let (mut connection, mut last) = (server.connect(), 0);
        let request = task(server, agent, "hello");
        while going.load(Ordering::Relaxed) {
            let answer = connection.ask(&request).expect(200);
            let generation = answer["agent_generation"].as_u64().expect("a generation");
            assert!(generation >= last, "an older version answers after generation {last}: {answer}");
            last = generation;
            let digest = answer["agent_digest"].as_str().expect("a digest").to_owned();
            let mut seen = seen.lock().expect("no client fails");
            let known = seen.entry(generation).or_insert_with(|| digest.clone());
            assert_eq!(*known, digest, "a generation is one version");
        }
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..3).map(|_| scope.spawn(client)).collect();
        let changed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(change));
        going.store(false, Ordering::Relaxed);
        clients.into_iter().for_each(|client| client.join().expect("every call is answered"));
        changed.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    seen.into_inner().expect("no client failed")
}

#[test]
fn what_is_saved_serves_and_no_call_is_lost() {
    let fleet = Fleet::new(ONE);
    let first = fleet.plugin("a", &plain(0));
    let server = fleet.serve();
    assert_eq!(server.agent("a")["generation"], 1);
    let mut digests = vec![first];
    let seen = under_calls(&server, "a", || {
        for number in 1..=12 {
            let digest = fleet.plugin("a", &plain(number));
            let page = server.wait_for_digest("a", &digest);
            assert_eq!((&page["generation"], &page["last_reload"]["ok"]), (&json!(number + 1), &json!(true)));
            digests.push(digest);
        }
        // Once more in each of the last versions' way.
        server.call("a", "x").expect(200);
    });
    for (generation, digest) in seen {
        let index = usize::try_from(generation).expect("a small number") - 1;
        assert_eq!(digest, digests[index], "generation {generation}");
    }
    let previous = server.agent("a")["previous"].as_array().expect("a list").clone();
    let kept: Vec<_> = previous.iter().map(|release| release["generation"].as_u64()).collect();
    assert_eq!(kept, [12, 11, 10, 9, 8].map(Some), "`keep_versions` is 5");
    // What nothing needs is not kept: what serves and five earlier ones.
    poll_until("the components of forgotten versions go", || {
        let kept = fs::read_dir(fleet.data().join("components")).expect("a folder").count();
        (kept == 6).then_some(())
    });
}

#[test]
fn touching_or_saving_the_same_again_is_no_new_version() {
    let fleet = Fleet::new(ONE);
    let digest = fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    let before = server.agent("a");
    for _ in 0..3 {
        let last = server.agent("a")["last_reload"]["at"].clone();
        fleet.plugin("a", &plain(1));
        let page =
            server.wait_for_page("a", "it was looked at again", |page| page["last_reload"]["at"] != last);
        assert_eq!((&page["generation"], &page["digest"]), (&json!(1), &json!(digest)), "{page}");
        assert_eq!(page["loaded_at"], before["loaded_at"]);
        assert_eq!(page["previous"], json!([]));
    }
}

#[test]
fn a_file_that_is_written_in_pieces_is_never_served_in_part() {
    let fleet = Fleet::new(ONE);
    fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    let next = plain(2);
    under_calls(&server, "a", || {
        let mut file = fs::File::create(fleet.path("plugins/a.wasm")).expect("a file");
        for piece in next.chunks(next.len() / 7) {
            file.write_all(piece).expect("a piece");
            file.sync_all().expect("a piece");
            // It answers in between, as before.
            assert_eq!(server.call("a", "x").expect(200)["agent_generation"], 1);
        }
        drop(file);
        assert_eq!(server.wait_for_digest("a", &digest(&next))["generation"], 2);
    });
    server.log_lines("only whole files are loaded", |line| line["message"] == "agent is live");
    assert!(!server.log().contains("agent was not loaded"), "half a file was tried:\n{}", server.log());
}

#[test]
fn whatever_is_wrong_with_a_new_version_the_old_one_serves_on() {
    let fleet = Fleet::new(ONE);
    let good = fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    let file = fleet.path("plugins/a.wasm").display().to_string();
    let mut wrong = Vec::new();
    let seen = under_calls(&server, "a", || {
        let mut since = Value::Null;
        for (id, component, _, words) in refused() {
            if id == "folder" {
                continue;
            }
            let before = server.agent("a")["last_reload"]["at"].clone();
            match fs::read(&component) {
                Ok(bytes) => drop(fleet.plugin("a", &bytes)),
                Err(_) => fs::remove_file(&file).expect("the file goes"),
            }
            // The path is the file's own; the remedy is what its message says at a start, too.
            let words: Vec<&str> = words.iter().filter(|word| !word.starts_with('/')).copied().collect();
            server.wait_for_page("a", "it was looked at", |page| page["last_reload"]["at"] != before);
            let page = server.wait_for_failure("a", &words[..1]);
            let report = &page["last_reload"];
            let error = report["error"].as_str().expect("a reason");
            wrong.extend(unsaid(id, &words, error));
            wrong.extend(unsaid(id, &[&file], error));
            assert_eq!((&page["status"], &page["digest"]), (&json!("active"), &json!(good)), "{page}");
            assert_eq!((&page["generation"], &report["ok"]), (&json!(1), &json!(false)), "{page}");
            assert!(report["failing_since"].is_string(), "{page}");
            if since.is_null() {
                since = report["failing_since"].clone();
            }
            assert_eq!(report["failing_since"], since, "it has failed since the first of them: {page}");
        }
        let listed = fleet.command(&server, &["agents"]);
        assert!(listed.out.contains("active"), "{listed:?}");
        for word in ["loading it fails since", since.as_str().expect("a time"), "generation 1 still serves"] {
            assert!(listed.err.contains(word), "`{word}` is not in {listed:?}");
        }
        server.log_lines("the log says it", |line| line["level"] == "ERROR" && line["agent"] == "a");
        // A file that is right again is all that is needed.
        let page = server.wait_for_digest("a", &fleet.plugin("a", &plain(2)));
        assert_eq!((&page["generation"], &page["last_reload"]["failing_since"]), (&json!(2), &Value::Null));
    });
    assert_eq!(seen.keys().filter(|generation| **generation > 2).count(), 0);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_version_that_needs_more_memory_than_its_agent_has_is_not_taken() {
    let fleet = Fleet::new(&format!("{ONE}limits.memory = \"256 KiB\"\n"));
    let good = fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    fleet.plugin("a", &fs::read(guests::guest("hostile")).expect("a component"));
    let page = server.wait_for_failure("a", &["limits.memory", "262144"]);
    assert_eq!(page["digest"], good);
    assert_eq!(server.call("a", "x").expect(200)["agent_digest"], good);
}

#[test]
fn a_call_ends_on_the_version_it_began_with_and_then_that_version_is_gone() {
    let fleet = Fleet::new(&format!("{ONE}max_concurrent = 1\nqueue = 5\n"));
    let old = fleet.plugin("a", &fs::read(guests::guest("hostile")).expect("a component"));
    let server = fleet.serve();
    assert!(server.maps().contains(&old), "compiled code is mapped from its file");
    let mut running = begin(&server, "a", "sleep 4000");
    server.wait_for_load("a", 1, 0);
    let mut queued = begin(&server, "a", "echo");
    server.wait_for_load("a", 1, 1);
    let new = fleet.plugin("a", &fs::read(guests::guest("echo")).expect("a component"));
    server.wait_for_digest("a", &new);
    let maps = server.maps();
    if server.agent("a")["running"] == 1 {
        assert!(maps.contains(&old), "the call that runs needs it");
    }
    let answer = running.answer(false).expect("an answer").expect(200);
    assert_eq!((&answer["agent_generation"], &answer["agent_digest"]), (&json!(1), &json!(old)), "{answer}");
    let answer = queued.answer(false).expect("an answer").expect(200);
    assert_eq!((&answer["agent_generation"], &answer["agent_digest"]), (&json!(2), &json!(new)), "{answer}");
    assert_eq!(answer["response"], "echo", "the newest code answers who waited");
    poll_until("the old version's code goes with its last call", || {
        (!server.maps().contains(&old)).then_some(())
    });
}

#[test]
fn many_versions_later_the_host_holds_only_what_serves() {
    let fleet = Fleet::new(ONE);
    let mut digests = vec![fleet.plugin("a", &plain(0))];
    let server = fleet.serve();
    under_calls(&server, "a", || {
        for number in 1..=20 {
            digests.push(fleet.plugin("a", &plain(number)));
            // Not each is waited for: some are overtaken before they were read.
            if number % 4 == 0 {
                server.wait_for_digest("a", &digests[usize::from(number)]);
            }
        }
    });
    poll_until("only the last version's code is mapped", || {
        let maps = server.maps();
        let mapped: Vec<_> = digests.iter().filter(|digest| maps.contains(*digest)).collect();
        (mapped == [&digests[20]]).then_some(())
    });
}

#[test]
fn agents_of_one_file_change_together() {
    let two = format!("{ONE}[agents.b]\ncomponent = \"plugins/a.wasm\"\nname = \"B\"\n");
    let fleet = Fleet::new(&two);
    fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    let digest = fleet.plugin("a", &plain(2));
    for agent in ["a", "b"] {
        let page = server.wait_for_digest(agent, &digest);
        assert_eq!(page["generation"], 2, "{page}");
    }
    fleet.plugin("a", b"this is no component");
    for agent in ["a", "b"] {
        assert_eq!(server.wait_for_failure(agent, &["not WebAssembly"])["digest"], digest);
        server.call(agent, "x").expect(200);
    }
}

#[test]
fn a_file_that_is_deleted_and_made_again_is_taken_up() {
    let fleet = Fleet::new(ONE);
    let first = fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    fs::remove_file(fleet.path("plugins/a.wasm")).expect("the file goes");
    let page = server.wait_for_failure("a", &["is not there", "stockade build"]);
    assert_eq!((&page["status"], &page["digest"]), (&json!("active"), &json!(first)));
    // With its folder, as `cargo clean` does it.
    fs::remove_dir_all(fleet.path("plugins")).expect("the folder goes");
    server.call("a", "x").expect(200);
    fs::create_dir(fleet.path("plugins")).expect("the folder comes");
    let page = server.wait_for_digest("a", &fleet.plugin("a", &plain(2)));
    assert_eq!((&page["generation"], &page["last_reload"]["error"]), (&json!(2), &Value::Null));
    // An agent that never had a file gets its first one.
    fleet.settings(&format!("{ONE}[agents.b]\ncomponent = \"plugins/b.wasm\"\n"));
    server.wait_for_page("b", "it is missing", |page| page["status"] == "missing");
    let page = server.wait_for_digest("b", &fleet.plugin("b", &plain(3)));
    assert_eq!((&page["status"], &page["generation"]), (&json!("active"), &json!(1)));
}

#[test]
fn what_was_served_is_served_again_after_a_crash_whatever_became_of_the_file() {
    let fleet = Fleet::new(ONE);
    fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    let second = fleet.plugin("a", &plain(2));
    let page = server.wait_for_digest("a", &second);
    let loaded_at = page["loaded_at"].clone();
    drop(server);
    // The same file: the same generation, since the same time.
    let server = fleet.serve();
    let page = server.agent("a");
    assert_eq!((&page["generation"], &page["digest"]), (&json!(2), &json!(second)), "{page}");
    assert_eq!((&page["loaded_at"], &page["previous"][0]["generation"]), (&loaded_at, &json!(1)), "{page}");
    drop(server);
    // A broken one, and none.
    for word in ["not WebAssembly", "is not there"] {
        match word {
            "is not there" => fs::remove_file(fleet.path("plugins/a.wasm")).expect("the file goes"),
            _ => drop(fleet.plugin("a", b"this is no component")),
        }
        let server = fleet.serve();
        let page = server.wait_for_failure("a", &[word]);
        assert_eq!((&page["status"], &page["generation"]), (&json!("active"), &json!(2)), "{page}");
        assert_eq!(server.call("a", "x").expect(200)["agent_digest"], second);
    }
    // A new one, saved while no host ran.
    let third = fleet.plugin("a", &plain(3));
    let server = fleet.serve();
    let page = server.agent("a");
    assert_eq!((&page["generation"], &page["digest"]), (&json!(3), &json!(third)), "{page}");
}

#[test]
fn a_crash_at_any_moment_leaves_what_was_served_and_generations_that_grow() {
    let fleet = Fleet::new(ONE);
    let mut random = Random::new(7);
    fleet.plugin("a", &plain(0));
    let mut known: BTreeMap<u64, String> = BTreeMap::new();
    let mut look = |server: &Server| {
        let page = server.agent("a");
        let Some(generation) = page["generation"].as_u64() else { return };
        let digest = page["digest"].as_str().expect("a digest").to_owned();
        let last = known.last_key_value().map_or(0, |(last, _)| *last);
        assert!(generation >= last, "generation {generation} comes after {last}");
        let said = known.entry(generation).or_insert_with(|| digest.clone());
        assert_eq!(*said, digest, "generation {generation} is one version");
    };
    let mut saved = String::new();
    for round in 0..8 {
        let server = fleet.start().at_once().serve();
        for number in 1..=4 {
            saved = fleet.plugin("a", &plain(round * 4 + number));
            for _ in 0..random.below(12) {
                look(&server);
            }
        }
        drop(server);
    }
    let server = fleet.serve();
    server.wait_for_digest("a", &saved);
    look(&server);
    assert_eq!(server.call("a", "x").expect(200)["agent_digest"], saved);
    assert!(!server.log().contains("\"ERROR\""), "{}", server.log());
}

#[test]
fn what_cannot_be_written_down_does_not_take_effect() {
    let fleet = Fleet::new(ONE);
    let first = fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    let database = rusqlite::Connection::open(fleet.data().join("registry.db")).expect("the database");
    database.execute_batch("ALTER TABLE agents RENAME TO elsewhere").expect("no table is there");
    let second = fleet.plugin("a", &plain(2));
    let page = server.wait_for_failure("a", &["registry.db", "nothing was changed"]);
    assert_eq!((&page["generation"], &page["digest"]), (&json!(1), &json!(first)), "{page}");
    server.call("a", "x").expect(200);
    // Neither do settings; what was not applied is applied when they are saved again.
    let more = format!("{ONE}[agents.b]\ncomponent = \"plugins/a.wasm\"\n");
    fleet.settings(&more);
    server.log_lines("it is in the log", |line| {
        line["message"]
            .to_string()
            .contains("the agents' settings did not take effect, except what they withdraw")
            && line["reason"].to_string().contains("registry.db")
    });
    assert_eq!(server.get("/orchestrator/agents/b").status, 404);
    database.execute_batch("ALTER TABLE elsewhere RENAME TO agents").expect("the table is there again");
    fleet.settings(&more);
    assert_eq!(server.wait_for_digest("b", &second)["generation"], 1);
    fleet.plugin("a", &plain(2));
    assert_eq!(server.wait_for_digest("a", &second)["generation"], 2);
    // The same where components are kept.
    fs::rename(fleet.data().join("components"), fleet.data().join("elsewhere")).expect("it goes");
    let third = fleet.plugin("a", &plain(3));
    let page = server.wait_for_failure("a", &["components", "nothing was changed"]);
    assert_eq!(page["digest"], second);
    fs::rename(fleet.data().join("elsewhere"), fleet.data().join("components")).expect("it is back");
    fleet.plugin("a", &plain(3));
    server.wait_for_digest("a", &third);
}

#[test]
fn a_data_folder_has_one_host() {
    let fleet = Fleet::new(ONE);
    fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--config"].map(str::to_owned);
    let config = fleet.path("agents.toml").display().to_string();
    let data = ["--data-dir".to_owned(), fleet.data().display().to_string()];
    let second = crate::support::command::stockade(arguments.into_iter().chain([config]).chain(data));
    assert!(second.err.contains("in use by another host") && second.err.contains("data_dir"), "{second:?}");
    second.expect(1);
    server.call("a", "x").expect(200);
    // It is free at once when that one is gone, however that ended.
    drop(server);
    fleet.serve().call("a", "x").expect(200);
}

#[test]
fn a_plugin_that_is_linked_from_elsewhere_is_followed() {
    let fleet = Fleet::new(ONE);
    fs::create_dir(fleet.path("built")).expect("a folder");
    let variant = |number| variant(&guests::text("plain"), number);
    fs::write(fleet.path("built/one.wasm"), variant(1)).expect("a file");
    fs::write(fleet.path("built/two.wasm"), variant(2)).expect("a file");
    let link = fleet.path("plugins/a.wasm");
    std::os::unix::fs::symlink(fleet.path("built/one.wasm"), &link).expect("a link");
    let server = fleet.serve();
    assert_eq!(server.agent("a")["digest"], digest(&variant(1)));
    std::os::unix::fs::symlink(fleet.path("built/two.wasm"), fleet.path("next")).expect("a link");
    fs::rename(fleet.path("next"), &link).expect("the link leads elsewhere");
    server.wait_for_digest("a", &digest(&variant(2)));
    fs::write(fleet.path("built/two.wasm"), variant(3)).expect("its target changes");
    server.wait_for_digest("a", &digest(&variant(3)));
}
