//! Everything that may be asked of the host: one typed function each, which authorises, validates, acts and
//! audits.
//!
//! Every door (HTTP, the command line) asks here and nowhere else, so that no door decides a right. Owns
//! the handles that the functions act on; agents belong to the registry, calls to the scheduler. It knows
//! neither HTTP nor JSON text nor a status: a request and a response are types, which doors read and write.

mod agents;
pub mod audit;
mod batch;
mod failure;
mod health;
mod metrics;
mod registration;
mod routing;
mod schema;
mod stats;
mod table;
mod tasks;
mod versions;

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;

pub use agents::{
    AgentListRequest, AgentPage, AgentPageRequest, AgentStatusPage, AgentSummary, LastReload, LimitsPage,
    Page, PendingVersion, Release, RolledBackVersion,
};
pub use audit::{Audit, AuditRecord, AuditRequest};
pub use batch::{BatchItem, BatchRequest, MAX_BATCH_ANSWERS};
pub use failure::{Failure, Ran};
pub use health::{HealthResponse, ReadinessCheck, ReadinessResponse};
pub use metrics::MetricsResponse;
pub use registration::{
    Agents, Component, GenerateRequest, RegisterRequest, RegisterResponse, Registered, RemoveRequest,
    RemoveResponse, ReplaceRequest,
};
pub use routing::{RankedAgent, RouteRequest, RouteResponse, RouteStatus};
pub use schema::Described;
pub use stats::{StatsResponse, StatsSummary};
pub use table::{Effect, Operation, Subject, Terms};
pub use tasks::{ExecuteAgentRequest, ExecuteRequest, ExecuteResponse, SmartExecuteRequest};
pub use versions::{ApproveRequest, RollBackRequest};

use crate::config::Config;
use crate::domain::rights::{self, Action, Decision};
use crate::domain::{AgentId, AgentKey, Principal, RequestId, Role};
use crate::registry::{AgentEntry, Registry, Snapshot};
use crate::scheduler::{Keys, Scheduler};
use crate::shutdown::Shutdown;

/// Makes ids for requests that bring none. Called once for each of those: it should not block.
pub type RequestIds = Arc<dyn Fn() -> RequestId + Send + Sync>;

/// A request, whichever door it came through.
pub struct Request<T> {
    /// Its id, under which the log and the audit have it.
    pub id: RequestId,
    /// When it came in: its time counts from here.
    pub started: Instant,
    /// What it holds of the door that it came through, such as room for its body: kept until a change that it
    /// asks for is made, also where nobody waits for the answer any more.
    pub held: Held,
    /// What is asked.
    pub body: T,
}

/// Something to be kept, whatever it is.
pub type Held = Option<Arc<dyn Any + Send + Sync>>;

impl<T> Request<T> {
    /// A request that comes in now.
    pub fn new(id: RequestId, body: T) -> Self {
        Self { id, started: Instant::now(), held: None, body }
    }
}

/// What the operations act on.
pub struct Handles {
    /// The agents.
    pub registry: Registry,
    /// What runs them.
    pub scheduler: Scheduler,
    /// The settings that hold now.
    pub config: Arc<ArcSwap<Config>>,
    /// Which keys hold now.
    pub keys: Arc<dyn Keys>,
    /// Ids for parts of a request that are requests of their own.
    pub request_ids: RequestIds,
    /// Who changed what.
    pub audit: Audit,
    /// Tells whether the host is going down.
    pub shutdown: Shutdown,
    /// When the host started.
    pub started: Instant,
}

/// Everything that may be asked of the host. A handle, cheap to clone.
#[derive(Clone)]
pub struct Operations {
    handles: Arc<Handles>,
}

impl Operations {
    /// The operations on these handles.
    pub fn new(handles: Handles) -> Self {
        Self { handles: Arc::new(handles) }
    }

    /// Decides whether `who` may ask for this at all, as far as that can be known before all of the request is
    /// there: of no agent in particular, or of the one with this id. A door asks before it reads a body, so
    /// that nothing is read for somebody whose request will be refused; the operation decides again.
    ///
    /// # Errors
    /// [`Failure`] as the operation itself would have it.
    pub fn admit(
        &self,
        who: &Principal,
        operation: Operation,
        agent: Option<&AgentId>,
    ) -> Result<(), Failure> {
        let terms = operation.terms();
        match terms.role {
            None => return Ok(()),
            Some(Role::Call) => {}
            Some(Role::Admin) => failure::allowed(rights::of_agents(who), None)?,
            Some(Role::Operator) => failure::allowed(rights::of_host(who), None)?,
        }
        let Some(agent) = agent else { return Ok(()) };
        let snapshot = self.registry().snapshot();
        match (terms.subject, terms.effect) {
            (Subject::Place, _) => takes_place(who, &snapshot, agent),
            (Subject::Agent, Effect::Changes) => entry(who, Action::Change, &snapshot, agent).map(drop),
            (Subject::Agent, Effect::Runs) => entry(who, Action::Call, &snapshot, agent).map(drop),
            (Subject::Agent, Effect::Reads) => entry(who, Action::See, &snapshot, agent).map(drop),
            (Subject::Everybody | Subject::Callers | Subject::Host, _) => Ok(()),
        }
    }

    /// An id for a request that brings none.
    pub fn new_request_id(&self) -> RequestId {
        (self.handles.request_ids)()
    }

    fn registry(&self) -> &Registry {
        &self.handles.registry
    }

    fn scheduler(&self) -> &Scheduler {
        &self.handles.scheduler
    }

    /// Who `who` is now, with what its key may do now; `None` where that holds no longer.
    fn current(&self, who: &Principal) -> Option<Arc<Principal>> {
        self.handles.keys.current(who)
    }
}

/// The agent `id`, for somebody who may do this with it. Everybody else gets the same failure whether there
/// is one or not.
fn entry<'a>(
    who: &Principal,
    action: Action,
    snapshot: &'a Snapshot,
    id: &AgentId,
) -> Result<&'a Arc<AgentEntry>, Failure> {
    let key = AgentKey::new(&who.tenant, id);
    let entry = snapshot.agent(&key);
    let category = entry.map(|entry| entry.card.category.as_str());
    failure::allowed(rights::of_agent(who, action, &key, category), Some(id))?;
    entry.ok_or_else(|| Failure::not_found(id))
}

/// Whether `who` may do this with an agent that there is.
fn may(who: &Principal, action: Action, entry: &AgentEntry) -> bool {
    let category = Some(entry.card.category.as_str());
    rights::of_agent(who, action, &entry.key, category) == Decision::Allowed
}

/// Lets pass whoever may put an agent at `id`: in the place of the one that is there, or as a new one.
fn takes_place(who: &Principal, snapshot: &Snapshot, id: &AgentId) -> Result<(), Failure> {
    let key = AgentKey::new(&who.tenant, id);
    let decision = match snapshot.agent(&key) {
        Some(entry) => rights::of_agent(who, Action::Change, &key, Some(&entry.card.category)),
        None => rights::of_new_place(who, &key),
    };
    failure::allowed(decision, Some(id))
}
