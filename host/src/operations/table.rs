//! The table of operations: what each is called, who may ask for it, what it is about, whether it changes
//! anything.
//!
//! Pure. Doors build their routes from it; the operations decide by it, together with
//! [`rights`](crate::domain::rights).

use serde::Serialize;

use crate::domain::Role;

/// A thing that may be asked of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operation {
    /// Say which agent a task is for.
    Route,
    /// Give a task to one agent.
    Execute,
    /// The same, with the agent named beside the body; the query may be absent.
    ExecuteAgent,
    /// Find the agent for a task, and give it the task.
    SmartExecute,
    /// Many tasks at once.
    Batch,
    /// List the agents.
    ListAgents,
    /// Show one agent in full.
    ShowAgent,
    /// Show where each agent stands.
    AgentStatus,
    /// The fleet in figures.
    Stats,
    /// Figures for Prometheus.
    Metrics,
    /// Add an agent.
    Register,
    /// Make many agents of a template.
    Generate,
    /// Put an agent in the place of one that was registered.
    Replace,
    /// Remove an agent that was registered.
    Remove,
    /// Let a version in that waits or was rolled back.
    Approve,
    /// Go back to an earlier version.
    RollBack,
    /// Show who changed what.
    Audit,
    /// Say that the host answers.
    Health,
    /// Say whether tasks should be sent here.
    Readiness,
}

/// What an operation is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// Nothing that anybody may not know: no key is needed.
    Everybody,
    /// What the caller's scope reaches, whatever that is.
    Callers,
    /// One agent, which the caller's scope has to reach.
    Agent,
    /// The place of one agent, which may be free.
    Place,
    /// The host itself.
    Host,
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// It reads.
    Reads,
    /// It runs agents' code.
    Runs,
    /// It changes agents, and is audited.
    Changes,
}

/// The terms of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Terms {
    /// What it is called in the audit.
    pub name: &'static str,
    /// The least role that may ask for it; `None`: no key is needed.
    pub role: Option<Role>,
    /// What it is about.
    pub subject: Subject,
    /// What it does.
    pub effect: Effect,
}

impl Operation {
    /// All of them.
    pub const ALL: [Self; 19] = [
        Self::Route,
        Self::Execute,
        Self::ExecuteAgent,
        Self::SmartExecute,
        Self::Batch,
        Self::ListAgents,
        Self::ShowAgent,
        Self::AgentStatus,
        Self::Stats,
        Self::Metrics,
        Self::Register,
        Self::Generate,
        Self::Replace,
        Self::Remove,
        Self::Approve,
        Self::RollBack,
        Self::Audit,
        Self::Health,
        Self::Readiness,
    ];

    /// Its terms.
    pub const fn terms(self) -> Terms {
        use Effect::{Changes, Reads, Runs};
        use Subject::{Agent, Callers, Everybody, Host, Place};
        let (name, role, subject, effect) = match self {
            Self::Route => ("route", Some(Role::Call), Callers, Reads),
            Self::Execute => ("execute", Some(Role::Call), Agent, Runs),
            Self::ExecuteAgent => ("execute_agent", Some(Role::Call), Agent, Runs),
            Self::SmartExecute => ("smart_execute", Some(Role::Call), Callers, Runs),
            Self::Batch => ("batch", Some(Role::Call), Callers, Runs),
            Self::ListAgents => ("list_agents", Some(Role::Call), Callers, Reads),
            Self::ShowAgent => ("show_agent", Some(Role::Call), Agent, Reads),
            Self::AgentStatus => ("agent_status", Some(Role::Call), Callers, Reads),
            Self::Stats => ("stats", Some(Role::Call), Callers, Reads),
            Self::Metrics => ("metrics", Some(Role::Operator), Host, Reads),
            Self::Register => ("register", Some(Role::Admin), Place, Changes),
            Self::Generate => ("generate", Some(Role::Admin), Agent, Changes),
            Self::Replace => ("replace", Some(Role::Admin), Place, Changes),
            Self::Remove => ("remove", Some(Role::Admin), Agent, Changes),
            Self::Approve => ("approve", Some(Role::Admin), Agent, Changes),
            Self::RollBack => ("roll_back", Some(Role::Admin), Agent, Changes),
            Self::Audit => ("audit", Some(Role::Admin), Callers, Reads),
            Self::Health => ("health", None, Everybody, Reads),
            Self::Readiness => ("readiness", None, Everybody, Reads),
        };
        Terms { name, role, subject, effect }
    }

    /// What it is called in the audit.
    pub const fn name(self) -> &'static str {
        self.terms().name
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = Operation::ALL.iter().map(|operation| operation.name()).collect();
        assert_eq!(names.len(), Operation::ALL.len());
        let all: BTreeSet<Operation> = Operation::ALL.into();
        assert_eq!(all.len(), Operation::ALL.len());
    }

    #[test]
    fn whatever_changes_something_needs_an_admin() {
        for operation in Operation::ALL {
            let Terms { role, effect, subject, .. } = operation.terms();
            assert_eq!(role.is_none(), subject == Subject::Everybody, "{operation:?}");
            assert_eq!(subject == Subject::Host, role == Some(Role::Operator), "{operation:?}");
            if effect == Effect::Changes {
                assert!(role >= Some(Role::Admin), "{operation:?}");
            }
        }
    }
}
