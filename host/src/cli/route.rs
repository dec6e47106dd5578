//! `stockade route TASK`: shows which agent a task is for, and why.

use clap::Args;
use serde_json::Value;

use super::ask::Ask;
use super::client::{self, Needs, PlaceArgs};
use super::output::{self, Output};
use super::{Exit, Global};
use crate::domain::text;
use crate::operations::RouteRequest;

/// Arguments of `stockade route`.
#[derive(Debug, Args)]
pub(super) struct RouteArgs {
    /// The task in plain language
    #[arg(required = true)]
    task: Vec<String>,
    /// Say which words counted, and for how much
    #[arg(long)]
    explain: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Runs it.
pub(super) fn run(global: &Global, args: RouteArgs) -> anyhow::Result<Exit> {
    let _logging = global.quiet_logging();
    let (task, explain) = (args.task.join(" ").into(), Some(args.explain));
    let what = Ask::Route(RouteRequest { task, auto_select: None, explain });
    let answer = match client::ask(global, &args.place, Needs::All, &what)? {
        Ok(answer) => answer,
        Err(exit) => return Ok(exit),
    };
    let status = answer.body["status"].as_str().unwrap_or_default();
    let exit = if status == "no_match" { Exit::NoMatch } else { answer.exit() };
    match global.output() {
        Output::Json => global.output().json(&answer.body)?,
        Output::Text if answer.exit() == Exit::Done => output::print(&shown(&answer.body))?,
        Output::Text => output::note(&answer.failure()),
    }
    Ok(exit)
}

fn shown(body: &Value) -> String {
    let mut shown = match (body["status"].as_str(), &body["agent"]) {
        (Some("ambiguous"), agent) if !agent.is_null() => {
            format!("ambiguous; best: {}", ranked(agent))
        }
        (_, agent) if !agent.is_null() => ranked(agent),
        _ => "no agent matches".to_owned(),
    };
    for other in body["alternatives"].as_array().map(Vec::as_slice).unwrap_or_default() {
        shown.push_str(&format!("\n  or {}", ranked(other)));
    }
    if !body["explanation"].is_null() {
        let explanation = serde_json::to_string_pretty(&body["explanation"]).unwrap_or_default();
        shown.push_str(&format!("\n{}", text::json(&explanation)));
    }
    shown
}

fn ranked(agent: &Value) -> String {
    let words: Vec<&str> = agent["matched_keywords"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let because =
        if words.is_empty() { String::new() } else { format!(" ({})", text::line(&words.join(", "))) };
    let confidence = agent["confidence"].as_f64().unwrap_or(0.0);
    format!("{} {confidence:.2}{because}", text::line(agent["agent_id"].as_str().unwrap_or_default()))
}
