//! What a key may hold of the host: requests at once, bodies that come slowly, and the bytes of answers
//! that are not read yet and of components that are sent; these for all keys together, too.
//!
//! Owns the counts. Whoever holds something holds a guard, and a guard that is dropped makes room.
//! Limits are read from `[server]` as they stand at that moment. It does not touch bodies or answers: it
//! is asked before they are taken.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::seats::until;
use crate::config::ServerConfig;

/// Answers up to this size are not counted: sockets hold as much anyway.
pub(super) const SMALL: u64 = 64 * 1024;

/// Components of the largest size that may be on their way, or in use, at once; of smaller ones more.
const UPLOADS: u64 = 4;

/// What all keys hold.
pub(super) struct Shares {
    server: Arc<ArcSwap<ServerConfig>>,
    keys: Mutex<HashMap<Arc<str>, Arc<KeyUse>>>,
    /// Bytes of all answers.
    answers: AtomicU64,
    /// Bytes of all components that are sent.
    uploads: AtomicU64,
    /// Somebody gave up room for answers or components.
    room_freed: Notify,
}

impl Shares {
    pub(super) fn new(server: Arc<ArcSwap<ServerConfig>>) -> Arc<Self> {
        let (keys, room_freed) = (Mutex::default(), Notify::new());
        let (answers, uploads) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Self { server, keys, answers, uploads, room_freed })
    }

    /// A request of the key `key`, until the guard is dropped. `None`: it has its share.
    pub(super) fn request(self: &Arc<Self>, key: &Arc<str>) -> Option<Arc<Turn>> {
        let most = self.server.load().key_requests();
        let mut keys = self.keys.lock();
        let usage = match keys.get(key) {
            Some(usage) => usage.clone(),
            None => {
                let usage = Arc::new(KeyUse { key: key.clone(), ..KeyUse::default() });
                keys.insert(key.clone(), usage.clone());
                usage
            }
        };
        // Written under the lock only.
        if usage.requests.load(Ordering::Relaxed) >= most {
            return None;
        }
        usage.requests.fetch_add(1, Ordering::Relaxed);
        drop(keys);
        Some(Arc::new(Turn { shares: Arc::clone(self), usage }))
    }
}

/// What a key holds.
#[derive(Default)]
struct KeyUse {
    key: Arc<str>,
    requests: AtomicU32,
    bodies: AtomicU32,
    answers: AtomicU64,
    uploads: AtomicU64,
}

/// A request of a key, from its head to the last byte of an answer that is not small.
pub(super) struct Turn {
    shares: Arc<Shares>,
    usage: Arc<KeyUse>,
}

impl Turn {
    /// Whether a slow body of this key may be read; it is counted until the guard is dropped.
    pub(super) fn body(self: &Arc<Self>) -> Option<SlowBody> {
        let most = self.shares.server.load().key_bodies();
        let more = |bodies: u32| (bodies < most).then_some(bodies + 1);
        let bodies = &self.usage.bodies;
        bodies.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(SlowBody(Arc::clone(self)))
    }

    /// Whether answers of this key, or of all, have used up their room.
    pub(super) fn is_full(&self) -> bool {
        let server = self.shares.server.load();
        self.usage.answers.load(Ordering::Relaxed) >= server.key_answers
            || self.shares.answers.load(Ordering::Relaxed) >= server.max_answers
    }

    /// Room for an answer of so many bytes, if there is.
    pub(super) fn room(self: &Arc<Self>, bytes: u64) -> Option<Room> {
        if bytes <= SMALL {
            return Some(Room { turn: Arc::clone(self), bytes: 0 });
        }
        let server = self.shares.server.load();
        add(&self.usage.answers, bytes, server.key_answers)?;
        if add(&self.shares.answers, bytes, server.max_answers).is_none() {
            self.usage.answers.fetch_sub(bytes, Ordering::Relaxed);
            return None;
        }
        Some(Room { turn: Arc::clone(self), bytes })
    }

    /// The same, once there is; `None` after waiting for as long as this.
    pub(super) async fn room_within(self: &Arc<Self>, bytes: u64, wait: Duration) -> Option<Room> {
        if let Some(room) = self.room(bytes) {
            return Some(room);
        }
        let room = until(&self.shares.room_freed, || self.room(bytes));
        tokio::time::timeout(wait, room).await.ok()
    }

    /// Room for a component of so many bytes, before any of them is read; `None` where there is none after
    /// waiting for as long as this. All keys together have room for [`UPLOADS`] of the `largest` size, and
    /// one key for half of them.
    pub(super) async fn upload_within(
        self: &Arc<Self>,
        bytes: u64,
        largest: u64,
        wait: Duration,
    ) -> Option<Upload> {
        let upload = || {
            add(&self.usage.uploads, bytes, largest.saturating_mul(UPLOADS / 2))?;
            if add(&self.shares.uploads, bytes, largest.saturating_mul(UPLOADS)).is_none() {
                self.usage.uploads.fetch_sub(bytes, Ordering::Relaxed);
                return None;
            }
            Some(Upload { turn: Arc::clone(self), bytes })
        };
        tokio::time::timeout(wait, until(&self.shares.room_freed, upload)).await.ok()
    }
}

/// Adds, if the sum is within the limit, or nothing was there: what is larger than the limit passes alone.
fn add(count: &AtomicU64, more: u64, limit: u64) -> Option<()> {
    let sum = |now: u64| {
        let sum = now.saturating_add(more);
        (sum <= limit || now == 0).then_some(sum)
    };
    count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, sum).ok().map(|_| ())
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut keys = self.shares.keys.lock();
        if self.usage.requests.fetch_sub(1, Ordering::Relaxed) == 1 {
            keys.remove(&self.usage.key);
        }
    }
}

/// A body that is read while it comes.
pub(super) struct SlowBody(Arc<Turn>);

impl Drop for SlowBody {
    fn drop(&mut self) {
        self.0.usage.bodies.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Room for a component that is sent, until its request has ended.
pub(super) struct Upload {
    turn: Arc<Turn>,
    bytes: u64,
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Turn { shares, usage } = &*self.turn;
        usage.uploads.fetch_sub(self.bytes, Ordering::Relaxed);
        shares.uploads.fetch_sub(self.bytes, Ordering::Relaxed);
        shares.room_freed.notify_waiters();
    }
}

/// Room for an answer, until that is written or its connection is gone.
pub(super) struct Room {
    turn: Arc<Turn>,
    bytes: u64,
}

impl Room {
    /// Gives back what is not needed.
    pub(super) fn shrink(&mut self, bytes: u64) {
        self.give_back(self.bytes.saturating_sub(bytes));
    }

    fn give_back(&mut self, bytes: u64) {
        if bytes == 0 {
            return;
        }
        self.bytes -= bytes;
        let Turn { shares, usage } = &*self.turn;
        usage.answers.fetch_sub(bytes, Ordering::Relaxed);
        shares.answers.fetch_sub(bytes, Ordering::Relaxed);
        shares.room_freed.notify_waiters();
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn shares(change: impl FnOnce(&mut ServerConfig)) -> Arc<Shares> {
        let mut server = Config::defaults(std::path::Path::new("/")).server;
        change(&mut server);
        Shares::new(Arc::new(ArcSwap::from_pointee(server)))
    }

    #[test]
    fn counts_come_back_to_nothing() {
        let shares = shares(|_| {});
        let turn = shares.request(&"key".into()).expect("a turn");
        let (body, room) = (turn.body(), turn.room(SMALL + 1));
        drop((turn, body));
        assert!(!shares.keys.lock().is_empty(), "an answer is still on its way");
        drop(room);
        assert!(shares.keys.lock().is_empty());
        assert_eq!(shares.answers.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn components_have_room_for_a_key_and_for_all() {
        let shares = shares(|_| {});
        let turn = |key: &str| shares.request(&key.into()).expect("a turn");
        let (first, second, third) = (turn("a"), turn("b"), turn("c"));
        let now = Duration::ZERO;
        let held = [first.upload_within(10, 10, now).await, first.upload_within(10, 10, now).await];
        assert!(held.iter().all(Option::is_some));
        assert!(first.upload_within(1, 10, now).await.is_none(), "it has its half");
        let other = second.upload_within(20, 10, now).await;
        assert!(other.is_some());
        let waiting = tokio::spawn(async move { third.upload_within(5, 10, Duration::MAX).await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "there is none for anybody");
        drop(held);
        assert!(waiting.await.expect("it ends").is_some());
        drop((other, first, second));
        assert_eq!(shares.uploads.load(Ordering::Relaxed), 0);
        assert!(shares.keys.lock().is_empty());
    }

    #[tokio::test]
    async fn answers_have_room_for_a_key_and_for_all() {
        let shares = shares(|server| (server.max_answers, server.key_answers) = (1_000_000, 600_000));
        let turn = |key: &str| shares.request(&key.into()).expect("a turn");
        let (first, second) = (turn("a"), turn("b"));
        let mut held = first.room(600_000).expect("room");
        assert!(first.is_full() && !second.is_full());
        assert!(first.room(SMALL).is_some(), "small ones always pass");
        assert!(first.room(SMALL + 1).is_none());
        assert!(second.room(500_000).is_none(), "there is not as much for all");
        assert!(second.room_within(500_000, Duration::ZERO).await.is_none());
        held.shrink(100_000);
        assert!(second.room_within(500_000, Duration::ZERO).await.is_some());
        drop(held);
        assert!(second.room(5_000_000).is_some(), "one that is too large for all passes alone");
    }
}
