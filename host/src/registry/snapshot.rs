//! The one immutable value that says what serves: agents, routes and limits.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use stockade_router::{Agent, Candidates, Change, Choice, Router};

use super::agent::{AgentVersion, Card};
use super::load::LoadFailure;
use super::record::Record;
use super::state::{AgentState, LoadAttempt, LoadReport};
use crate::config::AgentConfig;
use crate::domain::{AgentId, AgentKey, AgentScope, AgentStatus, Approved, Digest, Grant, TenantId};

/// Scopes whose candidates are remembered; more than any deployment has keys for would be
/// made again, not kept.
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
    /// Later settings, with which its code has not gone live.
    pub(super) proposed: Option<ProposedConfig>,
    /// What clients see: the serving version's card, or the settings' word while there is none.
    pub card: Arc<Card>,
    /// Where it stands. It follows from loads, and from what the record says waits.
    state: AgentState,
    /// What is remembered of it across restarts.
    record: Arc<Record>,
    /// The same from the moment the agent is added to its removal: a later agent of its id has another.
    pub incarnation: Arc<Incarnation>,
}

/// Tells an agent from an earlier one of the same id.
#[derive(Debug, Default)]
pub struct Incarnation;

/// Settings that are proposed with whatever the component's file holds.
#[derive(Clone)]
pub(super) struct ProposedConfig {
    pub(super) config: Arc<AgentConfig>,
    /// Whether they are for the code that serves: other code neither came with them nor waits with
    /// settings of its own.
    pub(super) for_serving_code: bool,
}

impl AgentEntry {
    /// An agent that nothing is known of but its settings and what is remembered of it.
    pub(crate) fn loading(config: Arc<AgentConfig>, record: Arc<Record>) -> Self {
        Self {
            key: config.key.clone(),
            card: Arc::new(Card::from_overlay(&config.key.id, &config.overlay)),
            config,
            proposed: None,
            state: AgentState::Loading,
            record,
            incarnation: Arc::default(),
        }
    }

    /// The word for where it stands.
    pub fn status(&self) -> AgentStatus {
        self.state.status()
    }

    /// What serves.
    pub fn version(&self) -> Option<&Arc<AgentVersion>> {
        self.state.version()
    }

    /// How the last load ended; `None` while the first is under way.
    pub fn last_load(&self) -> Option<LoadReport<'_>> {
        self.state.last_load()
    }

    /// What is remembered of it across restarts.
    pub fn record(&self) -> &Arc<Record> {
        &self.record
    }

    /// The same agent with another record.
    pub(super) fn with_record(self, record: impl Into<Arc<Record>>) -> Self {
        let record = record.into();
        Self { state: self.state.approval_changed(record.pending.is_some()), record, ..self }
    }

    /// The latest settings: of agents.toml, or of whoever registered it.
    pub fn latest_config(&self) -> &Arc<AgentConfig> {
        self.proposed.as_ref().map_or(&self.config, |proposed| &proposed.config)
    }

    /// Whether its last load brought something that could not be written down: another attempt may succeed.
    pub fn is_unrecorded(&self) -> bool {
        let failure = self.last_load().and_then(|load| load.failure);
        matches!(failure, Some(LoadFailure::NotRecorded(_)))
    }

    /// The same agent under these latest settings. What serves keeps its own until its code goes live with
    /// others, but for rights that are withdrawn: those end now. `kept` is the component of what serves by its
    /// settings, where the data folder keeps that.
    pub(super) fn with_latest_config(
        mut self,
        config: &Arc<AgentConfig>,
        kept: Option<Digest>,
        now: SystemTime,
    ) -> Self {
        if self.record.serving.is_none() {
            return Self { config: config.clone(), proposed: None, ..self };
        }
        let nothing_waits = self.record.pending.as_ref().is_none_or(|pending| pending.settings.is_none());
        let for_serving_code = self.proposed.as_ref().is_none_or(|proposed| proposed.for_serving_code)
            && nothing_waits
            && config.component == self.config.component;
        let approved = &self.record.approved;
        if let Some(fewer) = with_fewer_rights(&self.config, config, approved) {
            let grants = fewer.grants.with_approved(approved);
            let settings = fewer.fingerprint(&grants);
            let mut record = self.record.restricted(settings, now);
            record.remember(&fewer, kept);
            if self.version().is_some() {
                let generation = record.generation;
                self.state = self.state.map_version(|version| {
                    let version = AgentVersion { generation, loaded_at: now, ..(*version).clone() };
                    Arc::new(version.under(settings, grants))
                });
                self.record = Arc::new(record);
            }
            self.config = Arc::new(fewer);
        }
        self.proposed = None;
        if *self.config == **config {
            self.config = config.clone();
        } else {
            self.proposed = Some(ProposedConfig { config: config.clone(), for_serving_code });
        }
        self
    }

    /// The same agent without the rights that these settings withdraw, where that could not be written down:
    /// its record stays what is on disk, and so does its generation. `None` if they withdraw none.
    pub(super) fn without_withdrawn_rights(mut self, config: &AgentConfig) -> Option<Self> {
        let approved = &self.record.approved;
        let fewer = with_fewer_rights(&self.config, config, approved)?;
        let grants = fewer.grants.with_approved(approved);
        let settings = fewer.fingerprint(&grants);
        self.state = self.state.map_version(|version| Arc::new((*version).clone().under(settings, grants)));
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
    pub(super) fn proposal_waits_with_code(mut self) -> Self {
        if let Some(proposed) = &mut self.proposed {
            proposed.for_serving_code = false;
        }
        self
    }

    /// The same agent after a load ended.
    pub(super) fn load_finished(mut self, attempt: LoadAttempt, result: Result<(), LoadFailure>) -> Self {
        let pending = self.record.pending.is_some();
        self.state = self.state.load_finished(attempt, result, pending);
        self
    }

    /// The same agent after what was to happen to it could not.
    pub(super) fn failed(self, at: SystemTime, failure: LoadFailure) -> Self {
        self.load_finished(LoadAttempt { at, took: Duration::ZERO, digest: None }, Err(failure))
    }

    /// The same agent with this version serving.
    pub(super) fn went_live(mut self, version: Arc<AgentVersion>, record: Record) -> Self {
        self.card = version.card.clone();
        self.state = self.state.went_live(version, record.pending.is_some());
        self.record = Arc::new(record);
        self
    }
}

/// `now`, without the rights that `next` has not, in part or whole; `None` where it has them all. What `next`
/// grants beyond that is not in it: that comes with the version that is loaded under `next`.
fn with_fewer_rights(now: &AgentConfig, next: &AgentConfig, approved: &Approved) -> Option<AgentConfig> {
    let (has, may) = (now.grants.with_approved(approved), next.grants.with_approved(approved));
    let mut fewer = now.clone();
    for capability in has.wider_than(&may) {
        let left = match (has.policy(capability), may.policy(capability)) {
            // Something comes while something goes: for now what both grant.
            (Some(has), Some(may)) if !has.covers(may) => {
                Some(has.both(may).map_or(Grant::Denied, Grant::Granted))
            }
            _ => next.grants.get(capability).cloned(),
        };
        fewer.grants.set(capability, left);
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
            let routed = agents.get(&entry.key.id).filter(|old| old.version().is_some()).map(|old| &old.card);
            match (entry.version(), routed) {
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
            if agents.remove(&key.id).is_some_and(|old| old.version().is_some()) {
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
        let serving = self.agents().filter(|entry| entry.version().is_some());
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
        let serving = || self.agents_of(tenant).filter(|entry| entry.version().is_some());
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
