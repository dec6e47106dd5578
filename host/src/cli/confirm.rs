//! Asks before something is changed, where somebody is there to answer.
//!
//! Reads one line of standard input. It decides nothing about what is asked.

use std::io::{self, BufRead, IsTerminal, Write};

use super::output::Output;

/// What came of asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// Somebody agreed, or `--yes` did.
    Yes,
    /// Somebody was asked and did not agree.
    No,
    /// There is nobody to ask: no terminal, or a program that reads JSON.
    Nobody,
}

/// Asks `question` on the terminal, unless `yes` answers it.
///
/// # Errors
/// If the terminal cannot be read.
pub(super) fn confirm(question: &str, yes: bool, output: Output) -> io::Result<Answer> {
    let terminal = io::stdin().is_terminal() && io::stderr().is_terminal();
    match decide(yes, terminal, output) {
        Some(answer) => Ok(answer),
        None => ask(question, &mut io::stdin().lock(), &mut io::stderr().lock()),
    }
}

/// What is clear without asking.
fn decide(yes: bool, terminal: bool, output: Output) -> Option<Answer> {
    match (yes, terminal, output) {
        (true, ..) => Some(Answer::Yes),
        (false, true, Output::Text) => None,
        (false, ..) => Some(Answer::Nobody),
    }
}

/// Asks; anything but `y` or `yes` means no.
fn ask(question: &str, input: &mut dyn BufRead, out: &mut dyn Write) -> io::Result<Answer> {
    write!(out, "{question} [y/N] ")?;
    out.flush()?;
    let mut line = String::new();
    input.read_line(&mut line)?;
    let agreed = matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes");
    Ok(if agreed { Answer::Yes } else { Answer::No })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_person_at_a_terminal_is_asked() {
        assert_eq!(decide(false, true, Output::Text), None);
        assert_eq!(decide(false, true, Output::Json), Some(Answer::Nobody));
        assert_eq!(decide(false, false, Output::Text), Some(Answer::Nobody));
        for (terminal, output) in [(true, Output::Text), (false, Output::Text), (false, Output::Json)] {
            assert_eq!(decide(true, terminal, output), Some(Answer::Yes));
        }
    }

    #[test]
    fn nothing_but_yes_is_yes() {
        for (typed, answer) in [
            ("y\n", Answer::Yes),
            (" YES \n", Answer::Yes),
            ("\n", Answer::No),
            ("", Answer::No),
            ("n\n", Answer::No),
            ("yes, please\n", Answer::No),
        ] {
            let mut shown = Vec::new();
            assert_eq!(
                ask("Go on?", &mut typed.as_bytes(), &mut shown).expect("memory"),
                answer,
                "{typed:?}"
            );
            assert_eq!(shown, b"Go on? [y/N] ");
        }
    }
}
