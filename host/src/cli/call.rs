//! `stockade call AGENT QUERY`: asks one agent and prints its answer.

use anyhow::Context;
use clap::Args;
use serde_json::Value;

use super::ask::Ask;
use super::client::{self, Needs, PlaceArgs};
use super::output::{self, Output};
use super::{Exit, Global};
use crate::domain::text;
use crate::operations::ExecuteAgentRequest;

/// Arguments of `stockade call`.
#[derive(Debug, Args)]
pub(super) struct CallArgs {
    /// The agent's id
    agent: String,
    /// What to ask; without it, the agent's default query
    query: Vec<String>,
    /// What to give along: JSON
    #[arg(long, value_name = "JSON")]
    context: Option<String>,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Runs it.
pub(super) fn run(global: &Global, args: CallArgs) -> anyhow::Result<Exit> {
    let _logging = global.quiet_logging();
    let context = args.context.as_deref().map(serde_json::from_str);
    let task = ExecuteAgentRequest {
        agent: args.agent.clone(),
        query: Some(args.query.join(" ")).filter(|_| !args.query.is_empty()),
        task: None,
        context: context.transpose().context("`--context` is not JSON")?,
    };
    let needs = Needs::Agent(&args.agent);
    let answer = match client::ask(global, &args.place, needs, &Ask::Execute(task))? {
        Ok(answer) => answer,
        Err(exit) => return Ok(exit),
    };
    let exit = answer.exit();
    match global.output() {
        Output::Json => global.output().json(&answer.body)?,
        Output::Text if exit == Exit::Done => {
            output::answer(answer.body["response"].as_str().unwrap_or_default())?;
            output::note(&footer(&answer.body));
        }
        Output::Text => output::note(&answer.failure()),
    }
    Ok(exit)
}

/// Which code answered, and what it cost.
fn footer(body: &Value) -> String {
    let receipt = &body["receipt"];
    let denials = body["denials"].as_array().map(Vec::as_slice).unwrap_or_default();
    let mut shown = format!(
        "{} {} in {} ms: fuel {}, memory {} KiB",
        text::line(body["agent"].as_str().unwrap_or_default()),
        text::line(body["agent_version"].as_str().unwrap_or_default()),
        body["execution_time_ms"],
        receipt["fuel"],
        receipt["peak_memory_bytes"].as_u64().unwrap_or(0) / 1024,
    );
    for denial in denials {
        shown.push_str(&format!(
            "\nrefused: {}; to allow it add {}",
            text::line(denial["capability"].as_str().unwrap_or_default()),
            text::line(denial["key_to_add"].as_str().unwrap_or_default())
        ));
    }
    shown
}
