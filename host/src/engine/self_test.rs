//! An agent's examples as its tests: each that says what its answer must contain is run before
//! a version goes live, in a fresh sandbox with every gated capability refused.
//!
//! What bounds it is fuel, so that how busy the host is decides nothing; the clock is there for
//! agents that wait.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::describe::{TRIAL_FUEL, TRIAL_TIME};
use super::trial::{MAX_IDLE, TrialError};
use super::{Engine, Example, Invocation, LinkedComponent, Spent};
use crate::capabilities::AgentRights;
use crate::config::Limits;
use crate::domain::{AgentId, Capability, CapabilityScope, Failure, Grants, RequestId, Task, TaskText, text};

/// How many examples are run; what comes after them is not.
pub const MAX_SELF_TESTS: usize = 32;
/// Fuel for all of them together.
const ALL_FUEL: u64 = 5 * TRIAL_FUEL;
/// Time for all of them together.
const ALL_TIME: Duration = Duration::from_secs(30);
/// How much of a text is shown, in characters.
const SHOWN: usize = 200;

/// Why a version failed its own test. Each message says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelfTestError {
    /// The answer lacks what it must contain.
    #[error(
        "the self-test `{task}` must answer with a text that contains `{expected}`, and it answered `{answered}`; correct `handle`, or the example's `expected` in `describe`"
    )]
    Wrong {
        /// The example's task.
        task: String,
        /// What the answer must contain.
        expected: String,
        /// The answer, shortened.
        answered: String,
    },
    /// There was no answer.
    #[error(
        "the self-test `{task}` must answer with a text that contains `{expected}`, and it failed: {reason}; correct `handle`, or leave the example's `expected` out"
    )]
    Failed {
        /// The example's task.
        task: String,
        /// What the answer must contain.
        expected: String,
        /// How it failed, shortened.
        reason: String,
    },
    /// Its capabilities were refused, and it needs them.
    #[error(
        "the self-test `{task}` needs `{capability}`, and self-tests run with every gated capability refused: {reason}; leave the example's `expected` out"
    )]
    NeedsCapability {
        /// The example's task.
        task: String,
        /// The first capability that was refused.
        capability: Capability,
        /// What came instead, shortened.
        reason: String,
    },
    /// They waited for something.
    #[error(
        "the self-tests waited for more than {} s; give the examples that wait no `expected`", MAX_IDLE.as_secs()
    )]
    Waited,
    /// All together cost too much.
    #[error(
        "the self-tests took more than {what} together, up to and with `{task}`; give fewer examples an `expected`, or make them cheaper"
    )]
    TooMuch {
        /// The example that was too much.
        task: String,
        /// The bound that was met.
        what: &'static str,
    },
}

impl Engine {
    /// Runs each of `examples` that has an expected text, the first [`MAX_SELF_TESTS`] of them,
    /// until one fails, as a trial. The text must occur in the response as it is written, upper and
    /// lower case included. `None` if the guests' threads closed before they ended.
    ///
    /// # Errors
    /// [`SelfTestError`] names the example and says what to change.
    pub async fn self_test(
        self: &Arc<Self>,
        component: Arc<LinkedComponent>,
        agent: &AgentId,
        limits: &Limits,
        config: &BTreeMap<String, String>,
        examples: &[Example],
    ) -> Option<Result<(), SelfTestError>> {
        if examples.iter().all(|example| example.expected.is_none()) {
            return Some(Ok(()));
        }
        let (engine, agent, limits) = (self.clone(), agent.clone(), *limits);
        let (config, examples) = (config.clone(), examples.to_vec());
        let test = async move { engine.run_self_tests(component, &agent, &limits, &config, &examples).await };
        match self.try_out(ALL_TIME, test).await {
            Ok(tested) => Some(tested),
            Err(TrialError::Idle) => Some(Err(SelfTestError::Waited)),
            Err(TrialError::TimedOut) => {
                Some(Err(SelfTestError::TooMuch { task: "the last one".to_owned(), what: "30 s" }))
            }
            Err(TrialError::Closed) => None,
        }
    }

    async fn run_self_tests(
        &self,
        component: Arc<LinkedComponent>,
        agent: &AgentId,
        limits: &Limits,
        config: &BTreeMap<String, String>,
        examples: &[Example],
    ) -> Result<(), SelfTestError> {
        let rights = AgentRights { id: agent.clone(), grants: Grants::default(), config: config.clone() };
        let fuel = limits.fuel.min(TRIAL_FUEL);
        let mut invocation = Invocation {
            component,
            rights: Arc::new(rights),
            caller: CapabilityScope::none(),
            limits: Limits { fuel, timeout: limits.timeout.min(TRIAL_TIME), ..*limits },
        };
        let (began, mut fuel_left) = (Instant::now(), ALL_FUEL);
        let expecting = examples.iter().filter_map(|one| Some((&one.task, one.expected.as_ref()?)));
        for (number, (task, expected)) in expecting.take(MAX_SELF_TESTS).enumerate() {
            let time_left = ALL_TIME.saturating_sub(began.elapsed());
            let too_much = |what| SelfTestError::TooMuch { task: text::shortened(task, SHOWN), what };
            if time_left.is_zero() {
                return Err(too_much("30 s"));
            }
            let failed = |reason: String| SelfTestError::Failed {
                task: text::shortened(task, SHOWN),
                expected: text::shortened(expected, SHOWN),
                reason,
            };
            let query = TaskText::parse(task).map_err(|error| failed(error.to_string()))?;
            invocation.limits.fuel = fuel.min(fuel_left);
            let task_given = Task {
                query,
                context: None,
                request_id: RequestId::from_random(number as u128),
                deadline: Instant::now() + invocation.limits.timeout.min(time_left),
            };
            let mut spent = Spent::default();
            let answer = self.call(&invocation, task_given, &mut spent).await;
            fuel_left = fuel_left.saturating_sub(spent.fuel);
            let found = match answer {
                Ok(reply) if reply.response.contains(expected.as_str()) => continue,
                Ok(reply) => Ok(text::shortened(&reply.response, SHOWN)),
                Err(Failure::FuelExhausted { limit }) if limit < fuel => {
                    return Err(too_much("5,000,000,000 units of fuel"));
                }
                Err(failure) => Err(text::shortened(&failure.internal(), SHOWN)),
            };
            return Err(match (spent.denials.first(), found) {
                (Some(denial), Ok(reason) | Err(reason)) => SelfTestError::NeedsCapability {
                    task: text::shortened(task, SHOWN),
                    capability: denial.capability,
                    reason,
                },
                (None, Ok(answered)) => SelfTestError::Wrong {
                    task: text::shortened(task, SHOWN),
                    expected: text::shortened(expected, SHOWN),
                    answered,
                },
                (None, Err(reason)) => failed(reason),
            });
        }
        Ok(())
    }
}
