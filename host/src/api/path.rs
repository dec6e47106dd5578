//! What stands in a path.

use axum::extract::Path;
use axum::extract::rejection::PathRejection;

use super::error::ApiError;
use crate::domain::{AgentId, Failure};

/// Reads the agent's id in a path. What cannot be one is an agent that does not exist; so is a path that is
/// not text.
pub(super) fn agent(id: Result<Path<String>, PathRejection>) -> Result<AgentId, ApiError> {
    use crate::operations::Failure as OperationFailure;
    match id {
        Ok(Path(id)) => AgentId::parse(&id).map_err(|_| OperationFailure::no_such_name(&id).into()),
        Err(_) => Err(OperationFailure::call(Failure::AgentNotFound("?".to_owned()), None).into()),
    }
}
