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
use crate::domain::{self, Principal};
use crate::operations::{Failure, Request};

/// A caller that was let in, and the request that it sent.
pub(super) struct Caller {
    /// Who.
    pub(super) principal: Arc<Principal>,
    /// What is being answered.
    pub(super) request: Arc<front::Request>,
}

impl Caller {
    /// A request of this caller's, for the operations.
    pub(super) fn asks<T>(&self, body: T) -> Request<T> {
        let (id, started) = (self.request.id.clone(), self.request.started);
        Request { id, started, held: Some(self.request.clone()), body }
    }

    /// Goes on with what the caller's key may do now: time has passed since it was let in.
    pub(super) fn go_on(&mut self, api: &Api) -> Result<(), ApiError> {
        let current = api.authenticator.load().current(&self.principal);
        self.principal = current.ok_or_else(|| Failure::call(domain::Failure::KeyWithdrawn, None))?;
        Ok(())
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
        .ok_or_else(|| ApiError::internal_fault("a route without the front".to_owned()))
}
