//! What the router is told about an agent, and how that changes.
//!
//! Plain data, owned by whoever hands it in. No scoring and no parsing of text here.

use serde::{Deserialize, Serialize};

/// An agent as its author describes it. Every field but `id` may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Agent {
    /// Unique among the agents of one router; what a decision names. What stands before its last `/` only
    /// tells apart agents that have one name for different callers: an explanation shows what comes after it.
    pub id: String,
    /// The name people see.
    pub name: String,
    /// What it does, in a sentence or a few.
    pub description: String,
    /// Words and phrases that call for this agent. A phrase of several words counts more
    /// when its words stand together in the task. `!word` forbids: a task that holds it never goes here.
    /// `+word` demands: a task without it never goes here.
    pub triggers: Vec<String>,
    /// The group it belongs to, in words.
    pub category: String,
    /// Tasks that this agent is for, as people would type them. The router learns from them.
    pub examples: Vec<String>,
}

/// What an explanation shows of an id.
pub(crate) fn shown_id(id: &str) -> &str {
    id.rsplit_once('/').map_or(id, |(_, shown)| shown)
}

/// One step from a router to the next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Add an agent, or replace the one that has its id.
    Put(Agent),
    /// Remove the agent with this id; nothing happens when there is none.
    Remove(String),
}
