//! Polls a connection again at once where it woke itself, as it does with each body that it passes on, instead of
//! having the runtime find it a place in a queue and wake another thread for it.
//!
//! Owns a connection's waker. What wakes it from elsewhere goes to its task, as always.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// How often it is polled at once before others have their turn.
const AT_ONCE: u32 = 8;

/// Nobody polls it: who wakes it wakes its task.
const IDLE: u8 = 0;
/// It is being polled.
const POLLING: u8 = 1;
/// It was woken while it was polled.
const WOKEN: u8 = 2;

/// The waker of a connection, and who is behind it.
#[derive(Default)]
struct Shared {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Wake for Shared {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let woken = |state| (state == POLLING).then_some(WOKEN);
        if let Err(IDLE) = self.state.fetch_update(Ordering::AcqRel, Ordering::Acquire, woken) {
            self.task.wake();
        }
    }
}

/// Polls again what wakes itself.
pub(super) struct Repoll {
    shared: Arc<Shared>,
    waker: Waker,
}

impl Repoll {
    pub(super) fn new() -> Self {
        let shared = Arc::<Shared>::default();
        let waker = Waker::from(Arc::clone(&shared));
        Self { shared, waker }
    }

    /// Polls until it is ready, or waits for something that is not there yet.
    pub(super) fn poll<T>(
        &self,
        cx: &mut Context<'_>,
        mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.shared.task.register(cx.waker());
        let mut own = Context::from_waker(&self.waker);
        for _ in 0..AT_ONCE {
            self.shared.state.store(POLLING, Ordering::Release);
            let polled = poll(&mut own);
            let idle = self.shared.state.compare_exchange(POLLING, IDLE, Ordering::AcqRel, Ordering::Acquire);
            if polled.is_ready() || idle.is_ok() {
                self.shared.state.store(IDLE, Ordering::Release);
                return polled;
            }
        }
        self.shared.state.store(IDLE, Ordering::Release);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[derive(Default)]
    struct Counts(AtomicUsize);

    impl Wake for Counts {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn polled(times: usize) -> (usize, usize, bool, Waker) {
        let (counts, repoll) = (Arc::<Counts>::default(), Repoll::new());
        let task = Waker::from(Arc::clone(&counts));
        let (mut polls, mut kept) = (0, None);
        let ready = repoll.poll(&mut Context::from_waker(&task), |cx| {
            polls += 1;
            kept = Some(cx.waker().clone());
            if polls <= times {
                cx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        });
        let woken = counts.0.load(Ordering::Relaxed);
        let kept = kept.expect("it was polled");
        kept.wake_by_ref();
        let later = counts.0.load(Ordering::Relaxed) - woken;
        assert_eq!(later, 1, "who wakes it afterwards wakes its task");
        (polls, woken, ready.is_ready(), kept)
    }

    #[test]
    fn what_wakes_itself_is_polled_again_at_once_for_a_while() {
        assert_eq!(polled(0).0, 1);
        let (polls, woken, ready, _) = polled(2);
        assert_eq!((polls, woken, ready), (3, 0, false));
        let (polls, woken, ..) = polled(usize::MAX);
        assert_eq!((polls, woken), (AT_ONCE as usize, 1), "then others have their turn");
    }
}
