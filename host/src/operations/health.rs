//! Whether the host lives and is ready: open to all, so it names no agent.

use serde::Serialize;
use utoipa::ToSchema;

use super::Operations;
use crate::shutdown::Stage;

/// The host answers.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct HealthResponse {
    /// `healthy`.
    pub status: &'static str,
}

/// Whether tasks should be sent here.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct ReadinessResponse {
    /// Every check holds.
    pub ready: bool,
    /// What was looked at.
    #[schema(value_type = Vec<ReadinessCheck>)]
    pub checks: [ReadinessCheck; 2],
}

/// One condition of readiness.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct ReadinessCheck {
    /// `agents`: every agent that was configured at the start is loaded or has been reported as failed;
    /// agents that come later do not count. `accepting`: the host is not going down.
    pub name: &'static str,
    /// Whether it holds.
    pub ok: bool,
}

impl Operations {
    /// The host answers.
    pub fn health(&self) -> HealthResponse {
        HealthResponse { status: "healthy" }
    }

    /// Not ready until every agent that was configured at the start is loaded or has been reported as failed,
    /// and again while the host shuts down. A host that serves is ready: what comes later does not change that.
    pub fn readiness(&self) -> ReadinessResponse {
        let serving = self.handles.shutdown.stage() == Stage::Serving && !self.scheduler().is_draining();
        let started = self.registry().has_started();
        let check = |name, ok| ReadinessCheck { name, ok };
        let checks = [check("agents", started), check("accepting", serving)];
        ReadinessResponse { ready: started && serving, checks }
    }
}
