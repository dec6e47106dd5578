//! What a key of agents.toml is: its form, range, default, meaning, and when a change takes effect.
//! Every section lists its keys this way; reading, messages and the reference table all stand on it.

use std::fmt;
use std::time::Duration;

use super::quantity::{KIB, MIB, show_count, show_duration, show_size};

/// One key of agents.toml.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// As it stands in the file.
    pub name: &'static str,
    /// What its value looks like.
    pub kind: Kind,
    /// The default in words, where it is not a plain value.
    pub default_words: Option<&'static str>,
    /// What it does.
    pub meaning: &'static str,
    /// When a change of it takes effect.
    pub effect: Effect,
}

/// What a value looks like, with its range and default.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// `true` or `false`.
    Flag {
        /// Where the key is absent.
        default: bool,
    },
    /// A whole number.
    Count {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
        /// Where the key is absent; `None` where that depends.
        default: Option<u64>,
    },
    /// A number of bytes.
    Size {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
        /// Where the key is absent.
        default: u64,
    },
    /// A span of time.
    Time {
        /// The least.
        min: Duration,
        /// The most.
        max: Duration,
        /// Where the key is absent.
        default: Duration,
    },
    /// A number from 0 to 1.
    Fraction,
    /// One of a few words.
    Word {
        /// The words.
        known: &'static [&'static str],
        /// Where the key is absent.
        default: &'static str,
    },
    /// A list of words.
    Words {
        /// The words.
        known: &'static [&'static str],
    },
    /// A text with a most number of characters.
    Text {
        /// The most characters.
        max_chars: usize,
    },
    /// A list of texts.
    Texts {
        /// The most texts.
        max_items: usize,
        /// The most characters of each.
        max_chars: usize,
    },
    /// A form of its own, in words.
    Other {
        /// Such as `IP:PORT`.
        form: &'static str,
    },
}

/// When a change of a setting takes effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// As soon as the file is read again.
    AtOnce,
    /// When the host starts again.
    Restart,
}

impl Key {
    /// A key whose changes take effect at once.
    pub(super) const fn new(name: &'static str, kind: Kind, meaning: &'static str) -> Self {
        Self { name, kind, default_words: None, meaning, effect: Effect::AtOnce }
    }

    /// The same, taking effect at the next start.
    pub(super) const fn at_restart(mut self) -> Self {
        self.effect = Effect::Restart;
        self
    }

    /// The same, with a default that is described in words.
    pub(super) const fn default_in_words(mut self, words: &'static str) -> Self {
        self.default_words = Some(words);
        self
    }

    /// The default as agents.toml or prose would have it; empty where there is none.
    pub fn default_text(&self) -> String {
        if let Some(words) = self.default_words {
            return words.to_owned();
        }
        match self.kind {
            Kind::Flag { default } => default.to_string(),
            Kind::Count { default, .. } => default.map(show_count).unwrap_or_default(),
            Kind::Size { default, .. } => format!("\"{}\"", show_size(default).replace(' ', "")),
            Kind::Time { default, .. } => format!("\"{}\"", show_duration(default)),
            Kind::Word { default, .. } => format!("\"{default}\""),
            Kind::Fraction
            | Kind::Words { .. }
            | Kind::Text { .. }
            | Kind::Texts { .. }
            | Kind::Other { .. } => String::new(),
        }
    }

    /// The default where it is a whole number or a size.
    pub(super) fn default_number(&self) -> Option<u64> {
        match self.kind {
            Kind::Count { default, .. } => default,
            Kind::Size { default, .. } => Some(default),
            _ => None,
        }
    }

    /// A line that would be right, for help: the default, or a value of the right form.
    pub(super) fn example(&self) -> Option<String> {
        let value = match self.kind {
            Kind::Flag { .. } => "true".to_owned(),
            Kind::Count { default: None, min, .. } => min.max(1).to_string(),
            Kind::Count { .. } | Kind::Size { .. } | Kind::Time { .. } | Kind::Word { .. } => {
                self.default_text()
            }
            Kind::Fraction => "0.5".to_owned(),
            Kind::Text { .. } => "\"...\"".to_owned(),
            Kind::Words { known } => format!("{known:?}"),
            Kind::Texts { .. } => "[\"...\", \"...\"]".to_owned(),
            Kind::Other { .. } => return None,
        };
        Some(format!("{} = {value}", self.name))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Flag { .. } => f.write_str("`true` or `false`"),
            Self::Count { min, max, .. } => {
                let (min, max) = (show_count(min), show_count(max));
                write!(f, "a whole number from {min} to {max}")
            }
            Self::Size { min, max, .. } => {
                write!(f, "a size from {} to {}", show_size(min), show_size(max))
            }
            Self::Time { min, max, .. } => {
                let (min, max) = (show_duration(min), show_duration(max));
                write!(f, "a duration from {min} to {max}")
            }
            Self::Fraction => f.write_str("a number from 0 to 1"),
            Self::Word { known, .. } => write!(f, "{}", one_of(known)),
            Self::Words { known } => write!(f, "a list of {}", one_of(known)),
            Self::Text { max_chars } => write!(f, "a text of at most {max_chars} characters"),
            Self::Texts { max_items, max_chars } => {
                write!(f, "a list of at most {max_items} texts of {max_chars} characters")
            }
            Self::Other { form } => f.write_str(form),
        }
    }
}

/// ``"`a`, `b` or `c`"``
pub(super) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// A whole number.
pub(super) const fn count(min: u64, max: u64, default: u64) -> Kind {
    Kind::Count { min, max, default: Some(default) }
}

/// A whole number whose default depends on something else.
pub(super) const fn count_otherwise(min: u64, max: u64) -> Kind {
    Kind::Count { min, max, default: None }
}

/// A size; bytes.
pub(super) const fn size(min: u64, max: u64, default: u64) -> Kind {
    Kind::Size { min, max, default }
}

/// A duration; milliseconds.
pub(super) const fn time(min: u64, max: u64, default: u64) -> Kind {
    Kind::Time {
        min: Duration::from_millis(min),
        max: Duration::from_millis(max),
        default: Duration::from_millis(default),
    }
}

/// `true` or `false`.
pub(super) const fn flag(default: bool) -> Kind {
    Kind::Flag { default }
}

/// A form of its own.
pub(super) const fn other(form: &'static str) -> Kind {
    Kind::Other { form }
}

/// The smallest memory worth having: one WebAssembly page.
pub(super) const PAGE: u64 = 64 * KIB;
/// The most that a 32-bit linear memory can hold.
pub(super) const WASM32: u64 = 4_096 * MIB;
/// An hour; milliseconds.
pub(super) const HOUR: u64 = 3_600_000;

/// A section of agents.toml and its keys.
#[derive(Debug, Clone, Copy)]
pub struct SectionKeys {
    /// As it stands in the file, with `ID` for an agent's id.
    pub title: &'static str,
    /// Its keys, in reading order.
    pub keys: &'static [Key],
}

/// Every section that agents.toml may have, with its keys: what docs/settings.md is made from.
pub const SECTIONS: &[SectionKeys] = &[
    SectionKeys { title: "[server]", keys: super::server::KEYS },
    SectionKeys { title: "[auth]", keys: super::auth::KEYS },
    SectionKeys { title: "[[auth.keys]]", keys: super::auth::KEY_KEYS },
    SectionKeys { title: "[engine]", keys: super::engine::KEYS },
    SectionKeys { title: "[scheduler]", keys: super::scheduler::KEYS },
    SectionKeys { title: "[router]", keys: super::router::KEYS },
    SectionKeys { title: "[reload]", keys: super::reload::KEYS },
    SectionKeys { title: "[defaults.limits]", keys: super::limits::KEYS },
    SectionKeys { title: "[agents.ID]", keys: super::agent::KEYS },
    SectionKeys { title: "[agents.ID.grants.system]", keys: super::grants::SYSTEM },
];

/// The settings as Markdown: one table a section, and one of the variables.
pub fn reference() -> String {
    use fmt::Write as _;
    let mut page = String::new();
    for section in SECTIONS {
        let _ = write!(
            page,
            "## `{}`\n\n| key | value | default | meaning |\n|---|---|---|---|\n",
            section.title
        );
        for key in section.keys {
            let default = match (key.default_words, key.default_text()) {
                (Some(words), _) => words.to_owned(),
                (None, text) if text.is_empty() => "none".to_owned(),
                (None, text) => format!("`{text}`"),
            };
            let when = match key.effect {
                Effect::AtOnce => "",
                Effect::Restart => "; a change waits for a restart",
            };
            let _ = writeln!(page, "| `{}` | {} | {default} | {}{when} |", key.name, key.kind, key.meaning);
        }
        page.push('\n');
    }
    page.push_str("## Environment\n\n| variable | meaning |\n|---|---|\n");
    for (name, meaning) in super::VARIABLES {
        let _ = writeln!(page, "| `{name}` | {meaning} |");
    }
    page
}
