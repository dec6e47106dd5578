//! Words of guests and clients are hostile text: control characters planted wherever one can be, and a
//! look at the raw bytes of the log and of what each command prints.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Stdio};

use serde_json::json;
use stockade::domain::text::is_hostile;

use crate::support::command::{Ran, program, stockade};
use crate::support::written::{Words, component};
use crate::support::{Connection, Fleet, Request, Server, guests};

/// A line that begins anew, a cleared screen, C1's own introducer, text that runs backwards, other line ends.
const HOSTILE: &str = "x\nFORGED\r\u{1b}[2J\u{9b}8m\u{202e}\u{2066}\u{2028}\u{7f}";

/// The same on one line and without blanks: what fits where words are split.
const WORD: &str = "x\u{1b}[2J\u{9b}8m\u{202e}\u{2066}\u{7f}FORGED";

/// Everything that a component says is hostile.
fn hostile_words() -> Words<'static> {
    Words {
        texts: [HOSTILE; 4],
        triggers: &[HOSTILE, "look here"],
        examples: &[(HOSTILE, None), ("look at the server", None)],
        response: HOSTILE,
        ..Words::default()
    }
}

#[track_caller]
fn is_clean(what: &str, shown: &str) {
    let bad = shown.chars().find(|c| is_hostile(*c) && !matches!(c, '\n' | '\t'));
    assert_eq!(bad, None, "{what}: {shown:?}");
    assert!(!shown.lines().any(|line| line.starts_with("FORGED")), "{what}: {shown}");
}

#[track_caller]
fn are_clean(what: &str, ran: &Ran) {
    is_clean(what, &ran.out);
    is_clean(what, &ran.err);
}

/// A host that logs as text, as an operator's terminal would show it.
struct TextLog {
    child: Child,
    err: BufReader<ChildStderr>,
    address: std::net::SocketAddr,
    key: String,
}

impl TextLog {
    fn start(fleet: &Fleet) -> Self {
        let mut command = program();
        command.args(["serve", "--listen", "127.0.0.1:0", "--config"]).arg(fleet.path("agents.toml"));
        command.arg("--data-dir").arg(fleet.data());
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let mut err = BufReader::new(child.stderr.take().expect("its standard error"));
        let mut line = String::new();
        while !line.contains("Serving on http://") {
            line.clear();
            assert!(err.read_line(&mut line).expect("UTF-8") > 0, "it ended");
        }
        let address = line.split("http://").nth(1).and_then(|rest| rest.trim().parse().ok());
        let key = std::fs::read_to_string(fleet.data().join("admin.key")).expect("its key");
        Self { child, err, address: address.expect("an address"), key: key.trim().to_owned() }
    }

    fn ask(&self, request: Request) -> crate::support::Reply {
        Connection::open(self.address).ask(&request.key(&self.key))
    }

    /// All that it has logged by its end.
    fn end(mut self) -> Vec<u8> {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).expect("a signal");
        let mut log = Vec::new();
        self.err.read_to_end(&mut log).expect("its log");
        self.child.wait().expect("its end");
        log
    }
}

impl Drop for TextLog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A fleet of agents that say all they can: one that answers, one that fails, one whose self-test is wrong.
fn fleet() -> Fleet {
    let says = component("hostile-words", &hostile_words());
    let fails = component("hostile-failure", &Words { failure: Some(HOSTILE), ..hostile_words() });
    let untrue = [(HOSTILE, Some("something else"))];
    let wrong = component("hostile-test", &Words { examples: &untrue, ..hostile_words() });
    Fleet::new(&format!(
        "[agents.says]\ncomponent = {says:?}\n[agents.fails]\ncomponent = {fails:?}\n\
         [agents.wrong]\ncomponent = {wrong:?}\n[agents.hostile]\ncomponent = \"<hostile>\"\n"
    ))
}

/// What a client can plant, and make a guest plant.
fn requests() -> Vec<Request> {
    let execute = |agent: &str, query: &str| {
        Request::post(
            "/orchestrator/execute",
            &json!({ "agent": agent, "query": query, "context": { HOSTILE: 1 } }),
        )
    };
    vec![
        execute("says", HOSTILE),
        execute("fails", HOSTILE),
        execute("wrong", HOSTILE),
        execute(HOSTILE, HOSTILE),
        execute("hostile", &format!("panic {WORD}")),
        execute("hostile", &format!("fail failed {WORD}")),
        execute("hostile", &format!("fail unavailable {WORD}")),
        Request::post("/orchestrator/smart-execute", &json!({ "task": HOSTILE })),
        Request::post("/orchestrator/route", &json!({ "task": HOSTILE, "explain": true, HOSTILE: 1 })),
        Request::post("/orchestrator/batch", &json!([HOSTILE, { "agent": HOSTILE, "query": HOSTILE }])),
        Request::get("/orchestrator/agents/%1b%5b2J%0aFORGED%e2%80%ae"),
        Request::get("/\u{202e}\u{2066}FORGED\u{85}/nowhere"),
        Request::get("/healthz?%1b[2J\u{202e}").header("x-request-id", WORD).header("origin", WORD),
        Request::get("/orchestrator/agents").header("user-agent", WORD).header("x-forwarded-for", WORD),
        Request::new("POST", "/orchestrator/route").header("content-type", WORD).body(HOSTILE),
        Request::post("/api/agents", &json!({ "id": HOSTILE, "component": HOSTILE })),
    ]
}

#[test]
fn a_log_in_text_has_a_line_for_an_event_and_nothing_that_a_terminal_obeys() {
    let fleet = fleet();
    let host = TextLog::start(&fleet);
    crate::support::poll_until("the host is ready", || {
        (host.ask(Request::get("/readyz")).status == 200).then_some(())
    });
    for request in requests() {
        assert_ne!(host.ask(request.clone()).status, 500, "{request:?}");
    }
    let log = String::from_utf8(host.end()).expect("UTF-8");
    is_clean("the log", &log);
    // Each of these came, in a line of the host's own.
    for part in [r"\u{1b}[2J", r"\u{202e}", "agent_trapped", "agent_failed", "task ended", "self-test"] {
        assert!(log.contains(part), "{part}: {log}");
    }
    // Past the two lines on how to ask, each begins with its time.
    let stray = log.lines().find(|line| !line.starts_with("20") && !line.trim_start().starts_with("curl"));
    assert_eq!(stray, None, "{log}");
}

#[test]
fn a_log_in_json_keeps_what_was_said_and_moves_no_cursor() {
    let fleet = fleet();
    let server = fleet.serve();
    for request in requests() {
        assert_ne!(server.ask(request.clone()).status, 500, "{request:?}");
    }
    let lines = server.log_lines("a failure of the agent's", |line| {
        line["message"] == "task ended" && line["reason"].as_str().is_some_and(|reason| reason == HOSTILE)
    });
    assert_eq!(lines[0]["agent"], "fails");
    let log = server.log();
    is_clean("the log", &log);
    // The admin key is shown beside the log.
    let beside = |line: &&str| line.starts_with("No key is configured") || line.starts_with("  sk_");
    let mut lines = log.lines().filter(|line| !beside(line));
    assert!(lines.all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()), "{log}");
}

#[test]
fn no_command_prints_what_a_terminal_obeys() {
    let fleet = fleet();
    let config = fleet.path("agents.toml");
    let says = guests::folder().join("hostile-words.wasm");
    let wrong = guests::folder().join("hostile-test.wasm");
    let (config, says, wrong) = (text(&config), text(&says), text(&wrong));
    let junit = fleet.path("junit.xml");
    for arguments in [
        vec!["check", says],
        vec!["check", wrong],
        vec!["check", config],
        vec!["test", says],
        vec!["test", wrong, "--junit", text(&junit)],
        vec!["agents", "--local", "--config", config],
        vec!["route", "--explain", "look at the server", "--config", config],
        vec!["route", HOSTILE, "--config", config],
        vec!["call", "fails", HOSTILE, "--config", config],
        vec!["call", HOSTILE, HOSTILE, "--config", config],
        vec!["check", WORD],
        vec!["test", HOSTILE],
        vec!["approve", HOSTILE],
        vec!["evaluate", WORD],
        vec!["agents", "--config", WORD],
        vec!["agents", "--server", WORD],
    ] {
        let what = format!("{arguments:?}");
        are_clean(&what, &stockade(&arguments));
        let mut json = arguments.clone();
        json.push("--json");
        are_clean(&what, &stockade(&json));
    }
    is_clean("JUnit", &std::fs::read_to_string(&junit).expect("JUnit's file"));
    let checked = stockade(["check", says]).expect(0);
    assert!(checked.lines().any(|line| line.trim_start().starts_with("needs grants")), "{checked}");

    // An answer goes into a pipe as the agent gave it; what is said beside it does not.
    let called = stockade(["call", "says", "x", "--config", config]);
    is_clean("call", &called.err);
    assert_eq!(called.expect(0), format!("{}\n", HOSTILE.trim_end()));

    let server = fleet.serve();
    for words in [&["agents"][..], &["route", "look here"], &["call", "fails", "x"], &["rollback", "says"]] {
        are_clean(&format!("{words:?}"), &fleet.command(&server, words));
    }
}

#[test]
fn a_long_path_is_cut_in_the_log_and_in_its_answer() {
    let server = Server::with("[agents.echo]\ncomponent = \"<echo>\"\n");
    let path = format!("/{}", "x".repeat(50_000));
    let body = server.ask_plainly(Request::get(&path)).expect_failure(404, "not_found");
    assert!(body["path"].as_str().is_some_and(|shown| shown.len() <= 1_024), "{body}");
    let lines = server.log_lines("the request", |line| line["status"] == 404);
    assert_eq!(lines[0]["path"].as_str().map(str::len), Some(512));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}
