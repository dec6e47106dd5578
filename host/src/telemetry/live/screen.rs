//! Where messages are shown: a terminal, with what is being built in its last line, or a pipe.
//!
//! Owns the terminal's last line. It decides nothing about what is shown.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::message::{Message, Tone};

/// Verbs are this wide, so that their subjects form a column.
const VERB: usize = 11;

/// How often the last line moves.
const TICK: Duration = Duration::from_millis(100);

/// What is written to.
pub(super) enum Screen {
    /// Lines, and below them what is being done.
    Terminal { busy: Option<(String, ProgressBar)>, colours: Colours },
    /// Lines.
    Pipe,
}

/// Whether a terminal gets colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colours {
    Yes,
    No,
}

impl Screen {
    /// Standard error, whichever it is.
    pub(super) fn new() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Pipe;
        }
        // One that cannot move its cursor gets lines.
        if ProgressDrawTarget::stderr().is_hidden() {
            return Self::Pipe;
        }
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colours = if unwanted { Colours::No } else { Colours::Yes };
        Self::Terminal { busy: None, colours }
    }

    /// Shows it.
    pub(super) fn show(&mut self, message: &Message) {
        match (self, message) {
            (Self::Pipe, Message::Building { about }) => write(&line("building", about, "")),
            (Self::Pipe, Message::Line { verb, about, text, output, .. }) => {
                write(&with_output(output.as_deref(), &line(verb, about, text)));
            }
            (Self::Terminal { busy, .. }, Message::Building { about }) => {
                if let Some((_, before)) = busy.replace((about.clone(), spinner(about))) {
                    before.finish_and_clear();
                }
            }
            (Self::Terminal { busy, colours }, Message::Line { tone, verb, about, text, output }) => {
                if let Some((_, bar)) = busy.take_if(|(doing, _)| doing == about) {
                    bar.finish_and_clear();
                }
                let text = with_output(output.as_deref(), &painted(*colours, *tone, verb, about, text));
                match busy {
                    Some((_, bar)) => bar.suspend(|| write(&text)),
                    None => write(&text),
                }
            }
        }
    }

    /// Leaves the terminal as it was.
    pub(super) fn end(&mut self) {
        if let Self::Terminal { busy, .. } = self
            && let Some((_, bar)) = busy.take()
        {
            bar.finish_and_clear();
        }
    }
}

/// What moves while something is built.
fn spinner(about: &str) -> ProgressBar {
    let bar = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} building {msg}  {elapsed}") {
        bar.set_style(style);
    }
    bar.set_message(about.to_owned());
    bar.enable_steady_tick(TICK);
    bar
}

/// If standard error is gone there is nobody to tell.
fn write(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// The output of another program, and then the line about it.
fn with_output(output: Option<&str>, line: &str) -> String {
    match output {
        Some(output) => format!("{}\n{line}", output.trim_end()),
        None => line.to_owned(),
    }
}

/// The columns; a text of several lines stays in its own.
fn line(verb: &str, about: &str, text: &str) -> String {
    let text = text.replace('\n', &format!("\n{:VERB$}  ", ""));
    format!("{verb:VERB$}  {about}  {text}").trim_end().to_owned()
}

/// The same for a terminal: the verb's colour shows how good the message is.
fn painted(colours: Colours, tone: Tone, verb: &str, about: &str, text: &str) -> String {
    let code = match tone {
        Tone::Good => "32",
        Tone::Bad => "1;31",
        Tone::Warning => "33",
        Tone::Plain => "36",
        Tone::Quiet => "2",
    };
    let line = line(verb, about, text);
    match colours {
        Colours::No => line,
        Colours::Yes => {
            let rest = line.get(verb.len()..).unwrap_or_default();
            format!("\u{1b}[{code}m{verb}\u{1b}[0m{rest}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_several_lines_stay_in_their_column() {
        assert_eq!(line("log", "calculator", "one\ntwo"), "log          calculator  one\n             two");
        assert_eq!(line("removed", "calculator", ""), "removed      calculator");
        let painted = painted(Colours::Yes, Tone::Good, "built", "plugins", "in 1 s");
        assert_eq!(painted, "\u{1b}[32mbuilt\u{1b}[0m        plugins  in 1 s");
    }

    #[test]
    fn the_compilers_output_comes_before_the_line() {
        assert_eq!(with_output(Some("error: x\n"), "not built"), "error: x\nnot built");
        assert_eq!(with_output(None, "built"), "built");
    }
}
