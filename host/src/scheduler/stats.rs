//! Counters of each agent since the start, and its lane on the guests' threads. Emitted for every end of
//! a call, cancels included.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};

use crate::domain::{AgentKey, Denial, Failure, Micros};
use crate::engine::Lane;
use crate::registry::{AgentEntry, Incarnation};

/// What an agent is doing now and has done since the start.
#[derive(Debug, Clone, Default)]
pub struct AgentLoad {
    /// Calls that run.
    pub running: u32,
    /// Calls that wait.
    pub queued: u32,
    /// Calls that began, ever.
    pub calls: u64,
    /// Those that ended without an answer, and calls that were rejected; not those whose caller
    /// can mend them.
    pub errors: u64,
    /// Units of fuel that its calls have used.
    pub fuel: u64,
    /// Units of fuel that its running calls may use at the most.
    pub reserved_fuel: u64,
    /// How long its calls were in their sandboxes.
    pub wall: Duration,
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
    /// Its guests' share of time.
    pub(super) lane: Arc<Lane>,
    calls: AtomicU64,
    errors: AtomicU64,
    reserved: AtomicU64,
    fuel: AtomicU64,
    /// Microseconds.
    wall: AtomicU64,
    rare: Mutex<Rare>,
}

/// What a call has used in the end.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Used {
    /// Units of fuel.
    pub(super) fuel: u64,
    /// Time in its sandbox.
    pub(super) wall: Micros,
}

/// Fuel that a call may use at the most, counted as reserved until it is settled. Dropped instead, it was
/// not used.
#[derive(Debug)]
pub(super) struct Reservation {
    stats: Arc<AgentStats>,
    fuel: u64,
}

impl Reservation {
    /// So much of it was used, and of the rest nothing.
    pub(super) fn settle(self, used: Used) {
        self.stats.fuel.fetch_add(used.fuel.min(self.fuel), Ordering::Relaxed);
        self.stats.wall.fetch_add(used.wall.get(), Ordering::Relaxed);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.stats.reserved.fetch_sub(self.fuel, Ordering::Relaxed);
    }
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

    /// Reserves `fuel` for a call.
    pub(super) fn reserve(self: &Arc<Self>, fuel: u64) -> Reservation {
        self.reserved.fetch_add(fuel, Ordering::Relaxed);
        Reservation { stats: self.clone(), fuel }
    }

    /// Units of fuel that are reserved now.
    pub(super) fn reserved(&self) -> u64 {
        self.reserved.load(Ordering::Relaxed)
    }

    /// Units of fuel that calls have used.
    pub(super) fn fuel(&self) -> u64 {
        self.fuel.load(Ordering::Relaxed)
    }

    /// A call ended, with this failure if it did not succeed.
    pub(super) fn ended(&self, failure: Option<&Failure>, denials: &[Denial]) {
        if let Some(failure) = failure {
            self.rejected(failure);
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
    fn rejected(&self, failure: &Failure) {
        if !failure.is_the_callers() {
            self.errors.fetch_add(1, Ordering::Relaxed);
            self.rare.lock().last_error = Some(failure.code());
        }
    }
}

/// The least number of agents at which counters of agents that are gone are looked for.
const SWEEP: usize = 64;

/// All agents' counters. Those of an agent that was removed go with it: once others are added, or
/// another comes under its id.
#[derive(Debug, Default)]
pub(super) struct Stats {
    agents: RwLock<Agents>,
}

#[derive(Debug, Default)]
struct Agents {
    counters: HashMap<AgentKey, (Weak<Incarnation>, Arc<AgentStats>)>,
    /// The number at which they are swept next.
    sweep: usize,
}

impl Agents {
    fn get(&self, entry: &AgentEntry) -> Option<&Arc<AgentStats>> {
        let (incarnation, stats) = self.counters.get(&entry.key)?;
        std::ptr::eq(incarnation.as_ptr(), Arc::as_ptr(&entry.incarnation)).then_some(stats)
    }

    fn sweep(&mut self) {
        if self.counters.len() < self.sweep.max(SWEEP) {
            return;
        }
        self.counters.retain(|_, (incarnation, _)| incarnation.strong_count() > 0);
        self.sweep = self.counters.len() * 2;
    }
}

impl Stats {
    /// The counters of an agent.
    pub(super) fn of(&self, entry: &AgentEntry) -> Arc<AgentStats> {
        if let Some(stats) = self.agents.read().get(entry) {
            return stats.clone();
        }
        let mut agents = self.agents.write();
        if let Some(stats) = agents.get(entry) {
            return stats.clone();
        }
        agents.sweep();
        let stats: Arc<AgentStats> = Arc::default();
        agents.counters.insert(entry.key.clone(), (Arc::downgrade(&entry.incarnation), stats.clone()));
        stats
    }

    /// What they say, with what the gate knows.
    pub(super) fn load(&self, entry: &AgentEntry, running: u32, queued: u32) -> AgentLoad {
        let agents = self.agents.read();
        let Some(stats) = agents.get(entry) else {
            return AgentLoad { running, queued, ..AgentLoad::default() };
        };
        let rare = stats.rare.lock();
        AgentLoad {
            running,
            queued,
            calls: stats.calls.load(Ordering::Relaxed),
            errors: stats.errors.load(Ordering::Relaxed),
            fuel: stats.fuel(),
            reserved_fuel: stats.reserved(),
            wall: Duration::from_micros(stats.wall.load(Ordering::Relaxed)),
            last_error: rare.last_error,
            denials: rare.denials.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{NoEnvironment, parse};
    use crate::domain::TenantId;

    fn entry(tenant: &str) -> AgentEntry {
        let text = "[agents.echo]\ncomponent = 'echo.wasm'\n";
        let config = parse(text, "agents.toml", Path::new("/srv"), &NoEnvironment).expect("settings");
        let mut config = config.agents.into_values().next().expect("an agent");
        config.key.tenant = TenantId::parse(tenant).expect("a tenant");
        AgentEntry::loading(Arc::new(config), Arc::default())
    }

    #[test]
    fn two_tenants_agents_of_one_id_are_counted_apart() {
        let (stats, one, other) = (Stats::default(), entry("acme"), entry("default"));
        stats.of(&one).began();
        stats.of(&one).began();
        stats.of(&other).began();
        assert_eq!([&one, &other].map(|entry| stats.load(entry, 0, 0).calls), [2, 1]);
        assert_eq!(stats.load(&entry("nobody"), 0, 0).calls, 0);
    }
}
