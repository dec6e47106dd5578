//! Collects problems while the document is read. Knows which parts of the file are damaged, so that a
//! single slip of the pen is not reported twice.

use std::collections::HashSet;
use std::ops::Range;

use super::problem::Problem;
use super::source::{Sight, Source};
use super::syntax::Damage;

/// The problems found so far.
#[derive(Debug)]
pub(super) struct Report<'s> {
    source: &'s Source<'s>,
    damage: Damage,
    problems: Vec<Problem>,
    wrong_keys: HashSet<String>,
}

impl<'s> Report<'s> {
    /// Begins with what the parser found.
    pub(super) fn new(source: &'s Source<'s>, errors: &[toml::de::Error]) -> Self {
        let mut report =
            Self { source, damage: Damage::default(), problems: Vec::new(), wrong_keys: HashSet::new() };
        report.damage = super::syntax::report(errors, source, &mut report);
        report
    }

    /// Something is wrong with what stands at `span`.
    pub(super) fn wrong(
        &mut self,
        span: Range<usize>,
        key: &str,
        message: impl Into<String>,
        help: impl Into<Option<String>>,
    ) {
        self.push(span, key, message.into(), help.into(), Sight::Plain);
    }

    /// The same, about a value that must not be shown.
    pub(super) fn wrong_secret(
        &mut self,
        span: Range<usize>,
        key: &str,
        message: impl Into<String>,
        help: impl Into<Option<String>>,
    ) {
        self.push(span, key, message.into(), help.into(), Sight::Masked);
    }

    /// Something is wrong because of what stands elsewhere, or does not. Not said of a file that could
    /// not be read whole: it may be there.
    pub(super) fn wrong_in_context(
        &mut self,
        span: Range<usize>,
        key: &str,
        message: impl Into<String>,
        help: impl Into<Option<String>>,
    ) {
        if !self.damage.any() {
            self.push(span, key, message.into(), help.into(), Sight::Plain);
        }
    }

    /// Something is wrong with an environment variable. Its value is not repeated.
    pub(super) fn wrong_variable(
        &mut self,
        variable: &str,
        message: impl Into<String>,
        help: impl Into<Option<String>>,
    ) {
        self.problems.push(Problem {
            file: "environment".to_owned(),
            line: None,
            column: None,
            key: variable.to_owned(),
            message: message.into(),
            help: help.into(),
            excerpt: None,
        });
    }

    /// Whether the key at `path` was found wrong, so that its value is not to be judged further.
    pub(super) fn is_wrong(&self, path: &str) -> bool {
        self.wrong_keys.contains(path)
    }

    /// The line where `span` begins.
    pub(super) fn line_of(&self, span: &Range<usize>) -> usize {
        self.source.line_of(span.start)
    }

    /// Everything, in the order of the file; the environment last.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems;
        problems.sort_by_key(|problem| (problem.line.unwrap_or(usize::MAX), problem.column));
        problems
    }

    fn push(&mut self, span: Range<usize>, key: &str, message: String, help: Option<String>, sight: Sight) {
        let (line, column) = self.source.position(span.start);
        if self.damage.covers(line) {
            return;
        }
        self.wrong_keys.insert(key.to_owned());
        self.problems.push(Problem {
            file: self.source.name.to_owned(),
            line: Some(line),
            column: Some(column),
            key: key.to_owned(),
            message,
            help,
            excerpt: Some(self.source.excerpt(&span, sight)),
        });
    }
}
