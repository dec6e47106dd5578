//! Warnings about a fleet, for its operator, before a task goes astray.
//!
//! Asks a router built from the fleet; changes nothing. Meant for a command, not for the path of a task.

use serde::Serialize;

use crate::{Agent, Router, Settings, Verdict};

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Problem {
    /// Two agents compete for the same tasks.
    Competing,
    /// A trigger with which another agent always wins, or that no task can satisfy.
    LosingTrigger,
    /// An agent without any trigger.
    NoTrigger,
}

/// One thing to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// What is wrong.
    pub problem: Problem,
    /// The ids of the agents concerned, the one to change first.
    pub agents: Vec<String>,
    /// What is wrong and what to change, in a sentence or two.
    pub message: String,
}

/// Every warning about `agents`, by agent in the order of their ids. Routes every trigger and every
/// description once: some milliseconds for a hundred agents.
pub fn check(settings: &Settings, agents: &[Agent]) -> Vec<Warning> {
    let router = Router::build(settings.clone(), agents.iter().cloned());
    let mut sorted: Vec<&Agent> = agents.iter().collect();
    sorted.sort_by(|a, b| a.id.cmp(&b.id));
    let mut out = Vec::new();
    for agent in sorted {
        if !agent.triggers.iter().any(|trigger| is_wanted(trigger)) {
            out.push(no_trigger(agent));
        }
        out.extend(agent.triggers.iter().filter_map(|trigger| losing(&router, agent, trigger)));
        out.extend(competing(&router, agent));
    }
    out
}

fn is_wanted(trigger: &str) -> bool {
    let trigger = trigger.trim();
    trigger.chars().any(char::is_alphanumeric) && !trigger.starts_with('!')
}

fn no_trigger(agent: &Agent) -> Warning {
    let id = &agent.id;
    Warning {
        problem: Problem::NoTrigger,
        agents: vec![id.clone()],
        message: format!("agent `{id}` has no trigger: add the words people use when they need it"),
    }
}

/// A trigger is lost when a task of just its words goes to another agent, which has the same words and more.
fn losing(router: &Router, agent: &Agent, trigger: &str) -> Option<Warning> {
    let id = &agent.id;
    let warn = |agents: Vec<String>, message: String| {
        Some(Warning { problem: Problem::LosingTrigger, agents, message })
    };
    let body = trigger.trim().trim_start_matches(['!', '+']);
    if !body.chars().any(char::is_alphanumeric) {
        return warn(
            vec![id.clone()],
            format!("agent `{id}`: the trigger `{trigger}` has no word: remove it"),
        );
    }
    if trigger.trim().starts_with('!') {
        let same = |other: &String| {
            is_wanted(other) && other.trim().trim_start_matches('+').eq_ignore_ascii_case(body)
        };
        let wanted = agent.triggers.iter().find(|other| same(other))?;
        let message =
            format!("agent `{id}`: `{trigger}` forbids what the trigger `{wanted}` asks for: remove one");
        return warn(vec![id.clone()], message);
    }
    let ranked = router.decide(body, &router.all()).ranked;
    let winner = ranked.first()?;
    let own = ranked.iter().find(|choice| choice.agent == *id);
    let lead = winner.confidence - own.map_or(0.0, |choice| choice.confidence);
    if winner.agent == *id || lead <= router.settings().margin {
        return None;
    }
    let other = &winner.agent;
    let message = format!(
        "agent `{id}`: a task of only the words `{body}` goes to `{other}`: make the trigger more specific, \
         or forbid it there with `!{body}`"
    );
    warn(vec![id.clone(), other.clone()], message)
}

/// Two agents compete when the words of one do not tell it from the other.
fn competing(router: &Router, agent: &Agent) -> Option<Warning> {
    let wanted = agent.triggers.iter().filter(|trigger| is_wanted(trigger));
    let words: Vec<&str> = wanted.map(|trigger| trigger.trim_start_matches('+')).collect();
    let task = format!("{} {} {}", agent.name, agent.description, words.join(" "));
    let decision = router.decide(&task, &router.all());
    let other = decision.ranked.iter().take(2).find(|choice| choice.agent != agent.id)?;
    let own = decision.ranked.iter().find(|choice| choice.agent == agent.id);
    let close = own.is_none_or(|own| own.confidence - other.confidence <= router.settings().margin);
    // Of a pair that is close from both sides, the one with the smaller id speaks.
    let speaks = agent.id < other.agent || own.is_none_or(|own| own.confidence < other.confidence);
    if decision.verdict == Verdict::NoMatch || !close || !speaks {
        return None;
    }
    let (id, other) = (&agent.id, &other.agent);
    Some(Warning {
        problem: Problem::Competing,
        agents: vec![id.clone(), other.clone()],
        message: format!(
            "agents `{id}` and `{other}` compete for the same tasks: say in their descriptions and triggers \
             what only one of them does, or give each some examples"
        ),
    })
}
