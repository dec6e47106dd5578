//! Many tasks at once: `POST /orchestrator/batch`.
//!
//! Items run side by side and are answered in their order. Each is a request of its own to limits,
//! deadlines and queues, under the batch's id with the item's number; what is wrong with one item
//! is that item's failure, not the batch's.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use axum::extract::{Request, State};
use axum::response::Response;
use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::Mutex;

use super::call::{self, Answered, Call};
use super::caller::Caller;
use super::error::ApiError;
use super::smart::choose;
use super::{Api, answer, body};
use crate::domain::RequestId;

/// The most that all answers of a batch may have together, in bytes. It bounds what one request can
/// make the host hold: what an agent may answer alone is bounded by its `limits.output`. Failures are
/// short: they need no room.
const MAX_ANSWERS: usize = 16 * 1024 * 1024;

/// The bytes that are left to the answers of a batch.
struct Room(AtomicUsize);

impl Room {
    fn new() -> Self {
        Self(AtomicUsize::new(MAX_ANSWERS))
    }

    /// Takes `bytes`, or nothing if there are not as many.
    fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

/// An item that is an object: a task to route, or an agent with a query.
#[derive(Deserialize)]
struct BatchItem {
    /// What is to be done; the router finds the agent, unless `agent` is given.
    #[serde(default)]
    task: Option<String>,
    /// The agent's id.
    #[serde(default)]
    agent: Option<String>,
    /// What to ask `agent`.
    #[serde(default)]
    query: Option<String>,
    /// What belongs to it: any JSON.
    #[serde(default)]
    context: Option<Box<RawValue>>,
}

/// `POST /orchestrator/batch`
pub(super) async fn batch(
    State(api): State<Api>,
    mut caller: Caller,
    request: Request,
) -> Result<Response, ApiError> {
    let body = body::read(&api, &mut caller, request).await?;
    let items: Vec<&RawValue> = {
        let server = api.server.load();
        let items: Vec<&RawValue> = body::parse_list(&server, &body)?;
        if items.len() > server.max_batch as usize {
            return Err(ApiError::InvalidRequest {
                field: None,
                message: format!(
                    "the batch has {} items: at most {} are allowed",
                    items.len(),
                    server.max_batch
                ),
            });
        }
        items
    };
    if !items.is_empty() {
        // What the answers may come to is taken before anything runs.
        let wait = api.config.load().scheduler.queue_timeout;
        caller.request.reserve(MAX_ANSWERS as u64, wait).await?;
    }
    let (room, turns) = (Room::new(), Mutex::default());
    let answers = items.iter().enumerate().map(|(index, item)| {
        let id = item_id(&caller.request.id, index, &api);
        run_item(&api, &caller, item.get(), id, &room, &turns)
    });
    let mut answers: FuturesOrdered<_> = answers.collect();
    let mut json = vec![b'['];
    while let Some(answer) = answers.next().await {
        if json.len() > 1 {
            json.push(b',');
        }
        json.extend_from_slice(&answer?);
    }
    json.push(b']');
    Ok(answer::response(StatusCode::OK, json))
}

/// Runs an item; its failure is its answer. An answer that finds no room becomes a failure, too.
async fn run_item(
    api: &Api,
    caller: &Caller,
    item: &str,
    id: RequestId,
    room: &Room,
    turns: &Mutex<()>,
) -> Result<Vec<u8>, ApiError> {
    let answered = AssertUnwindSafe(async {
        let call = read_item(api, caller, item, id.clone(), turns).await?;
        call::run(api, caller, call).await
    });
    // What breaks in one item breaks that item alone.
    let answered = answered.catch_unwind().await;
    let error = match answered.unwrap_or_else(|panic| Err(ApiError::panicked(&*panic))) {
        Ok(answered) if room.take(answered.json.len()) => return Ok(answered.json),
        Ok(Answered { agent, ran, .. }) => {
            ApiError::BatchFull { limit: MAX_ANSWERS, agent: agent.as_str().into(), ran: Box::new(ran) }
        }
        Err(error) => error,
    };
    if let Some(internal) = error.internal() {
        tracing::warn!(
            request_id = id.as_str(),
            agent = error.agent(),
            internal,
            "an item of a batch failed"
        );
    }
    error.item(caller.request.path(), id.as_str())
}

async fn read_item(
    api: &Api,
    caller: &Caller,
    item: &str,
    request_id: RequestId,
    turns: &Mutex<()>,
) -> Result<Call, ApiError> {
    let started = Instant::now();
    let item = match item.as_bytes().first() {
        Some(b'"') => {
            let task: String = body::part(item.as_bytes())?;
            BatchItem { task: Some(task), agent: None, query: None, context: None }
        }
        Some(b'{') => body::part(item.as_bytes())?,
        _ => {
            return Err(ApiError::InvalidRequest {
                field: None,
                message: "an item must be a text or an object with `task`, or `agent` and `query`".to_owned(),
            });
        }
    };
    let context = item.context;
    let Some(agent) = item.agent else {
        let task = item.task.ok_or_else(|| ApiError::field("task", "is required, or `agent` and `query`"))?;
        let task = call::text("task", &task)?;
        // One decision a turn: whoever else is served by this thread comes in between.
        let _turn = turns.lock().await;
        tokio::task::yield_now().await;
        return choose(api, caller, task, context, request_id, started).await;
    };
    let query = call::query_or_task(item.query.as_deref(), item.task.as_deref())?
        .ok_or_else(|| ApiError::field("query", "is required with `agent`"))?;
    let agent = call::agent_id(&agent)?;
    Ok(Call { agent, query: Some(query), context, request_id, routed: None, started })
}

/// The batch's id with the item's number; an id of its own where that grows too long.
fn item_id(batch: &RequestId, index: usize, api: &Api) -> RequestId {
    RequestId::from_client(&format!("{batch}.{index}")).unwrap_or_else(|| (api.request_ids)())
}
