//! Who asks: the extractor that stands before every handler that is not open to all.
//!
//! It sees a request's head only, so that nothing of a body is read for somebody unknown. Keys
//! belong to the authenticator; this room only carries the header there.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::header;
use http::request::Parts;

use super::error::ApiError;
use super::{Api, front, origins};
use crate::domain::rights::{self, Action, Decision};
use crate::domain::{AgentId, AgentKey, Failure, Principal, Role};
use crate::registry::{AgentEntry, Snapshot};

/// A caller that was let in, and the request that it sent.
pub(super) struct Caller {
    /// Who.
    pub(super) principal: Arc<Principal>,
    /// What is being answered.
    pub(super) request: Arc<front::Request>,
}

impl Caller {
    /// Goes on with what the caller's key may do now: time has passed since it was let in.
    pub(super) fn go_on(&mut self, api: &Api) -> Result<(), ApiError> {
        self.principal =
            current(api, &self.principal).ok_or_else(|| ApiError::call(Failure::KeyWithdrawn, None))?;
        Ok(())
    }

    /// Lets only those pass who have the host itself.
    pub(super) fn operates(&self) -> Result<(), ApiError> {
        refusal(rights::of_host(&self.principal), None).map_or(Ok(()), Err)
    }

    /// Lets only those pass who may change agents at all; which ones is decided when that is known.
    pub(super) fn changes_agents(&self) -> Result<(), ApiError> {
        refusal(rights::of_agents(&self.principal), None).map_or(Ok(()), Err)
    }

    /// What this caller's tenant has as `id`.
    pub(super) fn key(&self, id: &AgentId) -> AgentKey {
        AgentKey::new(&self.principal.tenant, id)
    }

    /// The agent `id`, for somebody who may do this with it. Everybody else gets the same answer whether
    /// there is one or not.
    pub(super) fn agent<'a>(
        &self,
        action: Action,
        snapshot: &'a Snapshot,
        id: &AgentId,
    ) -> Result<&'a Arc<AgentEntry>, ApiError> {
        let key = self.key(id);
        let entry = snapshot.agent(&key);
        let category = entry.map(|entry| entry.card.category.as_str());
        let decision = rights::of_agent(&self.principal, action, &key, category);
        match (refusal(decision, Some(id)), entry) {
            (None, Some(entry)) => Ok(entry),
            (Some(refusal), _) => Err(refusal),
            (None, None) => Err(ApiError::call(Failure::AgentNotFound(id.to_string()), Some(id))),
        }
    }

    /// Whether it may do this with an agent that there is.
    pub(super) fn may(&self, action: Action, entry: &AgentEntry) -> bool {
        let category = Some(entry.card.category.as_str());
        rights::of_agent(&self.principal, action, &entry.key, category) == Decision::Allowed
    }

    /// Lets pass whoever may put an agent at `id`: in the place of the one that is there, or as a new one.
    pub(super) fn takes_place(&self, snapshot: &Snapshot, id: &AgentId) -> Result<(), ApiError> {
        let key = self.key(id);
        let decision = match snapshot.agent(&key) {
            Some(entry) => {
                let category = Some(entry.card.category.as_str());
                rights::of_agent(&self.principal, Action::Change, &key, category)
            }
            None => rights::of_new_place(&self.principal, &key),
        };
        refusal(decision, Some(id)).map_or(Ok(()), Err)
    }
}

/// Who was let in as `principal`, with what its key may do now; `None` where that holds no longer.
pub(super) fn current(api: &Api, principal: &Principal) -> Option<Arc<Principal>> {
    api.authenticator.load().current(principal)
}

/// A decision as its answer; `None` where it may be done.
pub(super) fn refusal(decision: Decision, id: Option<&AgentId>) -> Option<ApiError> {
    let name = || id.map(AgentId::to_string).unwrap_or_default();
    match decision {
        Decision::Allowed => None,
        Decision::Absent => Some(ApiError::call(Failure::AgentNotFound(name()), id)),
        Decision::Hidden => Some(ApiError::call(Failure::Forbidden(name()), id)),
        Decision::Claimed => Some(ApiError::Forbidden(
            "another key's scope names the agent's category: this needs a key whose scope names it, too",
        )),
        Decision::NotLent => Some(ApiError::Forbidden(
            "the agent would have a capability that this key does not lend: this needs a key whose `capabilities` name it",
        )),
        Decision::Withdrawn => Some(ApiError::call(Failure::KeyWithdrawn, None)),
        Decision::Forbidden(Role::Operator) => {
            Some(ApiError::Forbidden("this needs a key of the role `operator`"))
        }
        Decision::Forbidden(Role::Call | Role::Admin) => {
            Some(ApiError::Forbidden("this needs a key of the role `admin`"))
        }
    }
}

impl FromRequestParts<Api> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, ApiError> {
        let request = request_of(parts)?;
        let mut keys = parts.headers.get_all(header::AUTHORIZATION).iter();
        let key = keys.next();
        if keys.next().is_some() {
            return Err(ApiError::Unauthorized);
        }
        let principal = api
            .authenticator
            .load()
            .authenticate(key.map(|key| key.as_bytes()))
            .map_err(|_| ApiError::Unauthorized)?;
        // A blank header is no key.
        if key.is_none_or(|key| key.as_bytes().trim_ascii().is_empty()) {
            origins::guard_anonymous(parts, &api.server.load())?;
        }
        request.note_caller(Arc::clone(&principal), api)?;
        Ok(Self { principal, request })
    }
}

/// The request that the front put there.
fn request_of(parts: &Parts) -> Result<Arc<front::Request>, ApiError> {
    parts
        .extensions
        .get::<Arc<front::Request>>()
        .cloned()
        .ok_or_else(|| ApiError::Internal { internal: "a route without the front".to_owned() })
}
