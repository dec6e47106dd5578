//! `stockade test`: what every agent is asked, and what its author expects of it, in the real sandbox
//! and without a server; and what `stockade check` says of a component.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::command::{Ran, program, run, stockade};
use crate::support::{guests, root};

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Tests this component with these cases.
fn with_cases(component: &Path, cases: &str, more: &[&str]) -> Ran {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("cases.toml");
    fs::write(&file, cases).expect("cases.toml");
    stockade(["test", text(component), "--cases", text(&file)].into_iter().chain(more.iter().copied()))
}

/// The cases of a report, by name.
fn case<'r>(report: &'r Value, name: &str) -> &'r Value {
    let cases = report["cases"].as_array().expect("cases");
    cases.iter().find(|case| case["name"] == name).unwrap_or_else(|| panic!("no case {name:?} in {report}"))
}

fn failed(report: &Value) -> Vec<&str> {
    let cases = report["cases"].as_array().expect("cases");
    cases.iter().filter(|case| case["ok"] == false).filter_map(|case| case["name"].as_str()).collect()
}

#[test]
fn the_shipped_agents_do_what_their_cases_say() {
    for (folder, component) in [
        ("calculator", "calculator"),
        ("calendar", "calendar"),
        ("text-tools", "text_tools"),
        ("vps-monitor", "vps_monitor"),
    ] {
        guests::plugin(component);
        let ran = stockade(["test", "--json", text(&root().join("plugins").join(folder))]);
        let report: Value = serde_json::from_str(&ran.out).expect("a report");
        assert_eq!(failed(&report), <Vec<&str>>::new(), "{folder}: {report}");
        assert_eq!(ran.code, 0, "{}", ran.err);
        let own = report["cases"].as_array().expect("cases").iter().filter(|case| case["suite"] == "cases");
        assert!(own.count() >= 12, "{folder} has too few cases of its own");
        for limit in report["limits"].as_array().expect("limits") {
            assert!(limit["used"].as_u64() < limit["allowed"].as_u64(), "{folder}: {limit}");
        }
    }
}

#[test]
fn every_slip_of_a_fragile_agent_is_found_and_says_what_to_change() {
    let report = stockade(["test", "--json", text(&guests::guest("fragile"))]).expect_json(1);
    assert_eq!(
        failed(&report),
        [
            "its own example: repeat: two",
            "every capability refused",
            "a task of 5,000 characters",
            "characters of several bytes",
            "nothing but punctuation",
            "a list as context",
            "a text as context",
        ],
        "{report}"
    );
    let problem = |name: &str| case(&report, name)["problem"].as_str().expect("a problem").to_owned();
    for (name, words) in [
        ("its own example: repeat: two", &["`three`", "answer: repeat: two", "`expected`"][..]),
        (
            "every capability refused",
            &["agent_trapped", "panicked at", "lib.rs", "Denied", "change: return a failure"],
        ),
        ("a task of 5,000 characters", &["fuel_exhausted", "`limits.fuel`"]),
        ("characters of several bytes", &["agent_trapped", "char boundary", "change: "]),
        ("nothing but punctuation", &["not JSON", "JSON library"]),
        ("a list as context", &["agent_stopped", "instead of exiting"]),
        ("a text as context", &["invalid_input: no message", "tells the caller"]),
    ] {
        let problem = problem(name);
        for word in words {
            assert!(problem.contains(word), "{name} does not say {word:?}: {problem}");
        }
        assert!(!problem.contains("<unknown>"), "frames without names say nothing: {problem}");
    }
    let log = case(&report, "every capability refused")["log"].to_string();
    assert!(log.contains("stdout: asked for 38 bytes") && log.contains("log: INFO the request"), "{log}");
    assert_eq!(case(&report, "a typical task")["ok"], true);

    let shown = stockade(["test", text(&guests::guest("fragile"))]).expect(1);
    assert!(shown.contains("FAILED  a list as context"), "{shown}");
    assert!(shown.contains("why: ") && shown.contains("task: ") && shown.contains("7 failed"), "{shown}");
}

#[test]
fn agents_that_take_anything_conform() {
    for guest in ["echo", "hostile", "health"] {
        let report = stockade(["test", "--json", text(&guests::guest(guest))]).expect_json(0);
        assert_eq!(failed(&report), <Vec<&str>>::new(), "{guest}: {report}");
        assert!(report["passed"].as_u64() >= Some(16), "{guest}: {report}");
        assert_eq!(report["agent"]["version"], "0.1.0", "{guest}: {report}");
    }
}

#[test]
fn a_case_can_expect_any_end_of_a_task() {
    let ends = r#"
[[case]]
task = "trap"
fails = "agent_trapped"
[[case]]
task = "exit 1"
fails = "agent_stopped"
[[case]]
task = "loop"
fails = "fuel_exhausted"
limits = { fuel = 1_000_000 }
[[case]]
task = "sleep 600000"
fails = "deadline_exceeded"
limits = { timeout = "50ms" }
[[case]]
task = "memory-bomb"
fails = "memory_exhausted"
limits = { memory = "4MiB" }
[[case]]
task = "huge-output 2000"
fails = "output_too_large"
limits = { output = 1000 }
[[case]]
task = "log-flood 100"
fails = "host_limit_exceeded"
limits = { host_calls = 10 }
[[case]]
task = "invalid-json"
fails = "failed"
expect = "not JSON"
[[case]]
task = "fail unavailable the printer is on fire"
fails = "unavailable"
equals = "the printer is on fire"
[[case]]
task = "config unit"
equals = "km"
config = { unit = "km" }
[[case]]
task = "info"
context = { page = 7, tags = ["a"] }
data = { context = { page = 7, tags = ["a"] }, has_context = true }
[[case]]
task = "count"
equals = "1"
"#;
    let report = with_cases(&guests::guest("hostile"), ends, &["--json"]).expect_json(0);
    assert_eq!(failed(&report), <Vec<&str>>::new());

    let wrong = r#"
[[case]]
name = "another answer"
task = "echo two"
equals = "three"
[[case]]
name = "no failure"
task = "echo two"
fails = "denied"
[[case]]
name = "a panic"
task = "panic the cause of it"
[[case]]
name = "other data"
task = "count"
data = { calls = 2, callers = 1 }
"#;
    let report = with_cases(&guests::guest("hostile"), wrong, &["--json"]).expect_json(1);
    for (name, words) in [
        ("another answer", &["is not `three`", "answer: two"][..]),
        ("no failure", &["must fail as denied", "answers"]),
        ("a panic", &["must be answered", "agent_trapped", "the cause of it"]),
        ("other data", &["`data.calls` is 1, not 2", "`data.callers` is not there"]),
    ] {
        let case = case(&report, name);
        let problem = case["problem"].as_str().expect("a problem");
        assert!(words.iter().all(|word| problem.contains(word)), "{name}: {problem}");
        assert!(case["reason"].as_str().is_some_and(|place| place.contains("cases.toml:")), "{case}");
    }
    assert_eq!(report["failed"], 4, "{report}");
}

#[test]
fn grants_decide_before_figures_are_given() {
    let cases = r#"
[[case]]
name = "given"
task = "system memory"
expect = ["granted", "total: 8589934592", "used: 2147483648"]
system = { memory = { total = "8GiB", available = "6GiB" } }
[[case]]
name = "not given"
task = "system load"
expect = ["unavailable", "[case.system]"]
system = { memory = { total = "8GiB", available = "6GiB" } }
[[case]]
name = "refused all the same"
task = "system memory"
expect = ["denied", "[agents.guest-hostile.grants] system = true"]
system = { memory = { total = "8GiB", available = "6GiB" } }
grants = { system = false }
[[case]]
name = "denied"
task = "system memory"
data = { outcome = "denied" }
system = "denied"
[[case]]
name = "nothing is granted that no case grants"
task = "system memory"
data = { outcome = "denied" }
[[case]]
name = "this machine"
task = "system memory"
data = { outcome = "granted" }
grants = { system = true }
"#;
    let report = with_cases(&guests::guest("hostile"), cases, &["--json"]).expect_json(0);
    assert_eq!(failed(&report), <Vec<&str>>::new());
    assert_eq!(case(&report, "given")["ok"], true);
}

#[test]
fn wrong_cases_run_nothing_and_are_told_all_at_once() {
    let golden = root().join("tests/golden/cases");
    for name in ["several-problems", "wrong-figures"] {
        let mut command = program();
        command.current_dir(&golden).args(["test", text(&guests::guest("echo"))]);
        command.args(["--cases", &format!("{name}.toml")]);
        let ran = run(command);
        let expected = fs::read_to_string(golden.join(format!("{name}.err"))).expect("the golden file");
        assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (2, "", expected.as_str()));
    }
    let file = golden.join("several-problems.toml");
    let problems = stockade(["test", "--json", text(&guests::guest("echo")), "--cases", text(&file)]);
    let problems = problems.expect_json(2);
    let lines: Vec<u64> = problems
        .as_array()
        .expect("problems")
        .iter()
        .filter_map(|problem| problem["line"].as_u64())
        .collect();
    assert!(lines.len() >= 10 && lines.is_sorted(), "{problems}");
}

#[test]
fn a_file_of_cases_can_be_checked_without_a_component() {
    let cases = root().join("plugins/calculator/cases.toml");
    let report = &stockade(["check", "--json", text(&cases)]).expect_json(0)[0];
    assert!(report["cases"].as_u64() >= Some(12), "{report}");
    let folder = tempfile::tempdir().expect("a folder");
    let wrong = folder.path().join("cases.toml");
    fs::write(&wrong, "[[case]]\ntaks = \"x\"\n").expect("cases");
    let out = stockade(["check", text(&wrong)]).expect(1);
    assert!(out.contains("cases.toml:2:1") && out.contains("did you mean `task`?"), "{out}");
}

#[test]
fn results_are_written_as_junit_too() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("results.xml");
    let cases = "[[case]]\nname = \"<odd> & done\"\ntask = \"panic <ouch>\"\n[[case]]\ntask = \"count\"\n";
    let shown = with_cases(&guests::guest("hostile"), cases, &["--junit", text(&file)]).expect(1);
    let written = fs::read_to_string(&file).expect("the results");
    let report = quick_junit::Report::deserialize_from_str(&written).expect("JUnit XML");
    assert_eq!(report.failures, 1, "{written}");
    assert!(shown.contains(&format!("{} passed, 1 failed", report.tests - 1)), "{shown}");
    let suites: Vec<&str> = report.test_suites.iter().map(|suite| suite.name.as_str()).collect();
    assert_eq!(suites, ["conformance", "cases"]);
    let case = &report.test_suites[1].test_cases[0];
    assert_eq!(case.name.as_str(), "<odd> & done");
    let quick_junit::TestCaseStatus::NonSuccess { message, description, .. } = &case.status else {
        panic!("it passed: {written}");
    };
    assert!(message.as_ref().is_some_and(|message| message.as_str().contains("agent_trapped")), "{written}");
    assert!(description.as_ref().is_some_and(|words| words.as_str().contains("<ouch>")), "{written}");
}

#[test]
fn a_filter_chooses_by_name() {
    let echo = guests::guest("echo");
    let report = stockade(["test", "--json", text(&echo), "--filter", "CONTEXT"]).expect_json(0);
    let names: Vec<&str> =
        report["cases"].as_array().expect("cases").iter().filter_map(|case| case["name"].as_str()).collect();
    assert!(names.len() >= 4 && names.iter().all(|name| name.contains("context")), "{names:?}");
    let nothing = stockade(["test", text(&echo), "--filter", "no such case"]);
    assert!(nothing.err.contains("no such case") && nothing.err.contains("--filter"), "{}", nothing.err);
    assert_eq!((nothing.code, nothing.out.as_str()), (2, ""));
}

#[test]
fn what_no_host_would_serve_fails_with_its_remedy() {
    for (component, case_name, words) in [
        ("core-module", "the component loads", &["core WebAssembly module", "wasm32-wasip2"][..]),
        ("no-agent", "the component loads", &["does not export", "stockade:agent"]),
        ("describe-traps", "`describe` returns within its bounds", &["`describe` failed"]),
        ("describe-hangs", "`describe` returns within its bounds", &["`describe`"]),
        ("plain", "`describe` says something usable", &["`triggers`", "`examples`"]),
    ] {
        let report = stockade(["test", "--json", text(&guests::text(component))]).expect_json(1);
        let problem = case(&report, case_name)["problem"].as_str().expect("a problem");
        assert!(words.iter().all(|word| problem.contains(word)), "{component}: {problem}");
    }
}

/// A folder with settings in which one agent has limits and settings of its own.
fn fleet() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let settings =
        "[agents.strict]\ncomponent = \"<hostile>\"\nlimits = { output = 100 }\nconfig = { unit = \"km\" }\n";
    fs::write(folder.path().join("agents.toml"), guests::settings(settings)).expect("agents.toml");
    folder
}

#[test]
fn an_agent_of_the_settings_is_tested_as_it_would_serve() {
    let folder = fleet();
    let cases = folder.path().join("mine.toml");
    fs::write(
        &cases,
        "[[case]]\ntask = \"huge-output 101\"\nfails = \"output_too_large\"\n[[case]]\ntask = \"config unit\"\nequals = \"km\"\n",
    )
    .expect("cases");
    let settings = folder.path().join("agents.toml");
    let in_fleet = |arguments: &[&str]| {
        stockade(["test"].into_iter().chain(arguments.iter().copied()).chain(["--config", text(&settings)]))
    };
    let report = in_fleet(&["strict", "--cases", text(&cases), "--filter", "huge", "--json"]).expect_json(0);
    assert_eq!(case(&report, "huge-output 101")["ok"], true, "{report}");
    let report = in_fleet(&["strict", "--cases", text(&cases), "--filter", "config unit", "--json"]);
    report.expect_json(0);
    let unknown = in_fleet(&["lenient"]);
    assert!(unknown.err.contains("`lenient`") && unknown.err.contains("strict"), "{}", unknown.err);
    assert_eq!(unknown.code, 2);
}

#[test]
fn a_folder_needs_one_component() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = text(folder.path());
    let empty = stockade(["test", path]);
    assert!(empty.err.contains("stockade build"), "{}", empty.err);
    assert_eq!((empty.code, empty.out.as_str()), (2, ""));
    fs::copy(guests::guest("echo"), folder.path().join("one.wasm")).expect("a copy");
    fs::write(
        folder.path().join("cases.toml"),
        "[[case]]\nname = \"mine\"\ntask = \"hi\"\nequals = \"hi\"\n",
    )
    .expect("cases");
    let report = stockade(["test", "--json", path]).expect_json(0);
    assert_eq!(case(&report, "mine")["suite"], "cases", "the folder's own cases are run: {report}");
    fs::copy(guests::guest("echo"), folder.path().join("two.wasm")).expect("a copy");
    let several = stockade(["test", path]);
    assert!(several.err.contains("one.wasm") && several.err.contains("two.wasm"), "{}", several.err);
    assert_eq!(several.code, 2);
    for wrong in [&["test", "/nowhere/agent.wasm"][..], &["test", "one", "--cases", "/nowhere.toml"]] {
        let ran = stockade(wrong);
        assert!(ran.err.contains("there is no") || ran.err.contains("no file"), "{wrong:?}: {}", ran.err);
        assert_eq!(ran.code, 2, "{wrong:?}");
    }
}

#[test]
fn a_check_gives_the_table_that_makes_a_component_serve() {
    let component = guests::plugin("vps_monitor");
    let report = &stockade(["check", "--json", text(&component)]).expect_json(0)[0];
    assert_eq!((&report["world"], &report["warnings"]), (&json!("plugin"), &json!([])), "{report}");
    let table = report["toml"].as_str().expect("a table");
    assert!(
        table.contains("[agents.vps-monitor]") && table.contains("grants = { system = true }"),
        "{table}"
    );
    let folder = tempfile::tempdir().expect("a folder");
    let settings = folder.path().join("agents.toml");
    fs::write(&settings, table).expect("agents.toml");
    let checked = &stockade(["check", "--json", text(&settings)]).expect_json(0)[0];
    assert_eq!((&checked["problems"], &checked["warnings"]), (&json!([]), &json!([])), "{checked}");
    let called = stockade(["call", "vps-monitor", "memory", "--config", text(&settings)]).expect(0);
    assert!(called.contains("Memory: "), "{called}");

    let shown = stockade(["check", text(&component)]).expect(0);
    let needs = "stockade:system/system@0.1.0: needs [agents.vps-monitor.grants] system = true";
    assert!(shown.contains(needs), "{shown}");
    let health = &stockade(["check", "--json", text(&guests::guest("health"))]).expect_json(0)[0];
    assert_eq!(health["world"], "plugin-with-health");
    let bare = stockade(["check", text(&guests::guest("hostile"))]).expect(0);
    assert!(bare.contains("warning: 0 example tasks"), "{bare}");
}
