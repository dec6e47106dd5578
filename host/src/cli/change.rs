//! `stockade approve` and `stockade rollback`: the operator's word on an agent's versions.
//!
//! They speak to the host that serves: what serves, and what waits, is its to change. Each looks
//! first, says what it is about, and names the digest that it has shown, so that another version
//! that came meanwhile is not meant.

use clap::Args;
use http::Method;
use serde_json::{Value, json};

use super::client::{self, Answer, ServerArgs};
use super::output::{self, Output};
use super::{Exit, Global};
use crate::domain::{AgentId, text};

/// How much of a digest says enough.
const SHORT: usize = 12;

/// Arguments of `stockade approve`.
#[derive(Debug, Args)]
pub(super) struct ApproveArgs {
    /// The agent
    agent: String,
    /// The version that is meant, by the digest on the agent's page or its first characters; without
    /// it, what waits now
    #[arg(long, value_name = "DIGEST")]
    digest: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Arguments of `stockade rollback`.
#[derive(Debug, Args)]
pub(super) struct RollbackArgs {
    /// The agent
    agent: String,
    /// The earlier version that is meant, by the digest on the agent's page or its first characters;
    /// without it, the latest of them
    #[arg(long, value_name = "DIGEST")]
    to: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Lets in what waits, or what was taken back.
pub(super) fn approve(global: &Global, args: &ApproveArgs) -> anyhow::Result<Exit> {
    change(global, &args.agent, &args.server, |page| {
        let known = waiting(page);
        let asked = args.digest.as_deref();
        let digest = match asked {
            Some(asked) => whole(asked, &known),
            None => known.first().cloned(),
        };
        let told = digest.as_deref().map(|digest| wanted(page, digest));
        let waits = &page["pending"];
        let body = digest.map(|digest| match waits["stamp"].as_str() {
            // What was shown, and no other settings or wishes that came meanwhile.
            Some(stamp) if waits["digest"] == digest => json!({ "digest": digest, "stamp": stamp }),
            _ => json!({ "digest": digest }),
        });
        ("approve", body.unwrap_or(json!({})), told)
    })
}

/// Goes back to an earlier version.
pub(super) fn roll_back(global: &Global, args: &RollbackArgs) -> anyhow::Result<Exit> {
    change(global, &args.agent, &args.server, |page| {
        let known = digests(&page["previous"]);
        let to = match args.to.as_deref() {
            Some(asked) => whole(asked, &known),
            None => known.first().cloned(),
        };
        let told = to.as_deref().map(|to| {
            let from = page["digest"].as_str().unwrap_or("-");
            format!("{} goes back from {} to {}", said(&page["id"]), short(from), short(to))
        });
        ("rollback", to.map(|to| json!({ "to": to })).unwrap_or(json!({})), told)
    })
}

/// Looks at the agent, says what `decide` makes of its page, and has it done.
fn change(
    global: &Global,
    agent: &str,
    server: &ServerArgs,
    decide: impl FnOnce(&Value) -> (&'static str, Value, Option<String>),
) -> anyhow::Result<Exit> {
    let _logging = global.quiet_logging();
    let id = match AgentId::parse(agent) {
        Ok(id) => id,
        Err(error) => {
            output::note(&text::set_in(&format!("error: {error}")));
            return Ok(Exit::Usage);
        }
    };
    let ask =
        |method, path: String, body: Option<&Value>| client::ask_running(global, server, method, &path, body);
    let page = match ask(Method::GET, format!("/orchestrator/agents/{id}"), None)? {
        Ok(page) if page.exit() == Exit::Done => page.body,
        Ok(refused) => return finish(global, &id, &refused),
        Err(exit) => return Ok(exit),
    };
    let (word, body, told) = decide(&page);
    if let Some(told) = told.filter(|_| global.output() == Output::Text) {
        output::note(&told);
    }
    let none = body.as_object().is_some_and(serde_json::Map::is_empty) && word == "approve";
    if none {
        let message =
            format!("nothing of agent `{id}` waits for approval, and none of its versions was taken back");
        match global.output() {
            Output::Json => global.output().json(&json!({
                "error": "Conflict", "code": "conflict", "message": message, "agent": id.as_str(),
            }))?,
            Output::Text => output::note(&format!("error: {message} (conflict)")),
        }
        return Ok(Exit::Failed);
    }
    match ask(Method::POST, format!("/api/agents/{id}/{word}"), Some(&body))? {
        Ok(answer) => finish(global, &id, &answer),
        Err(exit) => Ok(exit),
    }
}

fn finish(global: &Global, id: &AgentId, answer: &Answer) -> anyhow::Result<Exit> {
    match global.output() {
        Output::Json => global.output().json(&answer.body)?,
        Output::Text if answer.exit() != Exit::Done => output::note(&answer.failure()),
        Output::Text => output::print(&served(id, &answer.body))?,
    }
    Ok(answer.exit())
}

/// What an operator's word may be about, the likeliest first: what waits, or else what was taken back,
/// and of that what came again last.
fn waiting(page: &Value) -> Vec<String> {
    if let Some(pending) = page["pending"]["digest"].as_str() {
        return vec![pending.to_owned()];
    }
    let mut blocked = digests(&page["blocked"]);
    let last = page["last_reload"]["digest"].as_str();
    // A stable order: the latest that was taken back stays ahead of older ones.
    blocked.sort_by_key(|digest| Some(digest.as_str()) != last);
    blocked
}

fn digests(list: &Value) -> Vec<String> {
    let digests = list.as_array().into_iter().flatten().filter_map(|one| one["digest"].as_str());
    digests.map(str::to_owned).collect()
}

/// The digest that `asked` begins, where one of `known` is; otherwise `asked`, for the host to judge.
fn whole(asked: &str, known: &[String]) -> Option<String> {
    let mut fit = known.iter().filter(|digest| digest.starts_with(&asked.to_ascii_lowercase()));
    match (fit.next(), fit.next()) {
        (Some(one), None) => Some(one.clone()),
        _ => Some(asked.to_owned()),
    }
}

/// What is about to be let in.
fn wanted(page: &Value, digest: &str) -> String {
    let (id, short) = (said(&page["id"]), short(digest));
    let pending = &page["pending"];
    if pending["digest"] == digest {
        let wants: Vec<String> = pending["wants"].as_array().into_iter().flatten().map(said).collect();
        let settings = if pending["settings"] == true { "; other settings wait with it" } else { "" };
        return format!("{id}: {short} wants {}{settings}", wants.join(", "));
    }
    let blocked = page["blocked"].as_array().into_iter().flatten().find(|one| one["digest"] == digest);
    match blocked {
        Some(blocked) => format!("{id}: {short} was taken back: {}", said(&blocked["reason"])),
        None => format!("{id}: {short}"),
    }
}

/// What serves now.
fn served(id: &AgentId, page: &Value) -> String {
    format!(
        "{id} serves version {}, generation {}, digest {}",
        said(&page["version"]),
        page["generation"],
        short(page["digest"].as_str().unwrap_or("-"))
    )
}

/// A stranger's words, which no terminal takes for its own.
fn said(value: &Value) -> String {
    text::line(value.as_str().unwrap_or("-")).into_owned()
}

fn short(digest: &str) -> String {
    text::line(text::beginning(digest, SHORT)).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_goes_before_what_was_taken_back_and_that_in_its_order() {
        let blocked = json!([{ "digest": "cc", "reason": "x" }, { "digest": "bb", "reason": "y" }]);
        let page = json!({ "pending": { "digest": "aa" }, "blocked": blocked });
        assert_eq!(waiting(&page), ["aa"]);
        let page = json!({ "pending": null, "blocked": blocked, "last_reload": { "digest": "bb" } });
        assert_eq!(waiting(&page), ["bb", "cc"]);
        let page = json!({ "pending": null, "blocked": blocked, "last_reload": null });
        assert_eq!(waiting(&page), ["cc", "bb"]);
    }

    #[test]
    fn a_digest_may_be_shortened_as_long_as_it_names_one() {
        let known = ["abc1".to_owned(), "abd2".to_owned()];
        assert_eq!(whole("ABC", &known).as_deref(), Some("abc1"));
        assert_eq!(whole("ab", &known).as_deref(), Some("ab"));
        assert_eq!(whole("ff", &known).as_deref(), Some("ff"));
    }

    #[test]
    fn what_is_wanted_is_shown_and_cannot_move_the_cursor() {
        let page = json!({ "id": "a", "pending": { "digest": "0123456789abcdef", "settings": true,
            "wants": ["system", "category: x\u{1b}[2J\nforged"] } });
        let told = wanted(&page, "0123456789abcdef");
        assert!(
            told.starts_with("a: 0123456789ab wants system, category: x\\u{1b}[2J\\nforged; other settings")
        );
        assert!(!told.contains('\u{1b}') && !told.contains('\n'), "{told}");
    }
}
