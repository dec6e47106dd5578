//! Who may change an agent now: one change of an agent at a time, each in its turn.
//!
//! Owns which agents are being changed, and who waits for them. A change has its agents from the moment it
//! looks at them until what it decided serves, so that what it was decided on stands still; changes of other
//! agents go on beside it, while it waits for the disk too.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::domain::{AgentKey, Digest};

/// Agents that are being changed; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Reservations {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    table: Mutex<Table>,
    released: Notify,
}

#[derive(Debug, Default)]
struct Table {
    next: u64,
    /// Who waits, in the order in which they came.
    waiting: VecDeque<(u64, Arc<BTreeSet<AgentKey>>)>,
    /// Agents that somebody has.
    held: HashSet<AgentKey>,
    /// Components that changes under way may name, and no record names yet.
    named: HashMap<u64, Vec<Digest>>,
}

impl Table {
    /// Gives this one its agents, if all are free and nobody who came before wants any of them.
    fn take(&mut self, ticket: u64) -> bool {
        let Some(place) = self.waiting.iter().position(|(waits, _)| *waits == ticket) else { return true };
        let keys = self.waiting[place].1.clone();
        let wanted = self.waiting.iter().take(place).any(|(_, before)| !before.is_disjoint(&keys));
        if wanted || keys.iter().any(|key| self.held.contains(key)) {
            return false;
        }
        self.held.extend(keys.iter().cloned());
        self.waiting.remove(place);
        true
    }
}

/// Agents that its owner alone changes, until it is dropped.
#[derive(Debug)]
pub(super) struct Reservation {
    shared: Arc<Shared>,
    ticket: u64,
    keys: Arc<BTreeSet<AgentKey>>,
}

impl Reservations {
    /// Waits until nobody else changes any of these agents. Who came first for an agent has it first.
    pub(super) async fn reserve(&self, keys: impl IntoIterator<Item = AgentKey>) -> Reservation {
        let keys: Arc<BTreeSet<AgentKey>> = Arc::new(keys.into_iter().collect());
        // From here on, dropping it gives back the place in the queue, or the agents.
        let reservation = {
            let mut table = self.shared.table.lock();
            let ticket = table.next;
            table.next += 1;
            table.waiting.push_back((ticket, keys.clone()));
            Reservation { shared: self.shared.clone(), ticket, keys }
        };
        loop {
            let released = self.shared.released.notified();
            tokio::pin!(released);
            // Before looking: what is released meanwhile is not missed.
            released.as_mut().enable();
            if self.shared.table.lock().take(reservation.ticket) {
                return reservation;
            }
            released.await;
        }
    }

    /// The components that changes under way may name.
    pub(super) fn named(&self) -> Vec<Digest> {
        self.shared.table.lock().named.values().flatten().copied().collect()
    }
}

impl Reservation {
    /// Whether this agent is among them.
    pub(super) fn has(&self, key: &AgentKey) -> bool {
        self.keys.contains(key)
    }

    /// Says which components this change may name: they stay until it is over.
    pub(super) fn names(&self, digests: impl IntoIterator<Item = Digest>) {
        self.shared.table.lock().named.insert(self.ticket, digests.into_iter().collect());
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut table = self.shared.table.lock();
        match table.waiting.iter().position(|(waits, _)| *waits == self.ticket) {
            Some(place) => drop(table.waiting.remove(place)),
            None => table.held.retain(|key| !self.keys.contains(key)),
        }
        table.named.remove(&self.ticket);
        drop(table);
        self.shared.released.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::task::Poll;

    use futures_util::poll;

    use super::*;
    use crate::domain::{AgentId, TenantId};

    fn keys(ids: &[&str]) -> Vec<AgentKey> {
        let key = |id: &&str| AgentKey {
            tenant: TenantId::default_tenant(),
            id: AgentId::parse(id).expect("an id"),
        };
        ids.iter().map(key).collect()
    }

    #[tokio::test]
    async fn changes_of_other_agents_go_on_and_those_of_one_take_turns() {
        let all = Reservations::default();
        let first = all.reserve(keys(&["a", "b"])).await;
        assert!(first.has(&keys(&["a"])[0]) && !first.has(&keys(&["c"])[0]));
        let second = std::pin::pin!(all.reserve(keys(&["b", "c"])));
        let mut second = second;
        assert!(poll!(&mut second).is_pending());
        // It comes later, for what the second waits for: it waits too. For anything else it does not.
        let mut third = std::pin::pin!(all.reserve(keys(&["c"])));
        assert!(poll!(&mut third).is_pending());
        let other = all.reserve(keys(&["d"])).await;
        drop(other);
        drop(first);
        assert!(poll!(&mut third).is_pending());
        let Poll::Ready(second) = poll!(&mut second) else { panic!("its agents are free") };
        assert!(poll!(&mut third).is_pending());
        drop(second);
        assert!(poll!(&mut third).is_ready());
    }

    #[tokio::test]
    async fn who_gives_up_waiting_is_in_nobodys_way() {
        let all = Reservations::default();
        let first = all.reserve(keys(&["a"])).await;
        {
            let mut second = std::pin::pin!(all.reserve(keys(&["a", "b"])));
            assert!(poll!(&mut second).is_pending());
        }
        let third = all.reserve(keys(&["b"])).await;
        drop((first, third));
        all.reserve(keys(&["a", "b"])).await;
        assert!(all.shared.table.lock().held.is_empty() && all.shared.table.lock().waiting.is_empty());
    }

    #[tokio::test]
    async fn what_a_change_may_name_is_known_until_it_is_over() {
        let all = Reservations::default();
        let change = all.reserve(keys(&["a"])).await;
        let digest = Digest::of(b"code");
        change.names([digest]);
        assert_eq!(all.named(), [digest]);
        drop(change);
        assert!(all.named().is_empty());
    }
}
