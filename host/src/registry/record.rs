//! What is remembered of an agent across restarts, and what follows for a version that wants to
//! serve. Pure: it reads no clock and writes nothing.
//!
//! A generation belongs to an agent, only grows, and is never given twice: it is written down
//! before the version that has it serves.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::config::{AgentConfig, agent_to_json};
use crate::domain::{Approved, Capability, Digest, Policy};

/// The most blocked digests that are remembered of an agent; the oldest are forgotten.
const MAX_BLOCKED: usize = 16;

/// What is remembered of an agent. What is added to it has a default, so that older records are read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The last generation that was given; 0 where none was.
    pub generation: u64,
    /// What serves.
    pub serving: Option<Release>,
    /// What served before, the latest first.
    pub previous: Vec<Release>,
    /// What waits for the operator.
    pub pending: Option<Pending>,
    /// Code that was taken back and is not tried again by itself, the latest first.
    pub blocked: Vec<Blocked>,
    /// What operators approved of gated capabilities. Programs up to 0.1.0 wrote the names alone, and meant all
    /// of each.
    #[serde(deserialize_with = "approved")]
    pub approved: Approved,
    /// The settings that an agent serves under which was registered while the host ran, as JSON text. They
    /// name its component by the digest, so that the data folder can move.
    pub registered: Option<String>,
    /// The settings that an agent of agents.toml serves under, as JSON text: it keeps them while others
    /// wait with other code. A component that the data folder keeps is named by its digest there, too.
    pub under: Option<String>,
    /// The code that its file brought last.
    pub proposed: Option<Digest>,
    /// How what serves does in its first calls, as long as they are counted.
    #[serde(rename = "trial")]
    pub probation: Option<ProbationProgress>,
    /// Whether more than one caller has called it.
    pub many_callers: bool,
    /// When the agent was removed; `None` as long as it is there.
    pub removed: Option<SystemTime>,
}

/// A version that served, or serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The SHA-256 of its component.
    pub digest: Digest,
    /// Its generation.
    pub generation: u64,
    /// A digest of the settings that it serves under.
    pub settings: Digest,
    /// The version that the component states.
    pub version: String,
    /// The gated capabilities that it imports.
    #[serde(deserialize_with = "known")]
    pub capabilities: BTreeSet<Capability>,
    /// The category that it was let in under, where its settings say none; it stays in that one whatever it
    /// says of itself later.
    #[serde(default)]
    pub category: Option<String>,
    /// When it went live.
    pub since: SystemTime,
}

/// A version that asks for more than its agent is granted: code and settings, which wait as one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The SHA-256 of its component.
    pub digest: Digest,
    /// The gated capabilities that it imports and is not granted.
    #[serde(deserialize_with = "known")]
    pub wants: Vec<Capability>,
    /// The category that it says it is of, where that is another than the serving one's: it would move into
    /// other keys' scopes.
    #[serde(default)]
    pub category: Option<String>,
    /// Since when it waits.
    pub since: SystemTime,
    /// The settings that wait with it, as JSON text; `None` where they are those that serve.
    #[serde(default)]
    pub settings: Option<String>,
}

impl Pending {
    /// Names all that waits: the code, what it wants, and the settings with it. Two that differ in any of
    /// these have different stamps.
    pub fn stamp(&self) -> Digest {
        let Self { digest, wants, category, since: _, settings } = self;
        let all = serde_json::json!([digest.to_string(), wants, category, settings]);
        Digest::of(all.to_string().as_bytes())
    }

    /// Everything that it wants, in words.
    pub fn wants_in_words(&self) -> Vec<String> {
        let category = self.category.iter().map(|category| match category.as_str() {
            "" => "no category".to_owned(),
            category => format!("category: {category}"),
        });
        self.wants.iter().map(Capability::to_string).chain(category).collect()
    }
}

/// Capabilities by name. What this program does not know is left out: a later one wrote it, and what is not
/// known is not granted.
fn known<'de, D: Deserializer<'de>, C: FromIterator<Capability>>(deserializer: D) -> Result<C, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    Ok(names.iter().filter_map(|name| Capability::parse(name).ok()).collect())
}

/// Policies by capability, or names alone. What this program does not know is left out.
fn approved<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Approved, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Names(Vec<String>),
        Policies(BTreeMap<String, Value>),
    }
    let policies = match Written::deserialize(deserializer)? {
        Written::Names(names) => names.into_iter().map(|name| (name, Value::Bool(true))).collect(),
        Written::Policies(policies) => policies,
    };
    let known = policies.iter().filter_map(|(name, policy)| {
        let capability = Capability::parse(name).ok()?;
        Some((capability, Policy::from_json(capability, policy)?))
    });
    Ok(known.collect())
}

/// A version that was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// The SHA-256 of its component.
    pub digest: Digest,
    /// Why.
    pub reason: String,
}

/// How a version does, as far as it was saved: its probation goes on from there after a restart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbationProgress {
    /// The SHA-256 of its component.
    pub digest: Digest,
    /// Calls that were counted.
    pub calls: u32,
    /// Faults that were counted, by caller.
    pub faults: BTreeMap<String, u32>,
}

/// A version that is ready and wants to serve.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) digest: Digest,
    /// A digest of the settings that it would serve under.
    pub(super) settings: Digest,
    /// The digest that programs up to 0.1.0 made of the same settings, if they could have them.
    pub(super) settings_of_0_1: Option<Digest>,
    /// Those settings as JSON text, where they have to wait with the code.
    pub(super) with: Option<String>,
    /// The version that the component states.
    pub(super) version: String,
    /// The gated capabilities that it imports.
    pub(super) capabilities: BTreeSet<Capability>,
    /// Those of them that it is not granted.
    pub(super) ungranted: Vec<Capability>,
    /// The category that it says it is of; `None` where its settings say one.
    pub(super) category: Option<String>,
}

impl Candidate {
    /// Whether its settings are those of this digest.
    fn is_under(&self, settings: Digest) -> bool {
        settings == self.settings || Some(settings) == self.settings_of_0_1
    }
}

/// An agent's settings as the JSON text that they are kept as. Where the data folder keeps their component,
/// as `kept`, it is named by that: the folder can move.
pub(super) fn settings_text(config: &AgentConfig, kept: Option<Digest>) -> String {
    let mut settings = agent_to_json(config);
    let component = kept.map_or_else(|| config.component.display().to_string(), |kept| kept.to_string());
    settings.insert("component".to_owned(), component.into());
    serde_json::Value::Object(settings).to_string()
}

/// What brought a candidate. Each has its own rules, and every rule names each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// A file as it is now, with what agents.toml says, while this code served.
    Proposed { beside: Option<Digest> },
    /// Somebody who registers it now.
    Registered,
    /// An operator let it in, and granted it this.
    Approved {
        grants: Approved,
        /// The stamp of what waited when they said so; `None` where nothing did.
        seen: Option<Digest>,
    },
    /// What serves, or served last: at a start, or under other settings.
    Resumed,
    /// An earlier version comes back in place of this code, for this reason.
    RolledBack { from: Digest, reason: String },
}

/// Whether a candidate is admitted, and the record after that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is what serves already, as this release: under the same settings and generation.
    Same(Record, Release),
    /// It goes live as this release.
    Live(Record, Release),
    /// It waits for the operator.
    Waits(Record),
    /// It was taken back before.
    Blocked(String),
    /// What it was made beside is no longer so: another attempt has to be made, or none.
    Stale,
}

impl Record {
    /// Whether an attempt with this code is still what its cause meant, whatever was decided since it
    /// was begun.
    pub(super) fn stands(&self, cause: &Cause, digest: Option<Digest>) -> bool {
        let serving = self.serving_digest();
        match cause {
            Cause::Proposed { beside } => serving == *beside,
            // A word for this code under these settings, whatever serves.
            Cause::Registered => true,
            // The operator has seen what waited then.
            Cause::Approved { seen, .. } => {
                let waits = self.pending.as_ref().map(Pending::stamp);
                digest.is_some_and(|digest| self.waits(&digest)) && waits == *seen
            }
            // It brings nothing back: what was taken back or replaced meanwhile stays so.
            Cause::Resumed => serving.is_some() && serving == digest,
            Cause::RolledBack { from, .. } => serving == Some(*from) && digest != Some(*from),
        }
    }

    /// Decides about `candidate`; at most `keep` earlier versions are remembered.
    pub(super) fn admit(
        &self,
        candidate: &Candidate,
        cause: &Cause,
        keep: usize,
        now: SystemTime,
    ) -> Admission {
        if !self.stands(cause, Some(candidate.digest)) {
            return Admission::Stale;
        }
        let serving = self.serving.as_ref();
        let same_code = self.serving_digest() == Some(candidate.digest);
        let category = self.category_of(candidate, cause);
        let mut record = self.clone();
        // Whether it is admitted at all.
        match cause {
            Cause::Proposed { .. } | Cause::Registered => {
                if !same_code && let Some(blocked) = self.blocked(&candidate.digest) {
                    return Admission::Blocked(blocked.reason.clone());
                }
                if matches!(cause, Cause::Proposed { .. }) {
                    record.proposed = Some(candidate.digest);
                }
                if !same_code && let Some(pending) = self.waiting(candidate, now) {
                    record.pending = Some(pending);
                    return Admission::Waits(record);
                }
                record.pending = None;
            }
            Cause::Approved { grants, .. } => {
                record.approved.extend(grants.clone());
                record.pending = None;
            }
            // What serves for now is no word on what waits.
            Cause::Resumed | Cause::RolledBack { .. } => {
                record.pending.take_if(|pending| pending.digest == candidate.digest);
            }
        }
        if let Some(serving) = serving
            && same_code
            && candidate.is_under(serving.settings)
        {
            // A record of a program before is brought to this one's digest: it is the same version.
            let release = Release { category, settings: candidate.settings, ..serving.clone() };
            record.serving = Some(release.clone());
            return Admission::Same(record, release);
        }
        record.generation += 1;
        let release = Release {
            digest: candidate.digest,
            generation: record.generation,
            settings: candidate.settings,
            version: candidate.version.clone(),
            capabilities: candidate.capabilities.clone(),
            category,
            since: now,
        };
        let was = record.serving.replace(release.clone());
        record.blocked.retain(|blocked| blocked.digest != candidate.digest);
        match cause {
            Cause::RolledBack { from, reason } => {
                // What came between was gone back behind, too.
                let to = record.previous.iter().position(|release| release.digest == candidate.digest);
                record.previous.drain(..to.map_or(0, |to| to + 1));
                record.previous.retain(|release| release.digest != *from);
                record.block(*from, reason.clone());
            }
            Cause::Proposed { .. } | Cause::Registered | Cause::Approved { .. } | Cause::Resumed => {
                // Other settings are no other code: what comes back by a rollback is code.
                record.previous.retain(|release| release.digest != candidate.digest);
                let was = was.filter(|was| was.digest != candidate.digest);
                if let Some(was) = &was
                    && matches!(cause, Cause::Approved { .. })
                    && record.proposed == Some(was.digest)
                {
                    // Its file still holds it: without this the next start would undo the approval.
                    let reason = format!("an operator let {} in, in its place", candidate.digest);
                    record.block(was.digest, reason);
                }
                record.previous.splice(0..0, was);
                record.previous.truncate(keep);
            }
        }
        Admission::Live(record, release)
    }

    /// The candidate as it waits, since it first came: other code than what serves, which wants more. `None`
    /// if it wants nothing. The first version was named by the operator together with its grants.
    fn waiting(&self, candidate: &Candidate, now: SystemTime) -> Option<Pending> {
        let serving = self.serving.as_ref()?;
        let news = |capability: &Capability| !serving.capabilities.contains(capability);
        let wants: Vec<Capability> = candidate.ungranted.iter().copied().filter(news).collect();
        let category = self.moves_to(candidate);
        if wants.is_empty() && category.is_none() {
            return None;
        }
        let before = self.pending.as_ref().filter(|pending| pending.digest == candidate.digest);
        let since = before.map_or(now, |pending| pending.since);
        let settings = candidate.with.clone();
        Some(Pending { digest: candidate.digest, wants, category, since, settings })
    }

    /// The category into which this new code would move the agent by its own word. Where no word of a guest
    /// was let in before, that cannot be told, and it is asked as well.
    fn moves_to(&self, candidate: &Candidate) -> Option<String> {
        let serving = self.serving.as_ref()?;
        candidate.category.clone().filter(|said| serving.category.as_ref() != Some(said))
    }

    /// The category that a candidate serves in, as far as that is not its settings' to say. Other code moves
    /// by an operator's word alone, and code that serves does not move at all: what it says of itself can
    /// change with its limits, or with the clock.
    fn category_of(&self, candidate: &Candidate, cause: &Cause) -> Option<String> {
        let said = candidate.category.clone()?;
        let let_in = |release: &Release| release.category.clone();
        let stays = || self.serving.as_ref().and_then(let_in);
        let decided = match cause {
            Cause::Proposed { .. } | Cause::Registered | Cause::Resumed => stays(),
            Cause::Approved { .. } => {
                let asked = self.pending.as_ref().filter(|pending| pending.digest == candidate.digest);
                asked.and_then(|pending| pending.category.clone()).or_else(stays)
            }
            Cause::RolledBack { .. } => {
                let before = self.previous.iter().find(|release| release.digest == candidate.digest);
                before.and_then(let_in).or_else(stays)
            }
        };
        Some(decided.unwrap_or(said))
    }

    /// Whether this code is, was or would be this agent's.
    pub fn names(&self, digest: &Digest) -> bool {
        self.digests().any(|own| own == *digest)
    }

    /// The record after what serves goes on with fewer rights: the same code, under settings of this
    /// digest.
    pub(super) fn restricted(&self, settings: Digest, now: SystemTime) -> Self {
        let mut record = self.clone();
        if let Some(serving) = &mut record.serving
            && serving.settings != settings
        {
            record.generation += 1;
            serving.generation = record.generation;
            serving.settings = settings;
            serving.since = now;
        }
        record
    }

    /// Writes down the settings that it serves under, for an agent of agents.toml: those of one that was
    /// registered are kept as they were given. `kept` is as [`settings_text`] has it.
    pub(super) fn remember(&mut self, config: &AgentConfig, kept: Option<Digest>) {
        if self.registered.is_none() {
            self.under = Some(settings_text(config, kept));
        }
    }

    /// The code that serves.
    pub(super) fn serving_digest(&self) -> Option<Digest> {
        self.serving.as_ref().map(|serving| serving.digest)
    }

    /// Whether this code waits for an operator's word: for rights, or because it was taken back.
    pub(super) fn waits(&self, digest: &Digest) -> bool {
        match &self.pending {
            Some(pending) => pending.digest == *digest,
            None => self.blocked(digest).is_some(),
        }
    }

    /// Why this code is not tried again, if it was taken back.
    pub(super) fn blocked(&self, digest: &Digest) -> Option<&Blocked> {
        self.blocked.iter().find(|blocked| blocked.digest == *digest)
    }

    fn block(&mut self, digest: Digest, reason: String) {
        self.blocked.retain(|blocked| blocked.digest != digest);
        self.blocked.insert(0, Blocked { digest, reason });
        self.blocked.truncate(MAX_BLOCKED);
    }

    /// What is kept of an agent that is removed. One of agents.toml finds everything if it comes back
    /// there: a file can lose a part by accident. Who removes a registered agent has said so, and
    /// somebody else may take its id.
    pub(super) fn removed(&self, now: SystemTime) -> Self {
        let all = if self.registered.is_some() { self.bare() } else { self.clone() };
        Self { removed: Some(now), ..all }
    }

    /// What an agent finds that comes back in agents.toml.
    pub(super) fn returned(&self) -> Self {
        Self { removed: None, ..self.clone() }
    }

    /// What is left where nothing else is to be known: generations go on.
    pub(super) fn bare(&self) -> Self {
        Self { generation: self.generation, ..Self::default() }
    }

    /// The components that this agent may still need.
    pub(super) fn digests(&self) -> impl Iterator<Item = Digest> + '_ {
        let releases = self.serving.iter().chain(&self.previous).map(|release| release.digest);
        let pending = self.pending.iter().map(|pending| pending.digest);
        // The last one that was taken back may be let in again.
        releases.chain(pending).chain(self.blocked.first().map(|blocked| blocked.digest))
    }
}

#[cfg(test)]
mod tests;
