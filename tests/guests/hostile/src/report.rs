//! Behaviours that report what the guest was given, and every shape that an answer can have.
//!
//! Owns the counter behind `count`, which is one on every call unless a sandbox was reused.

use std::sync::atomic::{AtomicU64, Ordering};

use stockade_sdk::{Failure, Reply, config as settings, json, system as machine};

use crate::Call;

static CALLS: AtomicU64 = AtomicU64::new(0);

/// Answers with the words that follow.
pub(crate) fn echo(call: &mut Call<'_>) -> Result<Reply, Failure> {
    Ok(Reply::text(call.rest()))
}

/// Reports the whole task in `data`, and names a model.
pub(crate) fn info(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let context = call.task.context_value()?;
    let data = json!({
        "query": call.task.query,
        "context": context,
        "has_context": call.task.context.is_some(),
        "request_id": call.task.request_id,
        "deadline_ms": call.task.deadline_ms,
    });
    Ok(Reply::text(call.task.query.clone()).with_data(data).with_model("none"))
}

/// Counts calls in a static: a fresh sandbox answers 1.
pub(crate) fn count(_: &mut Call<'_>) -> Result<Reply, Failure> {
    let calls = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    Ok(Reply::text(calls.to_string()).with_data(json!({ "calls": calls })))
}

/// Reports one setting, or all of them.
pub(crate) fn config(call: &mut Call<'_>) -> Result<Reply, Failure> {
    if let Some(key) = call.words.next() {
        let value = settings::get(key)?;
        let response = value.clone().unwrap_or_else(|| "not set".to_owned());
        return Ok(Reply::text(response).with_data(json!({ key: value })));
    }
    let all: stockade_sdk::Value = settings::all()?.into_iter().collect();
    Ok(Reply::text(all.to_string()).with_data(all))
}

/// Asks for a figure of the machine. A refusal is reported as an answer, to show that it came as one.
pub(crate) fn system(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let answer = match call.words.next().unwrap_or("memory") {
        "cpu" => machine::get_cpu().map(|figures| format!("{figures:?}")),
        "load" => machine::get_load().map(|figures| format!("{figures:?}")),
        "machine" => machine::get_machine().map(|figures| format!("{figures:?}")),
        "disks" => machine::list_disks().map(|figures| format!("{figures:?}")),
        "networks" => machine::list_networks().map(|figures| format!("{figures:?}")),
        "processes" => {
            machine::list_processes(machine::Order::Memory, 5).map(|figures| format!("{figures:?}"))
        }
        _ => machine::get_memory().map(|figures| format!("{figures:?}")),
    };
    let (outcome, text) = match answer {
        Ok(figures) => ("granted", figures),
        Err(machine::Error::Denied(message)) => ("denied", message),
        Err(machine::Error::Unavailable(message)) => ("unavailable", message),
    };
    Ok(Reply::text(format!("{outcome}: {text}")).with_data(json!({ "outcome": outcome, "text": text })))
}

/// Fails in the way that is named, with the message that follows.
pub(crate) fn fail(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let kind = call.words.next().unwrap_or("failed");
    let message = call.rest();
    Err(match kind {
        "invalid-input" => Failure::InvalidInput(message),
        "denied" => Failure::Denied(message),
        "unavailable" => Failure::Unavailable(message),
        _ => Failure::Failed(message),
    })
}

/// Gives `data` that is not JSON.
pub(crate) fn invalid_json(_: &mut Call<'_>) -> Result<Reply, Failure> {
    let mut reply = Reply::text("the data beside this is not JSON");
    reply.data = Some("{\"unfinished\": ".to_owned());
    Ok(reply)
}

/// Answers with a response of so many bytes.
pub(crate) fn huge_output(call: &mut Call<'_>) -> Result<Reply, Failure> {
    Ok(Reply::text(letters(call.number(5_000_000)?)))
}

/// Answers with `data` of so many bytes, which is JSON.
pub(crate) fn huge_data(call: &mut Call<'_>) -> Result<Reply, Failure> {
    let mut reply = Reply::text("the data beside this is large");
    reply.data = Some(format!("\"{}\"", letters(call.number(5_000_000)?.saturating_sub(2))));
    Ok(reply)
}

/// Fails with a message of so many bytes.
pub(crate) fn huge_error(call: &mut Call<'_>) -> Result<Reply, Failure> {
    Err(Failure::Failed(letters(call.number(5_000_000)?)))
}

fn letters(bytes: u64) -> String {
    "x".repeat(usize::try_from(bytes).unwrap_or(usize::MAX))
}
