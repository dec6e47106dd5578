//! Collects problems while the document is read. Knows which parts of the file are damaged, so that a single
//! mistake is not reported twice.

use std::collections::HashSet;
use std::ops::Range;

use super::problem::Problem;
use super::source::{Sight, Source};
use super::syntax::Damage;

/// The problems found so far.
#[derive(Debug)]
pub(super) struct Report<'s> {
    /// What problems name as the file.
    name: &'s str,
    /// Where the lines are; `None` for values that are in no file.
    source: Option<&'s Source<'s>>,
    damage: Damage,
    problems: Vec<Problem>,
    wrong_keys: HashSet<String>,
}

impl<'s> Report<'s> {
    /// Begins with what the parser found.
    pub(super) fn new(source: &'s Source<'s>, errors: &[toml::de::Error]) -> Self {
        let mut report = Self { source: Some(source), ..Self::unplaced(source.name) };
        report.damage = super::syntax::report(errors, source, &mut report);
        report
    }

    /// For values that are in no file: problems have no line.
    pub(super) fn unplaced(name: &'s str) -> Self {
        let (problems, wrong_keys) = (Vec::new(), HashSet::new());
        Self { name, source: None, damage: Damage::default(), problems, wrong_keys }
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

    /// Something is wrong because of what is elsewhere in the file, or missing. Not reported of a file that could
    /// not be read completely: it may be there.
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

    /// The line where `span` begins; 0 for what is in no file.
    pub(super) fn line_of(&self, span: &Range<usize>) -> usize {
        self.source.map_or(0, |source| source.line_of(span.start))
    }

    /// Everything, in the order of the file; the environment last.
    pub(super) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems;
        problems.sort_by_key(|problem| (problem.line.unwrap_or(usize::MAX), problem.column));
        problems
    }

    fn push(&mut self, span: Range<usize>, key: &str, message: String, help: Option<String>, sight: Sight) {
        let position = self.source.map(|source| source.position(span.start));
        if position.is_some_and(|(line, _)| self.damage.covers(line)) {
            return;
        }
        self.wrong_keys.insert(key.to_owned());
        self.problems.push(Problem {
            file: self.name.to_owned(),
            line: position.map(|(line, _)| line),
            column: position.map(|(_, column)| column),
            key: key.to_owned(),
            message,
            help,
            excerpt: self.source.map(|source| source.excerpt(&span, sight)),
        });
    }
}
