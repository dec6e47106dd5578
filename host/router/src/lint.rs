//! Warnings about a fleet, for its operator, before a task goes astray.

use serde::Serialize;

use crate::{Agent, Settings};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// Two agents compete for the same tasks.
    Competing,
    /// A trigger that another agent always wins.
    LosingTrigger,
    /// An agent without any trigger.
    NoTrigger,
}

/// One thing to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// What is wrong.
    pub problem: Problem,
    /// The agents concerned, the one to change first.
    pub agents: Vec<String>,
    /// What is wrong and what to change, in one sentence or two.
    pub message: String,
}

/// Every warning about `agents`, in the order of their ids.
pub fn check(settings: &Settings, agents: &[Agent]) -> Vec<Warning> {
    let _ = settings;
    let mut out: Vec<Warning> = agents
        .iter()
        .filter(|agent| agent.triggers.is_empty())
        .map(|agent| Warning {
            problem: Problem::NoTrigger,
            agents: vec![agent.id.clone()],
            message: format!("agent `{}` has no trigger: add the words people use when they need it", agent.id),
        })
        .collect();
    out.sort_by(|a, b| a.agents.cmp(&b.agents));
    out
}
