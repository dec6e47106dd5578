//! Why an operation was not carried out: what every door needs to say so, in its own way.
//!
//! A failure speaks twice: `Display` is for the caller, [`Failure::internal`] for the log. No status stands
//! here.

use crate::domain::rights::Decision;
use crate::domain::{self, AgentId, Denial, Receipt, Role};

/// What is shown of a text that should have been an agent's id, in characters.
const ID_SHOWN: usize = 80;

/// What a call came to, beside its answer: failures have it too.
#[derive(Debug, Clone)]
pub struct Ran {
    /// What it spent; `None` where no guest code ran.
    pub receipt: Option<Receipt>,
    /// The capabilities that were refused on the way.
    pub denials: Vec<Denial>,
}

impl Ran {
    /// What an answered call came to.
    pub fn of(executed: &super::ExecuteResponse) -> Self {
        Self { receipt: Some(executed.receipt), denials: executed.denials.clone() }
    }
}

/// Why an operation was not carried out. `Display` is the public message.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// A call ended without a reply, or an agent cannot be reached.
    #[error("{failure}")]
    Call {
        /// How it ended.
        failure: domain::Failure,
        /// The agent that it was for.
        agent: Option<Box<str>>,
        /// What it came to, where it got as far as the agent.
        ran: Option<Box<Ran>>,
    },
    /// An answer for which its batch has no room left.
    #[error(
        "the answers of this batch exceed its limit of {limit} bytes together: send fewer items at once, or this one alone"
    )]
    BatchFull {
        /// Bytes of all answers of a batch.
        limit: usize,
        /// The agent that gave it.
        agent: Box<str>,
        /// What the call came to.
        ran: Box<Ran>,
    },
    /// The request is understood and wrong.
    #[error("{message}")]
    Invalid {
        /// The field or parameter at fault.
        field: Option<String>,
        /// What is wrong with it, and what would be right.
        message: String,
    },
    /// What is asked does not go with what there is.
    #[error("{message}")]
    Conflict {
        /// What stands in the way, and what to do.
        message: String,
        /// The agent that it is about.
        agent: Box<str>,
    },
    /// The caller's role or scope is not enough.
    #[error("{0}")]
    Forbidden(&'static str),
    /// No agent fits the task.
    #[error("no agent matched this task: say it in other words, or name an agent on /orchestrator/execute")]
    NoAgentMatched,
    /// The change cannot be written to the audit, and was not made.
    #[error("the change could not be recorded in the audit, and was not made; the host's log says why")]
    NotAudited {
        /// Why, for the log.
        internal: String,
    },
    /// Something of ours broke.
    #[error("the host failed to answer; its log says why under the request's id")]
    Internal {
        /// What broke, for the log.
        internal: String,
    },
}

impl Failure {
    /// A field that is wrong; `message` goes on after the field's name.
    pub fn field(field: &str, message: impl std::fmt::Display) -> Self {
        Self::Invalid { field: Some(field.to_owned()), message: format!("`{field}` {message}") }
    }

    /// A call to `agent` that failed before it got there.
    pub fn call(failure: domain::Failure, agent: Option<&AgentId>) -> Self {
        Self::Call { failure, agent: agent.map(|id| id.as_str().into()), ran: None }
    }

    /// There is no agent `id`.
    pub fn not_found(id: &AgentId) -> Self {
        Self::call(domain::Failure::AgentNotFound(id.to_string()), Some(id))
    }

    /// There is no agent of a name that can be no id.
    pub fn no_such_name(name: &str) -> Self {
        let shown: String = name.chars().take(ID_SHOWN).collect();
        let agent = Some(shown.as_str().into());
        Self::Call { failure: domain::Failure::AgentNotFound(shown), agent, ran: None }
    }

    /// A call to `agent` that failed after it had come so far.
    pub(super) fn ran(failure: domain::Failure, agent: &AgentId, ran: Ran) -> Self {
        Self::Call { failure, agent: Some(agent.as_str().into()), ran: Some(Box::new(ran)) }
    }

    /// The word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Call { failure, .. } => failure.code(),
            Self::BatchFull { .. } => "output_too_large",
            Self::Invalid { .. } => "invalid_request",
            Self::Conflict { .. } => "conflict",
            Self::Forbidden(_) => "forbidden",
            Self::NoAgentMatched => "no_agent_matched",
            Self::NotAudited { .. } | Self::Internal { .. } => "internal",
        }
    }

    /// The agent that was involved.
    pub fn agent(&self) -> Option<&str> {
        match self {
            Self::Call { agent, .. } => agent.as_deref(),
            Self::BatchFull { agent, .. } | Self::Conflict { agent, .. } => Some(agent),
            Self::Invalid { .. }
            | Self::Forbidden(_)
            | Self::NoAgentMatched
            | Self::NotAudited { .. }
            | Self::Internal { .. } => None,
        }
    }

    /// The field at fault, where it is known.
    pub fn wrong_field(&self) -> Option<&str> {
        if let Self::Invalid { field, .. } = self { field.as_deref() } else { None }
    }

    /// What the call came to, where there was one that got as far as its agent.
    pub fn came_to(&self) -> Option<&Ran> {
        match self {
            Self::Call { ran, .. } => ran.as_deref(),
            Self::BatchFull { ran, .. } => Some(ran),
            _ => None,
        }
    }

    /// What the log should know beyond the public message.
    pub fn internal(&self) -> Option<String> {
        match self {
            Self::Internal { internal } | Self::NotAudited { internal } => Some(internal.clone()),
            Self::Call { failure, .. } => {
                let internal = failure.internal();
                (internal != failure.to_string()).then_some(internal)
            }
            Self::BatchFull { .. }
            | Self::Invalid { .. }
            | Self::Conflict { .. }
            | Self::Forbidden(_)
            | Self::NoAgentMatched => None,
        }
    }
}

/// A decision as a failure, unless it may be done.
pub(super) fn allowed(decision: Decision, id: Option<&AgentId>) -> Result<(), Failure> {
    let name = || id.map(AgentId::to_string).unwrap_or_default();
    Err(match decision {
        Decision::Allowed => return Ok(()),
        Decision::Absent => Failure::call(domain::Failure::AgentNotFound(name()), id),
        Decision::Hidden => Failure::call(domain::Failure::Forbidden(name()), id),
        Decision::Claimed => Failure::Forbidden(
            "another key's scope names the agent's category: this needs a key whose scope names it, too",
        ),
        Decision::NotLent => Failure::Forbidden(
            "the agent would have a capability that this key does not lend: this needs a key whose `capabilities` name it",
        ),
        Decision::Withdrawn => Failure::call(domain::Failure::KeyWithdrawn, None),
        Decision::Forbidden(Role::Operator) => Failure::Forbidden("this needs a key of the role `operator`"),
        Decision::Forbidden(Role::Call | Role::Admin) => {
            Failure::Forbidden("this needs a key of the role `admin`")
        }
    })
}

/// Reads an agent's id as a client wrote it. What cannot be one is an agent that does not exist.
pub(super) fn agent_id(text: &str) -> Result<AgentId, Failure> {
    AgentId::parse(text).map_err(|_| Failure::no_such_name(text))
}
