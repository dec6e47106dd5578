//! A data folder that the version before left behind: this one opens it, brings it up to date and serves, and
//! whatever moment a crash picks on the way, either version can open it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;

use serde_json::{Value, json};

use crate::support::fleet::{digest, failing, plain, wanting};
use crate::support::random::Random;
use crate::support::{Fleet, Server, command};

/// What a host of the version before left in `registry.db`.
const LEFT: &str = include_str!("older/registry-form-2.sql");

/// The agents.toml that it served, and the one from which an agent had gone.
fn settings(gone: bool) -> String {
    let table = |id: &str, more: &str| format!("[agents.{id}]\ncomponent = \"plugins/{id}.wasm\"\n{more}");
    let own = "tags = [\"old\"]\nconfig = { word = \"w\" }\nlimits = { fuel = 5_000_000 }\n";
    let agents = ["waiting", "blocked", "approved"].map(|id| table(id, "")).concat();
    let gone = if gone { String::new() } else { table("gone", "") };
    format!("[server]\n{}{agents}{gone}", table("serving", own))
}

/// A folder as it was left: settings, agents' files, the database, the components that are kept.
fn left_behind() -> Fleet {
    let fleet = Fleet::new(&settings(true));
    fleet.plugin("serving", &plain(2));
    fleet.plugin("waiting", &wanting(4));
    fleet.plugin("blocked", &failing(6));
    fleet.plugin("approved", &wanting(8));
    fleet.plugin("gone", &plain(10));
    let components = fleet.data().join("components");
    fs::create_dir_all(&components).expect("a folder");
    let mut script = LEFT.replace("<plugins>", &fleet.path("plugins").display().to_string());
    for number in 1..=13 {
        for (name, bytes) in
            [("plain", plain(number)), ("wanting", wanting(number)), ("failing", failing(number))]
        {
            let mark = format!("<{name} {number}>");
            if script.contains(&mark) {
                fs::write(components.join(digest(&bytes)), &bytes).expect("a component");
                script = script.replace(&mark, &digest(&bytes));
            }
        }
    }
    let made = script.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n");
    assert!(!made.contains('<'), "what stands for something is known: {made}");
    database(&fleet.data()).execute_batch(&format!("PRAGMA journal_mode = WAL; {made}")).expect("the script");
    fleet
}

fn database(data: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(data.join("registry.db")).expect("the database")
}

fn form(data: &Path) -> i64 {
    database(data).pragma_query_value(None, "user_version", |row| row.get(0)).expect("a form")
}

fn records(data: &Path) -> BTreeMap<String, String> {
    let database = database(data);
    let mut statement = database.prepare("SELECT id, record FROM agents").expect("records");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("records");
    rows.collect::<rusqlite::Result<_>>().expect("records")
}

/// This component serves and answers: a task that each of them knows.
#[track_caller]
fn serves(server: &Server, id: &str, component: &[u8]) -> Value {
    let page = server.agent(id);
    assert_eq!(page["digest"], digest(component), "{page}");
    assert_eq!(server.call(id, "echo hello").expect(200)["agent_digest"], digest(component));
    page
}

#[test]
fn it_opens_is_brought_up_to_date_and_serves() {
    let fleet = left_behind();
    let mut generations = BTreeMap::new();
    for start in 0..2 {
        let server = fleet.serve();
        for (id, component, least, status) in [
            ("serving", plain(2), 2, "active"),
            ("waiting", plain(3), 1, "pending_approval"),
            ("blocked", plain(5), 3, "active"),
            ("approved", wanting(8), 2, "active"),
            ("guest", wanting(11), 1, "active"),
            ("guest-waiting", plain(12), 1, "pending_approval"),
            ("made-000", plain(12), 1, "active"),
            ("made-001", plain(12), 1, "active"),
        ] {
            let page = serves(&server, id, &component);
            let generation = page["generation"].as_u64().expect("a generation");
            assert!(generation >= least, "{id}: generation {generation}, and it had {least}");
            let before = generations.insert(id, generation);
            assert!(start == 0 || before == Some(generation), "{id}: {before:?} and then {generation}");
            assert_eq!(page["status"], status, "{page}");
            assert_eq!(page["pending"].is_null(), status == "active", "{page}");
        }
        let page = server.agent("serving");
        assert_eq!(page["previous"][0]["digest"], digest(&plain(1)), "{page}");
        assert_eq!((&page["tags"], &page["limits"]["fuel"]), (&json!(["old"]), &json!(5_000_000)), "{page}");
        assert_eq!(server.agent("waiting")["pending"]["digest"], digest(&wanting(4)));
        let page = server.agent("blocked");
        assert_eq!(page["blocked"][0]["digest"], digest(&failing(6)), "{page}");
        assert_eq!(page["blocked"][0]["reason"], "an operator took it back (key `local-admin`)", "{page}");
        assert_eq!(server.agent("approved")["grants"]["system"], true);
        let page = server.agent("guest");
        assert_eq!((&page["registered"], &page["name"]), (&json!(true), &json!("A guest")), "{page}");
        assert_eq!(server.agent("guest-waiting")["pending"]["digest"], digest(&wanting(13)));
        server.call("gone", "x").expect_failure(404, "agent_not_found");
    }
    assert!(form(&fleet.data()) > 2);
    let layout = fs::read_to_string(fleet.data().join("layout")).expect("the folder's layout");
    assert!(layout.contains("\"layout\":1"), "{layout}");
    // What was decided before is what operators go on from.
    let server = fleet.serve();
    server.post("/api/agents/serving/rollback", &json!({})).expect(200);
    serves(&server, "serving", &plain(1));
    for (id, waits) in [("waiting", wanting(4)), ("guest-waiting", wanting(13))] {
        let word = json!({ "digest": digest(&waits) });
        server.post(&format!("/api/agents/{id}/approve"), &word).expect(200);
        server.wait_for_digest(id, &digest(&waits));
    }
    assert_eq!(server.agent("guest-waiting")["name"], "Second");
    fleet.settings(&settings(false));
    let page = server.wait_for_digest("gone", &digest(&plain(10)));
    assert_eq!(page["previous"][0]["digest"], digest(&plain(9)), "{page}");
}

#[test]
fn killed_on_the_way_it_is_one_that_either_version_can_open() {
    let fleet = left_behind();
    let (data, agents) = (fleet.data(), 20_000);
    // As many agents that are gone as are ever kept: what there is to do takes a while.
    let many = format!(
        "WITH RECURSIVE number(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM number WHERE n < {agents}) \
         INSERT INTO agents SELECT 'gone-' || n, '{{\"generation\":1,\"removed\":{{\"secs_since_epoch\":4102444800,\"nanos_since_epoch\":' || n || '}}}}' FROM number"
    );
    database(&data).execute_batch(&many).expect("many agents");
    let left = records(&data);
    database(&data).execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").expect("all of it in one file");
    let original = fs::read(data.join("registry.db")).expect("the database");
    let start = || {
        let mut command = command::program();
        command
            .args(["serve", "--json", "--listen", "127.0.0.1:0", "--config"])
            .arg(fleet.path("agents.toml"));
        command.arg("--data-dir").arg(&data).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().expect("the program starts")
    };
    let restore = || {
        for name in ["registry.db-wal", "registry.db-shm"] {
            // There is none where the last one that used it closed it.
            let _ = fs::remove_file(data.join(name));
        }
        fs::write(data.join("registry.db"), &original).expect("as it was left");
    };
    // The first one is left alone until it listens, and says how long that takes.
    let began = Instant::now();
    let mut host = start();
    let mut first = [0];
    std::io::Read::read_exact(&mut host.stdout.take().expect("its output"), &mut first).expect("it listens");
    let took = began.elapsed();
    host.kill().expect("it is killed");
    host.wait().expect("it ends");
    let newest = form(&data);
    let brought = records(&data);
    assert!(newest > 2 && brought.len() == left.len());
    let mut random = Random::new(11);
    for _ in 0..12 {
        restore();
        let mut host = start();
        let share = u32::try_from(random.below(1_000)).expect("a small number");
        // The moment is the input here, and nothing is waited for.
        std::thread::sleep(took * share / 1_000);
        host.kill().expect("it is killed");
        host.wait().expect("it ends");
        let (form, records) = (form(&data), records(&data));
        let expected = BTreeMap::from([(2, &left), (newest, &brought)]);
        assert_eq!(
            Some(&records.len()),
            expected.get(&form).map(|records| records.len()).as_ref(),
            "form {form}"
        );
        let sound: String =
            database(&data).pragma_query_value(None, "integrity_check", |row| row.get(0)).expect("a check");
        assert_eq!(sound, "ok");
        if form == 2 {
            assert!(records == left, "what the version before wrote is as it was");
        }
    }
    let server = fleet.serve();
    serves(&server, "serving", &plain(2));
    assert_eq!(form(&data), newest);
}
