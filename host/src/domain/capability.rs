//! The gated capabilities: what a guest reaches only where an operator granted it.
//!
//! This list is the first place of a new capability; "How to add a capability" in ARCHITECTURE.md names
//! the others. Pure.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::text::nearest;

/// A gated capability. In the order of their names, in which policies are written down.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Capability {
    /// `system`: figures about the machine that the host runs on (`stockade:system`).
    System,
}

/// There is no capability of this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no capability `{}`{}", name.escape_debug(), did_you_mean(*nearest))]
pub struct UnknownCapability {
    /// The name as it was given, cut.
    pub name: String,
    /// The capability that was probably meant.
    pub nearest: Option<Capability>,
}

fn did_you_mean(nearest: Option<Capability>) -> String {
    nearest.map(|nearest| format!("; did you mean `{nearest}`?")).unwrap_or_default()
}

/// The characters of an unknown name that are shown.
const SHOWN: usize = 60;

impl Capability {
    /// All of them, in the order of their names.
    pub const ALL: &[Self] = &[Self::System];

    /// Its name in agents.toml, in keys, on pages and in denials.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
        }
    }

    /// The names of all.
    pub fn names() -> Vec<&'static str> {
        Self::ALL.iter().map(|capability| capability.as_str()).collect()
    }

    /// The capability of this name.
    ///
    /// # Errors
    /// If there is none; the error names the nearest one.
    pub fn parse(text: &str) -> Result<Self, UnknownCapability> {
        let named = |name: &str| Self::ALL.iter().copied().find(|capability| capability.as_str() == name);
        named(text).ok_or_else(|| {
            let mut name: String = text.chars().take(SHOWN).collect();
            if name.len() < text.len() {
                name.push('…');
            }
            UnknownCapability { name, nearest: nearest(text, &Self::names()).and_then(named) }
        })
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_capability_has_one_name_and_is_found_by_it() {
        let names = Capability::names();
        assert!(names.is_sorted() && Capability::ALL.is_sorted(), "policies are written in this order");
        for capability in Capability::ALL {
            assert_eq!(Capability::parse(capability.as_str()), Ok(*capability));
            let json = serde_json::to_string(capability).expect("JSON");
            assert_eq!(json, format!("\"{capability}\""));
            assert_eq!(serde_json::from_str::<Capability>(&json).expect("a capability"), *capability);
        }
    }

    #[test]
    fn an_unknown_name_is_told_with_the_nearest_and_never_in_full() {
        let message = |text: &str| Capability::parse(text).expect_err("unknown").to_string();
        assert_eq!(message("sistem"), "there is no capability `sistem`; did you mean `system`?");
        assert_eq!(message("network"), "there is no capability `network`");
        assert_eq!(message("a\u{1b}b"), "there is no capability `a\\u{1b}b`");
        assert!(message(&"x".repeat(1_000)).chars().count() < 100);
    }
}
