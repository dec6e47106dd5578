//! `stockade approve` and `stockade rollback`: the operator's word on an agent's versions.
//!
//! They speak to the host that serves: what serves, and what waits, is its to change.

use clap::Args;
use http::Method;
use serde_json::Value;

use super::client::{self, ServerArgs};
use super::output::{self, Output};
use super::{Exit, Global};
use crate::domain::AgentId;

/// Arguments of `stockade approve` and `stockade rollback`.
#[derive(Debug, Args)]
pub(super) struct ChangeArgs {
    /// The agent
    agent: String,
    #[command(flatten)]
    server: ServerArgs,
}

/// What is to be done with an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Let in what waits, or what was taken back.
    Approve,
    /// Go back to the version before.
    RollBack,
}

/// Runs it.
pub(super) fn run(global: &Global, args: &ChangeArgs, change: Change) -> anyhow::Result<Exit> {
    let _logging = global.quiet_logging();
    let id = match AgentId::parse(&args.agent) {
        Ok(id) => id,
        Err(error) => {
            output::note(&format!("error: {error}"));
            return Ok(Exit::Usage);
        }
    };
    let word = match change {
        Change::Approve => "approve",
        Change::RollBack => "rollback",
    };
    let path = format!("/api/agents/{id}/{word}");
    let answer = match client::ask_running(global, &args.server, Method::POST, &path)? {
        Ok(answer) => answer,
        Err(exit) => return Ok(exit),
    };
    match global.output() {
        Output::Json => global.output().json(&answer.body)?,
        Output::Text if answer.exit() != Exit::Done => output::note(&answer.failure()),
        Output::Text => output::print(&served(&id, &answer.body))?,
    }
    Ok(answer.exit())
}

/// What serves now.
fn served(id: &AgentId, page: &Value) -> String {
    let digest: String = page["digest"].as_str().unwrap_or("-").chars().take(12).collect();
    format!(
        "{id} serves version {}, generation {}, digest {digest}",
        page["version"].as_str().unwrap_or("-"),
        page["generation"]
    )
}
