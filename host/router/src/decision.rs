//! What the router answers. Plain data.

use serde::{Deserialize, Serialize};

/// What became of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// One agent is clearly best.
    Routed,
    /// The best ones are too close to call.
    Ambiguous,
    /// No agent is likely enough.
    NoMatch,
}

/// An agent that a task may be for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    /// The agent's id.
    pub agent: String,
    /// How likely it is that this agent is the right one, 0..=1. Of all decisions
    /// made with a confidence of 0.8 about 80 in 100 are right.
    pub confidence: f64,
    /// What matched, as the author wrote it: triggers first, then words of the name and description.
    pub matched_keywords: Vec<String>,
}

/// The answer to one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// What became of the task.
    pub verdict: Verdict,
    /// Best first. The first is the pick when routed; the first two are the close ones when
    /// ambiguous; without a match these are weak candidates, or none.
    pub ranked: Vec<Choice>,
}

impl Decision {
    /// The agent to run: the best one when routed or ambiguous, none without a match.
    pub fn best(&self) -> Option<&Choice> {
        match self.verdict {
            Verdict::Routed | Verdict::Ambiguous => self.ranked.first(),
            Verdict::NoMatch => None,
        }
    }
}
