//! `stockade audit`: who changed what, as the host that runs has it.

use clap::Args;
use http::Method;
use serde_json::Value;

use super::ask::escape;
use super::client::ServerArgs;
use super::output::{self, Output};
use super::{Exit, Global};
use crate::domain::text;

/// How much of a digest says enough.
const SHORT: usize = 12;

/// Arguments of `stockade audit`.
#[derive(Debug, Args)]
pub(super) struct AuditArgs {
    /// From this moment on, such as 2026-01-31 or 2026-01-31T12:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Before this moment
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Only this operation, such as approve, roll_back, reload or settings
    #[arg(long, value_name = "NAME")]
    operation: Option<String>,
    /// Only this agent
    #[arg(long, value_name = "ID")]
    agent: Option<String>,
    /// At most so many, the newest first: 1 to 1,000
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
    #[command(flatten)]
    server: ServerArgs,
}

/// Runs it.
pub(super) fn run(global: &Global, args: &AuditArgs) -> anyhow::Result<Exit> {
    let _logging = global.quiet_logging();
    let mut path = format!("/api/audit?limit={}", args.limit);
    let wanted =
        [("from", &args.from), ("to", &args.to), ("operation", &args.operation), ("agent", &args.agent)];
    for (name, value) in wanted {
        if let Some(value) = value {
            path.push_str(&format!("&{name}={}", escape(value)));
        }
    }
    let answer = match args.server.running(global)? {
        Ok(remote) => remote.ask_piece(Method::GET, &path)?,
        Err(exit) => return Ok(exit),
    };
    match global.output() {
        Output::Json => global.output().json(&answer.body)?,
        Output::Text if answer.exit() != Exit::Done => output::note(&answer.failure()),
        Output::Text => print(answer.body.as_array().map(Vec::as_slice).unwrap_or_default())?,
    }
    Ok(answer.exit())
}

fn print(records: &[Value]) -> anyhow::Result<()> {
    if records.is_empty() {
        output::note("nothing was changed");
        return Ok(());
    }
    let rows: Vec<Vec<String>> = records.iter().map(row).collect();
    output::print(&output::table(&["at", "who", "operation", "what", "from", "to", "why"], &rows))?;
    Ok(())
}

fn row(record: &Value) -> Vec<String> {
    let word = |field: &str| record[field].as_str().unwrap_or("-").to_owned();
    let subject = match record["kind"].as_str() {
        Some("agent") | None => word("subject"),
        Some(kind) => format!("{kind} {}", word("subject")),
    };
    let (from, to) = (state(&record["from"]), state(&record["to"]));
    vec![word("at"), word("who"), word("operation"), subject, from, to, word("reason")]
}

/// What something was or is, in a few words.
fn state(state: &Value) -> String {
    let mut words = Vec::new();
    if let Some(generation) = state["generation"].as_u64() {
        let digest = text::beginning(state["digest"].as_str().unwrap_or_default(), SHORT);
        words.push(format!("{digest} (generation {generation})"));
    }
    if let Some(pending) = state["pending"].as_str() {
        words.push(format!("{} waits", text::beginning(pending, SHORT)));
    }
    let approved: Vec<&str> =
        state["approved"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    if !approved.is_empty() {
        words.push(format!("approved: {}", approved.join(", ")));
    }
    for (name, value) in state["settings"].as_object().into_iter().flatten() {
        words.push(format!("{name}: {}", value.as_str().unwrap_or("-")));
    }
    if words.is_empty() { "-".to_owned() } else { words.join("; ") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_record_is_a_row() {
        let record = json!({
            "at": "2026-01-02T03:04:05Z", "who": "anna", "role": "admin", "operation": "approve",
            "kind": "agent", "subject": "weather", "reason": "as agreed",
            "from": { "digest": "0123456789abcdef", "generation": 1, "pending": "fedcba9876543210" },
            "to": { "digest": "fedcba9876543210", "generation": 2, "approved": ["system"] },
        });
        assert_eq!(
            row(&record),
            [
                "2026-01-02T03:04:05Z",
                "anna",
                "approve",
                "weather",
                "0123456789ab (generation 1); fedcba987654 waits",
                "fedcba987654 (generation 2); approved: system",
                "as agreed"
            ]
        );
        let key = json!({ "kind": "key", "subject": "carl", "to": null,
            "from": { "settings": { "role": "call", "scope": "*" } } });
        assert_eq!(row(&key)[3..], ["key carl", "role: call; scope: *", "-", "-"]);
    }
}
