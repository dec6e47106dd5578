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

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

use super::fairness::Rotation;
use super::stats::{Reservation, Used};
use crate::domain::{AgentKey, Principal};
use crate::engine::Slot;

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

/// The right to run one call, with what is reserved for it. It is settled once, with what the call has
/// used; where it is dropped instead, nothing was used.
pub(super) struct Permit {
    held: Arc<Held>,
    reserved: Option<Reservation>,
    at_once: bool,
}

impl Permit {
    /// What was just admitted.
    fn new(gate: Arc<Gate>, agent: AgentKey, at_once: bool) -> Self {
        Self { held: Arc::new(Held { gate, agent, slots: AtomicU32::new(1) }), reserved: None, at_once }
    }

    /// Whether nobody waited for it.
    pub(super) fn came_at_once(&self) -> bool {
        self.at_once
    }

    /// Its slot, for whoever knows when its guest waits.
    pub(super) fn slot(&self) -> Arc<dyn Slot> {
        self.held.clone()
    }

    /// Keeps what the call may use at the most until it is settled, in place of what was kept before.
    pub(super) fn reserve(&mut self, reservation: Reservation) {
        self.reserved = Some(reservation);
    }

    /// The call is over, and has used so much: what was reserved beyond it is free again, and so are its
    /// sandbox and its slot.
    pub(super) fn settle(mut self, used: Used) {
        if let Some(reserved) = self.reserved.take() {
            reserved.settle(used);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let held = &self.held;
        held.gate.release(&held.agent, || held.slots.swap(GONE, Ordering::Relaxed));
    }
}

/// What a permit holds of the gate.
struct Held {
    gate: Arc<Gate>,
    agent: AgentKey,
    /// The slots that it has, changed under the gate's lock alone: 1 while its guest computes, 0 while it
    /// waits. A guest that is woken before it is known that it waits has 2 for a moment.
    slots: AtomicU32,
}

/// Of a permit that was given back.
const GONE: u32 = u32::MAX;

impl Held {
    fn change(&self, change: impl FnOnce(&mut State, u32) -> u32) {
        // Most guests end without having waited.
        if self.slots.load(Ordering::Relaxed) == GONE {
            return;
        }
        let mut state = self.gate.state.lock();
        let slots = self.slots.load(Ordering::Relaxed);
        if slots != GONE {
            self.slots.store(change(&mut state, slots), Ordering::Relaxed);
        }
    }
}

impl Slot for Held {
    fn release(&self) {
        self.change(|state, slots| {
            let Some(fewer) = slots.checked_sub(1) else { return slots };
            state.compute_less(&self.agent, 1);
            state.wake();
            fewer
        });
    }

    fn acquire(&self) {
        self.change(|state, slots| {
            state.compute_more(&self.agent);
            // Above all slots, one is kept for another agent: it may wait already.
            state.wake();
            slots + 1
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::stats::AgentStats;
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
        let gate = Gate::new(3, 64);
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
        let gate = Gate::new(16, 64);
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
        let gate = Gate::new(1, 64);
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
        let gate = Gate::new(16, 64);
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
        let gate = Gate::new(1, 64);
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
        let gate = Gate::new(1, 64);
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
        let gate = Gate::new(1, 64);
        let held = acquire(&gate, "a", (1, 5), LONG).await;
        let mut waiting = Box::pin(acquire(&gate, "a", (1, 5), LONG));
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(held);
        drop(waiting);
        assert!(acquire(&gate, "a", (1, 0), LONG).await.is_ok());
    }

    #[tokio::test]
    async fn a_higher_priority_goes_first() {
        let gate = Gate::new(1, 64);
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
        let gate = Gate::new(1, 64);
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

    /// A call that has its permit, as the threads of guests see it.
    struct Running {
        permit: Permit,
        slot: Arc<dyn Slot>,
    }

    fn admitted(gate: &Arc<Gate>, name: &str, room: (u32, u32)) -> Option<Running> {
        let room = Room { running: room.0, queued: room.1 };
        match gate.enter(&agent(name), 0, room) {
            Ok(Entered::Permit(permit)) => Some(Running { slot: permit.slot(), permit }),
            Ok(Entered::Queued(_)) | Err(_) => None,
        }
    }

    fn computing(gate: &Gate) -> u32 {
        gate.state.lock().all.computing
    }

    #[tokio::test]
    async fn who_waits_for_the_host_keeps_a_sandbox_and_no_slot() {
        let gate = Gate::new(2, 64);
        let asleep: Vec<Running> = (0..20)
            .map(|number| {
                let name = ["a", "d"][number % 2];
                let call = admitted(&gate, name, (64, 0)).expect("a slot is free");
                call.slot.release();
                call
            })
            .collect();
        assert_eq!((gate.occupancy(&agent("a")), computing(&gate)), ((10, 0), 0));
        let other = admitted(&gate, "b", (64, 0)).expect("all slots are free");
        // They are woken: none of them waits, and who is new does.
        asleep.iter().for_each(|call| call.slot.acquire());
        assert_eq!(computing(&gate), 21);
        let mut new = Box::pin(acquire(&gate, "c", (64, 9), LONG));
        assert!(futures_util::poll!(&mut new).is_pending());
        drop(other);
        // One after the other goes to sleep again or ends, until there is a slot.
        for (number, call) in asleep.into_iter().enumerate() {
            assert_eq!(futures_util::poll!(&mut new).is_ready(), number >= 19, "{number}");
            if number >= 19 {
                return;
            }
            if number % 2 == 0 { drop(call.permit) } else { call.slot.release() }
        }
    }

    #[tokio::test]
    async fn an_agent_of_which_nothing_computes_gets_in_beside_many_that_were_woken() {
        let gate = Gate::new(16, 64);
        let mut woken = Vec::new();
        for name in ["a", "b", "c"] {
            for _ in 0..16 {
                let call = admitted(&gate, name, (16, 0)).expect("nobody computes");
                call.slot.release();
                woken.push(call);
            }
        }
        woken.iter().for_each(|call| call.slot.acquire());
        assert_eq!(computing(&gate), 48);
        // Three agents compute, and two places are kept for those that do not.
        assert!(admitted(&gate, "d", (16, 0)).is_none());
        woken.retain(|call| call.permit.held.agent == agent("a"));
        assert_eq!(computing(&gate), 16);
        assert!(admitted(&gate, "d", (16, 0)).is_some(), "one agent has all slots, and more are kept");
        assert!(admitted(&gate, "a", (64, 0)).is_none());
    }

    #[tokio::test]
    async fn one_agent_that_was_woken_keeps_nobody_out_however_few_slots_there_are() {
        for slots in [1, 2, 4, 7, 8, 9, 15, 16] {
            let gate = Gate::new(slots, 64);
            let mut woken = Vec::new();
            for _ in 0..=slots {
                let call = admitted(&gate, "a", (64, 0)).expect("nobody computes");
                call.slot.release();
                woken.push(call);
            }
            woken.iter().for_each(|call| call.slot.acquire());
            assert_eq!(computing(&gate), slots + 1);
            let first = admitted(&gate, "b", (64, 1));
            assert!(first.is_some(), "of {slots} slots none is left");
            assert!(admitted(&gate, "b", (64, 0)).is_none(), "its next call waits for its first");
            // Who comes after it has its turn when it ends.
            let room = Room { running: 64, queued: 1 };
            let mut next = match gate.enter(&agent("c"), 0, room) {
                Ok(Entered::Permit(_)) => continue,
                Ok(Entered::Queued(place)) => place,
                Err(refused) => panic!("{refused:?}"),
            };
            drop(first);
            assert!(next.go.try_recv().is_ok(), "{slots} slots");
        }
    }

    #[tokio::test]
    async fn the_last_sandboxes_are_for_agents_that_have_none() {
        let gate = Gate::new(4, 16);
        let mut asleep = Vec::new();
        while let Some(call) = admitted(&gate, "a", (64, 0)) {
            call.slot.release();
            asleep.push(call);
        }
        assert_eq!(asleep.len(), 14);
        let others: Vec<_> =
            ["b", "c"].into_iter().filter_map(|name| admitted(&gate, name, (64, 0))).collect();
        assert_eq!(others.len(), 2);
        assert!(admitted(&gate, "d", (64, 0)).is_none(), "there is no sandbox at all");
        drop(others);
        assert!(admitted(&gate, "d", (64, 0)).is_some());
    }

    #[tokio::test]
    async fn who_is_woken_before_it_is_known_to_wait_has_one_slot_in_the_end() {
        let gate = Gate::new(2, 64);
        let call = admitted(&gate, "a", (64, 0)).expect("a slot");
        call.slot.acquire();
        assert_eq!(computing(&gate), 2);
        call.slot.release();
        assert_eq!(computing(&gate), 1);
        // And none once it is over, whoever is told late.
        call.slot.acquire();
        drop(call.permit);
        assert_eq!(computing(&gate), 0);
        call.slot.release();
        call.slot.acquire();
        assert_eq!((computing(&gate), gate.state.lock().agents.len()), (0, 0));
    }

    #[tokio::test]
    async fn idle_is_when_no_call_runs() {
        let gate = Gate::new(2, 64);
        gate.idle().await;
        let call = admitted(&gate, "a", (64, 0)).expect("a slot");
        let mut idle = Box::pin(gate.idle());
        assert!(futures_util::poll!(&mut idle).is_pending());
        drop(call);
        idle.await;
    }

    /// What may happen to a call, or to all.
    #[derive(Debug, Clone, Copy)]
    enum Step {
        /// One comes, of this agent, that may use so much fuel.
        Comes(u8, u16),
        /// Those that were admitted are taken note of.
        Looks,
        /// This one waits for the host, is woken.
        Waits(u8),
        Wakes(u8),
        /// This one ends, having used so much of its fuel; is dropped; leaves the queue.
        Settles(u8, u16),
        Drops(u8),
        Leaves(u8),
        /// There are so many slots from now on.
        Resizes(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0..4_u8, any::<u16>()).prop_map(|(agent, fuel)| Step::Comes(agent, fuel)),
            2 => Just(Step::Looks),
            2 => any::<u8>().prop_map(Step::Waits),
            2 => any::<u8>().prop_map(Step::Wakes),
            2 => (any::<u8>(), any::<u16>()).prop_map(|(call, fuel)| Step::Settles(call, fuel)),
            1 => any::<u8>().prop_map(Step::Drops),
            1 => any::<u8>().prop_map(Step::Leaves),
            1 => (1..32_u8).prop_map(Step::Resizes),
        ];
        prop::collection::vec(step, 1..400)
    }

    /// Calls in every stage, as many as 100 at once, with what they should add up to.
    struct House {
        gate: Arc<Gate>,
        stats: Vec<Arc<AgentStats>>,
        queued: Vec<(usize, u64, Place)>,
        running: Vec<(usize, u64, bool, Permit)>,
        settled: Vec<u64>,
    }

    impl House {
        const ALL: usize = 100;

        fn new() -> Self {
            let stats = (0..4).map(|_| Arc::default()).collect();
            Self {
                gate: Gate::new(8, 48),
                stats,
                queued: Vec::new(),
                running: Vec::new(),
                settled: vec![0; 4],
            }
        }

        fn begins(&mut self, agent: usize, fuel: u64, mut permit: Permit) {
            permit.reserve(self.stats[agent].reserve(fuel));
            self.running.push((agent, fuel, true, permit));
        }

        fn take(&mut self, step: Step) {
            match step {
                Step::Comes(agent, fuel) => {
                    if self.running.len() + self.queued.len() < Self::ALL {
                        let (agent, room) = (usize::from(agent), Room { running: 30, queued: 50 });
                        match self.gate.enter(&of("default", &agent.to_string()), agent as u8, room) {
                            Ok(Entered::Permit(permit)) => self.begins(agent, fuel.into(), permit),
                            Ok(Entered::Queued(place)) => self.queued.push((agent, fuel.into(), place)),
                            Err(_) => {}
                        }
                    }
                }
                Step::Looks => {
                    for (agent, fuel, mut place) in std::mem::take(&mut self.queued) {
                        match place.go.try_recv() {
                            Ok(()) => self.begins(agent, fuel, place.into_permit()),
                            Err(_) => self.queued.push((agent, fuel, place)),
                        }
                    }
                }
                Step::Waits(call) => {
                    let count = self.running.len().max(1);
                    if let Some((_, _, computes, permit)) = self.running.get_mut(usize::from(call) % count)
                        && *computes
                    {
                        *computes = false;
                        permit.slot().release();
                    }
                }
                Step::Wakes(call) => {
                    let count = self.running.len().max(1);
                    if let Some((_, _, computes, permit)) = self.running.get_mut(usize::from(call) % count)
                        && !*computes
                    {
                        *computes = true;
                        permit.slot().acquire();
                    }
                }
                Step::Settles(call, used) => {
                    if !self.running.is_empty() {
                        let (agent, fuel, _, permit) =
                            self.running.remove(usize::from(call) % self.running.len());
                        permit.settle(Used { fuel: used.into(), ..Used::default() });
                        self.settled[agent] += u64::from(used).min(fuel);
                    }
                }
                Step::Drops(call) => {
                    if !self.running.is_empty() {
                        drop(self.running.remove(usize::from(call) % self.running.len()));
                    }
                }
                Step::Leaves(call) => {
                    if !self.queued.is_empty() {
                        drop(self.queued.remove(usize::from(call) % self.queued.len()));
                    }
                }
                Step::Resizes(slots) => self.gate.resize(slots.into(), |_| 30),
            }
        }

        fn check(&self) {
            for (agent, stats) in self.stats.iter().enumerate() {
                let own = self.running.iter().filter(|(of, ..)| *of == agent);
                let reserved: u64 = own.map(|(_, fuel, ..)| *fuel).sum();
                assert_eq!((stats.reserved(), stats.fuel()), (reserved, self.settled[agent]));
            }
            let state = self.gate.state.lock();
            // Admitted, and not looked at yet.
            let coming = state.all.running - self.running.len() as u32;
            let computing = self.running.iter().filter(|(_, _, computes, _)| *computes).count() as u32;
            assert_eq!(state.all.computing, computing + coming);
            assert!(state.all.running <= state.all.sandboxes);
            let lanes = || state.agents.values();
            assert_eq!(lanes().map(|lane| lane.running).sum::<u32>(), state.all.running);
            assert_eq!(lanes().map(|lane| lane.computing).sum::<u32>(), state.all.computing);
            let computing = lanes().filter(|lane| lane.computing > 0).count();
            assert_eq!(computing as u32, state.all.agents_computing);
            // Nobody waits for what is there.
            let waits = |lane: &Lane| !lane.queue.is_empty() && state.all.has_room_for(lane);
            assert!(!lanes().any(waits), "{:?}", state.all);
        }
    }

    proptest! {
        #[test]
        fn what_is_reserved_is_settled_once_whatever_happens(steps in steps()) {
            let mut house = House::new();
            for step in steps {
                house.take(step);
                house.check();
            }
            house.queued.clear();
            house.running.clear();
            house.check();
            prop_assert!(house.gate.state.lock().agents.is_empty());
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn a_hundred_calls_at_once_leave_nothing_behind() {
        let (gate, stats) = (Gate::new(8, 16), Arc::new(AgentStats::default()));
        let mut calls = Vec::new();
        for number in 0..100_u64 {
            let (gate, stats) = (gate.clone(), stats.clone());
            calls.push(tokio::spawn(async move {
                let mut permit = acquire(&gate, ["a", "b", "c"][number as usize % 3], (7, 100), LONG)
                    .await
                    .expect("a permit comes");
                permit.reserve(stats.reserve(1_000));
                assert!(stats.reserved() >= 1_000);
                let slot = permit.slot();
                for _ in 0..20 {
                    slot.release();
                    tokio::task::yield_now().await;
                    slot.acquire();
                }
                match number % 3 {
                    0 => permit.settle(Used { fuel: number, ..Used::default() }),
                    1 => permit.settle(Used { fuel: 5_000, ..Used::default() }),
                    // Dropped as its task is cancelled.
                    _ => std::future::pending().await,
                }
            }));
        }
        for (number, call) in calls.into_iter().enumerate() {
            if number % 3 == 2 {
                call.abort();
                let _ = call.await;
            } else {
                call.await.expect("it ends");
            }
        }
        gate.idle().await;
        let settled = (0..100).step_by(3).sum::<u64>() + 33 * 1_000;
        assert_eq!((stats.reserved(), stats.fuel()), (0, settled));
        assert_eq!((computing(&gate), gate.state.lock().agents.len()), (0, 0));
    }
}
