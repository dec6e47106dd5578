//! The agents as clients see them: the list, one in full, and how each does.
//!
//! Reads one registry snapshot an answer, and shows only what the caller's key may call. What is for
//! whoever changes the agent (paths, reasons, who changed it, what waits) is shown to those alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::Response;
use http::{StatusCode, Uri, header};
use serde::Serialize;

use super::call;
use super::caller::Caller;
use super::error::ApiError;
use super::page::{self, Page};
use super::{Api, answer};
use crate::config::Limits;
use crate::domain::rights::Action;
use crate::domain::{AgentId, AgentStatus, Denial, Digest};
use crate::registry::{AgentEntry, Blocked, LoadFailure, LoadReport, Pending, Release};
use crate::scheduler::AgentLoad;

/// An agent in the list.
#[derive(Serialize)]
struct ListedAgent<'a> {
    /// What calls name it by.
    id: &'a AgentId,
    /// What people call it.
    name: &'a str,
    /// What it does.
    description: &'a str,
    /// `active`, `loading`, `pending_approval`, `failed`, `stopped` or `missing`.
    status: AgentStatus,
    /// The kind of work it does: one word.
    category: &'a str,
    /// Words and phrases that lead to it.
    triggers: &'a [String],
    /// The language model behind it; `null` if it states none.
    model: Option<&'a str>,
    /// Money as text, such as `$0.001`; `null` if it states none.
    cost_per_query: Option<&'a str>,
    /// The version that it states.
    version: &'a str,
}

impl<'a> From<&'a AgentEntry> for ListedAgent<'a> {
    fn from(entry: &'a AgentEntry) -> Self {
        let card = &*entry.card;
        Self {
            id: &entry.key.id,
            name: &card.name,
            description: &card.description,
            status: entry.status(),
            category: &card.category,
            triggers: &card.triggers,
            model: card.model.as_deref(),
            cost_per_query: card.cost_per_query.as_deref(),
            version: &card.version,
        }
    }
}

/// One agent in full. What belongs to a serving version is `null` while none serves.
#[derive(Serialize)]
struct AgentInFull<'a> {
    /// What the list says of it.
    #[serde(flatten)]
    listed: ListedAgent<'a>,
    /// Tasks that it can do.
    examples: &'a [String],
    /// What it is asked where a call brings no query.
    default_query: Option<&'a str>,
    /// What its `context` must satisfy: a JSON schema.
    context_schema: Option<&'a serde_json::Value>,
    /// The operator's words for it.
    tags: &'a [String],
    /// Whether it was registered while the host ran, and is not of agents.toml.
    registered: bool,
    /// Grows with each version that goes live.
    generation: Option<u64>,
    /// The SHA-256 of the component that serves.
    digest: Option<Digest>,
    /// When that version went live.
    #[serde(serialize_with = "maybe_time")]
    loaded_at: Option<SystemTime>,
    /// What one call may spend.
    limits: Option<LimitsShown>,
    /// The gated capabilities that it imports, and whether each is granted.
    grants: Option<&'a BTreeMap<&'static str, bool>>,
    /// Every interface that its component imports.
    imports: Option<&'a [String]>,
    /// Whether it can be asked how it does.
    exports_health: Option<bool>,
    /// Capabilities that it was refused since the host started, with what would allow them.
    denials: &'a [Denial],
    /// How the last attempt to load it ended; `null` while the first is under way.
    last_reload: Option<Reload>,
    /// The version that waits for the operator; `null` if none does, and for who may not change the agent.
    pending: Option<PendingShown>,
    /// What served before and can be gone back to, the latest first; for who may change the agent.
    previous: Vec<ReleaseShown<'a>>,
    /// Code that was taken back and is not tried again by itself, the latest first; for who may change the
    /// agent.
    blocked: &'a [Blocked],
    /// Its calls.
    #[serde(flatten)]
    load: LoadShown<'a>,
}

/// A version that waits for the operator.
#[derive(Serialize)]
struct PendingShown {
    /// The SHA-256 of its component.
    digest: Digest,
    /// The gated capabilities that it imports and is not granted, and `category: NAME` where it says that it is
    /// of another category.
    wants: Vec<String>,
    /// Whether other settings than those that serve wait with it.
    settings: bool,
    /// Since when it waits.
    #[serde(serialize_with = "answer::time")]
    since: SystemTime,
    /// Names all of this, the settings included: an approval that brings it means nothing else.
    stamp: Digest,
    /// What lets it in.
    remedy: String,
}

impl PendingShown {
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
        let (settings, wants) = (settings.is_some(), pending.wants_in_words());
        Some(Self { digest: *digest, wants, settings, since: *since, stamp: pending.stamp(), remedy })
    }
}

/// A version that served before.
#[derive(Serialize)]
struct ReleaseShown<'a> {
    /// The version that it stated.
    version: &'a str,
    /// Its generation.
    generation: u64,
    /// The SHA-256 of its component.
    digest: Digest,
    /// When it went live.
    #[serde(serialize_with = "answer::time")]
    loaded_at: SystemTime,
}

impl<'a> From<&'a Release> for ReleaseShown<'a> {
    fn from(release: &'a Release) -> Self {
        Self {
            version: &release.version,
            generation: release.generation,
            digest: release.digest,
            loaded_at: release.since,
        }
    }
}

/// What one call may spend.
#[derive(Serialize)]
struct LimitsShown {
    /// Units; about one a WebAssembly instruction.
    fuel: u64,
    /// Milliseconds from acceptance to answer, the queue included.
    timeout_ms: f64,
    /// All memories and tables of the instance together.
    memory_bytes: u64,
    /// Response, data and model together.
    output_bytes: u64,
    /// Calls into capabilities.
    host_calls: u64,
    /// Bytes to and from capabilities.
    host_bytes: u64,
    /// Resources held at once.
    handles: u32,
    /// Bytes of log that are kept.
    log_bytes: u64,
}

impl From<&Limits> for LimitsShown {
    fn from(limits: &Limits) -> Self {
        let Limits { fuel, timeout, memory, output, host_calls, host_bytes, handles, log } = *limits;
        Self {
            fuel,
            timeout_ms: answer::millis(timeout),
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
#[derive(Serialize)]
struct Reload {
    /// When.
    #[serde(serialize_with = "answer::time")]
    at: SystemTime,
    /// Whether that version serves now.
    ok: bool,
    /// What failed, where, and the remedy; in a word for who may not change the agent; `null` if nothing did.
    error: Option<String>,
    /// Since when loads have failed; `null` if the last one did not.
    #[serde(serialize_with = "maybe_time")]
    failing_since: Option<SystemTime>,
    /// The SHA-256 of the component that it was about; `null` where that could not be read, and where it
    /// does not serve for who may not change the agent.
    digest: Option<Digest>,
    /// From the news of the change to its end, in milliseconds.
    duration_ms: f64,
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
    fn of(caller: &Caller, entry: &AgentEntry) -> Self {
        if caller.may(Action::Inspect, entry) { Self::Owners } else { Self::Callers }
    }
}

/// What a load that failed is to somebody who cannot mend it: no path, no reason, nobody's name.
fn in_a_word(failure: &LoadFailure) -> &'static str {
    match failure.status() {
        AgentStatus::Missing => "its component is not there",
        _ => "its component could not be loaded",
    }
}

impl Reload {
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
            duration_ms: answer::millis(took),
        })
    }
}

fn serves(entry: &AgentEntry) -> Option<Digest> {
    entry.version().map(|version| version.digest)
}

/// How an agent does.
#[derive(Serialize)]
struct StatusShown<'a> {
    /// What calls name it by.
    id: &'a AgentId,
    /// What people call it.
    name: &'a str,
    /// As in the list.
    status: AgentStatus,
    /// The version that it states; empty while that is unknown.
    version: &'a str,
    /// `null` while no version serves.
    generation: Option<u64>,
    /// The SHA-256 of the component that serves.
    digest: Option<Digest>,
    /// How its last load went; `null` while the first is under way.
    last_reload: Option<Reload>,
    /// The version that waits for the operator; `null` if none does.
    pending: Option<PendingShown>,
    /// Its calls.
    #[serde(flatten)]
    load: LoadShown<'a>,
    /// When it was last found alive; `null` if it never was asked.
    #[serde(serialize_with = "maybe_time")]
    last_heartbeat: Option<SystemTime>,
}

/// An agent's calls, now and since the host started.
#[derive(Serialize)]
struct LoadShown<'a> {
    /// Calls that run now.
    running: u32,
    /// Calls that wait now.
    queued: u32,
    /// Calls that got their permit.
    calls: u64,
    /// Those that ended without an answer, and calls that were rejected.
    errors: u64,
    /// The code of the last call that failed.
    last_error: Option<&'a str>,
}

impl<'a> From<&'a AgentLoad> for LoadShown<'a> {
    fn from(load: &'a AgentLoad) -> Self {
        Self {
            running: load.running,
            queued: load.queued,
            calls: load.calls,
            errors: load.errors,
            last_error: load.last_error,
        }
    }
}

/// `GET /orchestrator/agents`
pub(super) async fn list(State(api): State<Api>, caller: Caller, uri: Uri) -> Result<Response, ApiError> {
    answer_page(&api, &caller, &uri, |entries| {
        let listed: Vec<_> = entries.iter().map(|entry| ListedAgent::from(&***entry)).collect();
        answer::ok(&listed)
    })
}

/// `GET /api/agents/status` and `GET /agents/status`
pub(super) async fn status(State(api): State<Api>, caller: Caller, uri: Uri) -> Result<Response, ApiError> {
    answer_page(&api, &caller, &uri, |entries| {
        let loads: Vec<_> = entries.iter().map(|entry| api.scheduler.load_of(&entry.key)).collect();
        let shown: Vec<_> = entries
            .iter()
            .zip(&loads)
            .map(|(entry, load)| StatusShown {
                id: &entry.key.id,
                name: &entry.card.name,
                status: entry.status(),
                version: &entry.card.version,
                generation: entry.version().map(|version| version.generation),
                digest: serves(entry),
                last_reload: Reload::of(entry, View::of(&caller, entry)),
                pending: PendingShown::of(entry, View::of(&caller, entry)),
                load: LoadShown::from(load),
                last_heartbeat: None,
            })
            .collect();
        answer::ok(&shown)
    })
}

/// Answers a piece of the list of agents that the caller may call.
fn answer_page(
    api: &Api,
    caller: &Caller,
    uri: &Uri,
    write: impl FnOnce(&[&Arc<AgentEntry>]) -> Result<Response, ApiError>,
) -> Result<Response, ApiError> {
    let page = Page::of(uri)?;
    let snapshot = api.registry.snapshot();
    let category = page.category.as_deref();
    let wanted = snapshot.agents_of(&caller.principal.tenant).filter(|entry| {
        category.is_none_or(|category| category == entry.card.category) && caller.may(Action::See, entry)
    });
    let (entries, next) = page.take(wanted, |entry| entry.key.id.as_str());
    let mut response = write(&entries)?;
    if let Some(link) = next.and_then(|next| page::link(uri, &next)) {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// `GET /orchestrator/agents/{id}`
pub(super) async fn one(
    State(api): State<Api>,
    caller: Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Response, ApiError> {
    let id = call::agent_in_path(id)?;
    caller.request.note_agent(&id);
    let snapshot = api.registry.snapshot();
    let entry = caller.agent(Action::See, &snapshot, &id)?;
    in_full(&api, &caller, StatusCode::OK, entry)
}

/// Answers with one agent, as much of it as the caller may see.
pub(super) fn in_full(
    api: &Api,
    caller: &Caller,
    status: StatusCode,
    entry: &AgentEntry,
) -> Result<Response, ApiError> {
    let view = View::of(caller, entry);
    let load = api.scheduler.load_of(&entry.key);
    let version = entry.version().map(Arc::as_ref);
    let (previous, blocked) = match view {
        View::Owners => (&*entry.record().previous, &*entry.record().blocked),
        View::Callers => Default::default(),
    };
    let page = AgentInFull {
        listed: ListedAgent::from(entry),
        examples: &entry.card.examples,
        default_query: entry.card.default_query.as_deref(),
        context_schema: entry.card.context_schema.as_ref(),
        tags: &entry.config.tags,
        registered: entry.is_registered(),
        generation: version.map(|version| version.generation),
        digest: version.map(|version| version.digest),
        loaded_at: version.map(|version| version.loaded_at),
        limits: version.map(|version| LimitsShown::from(&version.limits)),
        grants: version.map(|version| &version.capabilities),
        imports: version.map(|version| version.component.imports()),
        exports_health: version.map(|version| version.component.exports_health()),
        denials: &load.denials,
        last_reload: Reload::of(entry, view),
        pending: PendingShown::of(entry, view),
        previous: previous.iter().map(ReleaseShown::from).collect(),
        blocked,
        load: LoadShown::from(&load),
    };
    answer::json(status, &page)
}

fn maybe_time<S: serde::Serializer>(at: &Option<SystemTime>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => answer::time(at, serializer),
        None => serializer.serialize_none(),
    }
}
