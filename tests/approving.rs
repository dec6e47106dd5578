//! `stockade approve` and `stockade rollback` as people and scripts use them: what is shown, who is asked, and that
//! nothing else is let in than what was shown.

use std::process::Command;

use serde_json::{Value, json};

use crate::support::command::{Ran, program, run};
use crate::support::fleet::{digest, plain, wanting};
use crate::support::{Fleet, Request, Server};

/// A host whose agent `a` serves one version while another waits with settings of its own.
fn waiting() -> (Fleet, Server, Value) {
    let fleet = Fleet::new("");
    let server = fleet.serve();
    let put = |settings: Value, component: &[u8]| {
        server.ask(Request::multipart("PUT", "/api/agents/a", &settings, component))
    };
    put(json!({ "config": { "token": "old-secret" } }), &plain(1)).expect(201);
    let settings = json!({ "limits": { "fuel": 777_000_000 }, "config": { "token": "new-secret" } });
    let page = put(settings, &wanting(2)).expect(202);
    (fleet, server, page)
}

/// What a command says on standard error of a version that waits.
fn shows_all(said: &str, pending: &Value) {
    let words =
        ["serves   version", &digest(&plain(1))[..12], "wants    system", "config.token: another value"];
    for word in words.into_iter().chain([
        pending["digest"].as_str().expect("a digest"),
        "limits.fuel: 1000000000 -> 777000000",
        pending["since"].as_str().expect("a time"),
    ]) {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
    assert!(!said.contains("secret"), "{said}");
}

#[test]
fn an_approval_shows_what_it_lets_in_and_needs_a_yes() {
    let (fleet, server, page) = waiting();
    let pending = &page["pending"];
    let ran = fleet.command(&server, &["approve", "a"]);
    shows_all(&ran.err, pending);
    assert!(ran.err.contains("nobody to ask") && ran.err.contains("--yes"), "{}", ran.err);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    // A program gets all of it as JSON, to look at before it agrees.
    let failure = fleet.command(&server, &["approve", "a", "--json"]).expect_json(2);
    assert_eq!(failure["code"], "confirmation_required", "{failure}");
    let proposal = &failure["proposal"];
    for field in ["digest", "stamp", "wants", "changes"] {
        assert_eq!(proposal[field], pending[field], "{failure}");
    }
    assert_eq!(
        (&proposal["agent"], &proposal["serves"]["generation"]),
        (&json!("a"), &json!(1)),
        "{failure}"
    );
    assert_eq!(server.agent("a")["digest"], digest(&plain(1)), "nothing was changed");
    // What it saw is what it lets in, and nothing that came since.
    let seen = |field: &str| proposal[field].as_str().expect("a text").to_owned();
    let (digest, stamp) = (seen("digest"), seen("stamp"));
    let named = ["approve", "a", "--yes", "--digest", &digest, "--stamp", &stamp];
    let more = json!({ "limits": { "fuel": 888_000_000 } });
    server.ask(Request::multipart("PUT", "/api/agents/a", &more, &wanting(2))).expect(202);
    let other = fleet.command(&server, &named);
    assert!(other.err.contains("no longer what that stamp names"), "{}", other.err);
    other.expect(1);
    assert_eq!(
        fleet.command(&server, &[&named[..], &["--json"]].concat()).expect_json(1)["code"],
        "conflict"
    );
    let ran = fleet.command(&server, &["approve", "a", "--yes"]);
    assert!(ran.err.contains("-> 888000000"), "{}", ran.err);
    assert!(ran.expect(0).contains("a serves version"));
    let nothing = fleet.command(&server, &["approve", "a", "--yes", "--json"]).expect_json(1);
    assert_eq!(nothing["code"], "conflict", "{nothing}");
}

#[test]
fn a_rollback_shows_from_and_to_and_needs_a_yes() {
    let fleet = Fleet::new("[agents.a]\ncomponent = \"plugins/a.wasm\"\n");
    let first = fleet.plugin("a", &plain(1));
    let server = fleet.serve();
    let second = fleet.plugin("a", &plain(2));
    server.wait_for_digest("a", &second);
    let ran = fleet.command(&server, &["rollback", "a"]);
    let place = |word: &str| ran.err.find(word).unwrap_or_else(|| panic!("{word} is not in {}", ran.err));
    assert!(
        place("from") < place(&second[..12]) && place(&second[..12]) < place(&first[..12]),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("--yes"), "{}", ran.err);
    assert_eq!((ran.code, ran.out.as_str()), (2, ""));
    let failure = fleet.command(&server, &["rollback", "a", "--json"]).expect_json(2);
    assert_eq!(failure["proposal"]["to"]["digest"], first, "{failure}");
    assert_eq!(server.agent("a")["digest"], second);
    let page = fleet.command(&server, &["rollback", "a", "--yes", "--json"]).expect_json(0);
    assert_eq!((&page["digest"], &page["generation"]), (&json!(first), &json!(3)), "{page}");
}

/// Runs `stockade` on a terminal of its own, which somebody types `answer` into once they are asked. `before` is a
/// request that another sends while the question stands. `None` where this machine has no Python to make a terminal.
fn on_a_terminal(server: &Server, arguments: &[&str], answer: &str, before: impl FnOnce()) -> Option<Ran> {
    let script = "import os, pty, sys\n\
        go, answer, command = sys.argv[1], sys.argv[2], sys.argv[3:]\n\
        child, terminal = pty.fork()\n\
        if child == 0:\n    os.execv(command[0], command)\n\
        shown, asked = b'', False\n\
        while True:\n\
        \x20   try:\n        part = os.read(terminal, 4096)\n    except OSError:\n        break\n\
        \x20   if not part:\n        break\n\
        \x20   shown += part\n\
        \x20   if b'[y/N]' in shown and not asked:\n\
        \x20       asked = True\n\
        \x20       open(go + '.asked', 'w').close()\n\
        \x20       open(go, 'rb').read()\n\
        \x20       os.write(terminal, answer.encode() + b'\\n')\n\
        sys.stdout.buffer.write(shown)\n\
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))\n";
    let python = Command::new("python3").args(["-c", "import pty"]).output();
    if !python.is_ok_and(|python| python.status.success()) {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "python3 is needed where CI is set");
        return None;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let go = folder.path().join("go");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &go,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .expect("a pipe");
    let stockade = program();
    let mut command = Command::new("python3");
    command.arg("-c").arg(script).arg(&go).arg(answer).arg(stockade.get_program()).args(arguments);
    command.env("STOCKADE_SERVER", server.url()).env("STOCKADE_KEY", &server.key);
    let running = std::thread::spawn(move || run(command));
    crate::support::poll_until("somebody is asked", || go.with_extension("asked").exists().then_some(()));
    before();
    std::fs::write(&go, b"go").expect("the question is answered");
    Some(running.join().expect("the command ran"))
}

#[test]
fn on_a_terminal_somebody_is_asked_and_only_what_was_shown_is_let_in() {
    let (_fleet, server, page) = waiting();
    let serves = || server.agent("a")["digest"].as_str().expect("a digest").to_owned();
    let Some(no) = on_a_terminal(&server, &["approve", "a"], "n", || ()) else { return };
    shows_all(&no.out, &page["pending"]);
    assert!(no.out.contains("nothing was changed"), "{}", no.out);
    assert_eq!((no.code, serves()), (1, digest(&plain(1))));
    // Other settings arrive while the question stands.
    let late = on_a_terminal(&server, &["approve", "a"], "yes", || {
        let more = json!({ "limits": { "fuel": 888_000_000 } });
        server.ask(Request::multipart("PUT", "/api/agents/a", &more, &wanting(2))).expect(202);
    })
    .expect("there is Python");
    assert!(
        late.out.contains("other settings") && late.out.contains("`stockade approve a` shows"),
        "{}",
        late.out
    );
    assert_eq!((late.code, serves()), (1, digest(&plain(1))));
    // Another version arrives.
    let late = on_a_terminal(&server, &["approve", "a"], "yes", || {
        server.ask(Request::multipart("PUT", "/api/agents/a", &json!({}), &wanting(3))).expect(202);
    })
    .expect("there is Python");
    assert!(late.out.contains("(conflict)") && late.out.contains(&digest(&wanting(3))), "{}", late.out);
    assert_eq!((late.code, serves()), (1, digest(&plain(1))));
    let yes = on_a_terminal(&server, &["approve", "a"], "Y", || ()).expect("there is Python");
    assert_eq!((yes.code, serves()), (0, digest(&wanting(3))), "{}", yes.out);
    let back = on_a_terminal(&server, &["rollback", "a"], "yes", || ()).expect("there is Python");
    assert_eq!((back.code, serves()), (0, digest(&plain(1))), "{}", back.out);
}
