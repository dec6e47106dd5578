//! `stockade agents`: lists the agents and where they stand.

use clap::Args;
use http::Method;
use serde_json::Value;

use super::client::{self, Needs, ServerArgs};
use super::output::{self, Output};
use super::{Exit, Global};

/// Arguments of `stockade agents`.
#[derive(Debug, Args)]
pub(super) struct AgentsArgs {
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs it. Ends with [`Exit::Failed`] if an agent does not serve.
pub(super) fn run(global: &Global, args: &AgentsArgs) -> anyhow::Result<Exit> {
    let _logging = global.quiet_logging();
    let path = "/api/agents/status";
    let answer = match client::ask(global, &args.server, Needs::All, Method::GET, path, None)? {
        Ok(answer) => answer,
        Err(exit) => return Ok(exit),
    };
    let agents = answer.body.as_array().cloned().unwrap_or_default();
    match global.output() {
        Output::Json => global.output().json(&answer.body)?,
        Output::Text if answer.exit() != Exit::Done => output::note(&answer.failure()),
        Output::Text => print(&agents)?,
    }
    let down = |agent: &Value| matches!(agent["status"].as_str(), Some("failed" | "missing"));
    if agents.iter().any(down) { Ok(Exit::Failed) } else { Ok(answer.exit()) }
}

fn print(agents: &[Value]) -> anyhow::Result<()> {
    if agents.is_empty() {
        output::note("no agents: add some to agents.toml");
        return Ok(());
    }
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let rows: Vec<Vec<String>> = agents
        .iter()
        .map(|agent| {
            let digest: String = text(&agent["digest"]).chars().take(12).collect();
            vec![text(&agent["id"]), text(&agent["status"]), text(&agent["version"]), digest]
        })
        .collect();
    output::print(&output::table(&["agent", "status", "version", "digest"], &rows))?;
    for agent in agents {
        if let Some(error) = agent["last_reload"]["error"].as_str() {
            output::note(&format!("{}: {error}", text(&agent["id"])));
        }
    }
    Ok(())
}
