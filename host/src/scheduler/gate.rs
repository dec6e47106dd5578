//! Permits: so many calls run at once, over all agents and of each; so many wait, so long. The last few
//! are for agents of which no call runs, so that two that keep theirs for long leave room for others.
//!
//! One lock, held for a few instructions. A permit is given back as it is dropped, and that
//! wakes the next waiter there and then; nobody polls.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::fairness::Rotation;
use crate::domain::{AgentKey, Principal};

/// The part of all permits that is kept for agents of which no call runs: one in so many.
const KEPT: u32 = 8;

/// How many calls of an agent may run and wait.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) running: u32,
    pub(super) queued: u32,
}

/// Why there is no permit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    /// No place in the queue.
    QueueFull,
    /// Not within the time one waits.
    TooLong,
}

/// The permits of the whole host.
pub(super) struct Gate {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    limit: u32,
    running: u32,
    /// Those of which a call runs or waits; the others have no lane.
    agents: HashMap<AgentKey, Lane>,
    waiting: Rotation<AgentKey>,
    tickets: u64,
}

#[derive(Default)]
struct Lane {
    running: u32,
    limit: u32,
    queue: VecDeque<Waiter>,
}

struct Waiter {
    ticket: u64,
    priority: u8,
    go: oneshot::Sender<()>,
}

impl Gate {
    /// A gate for at most `limit` calls at once.
    pub(super) fn new(limit: u32) -> Arc<Self> {
        let state = State { limit: limit.max(1), ..State::default() };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Lets so many calls run at once from now on, over all and of each agent. Those that run go on;
    /// where there is more room, who waits gets it now.
    pub(super) fn resize(&self, limit: u32, limit_of: impl Fn(&AgentKey) -> u32) {
        let mut state = self.state.lock();
        state.limit = limit.max(1);
        for (agent, lane) in &mut state.agents {
            lane.limit = limit_of(agent).max(1);
        }
        state.wake();
    }

    /// Gets a permit for a call of `agent`, waiting for it at most `patience`.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        agent: &AgentKey,
        principal: &Principal,
        room: Room,
        patience: Duration,
    ) -> Result<Permit, Refused> {
        let mut place = match self.enter(agent, principal.priority, room)? {
            Entered::Permit(permit) => return Ok(permit),
            Entered::Queued(place) => place,
        };
        match tokio::time::timeout(patience, &mut place.go).await {
            Ok(Ok(())) => Ok(place.into_permit()),
            // The gate outlives its waiters, so a closed channel is no different from a timeout.
            Ok(Err(_)) | Err(_) => Err(Refused::TooLong),
        }
    }

    fn enter(self: &Arc<Self>, agent: &AgentKey, priority: u8, room: Room) -> Result<Entered, Refused> {
        let mut state = self.state.lock();
        let state = &mut *state;
        let lane = match state.agents.get_mut(agent) {
            Some(lane) => lane,
            None => state.agents.entry(agent.clone()).or_default(),
        };
        let raised = room.running > lane.limit && !lane.queue.is_empty();
        lane.limit = room.running.max(1);
        if raised {
            state.wake();
        }
        let Some(lane) = state.agents.get_mut(agent) else { return Err(Refused::QueueFull) };
        if has_room(state.limit, state.running, lane) && lane.queue.is_empty() {
            state.running += 1;
            lane.running += 1;
            return Ok(Entered::Permit(Permit { gate: self.clone(), agent: agent.clone(), at_once: true }));
        }
        if lane.queue.len() >= room.queued as usize {
            state.sweep(agent);
            return Err(Refused::QueueFull);
        }
        state.tickets += 1;
        let (sender, go) = oneshot::channel();
        if lane.queue.is_empty() {
            state.waiting.join(agent.clone());
        }
        // Behind everybody whose key has at least this priority.
        let place = lane.queue.iter().rposition(|waiter| waiter.priority >= priority);
        let waiter = Waiter { ticket: state.tickets, priority, go: sender };
        lane.queue.insert(place.map_or(0, |place| place + 1), waiter);
        let place =
            Place { gate: self.clone(), agent: agent.clone(), ticket: state.tickets, go, done: false };
        Ok(Entered::Queued(place))
    }

    /// How many calls of `agent` run and wait now.
    pub(super) fn occupancy(&self, agent: &AgentKey) -> (u32, u32) {
        let state = self.state.lock();
        let lane = state.agents.get(agent);
        lane.map_or((0, 0), |lane| (lane.running, lane.queue.len() as u32))
    }

    fn release(&self, agent: &AgentKey) {
        let mut state = self.state.lock();
        state.running -= 1;
        if let Some(lane) = state.agents.get_mut(agent) {
            lane.running -= 1;
        }
        state.wake();
        state.sweep(agent);
    }

    fn give_up(&self, agent: &AgentKey, ticket: u64) {
        let mut state = self.state.lock();
        let state = &mut *state;
        if let Some(lane) = state.agents.get_mut(agent) {
            let had = !lane.queue.is_empty();
            lane.queue.retain(|waiter| waiter.ticket != ticket);
            if had && lane.queue.is_empty() {
                state.waiting.leave(agent);
            }
        }
        state.sweep(agent);
    }
}

impl State {
    /// Removes an agent's lane if no call of it runs or waits.
    fn sweep(&mut self, agent: &AgentKey) {
        let idle = |lane: &Lane| lane.running == 0 && lane.queue.is_empty();
        if self.agents.get(agent).is_some_and(idle) {
            self.agents.remove(agent);
        }
    }

    /// Hands free permits to waiters, lane after lane.
    fn wake(&mut self) {
        while self.running < self.limit {
            let (agents, limit, running) = (&self.agents, self.limit, self.running);
            let free =
                |agent: &AgentKey| agents.get(agent).is_some_and(|lane| has_room(limit, running, lane));
            let Some(agent) = self.waiting.next(free) else { return };
            let Some(lane) = self.agents.get_mut(&agent) else { return };
            let waiter = lane.queue.pop_front();
            if lane.queue.is_empty() {
                self.waiting.leave(&agent);
            }
            // A waiter whose receiver is gone has given up; its place is removed either way.
            if waiter.is_some_and(|waiter| waiter.go.send(()).is_ok()) {
                lane.running += 1;
                self.running += 1;
            }
        }
    }
}

/// Whether a call of `lane` may run beside `running` others, of `limit` at the most.
fn has_room(limit: u32, running: u32, lane: &Lane) -> bool {
    let kept = if lane.running == 0 { 0 } else { limit / KEPT };
    running < limit - kept && lane.running < lane.limit
}

enum Entered {
    Permit(Permit),
    Queued(Place),
}

/// A place in a queue. Dropping it gives the place up, or the permit that had just come.
struct Place {
    gate: Arc<Gate>,
    agent: AgentKey,
    ticket: u64,
    go: oneshot::Receiver<()>,
    done: bool,
}

impl Place {
    fn into_permit(mut self) -> Permit {
        self.done = true;
        Permit { gate: self.gate.clone(), agent: self.agent.clone(), at_once: false }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.go.close();
        match self.go.try_recv() {
            Ok(()) => self.gate.release(&self.agent),
            Err(_) => self.gate.give_up(&self.agent, self.ticket),
        }
    }
}

/// The right to run one call; given back as it is dropped.
pub(super) struct Permit {
    gate: Arc<Gate>,
    agent: AgentKey,
    at_once: bool,
}

impl Permit {
    /// Whether nobody waited for it.
    pub(super) fn came_at_once(&self) -> bool {
        self.at_once
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.gate.release(&self.agent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{AgentId, TenantId};

    const LONG: Duration = Duration::from_secs(60);

    fn agent(name: &str) -> AgentKey {
        of("default", name)
    }

    fn of(tenant: &str, name: &str) -> AgentKey {
        let tenant = TenantId::parse(tenant).expect("a tenant");
        AgentKey { tenant, id: AgentId::parse(name).expect("an id") }
    }

    async fn acquire(
        gate: &Arc<Gate>,
        name: &str,
        room: (u32, u32),
        patience: Duration,
    ) -> Result<Permit, Refused> {
        let room = Room { running: room.0, queued: room.1 };
        gate.acquire(&agent(name), &Principal::operator("test"), room, patience).await
    }

    #[tokio::test]
    async fn limits_hold_for_all_and_for_each() {
        let gate = Gate::new(3);
        let first = acquire(&gate, "a", (2, 0), LONG).await;
        let second = acquire(&gate, "a", (2, 0), LONG).await;
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(acquire(&gate, "a", (2, 0), LONG).await.err(), Some(Refused::QueueFull));
        let third = acquire(&gate, "b", (2, 0), LONG).await;
        assert!(third.is_ok());
        assert_eq!(acquire(&gate, "c", (2, 0), LONG).await.err(), Some(Refused::QueueFull));
        drop(first);
        assert!(acquire(&gate, "c", (2, 0), LONG).await.is_ok());
        assert_eq!(gate.occupancy(&agent("a")), (1, 0));
    }

    #[tokio::test]
    async fn two_tenants_agents_of_one_id_have_each_their_own_permits_and_queues() {
        let gate = Gate::new(16);
        let room = Room { running: 1, queued: 0 };
        let (one, other) = (of("acme", "a"), of("default", "a"));
        let who = Principal::operator("test");
        let held = gate.acquire(&one, &who, room, LONG).await.expect("a permit");
        assert_eq!(gate.acquire(&one, &who, room, LONG).await.err(), Some(Refused::QueueFull));
        assert!(gate.acquire(&other, &who, room, LONG).await.is_ok());
        assert_eq!((gate.occupancy(&one), gate.occupancy(&other)), ((1, 0), (0, 0)));
        drop(held);
        assert_eq!(gate.occupancy(&one), (0, 0));
    }

    #[tokio::test]
    async fn an_agent_has_a_lane_while_a_call_of_it_runs_or_waits() {
        let gate = Gate::new(1);
        let held = acquire(&gate, "a", (1, 1), LONG).await;
        for number in 0..100 {
            let name = format!("agent-{number}");
            let impatient = acquire(&gate, &name, (1, 1), Duration::from_millis(1)).await;
            assert_eq!(impatient.err(), Some(Refused::TooLong));
            assert_eq!(acquire(&gate, &name, (1, 0), LONG).await.err(), Some(Refused::QueueFull));
        }
        assert_eq!(gate.state.lock().agents.len(), 1);
        drop(held);
        assert_eq!(gate.state.lock().agents.len(), 0);
    }

    #[tokio::test]
    async fn two_agents_that_keep_their_permits_leave_some_for_others() {
        let gate = Gate::new(16);
        let mut kept = Vec::new();
        for name in ["a", "b"] {
            for _ in 0..8 {
                kept.extend(acquire(&gate, name, (8, 0), LONG).await);
            }
        }
        assert_eq!(kept.len(), 14);
        let other = acquire(&gate, "c", (8, 9), LONG).await.expect("a permit");
        // Its next call waits for its first, and not for the others'.
        let mut next = Box::pin(acquire(&gate, "c", (8, 9), LONG));
        assert!(futures_util::poll!(&mut next).is_pending());
        drop(other);
        assert!(next.await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_with_a_permit_or_with_the_patience() {
        let gate = Gate::new(1);
        let held = acquire(&gate, "a", (1, 5), LONG).await;
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { acquire(&gate, "a", (1, 5), LONG).await.map(drop) }
        });
        tokio::task::yield_now().await;
        assert_eq!(gate.occupancy(&agent("a")), (1, 1));
        let impatient = acquire(&gate, "a", (1, 5), Duration::from_millis(5)).await;
        assert_eq!(impatient.err(), Some(Refused::TooLong));
        assert_eq!(gate.occupancy(&agent("a")), (1, 1));
        drop(held);
        assert_eq!(waiting.await.expect("task"), Ok(()));
        assert_eq!(gate.occupancy(&agent("a")), (0, 0));
    }

    #[tokio::test]
    async fn a_waiter_that_leaves_takes_nothing_along() {
        let gate = Gate::new(1);
        let held = acquire(&gate, "a", (1, 5), LONG).await;
        for _ in 0..3 {
            let waiting = tokio::spawn({
                let gate = gate.clone();
                async move { acquire(&gate, "a", (1, 5), LONG).await.map(drop) }
            });
            tokio::task::yield_now().await;
            waiting.abort();
            let _ = waiting.await;
        }
        assert_eq!(gate.occupancy(&agent("a")), (1, 0));
        drop(held);
        assert!(acquire(&gate, "b", (1, 0), LONG).await.is_ok());
    }

    #[tokio::test]
    async fn a_permit_on_its_way_to_one_who_left_is_not_lost() {
        let gate = Gate::new(1);
        let held = acquire(&gate, "a", (1, 5), LONG).await;
        let mut waiting = Box::pin(acquire(&gate, "a", (1, 5), LONG));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(held);
        drop(waiting);
        assert!(acquire(&gate, "a", (1, 0), LONG).await.is_ok());
    }

    #[tokio::test]
    async fn a_higher_priority_goes_first() {
        let gate = Gate::new(1);
        let held = acquire(&gate, "a", (1, 5), LONG).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for priority in [0, 0, 3, 1, 3] {
            let (gate, order) = (gate.clone(), order.clone());
            tasks.push(tokio::spawn(async move {
                let principal = Principal { priority, ..Principal::operator("test") };
                let room = Room { running: 1, queued: 9 };
                let permit = gate.acquire(&agent("a"), &principal, room, LONG).await;
                order.lock().push(priority);
                drop(permit);
            }));
            tokio::task::yield_now().await;
        }
        drop(held);
        for task in tasks {
            task.await.expect("task");
        }
        assert_eq!(*order.lock(), [3, 3, 1, 0, 0]);
    }

    #[tokio::test]
    async fn a_busy_agent_does_not_starve_another() {
        let gate = Gate::new(1);
        let held = acquire(&gate, "busy", (9, 9), LONG).await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for name in ["busy", "busy", "busy", "calm"] {
            let (gate, order) = (gate.clone(), order.clone());
            tasks.push(tokio::spawn(async move {
                let permit = acquire(&gate, name, (9, 9), LONG).await;
                order.lock().push(name);
                drop(permit);
            }));
            tokio::task::yield_now().await;
        }
        drop(held);
        for task in tasks {
            task.await.expect("task");
        }
        assert_eq!(*order.lock(), ["busy", "calm", "busy", "busy"]);
    }
}
