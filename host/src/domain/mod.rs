//! The words that every room shares: ids, principals, tasks, receipts and outcomes.
//!
//! Pure values. Nothing here does I/O, awaits, or reads the clock (the clock is a trait that
//! the composition root fills).

mod capability;
mod clock;
mod grants;
mod ids;
pub mod json;
mod micros;
mod outcome;
mod principal;
mod receipt;
pub mod rights;
mod status;
pub mod system;
mod task;
pub mod text;

pub use capability::{Capability, UnknownCapability};
pub use clock::{Clock, SystemClock};
pub use grants::{Approved, Grant, Grants, Policy};
pub use ids::{AgentId, AgentKey, Digest, InvalidId, RESERVED_IDS, RequestId, TenantId};
pub use micros::Micros;
#[cfg(test)]
pub(crate) use outcome::every_failure;
pub use outcome::{Denial, Failure, RecordedFailure, Reply};
pub use principal::{AgentScope, CapabilityScope, Identity, InvalidScope, Principal, Role};
pub use receipt::Receipt;
pub use status::{AgentStatus, OperationalStatus};
pub use task::{MAX_TASK_CHARS, Task, TaskText, TaskTextError};
