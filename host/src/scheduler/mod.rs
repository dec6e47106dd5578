//! The scheduler: who may run what, when, and what it cost.
//!
//! Every task takes one way, whether it is awaited ([`Scheduler::submit`]) or runs to its end whoever
//! listens ([`Scheduler::start`]): existence and scope, a bounded wait for a permit, the newest version,
//! the guest on its own threads, the receipt. It reads registry snapshots and knows neither HTTP nor files.

mod call;
mod fairness;
mod gate;
mod outcome;
mod stats;
mod submission;
mod ticket;

use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use stockade_router::{Candidates, Verdict};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::SchedulerConfig;
use crate::domain::rights::{self, Action, Decision};
use crate::domain::{AgentId, AgentKey, AgentStatus, Digest, Failure, Principal, Task, TaskText};
use crate::engine::Engine;
use crate::registry::{AgentEntry, AgentVersion, Registry, Snapshot};
use call::Call;
use gate::{Gate, Permit, Refused, Room};
pub use outcome::{Outcome, Served};
pub use stats::AgentLoad;
use stats::Stats;
pub use submission::{Caller, Submission};
use ticket::Started;
pub use ticket::Ticket;

/// How long after a task's time its guest may take to end and to say what it spent, before its caller
/// is answered without.
const LAST_WORD: Duration = Duration::from_millis(50);
/// How long guests have to be dropped once nobody waits for them any more.
const LAST_MOMENT: Duration = Duration::from_secs(2);
/// The least confidence with which an agent is named at all.
const LEAST_CONFIDENCE: f64 = 0.01;

/// A context that is passed on in a moment, in bytes.
const LIGHT_CONTEXT: usize = 16 * 1024;

/// Tasks for which the router learns at once: it may need a processor for some ten milliseconds each.
const LEARNING: usize = 2;

/// Runs tasks. A handle, cheap to clone.
#[derive(Clone)]
pub struct Scheduler {
    inner: Arc<Inner>,
}

struct Inner {
    registry: Registry,
    engine: Arc<Engine>,
    gate: Arc<Gate>,
    started: Started,
    stats: Stats,
    config: ArcSwap<SchedulerConfig>,
    draining: AtomicBool,
    keys: OnceLock<Arc<dyn Keys>>,
    /// Held while the router learns for a task.
    learning: Semaphore,
}

/// Knows which keys hold now. A task may have waited since its key was looked at.
pub trait Keys: Send + Sync {
    /// Who holds the key of this digest now, with the rights that it has now; without a key, whoever comes
    /// without one. `None` if nobody is let in with it.
    fn holding(&self, key: Option<&Digest>) -> Option<Arc<Principal>>;

    /// Who `principal`, who was let in before, is now; `None` if it would not be let in any more.
    fn current(&self, principal: &Principal) -> Option<Arc<Principal>> {
        self.holding(principal.key.as_ref())
    }
}

/// What the router decided for a caller.
pub struct Routing {
    /// Whether an agent was picked.
    pub verdict: Verdict,
    /// The candidates, best first.
    pub ranked: Vec<Candidate>,
    /// Why, where that was asked.
    pub explanation: Option<serde_json::Value>,
}

/// An agent that a task may be for.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The agent.
    pub id: AgentId,
    /// Its name for people.
    pub name: Arc<str>,
    /// 0 to 1: how sure the router is.
    pub confidence: f64,
    /// The words that counted, as their author wrote them.
    pub matched_keywords: Vec<String>,
}

/// Whether the router should say why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Explain {
    /// With reasons.
    Yes,
    /// The decision alone.
    No,
}

impl Scheduler {
    /// A scheduler over what `registry` serves.
    pub fn new(registry: Registry, engine: Arc<Engine>, config: &SchedulerConfig) -> Self {
        let gate = Gate::new(config.max_concurrent, engine.config().max_instances);
        let draining = AtomicBool::new(false);
        let stats = Stats::default();
        let config = ArcSwap::from_pointee(config.clone());
        let (keys, learning) = (OnceLock::new(), Semaphore::new(LEARNING));
        let started = Started::default();
        let inner = Inner { registry, engine, gate, started, stats, config, draining, keys, learning };
        Self { inner: Arc::new(inner) }
    }

    /// From now on a task runs with what its key may when it begins, not when it came. Told once.
    pub fn follow_keys(&self, keys: Arc<dyn Keys>) {
        // Whoever told first is who lets callers in.
        let _ = self.inner.keys.set(keys);
    }

    /// Runs a task and waits for its end. Dropping the future cancels it: its place in the
    /// queue, or its permit and its sandbox, become free.
    pub async fn submit(&self, submission: Submission) -> Outcome {
        self.inner.perform(submission, Instant::now(), None).await
    }

    /// Starts a task that runs to its end whoever listens, and hands out what it can be awaited and
    /// cancelled by. Call it on a thread of the runtime.
    pub fn start(&self, submission: Submission) -> Ticket {
        // Its time begins now, and not when it is first polled.
        let (inner, accepted) = (self.inner.clone(), Instant::now());
        self.inner
            .started
            .start(|cancel| async move { inner.perform(submission, accepted, Some(cancel)).await })
    }

    /// Decides which of the agents that `principal` may call a task is for.
    pub async fn route(&self, principal: &Principal, task: &TaskText, explain: Explain) -> Routing {
        let snapshot = self.inner.registry.snapshot();
        let candidates = snapshot.candidates(&principal.tenant, &principal.agent_scope);
        let decision = match snapshot.router().decide_at_once(task.as_str(), &candidates) {
            Some(decision) => decision,
            None => self.inner.learn_and_decide(&snapshot, &candidates, task).await,
        };
        // What the task comes near is learned by now.
        let explanation = (explain == Explain::Yes)
            .then(|| serde_json::to_value(snapshot.router().explain(task.as_str(), &candidates)).ok())
            .flatten();
        let named = |choice: stockade_router::Choice| {
            let entry = snapshot.chosen(&choice)?;
            Some(Candidate {
                id: entry.key.id.clone(),
                name: entry.card.name.clone(),
                confidence: choice.confidence,
                matched_keywords: choice.matched_keywords,
            })
        };
        // Who stands no chance is no alternative.
        let ranked = decision.ranked.into_iter().filter(|choice| choice.confidence >= LEAST_CONFIDENCE);
        let ranked = ranked.filter_map(named).collect();
        Routing { verdict: decision.verdict, ranked, explanation }
    }

    /// How many calls began on the thread that accepted them, since the start.
    pub fn inline_turns(&self) -> u64 {
        self.inner.engine.inline_turns()
    }

    /// What `agent` is doing now and has done since the start.
    pub fn load_of(&self, agent: &AgentKey) -> AgentLoad {
        let (running, queued) = self.inner.gate.occupancy(agent);
        match self.inner.registry.snapshot().agent(agent) {
            Some(entry) => self.inner.stats.load(entry, running, queued),
            None => AgentLoad { running, queued, ..AgentLoad::default() },
        }
    }

    /// Other settings, of its own or of agents: for tasks that come from now on, and for those that
    /// wait.
    pub fn resize(&self, config: &SchedulerConfig) {
        self.inner.config.store(Arc::new(config.clone()));
        let snapshot = self.inner.registry.snapshot();
        let own = |agent: &AgentKey| snapshot.agent(agent)?.config.max_concurrent;
        let limit_of = |agent: &AgentKey| own(agent).unwrap_or(config.agent_concurrent);
        self.inner.gate.resize(config.max_concurrent, limit_of);
    }

    /// From now on new tasks are rejected; those that run go on.
    pub fn drain(&self) {
        self.inner.draining.store(true, Ordering::Release);
    }

    /// Rejects new tasks and waits for those that were [started](Scheduler::start). At `until`, or when
    /// `at_once` says so, those that have not ended are cancelled. Then guests that nobody waits for any
    /// more have a moment to be dropped.
    pub async fn finish(&self, until: Instant, at_once: impl Future<Output = ()>) {
        self.drain();
        self.inner.started.finish(until, at_once).await;
        if tokio::time::timeout(LAST_MOMENT, self.inner.gate.idle()).await.is_err() {
            tracing::warn!("guests are left that hold their threads");
        }
    }

    /// Whether new tasks are rejected.
    pub fn is_draining(&self) -> bool {
        self.inner.draining.load(Ordering::Acquire)
    }
}

/// A task that may run now.
struct Admitted {
    principal: Arc<Principal>,
    version: Arc<AgentVersion>,
    query: TaskText,
    permit: Permit,
    time: Time,
}

/// The time of a task.
#[derive(Debug, Clone, Copy)]
struct Time {
    /// From its acceptance to its end.
    limit: Duration,
    /// When that is up.
    deadline: Instant,
}

impl Inner {
    /// The one way of a task, from its acceptance to its end.
    async fn perform(
        self: &Arc<Self>,
        submission: Submission,
        accepted: Instant,
        cancel: Option<CancellationToken>,
    ) -> Outcome {
        let mut call = Call::accept(self.clone(), &submission, accepted, cancel.clone());
        let admitted = self.admit(&submission, &mut call, accepted);
        let admitted = match &cancel {
            None => admitted.await,
            Some(cancel) => tokio::select! {
                biased;
                admitted = admitted => admitted,
                () = cancel.cancelled() => Err(Failure::Cancelled),
            },
        };
        match admitted {
            Ok(admitted) => self.run(submission, admitted, call, cancel).await,
            Err(failure) => call.end(Err(failure)),
        }
    }

    /// Who asks, with what their key may do now.
    fn current(&self, caller: &Caller) -> Result<Arc<Principal>, Failure> {
        let now = match (self.keys.get(), caller) {
            (Some(keys), Caller::Present(principal)) => keys.current(principal),
            (Some(keys), Caller::Known(identity)) => keys.holding(identity.key.as_ref()),
            (None, Caller::Present(principal)) => Some(principal.clone()),
            // Nobody knows any keys.
            (None, Caller::Known(_)) => None,
        };
        // A key that went to another tenant is another key.
        now.filter(|principal| principal.tenant == *caller.tenant()).ok_or(Failure::KeyWithdrawn)
    }

    /// Decides a task for which the router has to learn first: away from the threads that answer, a few
    /// at once.
    async fn learn_and_decide(
        &self,
        snapshot: &Arc<Snapshot>,
        candidates: &Arc<Candidates>,
        task: &TaskText,
    ) -> stockade_router::Decision {
        let _permit = self.learning.acquire().await;
        let decide = {
            let (snapshot, candidates, task) = (snapshot.clone(), candidates.clone(), task.clone());
            move || snapshot.router().decide(task.as_str(), &candidates)
        };
        let decided = tokio::task::spawn_blocking(decide).await;
        // It fails as the host goes, or as deciding itself does.
        decided.unwrap_or_else(|_| snapshot.router().decide(task.as_str(), candidates))
    }

    async fn admit(
        &self,
        submission: &Submission,
        call: &mut Call,
        accepted: Instant,
    ) -> Result<Admitted, Failure> {
        if self.draining.load(Ordering::Acquire) {
            return Err(Failure::Draining);
        }
        let principal = match &submission.caller {
            Caller::Present(principal) => principal.clone(),
            Caller::Known(_) => self.current(&submission.caller)?,
        };
        let entry = self.find(&submission.agent, &principal)?;
        let stats = call.stats.insert(self.stats.of(&entry)).clone();
        let version = serving(&entry)?;
        let query = query_of(submission, &version)?;
        let config = self.config.load();
        let limit = submission.timeout.unwrap_or(Duration::MAX).min(version.limits.timeout);
        let time = Time { limit, deadline: accepted + limit };
        let room = Room {
            running: version.max_concurrent.unwrap_or(config.agent_concurrent),
            queued: version.queue.unwrap_or(config.agent_queue),
        };
        let queue_timeout = config.queue_timeout;
        drop(config);
        let patience = queue_timeout.min(limit);
        let mut permit = match self.gate.acquire(&version.key, &principal, room, patience).await {
            Ok(permit) => permit,
            Err(refused) => {
                let overloaded = |reason| Failure::Overloaded {
                    agent: version.key.id.to_string(),
                    reason,
                    retry_after: Duration::from_secs(1),
                };
                return Err(match refused {
                    Refused::QueueFull => overloaded("its queue is full"),
                    Refused::TooLong if limit <= queue_timeout => {
                        Failure::DeadlineExceeded { limit, queued: true }
                    }
                    Refused::TooLong => overloaded("it waited too long in the queue"),
                });
            }
        };
        // While it waited, its key may have been withdrawn or lost rights, and a reload may have gone by:
        // what holds now counts, and the newest version serves it.
        let principal = self.current(&submission.caller)?;
        let entry = self.find(&submission.agent, &principal)?;
        let newest = serving(&entry)?;
        permit.reserve(stats.reserve(newest.limits.fuel));
        // A version with less time counts from the same moment; the time that was promised stands.
        Ok(Admitted { principal, version: newest, query, permit, time })
    }

    /// The agent that is asked for, if the caller may know of it.
    fn find(&self, name: &str, caller: &Principal) -> Result<Arc<AgentEntry>, Failure> {
        let snapshot = self.registry.snapshot();
        let decide = |key: &AgentKey, category| rights::of_agent(caller, Action::Call, key, category);
        let decision = match snapshot.find(&caller.tenant, name) {
            Some(entry) => match decide(&entry.key, Some(&entry.card.category)) {
                Decision::Allowed => return Ok(entry.clone()),
                decision => decision,
            },
            // What can be no id names no agent that could be hidden.
            None => AgentId::parse(name)
                .map_or(Decision::Absent, |id| decide(&AgentKey { tenant: caller.tenant.clone(), id }, None)),
        };
        Err(match decision {
            Decision::Absent => Failure::AgentNotFound(name.to_owned()),
            Decision::Allowed
            | Decision::Hidden
            | Decision::Claimed
            | Decision::NotLent
            | Decision::Withdrawn
            | Decision::Forbidden(_) => Failure::Forbidden(name.to_owned()),
        })
    }

    /// Runs a task that has its permit. Its caller waits no longer than its time: a guest that holds
    /// its thread, or that never gets one, is left to end by itself and keeps its permit until then.
    async fn run(
        &self,
        submission: Submission,
        admitted: Admitted,
        mut call: Call,
        cancel: Option<CancellationToken>,
    ) -> Outcome {
        let Admitted { principal, version, query, permit, time } = admitted;
        let Time { limit, deadline } = time;
        let is_light = submission
            .context
            .as_ref()
            .is_none_or(|context| context.len() <= LIGHT_CONTEXT && version.context_schema.is_none());
        let inline = submission.alone && is_light && permit.came_at_once() && version.pace.is_short();
        let task = Task { query, context: submission.context, request_id: submission.request_id, deadline };
        let watch = call.admit(&principal, version, permit, time);
        let (guest, clock) = (call.run(task), watch.clock.clone());
        let guest = match inline {
            true => self.engine.begin_timed(guest, clock),
            false => self.engine.spawn_timed(guest, clock),
        };
        let ended = tokio::time::timeout_at((deadline + LAST_WORD).into(), guest);
        let ended = match cancel {
            None => ended.await,
            Some(cancel) => tokio::select! {
                biased;
                ended = ended => ended,
                // Its guest sees by itself that it is cancelled, unless it holds its thread.
                () = async { cancel.cancelled().await; tokio::time::sleep(LAST_WORD).await } => {
                    return watch.outcome(Failure::Cancelled);
                }
            },
        };
        match ended {
            Ok(Some(outcome)) => outcome,
            Ok(None) => watch.outcome(Failure::Interrupted),
            Err(_) => {
                let queued = !watch.clock.has_begun();
                watch.outcome(Failure::DeadlineExceeded { limit, queued })
            }
        }
    }
}

/// The version that serves for `entry`, or why none does.
fn serving(entry: &AgentEntry) -> Result<Arc<AgentVersion>, Failure> {
    if let Some(version) = entry.version() {
        return Ok(version.clone());
    }
    let reason = match entry.status() {
        AgentStatus::Loading => "it is being loaded",
        AgentStatus::PendingApproval => "its component waits for the operator's approval",
        AgentStatus::Failed => "its component could not be loaded",
        AgentStatus::Missing => "its component is not there",
        AgentStatus::Active | AgentStatus::Stopped => "it is stopped",
    };
    let agent = entry.key.id.to_string();
    Err(Failure::AgentUnavailable { agent, reason: reason.to_owned() })
}

/// What is asked: the caller's words, or the agent's default query.
fn query_of(submission: &Submission, version: &AgentVersion) -> Result<TaskText, Failure> {
    if let Some(query) = &submission.query {
        return Ok(query.clone());
    }
    let default = version.card.default_query.as_deref();
    let missing = || Failure::QueryRequired(version.key.id.to_string());
    default.and_then(|query| TaskText::parse(query).ok()).ok_or_else(missing)
}
