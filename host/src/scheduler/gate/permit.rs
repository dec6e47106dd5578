//! What an admitted call holds: its sandbox, its slot while its guest computes, and what is reserved for it.
//!
//! Who gets in is the gate's to decide; the counts are its own, changed under its lock. Here is only what is
//! given back, and when.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::super::stats::{Reservation, Used};
use super::{Gate, State};
use crate::domain::AgentKey;
use crate::engine::Slot;

/// The right to run one call, with what is reserved for it. It is settled once, with what the call has
/// used; where it is dropped instead, nothing was used.
pub(in crate::scheduler) struct Permit {
    pub(super) held: Arc<Held>,
    reserved: Option<Reservation>,
    at_once: bool,
}

impl Permit {
    /// What was just admitted.
    pub(super) fn new(gate: Arc<Gate>, agent: AgentKey, at_once: bool) -> Self {
        Self { held: Arc::new(Held { gate, agent, slots: AtomicU32::new(1) }), reserved: None, at_once }
    }

    /// Whether nobody waited for it.
    pub(in crate::scheduler) fn came_at_once(&self) -> bool {
        self.at_once
    }

    /// Its slot, for whoever knows when its guest waits.
    pub(in crate::scheduler) fn slot(&self) -> Arc<dyn Slot> {
        self.held.clone()
    }

    /// Keeps what the call may use at the most until it is settled, in place of what was kept before.
    pub(in crate::scheduler) fn reserve(&mut self, reservation: Reservation) {
        self.reserved = Some(reservation);
    }

    /// The call is over, and has used so much: what was reserved beyond it is free again, and so are its
    /// sandbox and its slot.
    pub(in crate::scheduler) fn settle(mut self, used: Used) {
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
pub(super) struct Held {
    gate: Arc<Gate>,
    pub(super) agent: AgentKey,
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
