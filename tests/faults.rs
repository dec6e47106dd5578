//! What an author learns when their agent traps: the message, and their own functions and lines.

use std::process::Command;

use crate::support::{Server, command, root};

/// The guest `hostile`, as an author builds it while they work on it.
fn debug_build() -> String {
    let guests = root().join("tests/guests");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args(["build", "--quiet", "--target", "wasm32-wasip2", "-p", "guest-hostile"])
        .current_dir(&guests)
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS");
    command::run(cargo).expect(0);
    let built = guests.join("target/wasm32-wasip2/debug/guest_hostile.wasm");
    built.to_str().expect("a path in UTF-8").to_owned()
}

/// The line of a source file on which this text is, from 1.
fn line_of(file: &str, text: &str) -> usize {
    let source = std::fs::read_to_string(root().join(file)).expect("a source file");
    1 + source
        .lines()
        .position(|line| line.contains(text))
        .unwrap_or_else(|| panic!("{text} is not in {file}"))
}

/// What the log says of the one call of this agent that trapped.
fn detail(server: &Server, agent: &str, query: &str) -> String {
    let body = server.call(agent, query).expect_failure(502, "agent_trapped");
    assert!(!body.to_string().contains("compute"), "a client need not know an author's source: {body}");
    let id = body["request_id"].clone();
    let lines = server
        .log_lines("the call is in the log", |line| line["request_id"] == id && line["detail"].is_string());
    lines[0]["detail"].as_str().expect("a detail").to_owned()
}

#[test]
fn a_debug_build_that_traps_names_its_source_line_first() {
    let settings = format!(
        "[agents.debug]\ncomponent = {:?}\n[agents.release]\ncomponent = \"<hostile>\"\n",
        debug_build()
    );
    let server = Server::with(&settings);
    let compute = "tests/guests/hostile/src/compute.rs";

    let panic = detail(&server, "debug", "panic the sky is falling");
    let line = line_of(compute, "panic!(\"{}\"");
    assert!(panic.contains("the sky is falling"), "{panic}");
    let first = panic.split("\n  at ").nth(1).expect("the first function");
    let place = format!("hostile/src/compute.rs:{line} guest_hostile::compute::panic");
    assert!(first.trim_end().ends_with(&place), "{place} is not the first: {panic}");
    assert!(panic.contains("Hostile as stockade_sdk::Agent>::handle"), "{panic}");

    let trap = detail(&server, "debug", "trap");
    assert!(trap.contains("unreachable") && trap.contains("hostile/src/compute.rs:"), "{trap}");

    let deep = detail(&server, "debug", "recurse");
    assert!(deep.contains("call stack exhausted") && deep.matches("\n  at ").count() <= 16, "{deep}");

    // A stripped build has no functions to name, and its panic still says where it was.
    let panic = detail(&server, "release", "panic the sky is falling");
    assert!(panic.contains(&format!("compute.rs:{line}")) && panic.contains("the sky is falling"), "{panic}");
}
