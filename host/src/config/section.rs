//! One table of the document: reports its unknown keys, hands out its values checked for form and range.
//!
//! Every reader answers `None` for a key that is absent or wrong; what is wrong is in the report.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeTable;

use super::entry::{Entry, Value, type_name};
use super::key::{Key, Kind, SECTIONS, one_of};
use super::report::Report;
use crate::domain::text::nearest;

/// The most characters that are shown of a text that may be anything.
const SHOWN: usize = 60;

/// A table with the keys that it may have.
pub(super) struct Section<'a, 'i> {
    /// As it stands in the file: `[agents.x]`.
    pub(super) title: String,
    /// The path of its keys: `agents.x`.
    pub(super) path: String,
    /// Where its name stands, for what is missing in it.
    pub(super) at: Range<usize>,
    keys: &'static [Key],
    table: Option<&'a DeTable<'i>>,
}

impl<'a, 'i> Section<'a, 'i> {
    /// The table `path`, which may have `keys`. `value` is what stands there.
    pub(super) fn new(
        report: &mut Report<'_>,
        path: &str,
        value: Option<Value<'a, 'i>>,
        keys: &'static [Key],
    ) -> Self {
        let title = format!("[{path}]");
        let at = value.map(Spanned::span).unwrap_or_default();
        let table = value.and_then(|value| table(report, path, value));
        Self::of(report, title, path.to_owned(), at, table, keys)
    }

    /// The same, with a title of its own; `at` is where its name stands.
    pub(super) fn of(
        report: &mut Report<'_>,
        title: String,
        path: String,
        at: Range<usize>,
        table: Option<&'a DeTable<'i>>,
        keys: &'static [Key],
    ) -> Self {
        let known: Vec<&str> = keys.iter().map(|key| key.name).collect();
        for (name, _) in table.into_iter().flatten() {
            if !known.contains(&name.get_ref().as_ref()) {
                unknown_key(report, &title, &path, name, &known);
            }
        }
        Self { title, path, at, keys, table }
    }

    /// A table that is not there: every key has its default.
    pub(super) fn absent(keys: &'static [Key]) -> Self {
        Self { title: String::new(), path: String::new(), at: 0..0, keys, table: None }
    }

    /// The table at `name` in this one, which may have `keys`.
    pub(super) fn table(&self, report: &mut Report<'_>, name: &str, keys: &'static [Key]) -> Section<'a, 'i> {
        Section::new(report, &self.path_of(name), self.get(name).map(|entry| entry.value), keys)
    }

    /// The path of `name` in this table.
    pub(super) fn path_of(&self, name: &str) -> String {
        join(&self.path, name)
    }

    /// What stands at `name`.
    pub(super) fn get(&self, name: &str) -> Option<Entry<'a, 'i>> {
        let key = self.key(name)?;
        Some(Entry {
            path: self.path_of(name),
            name: key.name,
            value: self.table?.get(name)?,
            kind: key.kind,
            example: key.example(),
        })
    }

    /// A whole number or a size in its range; the default where it is absent or wrong.
    pub(super) fn number(&self, report: &mut Report<'_>, name: &str) -> u64 {
        let default = self.key(name).and_then(Key::default_number);
        self.number_if_set(report, name).or(default).unwrap_or_default()
    }

    /// A whole number or a size in its range.
    pub(super) fn number_if_set(&self, report: &mut Report<'_>, name: &str) -> Option<u64> {
        self.get(name)?.number(report)
    }

    /// The same in 32 bits.
    pub(super) fn count(&self, report: &mut Report<'_>, name: &str) -> u32 {
        u32::try_from(self.number(report, name)).unwrap_or(u32::MAX)
    }

    /// The same in 32 bits.
    pub(super) fn count_if_set(&self, report: &mut Report<'_>, name: &str) -> Option<u32> {
        self.number_if_set(report, name).and_then(|number| u32::try_from(number).ok())
    }

    /// A duration in its range; the default where it is absent or wrong.
    pub(super) fn duration(&self, report: &mut Report<'_>, name: &str) -> Duration {
        let default = match self.key(name).map(|key| key.kind) {
            Some(Kind::Time { default, .. }) => default,
            _ => Duration::ZERO,
        };
        self.duration_if_set(report, name).unwrap_or(default)
    }

    /// A duration in its range.
    pub(super) fn duration_if_set(&self, report: &mut Report<'_>, name: &str) -> Option<Duration> {
        self.get(name)?.duration(report)
    }

    /// `true` or `false`; the default where it is absent or wrong.
    pub(super) fn flag(&self, report: &mut Report<'_>, name: &str) -> bool {
        let default = matches!(self.key(name).map(|key| key.kind), Some(Kind::Flag { default: true }));
        self.get(name).and_then(|entry| entry.flag(report)).unwrap_or(default)
    }

    /// A text in its length, not blank.
    pub(super) fn text(&self, report: &mut Report<'_>, name: &str) -> Option<String> {
        self.get(name)?.bounded_text(report)
    }

    /// Texts in their number and lengths, none blank.
    pub(super) fn texts(&self, report: &mut Report<'_>, name: &str) -> Option<Vec<String>> {
        self.get(name)?.bounded_texts(report)
    }

    fn key(&self, name: &str) -> Option<&'static Key> {
        let key = self.keys.iter().find(|key| key.name == name);
        debug_assert!(key.is_some(), "{name} is not listed for {}", self.title);
        key
    }
}

/// The table at `path`; anything else is reported.
pub(super) fn table<'a, 'i>(
    report: &mut Report<'_>,
    path: &str,
    value: Value<'a, 'i>,
) -> Option<&'a DeTable<'i>> {
    let table = value.get_ref().as_table();
    if table.is_none() {
        let is_list = value.get_ref().as_array().is_some();
        let tables = is_list.then(|| format!("write `[{path}]` once, with single brackets"));
        let help =
            tables.unwrap_or_else(|| format!("write `[{path}]` on a line of its own, and its keys below"));
        let message = format!("`{path}` must be a table, not {}", type_name(value.get_ref()));
        report.wrong(value.span(), path, message, help);
    }
    table
}

/// Reports a key that `title` does not have.
pub(super) fn unknown_key(
    report: &mut Report<'_>,
    title: &str,
    path: &str,
    name: &Spanned<std::borrow::Cow<'_, str>>,
    known: &[&str],
) {
    let text = name.get_ref().as_ref();
    let shown = shorten(text);
    let near = nearest(text, known);
    let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
    let homes: Vec<&str> =
        SECTIONS.iter().filter(|s| s.keys.iter().any(|key| key.name == text)).map(|s| s.title).collect();
    let in_cases = title.starts_with("[[case") || title.starts_with("[case");
    let help = match near {
        Some(near) => format!("change `{shown}` to `{near}`, or remove it"),
        None if homes == ["[defaults.limits]"] && (in_cases || title.starts_with("[agents.")) => {
            format!("it is one of the limits: write `limits.{shown} = ...`")
        }
        None if !homes.is_empty() && !in_cases => format!("`{shown}` is a key of {}", one_of(&homes)),
        None => format!("remove it, or use {}", one_of(known)),
    };
    if let Some((_, why)) = REMOVED.iter().find(|(key, _)| *key == join(path, text)) {
        let message = format!("`{shown}` {} has no effect any more: {why}", place(title));
        report.wrong(name.span(), &join(path, text), message, "remove it".to_owned());
        return;
    }
    let message = format!("unknown key `{shown}` {}{hint}", place(title));
    report.wrong(name.span(), &join(path, text), message, help);
}

/// Keys that there were, and why they are no more.
const REMOVED: &[(&str, &str)] = &[(
    "engine.optimise_up_to",
    "all components are compiled with optimisation, and functions that were compiled before are taken from the cache",
)];

fn place(title: &str) -> String {
    if title.is_empty() { "outside of any section".to_owned() } else { format!("in {title}") }
}

/// `path.name`, quoted where TOML would.
pub(super) fn join(path: &str, name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let name = if !name.is_empty() && name.chars().all(bare) {
        name.to_owned()
    } else {
        format!("\"{}\"", shorten(name))
    };
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// The beginning of a text that may be anything.
pub(super) fn shorten(text: &str) -> String {
    crate::domain::text::shortened(text, SHOWN).chars().flat_map(char::escape_debug).collect()
}
