//! `stockade agents`: lists the agents and their status: those of the host that runs or, with `--local`, of the
//! settings file.

use clap::Args;
use serde_json::Value;

use super::ask::Ask;
use super::client::{self, Needs, PlaceArgs};
use super::output::{self, Output};
use super::{Exit, Global};
use crate::domain::text;

/// Arguments of `stockade agents`.
#[derive(Debug, Args)]
pub(super) struct AgentsArgs {
    #[command(flatten)]
    place: PlaceArgs,
}

/// Runs it. Ends with [`Exit::Failed`] if an agent does not serve.
pub(super) fn run(global: &Global, args: &AgentsArgs) -> anyhow::Result<Exit> {
    let _logging = global.quiet_logging();
    let answer = match client::ask_running(global, &args.place, Needs::All, &Ask::AgentStatus)? {
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
    let plain = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    };
    let rows: Vec<Vec<String>> = agents
        .iter()
        .map(|agent| {
            let digest: String = plain(&agent["digest"]).chars().take(12).collect();
            vec![plain(&agent["id"]), plain(&agent["status"]), plain(&agent["version"]), digest]
        })
        .collect();
    output::print(&output::table(&["agent", "status", "version", "digest"], &rows))?;
    for agent in agents {
        remarks(agent).iter().for_each(|remark| output::note(remark));
    }
    Ok(())
}

/// What its operator has to know of an agent, and what to do about it.
fn remarks(agent: &Value) -> Vec<String> {
    let shown = |value: &Value| text::line(value.as_str().unwrap_or("-")).into_owned();
    let short = |digest: &Value| shown(digest).chars().take(12).collect::<String>();
    let id = shown(&agent["id"]);
    let mut remarks = Vec::new();
    let reload = &agent["last_reload"];
    if let Some(error) = reload["error"].as_str() {
        let serves = match &agent["generation"] {
            Value::Null => "it has not served since the host started".to_owned(),
            generation => format!("generation {generation} still serves"),
        };
        let since = reload["failing_since"].as_str().map(|since| format!(" since {}", text::line(since)));
        let since = since.unwrap_or_default();
        remarks.push(format!("{id}: loading it fails{since} ({serves}): {}", text::set_in(error)));
    }
    let pending = &agent["pending"];
    if pending.is_object() {
        let wants: Vec<String> = pending["wants"].as_array().into_iter().flatten().map(shown).collect();
        remarks.push(format!(
            "{id}: a new version (digest {}) waits for approval since {}: it wants {}. To let it in: {}",
            short(&pending["digest"]),
            shown(&pending["since"]),
            wants.join(", "),
            shown(&pending["remedy"]),
        ));
    }
    remarks
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_waits_and_what_fails_is_said_with_its_remedy() {
        let agent = json!({
            "id": "weather", "generation": 3,
            "last_reload": { "error": "it is broken", "failing_since": "2026-01-02T03:04:05Z" },
            "pending": { "digest": "0123456789abcdef", "wants": ["system"], "since": "2026-01-01T00:00:00Z",
                "remedy": "`stockade approve weather`" },
        });
        assert_eq!(
            remarks(&agent),
            [
                "weather: loading it fails since 2026-01-02T03:04:05Z (generation 3 still serves): it is broken",
                "weather: a new version (digest 0123456789ab) waits for approval since 2026-01-01T00:00:00Z: \
                 it wants system. To let it in: `stockade approve weather`",
            ]
        );
        let fine = json!({ "id": "a", "last_reload": { "error": null }, "pending": null });
        assert_eq!(remarks(&fine), Vec::<String>::new());
    }
}
