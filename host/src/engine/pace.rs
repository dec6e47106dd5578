//! Whether the calls of a version are known to be short, so that the thread that accepted one may begin it.
//!
//! Pure but for its counters, of which a version that stays short changes none. It judges calls by what they
//! spent; how a turn on such a thread is bounded while it lasts is `crossing.rs`.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The fuel of a turn on a thread that accepts calls, and of a call that is short.
pub(super) const SHORT_FUEL: u64 = 20_000;
/// The memory that a short call's instance has, in bytes. No single instruction touches more of it.
pub(super) const SHORT_MEMORY: u64 = 2 * 1024 * 1024;
/// How long instantiating and running a short call takes, and a turn on a thread that accepts calls at its
/// next crossing.
pub(super) const SHORT_TIME: Duration = Duration::from_micros(200);

/// What no busy machine makes of a short call: the call itself was long.
const SURELY_LONG: Duration = Duration::from_millis(10);
/// So many short calls, one after another, make a version short.
const FIRST_TRUST: u32 = 16;
/// How much more it takes after each time that it was not.
const LESS_TRUST: u32 = 4;
/// The most that it takes.
const LEAST_TRUST: u32 = FIRST_TRUST << 10;
/// A version that was trusted for so many times as long as that took is trusted sooner the next time.
const FORGIVEN: u32 = 16;
/// Calls that were long by the clock alone, one after another, after which a version is slow: a busy machine
/// makes some calls long, and no long call short.
const SLOW: u32 = 32;

/// How long the calls of one version are.
#[derive(Debug)]
pub struct Pace {
    /// Short calls, one after another.
    short: AtomicU32,
    /// So many are needed.
    needed: AtomicU32,
    /// Calls since one that was short by the clock.
    slow: AtomicU32,
}

impl Default for Pace {
    fn default() -> Self {
        let (short, needed) = (AtomicU32::new(0), AtomicU32::new(FIRST_TRUST));
        Self { short, needed, slow: AtomicU32::new(SLOW) }
    }
}

/// How a call went.
#[derive(Debug, Clone, Copy)]
pub struct Paced {
    /// Whether its guest answered, if only with a failure of its own.
    pub answered: bool,
    /// The turns that it had.
    pub turns: u32,
    /// Units of fuel.
    pub fuel: u64,
    /// Bytes of memories and tables.
    pub peak_memory: u64,
    /// Time in the sandbox.
    pub wall: Duration,
}

impl Pace {
    /// Whether a call may begin on the thread that accepted it.
    pub fn is_short(&self) -> bool {
        self.short.load(Ordering::Relaxed) >= self.needed.load(Ordering::Relaxed)
            && self.slow.load(Ordering::Relaxed) < SLOW
    }

    /// Takes note of a call. Counts are approximate where several end at once, which changes nothing.
    pub fn note(&self, call: Paced) {
        let (short, needed) = (self.short.load(Ordering::Relaxed), self.needed.load(Ordering::Relaxed));
        let slow = self.slow.load(Ordering::Relaxed);
        let slower = if call.wall > SHORT_TIME { SLOW.min(slow + 1) } else { 0 };
        if slower != slow {
            self.slow.store(slower, Ordering::Relaxed);
        }
        let is_short = call.answered
            && call.turns <= 1
            && call.fuel <= SHORT_FUEL
            && call.peak_memory <= SHORT_MEMORY
            && call.wall <= SURELY_LONG;
        if !is_short {
            if short > 0 {
                self.short.store(0, Ordering::Relaxed);
            }
            if short >= needed {
                self.needed.store((needed * LESS_TRUST).min(LEAST_TRUST), Ordering::Relaxed);
            }
        } else if needed > FIRST_TRUST && short >= needed.saturating_mul(FORGIVEN) {
            let sooner = FIRST_TRUST.max(needed / LESS_TRUST);
            self.needed.store(sooner, Ordering::Relaxed);
            self.short.store(sooner, Ordering::Relaxed);
        } else if needed > FIRST_TRUST || short < needed {
            self.short.store(short + 1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Paced = Paced {
        answered: true,
        turns: 1,
        fuel: 2_000,
        peak_memory: 1_200_000,
        wall: Duration::from_micros(10),
    };

    fn after(calls: u32, pace: &Pace, call: Paced) {
        for _ in 0..calls {
            pace.note(call);
        }
    }

    #[test]
    fn a_version_is_short_after_some_short_calls() {
        let pace = Pace::default();
        after(FIRST_TRUST - 1, &pace, SHORT);
        assert!(!pace.is_short());
        after(1, &pace, SHORT);
        assert!(pace.is_short());
    }

    #[test]
    fn whatever_makes_a_call_long_takes_the_right_away() {
        for long in [
            Paced { answered: false, ..SHORT },
            Paced { turns: 2, ..SHORT },
            Paced { fuel: SHORT_FUEL + 1, ..SHORT },
            Paced { peak_memory: SHORT_MEMORY + 1, ..SHORT },
            Paced { wall: SURELY_LONG * 2, ..SHORT },
        ] {
            let pace = Pace::default();
            after(1_000, &pace, SHORT);
            assert!(pace.is_short());
            after(1, &pace, long);
            assert!(!pace.is_short(), "{long:?}");
            after(FIRST_TRUST, &pace, SHORT);
            assert!(!pace.is_short(), "it takes longer than before: {long:?}");
            after(FIRST_TRUST * LESS_TRUST, &pace, SHORT);
            assert!(pace.is_short(), "{long:?}");
        }
    }

    #[test]
    fn who_is_short_for_long_and_long_again_gets_fewer_and_fewer_long_turns() {
        let pace = Pace::default();
        let mut long_turns = 0;
        for _ in 0..1_000_000 {
            // As mean as it can be: long as soon as it is trusted.
            if pace.is_short() {
                long_turns += 1;
                pace.note(Paced { turns: 2, ..SHORT });
            } else {
                pace.note(SHORT);
            }
        }
        assert!(long_turns < 80, "{long_turns}");
    }

    #[test]
    fn a_busy_machine_takes_nothing_away_and_steady_slowness_does() {
        let pace = Pace::default();
        after(1_000, &pace, SHORT);
        let slow = Paced { wall: SHORT_TIME * 10, ..SHORT };
        for _ in 0..1_000 {
            after(SLOW - 1, &pace, slow);
            assert!(pace.is_short());
            after(1, &pace, SHORT);
        }
        after(SLOW, &pace, slow);
        assert!(!pace.is_short());
        after(1, &pace, SHORT);
        assert!(pace.is_short());
        let pace = Pace::default();
        after(1_000, &pace, slow);
        assert!(!pace.is_short(), "it never was");
    }

    #[test]
    fn what_was_long_once_is_forgiven() {
        let pace = Pace::default();
        after(FIRST_TRUST, &pace, SHORT);
        after(1, &pace, Paced { turns: 2, ..SHORT });
        after(FIRST_TRUST * LESS_TRUST * (FORGIVEN + 1), &pace, SHORT);
        after(1, &pace, Paced { turns: 2, ..SHORT });
        after(FIRST_TRUST * LESS_TRUST, &pace, SHORT);
        assert!(pace.is_short(), "as if it had never happened");
    }
}
