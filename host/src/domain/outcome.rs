//! How a call ends: a reply, or a failure that speaks twice (to the client and to the log).

use std::time::Duration;

use serde::Serialize;

/// An agent's answer, already checked.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// For a person to read.
    pub response: String,
    /// For a program to read: text that is known to be JSON.
    pub data: Option<String>,
    /// The language model that answered, if one did.
    pub model: Option<String>,
}

/// A capability that was refused during a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Denial {
    /// The capability's short name, such as `system`.
    pub capability: String,
    /// What to add, and where, so that it is allowed next time.
    pub key_to_add: String,
}

/// Why a call gave no reply. `Display` is the public message; [`Failure::internal`] is for the log.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Failure {
    /// There is no such agent, or the caller may not know of it.
    #[error("there is no agent `{0}`")]
    AgentNotFound(String),
    /// The caller's key does not reach this agent.
    #[error("your key's scope does not include the agent `{0}`")]
    Forbidden(String),
    /// The caller's key was withdrawn while the task waited. No guest code ran.
    #[error("the key that this task came with does not hold any more")]
    KeyWithdrawn,
    /// The agent has no version that serves.
    #[error("agent `{agent}` is not available: {reason}")]
    AgentUnavailable {
        /// Its id.
        agent: String,
        /// In words that a client may see.
        reason: String,
    },
    /// The call has no query and the agent no default one.
    #[error("`query` is required: agent `{0}` has no default query")]
    QueryRequired(String),
    /// `context` does not satisfy the agent's schema.
    #[error("`context` does not fit this agent: {0}")]
    InvalidContext(String),
    /// The agent's own word: mend the task.
    #[error("{0}")]
    InvalidInput(String),
    /// The agent's own word: a right is missing.
    #[error("{0}")]
    Denied(String),
    /// The agent's own word: something it needs is not there.
    #[error("{0}")]
    Unavailable(String),
    /// The agent's own word: anything else.
    #[error("{0}")]
    AgentFailed(String),
    /// The guest trapped or broke the contract.
    #[error("the agent stopped with a fault")]
    Trapped {
        /// What the engine and the guest's stderr say of it.
        internal: String,
    },
    /// The guest called `exit`.
    #[error("the agent exited instead of answering")]
    Exited {
        /// What the guest's stderr says of it.
        internal: String,
    },
    /// The guest burnt all its fuel.
    #[error("the agent used up its fuel of {limit}")]
    FuelExhausted {
        /// Units of fuel.
        limit: u64,
    },
    /// The guest wanted more memory than its limit.
    #[error("the agent used up its memory of {limit} bytes")]
    MemoryExhausted {
        /// Bytes over all memories and tables.
        limit: u64,
        /// Where it was, and what its stderr says of it.
        internal: String,
    },
    /// The answer is larger than the agent's limit.
    #[error("the agent's answer has {size} bytes or more, and its limit is {limit}")]
    OutputTooLarge {
        /// Bytes of the answer.
        size: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// The guest asked too much of the host.
    #[error("the agent exceeded its limit of {limit} {what}")]
    HostLimitExceeded {
        /// What it had too much of, in the plural.
        what: &'static str,
        /// How much is allowed.
        limit: u64,
    },
    /// The time was up.
    #[error("the task's time of {} ms was up {}", .limit.as_millis(), if *.queued { "while it waited in the queue" } else { "while the agent ran" })]
    DeadlineExceeded {
        /// The task's time, from its acceptance.
        limit: Duration,
        /// Whether the guest had not begun.
        queued: bool,
    },
    /// No room in the queue, or too long in it. No guest code ran.
    #[error("agent `{agent}` is busy: {reason}; try again in {} s", .retry_after.as_secs().max(1))]
    Overloaded {
        /// Its id.
        agent: String,
        /// Which bound was reached.
        reason: &'static str,
        /// When it is worth trying again.
        retry_after: Duration,
    },
    /// The host is shutting down. No guest code ran.
    #[error("the host is shutting down")]
    Draining,
    /// Something of ours broke; the log says what.
    #[error("the host failed to run this task; its log says why under the request's id")]
    Internal {
        /// What broke.
        internal: String,
    },
}

impl Failure {
    /// The message for the log: what the client sees, and what it does not.
    pub fn internal(&self) -> String {
        match self {
            Self::Trapped { internal }
            | Self::Exited { internal }
            | Self::MemoryExhausted { internal, .. }
            | Self::Internal { internal } => {
                format!("{self}: {internal}")
            }
            _ => self.to_string(),
        }
    }

    /// Whether the caller can mend it, and the agent has done nothing wrong.
    pub fn is_the_callers(&self) -> bool {
        matches!(
            self,
            Self::AgentNotFound(_)
                | Self::Forbidden(_)
                | Self::KeyWithdrawn
                | Self::QueryRequired(_)
                | Self::InvalidContext(_)
                | Self::InvalidInput(_)
                | Self::Denied(_)
        )
    }

    /// Whether the agent's code is to blame: other code might have answered.
    pub fn is_the_codes(&self) -> bool {
        match self {
            Self::AgentFailed(_)
            | Self::Trapped { .. }
            | Self::Exited { .. }
            | Self::FuelExhausted { .. }
            | Self::MemoryExhausted { .. }
            | Self::OutputTooLarge { .. }
            | Self::HostLimitExceeded { .. }
            | Self::DeadlineExceeded { queued: false, .. } => true,
            Self::AgentNotFound(_)
            | Self::Forbidden(_)
            | Self::KeyWithdrawn
            | Self::AgentUnavailable { .. }
            | Self::QueryRequired(_)
            | Self::InvalidContext(_)
            | Self::InvalidInput(_)
            | Self::Denied(_)
            | Self::Unavailable(_)
            | Self::DeadlineExceeded { queued: true, .. }
            | Self::Overloaded { .. }
            | Self::Draining
            | Self::Internal { .. } => false,
        }
    }

    /// The word for programs, as it stands in answers and metrics.
    pub fn code(&self) -> &'static str {
        match self {
            Self::AgentNotFound(_) => "agent_not_found",
            Self::Forbidden(_) => "forbidden",
            Self::KeyWithdrawn => "unauthorized",
            Self::AgentUnavailable { .. } | Self::Unavailable(_) => "agent_unavailable",
            Self::QueryRequired(_) | Self::InvalidContext(_) => "invalid_request",
            Self::InvalidInput(_) => "invalid_input",
            Self::Denied(_) => "denied",
            Self::AgentFailed(_) => "agent_failed",
            Self::Trapped { .. } => "agent_trapped",
            Self::Exited { .. } => "agent_stopped",
            Self::FuelExhausted { .. } => "fuel_exhausted",
            Self::MemoryExhausted { .. } => "memory_exhausted",
            Self::OutputTooLarge { .. } => "output_too_large",
            Self::HostLimitExceeded { .. } => "host_limit_exceeded",
            Self::DeadlineExceeded { .. } => "deadline_exceeded",
            Self::Overloaded { .. } => "overloaded",
            Self::Draining => "draining",
            Self::Internal { .. } => "internal",
        }
    }
}
