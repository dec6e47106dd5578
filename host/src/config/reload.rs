//! `[reload]`: what happens when a plugin's file changes, and when the new code fails.

use super::key::{Key, Kind, count, flag};
use super::report::Report;
use super::section::Section;

/// `[reload]`
#[derive(Debug, Clone, PartialEq)]
pub struct ReloadConfig {
    /// `watch`: whether the files of components and agents.toml are watched. Default `true`.
    pub watch: bool,
    /// `rollback`: whether a new version that fails is rolled back by the host. Default `true`.
    pub rollback: bool,
    /// `rollback_calls`: how many first calls of a new version are judged. Default 20.
    pub rollback_calls: u32,
    /// `rollback_error_rate`: 0 to 1; the share of those calls that may fail. Default 0.5.
    pub rollback_error_rate: f64,
    /// `keep_versions`: earlier versions of each agent that are kept for a rollback. Default 5.
    pub keep_versions: u32,
}

const ERROR_RATE: f64 = 0.5;

/// The keys of `[reload]`.
pub(super) const KEYS: &[Key] = &[
    Key::new("watch", flag(true), "watch the components' files and agents.toml, and load what changes")
        .at_restart(),
    Key::new("rollback", flag(true), "roll a new version back when its first calls fail"),
    Key::new("rollback_calls", count(1, 10_000, 20), "the first calls of a new version that are judged"),
    Key::new(
        "rollback_error_rate",
        Kind::Fraction,
        "the share of them that has to fail through the code's own fault for it to be rolled back",
    )
    .default_in_words("`0.5`"),
    Key::new(
        "keep_versions",
        count(0, 100, 5),
        "earlier versions of each agent that are kept for a rollback",
    ),
];

/// Reads `[reload]`.
pub(super) fn read(report: &mut Report<'_>, section: &Section<'_, '_>) -> ReloadConfig {
    let error_rate = section.get("rollback_error_rate").and_then(|entry| entry.fraction(report));
    ReloadConfig {
        watch: section.flag(report, "watch"),
        rollback: section.flag(report, "rollback"),
        rollback_calls: section.count(report, "rollback_calls"),
        rollback_error_rate: error_rate.unwrap_or(ERROR_RATE),
        keep_versions: section.count(report, "keep_versions"),
    }
}
