//! What an event means to an author, in a line.
//!
//! Pure. Nothing that an agent or a client wrote reaches a terminal as a control character; what
//! the compiler says does, for its colours.

use std::fmt::Write;

use tracing::Level;

use super::Seen;
use crate::domain::text;

/// How good the news is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Bad,
    Warning,
    Plain,
    /// Beside the point, most of the time.
    Quiet,
}

/// Something to show.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum News {
    /// A line; before it, the words of another program as they are.
    Line { tone: Tone, verb: &'static str, about: String, text: String, words: Option<String> },
    /// This begins, and takes a while.
    Begins { about: String },
}

/// Characters of a digest that tell builds apart.
const SHORT_DIGEST: usize = 12;

/// What comes between an agent's own words and where it was when it stopped.
const STACK: &str = "; error while executing at wasm backtrace:";

/// What to show of an event; `None` where there is nothing that an author misses.
pub(super) fn news(seen: &Seen, level: Level) -> Option<News> {
    let text = |name: &str| one_line(seen.field(name).unwrap_or_default());
    let line = |tone, verb, about, text| Some(News::Line { tone, verb, about, text, words: None });
    if seen.target == "agent" {
        let tone = tone(seen.level).unwrap_or(Tone::Plain);
        return line(tone, "log", text("agent"), one_line(&seen.message));
    }
    let agent = text("agent");
    match seen.message.as_str() {
        "building" => Some(News::Begins { about: text("project") }),
        "built" => {
            let components = match seen.field("components") {
                Some("1") => "1 component".to_owned(),
                count => format!("{} components", count.unwrap_or("no")),
            };
            built(seen, Tone::Good, "built", format!("{components} in {}", milliseconds(seen.number("ms"))))
        }
        "build failed" => {
            built(seen, Tone::Bad, "not built", "what was built before serves on; fix it and save".to_owned())
        }
        "agent is live" => {
            let first = seen.field("generation") == Some("1");
            let verb = if first { "loaded" } else { "reloaded" };
            let which = format!("generation {}, {}", text("generation"), digest(seen));
            let ms = seen.number("ms").map(|ms| format!(" in {}", milliseconds(Some(ms))));
            let text = format!("{}{}: {which}", text("version"), ms.unwrap_or_default());
            line(Tone::Good, verb, agent, text)
        }
        "agent is active" => {
            line(Tone::Good, "loaded", agent, format!("{}: {}", text("version"), digest(seen)))
        }
        "agent waits for approval" => {
            let text = format!("{} wants {}; it serves once it is approved", digest(seen), text("wants"));
            line(Tone::Warning, "waits", agent, text)
        }
        "agent was rolled back" => {
            let text = format!("from {} to {}: {}", text("from"), text("to"), text("reason"));
            line(Tone::Warning, "rolled back", agent, text)
        }
        "agent removed" => line(Tone::Plain, "removed", agent, String::new()),
        "settings applied" => line(Tone::Good, "settings", "applied".to_owned(), rest(seen)),
        "settings wait for a restart" => {
            line(Tone::Warning, "settings", text("keys"), "waits for a restart".to_owned())
        }
        "settings not applied" => line(Tone::Bad, "settings", "not applied".to_owned(), text("reason")),
        "task ended" => Some(task(seen, agent, level)),
        "task rejected" => line(Tone::Warning, "rejected", agent, text("code")),
        "capability refused" => {
            let text = format!("{}; to allow it add {}", text("capability"), text("key_to_add"));
            line(Tone::Warning, "refused", agent, text)
        }
        message => {
            if let Some(failure) = message.strip_prefix("agent was not loaded") {
                let said = clean(failure.trim_start_matches(": "));
                let reason = if said.is_empty() { text("reason") } else { said };
                return line(Tone::Bad, "not loaded", agent, reason);
            }
            // Its agent's line says all of it, but where no agent was asked.
            let told = match message {
                "request" => seen.field("agent").is_some() || seen.field("code").is_none(),
                "compiled a component" | "agents are loaded" => true,
                _ => false,
            };
            if told && seen.level >= Level::INFO && level <= Level::INFO {
                return None;
            }
            let tone = tone(seen.level).unwrap_or(Tone::Quiet);
            line(tone, word(seen.level), one_line(message), rest(seen))
        }
    }
}

/// That so many lines were not shown.
pub(super) fn dropped(lines: u64) -> News {
    let text = format!("{lines} lines were dropped: they came faster than they are shown");
    News::Line { tone: Tone::Warning, verb: "warning", about: "log".to_owned(), text, words: None }
}

fn built(seen: &Seen, tone: Tone, verb: &'static str, text: String) -> Option<News> {
    let about = one_line(seen.field("project").unwrap_or_default());
    let words = seen.field("words").filter(|words| !words.trim().is_empty()).map(str::to_owned);
    Some(News::Line { tone, verb, about, text, words })
}

/// An agent answered, or failed to: with what it cost.
fn task(seen: &Seen, agent: String, level: Level) -> News {
    let mut text = milliseconds(seen.number("wall_ms"));
    if let Some(fuel) = seen.field("fuel") {
        // Writing to memory does not fail.
        let _ = write!(text, ", fuel {}", grouped(fuel));
    }
    if let Some(bytes) = seen.number("peak_memory_bytes") {
        let _ = write!(text, ", memory {} KiB", grouped(&format!("{:.0}", bytes / 1024.0)));
    }
    let code = seen.field("code").unwrap_or("ok");
    if code == "ok" {
        return News::Line { tone: Tone::Plain, verb: "answered", about: agent, text, words: None };
    }
    let mut reason = seen.field("reason").unwrap_or_default();
    // An agent that said why it stopped has said it better than its stack does.
    if let Some((said, _stack)) = reason.split_once(STACK)
        && level <= Level::INFO
    {
        reason = said;
    }
    let reason = if reason.is_empty() { String::new() } else { format!(": {}", clean(reason)) };
    let text = format!("{code} after {text}{reason}");
    News::Line { tone: Tone::Bad, verb: "failed", about: agent, text, words: None }
}

/// What a digest is known by.
fn digest(seen: &Seen) -> String {
    one_line(seen.field("digest").unwrap_or_default()).chars().take(SHORT_DIGEST).collect()
}

/// The fields, as `key=value`.
fn rest(seen: &Seen) -> String {
    let pairs: Vec<String> =
        seen.fields.iter().map(|(name, value)| format!("{name}={}", one_line(value))).collect();
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

    fn seen(level: Level, target: &'static str, message: &str, fields: &[(&'static str, &str)]) -> Seen {
        let fields = fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        Seen { level, target, message: message.to_owned(), fields }
    }

    /// The line that a pipe gets.
    fn line(level: Level, message: &str, fields: &[(&'static str, &str)]) -> String {
        shown(&seen(level, "stockade", message, fields))
    }

    fn shown(seen: &Seen) -> String {
        match news(seen, Level::INFO) {
            Some(News::Line { verb, about, text, words, .. }) => {
                [words.unwrap_or_default(), format!("{verb} {about} {text}")].concat().trim_end().to_owned()
            }
            Some(News::Begins { about }) => format!("begins {about}"),
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
            line(Level::INFO, "agent is live", &fields),
            "reloaded calculator 0.1.0 in 38.0 ms: generation 7, 3f2a9c1d4e5f"
        );
        let first =
            [("agent", "a"), ("version", "1"), ("generation", "1"), ("digest", digest), ("ms", "1800")];
        assert_eq!(
            line(Level::INFO, "agent is live", &first),
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
            line(Level::INFO, "task ended", &receipt),
            "answered calculator 1.3 ms, fuel 1,234,567, memory 1,088 KiB"
        );
        let failed =
            [("agent", "x"), ("code", "agent_trapped"), ("reason", "panicked at lib.rs:3"), ("wall_ms", "2")];
        assert_eq!(
            line(Level::INFO, "task ended", &failed),
            "failed x agent_trapped after 2.0 ms: panicked at lib.rs:3"
        );
        let trapped = [
            ("agent", "x"),
            ("code", "agent_trapped"),
            ("reason", "panicked at lib.rs:3; error while executing at wasm backtrace:\n 0: abort"),
            ("wall_ms", "2"),
        ];
        assert!(line(Level::INFO, "task ended", &trapped).ends_with(": panicked at lib.rs:3"));
        let away = [("agent", "x"), ("code", "overloaded")];
        assert_eq!(line(Level::INFO, "task rejected", &away), "rejected x overloaded");
    }

    #[test]
    fn what_keeps_an_agent_from_serving_is_said_in_either_form() {
        let fields = [("agent", "a"), ("component", "/a.wasm")];
        let one = line(Level::ERROR, "agent was not loaded: /a.wasm is not there", &fields);
        assert_eq!(one, "not loaded a /a.wasm is not there");
        let other =
            line(Level::ERROR, "agent was not loaded", &[("agent", "a"), ("reason", "it is cut off")]);
        assert_eq!(other, "not loaded a it is cut off");
    }

    #[test]
    fn a_build_shows_the_compilers_words_as_they_are() {
        let words = "\u{1b}[31merror\u{1b}[0m: expected one of\n";
        let fields = [("project", "plugins"), ("words", words)];
        let shown = line(Level::ERROR, "build failed", &fields);
        assert!(shown.starts_with(words) && shown.contains("not built plugins"), "{shown}");
        let built = [("project", "plugins"), ("components", "4"), ("ms", "3210")];
        assert_eq!(line(Level::INFO, "built", &built), "built plugins 4 components in 3210 ms");
        assert_eq!(line(Level::INFO, "building", &[("project", "plugins")]), "begins plugins");
    }

    #[test]
    fn nothing_that_a_guest_wrote_moves_the_cursor() {
        let log = seen(Level::WARN, "agent", "a\u{1b}[2Jb", &[("agent", "x")]);
        assert_eq!(shown(&log), r"log x a\u{1b}[2Jb");
        let live =
            [("agent", "a"), ("version", "1\nreloaded b"), ("generation", "1"), ("digest", "\u{202e}")];
        assert!(
            line(Level::INFO, "agent is live", &live)
                .starts_with(r"loaded a 1\nreloaded b: generation 1, \u{202e}")
        );
        let failed =
            [("agent", "x"), ("code", "agent_failed"), ("reason", "\u{1b}]0;title\u{7}"), ("wall_ms", "2")];
        assert!(!line(Level::INFO, "task ended", &failed).contains('\u{1b}'));
    }

    #[test]
    fn what_is_not_known_becomes_a_plain_line_and_what_is_told_already_none() {
        let unknown = line(Level::WARN, "something new", &[("b", "2"), ("a", "1")]);
        assert_eq!(unknown, "warning something new a=1 b=2");
        let told = [("agent", "x"), ("path", "/orchestrator/execute"), ("status", "200")];
        assert_eq!(line(Level::INFO, "request", &told), "");
        let refused = [("path", "/x"), ("status", "401"), ("code", "unauthorized")];
        assert_eq!(
            line(Level::INFO, "request", &refused),
            "note request code=unauthorized path=/x status=401"
        );
        let settings = [("keys", "server.listen")];
        assert_eq!(
            line(Level::WARN, "settings wait for a restart", &settings),
            "settings server.listen waits for a restart"
        );
    }
}
