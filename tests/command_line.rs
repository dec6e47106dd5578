//! The command line: results on standard output, all else on standard error, and an exit code that
//! says how it went.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::command::{Ran, program, run, stockade};
use crate::support::server::Start;
use crate::support::{Request, Server, guests, root};

const FLEET: &str = "[agents.calculator]\ncomponent = \"<calculator>\"\n[agents.echo]\ncomponent = \"<echo>\"\n\
    [agents.hostile]\ncomponent = \"<hostile>\"\n[agents.asked]\ncomponent = \"<echo>\"\ndefault_query = \"the default\"\n";

/// A folder with these settings.
struct Fleet(TempDir);

impl Fleet {
    fn new(template: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("agents.toml"), guests::settings(template)).expect("agents.toml");
        guests::warm(&folder.path().join("data"));
        Self(folder)
    }

    fn settings(&self) -> PathBuf {
        self.0.path().join("agents.toml")
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let settings = self.settings();
        let config = ["--config", settings.to_str().expect("a path")];
        stockade(arguments.iter().copied().chain(config))
    }
}

#[test]
fn help_documents_the_exit_codes() {
    let help = stockade(["--help"]).expect(0);
    for word in ["Exit codes", "0 done", "1 ", "2 ", "3 no agent"] {
        assert!(help.contains(word), "{word:?} is not in {help}");
    }
    for command in [
        "serve",
        "dev",
        "new",
        "build",
        "check",
        "test",
        "call",
        "route",
        "evaluate",
        "agents",
        "approve",
        "rollback",
        "keys",
        "completions",
    ] {
        let help = stockade([command, "--help"]).expect(0);
        assert!(help.contains("--json"), "{command}: {help}");
    }
    assert!(stockade(["--version"]).expect(0).starts_with("stockade "));
    for wrong in
        [&["frobnicate"][..], &["call"], &["route"], &["serve", "--listen", "nowhere"], &["keys", "create"]]
    {
        let ran = stockade(wrong);
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{wrong:?}: {}", ran.err);
        assert!(!ran.err.is_empty());
    }
}

#[test]
fn call_prints_the_answer_and_nothing_else() {
    let fleet = Fleet::new(FLEET);
    let ran = fleet.run(&["call", "calculator", "What is 17 times 23?"]);
    assert!(ran.err.contains("calculator") && ran.err.contains("fuel"), "{}", ran.err);
    let out = ran.expect(0);
    assert!(out.contains("391"), "{out}");
    let answer = fleet.run(&["call", "--json", "calculator", "17", "times", "23"]).expect_json(0);
    assert_eq!((&answer["success"], &answer["agent"]), (&json!(true), &json!("calculator")), "{answer}");
    assert!(answer["receipt"]["fuel"].is_number(), "{answer}");
    assert!(fleet.run(&["call", "asked"]).expect(0).contains("the default"));
    let answer = fleet.run(&["call", "hostile", "info", "--context", "{\"a\": 1}", "--json"]).expect_json(0);
    assert_eq!(answer["data"]["context"], json!({ "a": 1 }));

    let failed = fleet.run(&["call", "hostile", "panic told to"]);
    assert_eq!(failed.out, "");
    assert!(failed.err.contains("agent_trapped"), "{}", failed.err);
    failed.expect(1);
    let failure = fleet.run(&["call", "--json", "hostile", "trap"]).expect_json(1);
    assert_eq!(failure["code"], "agent_trapped");
    let unknown = fleet.run(&["call", "nobody", "x"]);
    assert!(unknown.err.contains("nobody") && unknown.err.contains("agent_not_found"), "{}", unknown.err);
    unknown.expect(1);
    let wrong = fleet.run(&["call", "echo", "x", "--context", "{"]);
    assert!(wrong.err.contains("--context"), "{}", wrong.err);
    assert_ne!(wrong.code, 0);
}

#[test]
fn route_names_the_agent_or_ends_with_three() {
    let fleet = Fleet::new(FLEET);
    let out = fleet.run(&["route", "What is 17 times 23?"]).expect(0);
    assert!(out.contains("calculator"), "{out}");
    let answer = fleet.run(&["route", "--json", "--explain", "What is 17 times 23?"]).expect_json(0);
    assert_eq!(answer["agent"]["agent_id"], "calculator", "{answer}");
    assert!(answer["explanation"].is_object(), "{answer}");
    assert!(fleet.run(&["route", "--explain", "square root of 144"]).expect(0).lines().count() > 3);
    fleet.run(&["route", "How do I braise leeks"]).expect(3);
    let answer = fleet.run(&["route", "--json", "How do I braise leeks"]).expect_json(3);
    assert_eq!(answer["status"], "no_match");
}

#[test]
fn agents_lists_them_and_fails_if_one_does_not_serve() {
    let fleet = Fleet::new(FLEET);
    let out = fleet.run(&["agents", "--local"]).expect(0);
    for id in ["calculator", "echo", "hostile", "asked"] {
        assert!(out.lines().any(|line| line.starts_with(id) && line.contains("active")), "{id}: {out}");
    }
    let broken = Fleet::new(&format!("{FLEET}[agents.broken]\ncomponent = \"/nowhere.wasm\"\n"));
    let ran = broken.run(&["agents", "--local"]);
    assert!(
        ran.out.lines().any(|line| line.starts_with("broken") && line.contains("missing")),
        "{}",
        ran.out
    );
    ran.expect(1);
    let list = broken.run(&["agents", "--local", "--json"]).expect_json(1);
    let ids: Vec<&Value> = list.as_array().expect("a list").iter().map(|agent| &agent["id"]).collect();
    assert_eq!(ids, ["asked", "broken", "calculator", "echo", "hostile"]);
}

#[test]
fn agents_shows_the_version_and_the_digest_that_serve() {
    let fleet = Fleet::new("[agents.calculator]\ncomponent = \"<calculator>\"\n");
    let digest = stockade::domain::Digest::of(&fs::read(guests::plugin("calculator")).expect("a component"));
    let short: String = digest.to_string().chars().take(12).collect();
    let out = fleet.run(&["agents", "--local"]).expect(0);
    assert!(out.contains(&short), "which build serves is the first question after saving a file: {out}");
}

#[test]
fn check_tells_components_and_settings_apart() {
    let component = guests::plugin("vps_monitor");
    let component = component.to_str().expect("a path");
    let out = stockade(["check", component]).expect(0);
    assert!(out.contains("VPS Monitor Agent") && out.contains("grants = { system = true }"), "{out}");
    let report = stockade(["check", "--json", component]).expect_json(0);
    assert_eq!(
        (&report[0]["problems"], &report[0]["needs_grants"]),
        (&json!([]), &json!(["system"])),
        "{report}"
    );

    let fleet = Fleet::new(&format!("{FLEET}[agents.monitor]\ncomponent = \"<vps_monitor>\"\n"));
    let ran = fleet.run(&["check"]);
    assert!(
        ran.out.contains("monitor") && ran.out.contains("grants"),
        "a refusal to come is a warning: {}",
        ran.out
    );
    ran.expect(0);
    let broken = Fleet::new("[agents.broken]\ncomponent = \"/nowhere.wasm\"\n");
    let report = broken.run(&["check", "--json"]).expect_json(1);
    assert_eq!(report[0]["problems"][0]["agent"], "broken", "{report}");
    // Every file is reported, also after one that is wrong.
    let settings = broken.settings();
    let report = stockade(["check", "--json", settings.to_str().expect("a path"), component]).expect_json(1);
    assert_eq!(report.as_array().map(Vec::len), Some(2), "{report}");
    assert_eq!(report[1]["problems"], json!([]));
}

#[test]
fn wrong_settings_end_every_command_with_two_and_all_problems() {
    let folder = tempfile::tempdir().expect("a folder");
    let settings = folder.path().join("agents.toml");
    let golden = root().join("tests/golden/config/several-problems.toml");
    fs::copy(golden, &settings).expect("settings");
    let config = ["--config", settings.to_str().expect("a path")];
    for command in [&["serve"][..], &["dev"], &["call", "a", "b"], &["route", "x"], &["agents"]] {
        let ran = stockade(command.iter().chain(&config));
        assert_eq!((ran.code, ran.out.as_str()), (2, ""), "{command:?}: {}", ran.err);
        assert!(ran.err.matches("error").count() >= 3, "all at once: {}", ran.err);
        assert!(
            ran.err.contains("agents.toml:") || ran.err.contains("line"),
            "with their places: {}",
            ran.err
        );
        let problems = stockade(command.iter().chain(&config).chain(&["--json"])).expect_json(2);
        assert!(problems.as_array().is_some_and(|problems| problems.len() >= 3), "{problems}");
        for problem in problems.as_array().into_iter().flatten() {
            assert!(problem["message"].is_string() && problem["line"].is_number(), "{problem}");
        }
    }
    stockade(["check"].iter().chain(&config)).expect(1);
    let missing = stockade(["agents", "--config", "/nowhere/agents.toml"]);
    assert!(missing.err.contains("/nowhere/agents.toml"), "{}", missing.err);
    missing.expect(2);
}

#[test]
fn a_key_works_once_its_table_is_pasted() {
    let made = stockade(["keys", "create", "--name", "ci", "--scope", "echo,calc*"]);
    let table = made.err.find("[[auth.keys]]").map(|at| made.err[at..].to_owned()).expect("the table");
    let key = made.expect(0).trim().to_owned();
    assert!(key.len() >= 32 && !table.contains(&key), "{table}");
    let admin = stockade(["keys", "create", "--name", "ops", "--scope", "*", "--role", "admin", "--json"])
        .expect_json(0);
    let text = |field: &str| admin[field].as_str().expect("a text").to_owned();
    let server = Start::settings(&format!("{table}\n{}\n{FLEET}", text("toml"))).key(&key).serve();
    server.call("echo", "x").expect(200);
    server.call("calculator", "1 + 1").expect(200);
    server.call("hostile", "echo x").expect_failure(403, "forbidden");
    let body = json!({ "agent": "hostile", "query": "echo x" });
    server.ask_plainly(Request::post("/orchestrator/execute", &body).key(&text("key"))).expect(200);
    let wrong = stockade(["keys", "create", "--name", "a b", "--scope", "UPPER"]);
    assert!(wrong.err.contains("--name") && wrong.err.contains("--scope"), "both at once: {}", wrong.err);
    assert_ne!(wrong.code, 0);
}

#[test]
fn commands_ask_a_host_that_runs_elsewhere() {
    let server = Server::with(FLEET);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key");
    fs::write(&file, format!("{}\n", server.key)).expect("the key's file");
    let at = ["--server".to_owned(), server.url(), "--key-file".to_owned(), file.display().to_string()];
    let ask = |arguments: &[&str]| {
        stockade(arguments.iter().map(|&argument| argument.to_owned()).chain(at.clone()))
    };
    assert!(ask(&["call", "calculator", "17 times 23"]).expect(0).contains("391"));
    ask(&["call", "hostile", "trap"]).expect(1);
    assert!(ask(&["route", "What is 17 times 23?"]).expect(0).contains("calculator"));
    ask(&["route", "How do I braise leeks"]).expect(3);
    ask(&["agents"]).expect(0);
    assert_eq!(server.agent("hostile")["errors"], 1, "it was this host that ran them");
    let without = stockade(["agents", "--server", &server.url()]);
    assert!(without.err.contains("unauthorized"), "{}", without.err);
    assert!(
        without.err.contains("no key was sent") && without.err.contains("STOCKADE_KEY"),
        "{}",
        without.err
    );
    without.expect(1);
    let nobody = stockade(["agents", "--server", "http://127.0.0.1:1"]);
    assert!(nobody.err.contains("http://127.0.0.1:1"), "{}", nobody.err);
    nobody.expect(1);
}

/// Runs a command with these variables.
fn with(variables: &[(&str, &str)], arguments: &[&str]) -> Ran {
    let mut command = program();
    command.args(arguments).envs(variables.iter().copied());
    run(command)
}

#[test]
fn the_environment_names_the_host_and_the_key_and_options_go_before_it() {
    let server = Server::with(FLEET);
    let (url, key) = (server.url(), server.key.clone());
    let at = [("STOCKADE_SERVER", url.as_str()), ("STOCKADE_KEY", key.as_str())];
    assert!(with(&at, &["call", "calculator", "17 times 23"]).expect(0).contains("391"));
    assert!(with(&at, &["route", "What is 17 times 23?"]).expect(0).contains("calculator"));
    assert!(with(&at, &["agents"]).expect(0).contains("hostile"));
    assert_eq!(server.agent("calculator")["calls"], 1, "it was this host that ran it");
    // An option goes before its variable; what is wrong is never shown.
    let nowhere = [("STOCKADE_SERVER", "http://127.0.0.1:1"), ("STOCKADE_KEY", key.as_str())];
    with(&nowhere, &["agents", "--server", &url]).expect(0);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key");
    fs::write(&file, &key).expect("the key's file");
    let file = file.to_str().expect("a path");
    let wrong = "a-secret-with-a-slip-in-it-000000000";
    let slip = [("STOCKADE_SERVER", url.as_str()), ("STOCKADE_KEY", wrong)];
    with(&slip, &["agents", "--key-file", file]).expect(0);
    for (secret, code) in [(wrong, 1), ("a secret\nof two lines", 1)] {
        for json in [&["agents"][..], &["agents", "--json", "--verbose"]] {
            let slip = [("STOCKADE_SERVER", url.as_str()), ("STOCKADE_KEY", secret)];
            let ran = with(&slip, json);
            assert_eq!(ran.code, code, "{ran:?}");
            assert!(!ran.err.contains("secret") && !ran.out.contains("secret"), "{ran:?}");
        }
    }
    assert!(with(&slip, &["agents"]).err.contains("the key of STOCKADE_KEY"), "where it came from is said");
    // Nobody between is told the key, whatever other programs are to go through.
    let between = ["HTTP_PROXY", "http_proxy", "ALL_PROXY"].map(|name| (name, "http://127.0.0.1:1"));
    with(&[at.as_slice(), &between].concat(), &["agents"]).expect(0);
    let https = with(&[("STOCKADE_SERVER", "https://x")], &["agents"]);
    assert!(https.err.contains("STOCKADE_SERVER") && https.err.contains("http://"), "{}", https.err);
    https.expect(1);
    let alone = stockade(["call", "echo", "x", "--key-file", file]);
    assert!(alone.err.contains("--server"), "{}", alone.err);
    alone.expect(2);
}

#[test]
fn agents_are_those_of_the_host_that_runs_or_it_is_said_that_there_is_none() {
    let fleet = Fleet::new("[agents.echo]\ncomponent = \"<echo>\"\n");
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let listen = free.local_addr().expect("an address");
    drop(free);
    let settings = fs::read_to_string(fleet.settings()).expect("agents.toml");
    fs::write(fleet.settings(), format!("[server]\nlisten = \"{listen}\"\n{settings}")).expect("agents.toml");
    let none = fleet.run(&["agents"]);
    for word in [&listen.to_string(), "stockade serve", "--server", "STOCKADE_SERVER", "--local"] {
        assert!(none.err.contains(word), "{word}: {}", none.err);
    }
    assert_eq!((none.code, none.out.as_str()), (1, ""));
    let none = fleet.run(&["agents", "--json"]).expect_json(1);
    assert_eq!(none["code"], "host_unreachable", "{none}");
    let local = fleet.run(&["agents", "--local", "--json"]).expect_json(0);
    assert_eq!(local[0]["id"], "echo", "{local}");
    // With its own key, from its data folder.
    let server =
        Start::file(&fleet.settings(), &fleet.0.path().join("data")).listen(&listen.to_string()).serve();
    server.call("echo", "x").expect(200);
    let page = fleet.run(&["agents", "--json"]).expect_json(0);
    assert_eq!((&page[0]["id"], &page[0]["calls"]), (&json!("echo"), &json!(1)), "{page}");
    let elsewhere = [("STOCKADE_SERVER", "http://127.0.0.1:1")];
    let config = fleet.settings();
    let here = ["agents", "--local", "--json", "--config", config.to_str().expect("a path")];
    let local: Value = serde_json::from_str(&with(&elsewhere, &here).expect(0)).expect("JSON");
    assert_eq!(local[0]["calls"], 0, "{local}");
}

#[test]
fn a_variable_that_means_nothing_is_named() {
    let ran =
        with(&[("STOCKADE_LISTN", "secret"), ("ORCHESTRATOR_API_KEI", "secret")], &["completions", "bash"]);
    assert!(
        ran.err.contains("STOCKADE_LISTN") && ran.err.contains("did you mean STOCKADE_LISTEN?"),
        "{}",
        ran.err
    );
    assert!(
        ran.err.contains("did you mean ORCHESTRATOR_API_KEY?") && !ran.err.contains("secret"),
        "{}",
        ran.err
    );
    ran.expect(0);
    let quiet = with(&[("STOCKADE_KEY", "x")], &["completions", "bash"]);
    assert_eq!(quiet.err, "");
}

#[test]
fn what_fails_is_an_object_for_programs_whatever_it_is() {
    let failure = |arguments: &[&str], code: i32| {
        let failure = stockade(arguments).expect_json(code);
        assert!(failure["error"].is_string() && failure["message"].is_string(), "{failure}");
        failure["code"].as_str().expect("a code").to_owned()
    };
    assert_eq!(failure(&["--json", "frobnicate"], 2), "usage");
    assert_eq!(failure(&["call", "--json"], 2), "usage");
    assert_eq!(failure(&["approve", "--json", "no id"], 2), "usage");
    assert_eq!(failure(&["evaluate", "--json", "/nowhere.jsonl"], 1), "failed");
    assert_eq!(failure(&["agents", "--json", "--server", "http://127.0.0.1:1"], 1), "host_unreachable");
}

#[test]
fn shells_complete_commands_and_options() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = stockade(["completions", shell]).expect(0);
        for word in ["approve", "rollback", "--plugins", "--key-file"] {
            // fish writes an option without its dashes.
            assert!(script.contains(word.trim_start_matches('-')), "{shell}: no {word}");
        }
        let json = stockade(["completions", shell, "--json"]).expect_json(0);
        assert_eq!((&json["shell"], &json["script"]), (&json!(shell), &json!(script)));
    }
    let words =
        "COMP_WORDS=(stockade app) COMP_CWORD=1; _stockade stockade app stockade; echo \"${COMPREPLY[@]}\"";
    let script = stockade(["completions", "bash"]).expect(0);
    let mut bash = std::process::Command::new("bash");
    bash.args(["--norc", "-c", &format!("{script}\n{words}")]);
    assert_eq!(run(bash).expect(0).trim(), "approve");
    stockade(["completions", "tcsh"]).expect(2);
}

#[test]
fn build_names_what_it_built_and_what_it_cannot() {
    let plugins = root().join("plugins");
    let out = stockade(["build", plugins.to_str().expect("a path")]).expect(0);
    assert_eq!(out.lines().filter(|line| line.contains(".wasm")).count(), 4, "{out}");
    let built = stockade(["build", "--json", plugins.to_str().expect("a path")]).expect_json(0);
    for component in built.as_array().expect("a list") {
        let path = component["component"].as_str().expect("a path");
        assert_eq!(fs::metadata(path).expect("a file").len(), component["bytes"].as_u64().expect("a size"));
    }
    let empty = tempfile::tempdir().expect("a folder");
    let ran = stockade(["build", empty.path().to_str().expect("a path")]);
    assert!(ran.err.contains("Cargo.toml"), "{}", ran.err);
    assert_eq!((ran.code, ran.out.as_str()), (1, ""));
    fs::write(
        empty.path().join("Cargo.toml"),
        "[package]\nname = \"wrong\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\npath = \"lib.rs\"\n[workspace]\n",
    )
    .expect("a manifest");
    fs::write(empty.path().join("lib.rs"), "fn wrong(").expect("a source");
    let ran = stockade(["build", empty.path().to_str().expect("a path")]);
    assert!(ran.err.contains("lib.rs"), "the compiler's own words: {}", ran.err);
    ran.expect(1);
}

#[test]
fn serve_says_what_keeps_it_from_serving() {
    let fleet = Fleet::new("[agents.echo]\ncomponent = \"<echo>\"\n");
    let server = Server::with("[agents.echo]\ncomponent = \"<echo>\"\n");
    let taken = fleet.run(&["serve", "--listen", &server.address.to_string()]);
    assert!(
        taken.err.contains(&server.address.to_string()) && taken.err.contains("--listen"),
        "{}",
        taken.err
    );
    assert_eq!((taken.code, taken.out.as_str()), (1, ""));
    let open = fleet.run(&["serve", "--listen", "0.0.0.0:0"]);
    assert!(open.err.contains("keys create"), "without a key, not for everybody: {}", open.err);
    open.expect(1);
    let open = fleet.run(&["serve", "--listen", "0.0.0.0:0", "--allow-anonymous"]);
    assert!(open.err.contains("--allow-anonymous"), "{}", open.err);
    open.expect(1);
    let file = fleet.0.path().join("a-file");
    fs::write(&file, "in the way").expect("a file");
    let ran = fleet.run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", file.to_str().expect("a path")]);
    assert!(ran.err.contains("a-file") && ran.err.contains("data_dir"), "{}", ran.err);
    ran.expect(1);
}
