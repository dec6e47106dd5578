//! Where commands write: results to standard output, all else to standard error.
//!
//! What comes from an agent, a host or a file is escaped here, so that no command can forget to: nothing
//! that is printed moves a cursor or hides a line.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::domain::text;

/// How results look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Output {
    /// For people.
    Text,
    /// For programs.
    Json,
}

impl Output {
    /// Says what failed: to programs as an object on standard output, to people on standard error.
    pub(super) fn fail(self, code: &str, message: &str) -> io::Result<()> {
        match self {
            Self::Json => failure(code, message),
            Self::Text => {
                note(&format!("error: {}", text::set_in(message)));
                Ok(())
            }
        }
    }

    /// Writes a result as JSON, on one line.
    pub(super) fn json<T: Serialize + ?Sized>(self, value: &T) -> io::Result<()> {
        let json = serde_json::to_string(value)?;
        writeln!(io::stdout().lock(), "{}", text::json(&json))
    }
}

/// Writes a failure for programs, in the form that failures have over HTTP.
pub(super) fn failure(code: &str, message: &str) -> io::Result<()> {
    let failure = serde_json::json!({ "error": "Command failed", "code": code, "message": message });
    Output::Json.json(&failure)
}

/// Writes a result for people.
pub(super) fn print(text: &str) -> io::Result<()> {
    writeln!(io::stdout().lock(), "{}", text::lines(text.trim_end()))
}

/// Writes an answer: as it is to a pipe or a file, and as other results to a terminal.
pub(super) fn answer(text: &str) -> io::Result<()> {
    let out = io::stdout().lock();
    write_answer(text, out.is_terminal(), out)
}

fn write_answer(text: &str, terminal: bool, mut out: impl Write) -> io::Result<()> {
    let text = text.trim_end();
    if terminal { writeln!(out, "{}", text::lines(text)) } else { writeln!(out, "{text}") }
}

/// Writes a note, apart from the result. If standard error is closed it is lost.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", text::lines(text.trim_end()));
}

/// Lays rows out in columns that are as wide as they need to be.
pub(super) fn table(head: &[&str], rows: &[Vec<String>]) -> String {
    let shown = |cell: &String| text::line(cell).into_owned();
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(shown).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.chain(head.get(column).map(|title| title.len())).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(&widths)
            .map(|(cell, width)| {
                let pad = width.saturating_sub(cell.chars().count());
                format!("{cell}{}", " ".repeat(pad))
            })
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let mut text = line(&mut head.iter().copied());
    for row in &rows {
        text.push('\n');
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_goes_whole_into_a_pipe_and_moves_nothing_on_a_terminal() {
        let answer = "one\n\ttwo \u{1b}[2J\u{202e}";
        let written = |terminal| {
            let mut out = Vec::new();
            write_answer(answer, terminal, &mut out).expect("memory");
            String::from_utf8(out).expect("UTF-8")
        };
        assert_eq!(written(false), format!("{answer}\n"));
        assert_eq!(written(true), "one\n\ttwo \\u{1b}[2J\\u{202e}\n");
    }

    #[test]
    fn a_cell_stays_in_its_row() {
        let rows =
            vec![vec!["a\nb".to_owned(), "\u{1b}[8m".to_owned()], vec!["c".to_owned(), "d".to_owned()]];
        assert_eq!(table(&["x", "y"], &rows), "x     y\na\\nb  \\u{1b}[8m\nc     d");
    }
}
