//! An agent's version: code, rights, limits and what it says of itself, all immutable.

use std::sync::Arc;
use std::time::SystemTime;

use super::load::PreparedComponent;
use super::probation::Probation;
use super::record::{Candidate, Release};
use crate::capabilities::AgentRights;
use crate::config::{AgentConfig, Limits, Overlay};
use crate::domain::{AgentId, AgentKey, Capability, Digest, Grant, Grants};
use crate::engine::{ContextSchema, Description, LinkedComponent, Pace};

/// What clients see of an agent: its own description, overlaid by agents.toml.
#[derive(Debug, Clone, PartialEq)]
pub struct Card {
    /// For people.
    pub name: Arc<str>,
    /// What it does.
    pub description: String,
    /// A word that groups agents; may be empty.
    pub category: String,
    /// The version of its code; empty while that is unknown.
    pub version: Arc<str>,
    /// Words and phrases that call for it.
    pub triggers: Vec<String>,
    /// Example tasks.
    pub examples: Vec<String>,
    /// The language model it uses.
    pub model: Option<Arc<str>>,
    /// What a task costs, as text.
    pub cost_per_query: Option<String>,
    /// What a call without a query stands for.
    pub default_query: Option<String>,
    /// The JSON schema of `context`.
    pub context_schema: Option<serde_json::Value>,
}

impl Card {
    /// What the operator overrides, and for the rest what the component says of itself.
    pub(super) fn new(own: &Description, overlay: &Overlay) -> Self {
        let text = |over: &Option<String>, own: &str| over.clone().unwrap_or_else(|| own.to_owned());
        let maybe = |over: &Option<String>, own: &Option<String>| over.clone().or_else(|| own.clone());
        let own_examples = || own.examples.iter().map(|example| example.task.clone()).collect();
        Self {
            name: text(&overlay.name, &own.name).into(),
            description: text(&overlay.description, &own.description),
            category: text(&overlay.category, &own.category),
            version: own.version.as_str().into(),
            triggers: overlay.triggers.clone().unwrap_or_else(|| own.triggers.clone()),
            examples: overlay.examples.clone().unwrap_or_else(own_examples),
            model: maybe(&overlay.model, &own.model).map(Into::into),
            cost_per_query: maybe(&overlay.cost_per_query, &own.cost_per_query),
            default_query: maybe(&overlay.default_query, &own.default_query),
            context_schema: own.context_schema.as_ref().map(|schema| schema.value().clone()),
        }
    }

    /// What is known before the component has spoken.
    pub(super) fn from_overlay(id: &AgentId, overlay: &Overlay) -> Self {
        Self {
            name: overlay.name.clone().unwrap_or_else(|| id.to_string()).into(),
            description: overlay.description.clone().unwrap_or_default(),
            category: overlay.category.clone().unwrap_or_default(),
            version: "".into(),
            triggers: overlay.triggers.clone().unwrap_or_default(),
            examples: overlay.examples.clone().unwrap_or_default(),
            model: overlay.model.clone().map(Into::into),
            cost_per_query: overlay.cost_per_query.clone(),
            default_query: overlay.default_query.clone(),
            context_schema: None,
        }
    }

    /// The router's view of it, under this id.
    pub(super) fn routed(&self, id: String) -> stockade_router::Agent {
        stockade_router::Agent {
            id,
            name: self.name.to_string(),
            description: self.description.clone(),
            triggers: self.triggers.clone(),
            category: self.category.clone(),
            examples: self.examples.clone(),
        }
    }
}

/// One version of an agent, ready to run. A call holds it until it ends.
#[derive(Clone)]
pub struct AgentVersion {
    /// Whose version this is.
    pub key: AgentKey,
    /// Counts up with every version that goes live.
    pub generation: u64,
    /// The SHA-256 of the component.
    pub digest: Digest,
    /// What clients see.
    pub card: Arc<Card>,
    /// What one call may spend.
    pub limits: Limits,
    /// A digest of the settings that it serves under.
    pub settings: Digest,
    /// When it was loaded.
    pub loaded_at: SystemTime,
    /// The code.
    pub component: Arc<LinkedComponent>,
    /// What it may reach.
    pub rights: Arc<AgentRights>,
    /// Calls that may run at once, where the agent says.
    pub max_concurrent: Option<u32>,
    /// Calls that may wait, where the agent says.
    pub queue: Option<u32>,
    /// What a task's `context` must satisfy.
    pub context_schema: Option<Arc<ContextSchema>>,
    /// How long its calls are.
    pub pace: Arc<Pace>,
    /// How its code does, from its first generation on.
    pub(super) probation: Arc<Probation>,
    /// Kept so that the next agent with this component finds it prepared.
    pub(super) prepared: Arc<PreparedComponent>,
}

impl AgentVersion {
    /// The gated capabilities that it imports, and what it is granted of each.
    pub fn grants(&self) -> Grants {
        let granted = |capability| self.rights.grants.policy(capability).cloned();
        let grant = |capability| granted(capability).map_or(Grant::Denied, Grant::Granted);
        self.component.capabilities().iter().map(|capability| (*capability, grant(*capability))).collect()
    }

    /// The gated capabilities that it imports, and is granted nothing of.
    pub fn ungranted(&self) -> Vec<Capability> {
        ungranted(&self.component, &self.rights)
    }

    /// The same code with these rights, under settings of this digest.
    pub(super) fn under(mut self, settings: Digest, grants: Grants) -> Self {
        self.settings = settings;
        let config = self.rights.config.clone();
        self.rights = Arc::new(AgentRights { id: self.key.id.clone(), grants, config });
        self
    }
}

/// The gated capabilities that a component imports, and is granted nothing of.
fn ungranted(component: &LinkedComponent, rights: &AgentRights) -> Vec<Capability> {
    let imported = component.capabilities().iter().copied();
    imported.filter(|capability| rights.grants.policy(*capability).is_none()).collect()
}

/// A version that was loaded and is not published: it has no generation, and nobody calls it.
pub(super) struct LoadedVersion {
    pub(super) key: AgentKey,
    pub(super) digest: Digest,
    pub(super) card: Arc<Card>,
    pub(super) limits: Limits,
    pub(super) settings: Digest,
    pub(super) component: Arc<LinkedComponent>,
    pub(super) rights: Arc<AgentRights>,
    pub(super) max_concurrent: Option<u32>,
    pub(super) queue: Option<u32>,
    pub(super) context_schema: Option<Arc<ContextSchema>>,
    pub(super) prepared: Arc<PreparedComponent>,
}

impl LoadedVersion {
    /// The version as this release of it: in the category under which it was admitted, whatever it says of
    /// itself.
    pub(super) fn publish(self, release: &Release, probation: Arc<Probation>) -> AgentVersion {
        let Self { key, digest, mut card, limits, settings, component, rights, .. } = self;
        let Self { max_concurrent, queue, context_schema, prepared, .. } = self;
        if let Some(category) = release.category.as_ref().filter(|category| **category != card.category) {
            card = Arc::new(Card { category: category.clone(), ..(*card).clone() });
        }
        AgentVersion {
            key,
            generation: release.generation,
            digest,
            card,
            limits,
            settings,
            // As the record has it, so that it is the same after a restart.
            loaded_at: release.since,
            component,
            rights,
            max_concurrent,
            queue,
            context_schema,
            pace: Arc::default(),
            probation,
            prepared,
        }
    }

    /// What its agent's record needs to know of it, under the settings `config`.
    pub(super) fn candidate(&self, config: &AgentConfig) -> Candidate {
        Candidate {
            digest: self.digest,
            settings: self.settings,
            settings_of_0_1: config.fingerprint_of_0_1(&self.rights.grants),
            version: self.card.version.to_string(),
            with: None,
            capabilities: self.component.capabilities().clone(),
            ungranted: ungranted(&self.component, &self.rights),
            // What the settings say is the operator's decision already.
            category: config.overlay.category.is_none().then(|| self.card.category.clone()),
        }
    }
}
