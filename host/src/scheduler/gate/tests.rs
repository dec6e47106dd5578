//! The gate and its permits, in single steps and in any order of them.

use proptest::prelude::*;

use super::super::stats::{AgentStats, Used};
use super::*;
use crate::domain::{AgentId, TenantId};
use crate::engine::Slot;

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
    let others: Vec<_> = ["b", "c"].into_iter().filter_map(|name| admitted(&gate, name, (64, 0))).collect();
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
        Self { gate: Gate::new(8, 48), stats, queued: Vec::new(), running: Vec::new(), settled: vec![0; 4] }
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
