//! What the contract asks of every agent, whatever it does: a case each, with its reason.
//!
//! Everything runs with every gated capability refused. A typed failure is a fine answer to odd input;
//! a trap, a timeout or a limit is not, because a caller can send such input at any time.

use std::time::Duration;

use serde_json::{Value, json};

use super::report::{Found, Usage};
use super::subject::{Attempt, Ran, Subject};
use crate::domain::{Failure, MAX_TASK_CHARS, TaskText, text};
use crate::engine::DATA_IS_NOT_JSON;

/// A case of the contract.
pub(super) struct Planned {
    pub(super) name: String,
    pub(super) reason: &'static str,
    pub(super) check: Check,
}

/// What is looked at.
pub(super) enum Check {
    /// Whether the description says enough to find and show the agent.
    SaysEnough,
    /// An example with the answer that it must have.
    Example { task: String, expected: String },
    /// A task that the agent says it is for.
    Typical { task: String, claimed: Claimed },
    /// Each of these ends in an answer or a failure of the agent's own.
    Survives(Vec<Ask>),
    /// One task, in two sandboxes.
    Twice(String),
}

/// One task that may be anything.
pub(super) struct Ask {
    task: String,
    context: Option<String>,
    time_left: Option<Duration>,
}

/// Whether the agent itself gave a task as one that it is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Claimed {
    ByTheAgent,
    ByUs,
}

impl Ask {
    fn task(task: impl Into<String>) -> Self {
        Self { task: task.into(), context: None, time_left: None }
    }
}

/// Everything that is asked of this agent.
pub(super) fn plan(subject: &Subject) -> Vec<Planned> {
    let description = &subject.description;
    let mut plan = vec![Planned {
        name: "`describe` says something usable".to_owned(),
        reason: "people choose and the router routes by it",
        check: Check::SaysEnough,
    }];
    for example in &description.examples {
        if let Some(expected) = &example.expected {
            plan.push(Planned {
                name: format!("its own example: {}", shown(&example.task)),
                reason: "a version whose examples fail should not go live",
                check: Check::Example { task: example.task.clone(), expected: expected.clone() },
            });
        }
    }
    let (typical, claimed) = typical(subject);
    let context = fitting_context(subject);
    let asks = |task: &str, context: &Option<String>| Ask { context: context.clone(), ..Ask::task(task) };
    let mut survives = |name: &str, reason: &'static str, asks: Vec<Ask>| {
        let check = Check::Survives(asks);
        plan.push(Planned { name: name.to_owned(), reason, check });
    };
    let open: Vec<Ask> = description
        .examples
        .iter()
        .filter(|example| example.expected.is_none())
        .map(|example| asks(&example.task, &context))
        .collect();
    if !open.is_empty() && !subject.is_gated() {
        survives("its other examples", "they are what people try first", open);
    }
    if subject.is_gated() {
        let reason = "an operator may refuse what it imports; a refusal is an error to handle, never a trap";
        let mut tasks: Vec<Ask> =
            description.examples.iter().map(|example| asks(&example.task, &context)).collect();
        tasks.push(asks(&typical, &context));
        survives("every capability refused", reason, tasks);
    }
    let anything = "callers can send any text of 1 to 5,000 characters";
    survives("a task of one character", anything, vec![asks("x", &context)]);
    survives("a task of 5,000 characters", anything, vec![asks(&longest(&typical), &context)]);
    let scripts = SCRIPTS.iter().map(|text| asks(text, &context)).collect();
    survives("texts in any script, emoji, combining marks", anything, scripts);
    let wide = wide_texts().iter().map(|text| asks(text, &context)).collect();
    let reason = "a text cut by bytes is cut in the middle of a character sooner or later";
    survives("characters of several bytes", reason, wide);
    survives("control characters", anything, vec![asks(CONTROLS, &context)]);
    let marks = ["?", "…!?.,;:-—_()[]{}<>/\\|@#$%^&*+=~`'\"", "%s%n{}{0}${x}"];
    survives("nothing but punctuation", anything, marks.iter().map(|text| asks(text, &context)).collect());
    let any_json = "`context` is any JSON that the agent's own schema lets through, or absent";
    let with = |context: Value| vec![Ask { context: Some(context.to_string()), ..Ask::task(&typical) }];
    survives("no context", any_json, vec![Ask::task(&typical)]);
    survives("an empty context", any_json, with(json!({})));
    survives("a list as context", any_json, with(json!([1, "two", null])));
    survives("a text as context", any_json, with(json!("text")));
    let page = "x".repeat(1_000);
    let large: serde_json::Map<String, Value> =
        (0..100).map(|number| (format!("key{number}"), page.as_str().into())).collect();
    survives("a context of 100 KB", any_json, with(Value::Object(large)));
    let soon = Ask { time_left: Some(Duration::from_millis(1)), ..asks(&typical, &context) };
    let reason = "`deadline-ms` can be as little as 1 after a wait in the queue; the host ends it then";
    survives("a deadline of 1 ms", reason, vec![soon]);
    plan.push(Planned {
        name: "the same task twice".to_owned(),
        reason: "each call has a fresh sandbox: nothing is left of the one before",
        check: Check::Twice(typical.clone()),
    });
    let check = Check::Typical { task: typical, claimed };
    let reason = "what it says it is for must get an answer";
    plan.insert(1, Planned { name: "a typical task".to_owned(), reason, check });
    plan
}

/// Greetings and stumbling blocks: scripts from both sides, joined emoji, stacked marks, no letters.
const SCRIPTS: &[&str] = &[
    "Ünïcödé Straße İstanbul ŒUVRE ﬁ",
    "服务器现在怎么样？ サーバーの状態 서버 상태",
    "كيف حال الخادم؟ מה שלום השרת \u{202e}desrever",
    "सर्वर कैसा है? เซิร์ฟเวอร์เป็นอย่างไร",
    "👩‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇺🇳 \u{1f600}",
    "Z\u{310}\u{333}a\u{310}\u{333}l\u{310}\u{333}g\u{310}\u{333}o\u{310}\u{333} e\u{301} \u{301}",
    "١٢٣ + ४५६ ½ Ⅷ 𝟘 1\u{a0}000",
    "\u{feff}bom \u{200b}zero\u{200d}width\u{ad} \u{fffd}",
];

/// How many characters of several bytes stand in a row.
const WIDE_CHARS: usize = 500;

/// Texts of characters of two, three and four bytes, each beginning at every offset: a cut at any
/// fixed number of bytes goes through a character in one of them.
fn wide_texts() -> Vec<String> {
    let wide =
        |c: char| (0..c.len_utf8()).map(move |offset| "x".repeat(offset) + &c.to_string().repeat(WIDE_CHARS));
    ['é', '服', '👍'].into_iter().flat_map(wide).collect()
}

/// Every control character but NUL, between letters.
const CONTROLS: &str = "a\u{1}b\u{2}\u{3}\u{4}\u{5}\u{6}\u{7}\u{8}\t\n\u{b}\u{c}\r\u{e}\u{f}\u{10}\u{11}\
    \u{12}\u{13}\u{14}\u{15}\u{16}\u{17}\u{18}\u{19}\u{1a}\u{1b}[31m\u{1c}\u{1d}\u{1e}\u{1f}\u{7f}\u{80}\u{85}\u{9f}z";

/// A task that the agent says it is for, as far as it says so.
fn typical(subject: &Subject) -> (String, Claimed) {
    let description = &subject.description;
    let example = || description.examples.iter().find(|example| TaskText::parse(&example.task).is_ok());
    let own = description.default_query.clone().or_else(|| example().map(|example| example.task.clone()));
    let word = || description.triggers.iter().find(|trigger| !trigger.trim().is_empty()).cloned();
    match own {
        Some(task) => (task, Claimed::ByTheAgent),
        None => (word().unwrap_or_else(|| "What can you do?".to_owned()), Claimed::ByUs),
    }
}

/// A context that the agent's schema lets through: none if that fits, else the schema's own example.
fn fitting_context(subject: &Subject) -> Option<String> {
    let schema = subject.description.context_schema.as_ref().map(|schema| schema.value());
    let example = schema.and_then(|schema| schema["examples"][0].as_object().map(|example| json!(example)));
    let default = schema.and_then(|schema| schema.get("default").cloned());
    let candidates = [example, default, Some(json!({}))].into_iter().flatten().map(|value| value.to_string());
    let mut candidates = std::iter::once(None).chain(candidates.map(Some));
    candidates.find(|context| subject.check_context(context.as_deref()).is_ok()).flatten()
}

/// The longest task that there can be: the typical one, again and again.
fn longest(typical: &str) -> String {
    let mut text: String = typical.chars().chain([' ']).cycle().take(MAX_TASK_CHARS - 1).collect();
    // The last character stays: what a task ends with in white space is cut off.
    text.push('.');
    text
}

/// Looks at one thing.
pub(super) async fn run(subject: &Subject, check: &Check) -> Found {
    match check {
        Check::SaysEnough => Found { problem: says_too_little(subject), ..Found::default() },
        Check::Example { task, expected } => {
            let ran = ask(subject, &Ask { context: fitting_context(subject), ..Ask::task(task) }).await;
            let problem = match &ran.result {
                Ok(reply) if reply.response.contains(expected.as_str()) => broken(&ran),
                Ok(reply) => Some(format!(
                    "the answer does not contain `{expected}`\nanswer: {}\nchange: correct the agent, or the `expected` of this example",
                    shown(&reply.response)
                )),
                Err(failure) => broken(&ran).or_else(|| {
                    Some(format!(
                        "it fails as {}\nchange: answer it, also with every capability refused, or give it no `expected`",
                        describe_failure(failure)
                    ))
                }),
            };
            found(task, ran, problem)
        }
        Check::Typical { task, claimed } => {
            let ran = ask(subject, &Ask { context: fitting_context(subject), ..Ask::task(task) }).await;
            let problem = broken(&ran).or_else(|| unanswered(subject, &ran, *claimed));
            found(task, ran, problem)
        }
        Check::Survives(asks) => survives(subject, asks).await,
        Check::Twice(task) => {
            let again = Ask { context: fitting_context(subject), ..Ask::task(task) };
            let first = ask(subject, &again).await;
            let second = ask(subject, &again).await;
            let problem = broken(&first).or_else(|| broken(&second)).or_else(|| {
                let (first, second) = (kind(&first), kind(&second));
                (first != second).then(|| {
                    format!("it ends in {first} the first time and in {second} the second; keep no state between calls")
                })
            });
            let usage = Usage::larger(first.usage, second.usage.clone());
            Found { usage, ..found(task, second, problem) }
        }
    }
}

/// Whether a task got an answer, or how it failed.
fn kind(ran: &Ran) -> &'static str {
    ran.result.as_ref().map_or_else(Failure::code, |_| "an answer")
}

async fn survives(subject: &Subject, asks: &[Ask]) -> Found {
    let mut usage = None;
    let mut refusal = None;
    for one in asks {
        let ran = ask(subject, one).await;
        let ended = matches!(ran.result, Err(Failure::DeadlineExceeded { .. })) && one.time_left.is_some();
        let problem = if ended { None } else { broken(&ran) };
        usage = Usage::larger(usage, ran.usage.clone());
        if problem.is_some() {
            return Found { usage, ..found(&one.task, ran, problem) };
        }
        match &ran.result {
            Err(Failure::InvalidContext(_)) => refusal = Some("refused by its own context schema".to_owned()),
            Err(Failure::DeadlineExceeded { .. }) => refusal = Some("ended at the deadline".to_owned()),
            Err(failure) => refusal = Some(format!("{}: {failure}", failure.code())),
            Ok(_) => {}
        }
    }
    Found { usage, note: refusal, ..Found::default() }
}

async fn ask(subject: &Subject, ask: &Ask) -> Ran {
    let Ask { task, context, time_left } = ask;
    match TaskText::parse(task) {
        Ok(task) => {
            let attempt = subject.attempt(task, context.clone());
            subject.run(Attempt { time_left: *time_left, ..attempt }).await
        }
        // An example or a default query can be any text.
        Err(error) => {
            let result = Err(Failure::InvalidInput(format!("the task {error}")));
            Ran { result, usage: None, refused: false, log: Vec::new() }
        }
    }
}

fn found(task: &str, ran: Ran, problem: Option<String>) -> Found {
    let task = problem.as_ref().map(|_| task.to_owned());
    Found { problem, task, usage: ran.usage, log: ran.log, ..Found::default() }
}

/// What breaks the contract in how a task ended, and what to change.
fn broken(ran: &Ran) -> Option<String> {
    let remedy = match &ran.result {
        Ok(_) => return None,
        Err(Failure::AgentFailed(message)) if message.starts_with(DATA_IS_NOT_JSON) => {
            "write `data` with a JSON library, or leave it out"
        }
        Err(
            Failure::InvalidInput(message)
            | Failure::Denied(message)
            | Failure::Unavailable(message)
            | Failure::AgentFailed(message),
        ) => {
            if !message.trim().is_empty() {
                return None;
            }
            "give every failure a message that tells the caller what to change"
        }
        Err(Failure::InvalidContext(_)) => return None,
        Err(Failure::Trapped { .. }) => {
            "return a failure, such as `invalid-input`, where the agent now panics or traps"
        }
        Err(Failure::Exited { .. }) => "return an answer or a failure instead of exiting",
        Err(Failure::FuelExhausted { .. }) => {
            "bound what a task can make the agent compute, or raise `limits.fuel` in agents.toml"
        }
        Err(Failure::MemoryExhausted { .. }) => {
            "bound what a task can make the agent hold, or raise `limits.memory` in agents.toml"
        }
        Err(Failure::OutputTooLarge { .. }) => "shorten the answer, or raise `limits.output` in agents.toml",
        Err(Failure::HostLimitExceeded { .. }) => {
            "ask less of the host for one task, or raise the limit in agents.toml"
        }
        Err(Failure::DeadlineExceeded { .. }) => {
            "answer sooner, and respect `deadline-ms`; or raise `limits.timeout` in agents.toml"
        }
        Err(_) => "try again; if it stays so, the host is at fault",
    };
    let failure = ran.result.as_ref().err()?;
    Some(format!("{}\nchange: {remedy}", describe_failure(failure)))
}

/// A failure's code and all that is known of it. A backtrace is kept where the guest itself wrote nothing,
/// without the frames that have no names.
pub(super) fn describe_failure(failure: &Failure) -> String {
    let internal = failure.internal();
    let (message, frames) =
        internal.split_once("error while executing at wasm backtrace:").unwrap_or((&internal, ""));
    // What the guest wrote ends so, before what the engine adds.
    let from_guest = message.ends_with("; ");
    let mut lines = vec![format!("{}: {}", failure.code(), message.trim_end_matches([';', ':', ' ']))];
    let named = |frame: &&str| !frame.trim().is_empty() && !frame.contains("<unknown>!<wasm function");
    if !from_guest {
        lines.extend(frames.lines().filter(named).map(str::to_owned));
    }
    let trap = frames.rsplit_once("wasm trap: ").map(|(_, trap)| format!("wasm trap: {trap}"));
    let shown = |trap: &String| lines.last().is_some_and(|line| line.contains(trap.as_str()));
    if let Some(trap) = trap.filter(|trap| !shown(trap)) {
        lines.push(trap);
    }
    if failure.to_string().trim().is_empty() {
        lines = vec![format!("{}: no message", failure.code())];
    }
    lines.join("\n")
}

/// Whether a task that the agent claims is left without an answer for no good reason.
fn unanswered(subject: &Subject, ran: &Ran, claimed: Claimed) -> Option<String> {
    match &ran.result {
        Ok(reply) if reply.response.trim().is_empty() && reply.data.is_none() => {
            Some("the answer is empty\nchange: answer with a text, or with `data`".to_owned())
        }
        Err(failure @ (Failure::InvalidInput(_) | Failure::AgentFailed(_)))
            if claimed == Claimed::ByTheAgent
                && !ran.refused
                && subject.description.context_schema.is_none() =>
        {
            Some(format!(
                "it fails as {}: {failure}\nchange: answer its own example and default query, or replace them",
                failure.code()
            ))
        }
        _ => None,
    }
}

/// What a description lacks.
fn says_too_little(subject: &Subject) -> Option<String> {
    let description = &subject.description;
    let examples = description.examples.iter().map(|example| &example.task);
    let blank = description.triggers.iter().chain(examples).any(|text| text.trim().is_empty());
    let mut problems = Vec::new();
    if description.description.chars().count() < 10 {
        problems.push("`description` is missing: say in a sentence or two what the agent does");
    }
    if description.triggers.is_empty() && description.examples.is_empty() {
        problems.push("neither `triggers` nor `examples`: give some of each, for tasks are routed by them");
    }
    if blank {
        problems.push("an empty trigger or example: remove it");
    }
    if description.default_query.as_deref().is_some_and(|query| TaskText::parse(query).is_err()) {
        problems.push("`default-query` is no task: give one of 1 to 5,000 characters, or none");
    }
    (!problems.is_empty()).then(|| problems.join("\n"))
}

/// The beginning of a text, on one line.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 200;
    let beginning: String = text.chars().take(MOST).collect();
    let rest = if text.chars().nth(MOST).is_some() { "…" } else { "" };
    format!("{}{rest}", text::line(&beginning))
}
