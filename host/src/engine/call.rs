//! The one way to run a guest: a fresh store, every limit set, the clock around it all.
//!
//! The store lives exactly as long as the call's future. However that ends (answer, trap,
//! timeout, cancel), what was spent is written to the caller's [`Spent`] as the store goes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use wasmtime::component::ResourceTableError;
use wasmtime::{PoolConcurrencyLimitError, Store, Trap, WasmBacktrace};

use super::crossing::Crossing;
use super::lines::Lines;
use super::pace::SHORT_FUEL;
use super::{Engine, LinkedComponent, frames, meaning, threads};
use crate::bindings::v0_1::exports::stockade::agent::agent as contract;
use crate::capabilities::{AgentRights, CallState, HostLimit, Line, Services};
use crate::config::Limits;
use crate::domain::{CapabilityScope, Denial, Failure, Reply, Task, json};

/// Which code to run, for whom, and within what.
#[derive(Clone)]
pub struct Invocation {
    /// The code.
    pub component: Arc<LinkedComponent>,
    /// What the agent may reach.
    pub rights: Arc<AgentRights>,
    /// What the caller's key lends it.
    pub caller: CapabilityScope,
    /// What the call may spend.
    pub limits: Limits,
}

/// What a call spent, whichever way it ended.
#[derive(Debug, Default)]
pub struct Spent {
    /// Units of fuel.
    pub fuel: u64,
    /// Most bytes of memories and tables at once.
    pub peak_memory: u64,
    /// Time in the sandbox.
    pub wall: Duration,
    /// Bytes of the answer.
    pub output_bytes: u64,
    /// Calls into capabilities.
    pub host_calls: u64,
    /// Bytes to and from capabilities.
    pub host_bytes: u64,
    /// Capabilities that were refused.
    pub denials: Vec<Denial>,
    /// What the guest logged.
    pub lines: Vec<Line>,
    /// How many lines were left out.
    pub lines_left_out: u64,
}

/// How many bytes a byte of an answer may have in the guest: it may write UTF-16.
const ENCODED: u64 = 2;
/// What an answer may have besides its texts, in bytes: lists and options.
const AROUND_TEXTS: u64 = 64 * 1024;

/// An answer that takes long to check, in bytes.
const LONG_ANSWER: usize = 64 * 1024;
/// Lines of an agent's log that take long to write.
const MANY_LINES: usize = 16;

/// A store that accounts for itself as it is dropped.
pub(super) struct Sandbox<'a> {
    pub(super) store: Store<CallState>,
    limits: Limits,
    lines: Option<Lines>,
    /// Whether there is an instance: set by whoever made it.
    pub(super) instantiated: bool,
    began: Instant,
    spent: &'a mut Spent,
}

impl<'a> Sandbox<'a> {
    /// A fresh store with every limit set.
    ///
    /// # Errors
    /// If the engine has no fuel, which a fault of this program would be.
    pub(super) fn new(
        engine: &Engine,
        services: &Arc<Services>,
        invocation: &Invocation,
        spent: &'a mut Spent,
    ) -> wasmtime::Result<Self> {
        let limits = invocation.limits;
        let mut state =
            CallState::new(services.clone(), invocation.rights.clone(), invocation.caller.clone(), &limits);
        state.inline = threads::current_run().inline;
        let inline = state.inline;
        let mut store = Store::new(&engine.wasmtime, state);
        store.limiter(|state| &mut state.meter);
        // What is taken over is in the host's memory, and the guest goes on after it (`post-return`).
        let answer = limits.output.saturating_mul(ENCODED).saturating_add(AROUND_TEXTS);
        store.set_max_component_handles(limits.handles as usize);
        store.set_fuel(limits.fuel)?;
        let slice = engine.config.fuel_yield_interval.max(1);
        store.fuel_async_yield_interval(Some(if inline { SHORT_FUEL.min(slice) } else { slice }))?;
        let result_bytes = usize::try_from(answer).unwrap_or(usize::MAX);
        store.call_hook_async(Crossing::new(slice, limits.fuel, result_bytes));
        let lines = invocation.component.lines.clone();
        Ok(Self { store, limits, lines, instantiated: false, began: Instant::now(), spent })
    }

    /// Whether there is much to do after the guest: finding words for an error, checking a long answer,
    /// writing many lines.
    fn ends_long(&self, result: &wasmtime::Result<Result<contract::Reply, contract::Failure>>) -> bool {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let answer = match result {
            Ok(Ok(reply)) => reply.response.len() + length(&reply.data) + length(&reply.model),
            Ok(Err(_)) => 0,
            Err(_) => return true,
        };
        answer > LONG_ANSWER || self.store.data().log.lock().count() > MANY_LINES
    }

    /// What an error from the guest means.
    pub(super) fn failure(&self, error: &wasmtime::Error) -> Failure {
        let limits = &self.limits;
        let state = self.store.data();
        if let Some(HostLimit { what, limit }) = error.downcast_ref() {
            return Failure::HostLimitExceeded { what, limit: *limit };
        }
        if let Some(ResourceTableError::Full) = error.downcast_ref() {
            return Failure::HostLimitExceeded { what: "handles", limit: limits.handles.into() };
        }
        if error.is::<PoolConcurrencyLimitError>() {
            return Failure::Overloaded {
                agent: state.agent_id().to_string(),
                reason: "no sandbox is free",
                retry_after: Duration::from_secs(1),
            };
        }
        let last_stderr = state.log.lock().last_stderr();
        let said = || last_stderr.as_ref().map(|lines| format!("{lines}; ")).unwrap_or_default();
        if let Some(exit) = error.downcast_ref::<wasmtime_wasi::I32Exit>() {
            return Failure::Exited { internal: format!("{}exit code {}", said(), exit.0) };
        }
        let trap = error.downcast_ref::<Trap>();
        if trap == Some(&Trap::OutOfFuel) {
            return Failure::FuelExhausted { limit: limits.fuel };
        }
        match meaning::limit(error) {
            // Inside a host call there is guest code on the stack; at the end there is none.
            Some(meaning::Limit::Transfer) if error.is::<WasmBacktrace>() => {
                return Failure::HostLimitExceeded {
                    what: "bytes in one host call",
                    limit: state.meter.one_call_bytes(),
                };
            }
            Some(meaning::Limit::Transfer) => {
                return Failure::OutputTooLarge { size: limits.output + 1, limit: limits.output };
            }
            Some(meaning::Limit::Handles) => {
                return Failure::HostLimitExceeded { what: "handles", limit: limits.handles.into() };
            }
            None => {}
        }
        let internal = format!("{}{}", said(), frames::describe(error, self.lines.as_ref()));
        // An allocator that is refused memory ends its program by `unreachable`, and an instance that
        // is too large is never made. Whatever else went wrong did so for another reason.
        let is_abort = match trap {
            Some(trap) => *trap == Trap::UnreachableCodeReached,
            None => !self.instantiated,
        };
        if is_abort && state.meter.memory_refused() {
            return Failure::MemoryExhausted { limit: limits.memory, internal };
        }
        Failure::Trapped { internal }
    }
}

impl Drop for Sandbox<'_> {
    fn drop(&mut self) {
        let left = self.store.get_fuel().unwrap_or(0);
        let state = self.store.data_mut();
        let spent = &mut *self.spent;
        spent.fuel = self.limits.fuel.saturating_sub(left);
        spent.peak_memory = state.meter.peak_memory();
        spent.host_calls = state.meter.host_calls();
        spent.host_bytes = state.meter.host_bytes();
        spent.denials = std::mem::take(&mut state.denials);
        (spent.lines, spent.lines_left_out) = state.log.lock().finish();
        spent.wall = self.began.elapsed();
    }
}

impl Engine {
    /// Runs `task` in a fresh sandbox, until `task.deadline` at the latest. Poll it on the guests'
    /// threads ([`Engine::spawn`]). Dropping the future ends the guest and frees its slot.
    ///
    /// # Errors
    /// How the guest failed, or which limit it met.
    pub async fn call(
        &self,
        invocation: &Invocation,
        task: Task,
        spent: &mut Spent,
    ) -> Result<Reply, Failure> {
        self.call_with(&self.services, invocation, task, spent).await
    }

    /// The same with other backends than the host's own: a test's.
    ///
    /// # Errors
    /// As [`Engine::call`].
    pub async fn call_with(
        &self,
        services: &Arc<Services>,
        invocation: &Invocation,
        task: Task,
        spent: &mut Spent,
    ) -> Result<Reply, Failure> {
        let deadline = task.deadline;
        let limit = invocation.limits.timeout;
        if Instant::now() >= deadline {
            return Err(Failure::DeadlineExceeded { limit, queued: true });
        }
        let run = async {
            let broken = |error: wasmtime::Error| Failure::Internal { internal: meaning::words(&error, 500) };
            let mut sandbox = Sandbox::new(self, services, invocation, spent).map_err(broken)?;
            let result = run_handle(&mut sandbox, invocation, &task).await;
            if sandbox.ends_long(&result) {
                sandbox.store.data_mut().leave_inline().await;
            }
            match result {
                Ok(Ok(reply)) => check_reply(reply, &mut sandbox, &invocation.limits),
                Ok(Err(failure)) => Err(own_word(failure, &invocation.limits)),
                Err(error) => Err(sandbox.failure(&error)),
            }
        };
        match tokio::time::timeout_at(deadline.into(), run).await {
            Ok(result) => result,
            Err(_) => Err(Failure::DeadlineExceeded { limit, queued: false }),
        }
    }
}

async fn run_handle(
    sandbox: &mut Sandbox<'_>,
    invocation: &Invocation,
    task: &Task,
) -> wasmtime::Result<Result<contract::Reply, contract::Failure>> {
    let store = &mut sandbox.store;
    let agent = invocation.component.linked.instantiate_async(&mut *store).await?;
    sandbox.instantiated = true;
    let task = contract::Task {
        query: task.query.as_str().to_owned(),
        context: task.context.as_deref().map(str::to_owned),
        request_id: task.request_id.as_str().to_owned(),
        deadline_ms: u64::try_from(task.deadline.saturating_duration_since(Instant::now()).as_millis())
            .unwrap_or(u64::MAX),
    };
    agent.stockade_agent_agent().call_handle(store, &task).await
}

/// How deep `data` may be nested. Usual readers stop at 64, and an answer, or a batch of them, adds levels.
const MAX_DATA_DEPTH: u32 = 60;

/// How the failure of an agent begins whose `data` breaks the contract.
pub(crate) const DATA_IS_NOT_JSON: &str = "the agent's `data` is not JSON";

fn check_reply(reply: contract::Reply, sandbox: &mut Sandbox<'_>, limits: &Limits) -> Result<Reply, Failure> {
    let contract::Reply { response, data, model } = reply;
    let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let size = (response.len() + length(&data) + length(&model)) as u64;
    sandbox.spent.output_bytes = size;
    if size > limits.output {
        return Err(Failure::OutputTooLarge { size, limit: limits.output });
    }
    if let Some(text) = &data {
        json::check(text, MAX_DATA_DEPTH).map_err(|problem| {
            Failure::AgentFailed(match problem {
                json::Problem::NotJson(error) => format!("{DATA_IS_NOT_JSON}: {error}"),
                json::Problem::Unreadable(error) => format!(
                    "the agent's `data` holds what readers of JSON refuse: {error}; correct it in `handle`"
                ),
                json::Problem::TooDeep => format!(
                    "the agent's `data` is nested more than {MAX_DATA_DEPTH} levels deep, which readers of JSON refuse; make it flatter, or pass what is nested as text"
                ),
            })
        })?;
    }
    Ok(Reply { response, data, model })
}

/// The longest message of a failure that is passed on, in characters.
const MAX_MESSAGE: usize = 2_000;

fn own_word(failure: contract::Failure, limits: &Limits) -> Failure {
    let cut = |message: String| {
        let limit = MAX_MESSAGE.min(usize::try_from(limits.output).unwrap_or(usize::MAX));
        match message.char_indices().nth(limit) {
            Some((end, _)) => format!("{}…", &message[..end]),
            None => message,
        }
    };
    match failure {
        contract::Failure::InvalidInput(message) => Failure::InvalidInput(cut(message)),
        contract::Failure::Denied(message) => Failure::Denied(cut(message)),
        contract::Failure::Unavailable(message) => Failure::Unavailable(cut(message)),
        contract::Failure::Failed(message) => Failure::AgentFailed(cut(message)),
    }
}
