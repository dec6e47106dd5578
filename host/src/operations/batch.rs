//! Many tasks at once. Items run side by side and are answered in their order. Each is a request of its own
//! to limits, deadlines and queues, under the batch's id with the item's number; what is wrong with one item
//! is that item's failure, not the batch's.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use futures_util::stream::FuturesOrdered;
use futures_util::{FutureExt, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::Mutex;
use utoipa::ToSchema;

use super::failure::agent_id;
use super::tasks::{self, Call};
use super::{ExecuteResponse, Failure, Operations, Ran, Request};
use crate::domain::{Principal, RequestId};

/// The most that all answers of a batch may have together, in bytes. It bounds what one request can
/// make the host hold: what an agent may answer alone is bounded by its `limits.output`. Failures are
/// short: they need no room.
pub const MAX_BATCH_ANSWERS: usize = 16 * 1024 * 1024;

/// One task of a batch: a task to route, or an agent with a query. A text alone is a task.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct BatchItem {
    /// What is to be done; the router finds the agent, unless `agent` is given.
    #[serde(default)]
    pub task: Option<String>,
    /// The agent's id.
    #[serde(default)]
    pub agent: Option<String>,
    /// What to ask `agent`.
    #[serde(default)]
    pub query: Option<String>,
    /// What belongs to it: any JSON.
    #[serde(default)]
    #[schema(value_type = Option<serde_json::Value>)]
    pub context: Option<Box<RawValue>>,
}

/// Many tasks at once.
#[derive(Debug, Default)]
pub struct BatchRequest {
    /// The items; one that could not be read is its own failure.
    pub items: Vec<Result<BatchItem, Failure>>,
}

/// The bytes that are left to the answers of a batch.
struct Room(AtomicUsize);

impl Room {
    /// Takes `bytes`, or nothing if there are not as many.
    fn take(&self, bytes: usize) -> bool {
        let less = |left: usize| left.checked_sub(bytes);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

impl Operations {
    /// Refuses a batch of too many items, before any of them is read.
    ///
    /// # Errors
    /// If there are more than `[server] max_batch`.
    pub fn admit_batch(&self, items: usize) -> Result<(), Failure> {
        let most = self.handles.config.load().server.max_batch;
        if items <= most as usize {
            return Ok(());
        }
        let message = format!("the batch has {items} items: at most {most} are allowed");
        Err(Failure::Invalid { field: None, message })
    }

    /// Runs every item and returns what `encode` makes of each end, in the items' order. An answer is handed
    /// to `encode` as soon as it is there, so that what is held of it is what it was made; one whose text finds
    /// no room among [`MAX_BATCH_ANSWERS`] becomes a failure.
    ///
    /// # Errors
    /// If there are too many items.
    pub async fn batch<E>(
        &self,
        who: &Arc<Principal>,
        request: Request<BatchRequest>,
        encode: E,
    ) -> Result<Vec<Vec<u8>>, Failure>
    where
        E: Fn(&RequestId, Result<&ExecuteResponse, &Failure>) -> Vec<u8>,
    {
        let Request { id, body, .. } = request;
        self.admit_batch(body.items.len())?;
        let (room, turns) = (Room(AtomicUsize::new(MAX_BATCH_ANSWERS)), Mutex::default());
        let (id, encode, room, turns) = (&id, &encode, &room, &turns);
        let items = body.items.into_iter().enumerate().map(|(index, item)| async move {
            let id = self.item_id(id, index);
            // What breaks in one item breaks that item alone.
            let ended = AssertUnwindSafe(self.item(who, item, &id, turns)).catch_unwind().await;
            let ended = ended.unwrap_or_else(|_| {
                Err(Failure::Internal { internal: "an item of a batch panicked".to_owned() })
            });
            let text = encode(&id, ended.as_ref());
            match ended {
                Ok(response) if !room.take(text.len()) => {
                    drop(text);
                    let ran = Box::new(Ran::of(&response));
                    let agent = response.agent.as_str().into();
                    encode(&id, Err(&Failure::BatchFull { limit: MAX_BATCH_ANSWERS, agent, ran }))
                }
                _ => text,
            }
        });
        let mut items: FuturesOrdered<_> = items.collect();
        let mut texts = Vec::with_capacity(items.len());
        while let Some(text) = items.next().await {
            texts.push(text);
        }
        Ok(texts)
    }

    async fn item(
        &self,
        who: &Arc<Principal>,
        item: Result<BatchItem, Failure>,
        id: &RequestId,
        turns: &Mutex<()>,
    ) -> Result<ExecuteResponse, Failure> {
        let (started, request_id) = (Instant::now(), id.clone());
        let BatchItem { task, agent, query, context } = item?;
        let call = if let Some(agent) = agent {
            let query = tasks::query_or_task(query.as_deref(), task.as_deref())?
                .ok_or_else(|| Failure::field("query", "is required with `agent`"))?;
            let agent = agent_id(&agent)?;
            Call { agent, query: Some(query), context, request_id, routed: None, started }
        } else {
            let task = task.ok_or_else(|| Failure::field("task", "is required, or `agent` and `query`"))?;
            let task = tasks::text("task", &task)?;
            // One decision a turn: whoever else is served by this thread comes in between.
            let _turn = turns.lock().await;
            tokio::task::yield_now().await;
            self.choose(who, task, context, request_id, started).await?
        };
        self.call(Arc::clone(who), call, false).await
    }

    /// The batch's id with the item's number; an id of its own where that grows too long.
    fn item_id(&self, batch: &RequestId, index: usize) -> RequestId {
        let numbered = RequestId::from_client(&format!("{batch}.{index}"));
        numbered.unwrap_or_else(|| (self.handles.request_ids)())
    }
}
