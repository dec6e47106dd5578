//! The knobs of a router, with defaults that hold for small and large fleets alike.

use serde::{Deserialize, Serialize};

use crate::Language;

/// How a router decides. Part of the router; a change needs a new build.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Least confidence of a pick, 0..=1. Below it the verdict is [`NoMatch`](crate::Verdict::NoMatch).
    pub threshold: f64,
    /// Two candidates whose confidences differ by no more than this, 0..=1, are
    /// [`Ambiguous`](crate::Verdict::Ambiguous).
    pub margin: f64,
    /// The language of names, descriptions, triggers and tasks.
    pub language: Language,
    /// How many agents are ranked behind the best one, at most.
    pub alternatives: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self { threshold: 0.45, margin: 0.05, language: Language::English, alternatives: 5 }
    }
}
