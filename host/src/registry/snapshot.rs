//! The one immutable value that says what serves: agents, routes and limits.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use stockade_router::{Candidates, Change, Router};

use super::agent::{AgentVersion, Card};
use super::load::LoadFailure;
use crate::config::AgentConfig;
use crate::domain::{AgentId, AgentScope, AgentStatus};

/// Scopes whose candidates are remembered; more than any deployment has keys for would be
/// made anew, not kept.
const MAX_SCOPES: usize = 4096;

/// What serves. Never changed, only replaced.
pub struct Snapshot {
    agents: BTreeMap<AgentId, Arc<AgentEntry>>,
    router: Router,
    /// The candidates of each scope that has asked, made at its first task.
    candidates: Mutex<HashMap<Box<str>, Arc<Candidates>>>,
}

/// An agent's place: what serves for it, if anything does, and how its last load went.
pub struct AgentEntry {
    /// Its id.
    pub id: AgentId,
    /// Where it stands.
    pub status: AgentStatus,
    /// What clients see: the serving version's card, or agents.toml's word while there is none.
    pub card: Arc<Card>,
    /// What serves.
    pub version: Option<Arc<AgentVersion>>,
    /// How the last load went.
    pub last_load: LoadReport,
    /// The operator's words for it.
    pub tags: Vec<String>,
}

/// How a load went.
#[derive(Debug, Clone)]
pub struct LoadReport {
    /// When.
    pub at: SystemTime,
    /// What failed, where, and what to do, if it did.
    pub outcome: Result<(), String>,
}

impl AgentEntry {
    pub(super) fn loading(config: &AgentConfig, at: SystemTime) -> Self {
        Self {
            id: config.id.clone(),
            status: AgentStatus::Loading,
            card: Arc::new(Card::from_overlay(&config.id, &config.overlay)),
            version: None,
            last_load: LoadReport { at, outcome: Ok(()) },
            tags: config.tags.clone(),
        }
    }

    /// The router's view of it.
    pub fn routed(&self) -> stockade_router::Agent {
        self.card.routed(&self.id)
    }

    pub(super) fn active(config: &AgentConfig, version: Arc<AgentVersion>, at: SystemTime) -> Self {
        Self {
            status: AgentStatus::Active,
            card: version.card.clone(),
            version: Some(version),
            ..Self::loading(config, at)
        }
    }

    pub(super) fn failed(config: &AgentConfig, failure: &LoadFailure, at: SystemTime) -> Self {
        Self {
            status: failure.status(),
            last_load: LoadReport { at, outcome: Err(failure.to_string()) },
            ..Self::loading(config, at)
        }
    }
}

impl Snapshot {
    pub(super) fn empty(settings: stockade_router::Settings) -> Self {
        Self { agents: BTreeMap::new(), router: Router::build(settings, []), candidates: Mutex::default() }
    }

    /// The next snapshot: this one with `entries` put in their places.
    pub(super) fn with(&self, entries: Vec<AgentEntry>) -> Self {
        let mut agents = self.agents.clone();
        let mut changes = Vec::new();
        for mut entry in entries {
            // A load that failed changes nothing but the report: what served serves on.
            if let (None, Some(old)) = (&entry.version, agents.get(&entry.id))
                && old.version.is_some()
            {
                entry.status = old.status;
                entry.card = old.card.clone();
                entry.version = old.version.clone();
            }
            match &entry.version {
                Some(_) => changes.push(Change::Put(entry.routed())),
                None if self.router.contains(entry.id.as_str()) => {
                    changes.push(Change::Remove(entry.id.to_string()));
                }
                None => {}
            }
            agents.insert(entry.id.clone(), Arc::new(entry));
        }
        let router = if changes.is_empty() { self.router.clone() } else { self.router.apply(&changes) };
        Self { agents, router, candidates: Mutex::default() }
    }

    /// All agents, sorted by id.
    pub fn agents(&self) -> impl ExactSizeIterator<Item = &Arc<AgentEntry>> {
        self.agents.values()
    }

    /// The agent of this id.
    pub fn agent(&self, id: &str) -> Option<&Arc<AgentEntry>> {
        self.agents.get(id)
    }

    /// Whether every agent is loaded or has been reported as failed.
    pub fn settled(&self) -> bool {
        self.agents.values().all(|entry| entry.status != AgentStatus::Loading)
    }

    /// Decides tasks among [`Snapshot::candidates`].
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// The agents that serve and are in `scope`, for the router.
    pub fn candidates(&self, scope: &AgentScope) -> Arc<Candidates> {
        if let Some(known) = self.candidates.lock().get(scope.as_str()) {
            return known.clone();
        }
        let made = Arc::new(if scope.is_all() {
            self.router.all()
        } else {
            let allowed = |id: &str| {
                self.agents.get(id).is_some_and(|entry| scope.allows(&entry.id, &entry.card.category))
            };
            self.router.candidates(allowed)
        });
        let mut candidates = self.candidates.lock();
        if candidates.len() < MAX_SCOPES {
            candidates.insert(scope.as_str().into(), made.clone());
        }
        made
    }
}
