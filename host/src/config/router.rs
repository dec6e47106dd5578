//! `[router]`: when a task has no agent, and when two are too close to call.

use stockade_router::Language;

use super::key::{Key, Kind, other};
use super::report::Report;
use super::section::{Section, shorten};
use crate::domain::text::nearest;

/// `[router]`
#[derive(Debug, Clone, PartialEq)]
pub struct RouterConfig {
    /// `threshold`: 0 to 1; below this confidence there is no match.
    pub threshold: f64,
    /// `margin`: 0 to 1; two agents whose confidence differs by less are ambiguous.
    pub margin: f64,
    /// `language`: the language whose words are stemmed, such as `en`.
    pub language: stockade_router::Language,
}

/// The keys of `[router]`.
pub(super) const KEYS: &[Key] = &[
    Key::new("threshold", Kind::Fraction, "below this confidence no agent matches")
        .default_in_words("`0.45`"),
    Key::new("margin", Kind::Fraction, "two agents whose confidence differs by less are ambiguous")
        .default_in_words("`0.05`"),
    Key::new("language", other("a language's code"), "the language whose words are stemmed")
        .default_in_words("`\"en\"`"),
];

/// Reads `[router]`. The defaults are the router's own.
pub(super) fn read(report: &mut Report<'_>, section: &Section<'_, '_>) -> RouterConfig {
    let default = stockade_router::Settings::default();
    RouterConfig {
        threshold: section
            .get("threshold")
            .and_then(|entry| entry.fraction(report))
            .unwrap_or(default.threshold),
        margin: section.get("margin").and_then(|entry| entry.fraction(report)).unwrap_or(default.margin),
        language: language(report, section).unwrap_or(default.language),
    }
}

fn language(report: &mut Report<'_>, section: &Section<'_, '_>) -> Option<Language> {
    let entry = section.get("language")?;
    let text = entry.text(report)?;
    if let Some(language) = Language::from_code(text) {
        return Some(language);
    }
    let codes: Vec<&str> = Language::ALL.iter().map(|language| language.code()).collect();
    let hint = nearest(text, &codes).map(|code| format!("; did you mean `{code}`?")).unwrap_or_default();
    let message = format!("is `{}`, which is not a language that is known{hint}", shorten(text));
    entry.wrong(report, &message, format!("use {}", super::key::one_of(&codes)));
    None
}
