//! Where news is shown: a terminal, with what is being done at its bottom, or a pipe.
//!
//! Owns the terminal's last line. It decides nothing about what is shown.

use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::words::{News, Tone};

/// Verbs are this wide, so that what they are about stands in a column.
const VERB: usize = 11;

/// How often the last line moves.
const TICK: Duration = Duration::from_millis(100);

/// What is written to.
pub(super) enum Screen {
    /// Lines above, and below them what is being done.
    Terminal { bars: MultiProgress, busy: Option<(String, ProgressBar)>, colours: Colours },
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
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let colours = if unwanted { Colours::No } else { Colours::Yes };
        let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        // One that cannot move its cursor gets lines.
        if bars.is_hidden() {
            return Self::Pipe;
        }
        Self::Terminal { bars, busy: None, colours }
    }

    /// Shows it.
    pub(super) fn show(&mut self, news: &News) {
        match self {
            Self::Pipe => {
                if let Some(text) = plain(news) {
                    // If standard error is gone there is nobody to tell.
                    let _ = writeln!(std::io::stderr().lock(), "{text}");
                }
            }
            Self::Terminal { bars, busy, colours } => match news {
                News::Begins { about } => {
                    let bar = bars.add(ProgressBar::new_spinner());
                    if let Ok(style) = ProgressStyle::with_template("{spinner} building {msg}  {elapsed}") {
                        bar.set_style(style);
                    }
                    bar.set_message(about.clone());
                    bar.enable_steady_tick(TICK);
                    if let Some((_, before)) = busy.replace((about.clone(), bar)) {
                        before.finish_and_clear();
                    }
                }
                News::Line { tone, verb, about, text, words } => {
                    if let Some((_, bar)) = busy.take_if(|(doing, _)| doing == about) {
                        bar.finish_and_clear();
                    }
                    if let Some(words) = words {
                        let _ = bars.println(words.trim_end());
                    }
                    let _ = bars.println(painted(*colours, *tone, verb, about, text));
                }
            },
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

/// A line for a pipe.
fn plain(news: &News) -> Option<String> {
    match news {
        News::Begins { about } => Some(line("building", about, "")),
        News::Line { verb, about, text, words, .. } => {
            let line = line(verb, about, text);
            Some(match words {
                Some(words) => format!("{}\n{line}", words.trim_end()),
                None => line,
            })
        }
    }
}

/// The columns; a text of several lines stays in its own.
fn line(verb: &str, about: &str, text: &str) -> String {
    let text = text.replace('\n', &format!("\n{:VERB$}  ", ""));
    format!("{verb:VERB$}  {about}  {text}").trim_end().to_owned()
}

/// The same for a terminal: the verb says by its colour how good the news is.
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
    fn columns_stand_and_texts_of_several_lines_stay_in_theirs() {
        assert_eq!(line("log", "calculator", "one\ntwo"), "log          calculator  one\n             two");
        assert_eq!(line("removed", "calculator", ""), "removed      calculator");
        let painted = painted(Colours::Yes, Tone::Good, "built", "plugins", "in 1 s");
        assert_eq!(painted, "\u{1b}[32mbuilt\u{1b}[0m        plugins  in 1 s");
    }

    #[test]
    fn a_pipe_gets_the_compilers_words_before_the_line() {
        let news = News::Line {
            tone: Tone::Bad,
            verb: "not built",
            about: "plugins".to_owned(),
            text: "fix it".to_owned(),
            words: Some("error: x\n".to_owned()),
        };
        assert_eq!(plain(&news).as_deref(), Some("error: x\nnot built    plugins  fix it"));
    }
}
