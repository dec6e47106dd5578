//! How a call ends: a reply, or a failure that speaks twice (to the client and to the log).
//!
//! Pure. A failure that is kept is kept as a client may see it: [`Failure`]'s JSON has its public part
//! alone, and reading it gives a [`Failure::Recorded`].

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::Capability;

/// An agent's answer, already checked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reply {
    /// For a person to read.
    pub response: String,
    /// For a program to read: text that is known to be JSON.
    pub data: Option<String>,
    /// The language model that answered, if one did.
    pub model: Option<String>,
}

/// A capability that was refused during a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Denial {
    /// The capability.
    pub capability: Capability,
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
    /// The agent's own failure: the task has to be corrected.
    #[error("{0}")]
    InvalidInput(String),
    /// The agent's own failure: a right is missing.
    #[error("{0}")]
    Denied(String),
    /// The agent's own failure: something it needs is not there.
    #[error("{0}")]
    Unavailable(String),
    /// The agent's own failure: anything else.
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
    /// The host stopped before the call had ended.
    #[error("the host stopped before the agent had answered")]
    Interrupted,
    /// Who may do so cancelled the call.
    #[error("the task was cancelled")]
    Cancelled,
    /// Something of ours broke; the log says what.
    #[error("the host failed to run this task; its log says why under the request's id")]
    Internal {
        /// What broke.
        internal: String,
    },
    /// A failure that was read back from a record.
    #[error("{}", .0.message)]
    Recorded(RecordedFailure),
}

/// What is kept of a failure: what a client may see of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RecordedFailure {
    /// As [`Failure::code`].
    pub code: &'static str,
    /// The public message.
    pub message: String,
    /// As [`Failure::retryable`].
    pub retryable: bool,
    /// Whole seconds after which it is worth trying again, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_s: Option<u64>,
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

    /// Whether the caller can correct it, and the agent has done nothing wrong.
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
                | Self::Cancelled
        )
    }

    /// Whether its agent said so itself, having done what it does.
    pub fn is_the_agents_word(&self) -> bool {
        matches!(self, Self::InvalidInput(_) | Self::Denied(_) | Self::Unavailable(_) | Self::AgentFailed(_))
    }

    /// Whether the same task, sent again, could be answered: what stood in its way passes. Whether a
    /// guest may have had effects by then is another question, which the call's outcome answers.
    pub fn retryable(&self) -> bool {
        match self {
            Self::AgentUnavailable { .. }
            | Self::Unavailable(_)
            | Self::DeadlineExceeded { .. }
            | Self::Overloaded { .. }
            | Self::Draining
            | Self::Interrupted
            | Self::Internal { .. } => true,
            Self::AgentNotFound(_)
            | Self::Forbidden(_)
            | Self::KeyWithdrawn
            | Self::QueryRequired(_)
            | Self::InvalidContext(_)
            | Self::InvalidInput(_)
            | Self::Denied(_)
            | Self::AgentFailed(_)
            | Self::Trapped { .. }
            | Self::Exited { .. }
            | Self::FuelExhausted { .. }
            | Self::MemoryExhausted { .. }
            | Self::OutputTooLarge { .. }
            | Self::HostLimitExceeded { .. }
            | Self::Cancelled => false,
            Self::Recorded(recorded) => recorded.retryable,
        }
    }

    /// After how long it is worth trying again, where the failure itself knows.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Overloaded { retry_after, .. } => Some(*retry_after),
            Self::Recorded(recorded) => recorded.retry_after_s.map(Duration::from_secs),
            _ => None,
        }
    }

    /// What is kept of it.
    fn recorded(&self) -> RecordedFailure {
        if let Self::Recorded(recorded) = self {
            return recorded.clone();
        }
        let seconds = |after: Duration| after.as_secs() + u64::from(after.subsec_nanos() > 0);
        RecordedFailure {
            code: self.code(),
            message: self.to_string(),
            retryable: self.retryable(),
            retry_after_s: self.retry_after().map(seconds),
        }
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
            | Self::Interrupted
            | Self::Cancelled
            | Self::Internal { .. }
            // Told at once, or never: nothing is judged by a record.
            | Self::Recorded(_) => false,
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
            Self::Exited { .. } | Self::Interrupted => "agent_stopped",
            Self::FuelExhausted { .. } => "fuel_exhausted",
            Self::MemoryExhausted { .. } => "memory_exhausted",
            Self::OutputTooLarge { .. } => "output_too_large",
            Self::HostLimitExceeded { .. } => "host_limit_exceeded",
            Self::DeadlineExceeded { .. } => "deadline_exceeded",
            Self::Overloaded { .. } => "overloaded",
            Self::Draining => "draining",
            Self::Cancelled => "cancelled",
            Self::Internal { .. } => "internal",
            Self::Recorded(recorded) => recorded.code,
        }
    }
}

/// Every word that [`Failure::code`] gives.
const CODES: &[&str] = &[
    "agent_failed",
    "agent_not_found",
    "agent_stopped",
    "agent_trapped",
    "agent_unavailable",
    "cancelled",
    "deadline_exceeded",
    "denied",
    "draining",
    "forbidden",
    "fuel_exhausted",
    "host_limit_exceeded",
    "internal",
    "invalid_input",
    "invalid_request",
    "memory_exhausted",
    "output_too_large",
    "overloaded",
    "unauthorized",
];

impl Serialize for Failure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.recorded().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Failure {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Written {
            code: String,
            message: String,
            retryable: bool,
            #[serde(default)]
            retry_after_s: Option<u64>,
        }
        let Written { code, message, retryable, retry_after_s } = Written::deserialize(deserializer)?;
        let known = CODES.iter().find(|known| **known == code);
        let code =
            known.ok_or_else(|| de::Error::custom(format_args!("`{code}` is not a failure's code")))?;
        Ok(Self::Recorded(RecordedFailure { code, message, retryable, retry_after_s }))
    }
}

/// One of each kind, but for those that were read.
#[cfg(test)]
pub(crate) fn every_failure() -> Vec<Failure> {
    let limit = Duration::from_secs(30);
    vec![
        Failure::AgentNotFound("x".to_owned()),
        Failure::Forbidden("x".to_owned()),
        Failure::KeyWithdrawn,
        Failure::AgentUnavailable { agent: "x".to_owned(), reason: "x".to_owned() },
        Failure::QueryRequired("x".to_owned()),
        Failure::InvalidContext("x".to_owned()),
        Failure::InvalidInput("x".to_owned()),
        Failure::Denied("x".to_owned()),
        Failure::Unavailable("x".to_owned()),
        Failure::AgentFailed("x".to_owned()),
        Failure::Trapped { internal: "x".to_owned() },
        Failure::Exited { internal: "x".to_owned() },
        Failure::FuelExhausted { limit: 1 },
        Failure::MemoryExhausted { limit: 1, internal: "x".to_owned() },
        Failure::OutputTooLarge { size: 2, limit: 1 },
        Failure::HostLimitExceeded { what: "handles", limit: 1 },
        Failure::DeadlineExceeded { limit, queued: true },
        Failure::DeadlineExceeded { limit, queued: false },
        Failure::Overloaded {
            agent: "x".to_owned(),
            reason: "full",
            retry_after: Duration::from_millis(1_500),
        },
        Failure::Draining,
        Failure::Interrupted,
        Failure::Cancelled,
        Failure::Internal { internal: "x".to_owned() },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_of_a_failure_is_what_a_client_may_see() {
        for failure in every_failure() {
            let json = serde_json::to_string(&failure).expect("JSON");
            let read: Failure = serde_json::from_str(&json).expect("a failure");
            assert_eq!((read.code(), read.to_string()), (failure.code(), failure.to_string()));
            assert_eq!(read.retryable(), failure.retryable(), "{failure:?}");
            // A record of a record is the same record.
            assert_eq!(serde_json::to_string(&read).expect("JSON"), json);
            assert_eq!(serde_json::from_str::<Failure>(&json).expect("a failure"), read);
        }
        let secret = Failure::Trapped { internal: "a password".to_owned() };
        assert!(!serde_json::to_string(&secret).expect("JSON").contains("password"));
        let busy = Failure::Overloaded {
            agent: "x".to_owned(),
            reason: "full",
            retry_after: Duration::from_millis(1_500),
        };
        let read: Failure =
            serde_json::from_str(&serde_json::to_string(&busy).expect("JSON")).expect("a failure");
        assert_eq!(read.retry_after(), Some(Duration::from_secs(2)));
        assert!(serde_json::from_str::<Failure>(r#"{"code":"odd","message":"","retryable":false}"#).is_err());
    }
}
