//! Building a [`Failure`], and what becomes one through `?`.
//!
//! Owns no state. Messages are for the caller: nothing here puts an internal detail in one.

use crate::{Failure, system};

impl Failure {
    /// The task or its context makes no sense to this agent: say what would (422).
    pub fn invalid_input(message: impl Into<String>) -> Self {
        Self::InvalidInput(message.into())
    }

    /// The caller or the agent lacks a right that this task needs (403).
    pub fn denied(message: impl Into<String>) -> Self {
        Self::Denied(message.into())
    }

    /// Something that the agent depends on is not there now (503).
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::Unavailable(message.into())
    }

    /// Anything else (502).
    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// The message, whichever case it is.
    #[must_use]
    pub fn message(&self) -> &str {
        match self {
            Self::InvalidInput(message)
            | Self::Denied(message)
            | Self::Unavailable(message)
            | Self::Failed(message) => message,
        }
    }
}

impl From<system::Error> for Failure {
    fn from(error: system::Error) -> Self {
        match error {
            system::Error::Denied(message) => Self::Denied(message),
            system::Error::Unavailable(message) => Self::Unavailable(message),
        }
    }
}
