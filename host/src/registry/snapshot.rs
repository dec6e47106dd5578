//! The one immutable value that says what serves: agents, routes and limits.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use stockade_router::{Candidates, Change, Router};

use super::agent::{AgentVersion, Card};
use super::load::{LoadFailure, granted};
use super::record::Record;
use crate::config::AgentConfig;
use crate::domain::{AgentId, AgentScope, AgentStatus, Digest};

/// Scopes whose candidates are remembered; more than any deployment has keys for would be
/// made anew, not kept.
const MAX_SCOPES: usize = 4096;

/// Agents that are still loading whose ids are shown.
const SHOWN_LOADING: usize = 10;

/// Agents that are still loading.
#[derive(Debug, Default)]
pub struct Loading {
    /// How many.
    pub count: usize,
    /// The ids of the first ones, to speak of.
    pub first: Vec<String>,
}

/// What serves. Never changed, only replaced.
pub struct Snapshot {
    agents: BTreeMap<AgentId, Arc<AgentEntry>>,
    router: Router,
    /// The candidates of each scope that has asked, made at its first task.
    candidates: Mutex<HashMap<Box<str>, Arc<Candidates>>>,
}

/// An agent's place: what serves for it, if anything does, and how its last load went.
#[derive(Clone)]
pub struct AgentEntry {
    /// Its id.
    pub id: AgentId,
    /// The settings that it serves under.
    pub config: Arc<AgentConfig>,
    /// Other settings that it was told since, and that its code has not gone live with.
    pub(super) proposed: Option<Proposal>,
    /// What clients see: the serving version's card, or the settings' word while there is none.
    pub card: Arc<Card>,
    /// What serves.
    pub version: Option<Arc<AgentVersion>>,
    /// How the last load went; `None` while the first is under way.
    pub last_load: Option<LoadReport>,
    /// What is remembered of it across restarts.
    pub record: Arc<Record>,
    /// The same for as long as the agent is there: who comes later under its id has another.
    pub stay: Arc<Stay>,
}

/// An agent's stay among the agents, from the moment it is added to its removal.
#[derive(Debug, Default)]
pub struct Stay;

/// Settings that are proposed with whatever the component's file holds.
#[derive(Clone)]
pub(super) struct Proposal {
    pub(super) config: Arc<AgentConfig>,
    /// Whether they came for the code that serves: other code neither came with them nor waits with
    /// settings of its own.
    pub(super) alone: bool,
}

/// How a load went.
#[derive(Debug, Clone)]
pub struct LoadReport {
    /// When it ended.
    pub at: SystemTime,
    /// How long it took, from the news to the end.
    pub took: Duration,
    /// The SHA-256 of the component that it was about, where that was read.
    pub digest: Option<Digest>,
    /// What failed, if something did.
    pub failure: Option<LoadFailure>,
    /// Since when loads have failed, if the last one did.
    pub failing_since: Option<SystemTime>,
}

impl AgentEntry {
    /// An agent that nothing is known of but its settings and what is remembered of it.
    pub(super) fn loading(config: Arc<AgentConfig>, record: Arc<Record>) -> Self {
        Self {
            id: config.id.clone(),
            card: Arc::new(Card::from_overlay(&config.id, &config.overlay)),
            config,
            proposed: None,
            version: None,
            last_load: None,
            record,
            stay: Arc::default(),
        }
    }

    /// Where it stands.
    pub fn status(&self) -> AgentStatus {
        match (&self.record.pending, &self.version, &self.last_load) {
            // What waits is worth the operator's eye; what served serves on.
            (Some(_), _, Some(_)) => AgentStatus::PendingApproval,
            (_, Some(_), _) => AgentStatus::Active,
            (_, None, None) => AgentStatus::Loading,
            (_, None, Some(report)) => {
                report.failure.as_ref().map_or(AgentStatus::Loading, LoadFailure::status)
            }
        }
    }

    /// What it was told last: by agents.toml, or by whoever registered it.
    pub fn told(&self) -> &Arc<AgentConfig> {
        self.proposed.as_ref().map_or(&self.config, |proposed| &proposed.config)
    }

    /// The same agent, told these settings. What serves keeps its own until its code goes live with
    /// others, but for rights that are withdrawn: those end now. `kept` is the component of what serves by its
    /// settings, where the data folder keeps that.
    pub(super) fn proposing(
        mut self,
        config: &Arc<AgentConfig>,
        kept: Option<Digest>,
        now: SystemTime,
    ) -> Self {
        if self.record.serving.is_none() {
            return Self { config: config.clone(), proposed: None, ..self };
        }
        let nothing_waits = self.record.pending.as_ref().is_none_or(|pending| pending.settings.is_none());
        let alone = self.proposed.as_ref().is_none_or(|proposed| proposed.alone)
            && nothing_waits
            && config.component == self.config.component;
        let approved = &self.record.approved;
        if let Some(fewer) = with_fewer_rights(&self.config, config, approved) {
            let grants = granted(&fewer, approved);
            let settings = fewer.fingerprint(&grants);
            let mut record = self.record.restricted(settings, now);
            record.remember(&fewer, kept);
            if let Some(version) = &self.version {
                let generation = record.generation;
                let version = AgentVersion { generation, loaded_at: now, ..(**version).clone() };
                self.version = Some(Arc::new(version.under(settings, grants)));
                self.record = Arc::new(record);
            }
            self.config = Arc::new(fewer);
        }
        self.proposed = None;
        if *self.config == **config {
            self.config = config.clone();
        } else {
            self.proposed = Some(Proposal { config: config.clone(), alone });
        }
        self
    }

    /// The same agent without the rights that these settings withdraw, where that could not be written down:
    /// its record stays what is on disk, and so does its generation. `None` if they withdraw none.
    pub(super) fn withdrawn(mut self, config: &AgentConfig) -> Option<Self> {
        let approved = &self.record.approved;
        let fewer = with_fewer_rights(&self.config, config, approved)?;
        let grants = granted(&fewer, approved);
        let settings = fewer.fingerprint(&grants);
        self.version = self.version.map(|version| Arc::new((*version).clone().under(settings, grants)));
        self.config = Arc::new(fewer);
        Some(self)
    }

    /// Whether it was registered while the host ran, and is not of agents.toml.
    pub fn is_registered(&self) -> bool {
        self.record.registered.is_some()
    }

    /// The router's view of it.
    pub fn routed(&self) -> stockade_router::Agent {
        self.card.routed(&self.id)
    }

    /// The same agent after what its file holds did not go live: settings that came with it wait with it.
    pub(super) fn with_code(mut self) -> Self {
        if let Some(proposed) = &mut self.proposed {
            proposed.alone = false;
        }
        self
    }

    /// The same agent after a load ended.
    pub(super) fn loaded(mut self, report: LoadReport) -> Self {
        let failing = self.last_load.as_ref().and_then(|last| last.failing_since);
        let failing_since = report.failure.is_some().then(|| failing.unwrap_or(report.at));
        self.last_load = Some(LoadReport { failing_since, ..report });
        self
    }

    /// The same agent after what was to happen to it could not.
    pub(super) fn failed(self, at: SystemTime, failure: LoadFailure) -> Self {
        let (took, digest, failing_since) = Default::default();
        self.loaded(LoadReport { at, took, digest, failure: Some(failure), failing_since })
    }

    /// The same agent with this version serving.
    pub(super) fn serving(mut self, version: Arc<AgentVersion>, record: Record) -> Self {
        self.card = version.card.clone();
        self.version = Some(version);
        self.record = Arc::new(record);
        self
    }
}

/// `now`, without the rights that `next` has not; `None` where it has them all.
fn with_fewer_rights(
    now: &AgentConfig,
    next: &AgentConfig,
    approved: &BTreeSet<String>,
) -> Option<AgentConfig> {
    let (has, may) = (granted(now, approved).0, granted(next, approved).0);
    let mut fewer = now.clone();
    for (capability, _) in has.iter().filter(|(name, has)| **has && may.get(*name) != Some(&true)) {
        match next.grants.0.get(capability) {
            Some(word) => fewer.grants.0.insert(capability.clone(), *word),
            None => fewer.grants.0.remove(capability),
        };
    }
    (fewer != *now).then_some(fewer)
}

impl Snapshot {
    pub(super) fn empty(settings: stockade_router::Settings) -> Self {
        Self { agents: BTreeMap::new(), router: Router::build(settings, []), candidates: Mutex::default() }
    }

    /// The next snapshot: this one with `entries` put in their places, and without `removed`.
    pub(super) fn with(
        &self,
        entries: impl IntoIterator<Item = AgentEntry>,
        removed: impl IntoIterator<Item = AgentId>,
    ) -> Self {
        let mut agents = self.agents.clone();
        let mut changes = Vec::new();
        for entry in entries {
            let routed = agents.get(&entry.id).filter(|old| old.version.is_some()).map(|old| &old.card);
            match (&entry.version, routed) {
                // The router need not learn again what it knows.
                (Some(_), Some(known)) if *known == entry.card => {}
                (Some(_), _) => changes.push(Change::Put(entry.routed())),
                (None, Some(_)) => changes.push(Change::Remove(entry.id.to_string())),
                (None, None) => {}
            }
            agents.insert(entry.id.clone(), Arc::new(entry));
        }
        for id in removed {
            if agents.remove(&id).is_some_and(|old| old.version.is_some()) {
                changes.push(Change::Remove(id.to_string()));
            }
        }
        if changes.is_empty() {
            // Nobody was added or removed for the router, and no card changed: nor did a category.
            let candidates = Mutex::new(self.candidates.lock().clone());
            return Self { agents, router: self.router.clone(), candidates };
        }
        Self { agents, router: self.router.apply(&changes), candidates: Mutex::default() }
    }

    /// The same agents under other settings of the router.
    pub(super) fn routed_by(&self, settings: stockade_router::Settings) -> Self {
        let serving = self.agents.values().filter(|entry| entry.version.is_some());
        let router = Router::build(settings, serving.map(|entry| entry.routed()));
        Self { agents: self.agents.clone(), router, candidates: Mutex::default() }
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
        self.agents.values().all(|entry| entry.status() != AgentStatus::Loading)
    }

    /// The ids of the agents that are neither loaded nor reported as failed: the first ten.
    pub fn loading(&self) -> Loading {
        let mut loading = Loading::default();
        for entry in self.agents.values().filter(|entry| entry.status() == AgentStatus::Loading) {
            loading.count += 1;
            if loading.first.len() < SHOWN_LOADING {
                loading.first.push(entry.id.to_string());
            }
        }
        loading
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
