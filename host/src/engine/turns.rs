//! Whose turn it is among the guests that are ready: that of the lane that had the least time.
//!
//! Owns who waits, in one queue a lane; who polls them is `threads.rs`. Fuel does not tell how long a
//! turn takes (what a guest makes the host do between two of its own components costs it none), so that
//! lanes are compared by the clock. A lane that was empty comes in with those that are served now: it
//! has saved up nothing, and is owed nothing.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Guests that share their time: those of one agent. Without another word each has its own.
#[derive(Debug, Default)]
pub struct Lane {
    /// Nanoseconds that it had, on the clock of all lanes: at least as many as those that were served
    /// when it was empty last. Read and written by [`Turns`] alone.
    had: AtomicU64,
}

impl Lane {
    /// What it is called for as long as somebody holds it.
    fn number(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self).addr()
    }

    fn had(&self) -> u64 {
        self.had.load(Ordering::Relaxed)
    }
}

/// The guests that wait for their turns.
#[derive(Debug)]
pub(super) struct Turns<T> {
    /// The lanes in which somebody waits.
    lanes: HashMap<usize, Waiting<T>>,
    /// The same, the next one first: what each has had, and its number.
    order: BTreeSet<(u64, usize)>,
    /// What the lane had that was served last.
    now: u64,
}

#[derive(Debug)]
struct Waiting<T> {
    /// It stays, and its number with it, while somebody waits in it.
    _lane: Arc<Lane>,
    guests: VecDeque<T>,
}

impl<T> Default for Turns<T> {
    fn default() -> Self {
        Self { lanes: HashMap::new(), order: BTreeSet::new(), now: 0 }
    }
}

impl<T> Turns<T> {
    /// A guest waits for its turn, behind those of its lane.
    pub(super) fn push(&mut self, lane: &Arc<Lane>, guest: T) {
        let number = lane.number();
        match self.lanes.entry(number) {
            Entry::Occupied(mut waiting) => waiting.get_mut().guests.push_back(guest),
            Entry::Vacant(place) => {
                let had = lane.had().max(self.now);
                lane.had.store(had, Ordering::Relaxed);
                self.order.insert((had, number));
                place.insert(Waiting { _lane: lane.clone(), guests: VecDeque::from([guest]) });
            }
        }
    }

    /// The guest whose turn it is.
    pub(super) fn pop(&mut self) -> Option<T> {
        let &(had, number) = self.order.first()?;
        self.now = had;
        let Entry::Occupied(mut waiting) = self.lanes.entry(number) else { return None };
        let guest = waiting.get_mut().guests.pop_front();
        if waiting.get().guests.is_empty() {
            waiting.remove();
            self.order.remove(&(had, number));
        }
        guest
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// A guest of this lane has a turn without having waited for it: nobody did.
    pub(super) fn begins(&mut self, lane: &Arc<Lane>) {
        let had = lane.had().max(self.now);
        lane.had.store(had, Ordering::Relaxed);
        self.now = had;
    }

    /// A guest of this lane had a turn.
    pub(super) fn ended(&mut self, lane: &Arc<Lane>, took: Duration) {
        let (number, before) = (lane.number(), lane.had());
        let had = before.saturating_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        lane.had.store(had, Ordering::Relaxed);
        if self.lanes.contains_key(&number) {
            self.order.remove(&(before, number));
            self.order.insert((had, number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_micros(100);
    const LONG: Duration = Duration::from_millis(10);

    /// Serves so many turns, each guest again and again, and tells whose they were.
    fn served(turns: &mut Turns<(&'static str, Arc<Lane>, Duration)>, count: usize) -> Vec<&'static str> {
        let mut names = Vec::new();
        for _ in 0..count {
            let (name, lane, took) = turns.pop().expect("somebody waits");
            // A guest is ready again before it is known how long its turn took.
            turns.push(&lane, (name, lane.clone(), took));
            turns.ended(&lane, took);
            names.push(name);
        }
        names
    }

    #[test]
    fn a_lane_is_served_in_the_order_in_which_its_guests_came() {
        let (mut turns, lane) = (Turns::default(), Arc::default());
        for name in ["a", "b", "c"] {
            turns.push(&lane, (name, lane.clone(), SHORT));
        }
        assert_eq!(served(&mut turns, 7), ["a", "b", "c", "a", "b", "c", "a"]);
    }

    #[test]
    fn many_with_long_turns_delay_one_with_short_turns_by_one_of_them() {
        let (mut turns, long) = (Turns::default(), Arc::<Lane>::default());
        for _ in 0..64 {
            turns.push(&long, ("long", long.clone(), LONG));
        }
        served(&mut turns, 1_000);
        let short = Arc::<Lane>::default();
        turns.push(&short, ("short", short.clone(), SHORT));
        let names = served(&mut turns, 1_010);
        let longs = names.iter().filter(|name| **name == "long").count();
        // As much time for each lane: one long turn for each hundred of the short ones.
        assert!((9..=11).contains(&longs), "{longs}");
        let first = names.iter().position(|name| *name == "short");
        assert!(first <= Some(1), "{first:?}");
    }

    #[test]
    fn who_waited_for_nothing_has_saved_up_nothing() {
        let (mut turns, busy, idle) = (Turns::default(), Arc::<Lane>::default(), Arc::<Lane>::default());
        turns.push(&idle, ("idle", idle.clone(), LONG));
        assert!(turns.pop().is_some());
        turns.ended(&idle, LONG);
        turns.push(&busy, ("busy", busy.clone(), LONG));
        served(&mut turns, 1_000);
        turns.push(&idle, ("idle", idle.clone(), LONG));
        let idles = served(&mut turns, 100).iter().filter(|name| **name == "idle").count();
        assert!((49..=51).contains(&idles), "{idles}");
    }

    #[test]
    fn turns_that_nobody_waits_for_count_like_others() {
        let (mut turns, here, there) = (Turns::default(), Arc::<Lane>::default(), Arc::<Lane>::default());
        for _ in 0..1_000 {
            turns.begins(&here);
            turns.ended(&here, LONG);
        }
        // Of all that, the last turn counts against who comes in now: the time before was nobody else's.
        turns.push(&here, ("here", here.clone(), SHORT));
        turns.push(&there, ("there", there.clone(), SHORT));
        let names = served(&mut turns, 300);
        let first = names.iter().position(|name| *name == "here").expect("it has turns");
        assert!((90..=110).contains(&first), "{first}");
        // A turn that ends while others of its lane wait moves the lane back.
        let mut turns = Turns::default();
        turns.begins(&here);
        turns.push(&here, ("here", here.clone(), SHORT));
        turns.push(&there, ("there", there.clone(), SHORT));
        turns.ended(&here, LONG);
        let next = served(&mut turns, 90);
        assert!(next.iter().all(|name| *name == "there"), "{next:?}");
    }

    #[test]
    fn nothing_is_kept_of_a_lane_in_which_nobody_waits() {
        let mut turns = Turns::default();
        for _ in 0..10 {
            let lane = Arc::<Lane>::default();
            turns.push(&lane, ());
            assert!(turns.pop().is_some());
            turns.ended(&lane, SHORT);
        }
        assert!(turns.pop().is_none() && turns.lanes.is_empty() && turns.order.is_empty());
    }
}
