//! How a future on the guests' threads fares: how long it waited for its turns and worked in them, what
//! its guest was seen to have spent, and whether it waits for the host, so that whoever gave it a slot to
//! compute in has that back meanwhile.
//!
//! Written by the thread that polls it, read by whoever waits for it.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::turns::Lane;

/// What a future on the guests' threads computes in. It has it as it is spawned; what is left over when it
/// is dropped is for whoever gave it.
///
/// Both are called on whichever thread finds out, and may come in the other order when a future is woken
/// as it begins to wait: they have to add up.
pub trait Slot: Send + Sync {
    /// The future waits for something else than its turn: it needs no slot.
    fn release(&self);
    /// It is woken, and has its slot again without waiting for it.
    fn acquire(&self);
}

/// The state of a future: it waits for something else than its turn; it waits for its turn; anything above
/// is the number of the turn that it has, and so much more.
const WAITS: u64 = 0;
const READY: u64 = 1;
const RUNS: u64 = 2;

/// How long a future on the guests' threads waited for its turns, and worked in them.
pub struct RunClock {
    lane: Arc<Lane>,
    slot: Option<Arc<dyn Slot>>,
    /// As [`WAITS`] says. The number of a turn is never given twice: who looks at the end of one sees
    /// whether the future had another since.
    state: AtomicU64,
    made: Instant,
    /// Nanoseconds after `made`, plus one, since when it waits for its turn; 0 if it does not.
    ready: AtomicU64,
    waited: AtomicU64,
    worked: AtomicU64,
    turns: AtomicU32,
    guest_ran: AtomicBool,
    fuel: AtomicU64,
    peak_memory: AtomicU64,
    host_calls: AtomicU64,
    host_bytes: AtomicU64,
}

/// What a guest had spent when it crossed to the host last.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    /// Units of fuel.
    pub fuel: u64,
    /// Most bytes of memories and tables at once.
    pub peak_memory: u64,
    /// Calls into capabilities.
    pub host_calls: u64,
    /// Bytes to and from capabilities.
    pub host_bytes: u64,
}

impl Default for RunClock {
    fn default() -> Self {
        Self::of(Arc::default(), None)
    }
}

impl RunClock {
    /// The clock of a future that shares its time with others of this lane, and computes in this slot.
    pub fn of(lane: Arc<Lane>, slot: Option<Arc<dyn Slot>>) -> Self {
        Self {
            lane,
            slot,
            state: AtomicU64::new(READY),
            made: Instant::now(),
            ready: AtomicU64::new(0),
            waited: AtomicU64::new(0),
            worked: AtomicU64::new(0),
            turns: AtomicU32::new(0),
            guest_ran: AtomicBool::new(false),
            fuel: AtomicU64::new(0),
            peak_memory: AtomicU64::new(0),
            host_calls: AtomicU64::new(0),
            host_bytes: AtomicU64::new(0),
        }
    }

    pub(super) fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }

    /// Whether it had a turn.
    pub fn has_begun(&self) -> bool {
        self.turns() > 0
    }

    /// How many turns it had, with the one that it has now.
    pub fn turns(&self) -> u32 {
        self.turns.load(Ordering::Acquire)
    }

    /// Whether code of a guest ran in it.
    pub fn guest_ran(&self) -> bool {
        self.guest_ran.load(Ordering::Acquire)
    }

    /// How long it was ready and had no turn, up to now.
    pub fn waited(&self) -> Duration {
        let since = match self.ready.load(Ordering::Acquire) {
            0 => 0,
            since => self.nanoseconds(Instant::now()).saturating_sub(since - 1),
        };
        Duration::from_nanos(self.waited.load(Ordering::Acquire).saturating_add(since))
    }

    /// How long it neither worked nor waited for its turn: it waited for something else.
    pub fn idled(&self) -> Duration {
        let worked = Duration::from_nanos(self.worked.load(Ordering::Acquire));
        self.made.elapsed().saturating_sub(self.waited()).saturating_sub(worked)
    }

    /// What its guest had spent when that was seen last: at the end of a turn, at a host call.
    pub fn progress(&self) -> Progress {
        Progress {
            fuel: self.fuel.load(Ordering::Relaxed),
            peak_memory: self.peak_memory.load(Ordering::Relaxed),
            host_calls: self.host_calls.load(Ordering::Relaxed),
            host_bytes: self.host_bytes.load(Ordering::Relaxed),
        }
    }

    fn nanoseconds(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.made).as_nanos()).unwrap_or(u64::MAX - 1)
    }

    /// It waits for its turn. Told before anybody can give it one.
    pub(super) fn is_ready(&self) {
        if self.state.swap(READY, Ordering::AcqRel) == WAITS
            && let Some(slot) = &self.slot
        {
            slot.acquire();
        }
        self.ready.store(self.nanoseconds(Instant::now()) + 1, Ordering::Release);
    }

    /// Its turn of this number begins.
    pub(super) fn begins(&self, now: Instant, number: u64) {
        self.state.store(number.saturating_add(RUNS), Ordering::Release);
        let since = self.ready.swap(0, Ordering::AcqRel);
        if since > 0 {
            self.waited.fetch_add(self.nanoseconds(now).saturating_sub(since - 1), Ordering::AcqRel);
        }
        self.turns.fetch_add(1, Ordering::AcqRel);
    }

    /// That turn is over.
    pub(super) fn ends(&self, took: Duration, number: u64) {
        let turn = number.saturating_add(RUNS);
        // Where it is ready again, it keeps its slot; where it has ended, its slot is gone with it.
        if self.state.compare_exchange(turn, WAITS, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            && let Some(slot) = &self.slot
        {
            slot.release();
        }
        let worked = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.worked.fetch_add(worked, Ordering::AcqRel);
    }
}

thread_local! {
    static CLOCK: RefCell<Option<Arc<RunClock>>> = const { RefCell::new(None) };
}

/// Notes what the guest that runs on this thread has spent.
pub(super) fn note_progress(progress: Progress) {
    CLOCK.with_borrow(|clock| {
        if let Some(clock) = clock {
            clock.fuel.store(progress.fuel, Ordering::Relaxed);
            clock.peak_memory.store(progress.peak_memory, Ordering::Relaxed);
            clock.host_calls.store(progress.host_calls, Ordering::Relaxed);
            clock.host_bytes.store(progress.host_bytes, Ordering::Relaxed);
        }
    });
}

/// Notes that code of a guest runs on this thread.
pub(super) fn note_guest() {
    CLOCK.with_borrow(|clock| {
        if let Some(clock) = clock {
            clock.guest_ran.store(true, Ordering::Release);
        }
    });
}

/// Says whose turn it is that runs on this thread.
pub(super) fn set(clock: Option<Arc<RunClock>>) {
    CLOCK.set(clock);
}
