//! What is submitted: who asks which agent for what, and within what time.
//!
//! A value; what becomes of it is the scheduler's.

use std::sync::Arc;
use std::time::Duration;

use crate::domain::{Identity, Principal, RequestId, TaskText, TenantId};

/// A task for one agent.
pub struct Submission {
    /// Who asks.
    pub caller: Caller,
    /// The agent, as the client wrote it.
    pub agent: String,
    /// What is asked; without it, the agent's default query.
    pub query: Option<TaskText>,
    /// JSON text that goes along.
    pub context: Option<Box<str>>,
    /// Whether whoever submits it waits for nothing else at the same time: then it may begin on their thread.
    pub alone: bool,
    /// The request that this belongs to.
    pub request_id: RequestId,
    /// The time that the task has from its acceptance to its end, where it is less than the agent's own
    /// limit. It is never more.
    pub timeout: Option<Duration>,
}

/// Who asks.
#[derive(Debug, Clone)]
pub enum Caller {
    /// Somebody who was let in just now.
    Present(Arc<Principal>),
    /// Somebody who was let in once: what they may do is asked for as the task comes, and they may be
    /// rejected then.
    Known(Identity),
}

impl Caller {
    pub(super) fn tenant(&self) -> &TenantId {
        match self {
            Self::Present(principal) => &principal.tenant,
            Self::Known(identity) => &identity.tenant,
        }
    }

    pub(super) fn key_id(&self) -> &Arc<str> {
        match self {
            Self::Present(principal) => &principal.key_id,
            Self::Known(identity) => &identity.key_id,
        }
    }
}

impl From<Arc<Principal>> for Caller {
    fn from(principal: Arc<Principal>) -> Self {
        Self::Present(principal)
    }
}

impl From<&Arc<Principal>> for Caller {
    fn from(principal: &Arc<Principal>) -> Self {
        Self::Present(principal.clone())
    }
}

impl From<Identity> for Caller {
    fn from(identity: Identity) -> Self {
        Self::Known(identity)
    }
}
