//! Counters of each agent since the start. Emitted for every end of a call, cancels included.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::domain::{AgentId, Denial, Failure};

/// What an agent is doing now and has done since the start.
#[derive(Debug, Clone, Default)]
pub struct AgentLoad {
    /// Calls that run.
    pub running: u32,
    /// Calls that wait.
    pub queued: u32,
    /// Calls that began, ever.
    pub calls: u64,
    /// Those that ended without an answer, and calls that were turned away; not those whose caller
    /// can mend them.
    pub errors: u64,
    /// The code of the last such end.
    pub last_error: Option<&'static str>,
    /// The capabilities that it was refused, each once.
    pub denials: Vec<Denial>,
}

/// The most distinct denials that are remembered of an agent.
const MAX_DENIALS: usize = 32;

/// One agent's counters.
#[derive(Debug, Default)]
pub(super) struct AgentStats {
    calls: AtomicU64,
    errors: AtomicU64,
    rare: Mutex<Rare>,
}

/// What changes seldom.
#[derive(Debug, Default)]
struct Rare {
    last_error: Option<&'static str>,
    denials: Vec<Denial>,
}

impl AgentStats {
    /// A call begins.
    pub(super) fn began(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// A call ended, with this failure if it did not succeed.
    pub(super) fn ended(&self, failure: Option<&Failure>, denials: &[Denial]) {
        if let Some(failure) = failure {
            self.turned_away(failure);
        }
        if !denials.is_empty() {
            let mut rare = self.rare.lock();
            for denial in denials {
                if rare.denials.len() < MAX_DENIALS && !rare.denials.contains(denial) {
                    rare.denials.push(denial.clone());
                }
            }
        }
    }

    /// A task did not get to run, or failed. What only its caller can mend is no error of the agent's.
    fn turned_away(&self, failure: &Failure) {
        if !failure.is_the_callers() {
            self.errors.fetch_add(1, Ordering::Relaxed);
            self.rare.lock().last_error = Some(failure.code());
        }
    }
}

/// All agents' counters.
#[derive(Debug, Default)]
pub(super) struct Stats {
    agents: RwLock<HashMap<AgentId, Arc<AgentStats>>>,
}

impl Stats {
    /// The counters of `agent`.
    pub(super) fn of(&self, agent: &AgentId) -> Arc<AgentStats> {
        if let Some(stats) = self.agents.read().get(agent.as_str()) {
            return stats.clone();
        }
        self.agents.write().entry(agent.clone()).or_default().clone()
    }

    /// What they say, with what the gate knows.
    pub(super) fn load(&self, agent: &AgentId, running: u32, queued: u32) -> AgentLoad {
        let agents = self.agents.read();
        let Some(stats) = agents.get(agent.as_str()) else {
            return AgentLoad { running, queued, ..AgentLoad::default() };
        };
        let rare = stats.rare.lock();
        AgentLoad {
            running,
            queued,
            calls: stats.calls.load(Ordering::Relaxed),
            errors: stats.errors.load(Ordering::Relaxed),
            last_error: rare.last_error,
            denials: rare.denials.clone(),
        }
    }
}
