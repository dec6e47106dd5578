//! The room as a whole: golden messages, the reference against what is read, mutations of a good file.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::domain::{Capability, Policy};

const EVERY_KIND: &str = r#"
[server]
listen = "0.0.0.0:80"
data_dir = "/var/lib/stockade"
allowed_origins = ["https://App.example.com", "http://localhost:3000"]
max_body = "2 MB"
idle_timeout = 90
grace_period = "1.5s"
log_format = "json"
log_level = "debug"

[auth]
anonymous = true
[[auth.keys]]
name = "ci"
sha256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
scope = ["calc", "team-*", "category:math"]
role = "admin"
tenant = "acme"
capabilities = ["system"]
priority = 3

[engine]
max_memory = 0x1000_0000
cache = false

[scheduler]
max_concurrent = 8

[router]
threshold = 0.5
margin = 0
language = "en"

[defaults.limits]
fuel = 5_000_000
memory = "32MiB"

[agents.calc]
component = "./plugins/calc.wasm"
name = "Calculator"
triggers = ["sum", "add up"]
config = { digits = 3, ratio = 0.5, exact = true, unit = "m", since = 2026-01-01 }
grants = { system = true }
limits.timeout = "5s"
limits.memory = "64MiB"
queue = 0
tags = ["math"]

[agents.units]
component = "/opt/units.wasm"
"#;

fn read(text: &str) -> Result<Config, Problems> {
    parse(text, "agents.toml", Path::new("/srv/fleet"), &NoEnvironment)
}

fn in_environment(pairs: &[(&str, &str)]) -> Result<Config, Problems> {
    let environment: BTreeMap<String, String> =
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    parse("", "agents.toml", Path::new("/srv/fleet"), &environment)
}

#[test]
fn every_kind_of_value_is_read() {
    let config = read(EVERY_KIND).expect("valid");
    assert_eq!(config.server.listen.to_string(), "0.0.0.0:80");
    assert_eq!(config.server.allowed_origins, ["https://app.example.com", "http://localhost:3000"]);
    assert_eq!(config.server.max_body, 2_000_000);
    assert_eq!(config.server.idle_timeout.as_secs(), 90);
    assert_eq!(config.server.grace_period.as_millis(), 1_500);
    assert_eq!(config.server.log_format, LogFormat::Json);
    assert_eq!(config.server.log_level, tracing::Level::DEBUG);
    assert_eq!(config.engine.max_memory, 256 << 20);
    assert_eq!(config.scheduler.max_concurrent, 8);
    assert!(config.router.margin.abs() < f64::EPSILON);
    let key = &config.auth.keys[0];
    assert_eq!((key.name.as_str(), key.tenant.as_str(), key.priority), ("ci", "acme", 3));
    assert!(!key.short && key.role == crate::domain::Role::Admin);

    let calc = &config.agents["calc"];
    assert_eq!(calc.component, Path::new("/srv/fleet/plugins/calc.wasm"));
    assert_eq!((calc.limits.fuel, calc.limits.memory), (5_000_000, 64 << 20));
    assert_eq!(calc.limits.timeout.as_secs(), 5);
    assert_eq!(calc.queue, Some(0));
    let system = Capability::System;
    assert_eq!(calc.grants.policy(system), Some(&Policy::whole(system)));
    let values: Vec<&str> = calc.config.values().map(String::as_str).collect();
    assert_eq!(values, ["3", "true", "0.5", "2026-01-01", "m"]);
    let units = &config.agents["units"];
    assert_eq!(units.component, Path::new("/opt/units.wasm"));
    assert_eq!((units.limits.fuel, units.limits.memory), (5_000_000, 32 << 20));
}

#[test]
fn an_empty_file_is_valid() {
    let config = read("").expect("valid");
    assert_eq!(config, Config::defaults(Path::new("/srv/fleet")));
    assert!(config.agents.is_empty() && config.auth.keys.is_empty());
    assert_eq!(config.server.data_dir, Path::new("/srv/fleet/data"));
    assert_eq!(read("\u{feff}# only a comment\r\n").expect("valid"), config);
}

/// The reference's defaults, written out, say the same as an empty file.
#[test]
fn documented_defaults_are_the_actual_ones() {
    let mut text = String::new();
    let mut written = 0;
    for section in
        SECTIONS.iter().filter(|section| !section.title.contains("ID") && !section.title.contains("[["))
    {
        text.push_str(&format!("{}\n", section.title));
        for key in section.keys {
            let default = key.default_text();
            let default = default.trim_matches('`');
            if toml::de::DeValue::parse(default).is_ok() {
                text.push_str(&format!("{} = {default}\n", key.name));
                written += 1;
            }
        }
    }
    assert!(written >= 38, "{written}: {text}");
    assert_eq!(read(&text).map_err(|problems| problems.to_string()), Ok(read("").expect("valid")));
}

/// A wrong value for any listed key is found, at that key: so every listed key is read.
#[test]
fn every_listed_key_is_read() {
    for section in SECTIONS {
        for key in section.keys {
            let title = section.title.replace("ID", "x");
            let text = format!("{title}\n{} = {{ zzzzzz = [1979-05-27] }}\n", key.name);
            let problems = read(&text).expect_err(&text).problems;
            assert!(problems.iter().any(|problem| problem.key.contains(key.name)), "{text}{problems:?}");
        }
    }
}

#[test]
fn defaults_bow_to_a_smaller_engine() {
    let config = read("engine.max_instances = 16\nengine.max_memory = '8MiB'\n").expect("valid");
    assert_eq!(config.scheduler.max_concurrent, 16);
    let config = read("[engine]\nmax_memory = '8MiB'\n[agents.x]\ncomponent = 'x'\n").expect("valid");
    assert_eq!(config.agents["x"].limits.memory, 8 << 20);
}

#[test]
fn the_environment_overrides() {
    let config = in_environment(&[
        ("ORCHESTRATOR_API_KEY", " a-key-of-twenty-chars "),
        ("AUTHORIZED_AGENTS_SCOPE", "calc, team-*"),
        ("ALLOWED_ORIGINS", r#"["https://a.example", "http://b:3000"]"#),
        ("STOCKADE_LISTEN", "[::1]:9"),
        ("STOCKADE_DATA_DIR", "elsewhere"),
    ])
    .expect("valid");
    let key = &config.auth.keys[0];
    assert_eq!((key.name.as_str(), key.short), (ENVIRONMENT_KEY, true));
    assert_eq!(key.sha256, crate::domain::Digest::of(b"a-key-of-twenty-chars"));
    assert_eq!(key.scope.as_str(), "calc\nteam-*");
    assert_eq!(config.server.allowed_origins, ["https://a.example", "http://b:3000"]);
    assert_eq!(config.server.listen.to_string(), "[::1]:9");
    assert_eq!(config.server.data_dir, Path::new("/srv/fleet/elsewhere"));

    let config = in_environment(&[("ALLOWED_ORIGINS", "https://a, https://b")]).expect("valid");
    assert_eq!(config.server.allowed_origins, ["https://a", "https://b"]);
    let config = in_environment(&[("ORCHESTRATOR_API_KEY", "  "), ("ALLOWED_ORIGINS", "")]).expect("valid");
    assert_eq!(config, read("").expect("valid"));
}

#[test]
fn problems_of_the_environment_name_the_variable_and_not_the_value() {
    let wrong = [
        ("ORCHESTRATOR_API_KEY", "hush hush"),
        ("ALLOWED_ORIGINS", "[hush]"),
        ("STOCKADE_LISTEN", "hush"),
        ("STOCKADE_DATA_DIR", "~/hush"),
    ];
    let problems = in_environment(&wrong).expect_err("wrong");
    assert_eq!(problems.problems.len(), wrong.len());
    for (name, _) in wrong {
        let problem = problems.problems.iter().find(|problem| problem.key == name).expect(name);
        assert!(problem.message.contains(name) && problem.line.is_none());
    }
    assert!(!problems.to_string().contains("hush"), "{problems}");
    let scope = in_environment(&[("ORCHESTRATOR_API_KEY", "k"), ("AUTHORIZED_AGENTS_SCOPE", "A B")]);
    assert_eq!(scope.expect_err("scope").problems[0].key, "AUTHORIZED_AGENTS_SCOPE");
}

#[test]
fn files_that_cannot_be_read_say_what_to_do() {
    let folder = tempfile::tempdir().expect("folder");
    let at = |name: &str| folder.path().join(name);
    let fails = |path: &Path| load(path, &NoEnvironment).expect_err("unreadable");
    assert!(matches!(fails(&at("none.toml")), LoadError::Missing(_)));
    assert!(matches!(fails(folder.path()), LoadError::Folder(_)));
    fs::write(at("latin1.toml"), b"# fine\nname = '\xe9'\n").expect("write");
    assert!(matches!(fails(&at("latin1.toml")), LoadError::NotText { line: 2, .. }));
    fs::write(at("huge.toml"), vec![b'#'; 5 << 20]).expect("write");
    assert!(matches!(fails(&at("huge.toml")), LoadError::TooLarge(_)));
    fs::write(at("agents.toml"), "[agents.a]\ncomponent = 'a.wasm'\n").expect("write");
    let config = load(&at("agents.toml"), &NoEnvironment).expect("valid");
    assert_eq!(config.agents["a"].component, at("a.wasm"));
}

#[test]
fn problems_are_data_too() {
    let problems = read("[server]\nlisten = 5\n").expect_err("wrong");
    let json = serde_json::to_value(&problems).expect("json");
    assert_eq!(json[0]["line"], 2);
    assert_eq!(json[0]["column"], 10);
    assert_eq!(json[0]["key"], "server.listen");
    assert_eq!(json[0]["file"], "agents.toml");
}

/// Each `NAME.toml` in the folder gives exactly the message in `NAME.err`. With `STOCKADE_UPDATE_GOLDEN`
/// set, the messages are written instead.
#[test]
fn golden_messages() {
    let folder = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/golden/config"));
    let update = std::env::var_os("STOCKADE_UPDATE_GOLDEN").is_some();
    let mut seen = 0;
    for entry in fs::read_dir(&folder).expect("golden files") {
        let path = entry.expect("entry").path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        seen += 1;
        let text = fs::read_to_string(&path).expect("text");
        let name = path.file_name().expect("name").to_string_lossy().into_owned();
        let actual = match parse(&text, &name, Path::new("/srv/fleet"), &NoEnvironment) {
            Ok(_) => "valid\n".to_owned(),
            Err(problems) => format!("{problems}\n"),
        };
        assert!(!actual.contains("sk_live"), "{actual}");
        let golden = path.with_extension("err");
        if update {
            fs::write(&golden, &actual).expect("write");
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        assert_eq!(actual, expected, "{name}: set STOCKADE_UPDATE_GOLDEN=1 to accept");
    }
    assert!(seen >= 15, "{seen} golden files");
}

/// No change of a few characters makes reading or rendering panic.
#[test]
fn mutations_never_panic() {
    let pieces =
        ["[", "]", "\"", "'''", "=", "\n", "{", "}", ",", ".", "é", "\0", "#", "[[", "9", "-", "\\u", "\r"];
    // A linear congruence is random enough here, and the same at every run.
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).expect("31 bits") % below
    };
    for _ in 0..2_000 {
        let mut text = EVERY_KIND.to_owned();
        for _ in 0..=random(4) {
            let from = text.floor_char_boundary(random(text.len() + 1));
            let to = text.floor_char_boundary((from + random(12)).min(text.len()));
            let piece = pieces[random(pieces.len())];
            match random(3) {
                0 => text.insert_str(from, piece),
                1 => text.replace_range(from..to, piece),
                _ => text.replace_range(from..to, ""),
            }
        }
        if let Err(problems) = read(&text) {
            assert!(!problems.problems.is_empty());
            let _ = problems.to_string();
        }
    }
}

/// A large fleet is read in one go, and so are as many problems.
#[test]
fn a_large_fleet_is_read() {
    let agent = |number: u32| format!("[agents.a{number}]\ncomponent = 'x.wasm'\nlimits.memory = '32MiB'\n");
    let fleet: String = (0..2_000).map(agent).collect();
    assert_eq!(read(&fleet).expect("valid").agents.len(), 2_000);
    let problems = read(&fleet.replace("32MiB", "999MiB")).expect_err("wrong");
    assert_eq!(problems.problems.len(), 2_000);
    assert!(problems.to_string().ends_with("2000 problems, of which 50 are shown"));
    let noise = "= = [\n".repeat(100_000);
    assert!(read(&noise).expect_err("wrong").problems.len() <= 200);
}

#[test]
fn the_reference_is_a_table_of_whole_rows() {
    for row in reference().lines().filter(|line| line.starts_with('|')) {
        let columns = row.matches('|').count() - 1;
        assert!(columns == 4 || columns == 2, "{row}");
    }
}

#[test]
fn a_setting_that_is_no_more_says_so() {
    let problems = read("[engine]\noptimise_up_to = '1MiB'\n").expect_err("wrong");
    let text = problems.to_string();
    assert_eq!(problems.problems.len(), 1);
    assert!(
        text.contains("`optimise_up_to` in [engine] has no effect any more") && text.contains("remove it"),
        "{text}"
    );
}
