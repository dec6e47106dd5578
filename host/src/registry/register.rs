//! Agents that come and go while the host runs: registered, replaced, made many of, removed.
//!
//! They pass the same gates as files do, and are kept across restarts. An agent of agents.toml is
//! not theirs to touch.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use serde_json::{Map, Value};

use super::Registry;
use super::agent::LoadedVersion;
use super::change::Changed;
use super::commit::{Amendment, Atomicity, Committed};
use super::draft::{Attempt, Basis};
use super::load::{LoadFailure, PreparedComponent};
use super::outcome::Outcome;
use super::record::Cause;
use super::retired::Retired;
use super::snapshot::{AgentEntry, Snapshot};
use super::store::component_in;
use super::versions::ChangeError;
use crate::config::{AgentConfig, Config, Problems, agent_from_json, agent_to_json};
use crate::domain::rights::Decision;
use crate::domain::{AgentId, AgentKey, Approved, Capability, Digest};
use crate::engine::Origin;
use crate::telemetry::event::Event;

/// The most agents that one request makes of a template.
pub const MAX_GENERATED: usize = 10_000;

/// The most requests that register agents at once, all those that wait to be tried included.
pub(super) const MAX_REGISTERING: usize = 64;

/// Why an agent was not registered.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RegisterError {
    /// There is one of this id.
    #[error("there is an agent `{0}` already; `PUT` replaces one that was registered at run time")]
    Exists(AgentId),
    /// The agent whose component is to be shared is not there.
    #[error("`component` names neither a digest nor an agent: there is no agent `{0}`")]
    NoSuchAgent(AgentId),
    /// Its settings, its id or its template are wrong.
    #[error("{0}")]
    Invalid(String),
    /// The component that is named is not here.
    #[error(
        "no component with the digest {0} is here: send its bytes, or name an agent whose component to share"
    )]
    NoComponent(Digest),
    /// Too many others do the same.
    #[error("{MAX_REGISTERING} agents are being registered already; try again in a few seconds")]
    Busy,
    /// The settings that are to be stored could not be read at the next start.
    #[error(transparent)]
    Settings(#[from] StoredSettingsError),
    /// What else stands in the way.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

/// What somebody's word would make of an agent.
pub struct Placing<'a> {
    /// Whose it is, and its id.
    pub key: &'a AgentKey,
    /// The category of the one that is there, if there is one.
    pub over: Option<&'a str>,
    /// The category that it would be in.
    pub category: &'a str,
    /// The gated capabilities that this word grants: to code that had them not.
    pub granted: Vec<Capability>,
}

/// Decides whether somebody may do that. It is asked when the agent has described itself, right before it is
/// done: rights may have gone since it was asked for.
pub type MayPlace = Box<dyn Fn(&Placing<'_>) -> Decision + Send + Sync>;

/// Asks whether it may be done.
pub(super) fn allowed(
    may_place: &(dyn Fn(&Placing<'_>) -> Decision + Send + Sync),
    placing: &Placing<'_>,
) -> Result<(), ChangeError> {
    match may_place(placing) {
        Decision::Allowed => Ok(()),
        decision => Err(ChangeError::NotAllowed(placing.key.id.clone(), decision)),
    }
}

/// The capabilities of which `config`, and what its code imports, come to more than the same code has already
/// in the place of which it comes.
fn granted_to(config: &AgentConfig, version: &LoadedVersion, over: Option<&AgentEntry>) -> Vec<Capability> {
    let same = over.filter(|entry| entry.record().serving_digest() == Some(version.digest));
    let had = same.map(|entry| entry.config.grants.with_approved(&entry.record().approved));
    let mut granted = version.rights.grants.wider_than(&had.unwrap_or_default());
    // What was approved and is not imported is of no use to this code.
    let imported = version.component.capabilities();
    granted.retain(|one| config.grants.policy(*one).is_some() || imported.contains(one));
    granted
}

/// The settings of an agent that is registered, from JSON in which `component` is a digest: in the data
/// folder, wherever that lies now.
///
/// # Errors
/// Everything that is wrong with them.
pub fn registered_from_json(
    config: &Config,
    key: &AgentKey,
    settings: &Map<String, Value>,
) -> Result<AgentConfig, Problems> {
    let mut settings = settings.clone();
    if let Some(Value::String(component)) = settings.get_mut("component")
        && let Some(digest) = Digest::from_hex(component)
    {
        *component = component_in(&config.server.data_dir, &digest).display().to_string();
    }
    agent_from_json(config, key, &settings)
}

/// Why the settings that were stored of an agent cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoredSettingsError {
    /// They are no JSON object any more.
    #[error("its stored settings are damaged ({0}); register the agent again, or restore registry.db")]
    Damaged(String),
    /// Settings like these are not valid any more.
    #[error("its stored settings are no longer valid: {0}")]
    Invalid(Problems),
}

/// The settings of an agent from the JSON text under which they are stored: of one that was registered, or as
/// they wait for approval.
///
/// # Errors
/// If the text is damaged, or what is wrong with the settings.
pub fn stored_settings(
    config: &Config,
    key: &AgentKey,
    text: &str,
) -> Result<AgentConfig, StoredSettingsError> {
    let settings: Map<String, Value> =
        serde_json::from_str(text).map_err(|error| StoredSettingsError::Damaged(error.to_string()))?;
    registered_from_json(config, key, &settings).map_err(StoredSettingsError::Invalid)
}

/// An agent to be registered.
pub struct Registration {
    /// Whose it is, and its id.
    pub key: AgentKey,
    /// Its code.
    pub component: Component,
    /// Whether one of this id may be there.
    pub place: Place,
    /// Whether it may go there.
    pub may_place: MayPlace,
    /// Who registers it: tenant and key.
    pub by: String,
}

/// The code of an agent that is registered.
pub enum Component {
    /// These bytes.
    Bytes(Arc<[u8]>),
    /// The one of this digest that is here.
    Digest(Digest),
    /// The one that serves this agent now.
    Of(AgentKey),
}

/// Where a registered agent goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Where none is.
    New,
    /// In the place of one that was registered before, if there is one.
    Replace,
}

/// Agents to be made of a template.
pub struct Generate {
    /// Whose component and settings they have.
    pub template: AgentKey,
    /// Their ids: the prefix, and a number of at least three digits. They are the template's tenant's.
    pub ids: Vec<AgentId>,
    /// Words for people and tools, beside the template's own.
    pub tags: Vec<String>,
    /// Calls of each that run at once.
    pub max_concurrent: Option<u32>,
}

impl Registry {
    /// Registers an agent; `settings` makes, for the digest of its component, its settings and the text
    /// under which they are remembered.
    ///
    /// # Errors
    /// [`RegisterError`] says what to change; nothing has changed then.
    pub(crate) async fn register(
        &self,
        registration: Registration,
        settings: impl FnOnce(&Digest) -> Result<(AgentConfig, String), RegisterError>,
    ) -> Result<Changed, RegisterError> {
        let began = Instant::now();
        let _place = self.inner.registering.try_acquire().map_err(|_| RegisterError::Busy)?;
        let Registration { key, component, place, may_place, by } = registration;
        let over = match self.entry(&key) {
            Err(_) => None,
            Ok(entry) if !entry.is_registered() => return Err(ChangeError::OfTheFile(key.id).into()),
            Ok(_) if place == Place::New => return Err(RegisterError::Exists(key.id)),
            Ok(entry) => Some(entry),
        };
        let agent = format!("{}/{}", key.tenant, key.id);
        let from = Origin::Request { by: &by, agent: &agent };
        let prepared = self.component(component, from).await?;
        let (config, text) = settings(&prepared.digest())?;
        let config = Arc::new(config);
        let approved = over.as_ref().map(|entry| entry.record().approved.clone()).unwrap_or_default();
        let result = match self.inner.loader.self_test(&config, &prepared).await {
            Ok(()) => self.inner.loader.version(&config, &approved, &prepared).await,
            Err(failure) => Err(failure),
        };
        if let Ok(version) = &result {
            let granted = granted_to(&config, version, over.as_deref());
            let standing = over.as_ref().map(|entry| entry.card.category.as_str());
            let category = &version.card.category;
            allowed(&may_place, &Placing { key: &key, over: standing, category, granted })?;
        }
        let basis = Basis::Registered {
            settings: text.into(),
            over: over.map(|entry| entry.latest_config().clone()),
        };
        let digest = Some(prepared.digest());
        let attempt = Attempt { config, cause: Cause::Registered, basis, began, digest, result };
        self.registered(&key, self.commit(vec![attempt], Atomicity::Independent).await.pop())
    }

    /// Makes agents of a template, all or none; returns the template as it was. `read` is [`stored_settings`]
    /// under the settings file.
    ///
    /// # Errors
    /// [`RegisterError`] says what to change; nothing has changed then.
    pub(crate) async fn generate(
        &self,
        generate: Generate,
        read: impl FnOnce(&AgentKey, &str) -> Result<AgentConfig, StoredSettingsError>,
        may_place: MayPlace,
    ) -> Result<Arc<AgentEntry>, RegisterError> {
        let began = Instant::now();
        let Generate { template, ids, tags, max_concurrent } = generate;
        let template = self.entry(&template)?;
        let version = template.version().cloned().ok_or_else(|| {
            RegisterError::Invalid(format!("no version of the template `{}` serves", template.key.id))
        })?;
        let snapshot = self.snapshot();
        let tenant = &template.key.tenant;
        if let Some(taken) = ids.iter().find(|id| snapshot.find(tenant, id.as_str()).is_some()) {
            return Err(RegisterError::Exists(taken.clone()));
        }
        drop(snapshot);
        let keys: Vec<_> = ids.iter().map(|id| AgentKey::new(tenant, id)).collect();
        let Some(first) = keys.first() else { return Ok(template) };
        let mut like = (*template.config).clone();
        // What was approved of the template is granted to what is made of it.
        like.grants = like.grants.with_approved(&template.record().approved);
        like.tags.extend(tags.into_iter().filter(|tag| !template.config.tags.contains(tag)));
        like.max_concurrent = max_concurrent.or(like.max_concurrent);
        let mut settings = agent_to_json(&like);
        settings.insert("component".to_owned(), version.digest.to_string().into());
        let settings: Arc<str> = Value::Object(settings).to_string().into();
        // What cannot be read would be gone after a restart.
        let like = read(first, &settings)?;
        let mut attempts = Vec::with_capacity(keys.len());
        for key in keys {
            let config = Arc::new(AgentConfig { key, ..like.clone() });
            let result = self.inner.loader.version(&config, &Approved::new(), &version.prepared).await;
            if let Ok(made) = &result {
                let granted = granted_to(&config, made, None);
                let category = &made.card.category;
                allowed(&may_place, &Placing { key: &config.key, over: None, category, granted })?;
            }
            let basis = Basis::Registered { settings: settings.clone(), over: None };
            let digest = Some(version.digest);
            attempts.push(Attempt { config, cause: Cause::Registered, basis, began, digest, result });
        }
        let keys: Vec<_> = attempts.iter().map(|attempt| attempt.config.key.clone()).collect();
        let committed = self.commit(attempts, Atomicity::AllOrNothing).await;
        if committed.is_empty() {
            return Err(ChangeError::Failed(LoadFailure::Interrupted).into());
        }
        let will_serve = |one: &Committed| matches!(one.outcome, Outcome::Live(_) | Outcome::Same);
        match keys.into_iter().zip(committed).find(|(_, one)| !will_serve(one)) {
            None => {
                self.learn_ahead();
                Ok(template)
            }
            // Somebody was faster.
            Some((key, Committed { outcome: Outcome::Stale, .. })) => Err(RegisterError::Exists(key.id)),
            Some((key, one)) => self.registered(&key, Some(one)).map(|_| template),
        }
    }

    /// Removes an agent that was registered at run time; returns what it was. Its calls in flight end as they
    /// would have. `may` is asked right before it goes: rights may have gone since it was asked for, and the
    /// agent may be another.
    ///
    /// # Errors
    /// If there is none, if it is of agents.toml, or if it may not be removed.
    pub(crate) async fn remove(
        &self,
        key: &AgentKey,
        may: impl Fn(&AgentEntry) -> Decision + Send + 'static,
    ) -> Result<Arc<AgentEntry>, ChangeError> {
        if !self.entry(key)?.is_registered() {
            return Err(ChangeError::OfTheFile(key.id.clone()));
        }
        let wanted = key.clone();
        // It may be named by agents.toml by now.
        let decided = Arc::new(OnceLock::new());
        let decision = decided.clone();
        let removal = move |current: &Snapshot, _: &Retired| {
            let registered = current.agent(&wanted).filter(|entry| entry.is_registered());
            let goes =
                registered.is_some_and(|entry| *decision.get_or_init(|| may(entry)) == Decision::Allowed);
            Amendment { removed: goes.then_some(wanted).into_iter().collect(), ..Amendment::default() }
        };
        let removed = self.amend([key.clone()], removal).await.map_err(ChangeError::Failed)?.pop();
        let Some(removed) = removed else {
            if let Some(decision) = decided.get().filter(|decision| **decision != Decision::Allowed) {
                return Err(ChangeError::NotAllowed(key.id.clone(), *decision));
            }
            self.entry(key)?;
            return Err(ChangeError::OfTheFile(key.id.clone()));
        };
        tracing::info!(name: Event::AgentRemoved.name(), tenant = %key.tenant, agent = %key.id, "agent removed");
        Ok(removed)
    }

    async fn component(
        &self,
        component: Component,
        from: Origin<'_>,
    ) -> Result<Arc<PreparedComponent>, RegisterError> {
        let failed = |failure| RegisterError::Change(ChangeError::Failed(failure));
        match component {
            Component::Bytes(bytes) => self.inner.loader.bytes(bytes, from).await.map_err(failed),
            Component::Digest(digest) => match self.stored(&digest).await {
                Err(LoadFailure::Missing { .. }) => Err(RegisterError::NoComponent(digest)),
                other => other.map_err(failed),
            },
            Component::Of(key) => match self.entry(&key).map(|entry| entry.version().cloned()) {
                Ok(Some(version)) => Ok(version.prepared.clone()),
                Err(_) => Err(RegisterError::NoSuchAgent(key.id)),
                Ok(None) => Err(RegisterError::Invalid(format!(
                    "no version of `{}` serves, whose component to share",
                    key.id
                ))),
            },
        }
    }

    fn registered(&self, key: &AgentKey, committed: Option<Committed>) -> Result<Changed, RegisterError> {
        Err(match committed {
            Some(Committed {
                outcome: Outcome::Live(_) | Outcome::Same | Outcome::Waits(_),
                before,
                after: Some(after),
            }) => {
                self.learn_ahead();
                return Ok(Changed { before, after });
            }
            Some(Committed { outcome: Outcome::Failed(failure), .. }) => ChangeError::Failed(failure).into(),
            Some(_) => ChangeError::Overtaken(key.id.clone()).into(),
            None => ChangeError::Failed(LoadFailure::Interrupted).into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{NoEnvironment, parse};
    use crate::domain::TenantId;

    #[test]
    fn stored_settings_that_are_damaged_are_not_taken_for_empty_ones() {
        let config = parse("", "agents.toml", Path::new("/srv"), &NoEnvironment).expect("settings");
        let id = AgentId::parse("a").expect("an id");
        let key = AgentKey::new(&TenantId::default_tenant(), &id);
        let text = r#"{"component":"a.wasm","name":"A","tags":["x"]}"#;
        let read = stored_settings(&config, &key, text).expect("settings");
        assert_eq!((read.key, read.overlay.name.as_deref()), (key.clone(), Some("A")));
        for end in 0..text.len() {
            let damaged = stored_settings(&config, &key, &text[..end]);
            assert!(matches!(damaged, Err(StoredSettingsError::Damaged(_))), "{end}: {damaged:?}");
        }
        for (other, word) in [("[]", "damaged"), ("null", "damaged"), (r#"{"component":1}"#, "component")] {
            let error = stored_settings(&config, &key, other).expect_err("it is refused").to_string();
            assert!(error.contains(word), "{other}: {error}");
        }
    }
}
