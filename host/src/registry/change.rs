//! What changes without anybody's request, for whoever keeps a record of it: a trait that a higher room fills.

use std::sync::Arc;

use super::Registry;
use super::snapshot::AgentEntry;
use crate::domain::AgentKey;

/// What brought a change that nobody asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangedBy {
    /// The component's file, or what the settings say of it.
    File,
    /// The version's first calls, which failed: with the reason.
    Probation(String),
}

/// An agent that serves something else by now.
pub struct Change {
    /// Which.
    pub key: AgentKey,
    /// What brought it.
    pub by: ChangedBy,
    /// What it was; `None` where it was not there.
    pub before: Option<Arc<AgentEntry>>,
    /// What it is.
    pub after: Option<Arc<AgentEntry>>,
}

/// An agent right before a change and right after it: nobody else changed it in between.
#[derive(Clone)]
pub struct Changed {
    /// What it was; `None` where it was not there.
    pub before: Option<Arc<AgentEntry>>,
    /// What it is.
    pub after: Arc<AgentEntry>,
}

/// Is told of changes right after they were made.
pub trait ChangeLog: Send + Sync {
    /// These were made, in this order. Waits for nothing.
    fn changed(&self, changes: Vec<Change>);
}

impl Registry {
    /// From now on `log` is told of changes that nobody asked for. Told once.
    pub fn follow(&self, log: Arc<dyn ChangeLog>) {
        // Whoever told first is who keeps the record.
        let _ = self.inner.log.set(log);
    }

    pub(super) fn note_changes(&self, changes: Vec<Change>) {
        if let Some(log) = self.inner.log.get().filter(|_| !changes.is_empty()) {
            log.changed(changes);
        }
    }
}
