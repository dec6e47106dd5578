//! What a connection is doing now, since when, and how long that may last.
//!
//! Pure but for the clock. Written by the bytes that pass ([`super::connection`]) and by the
//! handler's guard; read by the connection's one timer. One task does all of that: the lock is never waited for.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long a closed connection is read on, so that a client that is still sending gets its answer
/// instead of a reset.
const LINGER: Duration = Duration::from_secs(1);
/// How long a connection must be idle to be closed in favour of one that waits.
const SPARE_AFTER: Duration = Duration::from_secs(1);
/// How often a connection whose handler runs is looked at: is its client still there?
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The bytes a second that a client must read of an answer, on the whole, after one
/// [`Patience::idle`] of grace. The largest answers take half an hour at that pace.
const MIN_PACE: u64 = 8 * 1024;

/// How long each silence may last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// From a request's first byte to the end of its head.
    pub(super) head: Duration,
    /// Between requests, and while an answer finds no reader.
    pub(super) idle: Duration,
}

/// What a connection is doing.
#[derive(Debug)]
pub(super) struct Activity(Mutex<Doing>);

#[derive(Debug, Clone, Copy)]
enum Doing {
    /// Waits for the rest of a head; a new connection too.
    Head { since: Instant },
    /// A handler runs.
    Busy { looked: Instant },
    /// An answer is being written: some of it may still be here.
    Answering { began: Instant, progress: Instant, written: u64 },
    /// Has written everything, and waits for the next request.
    Idle { since: Instant },
    /// Has said everything, and reads what is still under way.
    Lingering { since: Instant },
}

impl Activity {
    /// A new connection's.
    pub(super) fn new() -> Self {
        Self(Mutex::new(Doing::Head { since: Instant::now() }))
    }

    /// Whether it waits for the rest of a head.
    pub(super) fn is_head(&self) -> bool {
        matches!(*self.0.lock(), Doing::Head { .. })
    }

    /// Whether a handler runs.
    pub(super) fn is_busy(&self) -> bool {
        matches!(*self.0.lock(), Doing::Busy { .. })
    }

    /// Whether it only reads what is still under way.
    pub(super) fn is_lingering(&self) -> bool {
        matches!(*self.0.lock(), Doing::Lingering { .. })
    }

    /// Bytes came in. More bytes of a head buy no more time.
    pub(super) fn has_read(&self) {
        let mut doing = self.0.lock();
        if let Doing::Idle { .. } = *doing {
            *doing = Doing::Head { since: Instant::now() };
        }
    }

    /// A write was tried, and took so many bytes.
    pub(super) fn has_written(&self, bytes: usize) {
        let more = u64::try_from(bytes).unwrap_or(u64::MAX);
        let mut doing = self.0.lock();
        match &mut *doing {
            Doing::Answering { progress, written, .. } if bytes > 0 => {
                *progress = Instant::now();
                *written = written.saturating_add(more);
            }
            Doing::Idle { .. } => {
                let now = Instant::now();
                *doing = Doing::Answering { began: now, progress: now, written: more };
            }
            Doing::Head { .. } | Doing::Busy { .. } | Doing::Answering { .. } | Doing::Lingering { .. } => {}
        }
    }

    /// Everything that there was to write is written.
    pub(super) fn has_flushed(&self) {
        let mut doing = self.0.lock();
        if let Doing::Answering { .. } = *doing {
            *doing = Doing::Idle { since: Instant::now() };
        }
    }

    /// The client of the handler that runs was found to be there.
    pub(super) fn has_looked(&self) {
        if let Doing::Busy { looked } = &mut *self.0.lock() {
            *looked = Instant::now();
        }
    }

    /// Nothing more will be written.
    pub(super) fn begin_lingering(&self) {
        *self.0.lock() = Doing::Lingering { since: Instant::now() };
    }

    /// When the connection's time is up; while a handler runs, when it should be looked at.
    pub(super) fn deadline(&self, patience: Patience) -> Instant {
        match *self.0.lock() {
            Doing::Head { since } => since + patience.head,
            Doing::Busy { looked } => looked + LOOK_EVERY,
            Doing::Answering { began, progress, written } => {
                let earned = Duration::from_millis(written.saturating_mul(1000) / MIN_PACE);
                (progress + patience.idle).min(began + patience.idle + earned)
            }
            Doing::Idle { since } => since + patience.idle,
            Doing::Lingering { since } => since + LINGER,
        }
    }

    /// Whether it can be closed for another: nothing is under way, and nothing was for a while.
    pub(super) fn is_spare(&self, now: Instant) -> bool {
        match *self.0.lock() {
            Doing::Head { since } | Doing::Idle { since } => {
                now.saturating_duration_since(since) >= SPARE_AFTER
            }
            Doing::Busy { .. } | Doing::Answering { .. } | Doing::Lingering { .. } => false,
        }
    }
}

/// A handler that runs. When it is dropped the answer begins.
pub(super) struct Busy(Arc<Activity>);

impl Busy {
    /// Begins it.
    pub(super) fn enter(activity: &Arc<Activity>) -> Self {
        *activity.0.lock() = Doing::Busy { looked: Instant::now() };
        Self(Arc::clone(activity))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let now = Instant::now();
        *self.0.0.lock() = Doing::Answering { began: now, progress: now, written: 0 };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { head: Duration::from_secs(10), idle: Duration::from_secs(60) };

    fn left(activity: &Activity) -> Duration {
        activity.deadline(PATIENCE) - Instant::now()
    }

    #[tokio::test(start_paused = true)]
    async fn each_phase_has_its_deadline() {
        let activity = Arc::new(Activity::new());
        let second = Duration::from_secs(1);
        assert_eq!(left(&activity), PATIENCE.head);
        tokio::time::advance(second).await;
        activity.has_read();
        activity.has_written(10);
        assert_eq!(left(&activity), PATIENCE.head - second, "more bytes of a head buy no more time");
        let busy = Busy::enter(&activity);
        tokio::time::advance(LOOK_EVERY).await;
        assert_eq!(left(&activity), Duration::ZERO);
        activity.has_looked();
        assert_eq!(left(&activity), LOOK_EVERY);
        drop(busy);
        assert_eq!(left(&activity), PATIENCE.idle);
        activity.has_flushed();
        tokio::time::advance(second).await;
        assert_eq!(left(&activity), PATIENCE.idle - second);
        activity.has_read();
        assert_eq!(left(&activity), PATIENCE.head);
        activity.begin_lingering();
        assert_eq!(left(&activity), LINGER);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_must_be_read_at_some_pace() {
        let activity = Arc::new(Activity::new());
        drop(Busy::enter(&activity));
        let began = Instant::now();
        while left(&activity) > PATIENCE.idle / 2 {
            tokio::time::advance(PATIENCE.idle / 2).await;
            activity.has_written(1);
        }
        assert!(began.elapsed() <= PATIENCE.idle, "a byte now and then buys nothing");
        drop(Busy::enter(&activity));
        for _ in 0..100 {
            tokio::time::advance(PATIENCE.idle / 2).await;
            assert!(left(&activity) > Duration::ZERO);
            activity.has_written(usize::try_from(MIN_PACE * PATIENCE.idle.as_secs() / 2).expect("small"));
        }
        tokio::time::advance(PATIENCE.idle).await;
        assert_eq!(left(&activity), Duration::ZERO, "what was read fast buys no silence");
    }

    #[tokio::test(start_paused = true)]
    async fn only_quiet_connections_are_spare() {
        let activity = Arc::new(Activity::new());
        let later = Instant::now() + SPARE_AFTER * 2;
        assert!(!activity.is_spare(Instant::now()));
        assert!(activity.is_spare(later));
        let busy = Busy::enter(&activity);
        assert!(!activity.is_spare(later));
        drop(busy);
        assert!(!activity.is_spare(later), "its answer is not written yet");
        activity.has_written(1);
        assert!(!activity.is_spare(later), "nor all of it");
        activity.has_flushed();
        assert!(activity.is_spare(later));
        activity.has_written(0);
        assert!(!activity.is_spare(later), "there is more to write");
    }
}
