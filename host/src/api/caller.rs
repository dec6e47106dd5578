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
use crate::domain::{AgentId, Principal, Role};

/// A caller that was let in, and the request that it sent.
pub(super) struct Caller {
    /// Who.
    pub(super) principal: Arc<Principal>,
    /// What is being answered.
    pub(super) request: Arc<front::Request>,
}

impl Caller {
    /// Lets only those pass who may change what the host runs, and see all of it.
    pub(super) fn admin(&self) -> Result<(), ApiError> {
        match self.principal.role {
            Role::Admin => Ok(()),
            Role::Call => Err(ApiError::Forbidden("this needs a key of the role `admin`")),
        }
    }

    /// Whether it may see the agent `id` of `category`.
    pub(super) fn may_call(&self, id: &AgentId, category: &str) -> bool {
        self.principal.agent_scope.allows(id, category)
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
        request.note_caller(Arc::clone(&principal));
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
