//! An operator's word on versions: letting one in, and going back to an earlier one.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::audit::{Asked, Made};
use super::failure::agent_id;
use super::registration::change_failure;
use super::{AgentPage, Failure, Operation, Operations, Request};
use crate::domain::{AgentKey, Digest, Principal};
use crate::registry::stored_settings;

/// Lets a version in.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct ApproveRequest {
    /// The agent's id: over HTTP, the one in the path.
    #[serde(skip)]
    #[schema(ignore)]
    pub agent: String,
    /// The digest that was seen on the agent's page.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required)]
    pub digest: Option<String>,
    /// The `stamp` that stood beside it: nothing else is let in, no other settings either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stamp: Option<String>,
}

/// Goes back to an earlier version.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct RollBackRequest {
    /// The agent's id: over HTTP, the one in the path.
    #[serde(skip)]
    #[schema(ignore)]
    pub agent: String,
    /// The digest of one of the earlier versions; the latest of them without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

impl Operations {
    /// Lets in the version of this digest, which waits or was rolled back.
    ///
    /// # Errors
    /// If `who` may not, if something else waits by now, and if the version cannot serve.
    pub async fn approve(
        &self,
        who: &Arc<Principal>,
        request: Request<ApproveRequest>,
    ) -> Result<AgentPage, Failure> {
        let ApproveRequest { agent, digest, stamp } = request.body;
        self.admit(who, Operation::Approve, None)?;
        let id = agent_id(&agent)?;
        self.admit(who, Operation::Approve, Some(&id))?;
        let digest = digest_in("digest", digest)?.ok_or_else(|| {
            let needed = "is required: the digest of what you have seen, as the agent's page shows it under `pending` or `blocked`";
            Failure::field("digest", needed)
        })?;
        let stamp = digest_in("stamp", stamp)?;
        let asked = Asked::new(Operation::Approve, &id, request.id, request.held);
        self.change(who, asked, move |operations, who| async move {
            let config = operations.handles.config.load_full();
            let read = |key: &AgentKey, text: &str| stored_settings(&config, key, text);
            let (key, may_place) = (AgentKey::new(&who.tenant, &id), operations.may_place(&who));
            let approved = operations.registry().approve(&key, digest, stamp, read, may_place).await;
            let changed = approved.map_err(|error| change_failure(&id, error))?;
            Ok(Made::of(&changed, operations.in_full(&who, &changed.after)))
        })
        .await
    }

    /// Brings the earlier version of this digest back, or the latest one, and keeps the one that serves out.
    ///
    /// # Errors
    /// If `who` may not, and if there is no such version or it cannot serve.
    pub async fn roll_back(
        &self,
        who: &Arc<Principal>,
        request: Request<RollBackRequest>,
    ) -> Result<AgentPage, Failure> {
        let RollBackRequest { agent, to } = request.body;
        self.admit(who, Operation::RollBack, None)?;
        let id = agent_id(&agent)?;
        self.admit(who, Operation::RollBack, Some(&id))?;
        let to = digest_in("to", to)?;
        let asked = Asked::new(Operation::RollBack, &id, request.id, request.held);
        self.change(who, asked, move |operations, who| async move {
            let (key, may_place) = (AgentKey::new(&who.tenant, &id), operations.may_place(&who));
            let reason = format!("an operator took it back (key `{}`)", who.key_id);
            let back = operations.registry().rollback(&key, to, &reason, may_place).await;
            let changed = back.map_err(|error| change_failure(&id, error))?;
            Ok(Made::of(&changed, operations.in_full(&who, &changed.after)))
        })
        .await
    }
}

fn digest_in(field: &str, text: Option<String>) -> Result<Option<Digest>, Failure> {
    let wrong = || Failure::field(field, "must be a component's whole SHA-256: 64 hexadecimal digits");
    text.map(|text| Digest::from_hex(&text).ok_or_else(wrong)).transpose()
}
