//! What an agent says of itself, asked once for each version, under its own small limits and
//! with every gated capability refused. It is also the trial that proves that an instance fits.

use std::sync::Arc;
use std::time::Duration;

use super::call::Sandbox;
use super::trial::{MAX_IDLE, TrialError};
use super::{ContextSchema, Engine, Invocation, LinkedComponent, Spent, meaning};
use crate::bindings::v0_1::exports::stockade::agent::agent as contract;
use crate::capabilities::AgentRights;
use crate::config::{Limits, MAX_EXAMPLES, MAX_NAME_CHARS, MAX_TRIGGERS};
use crate::domain::{AgentId, CapabilityScope, Failure, Grants};

/// The fuel of a trial run: about a second of computing, and the same on a busy host.
pub(super) const TRIAL_FUEL: u64 = 1_000_000_000;
/// How long a trial run may take by the clock, waiting and other guests' turns included.
pub(super) const TRIAL_TIME: Duration = Duration::from_secs(10);
/// How large a description may be, in bytes.
const MAX_BYTES: usize = 64 * 1024;

/// An agent's description of itself, checked.
#[derive(Debug, Clone)]
pub struct Description {
    /// For people.
    pub name: String,
    /// What it does.
    pub description: String,
    /// The version of its code.
    pub version: String,
    /// A word that groups agents; may be empty.
    pub category: String,
    /// Words and phrases that call for it.
    pub triggers: Vec<String>,
    /// Example tasks.
    pub examples: Vec<Example>,
    /// The JSON schema of `context`, ready to check one.
    pub context_schema: Option<Arc<ContextSchema>>,
    /// The language model it uses.
    pub model: Option<String>,
    /// What a task costs, as text.
    pub cost_per_query: Option<String>,
    /// What a call without a query stands for.
    pub default_query: Option<String>,
}

/// An example task, and what its answer must contain if that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The task.
    pub task: String,
    /// Text of the answer.
    pub expected: Option<String>,
}

/// Why a component did not describe itself.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum DescribeError {
    /// It needs more than the agent's limit before it does anything.
    #[error(
        "one instance needs more than the agent's memory limit of {limit} bytes; raise `limits.memory` (and `max_memory` in [engine] with it), or make the component smaller"
    )]
    NeverFits {
        /// Bytes allowed.
        limit: u64,
    },
    /// It computed too much.
    #[error("`describe` did not return within {TRIAL_FUEL} units of fuel; it should only return constants")]
    OutOfFuel,
    /// It did not answer in time.
    #[error("`describe` did not return within {} s; it should only return constants", TRIAL_TIME.as_secs())]
    TimedOut,
    /// It waited for something.
    #[error("`describe` waited for more than {} s; it should only return constants", MAX_IDLE.as_secs())]
    Waited,
    /// It failed.
    #[error("`describe` failed: {0}")]
    Failed(String),
    /// What it says is not allowed.
    #[error("`describe` says what is not allowed: {0}")]
    Invalid(String),
}

impl Engine {
    /// Runs `describe` in a fresh sandbox of `limits.memory`, as a trial. `None` if the guests'
    /// threads closed before it ended.
    ///
    /// # Errors
    /// [`DescribeError`] says what to change.
    pub async fn describe(
        self: &Arc<Self>,
        component: Arc<LinkedComponent>,
        agent: &AgentId,
        limits: &Limits,
    ) -> Option<Result<Description, DescribeError>> {
        let (engine, agent, limits) = (self.clone(), agent.clone(), *limits);
        let describe = async move { engine.run_trial(component, &agent, &limits).await };
        match self.try_out(TRIAL_TIME, describe).await {
            Ok(Ok((description, schema))) => Some(self.with_schema(description, schema).await),
            Ok(Err(error)) => Some(Err(error)),
            Err(TrialError::Idle) => Some(Err(DescribeError::Waited)),
            Err(TrialError::TimedOut) => Some(Err(DescribeError::TimedOut)),
            Err(TrialError::Closed) => None,
        }
    }

    async fn run_trial(
        &self,
        component: Arc<LinkedComponent>,
        agent: &AgentId,
        limits: &Limits,
    ) -> Result<(Description, Option<String>), DescribeError> {
        let rights = AgentRights {
            id: agent.clone(),
            grants: Grants::default(),
            config: std::collections::BTreeMap::new(),
        };
        let invocation = Invocation {
            component,
            rights: Arc::new(rights),
            caller: CapabilityScope::none(),
            limits: Limits { fuel: TRIAL_FUEL, output: MAX_BYTES as u64, timeout: TRIAL_TIME, ..*limits },
        };
        let mut spent = Spent::default();
        let run = async {
            let broken = |error: wasmtime::Error| Failure::Internal { internal: meaning::words(&error, 500) };
            let mut sandbox = Sandbox::new(self, &self.services, &invocation, &mut spent).map_err(broken)?;
            match run_describe(&mut sandbox, &invocation).await {
                Ok(description) => Ok(description),
                Err(error) => Err(sandbox.failure(&error)),
            }
        };
        let said = match tokio::time::timeout(TRIAL_TIME, run).await {
            Ok(Ok(said)) => said,
            Ok(Err(failure)) => {
                return Err(match failure {
                    Failure::MemoryExhausted { limit, .. } => DescribeError::NeverFits { limit },
                    Failure::FuelExhausted { .. } => DescribeError::OutOfFuel,
                    other => DescribeError::Failed(other.internal()),
                });
            }
            Err(_) => return Err(DescribeError::TimedOut),
        };
        check(said).map_err(DescribeError::Invalid)
    }

    /// The description with its schema, which is built when its sandbox is gone.
    async fn with_schema(
        &self,
        mut description: Description,
        schema: Option<String>,
    ) -> Result<Description, DescribeError> {
        if let Some(text) = schema {
            let built = self.build_schema(text).await.ok_or_else(|| {
                DescribeError::Failed(
                    "the host could not build `context-schema`; its log says why".to_owned(),
                )
            })?;
            description.context_schema = Some(Arc::new(built.map_err(DescribeError::Invalid)?));
        }
        Ok(description)
    }
}

async fn run_describe(
    sandbox: &mut Sandbox<'_>,
    invocation: &Invocation,
) -> wasmtime::Result<contract::Description> {
    let store = &mut sandbox.store;
    let agent = invocation.component.linked.instantiate_async(&mut *store).await?;
    sandbox.instantiated = true;
    agent.stockade_agent_agent().call_describe(store).await
}

/// The description without its schema, and that as it was given.
fn check(said: contract::Description) -> Result<(Description, Option<String>), String> {
    let size = [&said.name, &said.description, &said.version, &said.category]
        .into_iter()
        .chain(&said.triggers)
        .chain(said.examples.iter().map(|example| &example.task))
        .chain(said.examples.iter().filter_map(|example| example.expected.as_ref()))
        .chain(
            [&said.context_schema, &said.model, &said.cost_per_query, &said.default_query]
                .into_iter()
                .flatten(),
        )
        .map(String::len)
        .sum::<usize>();
    if size > MAX_BYTES {
        return Err(format!("{size} bytes in all, and {MAX_BYTES} are allowed"));
    }
    let name = said.name.trim();
    if name.is_empty() || name.chars().count() > MAX_NAME_CHARS {
        return Err(format!("`name` must have 1 to {MAX_NAME_CHARS} characters"));
    }
    if said.version.trim().is_empty() || said.version.chars().count() > 64 {
        return Err("`version` must have 1 to 64 characters".to_owned());
    }
    bounded("triggers", &said.triggers, MAX_TRIGGERS)?;
    let tasks: Vec<String> = said.examples.iter().map(|example| example.task.clone()).collect();
    bounded("examples", &tasks, MAX_EXAMPLES)?;
    let description = Description {
        name: name.to_owned(),
        description: said.description.trim().to_owned(),
        version: said.version.trim().to_owned(),
        category: said.category.trim().to_owned(),
        triggers: said.triggers,
        examples: said
            .examples
            .into_iter()
            .map(|contract::Example { task, expected }| Example { task, expected })
            .collect(),
        context_schema: None,
        model: said.model,
        cost_per_query: said.cost_per_query,
        default_query: said.default_query,
    };
    Ok((description, said.context_schema))
}

fn bounded(what: &str, texts: &[String], (count, chars): (usize, usize)) -> Result<(), String> {
    if texts.len() > count {
        return Err(format!("{} {what}, and {count} are allowed", texts.len()));
    }
    match texts.iter().find(|text| text.chars().count() > chars) {
        Some(text) => Err(format!(
            "one of the {what} has {} characters, and {chars} are allowed: `{}…`",
            text.chars().count(),
            text.chars().take(40).collect::<String>()
        )),
        None => Ok(()),
    }
}
