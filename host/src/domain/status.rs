//! The status words that clients see.

use serde::Serialize;
use utoipa::ToSchema;

/// Where an agent stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentStatus {
    /// A version serves.
    Active,
    /// The first version is being loaded.
    Loading,
    /// A version waits for the operator's word.
    PendingApproval,
    /// No version serves, since loading failed.
    Failed,
    /// The operator stopped it.
    Stopped,
    /// Its component is not there.
    Missing,
}

impl AgentStatus {
    /// The word that clients see.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Loading => "loading",
            Self::PendingApproval => "pending_approval",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Missing => "missing",
        }
    }
}

/// How the host as a whole does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub enum OperationalStatus {
    /// Every agent serves.
    #[serde(rename = "fully operational")]
    FullyOperational,
    /// Some do not.
    #[serde(rename = "degraded")]
    Degraded,
    /// The operator stopped everything.
    #[serde(rename = "stopped")]
    Stopped,
}
