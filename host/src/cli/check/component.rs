//! One component: whether a host takes it, what would have to be granted to it, what it says of itself,
//! what could be better, and the table that makes it serve.

use std::path::Path;

use anyhow::Context;
use serde_json::{Value, json};

use super::Report;
use crate::app::{Host, Purpose};
use crate::capabilities::interfaces::{self, Decision};
use crate::config::{self, Config, NoEnvironment};
use crate::domain::{AgentId, InvalidId, text};
use crate::registry::AgentVersion;

/// The contract that every agent exports.
const CONTRACT: &str = "stockade:agent@0.1.0";
/// The fewest examples from which the router learns something.
const FEW_EXAMPLES: usize = 3;

/// Checks it.
pub(super) async fn check(file: &Path) -> anyhow::Result<Report> {
    let data_dir = tempfile::tempdir()?;
    let path = std::path::absolute(file)?;
    let id = id_of(file)?;
    // A fleet of this one agent. JSON's strings are TOML's, too.
    let settings = format!("[agents.{id}]\ncomponent = {}", serde_json::to_string(&path)?);
    let mut config = config::parse(&settings, "agents.toml", Path::new("/"), &NoEnvironment)?;
    let default_memory = config.default_limits.memory;
    config.server.data_dir = data_dir.path().to_owned();
    config.engine.cache = false;
    for agent in config.agents.values_mut() {
        agent.limits.memory = config.engine.max_memory;
    }
    let host = Host::new(config, Purpose::Ask)?;
    host.load_all().await;
    let snapshot = host.registry.snapshot();
    let entry = snapshot.agents().next().context("the component was not loaded")?;
    let failure = entry.last_load().and_then(|report| report.failure);
    Ok(match (entry.version(), failure) {
        (Some(version), _) => accepted(file, version, default_memory, lint(&host.config(), entry.routed())),
        (None, Some(reason)) => refused(file, &reason.to_string()),
        (None, None) => refused(file, "the check was interrupted"),
    })
}

/// The id that an agent in this file would have: the file's name, as far as it can be one.
///
/// # Errors
/// None in fact: what is no id becomes `agent`.
pub(in crate::cli) fn id_of(file: &Path) -> Result<AgentId, InvalidId> {
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().to_ascii_lowercase();
    let plain: String =
        stem.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(64).collect();
    AgentId::parse(plain.trim_matches('-')).or_else(|_| AgentId::parse("agent"))
}

fn refused(file: &Path, reason: &str) -> Report {
    Report {
        text: format!("{}: error: {}", text::line(&file.display().to_string()), text::set_in(reason)),
        json: json!({ "file": file, "problems": [{ "message": reason }] }),
        problems: 1,
    }
}

fn accepted(file: &Path, version: &AgentVersion, default_memory: u64, lint: Vec<String>) -> Report {
    let (component, card) = (&version.component, &version.card);
    let gated: Vec<&str> = component.capabilities().iter().map(|one| one.as_str()).collect();
    let world = if component.exports_health() { "plugin-with-health" } else { "plugin" };
    let table = table(file, version, default_memory);
    let mut warnings = warnings(version, default_memory);
    warnings.extend(lint);
    let or_none = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
    let option = |text: Option<&str>| or_none(text.unwrap_or_default());
    let mut rows = vec![
        ("contract", format!("{CONTRACT}, world `{world}`")),
        ("name", card.name.to_string()),
        ("version", card.version.to_string()),
        ("description", or_none(&card.description)),
        ("category", or_none(&card.category)),
        ("triggers", or_none(&card.triggers.join(", "))),
        ("examples", card.examples.len().to_string()),
        ("context", if card.context_schema.is_some() { "has a JSON schema" } else { "any JSON" }.to_owned()),
        ("default query", option(card.default_query.as_deref())),
        (
            "model, cost",
            format!("{}, {}", option(card.model.as_deref()), option(card.cost_per_query.as_deref())),
        ),
    ];
    rows.extend(
        imports(version)
            .into_iter()
            .enumerate()
            .map(|(at, line)| (if at == 0 { "imports" } else { "" }, line)),
    );
    rows.push((
        "needs grants",
        match gated.as_slice() {
            [] => "none".to_owned(),
            names => format!("{} (in agents.toml: {})", names.join(", "), grant_line(names)),
        },
    ));
    let (size, least) = (component.size().div_ceil(1024), component.least_memory().unwrap_or(0) / 1024);
    rows.push(("size", format!("{size} KiB, and {least} KiB of memory at the least")));
    rows.push(("digest", component.digest().to_string()));
    let mut shown = format!("{}: an agent", text::line(&file.display().to_string()));
    for (name, value) in rows {
        shown.push_str(format!("\n  {name:<13} {}", text::line(&value)).trim_end());
    }
    for warning in &warnings {
        shown.push_str(&format!("\nwarning: {}", text::line(warning)));
    }
    shown.push_str(&format!("\n\nFor agents.toml:\n\n{table}"));
    let warnings: Vec<Value> = warnings.iter().map(|message| json!({ "message": message })).collect();
    let json = json!({
        "file": file,
        "problems": [],
        "warnings": warnings,
        "contract": CONTRACT,
        "world": world,
        "name": card.name,
        "version": card.version,
        "description": card.description,
        "category": card.category,
        "triggers": card.triggers,
        "examples": card.examples,
        "context_schema": card.context_schema,
        "default_query": card.default_query,
        "model": card.model,
        "cost_per_query": card.cost_per_query,
        "imports": component.imports(),
        "needs_grants": gated,
        "exports_health": component.exports_health(),
        "size_bytes": component.size(),
        "least_memory_bytes": component.least_memory(),
        "digest": component.digest(),
        "toml": table,
    });
    Report { text: shown, json, problems: 0 }
}

/// Each import that is not inert, with what it needs; how many are.
fn imports(version: &AgentVersion) -> Vec<String> {
    let mut inert = 0;
    let mut lines = Vec::new();
    for import in version.component.imports() {
        match interfaces::decision(import) {
            Some(Decision::Gated(capability)) => {
                lines.push(format!("{import}: needs [agents.{}.grants] {capability} = true", version.key.id));
            }
            Some(Decision::Own) => lines.push(format!("{import}: its own, needs no grant")),
            Some(Decision::Contract | Decision::Ambient) | None => inert += 1,
        }
    }
    if inert > 0 {
        lines.push(format!("{inert} of every language's runtime: inert, need no grant"));
    }
    if lines.is_empty() {
        lines.push("nothing".to_owned());
    }
    lines
}

/// What could be better, each with what to change.
fn warnings(version: &AgentVersion, default_memory: u64) -> Vec<String> {
    let card = &version.card;
    let mut warnings = Vec::new();
    if card.description.trim().is_empty() {
        warnings.push(
            "`description` is empty: say in a sentence or two what the agent does; tasks are routed by it"
                .to_owned(),
        );
    }
    if card.examples.len() < FEW_EXAMPLES {
        warnings.push(format!(
            "{} example tasks: give {FEW_EXAMPLES} or more as people would type them; the router learns most from them",
            card.examples.len()
        ));
    }
    if card.category.is_empty() {
        warnings
            .push("`category` is empty: one word groups the agent, and keys' scopes can name it".to_owned());
    }
    let least = version.component.least_memory().unwrap_or(0);
    if least > default_memory {
        warnings.push(format!(
            "it needs {} MiB before it does anything, and the default limit is {} MiB: raise `limits.memory`, as below",
            mebibytes(least),
            mebibytes(default_memory)
        ));
    }
    warnings
}

/// What the router has to say of an agent alone.
fn lint(config: &Config, agent: stockade_router::Agent) -> Vec<String> {
    let found = stockade_router::lint::check(&crate::app::router_settings(&config.router), &[agent]);
    found.into_iter().map(|warning| warning.message).collect()
}

/// The agent's table, ready to paste.
fn table(file: &Path, version: &AgentVersion, default_memory: u64) -> String {
    let component = Value::from(file.display().to_string());
    let mut table = format!("[agents.{}]\ncomponent = {component}", version.key.id);
    let gated: Vec<&str> = version.component.capabilities().iter().map(|one| one.as_str()).collect();
    if !gated.is_empty() {
        table.push_str(&format!("\n{}", grant_line(&gated)));
    }
    let least = version.component.least_memory().unwrap_or(0);
    if least > default_memory {
        table.push_str(&format!("\nlimits = {{ memory = \"{}MiB\" }}", mebibytes(least.saturating_mul(2))));
    }
    table
}

fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1024 * 1024)
}

fn grant_line(names: &[&str]) -> String {
    let pairs: Vec<String> = names.iter().map(|name| format!("{name} = true")).collect();
    format!("grants = {{ {} }}", pairs.join(", "))
}
