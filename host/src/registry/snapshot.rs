//! The one immutable value that says what serves: agents, routes and limits.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use stockade_router::{Agent, Candidates, Change, Choice, Router};

use super::agent::{AgentVersion, Card};
use super::load::{LoadFailure, granted};
use super::record::Record;
use crate::config::AgentConfig;
use crate::domain::{AgentId, AgentKey, AgentScope, AgentStatus, Digest, TenantId};

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

/// The agents of one tenant.
type Agents = BTreeMap<AgentId, Arc<AgentEntry>>;

/// What serves. Never changed, only replaced.
pub struct Snapshot {
    /// Those of each tenant that has any; shared with the next snapshot where they stay.
    tenants: BTreeMap<TenantId, Arc<Agents>>,
    /// Every tenant's agents that serve, each as [`routing_id`] names it.
    router: Router,
    /// The candidates of each scope that has asked, made at its first task.
    candidates: Mutex<KnownCandidates>,
}

/// The candidates of scopes, by tenant: `*` is another set of agents for each.
#[derive(Clone, Default)]
struct KnownCandidates {
    of: HashMap<TenantId, HashMap<Box<str>, Arc<Candidates>>>,
    count: usize,
}

impl KnownCandidates {
    fn get(&self, tenant: &TenantId, scope: &AgentScope) -> Option<Arc<Candidates>> {
        self.of.get(tenant)?.get(scope.as_str()).cloned()
    }

    fn insert(&mut self, tenant: &TenantId, scope: &AgentScope, candidates: Arc<Candidates>) {
        if self.count < MAX_SCOPES {
            let of_tenant = self.of.entry(tenant.clone()).or_default();
            self.count += usize::from(of_tenant.insert(scope.as_str().into(), candidates).is_none());
        }
    }
}

/// What the router knows an agent by: its key as one text. The part before `/`, which no id has, tells
/// tenants apart and is shown to nobody.
fn routing_id(key: &AgentKey) -> String {
    format!("{}/{}", key.tenant, key.id)
}

/// An agent's place: what serves for it, if anything does, and how its last load went.
#[derive(Clone)]
pub struct AgentEntry {
    /// Whose it is, and its id.
    pub key: AgentKey,
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
    pub(crate) fn loading(config: Arc<AgentConfig>, record: Arc<Record>) -> Self {
        Self {
            key: config.key.clone(),
            card: Arc::new(Card::from_overlay(&config.key.id, &config.overlay)),
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

    /// The router's view of it, for whoever has one tenant's agents alone.
    pub fn routed(&self) -> Agent {
        self.card.routed(self.key.id.to_string())
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
        Self { tenants: BTreeMap::new(), router: Router::build(settings, []), candidates: Mutex::default() }
    }

    /// The next snapshot: this one with `entries` put in their places, and without `removed`.
    pub(super) fn with(
        &self,
        entries: impl IntoIterator<Item = AgentEntry>,
        removed: impl IntoIterator<Item = AgentKey>,
    ) -> Self {
        let mut tenants = self.tenants.clone();
        let mut changes = Vec::new();
        for entry in entries {
            let agents = Arc::make_mut(tenants.entry(entry.key.tenant.clone()).or_default());
            let routed = agents.get(&entry.key.id).filter(|old| old.version.is_some()).map(|old| &old.card);
            match (&entry.version, routed) {
                // The router need not learn again what it knows.
                (Some(_), Some(known)) if *known == entry.card => {}
                (Some(_), _) => changes.push(Change::Put(entry.card.routed(routing_id(&entry.key)))),
                (None, Some(_)) => changes.push(Change::Remove(routing_id(&entry.key))),
                (None, None) => {}
            }
            agents.insert(entry.key.id.clone(), Arc::new(entry));
        }
        for key in removed {
            let Some(agents) = tenants.get_mut(&key.tenant).map(Arc::make_mut) else { continue };
            if agents.remove(&key.id).is_some_and(|old| old.version.is_some()) {
                changes.push(Change::Remove(routing_id(&key)));
            }
            if agents.is_empty() {
                tenants.remove(&key.tenant);
            }
        }
        if changes.is_empty() {
            // Nobody was added or removed for the router, and no card changed: nor did a category.
            let candidates = Mutex::new(self.candidates.lock().clone());
            return Self { tenants, router: self.router.clone(), candidates };
        }
        Self { tenants, router: self.router.apply(&changes), candidates: Mutex::default() }
    }

    /// The same agents under other settings of the router.
    pub(super) fn routed_by(&self, settings: stockade_router::Settings) -> Self {
        let serving = self.agents().filter(|entry| entry.version.is_some());
        let router = Router::build(settings, serving.map(|entry| entry.card.routed(routing_id(&entry.key))));
        Self { tenants: self.tenants.clone(), router, candidates: Mutex::default() }
    }

    /// Every tenant's agents, sorted by tenant and id.
    pub fn agents(&self) -> impl Iterator<Item = &Arc<AgentEntry>> {
        self.tenants.values().flat_map(|agents| agents.values())
    }

    /// The agents of one tenant, sorted by id.
    pub fn agents_of(&self, tenant: &TenantId) -> impl Iterator<Item = &Arc<AgentEntry>> {
        self.tenants.get(tenant).into_iter().flat_map(|agents| agents.values())
    }

    /// The agent of this key.
    pub fn agent(&self, key: &AgentKey) -> Option<&Arc<AgentEntry>> {
        self.find(&key.tenant, key.id.as_str())
    }

    /// What somebody of `tenant` calls `id`. A text that can be no id finds nothing.
    pub fn find(&self, tenant: &TenantId, id: &str) -> Option<&Arc<AgentEntry>> {
        self.tenants.get(tenant)?.get(id)
    }

    /// The agent that the router chose.
    pub fn chosen(&self, choice: &Choice) -> Option<&Arc<AgentEntry>> {
        let (tenant, id) = choice.agent.split_once('/')?;
        self.tenants.get(tenant)?.get(id)
    }

    /// Whether every agent is loaded or has been reported as failed.
    pub fn settled(&self) -> bool {
        self.agents().all(|entry| entry.status() != AgentStatus::Loading)
    }

    /// The ids of the agents that are neither loaded nor reported as failed: the first ten.
    pub fn loading(&self) -> Loading {
        let mut loading = Loading::default();
        for entry in self.agents().filter(|entry| entry.status() == AgentStatus::Loading) {
            loading.count += 1;
            if loading.first.len() < SHOWN_LOADING {
                loading.first.push(entry.key.id.to_string());
            }
        }
        loading
    }

    /// Decides tasks among [`Snapshot::candidates`].
    pub fn router(&self) -> &Router {
        &self.router
    }

    /// The tenant's agents that serve and are in `scope`, for the router.
    pub fn candidates(&self, tenant: &TenantId, scope: &AgentScope) -> Arc<Candidates> {
        if let Some(known) = self.candidates.lock().get(tenant, scope) {
            return known;
        }
        let serving = || self.agents_of(tenant).filter(|entry| entry.version.is_some());
        let made = Arc::new(if scope.is_all() && serving().count() == self.router.len() {
            self.router.all()
        } else {
            let reached = serving().filter(|entry| scope.allows(&entry.key.id, &entry.card.category));
            let ids: Vec<String> = reached.map(|entry| routing_id(&entry.key)).collect();
            self.router.candidates_named(ids.iter().map(String::as_str))
        });
        self.candidates.lock().insert(tenant, scope, made.clone());
        made
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{NoEnvironment, parse};

    fn tenant(name: &str) -> TenantId {
        TenantId::parse(name).expect("a tenant")
    }

    /// The agent `echo` of this tenant, under this name.
    fn echo(of: &str, name: &str) -> AgentEntry {
        let text = format!("[agents.echo]\ncomponent = 'echo.wasm'\nname = '{name}'\n");
        let config = parse(&text, "agents.toml", Path::new("/srv"), &NoEnvironment).expect("settings");
        let mut config = config.agents.into_values().next().expect("an agent");
        config.key.tenant = tenant(of);
        AgentEntry::loading(Arc::new(config), Arc::default())
    }

    #[test]
    fn two_tenants_agents_of_one_id_have_each_their_place() {
        let empty = Snapshot::empty(stockade_router::Settings::default());
        let both = empty.with([echo("acme", "Theirs"), echo("default", "Ours")], []);
        let name = |snapshot: &Snapshot, of: &str| {
            snapshot.find(&tenant(of), "echo").map(|entry| entry.card.name.to_string())
        };
        assert_eq!(name(&both, "acme").as_deref(), Some("Theirs"));
        assert_eq!(name(&both, "default").as_deref(), Some("Ours"));
        assert_eq!(name(&both, "nobody"), None);
        assert_eq!((both.agents().count(), both.agents_of(&tenant("acme")).count()), (2, 1));
        let key = AgentKey::new(&tenant("acme"), &both.agents().next().expect("an agent").key.id);
        let renamed = both.with([echo("acme", "Other")], []);
        assert_eq!(name(&renamed, "default").as_deref(), Some("Ours"));
        let left = renamed.with([], [key.clone()]);
        assert_eq!((name(&left, "acme"), name(&left, "default").as_deref()), (None, Some("Ours")));
        assert!(left.agent(&key).is_none() && left.agents().count() == 1);
        // Whoever holds the one before sees what was there then.
        assert_eq!(name(&both, "acme").as_deref(), Some("Theirs"));
    }

    #[test]
    fn what_the_router_calls_an_agent_leads_back_to_it() {
        let empty = Snapshot::empty(stockade_router::Settings::default());
        let both = empty.with([echo("acme", "Theirs"), echo("default", "Ours")], []);
        for entry in both.agents() {
            let agent = routing_id(&entry.key);
            let choice = Choice { agent, confidence: 1.0, matched_keywords: Vec::new() };
            assert_eq!(both.chosen(&choice).map(|found| &found.key), Some(&entry.key));
        }
    }

    #[test]
    fn candidates_of_one_scope_are_remembered_for_each_tenant() {
        let snapshot = Snapshot::empty(stockade_router::Settings::default());
        let mut known = KnownCandidates::default();
        let (one, two) = (Arc::new(snapshot.router.all()), Arc::new(snapshot.router.all()));
        known.insert(&tenant("acme"), &AgentScope::all(), one.clone());
        known.insert(&tenant("default"), &AgentScope::all(), two.clone());
        let of = |name: &str| known.get(&tenant(name), &AgentScope::all());
        assert!(of("acme").is_some_and(|known| Arc::ptr_eq(&known, &one)));
        assert!(of("default").is_some_and(|known| Arc::ptr_eq(&known, &two)));
        assert!(of("nobody").is_none() && known.count == 2);
    }
}
