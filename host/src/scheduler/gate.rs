//! Permits: so many calls compute at once, over all agents, and so many of each agent have a sandbox; so
//! many wait, so long.
//!
//! A permit is a sandbox and, while its guest computes or could, a slot. A guest that waits for the host
//! gives its slot back and keeps its sandbox; when it is woken it takes a slot at once, also where none is
//! free: whoever has a sandbox waits for nobody who has none, so that nothing can stand still. New calls
//! wait until there are fewer again. The last few slots and sandboxes are for agents that have none, so
//! that two that keep theirs for long leave room for others.
//!
//! One lock, held for a few instructions. What is given back wakes the next waiter at once; nobody
//! polls.

mod permit;

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::fairness::Rotation;
use crate::domain::{AgentKey, Principal};
pub(super) use permit::Permit;

/// The part of all slots that is kept for agents of which no call computes, and of all sandboxes for
/// agents that have none: one in so many.
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
    /// Told when the last permit was given back.
    idle: Notify,
}

#[derive(Default)]
struct State {
    all: Counts,
    /// Those of which a call runs or waits; the others have no lane.
    agents: HashMap<AgentKey, Lane>,
    waiting: Rotation<AgentKey>,
    tickets: u64,
}

/// Over all agents.
#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    /// Calls that may compute at once. Those that are woken come on top.
    slots: u32,
    /// Calls that may have a sandbox.
    sandboxes: u32,
    /// Calls that have a slot.
    computing: u32,
    /// Calls that have a sandbox.
    running: u32,
    /// Agents of which a call has a slot.
    agents_computing: u32,
}

#[derive(Default)]
struct Lane {
    /// Calls that have a sandbox.
    running: u32,
    /// Those of them that have a slot.
    computing: u32,
    /// How many may have a sandbox.
    limit: u32,
    queue: VecDeque<Waiter>,
}

struct Waiter {
    ticket: u64,
    priority: u8,
    go: oneshot::Sender<()>,
}

impl Gate {
    /// A gate for `slots` calls that compute, of `sandboxes` at most that there are at all.
    pub(super) fn new(slots: u32, sandboxes: u32) -> Arc<Self> {
        let all = Counts { slots: slots.max(1), sandboxes: sandboxes.max(1), ..Counts::default() };
        let state = State { all, ..State::default() };
        Arc::new(Self { state: Mutex::new(state), idle: Notify::new() })
    }

    /// Lets so many calls compute at once from now on, and so many of each agent run. Those that run go
    /// on; where there is more room, who waits gets it now.
    pub(super) fn resize(&self, slots: u32, limit_of: impl Fn(&AgentKey) -> u32) {
        let mut state = self.state.lock();
        state.all.slots = slots.max(1);
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
        let Some(lane) = state.agents.get(agent) else { return Err(Refused::QueueFull) };
        if state.all.has_room_for(lane) && lane.queue.is_empty() {
            state.admit(agent);
            return Ok(Entered::Permit(Permit::new(self.clone(), agent.clone(), true)));
        }
        let Some(lane) = state.agents.get_mut(agent) else { return Err(Refused::QueueFull) };
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

    /// Waits until no call runs.
    pub(super) async fn idle(&self) {
        loop {
            let mut idle = pin!(self.idle.notified());
            idle.as_mut().enable();
            if self.state.lock().all.running == 0 {
                return;
            }
            idle.await;
        }
    }

    /// A call ends; `slots` tells how many it had.
    fn release(&self, agent: &AgentKey, slots: impl FnOnce() -> u32) {
        let mut state = self.state.lock();
        state.compute_less(agent, slots());
        state.all.running -= 1;
        if let Some(lane) = state.agents.get_mut(agent) {
            lane.running -= 1;
        }
        state.wake();
        state.sweep(agent);
        let is_idle = state.all.running == 0;
        drop(state);
        if is_idle {
            self.idle.notify_waiters();
        }
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

impl Counts {
    /// Whether a new call of `lane` may run.
    fn has_room_for(&self, lane: &Lane) -> bool {
        let sandboxes = if lane.running == 0 { self.sandboxes } else { but_kept(self.sandboxes) };
        let has_slot = match lane.computing {
            0 => self.computing < self.slots || self.has_kept_slot(),
            _ => self.computing < but_kept(self.slots),
        };
        has_slot && self.running < sandboxes && lane.running < lane.limit
    }

    /// Whether there is a slot for an agent of which nothing computes, though none is free. Those that are kept are
    /// kept beside calls that were woken, too: filling them takes as many agents as filling all slots does otherwise.
    /// One agent that wakes keeps nobody out, however few slots there are.
    fn has_kept_slot(&self) -> bool {
        let kept = self.slots / KEPT;
        self.agents_computing <= if self.computing > self.slots { kept.max(1) } else { kept }
    }

    /// Whether there is no room for anybody.
    fn is_full(&self) -> bool {
        let no_slot = self.computing >= self.slots && !self.has_kept_slot();
        no_slot || self.running >= self.sandboxes
    }
}

impl State {
    /// A call of this agent has its sandbox and its slot.
    fn admit(&mut self, agent: &AgentKey) {
        self.all.running += 1;
        if let Some(lane) = self.agents.get_mut(agent) {
            lane.running += 1;
        }
        self.compute_more(agent);
    }

    fn compute_more(&mut self, agent: &AgentKey) {
        self.all.computing += 1;
        if let Some(lane) = self.agents.get_mut(agent) {
            lane.computing += 1;
            self.all.agents_computing += u32::from(lane.computing == 1);
        }
    }

    fn compute_less(&mut self, agent: &AgentKey, slots: u32) {
        self.all.computing -= slots;
        if let Some(lane) = self.agents.get_mut(agent) {
            self.all.agents_computing -= u32::from(slots > 0 && lane.computing == slots);
            lane.computing -= slots;
        }
    }

    /// Removes an agent's lane if no call of it runs or waits.
    fn sweep(&mut self, agent: &AgentKey) {
        let idle = |lane: &Lane| lane.running == 0 && lane.queue.is_empty();
        if self.agents.get(agent).is_some_and(idle) {
            self.agents.remove(agent);
        }
    }

    /// Hands free permits to waiters, lane after lane.
    fn wake(&mut self) {
        while !self.all.is_full() {
            let (agents, all) = (&self.agents, self.all);
            let free = |agent: &AgentKey| agents.get(agent).is_some_and(|lane| all.has_room_for(lane));
            let Some(agent) = self.waiting.next(free) else { return };
            let Some(lane) = self.agents.get_mut(&agent) else { return };
            let waiter = lane.queue.pop_front();
            if lane.queue.is_empty() {
                self.waiting.leave(&agent);
            }
            // A waiter whose receiver is gone has given up; its place is removed either way.
            if waiter.is_some_and(|waiter| waiter.go.send(()).is_ok()) {
                self.admit(&agent);
            }
        }
    }
}

/// All but those that are kept.
fn but_kept(all: u32) -> u32 {
    all - all / KEPT
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
        Permit::new(self.gate.clone(), self.agent.clone(), false)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.go.close();
        match self.go.try_recv() {
            Ok(()) => self.gate.release(&self.agent, || 1),
            Err(_) => self.gate.give_up(&self.agent, self.ticket),
        }
    }
}

#[cfg(test)]
mod tests;
