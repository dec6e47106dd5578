//! What is shown of an event: a line for an author.
//!
//! Pure. Nothing that an agent or a client wrote reaches a terminal as a control character; what
//! the compiler says does, for its colours.

use std::fmt::Write;

use tracing::Level;

use super::Logged;
use crate::domain::text;
use crate::telemetry::event::{AGENT_LOG, Event};

/// How good the message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Bad,
    Warning,
    Plain,
    /// Of little interest, most of the time.
    Quiet,
}

/// Something to show.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// A line; before it, the output of another program as it is.
    Line { tone: Tone, verb: &'static str, about: String, text: String, output: Option<String> },
    /// A build begins, and takes a while.
    Building { about: String },
}

/// Characters of a digest that tell builds apart.
const SHORT_DIGEST: usize = 12;

/// What comes between an agent's own words and where it was when it stopped.
const STACK: &str = "; error while executing at wasm backtrace:";

/// What to show of an event; `None` where another line has said it.
pub(super) fn of(logged: &Logged, level: Level) -> Option<Message> {
    let text = |name: &str| one_line(logged.field(name).unwrap_or_default());
    let line = |tone, verb, about, text| Some(Message::Line { tone, verb, about, text, output: None });
    if logged.target == AGENT_LOG {
        let tone = tone(logged.level).unwrap_or(Tone::Plain);
        return line(tone, "log", text("agent"), one_line(&logged.message));
    }
    let agent = text("agent");
    let Some(event) = logged.event else { return plain(logged) };
    match event {
        Event::BuildStarted => Some(Message::Building { about: text("project") }),
        Event::BuildFinished => {
            let components = match logged.field("components") {
                Some("1") => "1 component".to_owned(),
                count => format!("{} components", count.unwrap_or("no")),
            };
            let text = format!("{components} in {}", milliseconds(logged.number("ms")));
            built(logged, Tone::Good, "built", text)
        }
        Event::BuildFailed => {
            let text = "what was built before goes on serving; fix it and save";
            built(logged, Tone::Bad, "not built", text.to_owned())
        }
        Event::AgentLive => {
            let first = logged.field("generation") == Some("1");
            let verb = if first { "loaded" } else { "reloaded" };
            let which = format!("generation {}, {}", text("generation"), digest(logged));
            let ms = logged.number("ms").map(|ms| format!(" in {}", milliseconds(Some(ms))));
            line(Tone::Good, verb, agent, format!("{}{}: {which}", text("version"), ms.unwrap_or_default()))
        }
        Event::AgentPending => {
            let text =
                format!("{} wants {}; `stockade approve {agent}` lets it in", digest(logged), text("wants"));
            line(Tone::Warning, "waits", agent, text)
        }
        Event::AgentRolledBack => {
            let text = format!("from {} to {}: {}", text("from"), text("to"), text("reason"));
            line(Tone::Warning, "rolled back", agent, text)
        }
        Event::AgentFailed => {
            line(Tone::Bad, "not loaded", agent, clean(logged.field("reason").unwrap_or_default()))
        }
        Event::AgentRemoved => line(Tone::Plain, "removed", agent, String::new()),
        Event::SettingsApplied => line(Tone::Good, "settings", "applied".to_owned(), fields(logged)),
        Event::SettingsPending => {
            line(Tone::Warning, "settings", text("keys"), "takes effect after a restart".to_owned())
        }
        Event::SettingsRejected => {
            let reason = clean(logged.field("reason").unwrap_or_default());
            line(Tone::Bad, "settings", "not applied".to_owned(), reason)
        }
        Event::TaskEnded => Some(task(logged, agent, level)),
        Event::TaskRejected => line(Tone::Warning, "rejected", agent, text("code")),
        Event::CapabilityDenied => {
            let text = format!("{}; to allow it add {}", text("capability"), text("key_to_add"));
            line(Tone::Warning, "refused", agent, text)
        }
        // Its agent's line says all of it, but where no agent was asked.
        Event::RequestEnded if logged.field("agent").is_none() && logged.field("code").is_some() => {
            plain(logged)
        }
        Event::RequestEnded | Event::ComponentCompiled | Event::AgentsLoaded => {
            let wanted = level > Level::INFO || logged.level < Level::INFO;
            wanted.then(|| plain(logged)).flatten()
        }
    }
}

/// An event that has no line of its own kind.
fn plain(logged: &Logged) -> Option<Message> {
    let tone = tone(logged.level).unwrap_or(Tone::Quiet);
    let (verb, about) = (word(logged.level), one_line(&logged.message));
    Some(Message::Line { tone, verb, about, text: fields(logged), output: None })
}

/// That so many lines were not shown.
pub(super) fn dropped(lines: u64) -> Message {
    let text = format!("{lines} lines were dropped: they came faster than they are shown");
    Message::Line { tone: Tone::Warning, verb: "warning", about: "log".to_owned(), text, output: None }
}

fn built(logged: &Logged, tone: Tone, verb: &'static str, text: String) -> Option<Message> {
    let about = one_line(logged.field("project").unwrap_or_default());
    let output = logged.field("output").filter(|output| !output.trim().is_empty()).map(str::to_owned);
    Some(Message::Line { tone, verb, about, text, output })
}

/// An agent answered, or failed to: with what it cost.
fn task(logged: &Logged, agent: String, level: Level) -> Message {
    let mut text = milliseconds(logged.number("wall_ms"));
    if let Some(fuel) = logged.field("fuel") {
        // Writing to memory does not fail.
        let _ = write!(text, ", fuel {}", grouped(fuel));
    }
    if let Some(bytes) = logged.number("peak_memory_bytes") {
        let _ = write!(text, ", memory {} KiB", grouped(&format!("{:.0}", bytes / 1024.0)));
    }
    let code = logged.field("code").unwrap_or("ok");
    if code == "ok" {
        return Message::Line { tone: Tone::Plain, verb: "answered", about: agent, text, output: None };
    }
    let mut reason = logged.field("reason").unwrap_or_default();
    // An agent's own message says more to its author than its stack.
    if let Some((message, _stack)) = reason.split_once(STACK)
        && level <= Level::INFO
    {
        reason = message;
    }
    let reason = if reason.is_empty() { String::new() } else { format!(": {}", clean(reason)) };
    let text = format!("{code} after {text}{reason}");
    Message::Line { tone: Tone::Bad, verb: "failed", about: agent, text, output: None }
}

/// What a digest is known by.
fn digest(logged: &Logged) -> String {
    one_line(logged.field("digest").unwrap_or_default()).chars().take(SHORT_DIGEST).collect()
}

/// The fields, as `key=value`.
fn fields(logged: &Logged) -> String {
    let pairs: Vec<String> =
        logged.fields.iter().map(|(name, value)| format!("{name}={}", one_line(value))).collect();
    pairs.join(" ")
}

fn tone(level: Level) -> Option<Tone> {
    match level {
        Level::ERROR => Some(Tone::Bad),
        Level::WARN => Some(Tone::Warning),
        _ => None,
    }
}

fn word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warning",
        Level::INFO => "note",
        _ => "detail",
    }
}

fn milliseconds(ms: Option<f64>) -> String {
    match ms {
        Some(ms) if ms >= 10_000.0 => format!("{:.1} s", ms / 1e3),
        Some(ms) if ms >= 100.0 => format!("{ms:.0} ms"),
        Some(ms) => format!("{ms:.1} ms"),
        None => "? ms".to_owned(),
    }
}

/// Digits in groups of three.
fn grouped(digits: &str) -> String {
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A text whose lines stay, in the column that they are shown in.
fn clean(text: &str) -> String {
    text::lines(text.trim_end()).into_owned()
}

/// A text that stands among others on a line.
fn one_line(text: &str) -> String {
    text::line(text.trim_end()).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logged(level: Level, event: Option<Event>, message: &str, fields: &[(&'static str, &str)]) -> Logged {
        let fields = fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Logged { event, level, target: "stockade", message: message.to_owned(), fields }
    }

    /// The line that a pipe gets of an event, whatever its message says.
    fn line(level: Level, event: Event, fields: &[(&'static str, &str)]) -> String {
        shown(&logged(level, Some(event), "any message", fields))
    }

    fn shown(logged: &Logged) -> String {
        match of(logged, Level::INFO) {
            Some(Message::Line { verb, about, text, output, .. }) => {
                [output.unwrap_or_default(), format!("{verb} {about} {text}")].concat().trim_end().to_owned()
            }
            Some(Message::Building { about }) => format!("building {about}"),
            None => String::new(),
        }
    }

    #[test]
    fn a_reload_says_which_build_serves_and_how_long_it_took() {
        let digest = "3f2a9c1d4e5f60718293a4b5c6d7e8f9";
        let fields = [
            ("agent", "calculator"),
            ("version", "0.1.0"),
            ("generation", "7"),
            ("digest", digest),
            ("ms", "38"),
        ];
        assert_eq!(
            line(Level::INFO, Event::AgentLive, &fields),
            "reloaded calculator 0.1.0 in 38.0 ms: generation 7, 3f2a9c1d4e5f"
        );
        let first =
            [("agent", "a"), ("version", "1"), ("generation", "1"), ("digest", digest), ("ms", "1800")];
        assert_eq!(
            line(Level::INFO, Event::AgentLive, &first),
            "loaded a 1 in 1800 ms: generation 1, 3f2a9c1d4e5f"
        );
    }

    #[test]
    fn a_task_is_shown_with_its_receipt_and_a_failure_with_its_reason() {
        let receipt = [
            ("agent", "calculator"),
            ("code", "ok"),
            ("wall_ms", "1.254"),
            ("fuel", "1234567"),
            ("peak_memory_bytes", "1114112"),
        ];
        assert_eq!(
            line(Level::INFO, Event::TaskEnded, &receipt),
            "answered calculator 1.3 ms, fuel 1,234,567, memory 1,088 KiB"
        );
        let failed =
            [("agent", "x"), ("code", "agent_trapped"), ("reason", "panicked at lib.rs:3"), ("wall_ms", "2")];
        assert_eq!(
            line(Level::INFO, Event::TaskEnded, &failed),
            "failed x agent_trapped after 2.0 ms: panicked at lib.rs:3"
        );
        let trapped = [
            ("agent", "x"),
            ("code", "agent_trapped"),
            ("reason", "panicked at lib.rs:3; error while executing at wasm backtrace:\n 0: abort"),
            ("wall_ms", "2"),
        ];
        assert!(line(Level::INFO, Event::TaskEnded, &trapped).ends_with(": panicked at lib.rs:3"));
        let away = [("agent", "x"), ("code", "overloaded")];
        assert_eq!(line(Level::INFO, Event::TaskRejected, &away), "rejected x overloaded");
    }

    #[test]
    fn what_keeps_an_agent_or_settings_from_taking_effect_is_said_whole() {
        let failed = line(Level::ERROR, Event::AgentFailed, &[("agent", "a"), ("reason", "it is cut off")]);
        assert_eq!(failed, "not loaded a it is cut off");
        let rejected = line(Level::ERROR, Event::SettingsRejected, &[("reason", "line 3:\nno such key")]);
        assert_eq!(rejected, "settings not applied line 3:\nno such key");
        let waits = [("agent", "a"), ("digest", "3f2a9c1d4e5f60718293"), ("wants", "system")];
        assert_eq!(
            line(Level::WARN, Event::AgentPending, &waits),
            "waits a 3f2a9c1d4e5f wants system; `stockade approve a` lets it in"
        );
    }

    #[test]
    fn a_build_shows_the_compilers_output_as_it_is() {
        let output = "\u{1b}[31merror\u{1b}[0m: expected one of\n";
        let fields = [("project", "plugins"), ("output", output)];
        let shown = line(Level::ERROR, Event::BuildFailed, &fields);
        assert!(shown.starts_with(output) && shown.contains("not built plugins"), "{shown}");
        let built = [("project", "plugins"), ("components", "4"), ("ms", "3210")];
        assert_eq!(line(Level::INFO, Event::BuildFinished, &built), "built plugins 4 components in 3210 ms");
        assert_eq!(line(Level::INFO, Event::BuildStarted, &[("project", "plugins")]), "building plugins");
    }

    #[test]
    fn nothing_that_a_guest_wrote_moves_the_cursor() {
        let log = Logged { target: AGENT_LOG, ..logged(Level::WARN, None, "a\u{1b}[2Jb", &[("agent", "x")]) };
        assert_eq!(shown(&log), r"log x a\u{1b}[2Jb");
        let live =
            [("agent", "a"), ("version", "1\nreloaded b"), ("generation", "1"), ("digest", "\u{202e}")];
        assert!(
            line(Level::INFO, Event::AgentLive, &live)
                .starts_with(r"loaded a 1\nreloaded b: generation 1, \u{202e}")
        );
        let failed =
            [("agent", "x"), ("code", "agent_failed"), ("reason", "\u{1b}]0;title\u{7}"), ("wall_ms", "2")];
        assert!(!line(Level::INFO, Event::TaskEnded, &failed).contains('\u{1b}'));
    }

    #[test]
    fn what_has_no_name_becomes_a_plain_line_and_what_is_said_already_none() {
        let unknown = shown(&logged(Level::WARN, None, "something new", &[("b", "2"), ("a", "1")]));
        assert_eq!(unknown, "warning something new a=1 b=2");
        let said = [("agent", "x"), ("path", "/orchestrator/execute"), ("status", "200")];
        assert_eq!(line(Level::INFO, Event::RequestEnded, &said), "");
        let refused = [("path", "/x"), ("status", "401"), ("code", "unauthorized")];
        assert_eq!(
            line(Level::INFO, Event::RequestEnded, &refused),
            "note any message code=unauthorized path=/x status=401"
        );
        let settings = [("keys", "server.listen")];
        assert_eq!(
            line(Level::WARN, Event::SettingsPending, &settings),
            "settings server.listen takes effect after a restart"
        );
    }
}
