//! The clients in `examples/clients`, each run as its user would run it.

use std::env;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::support::command::{Ran, run};
use crate::support::server::Start;
use crate::support::{Server, root};

const FLEET: &str = "[agents.vps-monitor]\ncomponent = \"<vps_monitor>\"\ngrants = { system = true }\n\
    [agents.calculator]\ncomponent = \"<calculator>\"\n[agents.calendar]\ncomponent = \"<calendar>\"\n";

fn client(path: &str) -> PathBuf {
    root().join("examples/clients").join(path)
}

/// Whether this machine has a program, by a command that succeeds where it does. Where it has not, the
/// client's test is left out; not where everything has to be tried.
fn has(program: &str, arguments: &[&str]) -> bool {
    let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let there = status.is_ok_and(|status| status.success());
    if !there {
        let command = format!("{program} {}", arguments.join(" "));
        assert!(env::var_os("CI").is_none_or(|ci| ci != "true"), "`{command}` fails here: install it");
        eprintln!("left out: `{command}` fails on this machine");
    }
    there
}

/// Runs a client against `server`, with its key as the client's own environment.
fn against(server: &Server, program: &str, arguments: &[&str]) -> Ran {
    let mut command = Command::new(program);
    command.args(arguments).env_remove("STOCKADE_SERVER").env_remove("STOCKADE_KEY").stdin(Stdio::null());
    if !server.key.is_empty() {
        command.env("STOCKADE_KEY", &server.key);
    }
    run(command)
}

#[test]
fn the_python_client() {
    if !has("python3", &["-c", "import requests"]) {
        return;
    }
    let path = client("python/client.py");
    let path = path.to_str().expect("a path");
    for server in [Server::with(FLEET), Start::settings(FLEET).anonymous().serve()] {
        let out = against(&server, "python3", &[path, "--url", &server.url()]).expect(0);
        for line in [
            "agents: calculator, calendar, vps-monitor",
            "routed: routed vps-monitor",
            "VPS Monitor Agent: CPU",
            "batch: vps-monitor, calculator",
        ] {
            assert!(out.contains(line), "{line:?} is not in {out}");
        }
        let failed = against(&server, "python3", &[path, "--url", &server.url(), "How do I braise leeks"]);
        assert!(failed.err.contains("no_agent_matched"), "{failed:?}");
        failed.expect(1);
    }
    let server = Server::with(FLEET);
    let failed = against(&server, "python3", &[path, "--url", &server.url(), "--key", "wrong"]);
    assert!(failed.err.contains("unauthorized"), "{failed:?}");
}

/// A program that knows nothing but Python's own library, which writes all of a body before it reads.
const UPLOAD: &str = r#"
import json, sys, urllib.error, urllib.request
url, kind, key, size = sys.argv[1:]
headers = {"Content-Type": kind}
if key:
    headers["Authorization"] = "Bearer " + key
request = urllib.request.Request(url, data=b"x" * int(size), headers=headers, method="POST")
try:
    urllib.request.urlopen(request, timeout=60)
except urllib.error.HTTPError as error:
    print(error.code, json.load(error)["code"])
"#;

#[test]
fn a_python_program_reads_why_its_body_was_refused() {
    if !has("python3", &["--version"]) {
        return;
    }
    let server = Server::with(FLEET);
    let url = format!("{}/orchestrator/execute", server.url());
    for (kind, key, said) in [
        ("application/json", server.key.as_str(), "413 body_too_large\n"),
        ("application/json", "", "401 unauthorized\n"),
        ("application/json", "wrong", "401 unauthorized\n"),
        ("text/plain", server.key.as_str(), "415 unsupported_media_type\n"),
    ] {
        let mut command = Command::new("python3");
        command.args(["-c", UPLOAD, &url, kind, key, "20000000"]).stdin(Stdio::null());
        assert_eq!(run(command).expect(0), said, "{kind} with the key `{key}`");
    }
}

#[test]
fn the_javascript_client() {
    if !has("node", &["-e", "fetch"]) {
        return;
    }
    let path = client("javascript/client.mjs");
    let path = path.to_str().expect("a path");
    for server in [Server::with(FLEET), Start::settings(FLEET).anonymous().serve()] {
        let out = against(&server, "node", &[path, &server.url()]).expect(0);
        for line in [
            "agents: calculator, calendar, vps-monitor",
            "routed: routed vps-monitor",
            "VPS Monitor Agent: CPU",
        ] {
            assert!(out.contains(line), "{line:?} is not in {out}");
        }
        let failed = against(&server, "node", &[path, &server.url(), "How do I braise leeks"]);
        assert!(failed.err.contains("no_agent_matched"), "{failed:?}");
        failed.expect(1);
    }
}

#[test]
fn the_tour_with_curl() {
    if !has("curl", &["--version"]) || !has("bash", &["--version"]) {
        return;
    }
    let path = client("curl/tour.sh");
    let path = path.to_str().expect("a path");
    for server in [Server::with(FLEET), Start::settings(FLEET).anonymous().serve()] {
        let out = against(&server, "bash", &[path, &server.url()]).expect(0);
        let statuses: Vec<&str> = out.lines().filter_map(|line| line.strip_prefix("status ")).collect();
        let mut expected = vec!["200"; 10];
        expected.extend(["404", "404"]);
        assert_eq!(statuses, expected, "{out}");
    }
}
