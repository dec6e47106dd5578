//! `stockade check`: settings files and components, checked without serving.

use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::{Value, json};

use super::output::{self, Output};
use super::{Exit, Global, runtime};
use crate::app::{Host, Purpose};
use crate::config::{self, NoEnvironment};
use crate::domain::{AgentId, InvalidId};
use crate::registry::AgentVersion;

/// Arguments of `stockade check`.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Settings files (.toml) and components (.wasm); without any, the settings file
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
        reports.push(runtime.block_on(async {
            if component { check_component(file).await } else { check_settings(file).await }
        })?);
    }
    match global.output() {
        Output::Json => {
            let all: Vec<&Value> = reports.iter().map(|report| &report.json).collect();
            global.output().json(&all)?;
        }
        Output::Text => {
            for report in &reports {
                output::print(&report.text)?;
            }
        }
    }
    let problems: usize = reports.iter().map(|report| report.problems).sum();
    if problems == 0 { Ok(Exit::Done) } else { Ok(Exit::Failed) }
}

async fn check_settings(file: &Path) -> anyhow::Result<Report> {
    let name = file.display();
    let config = match config::load(file, &NoEnvironment) {
        Ok(config) => config,
        Err(error) => {
            let problems = super::problems(&error);
            let json = json!({ "file": file, "problems": problems });
            return Ok(Report { text: error.to_string(), json, problems: 1 });
        }
    };
    let host = Host::new(config, Purpose::Ask)?;
    host.load_all().await;
    let snapshot = host.registry.snapshot();
    let mut text = format!("{name}: {} agents", snapshot.agents().len());
    let mut problems = Vec::new();
    let mut warnings = Vec::new();
    for entry in snapshot.agents() {
        if let Some(reason) = entry.last_load.as_ref().and_then(|report| report.failure.as_ref()) {
            problems.push(json!({ "agent": entry.id, "message": reason.to_string() }));
        }
        let capabilities = entry.version.iter().flat_map(|version| &version.capabilities);
        for (capability, granted) in capabilities {
            if !granted {
                let id = &entry.id;
                let message = format!(
                    "imports `{capability}`, which it is not granted; add [agents.{id}.grants] {capability} = true, or leave it refused"
                );
                warnings.push(json!({ "agent": id, "message": message }));
            }
        }
    }
    let cards = snapshot.agents().filter(|entry| entry.version.is_some());
    let routed: Vec<_> = cards.map(|entry| entry.routed()).collect();
    for warning in stockade_router::lint::check(snapshot.router().settings(), &routed) {
        warnings.push(json!({ "agent": warning.agents.first(), "message": warning.message }));
    }
    for (word, found) in [("error", &problems), ("warning", &warnings)] {
        for item in found {
            let (agent, message) = (item["agent"].as_str(), item["message"].as_str());
            text.push_str(&format!(
                "\n{word}: {}: {}",
                agent.unwrap_or_default(),
                message.unwrap_or_default()
            ));
        }
    }
    if problems.is_empty() && warnings.is_empty() {
        text.push_str(", no problems");
    }
    let count = problems.len();
    let agents = snapshot.agents().len();
    let json = json!({ "file": file, "agents": agents, "problems": problems, "warnings": warnings });
    Ok(Report { text, json, problems: count })
}

async fn check_component(file: &Path) -> anyhow::Result<Report> {
    let data_dir = tempfile::tempdir()?;
    let path = std::path::absolute(file)?;
    // A fleet of this one agent. JSON's strings are TOML's, too.
    let settings = format!("[agents.check]\ncomponent = {}", serde_json::to_string(&path)?);
    let mut config = config::parse(&settings, "agents.toml", Path::new("/"), &NoEnvironment)?;
    config.server.data_dir = data_dir.path().to_owned();
    config.engine.cache = false;
    for agent in config.agents.values_mut() {
        agent.limits.memory = config.engine.max_memory;
    }
    let host = Host::new(config, Purpose::Ask)?;
    host.load_all().await;
    let snapshot = host.registry.snapshot();
    let entry = snapshot.agents().next().context("the component was not loaded")?;
    let failure = entry.last_load.as_ref().and_then(|report| report.failure.as_ref());
    Ok(match (&entry.version, failure) {
        (Some(version), _) => accepted(file, version),
        (None, Some(reason)) => refused(file, &reason.to_string()),
        (None, None) => refused(file, "the check was interrupted"),
    })
}

/// The id that an agent in this file would have: the file's name, as far as it can be one.
///
/// # Errors
/// None in fact: what is no id becomes `agent`.
pub(super) fn id_of(file: &Path) -> Result<AgentId, InvalidId> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let plain: String =
        stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(64).collect();
    AgentId::parse(plain.trim_matches('-')).or_else(|_| AgentId::parse("agent"))
}

fn refused(file: &Path, reason: &str) -> Report {
    Report {
        text: format!("{}: error: {reason}", file.display()),
        json: json!({ "file": file, "problems": [{ "message": reason }] }),
        problems: 1,
    }
}

fn accepted(file: &Path, version: &AgentVersion) -> Report {
    let (component, said) = (&version.component, &version.card);
    let grants: Vec<&str> = component.capabilities().iter().copied().collect();
    let list = |items: &[String]| if items.is_empty() { "-".to_owned() } else { items.join(", ") };
    let needed = match grants.as_slice() {
        [] => "none".to_owned(),
        names => format!("{} (in agents.toml: {})", names.join(", "), grant_line(names)),
    };
    let health = if component.exports_health() { "yes" } else { "no" };
    let text = format!(
        "{}: an agent\n  name         {}\n  version      {}\n  description  {}\n  category     {}\n  triggers     {}\n  examples     {}\n  needs grants {needed}\n  health       {health}\n  size         {} KiB, least memory {} KiB\n  digest       {}",
        file.display(),
        said.name,
        said.version,
        said.description,
        said.category,
        list(&said.triggers),
        said.examples.len(),
        component.size().div_ceil(1024),
        component.least_memory().unwrap_or(0) / 1024,
        component.digest(),
    );
    let json = json!({
        "file": file,
        "problems": [],
        "name": said.name,
        "version": said.version,
        "description": said.description,
        "category": said.category,
        "triggers": said.triggers,
        "examples": said.examples,
        "imports": component.imports(),
        "needs_grants": grants,
        "exports_health": component.exports_health(),
        "size_bytes": component.size(),
        "least_memory_bytes": component.least_memory(),
        "digest": component.digest(),
    });
    Report { text, json, problems: 0 }
}

fn grant_line(names: &[&str]) -> String {
    let pairs: Vec<String> = names.iter().map(|name| format!("{name} = true")).collect();
    format!("grants = {{ {} }}", pairs.join(", "))
}
