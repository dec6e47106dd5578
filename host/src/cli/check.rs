//! `stockade check`: settings files and components, checked without serving.
//!
//! Settings are checked here, as a fleet; one component in `component`.

mod component;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use super::output::{self, Output};
use super::{Exit, Global, runtime};
use crate::app::{Host, Purpose};
use crate::config::cases::{self, Base};
use crate::config::{self, Config, LoadError, NoEnvironment};
use crate::domain::text;
pub(super) use component::id_of;

/// Arguments of `stockade check`.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Settings files (.toml), components (.wasm) and files of test cases (`cases.toml`); without any, the
    /// settings file
    file: Vec<PathBuf>,
}

/// What was found in one file.
struct Report {
    text: String,
    json: Value,
    problems: usize,
}

/// Runs it.
pub(super) fn run(global: &Global, args: &CheckArgs) -> anyhow::Result<Exit> {
    let _logging = global.quiet_logging();
    let default = [global.config.clone()];
    let files = if args.file.is_empty() { &default[..] } else { &args.file[..] };
    let runtime = runtime()?;
    let mut reports = Vec::new();
    for file in files {
        let component = file.extension().is_some_and(|extension| extension == "wasm");
        let cases = file.file_name().is_some_and(|name| name == "cases.toml");
        reports.push(match (component, cases) {
            (true, _) => runtime.block_on(component::check(file))?,
            (_, true) => check_cases(file)?,
            _ => runtime.block_on(check_settings(file))?,
        });
    }
    match global.output() {
        Output::Json => {
            let all: Vec<&Value> = reports.iter().map(|report| &report.json).collect();
            global.output().json(&all)?;
        }
        Output::Text => {
            let texts: Vec<&str> = reports.iter().map(|report| report.text.as_str()).collect();
            output::print(&texts.join("\n\n"))?;
        }
    }
    let problems: usize = reports.iter().map(|report| report.problems).sum();
    if problems == 0 { Ok(Exit::Done) } else { Ok(Exit::Failed) }
}

/// What `stockade test` reads, without running it.
fn check_cases(file: &Path) -> anyhow::Result<Report> {
    let defaults = Config::defaults(&std::env::current_dir()?);
    let base = Base { limits: defaults.default_limits, config: &BTreeMap::new(), engine: &defaults.engine };
    Ok(match cases::load(file, &base) {
        Ok(cases) => Report {
            text: format!("{}: {} cases, no problems", file.display(), cases.len()),
            json: json!({ "file": file, "cases": cases.len(), "problems": [] }),
            problems: 0,
        },
        Err(error) => unreadable(file, &error),
    })
}

fn unreadable(file: &Path, error: &LoadError) -> Report {
    let json = json!({ "file": file, "problems": super::problems(error) });
    Report { text: error.to_string(), json, problems: 1 }
}

async fn check_settings(file: &Path) -> anyhow::Result<Report> {
    let name = file.display();
    let config = match config::load(file, &NoEnvironment) {
        Ok(config) => config,
        Err(error) => return Ok(unreadable(file, &error)),
    };
    let host = Host::new(config, Purpose::Ask)?;
    host.load_all().await;
    let snapshot = host.registry.snapshot();
    let mut shown = format!("{name}: {} agents", snapshot.agents().count());
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    for entry in snapshot.agents() {
        if let Some(reason) = entry.last_load().and_then(|report| report.failure) {
            problems.push(json!({ "agent": entry.key.id, "message": reason.to_string() }));
        }
        for capability in entry.version().into_iter().flat_map(|version| version.ungranted()) {
            let id = &entry.key.id;
            let message = format!(
                "imports `{capability}`, which it is not granted; add [agents.{id}.grants] {capability} = true, or leave it refused"
            );
            warnings.push(json!({ "agent": id, "message": message }));
        }
    }
    let cards = snapshot.agents().filter(|entry| entry.version().is_some());
    let routed: Vec<_> = cards.map(|entry| entry.routed()).collect();
    for warning in stockade_router::lint::check(snapshot.router().settings(), &routed) {
        warnings.push(json!({ "agent": warning.agents.first(), "message": warning.message }));
    }
    for (word, found) in [("error", &problems), ("warning", &warnings)] {
        for item in found {
            let (agent, message) = (item["agent"].as_str(), item["message"].as_str());
            shown.push_str(&format!(
                "\n{word}: {}: {}",
                agent.unwrap_or_default(),
                text::set_in(message.unwrap_or_default())
            ));
        }
    }
    if problems.is_empty() && warnings.is_empty() {
        shown.push_str(", no problems");
    }
    let count = problems.len();
    let agents = snapshot.agents().count();
    let json = json!({ "file": file, "agents": agents, "problems": problems, "warnings": warnings });
    Ok(Report { text: shown, json, problems: count })
}
