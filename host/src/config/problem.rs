//! A problem in agents.toml or the environment, and how it is shown: like a compiler's.

use std::fmt;

use serde::Serialize;

use super::source::Excerpt;

/// The most problems that are shown in full.
const SHOWN: usize = 50;

/// One thing to correct.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The file's name as it was given, or `environment`.
    pub file: String,
    /// The line, from 1; none in the environment.
    pub line: Option<usize>,
    /// The column in characters, from 1; none in the environment.
    pub column: Option<usize>,
    /// The key's path, such as `agents.vps-monitor.limits.memory`, or the variable's name. Empty where
    /// the problem is not one of a key.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to change.
    pub help: Option<String>,
    /// The line to show.
    #[serde(skip)]
    pub(super) excerpt: Option<Excerpt>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": error: {}", self.message)?;
        let number = self.line.map(|line| line.to_string()).unwrap_or_default();
        let gutter = " ".repeat(number.len());
        if let Some(Excerpt { text, start, width }) = &self.excerpt {
            let (indent, underline) = (" ".repeat(*start), "^".repeat(*width));
            write!(f, "\n{gutter} |\n{number} | {text}\n{gutter} | {indent}{underline}")?;
        }
        if let Some(help) = &self.help {
            write!(f, "\n{gutter} = help: {help}")?;
        }
        Ok(())
    }
}

/// Everything to correct, in the order of the file. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Problems {
    /// The problems.
    pub problems: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in self.problems.iter().take(SHOWN) {
            write!(f, "{problem}\n\n")?;
        }
        match self.problems.len() {
            1 => f.write_str("1 problem"),
            more if more > SHOWN => write!(f, "{more} problems, of which {SHOWN} are shown"),
            some => write!(f, "{some} problems"),
        }
    }
}

impl std::error::Error for Problems {}
