//! The schemas of what is asked and answered, made of the types themselves: for a description of the interface,
//! and for doors whose clients want them.

use std::borrow::Cow;

use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use super::{
    AgentListRequest, AgentPage, AgentPageRequest, AgentStatusPage, AgentSummary, Agents, ApproveRequest,
    AuditRecord, AuditRequest, BatchItem, ExecuteAgentRequest, ExecuteRequest, ExecuteResponse,
    GenerateRequest, HealthResponse, Operation, ReadinessResponse, RegisterRequest, RemoveRequest,
    RemoveResponse, ReplaceRequest, RollBackRequest, RouteRequest, RouteResponse, SmartExecuteRequest,
    StatsResponse,
};

/// A type's schema, with those that it refers to under `#/components/schemas/NAME`.
pub struct Described {
    /// What the type is called.
    pub name: Cow<'static, str>,
    /// The schema.
    pub schema: RefOr<Schema>,
    /// Those that it refers to, by name.
    pub parts: Vec<(String, RefOr<Schema>)>,
}

impl Described {
    /// The schema of this type.
    pub fn of<T: ToSchema>() -> Self {
        let mut parts = Vec::new();
        T::schemas(&mut parts);
        Self { name: T::name(), schema: T::schema(), parts }
    }

    /// All of it as one JSON schema (2020-12).
    pub fn document(&self) -> Value {
        let parts: serde_json::Map<String, Value> =
            self.parts.iter().map(|(name, part)| (name.clone(), json!(part))).collect();
        let mut document = json!(self.schema);
        document["components"] = json!({ "schemas": parts });
        document
    }
}

impl Operation {
    /// What is sent with it; `None` where nothing is.
    pub fn request(self) -> Option<Described> {
        Some(match self {
            Self::Route => Described::of::<RouteRequest<'static>>(),
            Self::Execute => Described::of::<ExecuteRequest<'static>>(),
            Self::ExecuteAgent => Described::of::<ExecuteAgentRequest>(),
            Self::SmartExecute => Described::of::<SmartExecuteRequest<'static>>(),
            Self::Batch => Described::of::<Vec<BatchItem>>(),
            Self::ListAgents | Self::AgentStatus => Described::of::<AgentListRequest>(),
            Self::ShowAgent => Described::of::<AgentPageRequest>(),
            Self::Register => Described::of::<RegisterRequest>(),
            Self::Generate => Described::of::<GenerateRequest>(),
            Self::Replace => Described::of::<ReplaceRequest>(),
            Self::Remove => Described::of::<RemoveRequest>(),
            Self::Approve => Described::of::<ApproveRequest>(),
            Self::RollBack => Described::of::<RollBackRequest>(),
            Self::Audit => Described::of::<AuditRequest>(),
            Self::Stats | Self::Metrics | Self::Health | Self::Readiness => return None,
        })
    }

    /// What it answers where it is carried out; `None` where that is no JSON. An item of a batch that fails has
    /// the failure in the place of its answer.
    pub fn response(self) -> Option<Described> {
        Some(match self {
            Self::Route => Described::of::<RouteResponse>(),
            Self::Execute | Self::ExecuteAgent | Self::SmartExecute => Described::of::<ExecuteResponse>(),
            Self::Batch => Described::of::<Vec<ExecuteResponse>>(),
            Self::ListAgents => Described::of::<Vec<AgentSummary>>(),
            Self::AgentStatus => Described::of::<Vec<AgentStatusPage>>(),
            Self::ShowAgent | Self::Register | Self::Replace | Self::Approve | Self::RollBack => {
                Described::of::<AgentPage>()
            }
            Self::Generate => Described::of::<Agents>(),
            Self::Remove => Described::of::<RemoveResponse>(),
            Self::Audit => Described::of::<Vec<AuditRecord>>(),
            Self::Stats => Described::of::<StatsResponse>(),
            Self::Health => Described::of::<HealthResponse>(),
            Self::Readiness => Described::of::<ReadinessResponse>(),
            Self::Metrics => return None,
        })
    }
}
