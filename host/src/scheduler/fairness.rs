//! Who goes next when a permit is free: round after round over the lanes that wait.
//!
//! Pure: no clock, no waiting. A lane is an agent; each gives one waiter and goes to the back,
//! so that a busy agent delays another by one call and no more. Weights between tenants belong
//! here.

use std::collections::VecDeque;

/// The lanes that have waiters, in the order in which they get their turns.
#[derive(Debug)]
pub(super) struct Rotation<L> {
    lanes: VecDeque<L>,
}

impl<L> Default for Rotation<L> {
    fn default() -> Self {
        Self { lanes: VecDeque::new() }
    }
}

impl<L: Clone + PartialEq> Rotation<L> {
    /// Lets a lane take part, at the back. It must not take part already.
    pub(super) fn join(&mut self, lane: L) {
        self.lanes.push_back(lane);
    }

    /// Takes a lane out.
    pub(super) fn leave(&mut self, lane: &L) {
        self.lanes.retain(|other| other != lane);
    }

    /// The first lane that `may_go`, which thereby goes to the back.
    pub(super) fn next(&mut self, may_go: impl Fn(&L) -> bool) -> Option<L> {
        let place = self.lanes.iter().position(may_go)?;
        let lane = self.lanes.remove(place)?;
        self.lanes.push_back(lane.clone());
        Some(lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_take_turns_and_the_blocked_are_passed_over() {
        let mut rotation = Rotation::default();
        for lane in ["a", "b", "c"] {
            rotation.join(lane);
        }
        let mut order = Vec::new();
        for _ in 0..4 {
            order.extend(rotation.next(|lane| *lane != "b"));
        }
        assert_eq!(order, ["a", "c", "a", "c"]);
        assert_eq!(rotation.next(|_| true), Some("b"));
        rotation.leave(&"a");
        assert_eq!(rotation.next(|_| true), Some("c"));
        assert_eq!(rotation.next(|_| false), None);
    }
}
