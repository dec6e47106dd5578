//! The agents as callers see them: the list, one in full, and where each stands.
//!
//! Reads one registry snapshot a response, and shows only what the caller may call. What is for whoever
//! changes the agent (paths, reasons, who changed it, what waits) is shown to those alone.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize, Serializer};
use utoipa::ToSchema;

use super::failure::agent_id;
use super::{Failure, Operations, Request, entry, may};
use crate::config::{Limits, SettingChange, setting_changes};
use crate::domain::rights::Action;
use crate::domain::{AgentId, AgentStatus, Denial, Digest, Grants, Micros, Principal};
use crate::registry::{self, AgentEntry, AgentVersion, LoadFailure, LoadReport, Pending};
use crate::scheduler::AgentLoad;

/// The most that one piece of a list holds, and what it holds where nothing else is asked for.
pub(super) const MAX_PAGE: usize = 1_000;

/// Which agents of a list are asked for. A list is sorted by id, and a cursor is the last id of the piece
/// before: agents may come and go between two pieces without one being skipped or shown twice.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct AgentListRequest {
    /// Only this category.
    pub category: Option<String>,
    /// At most so many: 1 to 1,000, which is also what there is without it.
    #[schema(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// Only what comes after it: the `next` of the piece before.
    pub cursor: Option<String>,
}

/// Asks for one agent in full.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct AgentPageRequest {
    /// The agent's id.
    pub agent: String,
}

/// A piece of a list.
#[derive(Debug)]
pub struct Page<T> {
    /// What is in it.
    pub items: Vec<T>,
    /// The cursor of the next piece, where there is more.
    pub next: Option<String>,
}

/// An agent in the list.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentSummary {
    /// What calls name it by.
    #[schema(value_type = String)]
    pub id: AgentId,
    /// What people call it.
    #[schema(value_type = String)]
    pub name: Arc<str>,
    /// What it does.
    pub description: String,
    /// `active`, `loading`, `pending_approval`, `failed`, `stopped` or `missing`.
    pub status: AgentStatus,
    /// The kind of work it does: one word.
    pub category: String,
    /// Words and phrases that lead to it.
    pub triggers: Vec<String>,
    /// The language model behind it; `null` if it states none.
    #[schema(value_type = Option<String>, required)]
    pub model: Option<Arc<str>>,
    /// Money as text, such as `$0.001`; `null` if it states none.
    #[schema(required)]
    pub cost_per_query: Option<String>,
    /// The version that it states.
    #[schema(value_type = String)]
    pub version: Arc<str>,
}

impl From<&AgentEntry> for AgentSummary {
    fn from(entry: &AgentEntry) -> Self {
        let card = &*entry.card;
        Self {
            id: entry.key.id.clone(),
            name: card.name.clone(),
            description: card.description.clone(),
            status: entry.status(),
            category: card.category.clone(),
            triggers: card.triggers.clone(),
            model: card.model.clone(),
            cost_per_query: card.cost_per_query.clone(),
            version: card.version.clone(),
        }
    }
}

/// One agent in full. What belongs to a serving version is `null` while none serves.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentPage {
    /// What the list says of it.
    #[serde(flatten)]
    pub summary: AgentSummary,
    /// Tasks that it can do.
    pub examples: Vec<String>,
    /// What it is asked where a call brings no query.
    #[schema(required)]
    pub default_query: Option<String>,
    /// What its `context` must satisfy: a JSON schema.
    #[schema(required)]
    pub context_schema: Option<serde_json::Value>,
    /// The operator's words for it.
    pub tags: Vec<String>,
    /// Whether it was registered while the host ran, and is not of agents.toml.
    pub registered: bool,
    /// Grows with each version that goes live.
    #[schema(required)]
    pub generation: Option<u64>,
    /// The SHA-256 of the component that serves.
    #[schema(value_type = Option<String>, required)]
    pub digest: Option<Digest>,
    /// When that version went live.
    #[serde(serialize_with = "maybe_time")]
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub loaded_at: Option<SystemTime>,
    /// What one call may spend.
    #[schema(required)]
    pub limits: Option<LimitsPage>,
    /// The gated capabilities that it imports: `false`, `true`, or the policy within which each is granted.
    #[schema(value_type = Option<BTreeMap<String, serde_json::Value>>, required)]
    pub grants: Option<Grants>,
    /// Every interface that its component imports.
    #[schema(required)]
    pub imports: Option<Vec<String>>,
    /// Whether it can be asked how it does.
    #[schema(required)]
    pub exports_health: Option<bool>,
    /// Capabilities that it was refused since the host started, with what would allow them.
    pub denials: Vec<Denial>,
    /// How the last attempt to load it ended; `null` while the first is under way.
    #[schema(required)]
    pub last_reload: Option<LastReload>,
    /// The version that waits for the operator; `null` if none does, and for who may not change the agent.
    #[schema(required)]
    pub pending: Option<PendingVersion>,
    /// What served before and can be gone back to, the latest first; for who may change the agent.
    pub previous: Vec<Release>,
    /// Code that was rolled back and is not tried again by itself, the latest first; for who may change the
    /// agent.
    pub blocked: Vec<RolledBackVersion>,
    /// Its calls.
    #[serde(flatten)]
    pub load: LoadPage,
}

/// A version that waits for the operator.
#[derive(Debug, Serialize, ToSchema)]
pub struct PendingVersion {
    /// The SHA-256 of its component.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// The gated capabilities that it imports and is not granted, and `category: NAME` where it says that it is
    /// of another category.
    pub wants: Vec<String>,
    /// Whether other settings than those that serve wait with it.
    pub settings: bool,
    /// What those settings change.
    pub changes: Vec<SettingChange>,
    /// Since when it waits.
    #[serde(serialize_with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub since: SystemTime,
    /// Names all of this, the settings included: an approval that brings it means nothing else.
    #[schema(value_type = String)]
    pub stamp: Digest,
    /// What lets it in.
    pub remedy: String,
}

impl PendingVersion {
    fn of(entry: &AgentEntry, view: View) -> Option<Self> {
        if view == View::Callers {
            return None;
        }
        let pending = entry.record().pending.as_ref()?;
        let Pending { digest, wants, category, since, settings } = pending;
        let id = &entry.key.id;
        let grants: Vec<String> = wants.iter().map(|name| format!("{name} = true")).collect();
        let mut places = Vec::new();
        if !grants.is_empty() {
            places.push(format!("`[agents.{id}.grants]` with `{}`", grants.join("`, `")));
        }
        if let Some(category) = category {
            places.push(format!("`[agents.{id}]` with `category = {category:?}`"));
        }
        let remedy = format!("`stockade approve {id}`, or in agents.toml {}", places.join(" and "));
        let proposed = settings.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let changes = proposed.map(|proposed| setting_changes(&entry.config, &proposed)).unwrap_or_default();
        Some(Self {
            digest: *digest,
            wants: pending.wants_in_words(),
            settings: settings.is_some(),
            changes,
            since: *since,
            stamp: pending.stamp(),
            remedy,
        })
    }
}

/// A version that served before.
#[derive(Debug, Serialize, ToSchema)]
pub struct Release {
    /// The version that it stated.
    pub version: String,
    /// Its generation.
    pub generation: u64,
    /// The SHA-256 of its component.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// When it went live.
    #[serde(serialize_with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub loaded_at: SystemTime,
}

impl From<&registry::Release> for Release {
    fn from(release: &registry::Release) -> Self {
        Self {
            version: release.version.clone(),
            generation: release.generation,
            digest: release.digest,
            loaded_at: release.since,
        }
    }
}

/// A version that was rolled back.
#[derive(Debug, Serialize, ToSchema)]
pub struct RolledBackVersion {
    /// The SHA-256 of its component.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// Why.
    pub reason: String,
}

impl From<&registry::Blocked> for RolledBackVersion {
    fn from(blocked: &registry::Blocked) -> Self {
        Self { digest: blocked.digest, reason: blocked.reason.clone() }
    }
}

/// What one call may spend.
#[derive(Debug, Serialize, ToSchema)]
pub struct LimitsPage {
    /// Units; about one a WebAssembly instruction.
    pub fuel: u64,
    /// Milliseconds from acceptance to answer, the queue included.
    pub timeout_ms: f64,
    /// All memories and tables of the instance together.
    pub memory_bytes: u64,
    /// Response, data and model together.
    pub output_bytes: u64,
    /// Calls into capabilities.
    pub host_calls: u64,
    /// Bytes to and from capabilities.
    pub host_bytes: u64,
    /// Resources held at once.
    pub handles: u32,
    /// Bytes of log that are kept.
    pub log_bytes: u64,
}

impl From<&Limits> for LimitsPage {
    fn from(limits: &Limits) -> Self {
        let Limits { fuel, timeout, memory, output, host_calls, host_bytes, handles, log } = *limits;
        Self {
            fuel,
            timeout_ms: millis(timeout),
            memory_bytes: memory,
            output_bytes: output,
            host_calls,
            host_bytes,
            handles,
            log_bytes: log,
        }
    }
}

/// How the last attempt to load an agent ended.
#[derive(Debug, Serialize, ToSchema)]
pub struct LastReload {
    /// When.
    #[serde(serialize_with = "time")]
    #[schema(value_type = String, format = DateTime)]
    pub at: SystemTime,
    /// Whether that version serves now.
    pub ok: bool,
    /// What failed, where, and the remedy; in a word for who may not change the agent; `null` if nothing did.
    #[schema(required)]
    pub error: Option<String>,
    /// Since when loads have failed; `null` if the last one did not.
    #[serde(serialize_with = "maybe_time")]
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub failing_since: Option<SystemTime>,
    /// The SHA-256 of the component that it was about; `null` where that could not be read, and where it
    /// does not serve for who may not change the agent.
    #[schema(value_type = Option<String>, required)]
    pub digest: Option<Digest>,
    /// From the news of the change to its end, in milliseconds.
    pub duration_ms: f64,
}

/// Who looks at an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    /// Who may call it.
    Callers,
    /// Who may change it.
    Owners,
}

impl View {
    fn of(who: &Principal, entry: &AgentEntry) -> Self {
        if may(who, Action::Inspect, entry) { Self::Owners } else { Self::Callers }
    }
}

/// What a load that failed is to somebody who cannot correct it: no path, no reason, nobody's name.
fn in_a_word(failure: &LoadFailure) -> &'static str {
    match failure.status() {
        AgentStatus::Missing => "its component is not there",
        _ => "its component could not be loaded",
    }
}

impl LastReload {
    /// `None` while the agent is loading: nothing has ended yet.
    fn of(entry: &AgentEntry, view: View) -> Option<Self> {
        let LoadReport { at, took, digest, failure, failing_since } = entry.last_load()?;
        let waits = |pending: &Pending| Some(pending.digest) == digest;
        Some(Self {
            at,
            ok: failure.is_none() && !entry.record().pending.as_ref().is_some_and(waits),
            error: failure.map(|failure| match view {
                View::Owners => failure.to_string(),
                View::Callers => in_a_word(failure).to_owned(),
            }),
            failing_since,
            digest: digest.filter(|digest| view == View::Owners || serves(entry) == Some(*digest)),
            duration_ms: millis(took),
        })
    }
}

fn serves(entry: &AgentEntry) -> Option<Digest> {
    entry.version().map(|version| version.digest)
}

/// Where an agent stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct AgentStatusPage {
    /// What calls name it by.
    #[schema(value_type = String)]
    pub id: AgentId,
    /// What people call it.
    #[schema(value_type = String)]
    pub name: Arc<str>,
    /// As in the list.
    pub status: AgentStatus,
    /// The version that it states; empty while that is unknown.
    #[schema(value_type = String)]
    pub version: Arc<str>,
    /// `null` while no version serves.
    #[schema(required)]
    pub generation: Option<u64>,
    /// The SHA-256 of the component that serves.
    #[schema(value_type = Option<String>, required)]
    pub digest: Option<Digest>,
    /// How its last load went; `null` while the first is under way.
    #[schema(required)]
    pub last_reload: Option<LastReload>,
    /// The version that waits for the operator; `null` if none does.
    #[schema(required)]
    pub pending: Option<PendingVersion>,
    /// Its calls.
    #[serde(flatten)]
    pub load: LoadPage,
    /// When it was last found alive; `null` if it never was asked.
    #[serde(serialize_with = "maybe_time")]
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub last_heartbeat: Option<SystemTime>,
}

/// An agent's calls, now and since the host started.
#[derive(Debug, Serialize, ToSchema)]
pub struct LoadPage {
    /// Calls that run now.
    pub running: u32,
    /// Calls that wait now.
    pub queued: u32,
    /// Calls that got their permit.
    pub calls: u64,
    /// Those that ended without an answer, and calls that were rejected.
    pub errors: u64,
    /// The code of the last call that failed.
    #[schema(required)]
    pub last_error: Option<&'static str>,
}

impl From<&AgentLoad> for LoadPage {
    fn from(load: &AgentLoad) -> Self {
        let AgentLoad { running, queued, calls, errors, last_error, .. } = *load;
        Self { running, queued, calls, errors, last_error }
    }
}

impl Operations {
    /// A piece of the list of agents that `who` may call.
    ///
    /// # Errors
    /// If the limit is out of range.
    pub async fn list_agents(
        &self,
        who: &Arc<Principal>,
        request: Request<AgentListRequest>,
    ) -> Result<Page<AgentSummary>, Failure> {
        self.page(who, request.body, |entry| AgentSummary::from(entry))
    }

    /// A piece of the list of where each agent stands that `who` may call.
    ///
    /// # Errors
    /// If the limit is out of range.
    pub async fn agent_status(
        &self,
        who: &Arc<Principal>,
        request: Request<AgentListRequest>,
    ) -> Result<Page<AgentStatusPage>, Failure> {
        self.page(who, request.body, |entry| AgentStatusPage {
            id: entry.key.id.clone(),
            name: entry.card.name.clone(),
            status: entry.status(),
            version: entry.card.version.clone(),
            generation: entry.version().map(|version| version.generation),
            digest: serves(entry),
            last_reload: LastReload::of(entry, View::of(who, entry)),
            pending: PendingVersion::of(entry, View::of(who, entry)),
            load: LoadPage::from(&self.scheduler().load_of(&entry.key)),
            last_heartbeat: None,
        })
    }

    fn page<T>(
        &self,
        who: &Principal,
        request: AgentListRequest,
        show: impl Fn(&AgentEntry) -> T,
    ) -> Result<Page<T>, Failure> {
        let AgentListRequest { category, limit, cursor } = request;
        let limit = page_size(limit)?;
        // An empty choice is no choice.
        let category = category.filter(|category| !category.is_empty());
        let snapshot = self.registry().snapshot();
        let wanted = snapshot.agents_of(&who.tenant).filter(|entry| {
            cursor.as_deref().is_none_or(|cursor| entry.key.id.as_str() > cursor)
                && category.as_deref().is_none_or(|category| category == entry.card.category)
                && may(who, Action::See, entry)
        });
        Ok(piece(wanted, limit, |entry| entry.key.id.to_string(), |entry| show(entry)))
    }

    /// One agent in full.
    ///
    /// # Errors
    /// If there is none that `who` may call.
    pub async fn agent(
        &self,
        who: &Arc<Principal>,
        request: Request<AgentPageRequest>,
    ) -> Result<AgentPage, Failure> {
        let id = agent_id(&request.body.agent)?;
        let snapshot = self.registry().snapshot();
        Ok(self.in_full(who, entry(who, Action::See, &snapshot, &id)?))
    }

    /// One agent, as much of it as `who` may see.
    pub(super) fn in_full(&self, who: &Principal, entry: &AgentEntry) -> AgentPage {
        let view = View::of(who, entry);
        let load = self.scheduler().load_of(&entry.key);
        let version = entry.version().map(Arc::as_ref);
        let (previous, blocked) = match view {
            View::Owners => (&*entry.record().previous, &*entry.record().blocked),
            View::Callers => Default::default(),
        };
        AgentPage {
            summary: AgentSummary::from(entry),
            examples: entry.card.examples.clone(),
            default_query: entry.card.default_query.clone(),
            context_schema: entry.card.context_schema.clone(),
            tags: entry.config.tags.clone(),
            registered: entry.is_registered(),
            generation: version.map(|version| version.generation),
            digest: version.map(|version| version.digest),
            loaded_at: version.map(|version| version.loaded_at),
            limits: version.map(|version| LimitsPage::from(&version.limits)),
            grants: version.map(AgentVersion::grants),
            imports: version.map(|version| version.component.imports().to_vec()),
            exports_health: version.map(|version| version.component.exports_health()),
            load: LoadPage::from(&load),
            denials: load.denials,
            last_reload: LastReload::of(entry, view),
            pending: PendingVersion::of(entry, view),
            previous: previous.iter().map(Release::from).collect(),
            blocked: blocked.iter().map(RolledBackVersion::from).collect(),
        }
    }
}

/// The size of a piece: what is asked for, or the largest there is.
pub(super) fn page_size(limit: Option<usize>) -> Result<usize, Failure> {
    match limit {
        None => Ok(MAX_PAGE),
        Some(limit) if (1..=MAX_PAGE).contains(&limit) => Ok(limit),
        Some(_) => Err(Failure::field("limit", format_args!("must be a number from 1 to {MAX_PAGE}"))),
    }
}

/// Takes a piece of `items`; the cursor of the next one comes along where there is more.
pub(super) fn piece<I, T>(
    mut items: impl Iterator<Item = I>,
    limit: usize,
    cursor: impl Fn(&I) -> String,
    show: impl Fn(&I) -> T,
) -> Page<T> {
    let taken: Vec<I> = items.by_ref().take(limit).collect();
    let next = items.next().and(taken.last()).map(cursor);
    Page { items: taken.iter().map(show).collect(), next }
}

/// Milliseconds with at most three decimals.
fn millis(duration: Duration) -> f64 {
    Micros::from(duration).as_ms()
}

/// Writes a point in time as RFC 3339 in UTC, to the millisecond; `null` far outside of our era.
pub(super) fn time<S: Serializer>(at: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    let moment = jiff::Timestamp::try_from(*at).and_then(|moment| moment.round(jiff::Unit::Millisecond)).ok();
    match moment {
        Some(moment) => serializer.collect_str(&moment),
        None => serializer.serialize_none(),
    }
}

fn maybe_time<S: Serializer>(at: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => time(at, serializer),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_follow_each_other_to_the_end() {
        let all = ["a", "b", "c", "d", "e"];
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let rest = all.iter().filter(|item| **item > cursor.as_str());
            let page = piece(rest, 2, |item| (**item).to_owned(), |item| **item);
            seen.extend(page.items);
            match page.next {
                Some(next) => cursor = next,
                None => break,
            }
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn without_a_limit_a_piece_is_the_largest_there_is() {
        assert_eq!(page_size(None).expect("a size"), MAX_PAGE);
        assert_eq!(page_size(Some(7)).expect("a size"), 7);
        for wrong in [0, MAX_PAGE + 1] {
            assert_eq!(page_size(Some(wrong)).expect_err("out of range").wrong_field(), Some("limit"));
        }
    }

    #[test]
    fn times_are_rfc_3339_and_durations_have_few_decimals() {
        #[derive(Serialize)]
        struct At(#[serde(serialize_with = "time")] SystemTime);
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_500);
        let text = serde_json::to_string(&At(at)).expect("a time is JSON");
        assert_eq!(text, "\"1970-01-01T00:00:01.5Z\"");
        assert_eq!(millis(Duration::from_nanos(1_234_567)), 1.234);
        assert_eq!(millis(Duration::from_secs(2)), 2000.0);
    }
}
