//! What a connection is doing now, since when, and how long that may last.
//!
//! Pure but for the clock. Written by the bytes that pass ([`super::connection`]), by the handler's guard
//! and by the answer's; read by the connection's one timer. One task does all of that, but for upgraded
//! sockets: the lock is hardly ever waited for.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// How long a closed connection is read on while nothing comes, so that a client that is still sending
/// gets its answer instead of a reset.
const LINGER: Duration = Duration::from_secs(1);
/// How long it is read on where something does.
const LINGER_MOST: Duration = Duration::from_secs(10);
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
pub(super) struct Activity(Mutex<State>);

#[derive(Debug)]
struct State {
    doing: Doing,
    /// Whether more of an answer may come at any time: its body has not ended, or the socket is no
    /// longer HTTP's.
    open: bool,
}

#[derive(Debug, Clone, Copy)]
enum Doing {
    /// Waits for the rest of a head; a new connection too.
    Head { since: Instant },
    /// A handler runs.
    Busy { looked: Instant },
    /// An answer is being written: some of it may still be here.
    Answering { began: Instant, progress: Instant, written: u64 },
    /// Has written all that there was of an answer which goes on. It may be silent for as long as it likes:
    /// that is not the client's doing.
    Streaming { looked: Instant },
    /// Has written everything, and waits for the next request.
    Idle { since: Instant },
    /// Has said everything, and reads what is still under way.
    Lingering { since: Instant, read: Instant },
}

impl Doing {
    fn answering(written: u64) -> Self {
        let now = Instant::now();
        Self::Answering { began: now, progress: now, written }
    }
}

impl Activity {
    /// A new connection's.
    pub(super) fn new() -> Self {
        Self(Mutex::new(State { doing: Doing::Head { since: Instant::now() }, open: false }))
    }

    /// Whether it waits for the rest of a head.
    pub(super) fn is_head(&self) -> bool {
        matches!(self.0.lock().doing, Doing::Head { .. })
    }

    /// Whether it is the host's turn to say something, so that the client's silence means nothing.
    pub(super) fn is_ours(&self) -> bool {
        matches!(self.0.lock().doing, Doing::Busy { .. } | Doing::Streaming { .. })
    }

    /// Whether it only reads what is still under way.
    pub(super) fn is_lingering(&self) -> bool {
        matches!(self.0.lock().doing, Doing::Lingering { .. })
    }

    /// Bytes came in. More bytes of a head buy no more time.
    pub(super) fn has_read(&self) {
        let mut state = self.0.lock();
        match &mut state.doing {
            Doing::Idle { .. } => state.doing = Doing::Head { since: Instant::now() },
            Doing::Lingering { read, .. } => *read = Instant::now(),
            Doing::Head { .. } | Doing::Busy { .. } | Doing::Answering { .. } | Doing::Streaming { .. } => {}
        }
    }

    /// A write was tried, and took so many bytes.
    pub(super) fn has_written(&self, bytes: usize) {
        let more = u64::try_from(bytes).unwrap_or(u64::MAX);
        let mut state = self.0.lock();
        match &mut state.doing {
            Doing::Answering { progress, written, .. } if bytes > 0 => {
                *progress = Instant::now();
                *written = written.saturating_add(more);
            }
            Doing::Idle { .. } | Doing::Streaming { .. } => state.doing = Doing::answering(more),
            Doing::Head { .. } | Doing::Busy { .. } | Doing::Answering { .. } | Doing::Lingering { .. } => {}
        }
    }

    /// Everything that there was to write is written.
    pub(super) fn has_flushed(&self) {
        let mut state = self.0.lock();
        if let Doing::Answering { .. } = state.doing {
            let now = Instant::now();
            state.doing =
                if state.open { Doing::Streaming { looked: now } } else { Doing::Idle { since: now } };
        }
    }

    /// From now on the socket is no longer HTTP's: whoever has it may say something at any time.
    pub(super) fn has_upgraded(&self) {
        self.0.lock().open = true;
    }

    /// The client was found to be there.
    pub(super) fn has_looked(&self) {
        if let Doing::Busy { looked } | Doing::Streaming { looked } = &mut self.0.lock().doing {
            *looked = Instant::now();
        }
    }

    /// Nothing more will be written.
    pub(super) fn begin_lingering(&self) {
        let now = Instant::now();
        self.0.lock().doing = Doing::Lingering { since: now, read: now };
    }

    /// When the connection's time is up; while it is the host's turn, when it should be looked at.
    pub(super) fn deadline(&self, patience: Patience) -> Instant {
        match self.0.lock().doing {
            Doing::Head { since } => since + patience.head,
            Doing::Busy { looked } | Doing::Streaming { looked } => looked + LOOK_EVERY,
            Doing::Answering { began, progress, written } => {
                let earned = Duration::from_millis(written.saturating_mul(1000) / MIN_PACE);
                (progress + patience.idle).min(began + patience.idle + earned)
            }
            Doing::Idle { since } => since + patience.idle,
            Doing::Lingering { since, read } => (read + LINGER).min(since + LINGER_MOST),
        }
    }

    /// Whether it can be closed for another: nothing is under way, and nothing was for a while.
    pub(super) fn is_spare(&self, now: Instant) -> bool {
        match self.0.lock().doing {
            Doing::Head { since } | Doing::Idle { since } | Doing::Lingering { since, .. } => {
                now.saturating_duration_since(since) >= SPARE_AFTER
            }
            Doing::Busy { .. } | Doing::Answering { .. } | Doing::Streaming { .. } => false,
        }
    }
}

/// A handler that runs. When it is dropped the answer begins.
pub(super) struct Busy(Arc<Activity>);

impl Busy {
    /// Begins it.
    pub(super) fn enter(activity: &Arc<Activity>) -> Self {
        *activity.0.lock() = State { doing: Doing::Busy { looked: Instant::now() }, open: false };
        Self(Arc::clone(activity))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.0.lock().doing = Doing::answering(0);
    }
}

/// An answer's body while there may be more of it. Made before the handler's guard is dropped.
pub(super) struct Open(Arc<Activity>);

impl Open {
    /// Begins it.
    pub(super) fn begin(activity: &Arc<Activity>) -> Self {
        activity.0.lock().open = true;
        Self(Arc::clone(activity))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        let mut state = self.0.0.lock();
        state.open = false;
        // Its end is still to be written.
        if let Doing::Streaming { .. } = state.doing {
            state.doing = Doing::answering(0);
        }
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
        tokio::time::advance(LINGER / 2).await;
        activity.has_read();
        assert_eq!(left(&activity), LINGER, "who still sends is read on");
        for _ in 0..LINGER_MOST.as_secs() * 2 {
            tokio::time::advance(LINGER / 2).await;
            activity.has_read();
        }
        assert_eq!(left(&activity), Duration::ZERO, "but not for ever");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_goes_on_may_be_silent_and_must_be_read() {
        let activity = Arc::new(Activity::new());
        let busy = Busy::enter(&activity);
        let body = Open::begin(&activity);
        drop(busy);
        activity.has_written(10);
        assert_eq!(left(&activity), PATIENCE.idle);
        activity.has_flushed();
        tokio::time::advance(PATIENCE.idle * 10).await;
        assert!(activity.is_ours() && !activity.is_spare(Instant::now()));
        activity.has_looked();
        assert_eq!(left(&activity), LOOK_EVERY);
        activity.has_written(0);
        assert!(!activity.is_ours());
        assert_eq!(left(&activity), PATIENCE.idle, "what finds no reader is bounded");
        activity.has_flushed();
        drop(body);
        assert_eq!(left(&activity), PATIENCE.idle, "its end is to be read, too");
        activity.has_flushed();
        assert!(!activity.is_ours(), "then it is idle");
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
