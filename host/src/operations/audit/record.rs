//! What a record of the audit says, and which are asked for. Pure.

use std::collections::BTreeMap;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::Failure;
use super::super::agents::time;
use super::{FILE, SETTINGS};
use crate::config::diff::Diff;
use crate::config::{AgentConfig, Config, KeyConfig, agent_to_json};
use crate::domain::{AgentId, CapabilityScope, Digest, RequestId, Role, TenantId, text};
use crate::registry::AgentEntry;

/// What is kept of a text that a component or a client wrote, in bytes.
const TEXT_KEPT: usize = 200;
/// What is kept of a setting's value, in bytes.
const VALUE_KEPT: usize = 1_000;

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubjectKind {
    /// An agent: the subject is its id.
    Agent,
    /// A key of agents.toml: the subject is its name.
    Key,
    /// Settings of the host: the subject is their name in agents.toml, such as `server.max_body`.
    Settings,
}

/// One change.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct AuditRecord {
    /// Grows with each record: a later change has a larger one.
    pub id: i64,
    /// When the change began.
    #[serde(serialize_with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub at: SystemTime,
    /// Whose agents or keys it is about.
    #[schema(value_type = String)]
    pub tenant: TenantId,
    /// The name of the key with which it was asked for; `file` where a file brought it, and `host` where the host
    /// did it by itself: both without a `role`.
    pub who: String,
    /// The role that the key had; `null` where nobody asked.
    #[schema(value_type = Option<String>, required)]
    pub role: Option<Role>,
    /// What was done: `register`, `generate`, `replace`, `remove`, `approve`, `roll_back`, `reload` (a file's new
    /// version went live), `settings`.
    pub operation: String,
    /// What it was done with.
    pub kind: SubjectKind,
    /// Its name.
    pub subject: String,
    /// The category of the agent by which it is decided who may see this.
    #[serde(skip)]
    #[schema(ignore)]
    pub category: String,
    /// What it was before; `null` where it was not there.
    #[schema(required)]
    pub from: Option<State>,
    /// What it is since; `null` where it is not there any more.
    #[schema(required)]
    pub to: Option<State>,
    /// Why, where that was said.
    #[schema(required)]
    pub reason: Option<String>,
    /// The request that asked for it; `null` where none did.
    #[schema(value_type = Option<String>, required)]
    pub request_id: Option<String>,
}

/// What something was before a change, or is since.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct State {
    /// The SHA-256 of the component that serves an agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub digest: Option<Digest>,
    /// The generation of what serves it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The version that the component states.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required = false)]
    pub version: String,
    /// The agent's category.
    #[serde(skip_serializing_if = "String::is_empty")]
    #[schema(required = false)]
    pub category: String,
    /// The SHA-256 of the component that waits for approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub pending: Option<Digest>,
    /// The capabilities that an operator approved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub approved: Vec<String>,
    /// Settings by their name, as text.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    pub settings: BTreeMap<String, String>,
}

impl State {
    /// What an agent is: as its record has it, so that it is the same after a restart.
    pub(in super::super) fn of(entry: &AgentEntry) -> Self {
        let record = entry.record();
        let serving = record.serving.as_ref();
        Self {
            digest: serving.map(|serving| serving.digest),
            generation: serving.map(|serving| serving.generation),
            version: serving.map(|serving| kept(&serving.version, TEXT_KEPT)).unwrap_or_default(),
            category: kept(&entry.card.category, TEXT_KEPT),
            pending: record.pending.as_ref().map(|pending| pending.digest),
            approved: record.approved.keys().map(|capability| capability.to_string()).collect(),
            settings: match entry.is_registered() {
                // What agents.toml says of the others has records of its own.
                true => shown_settings(&entry.config, REGISTERED),
                false => BTreeMap::new(),
            },
        }
    }

    /// Agents that were made of a template.
    pub(in super::super) fn made(ids: &[AgentId]) -> Self {
        let ends = [("first", ids.first()), ("last", ids.last())];
        let ends = ends.into_iter().filter_map(|(name, id)| Some((name.to_owned(), id?.to_string())));
        Self::settings(ends.chain([("agents".to_owned(), ids.len().to_string())]))
    }

    /// The first of them.
    pub(super) fn first_made(&self) -> Option<&str> {
        self.settings.get("first").map(String::as_str)
    }

    /// Settings alone.
    fn settings(settings: impl IntoIterator<Item = (String, String)>) -> Self {
        let settings = settings.into_iter().map(|(name, value)| (name, kept(&value, VALUE_KEPT))).collect();
        Self { settings, ..Self::default() }
    }
}

/// The beginning of a text; a mark says that something was cut off.
fn kept(text: &str, bytes: usize) -> String {
    match text::beginning(text, bytes) {
        all if all.len() == text.len() => all.to_owned(),
        some => format!("{some}…"),
    }
}

/// A record to be written.
#[derive(Debug, Clone)]
pub(super) struct NewRecord {
    pub(super) at: SystemTime,
    pub(super) tenant: TenantId,
    pub(super) who: String,
    pub(super) role: Option<Role>,
    pub(super) operation: &'static str,
    pub(super) kind: SubjectKind,
    pub(super) subject: String,
    pub(super) category: String,
    pub(super) from: Option<State>,
    pub(super) to: Option<State>,
    pub(super) reason: Option<String>,
    pub(super) request: Option<RequestId>,
}

/// Asks for records, the newest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct AuditRequest {
    /// From this moment on: a time of RFC 3339, or a date in UTC.
    pub from: Option<String>,
    /// Before this moment.
    pub to: Option<String>,
    /// Only this operation.
    pub operation: Option<String>,
    /// Only this agent.
    pub agent: Option<String>,
    /// At most so many: 1 to 1,000, which is also what there is without it.
    #[schema(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// Only what is older than it: the `next` of the piece before.
    pub cursor: Option<String>,
}

/// Which records are asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Filter {
    /// Milliseconds since 1970, that one included.
    pub(super) from: Option<i64>,
    /// Milliseconds since 1970, that one not included.
    pub(super) to: Option<i64>,
    pub(super) operation: Option<String>,
    pub(super) agent: Option<String>,
    /// Ids below this one.
    pub(super) below: Option<i64>,
}

impl AuditRequest {
    pub(super) fn filter(&self) -> Result<Filter, Failure> {
        let chosen = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let below = self.cursor.as_deref().map(|cursor| {
            cursor.parse().map_err(|_| Failure::field("cursor", "must be the one that `Link` names"))
        });
        Ok(Filter {
            from: moment("from", self.from.as_deref())?,
            to: moment("to", self.to.as_deref())?,
            operation: chosen(&self.operation),
            agent: chosen(&self.agent),
            below: below.transpose()?,
        })
    }
}

fn moment(field: &str, text: Option<&str>) -> Result<Option<i64>, Failure> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return Ok(None) };
    let date = || {
        let date: jiff::civil::Date = text.parse().ok()?;
        Some(date.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
    };
    let at = text.parse::<jiff::Timestamp>().ok().or_else(date);
    let wrong = "must be a time such as 2026-01-31T12:00:00Z, or a date such as 2026-01-31";
    at.map(|at| Some(at.as_millisecond())).ok_or_else(|| Failure::field(field, wrong))
}

/// What changed from one agents.toml to the next, a record for each key, setting and agent.
pub(super) fn of_settings(at: SystemTime, old: &Config, new: &Config, diff: &Diff) -> Vec<NewRecord> {
    let record = |kind, subject: String, tenant: &TenantId, from, to| NewRecord {
        at,
        tenant: tenant.clone(),
        who: FILE.to_owned(),
        role: None,
        operation: SETTINGS,
        kind,
        subject,
        category: String::new(),
        from,
        to,
        reason: None,
        request: None,
    };
    let mut records = Vec::new();
    let find = |keys: &[KeyConfig], name: &str| keys.iter().find(|key| key.name == name).map(key_state);
    let names = old.auth.keys.iter().chain(new.auth.keys.iter().filter(|key| {
        // One that stands in both is looked at once.
        old.auth.keys.iter().all(|other| other.name != key.name)
    }));
    for key in names {
        let (from, to) = (find(&old.auth.keys, &key.name), find(&new.auth.keys, &key.name));
        if from != to {
            records.push(record(SubjectKind::Key, key.name.clone(), &key.tenant, from, to));
        }
    }
    let tenant = TenantId::default_tenant();
    for name in diff.at_once.iter().filter(|name| *name != "auth.keys") {
        records.push(record(SubjectKind::Settings, name.clone(), &tenant, None, None));
    }
    let changed = diff.changed.iter().map(|change| (&change.id, change.keys.as_slice()));
    let whole = diff.added.iter().chain(&diff.removed).map(|id| (id, [].as_slice()));
    for (id, keys) in changed.chain(whole) {
        let state = |config: &Config| config.agents.get(id).map(|agent| agent_state(agent, keys));
        let (from, to) = (state(old), state(new));
        let category = [new, old].iter().find_map(|config| config.agents.get(id)?.overlay.category.clone());
        let named = record(SubjectKind::Agent, id.to_string(), &tenant, from, to);
        records.push(NewRecord { category: category.unwrap_or_default(), ..named });
    }
    records
}

/// What a key may do, and which it is by the beginning of its hash's hash: a key that was replaced under the same
/// name is another one.
fn key_state(key: &KeyConfig) -> State {
    let KeyConfig { name: _, sha256, role, tenant, scope, capabilities, priority, short: _ } = key;
    let capabilities = match capabilities {
        CapabilityScope::All => "*".to_owned(),
        CapabilityScope::Only(names) => names.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    };
    let fingerprint: String = Digest::of(sha256.as_bytes()).to_string().chars().take(12).collect();
    let settings = [
        ("fingerprint", fingerprint),
        ("role", role.as_str().to_owned()),
        ("tenant", tenant.to_string()),
        ("scope", scope.as_str().replace('\n', ", ")),
        ("capabilities", capabilities),
        ("priority", priority.to_string()),
    ];
    State::settings(settings.map(|(name, value)| (name.to_owned(), value)))
}

/// What agents.toml says of an agent under these keys: all that bounds or grants, where there are none. An agent's
/// own `config` may hold what nobody should read: of that it is said that it changed, and no more.
fn agent_state(agent: &AgentConfig, keys: &[&'static str]) -> State {
    const WHOLE: &[&str] = &["component", "grants", "limits", "max_concurrent", "queue", "category"];
    State { settings: shown_settings(agent, if keys.is_empty() { WHOLE } else { keys }), ..State::default() }
}

/// What bounds or grants an agent that is registered. Its component is its digest.
const REGISTERED: &[&str] = &["grants", "limits", "max_concurrent", "queue", "category"];

/// What an agent's settings say under these keys.
fn shown_settings(agent: &AgentConfig, keys: &[&str]) -> BTreeMap<String, String> {
    let table = agent_to_json(agent);
    let value = |key: &&str| match *key {
        "config" => "(not shown)".to_owned(),
        "component" => agent.component.display().to_string(),
        key => table.get(key).map(ToString::to_string).unwrap_or_default(),
    };
    keys.iter().map(|key| ((*key).to_owned(), kept(&value(key), VALUE_KEPT))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_times_or_dates() {
        let asked = |from: &str| AuditRequest { from: Some(from.to_owned()), ..AuditRequest::default() };
        let from = |text: &str| asked(text).filter().map(|filter| filter.from);
        assert_eq!(from("1970-01-02").expect("a date"), Some(86_400_000));
        assert_eq!(from("1970-01-01T00:00:01.5Z").expect("a time"), Some(1_500));
        assert_eq!(from("").expect("nothing"), None);
        assert_eq!(from("yesterday").expect_err("no time").wrong_field(), Some("from"));
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(kept("short", 10), "short");
        assert_eq!(kept(&"é".repeat(10), 5), "éé…");
    }
}
