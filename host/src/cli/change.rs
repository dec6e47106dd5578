//! `stockade approve` and `stockade rollback`: another version of an agent goes live because somebody says so.
//!
//! They ask the host that runs, since what serves is its to change. Each reads the agent's page, shows what
//! would change, asks, and names in its request what it has shown: a version or settings that arrive
//! meanwhile are not let in.

use clap::Args;
use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::client::{Answer, Remote, ServerArgs};
use super::confirm::{self, confirm};
use super::output::{self, Output};
use super::{Exit, Global};
use crate::domain::{AgentId, text};

/// How much of a digest tells versions apart, where the whole is not needed.
const SHORT: usize = 12;
/// The most that is shown of a setting's value, in bytes.
const MAX_VALUE: usize = 200;

/// Arguments of `stockade approve`.
#[derive(Debug, Args)]
pub(super) struct ApproveArgs {
    /// The agent
    agent: String,
    /// The version that is meant, by the digest on the agent's page or its first characters; without
    /// it, what waits now
    #[arg(long, value_name = "DIGEST")]
    digest: Option<String>,
    /// What is meant, with the settings and rights that wait: `pending.stamp` on the agent's page
    #[arg(long, value_name = "STAMP", requires = "digest")]
    stamp: Option<String>,
    #[command(flatten)]
    more: ChangeArgs,
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
    more: ChangeArgs,
}

/// What both take.
#[derive(Debug, Args)]
struct ChangeArgs {
    /// Do it without asking, for scripts
    #[arg(long, short)]
    yes: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// What would change, as it is shown to people and programs, and as it is requested.
#[derive(Debug, PartialEq)]
struct Proposal {
    /// What is asked of somebody.
    question: String,
    /// For people: what stands in front of each text, and the text.
    rows: Vec<(&'static str, String)>,
    /// For programs.
    facts: Value,
    /// The body of the request.
    body: Value,
}

/// Lets in what waits, or what was rolled back.
pub(super) fn approve(global: &Global, args: &ApproveArgs) -> anyhow::Result<Exit> {
    change(global, &args.agent, &args.more, "approve", |page| {
        approval(page, args.digest.as_deref(), args.stamp.as_deref())
    })
}

/// Goes back to an earlier version.
pub(super) fn roll_back(global: &Global, args: &RollbackArgs) -> anyhow::Result<Exit> {
    change(global, &args.agent, &args.more, "rollback", |page| rollback(page, args.to.as_deref()))
}

/// Shows what `propose` makes of the agent's page, asks, and has it done. What `propose` cannot make is a
/// conflict.
fn change(
    global: &Global,
    agent: &str,
    args: &ChangeArgs,
    operation: &'static str,
    propose: impl FnOnce(&Value) -> Result<Proposal, String>,
) -> anyhow::Result<Exit> {
    let _logging = global.quiet_logging();
    let out = global.output();
    let id = match AgentId::parse(agent) {
        Ok(id) => id,
        Err(error) => {
            out.fail("usage", &error.to_string())?;
            return Ok(Exit::Usage);
        }
    };
    let host = match args.server.running(global)? {
        Ok(host) => host,
        Err(exit) => return Ok(exit),
    };
    let page = host.ask(Method::GET, &format!("/orchestrator/agents/{id}"), None)?;
    if page.exit() != Exit::Done {
        return finish(global, &id, &page);
    }
    let proposal = match propose(&page.body) {
        Ok(proposal) => proposal,
        Err(message) => {
            out.fail("conflict", &message)?;
            return Ok(Exit::Failed);
        }
    };
    if out == Output::Text {
        output::note(&rows(&proposal.rows));
    }
    match confirm(&proposal.question, args.yes, out)? {
        confirm::Answer::Yes => request(global, &id, &host, operation, &proposal),
        confirm::Answer::No => {
            output::note("nothing was changed");
            Ok(Exit::Failed)
        }
        confirm::Answer::Nobody => {
            let message = "there is nobody to ask, so nothing was changed: add `--yes` to agree in advance";
            match out {
                Output::Text => out.fail("confirmation_required", message)?,
                Output::Json => out.json(&json!({
                    "error": "Command failed", "code": "confirmation_required", "message": message,
                    "proposal": proposal.facts,
                }))?,
            }
            Ok(Exit::Usage)
        }
    }
}

fn request(
    global: &Global,
    id: &AgentId,
    host: &Remote,
    operation: &str,
    proposal: &Proposal,
) -> anyhow::Result<Exit> {
    let path = format!("/api/agents/{id}/{operation}");
    let mut answer = host.ask(Method::POST, &path, Some(&proposal.body))?;
    if answer.status == StatusCode::CONFLICT {
        answer.advise(format!("nothing was changed; `stockade {operation} {id}` shows how it is now"));
    }
    finish(global, id, &answer)
}

fn finish(global: &Global, id: &AgentId, answer: &Answer) -> anyhow::Result<Exit> {
    match global.output() {
        Output::Json => global.output().json(&answer.body)?,
        Output::Text if answer.exit() != Exit::Done => output::note(&answer.failure()),
        Output::Text => output::print(&format!("{id} serves {}", version(&answer.body)))?,
    }
    Ok(answer.exit())
}

/// What an approval would let in: the version that `asked` begins or names; what waits, or else what was rolled
/// back last, where it is not given.
fn approval(page: &Value, asked: Option<&str>, stamp: Option<&str>) -> Result<Proposal, String> {
    let (id, pending) = (line(&page["id"]), &page["pending"]);
    let known = approvable(page);
    let Some(first) = known.first() else {
        return Err(format!(
            "nothing of agent `{id}` waits for approval, and none of its versions was rolled back"
        ));
    };
    let Some(digest) = asked.map_or(Some(first), |asked| named(asked, &known)) else {
        return Err(format!(
            "no version of agent `{id}` whose digest is, or begins with, `{}` waits for approval or was rolled \
             back: that is so of {}",
            text::line(asked.unwrap_or_default()),
            known.join(", ")
        ));
    };
    let mut facts = json!({ "agent": page["id"], "digest": digest, "serves": serving(page) });
    let mut body = json!({ "digest": digest });
    let mut rows = vec![("agent", id.clone()), ("serves", version(page))];
    if pending["digest"] == *digest {
        if stamp.is_some_and(|stamp| pending["stamp"] != stamp) {
            return Err(format!(
                "what waits of agent `{id}` is no longer what that stamp names: other settings or rights wait \
                 with {digest} by now, under the stamp {}",
                line(&pending["stamp"])
            ));
        }
        rows.push(("approve", format!("digest {digest}, waiting since {}", line(&pending["since"]))));
        let wants: Vec<String> = list(&pending["wants"]).iter().map(line).collect();
        let moves = wants.iter().any(|want| want.contains("category"));
        let now = if moves { format!(" (now category: {})", line(&page["category"])) } else { String::new() };
        rows.push(("wants", format!("{}{now}", wants.join(", "))));
        rows.extend(list(&pending["changes"]).iter().map(|change| ("setting", setting(change))));
        for field in ["stamp", "wants", "changes", "since"] {
            facts[field] = pending[field].clone();
        }
        // What was shown, and no other settings or rights that arrive meanwhile.
        body["stamp"] = pending["stamp"].clone();
    } else {
        let blocked = list(&page["blocked"]).iter().find(|blocked| blocked["digest"] == *digest);
        let reason = blocked.map(|blocked| line(&blocked["reason"])).unwrap_or_default();
        facts["reason"] = reason.clone().into();
        rows.push(("approve", format!("digest {digest}, which was rolled back: {reason}")));
    }
    Ok(Proposal { question: format!("Let this version of {id} serve?"), rows, facts, body })
}

/// What a rollback would go back to: the version that `asked` begins or names, or else the latest.
fn rollback(page: &Value, asked: Option<&str>) -> Result<Proposal, String> {
    let (id, previous) = (line(&page["id"]), list(&page["previous"]));
    let known = digests(&page["previous"]);
    let Some(first) = known.first() else {
        return Err(format!("no earlier version of agent `{id}` is kept"));
    };
    let Some(to) = asked.map_or(Some(first), |asked| named(asked, &known)) else {
        return Err(format!(
            "agent `{id}` has no earlier version whose digest is, or begins with, `{}`: there is {}",
            text::line(asked.unwrap_or_default()),
            known.join(", ")
        ));
    };
    let release = previous.iter().find(|release| release["digest"] == **to).unwrap_or(&Value::Null);
    let rows = vec![("agent", id.clone()), ("from", version(page)), ("to", version(release))];
    let facts = json!({ "agent": page["id"], "from": serving(page), "to": serving(release) });
    Ok(Proposal {
        question: format!("Go back to this version of {id}?"),
        rows,
        facts,
        body: json!({ "to": to }),
    })
}

/// The versions that an approval can let in, the likeliest first: what waits, then what was rolled back, and of
/// that what came again last.
fn approvable(page: &Value) -> Vec<String> {
    let mut known = digests(&page["blocked"]);
    let last = page["last_reload"]["digest"].as_str();
    // A stable order: what was rolled back last stays ahead of older ones.
    known.sort_by_key(|digest| Some(digest.as_str()) != last);
    if let Some(pending) = page["pending"]["digest"].as_str() {
        known.retain(|digest| digest != pending);
        known.insert(0, pending.to_owned());
    }
    known
}

/// The one of `known` that `asked` is or begins.
fn named<'k>(asked: &str, known: &'k [String]) -> Option<&'k String> {
    let asked = asked.to_ascii_lowercase();
    let mut fit = known.iter().filter(|digest| !asked.is_empty() && digest.starts_with(&asked));
    match (fit.next(), fit.next()) {
        (Some(one), None) => Some(one),
        _ => None,
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn digests(of: &Value) -> Vec<String> {
    list(of).iter().filter_map(|one| one["digest"].as_str()).map(str::to_owned).collect()
}

/// A version of a page or of a list on it, for programs.
fn serving(version: &Value) -> Value {
    let fields = ["version", "generation", "digest"];
    Value::Object(
        fields.iter().map(|name| ((*name).to_owned(), version[*name].clone())).collect::<Map<_, _>>(),
    )
}

/// The same for people.
fn version(of: &Value) -> String {
    match of["digest"].as_str() {
        Some(digest) => format!(
            "version {}, generation {}, digest {}",
            line(&of["version"]),
            of["generation"],
            text::line(text::beginning(digest, SHORT))
        ),
        None => "nothing".to_owned(),
    }
}

/// A setting that would change.
fn setting(change: &Value) -> String {
    let value = |value: Option<&Value>| match value {
        Some(value) => text::beginning(&text::line(&value.to_string()), MAX_VALUE).to_owned(),
        None => "(not set)".to_owned(),
    };
    let key = line(&change["key"]);
    match (change.get("from"), change.get("to")) {
        (None, None) => format!("{key}: another value"),
        (from, to) => format!("{key}: {} -> {}", value(from), value(to)),
    }
}

/// A text of somebody else's, on one line.
fn line(value: &Value) -> String {
    text::line(value.as_str().unwrap_or("-")).into_owned()
}

fn rows(rows: &[(&'static str, String)]) -> String {
    let lines: Vec<String> = rows.iter().map(|(name, text)| format!("{name:<8} {text}")).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_goes_before_what_was_rolled_back_and_that_in_its_order() {
        let blocked = json!([{ "digest": "cc", "reason": "x" }, { "digest": "bb", "reason": "y" }]);
        let page = json!({ "pending": { "digest": "aa" }, "blocked": blocked });
        assert_eq!(approvable(&page), ["aa", "cc", "bb"]);
        let page = json!({ "pending": null, "blocked": blocked, "last_reload": { "digest": "bb" } });
        assert_eq!(approvable(&page), ["bb", "cc"]);
        let page = json!({ "pending": null, "blocked": blocked, "last_reload": null });
        assert_eq!(approvable(&page), ["cc", "bb"]);
    }

    #[test]
    fn a_digest_may_be_shortened_as_long_as_it_names_one() {
        let known = ["abc1".to_owned(), "abd2".to_owned()];
        assert_eq!(named("ABC", &known), Some(&known[0]));
        for none in ["ab", "ff", ""] {
            assert_eq!(named(none, &known), None, "{none}");
        }
    }

    fn page() -> Value {
        json!({
            "id": "a", "version": "0.1.0", "generation": 4, "digest": "ddddddddddddddddd", "category": "utility",
            "pending": {
                "digest": "0123456789abcdef", "stamp": "5", "since": "2026-01-01T00:00:00Z",
                "wants": ["system", "category: x\u{1b}[2J\nforged"],
                "changes": [
                    { "key": "limits.fuel", "from": 5, "to": 6 }, { "key": "config.token" },
                    { "key": "description", "to": "\u{1b}[2Jx" },
                ],
            },
        })
    }

    #[test]
    fn an_approval_shows_all_that_it_lets_in_and_sends_just_that() {
        let proposal = approval(&page(), None, None).expect("a proposal");
        assert_eq!(
            rows(&proposal.rows),
            "agent    a\n\
             serves   version 0.1.0, generation 4, digest dddddddddddd\n\
             approve  digest 0123456789abcdef, waiting since 2026-01-01T00:00:00Z\n\
             wants    system, category: x\\u{1b}[2J\\nforged (now category: utility)\n\
             setting  limits.fuel: 5 -> 6\n\
             setting  config.token: another value\n\
             setting  description: (not set) -> \"\\u001b[2Jx\""
        );
        assert_eq!(proposal.body, json!({ "digest": "0123456789abcdef", "stamp": "5" }));
        assert_eq!(proposal.facts["stamp"], "5");
        assert_eq!(approval(&page(), Some("0123"), Some("5")), Ok(proposal));
    }

    #[test]
    fn what_is_not_there_is_not_approved() {
        let other = approval(&page(), Some("0123"), Some("6")).expect_err("other settings");
        assert!(other.contains("no longer"), "{other}");
        let unknown = approval(&page(), Some("ffff"), None).expect_err("no such version");
        assert!(unknown.contains("0123456789abcdef"), "{unknown}");
        let nothing = approval(&json!({ "id": "a" }), None, None).expect_err("nothing");
        assert!(nothing.contains("nothing of agent `a` waits"), "{nothing}");
    }

    #[test]
    fn a_rollback_shows_from_and_to() {
        let mut page = page();
        page["previous"] = json!([
            { "version": "0.0.9", "generation": 3, "digest": "aaaaaaaaaaaaaaaa" },
            { "version": "0.0.8", "generation": 2, "digest": "bbbbbbbbbbbbbbbb" },
        ]);
        let proposal = rollback(&page, None).expect("a proposal");
        assert_eq!(
            rows(&proposal.rows),
            "agent    a\n\
             from     version 0.1.0, generation 4, digest dddddddddddd\n\
             to       version 0.0.9, generation 3, digest aaaaaaaaaaaa"
        );
        assert_eq!(proposal.body, json!({ "to": "aaaaaaaaaaaaaaaa" }));
        assert_eq!(rollback(&page, Some("bbb")).expect("a proposal").facts["to"]["generation"], 2);
        assert!(rollback(&page, Some("c")).expect_err("none").contains("bbbbbbbbbbbbbbbb"));
    }
}
