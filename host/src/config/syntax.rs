//! What is not TOML: the parser's errors as messages that say what to change, and which lines they affect.
//! The parser recovers and goes on; an affected line gets no second message.

use std::ops::Range;

use super::report::Report;
use super::source::Source;

/// The most errors that are reported; a file with more is no TOML at all.
const MAX_ERRORS: usize = 100;

/// The lines whose meaning is lost.
#[derive(Debug, Default)]
pub(super) struct Damage {
    /// In the order of the file.
    lines: Vec<Range<usize>>,
    any: bool,
}

impl Damage {
    /// Whether `line`, from 1, is one of them.
    pub(super) fn covers(&self, line: usize) -> bool {
        let next = self.lines.partition_point(|lines| lines.start <= line);
        next.checked_sub(1).is_some_and(|at| self.lines[at].contains(&line))
    }

    /// Whether the file is not TOML as a whole.
    pub(super) fn any(&self) -> bool {
        self.any
    }
}

/// Reports the parser's `errors`, the first of each damaged place.
pub(super) fn report(errors: &[toml::de::Error], source: &Source<'_>, report: &mut Report<'_>) -> Damage {
    let mut found: Vec<(Range<usize>, &str)> =
        errors.iter().map(|error| (error.span().unwrap_or(0..0), error.message())).collect();
    found.sort_by_key(|(span, _)| span.start);
    // A list that is never closed swallows what follows.
    let swallowed = found.iter().any(|(_, message)| message.starts_with("unclosed array"));
    let mut damage = Damage::default();
    let mut reported = 0;
    for (span, message) in found {
        let line = source.line_of(span.start);
        if damage.covers(line) {
            continue;
        }
        let (message, help, spoils) = explain(&span, message, source, swallowed);
        report.wrong(span, "", message, help);
        damage.any = true;
        reported += 1;
        let spoils = if reported < MAX_ERRORS { spoils } else { Spoils::TheRest };
        match spoils {
            Spoils::Nothing => {}
            Spoils::Line => damage.lines.push(line..line + 1),
            Spoils::UntilNextTable => damage.lines.push(line..next_table(source, line)),
            Spoils::TheRest => damage.lines.push(line..source.lines() + 1),
        }
    }
    damage
}

/// How far a mistake reaches.
enum Spoils {
    /// The value is kept, another is ignored.
    Nothing,
    Line,
    UntilNextTable,
    TheRest,
}

/// The message, what to change, and how far the damage reaches.
fn explain(
    span: &Range<usize>,
    message: &str,
    source: &Source<'_>,
    swallowed: bool,
) -> (String, Option<String>, Spoils) {
    let line = source.line_of(span.start);
    let text = source.line(line).trim();
    let header = text.starts_with('[');
    if message.starts_with("duplicate key") {
        return duplicate(text, line, source);
    }
    if message.contains("string values must be quoted") {
        let word = source.text.get(span.clone()).unwrap_or_default().trim();
        return if word.is_empty() {
            let help = "write a value after `=`, or remove the line".to_owned();
            ("a value is missing".to_owned(), Some(help), Spoils::Line)
        } else {
            let message = "this value is neither a number, `true`, `false` nor a quoted text";
            let help = "put quotes around it if it is a text".to_owned();
            (message.to_owned(), Some(help), Spoils::Line)
        };
    }
    if swallowed && message.contains("array") {
        let help = "end the list with `]`".to_owned();
        let message = "a list that began before this is not closed";
        return (message.to_owned(), Some(help), Spoils::TheRest);
    }
    if header {
        let help = "write `[section]`, `[agents.ID]` or `[[auth.keys]]`".to_owned();
        let message = format!("this header is not TOML: {message}");
        return (message, Some(help), Spoils::UntilNextTable);
    }
    if message.contains("multi-line") {
        let help = "end it with three quotes of the kind that it began with".to_owned();
        return (format!("this text is not closed: {message}"), Some(help), Spoils::UntilNextTable);
    }
    if message.starts_with("invalid basic string") || message.starts_with("invalid literal string") {
        let help = "end the text with the quote that it began with, on the same line".to_owned();
        return ("this text is not closed".to_owned(), Some(help), Spoils::Line);
    }
    if message.contains("escape") {
        let help = "write `\\\\` for a backslash, or use single quotes: 'C:\\path'".to_owned();
        let message = "`\\` is followed by something that it cannot escape";
        return (message.to_owned(), Some(help), Spoils::Line);
    }
    if message.contains("array") || message.contains("inline table") {
        let help = "separate values by commas and close `[` with `]`, `{` with `}`".to_owned();
        return (format!("this is not TOML: {message}"), Some(help), Spoils::UntilNextTable);
    }
    let help = "each line is `key = value`, a `[section]` or a `# comment`".to_owned();
    (format!("this is not TOML: {message}"), Some(help), Spoils::Line)
}

/// A table or key that is there already; says where.
fn duplicate(text: &str, line: usize, source: &Source<'_>) -> (String, Option<String>, Spoils) {
    let earlier = || (1..line).rev();
    if text.starts_with('[') {
        let header = text.split('#').next().unwrap_or(text).trim();
        let first = (1..line).find(|at| source.line(*at).trim().starts_with(header));
        let message = match first {
            Some(first) => {
                format!("`{header}` is here a second time; the first is on line {first}")
            }
            None => format!("`{header}` is here a second time, in another form"),
        };
        let help = "join the two, or give one another name".to_owned();
        return (message, Some(help), Spoils::UntilNextTable);
    }
    let key = text.split('=').next().unwrap_or(text).trim();
    let first = earlier()
        .take_while(|at| !source.line(*at).trim().starts_with('['))
        .find(|at| source.line(*at).split('=').next().is_some_and(|other| other.trim() == key));
    let message = match first {
        Some(first) => format!("a key is set a second time; the first is on line {first}"),
        None => "a key is set a second time".to_owned(),
    };
    (message, Some("remove one of them".to_owned()), Spoils::Nothing)
}

/// The first line behind `line` that begins a table; one past the last line where none does.
fn next_table(source: &Source<'_>, line: usize) -> usize {
    (line + 1..=source.lines()).find(|at| source.line(*at).starts_with('[')).unwrap_or(source.lines() + 1)
}
