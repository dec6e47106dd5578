//! Watching files: which of those that matter may have changed.
//!
//! Owns one thread and one watcher of the operating system. Folders are watched, never files: a
//! file that is replaced takes its own watch with it. It reads no file's content, decides nothing
//! about agents, and reports too much rather than too little: whoever reloads compares digests.

mod resolved_path;
mod stamp;
mod tree;
mod worker;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::time::Duration;

use notify::{Config, Event, EventHandler, EventKind, RecommendedWatcher, Watcher};
use parking_lot::Mutex;
use tokio::sync::Notify;

pub use tree::sources;
use worker::{Wanted, Worker};

/// Events that wait for the thread at the most; past that it looks at everything again.
const QUEUED_EVENTS: usize = 4096;

/// Why nothing can be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The operating system gives no watcher.
    #[error(
        "cannot watch files: {0}; if too many are in use, raise the limits `fs.inotify.max_user_instances` (sysctl) or open files (`ulimit -n`)"
    )]
    Start(#[source] notify::Error),
    /// No thread could be started for it.
    #[error("cannot watch files: no thread could be started for it: {0}")]
    Thread(#[source] std::io::Error),
}

/// A folder that is not watched as it should be. Its `Display` says the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot watch {}: {reason}; changes in it are noticed later, by looking every few seconds", folder.display())]
pub struct WatchProblem {
    /// The folder.
    pub folder: PathBuf,
    /// What is in the way, and what to change.
    pub reason: String,
}

/// How long to wait for what.
#[derive(Debug, Clone, Copy)]
struct Timing {
    /// A file that was changed and not closed, or that went away, is reported after this without a change.
    quiet: Duration,
    /// It is reported after this even if it never rests.
    patience: Duration,
    /// One of [`Watch::whole`] that a writer has open is reported after this even if it is never closed.
    writer: Duration,
    /// How often to look for changes that raise no event (network file systems, unmounted folders).
    poll: Option<Duration>,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            quiet: Duration::from_millis(200),
            patience: Duration::from_secs(2),
            writer: Duration::from_secs(30),
            poll: Some(Duration::from_secs(2)),
        }
    }
}

/// Watches files and source trees. Dropping it ends that.
pub struct Watch {
    messages: SyncSender<Message>,
}

/// Messages to the thread.
enum Message {
    Event(Event),
    Watch(Wanted, mpsc::Sender<Vec<WatchProblem>>),
    Stop,
}

/// Where the watcher's events go. Pushing one never waits: the watcher must not be blocked.
#[derive(Clone)]
struct Inbox {
    messages: SyncSender<Message>,
    missed: Arc<AtomicBool>,
}

impl Inbox {
    fn push(&self, event: notify::Result<Event>) {
        let message = match event {
            // Somebody read it: perhaps we. That is no change, and answering it would never end.
            Ok(event) if !worker::is_change(&event) => return,
            Ok(event) => Message::Event(event),
            Err(_) => Message::Event(Event::new(EventKind::Other).set_flag(notify::event::Flag::Rescan)),
        };
        // A full queue has a reader that is awake, and that looks at this after each message.
        if let Err(TrySendError::Full(_)) = self.messages.try_send(message) {
            self.missed.store(true, Ordering::SeqCst);
        }
    }
}

impl Watch {
    /// Starts watching; nothing yet.
    ///
    /// # Errors
    /// If the operating system gives no watcher or no thread.
    pub fn start() -> Result<(Self, Changes), WatchError> {
        Self::with(Timing::default(), |inbox| move |event| inbox.push(event))
    }

    fn with<H: EventHandler>(
        timing: Timing,
        handler: impl FnOnce(Inbox) -> H,
    ) -> Result<(Self, Changes), WatchError> {
        let (messages, queue) = mpsc::sync_channel(QUEUED_EVENTS);
        let missed = Arc::new(AtomicBool::new(false));
        let inbox = Inbox { messages: messages.clone(), missed: missed.clone() };
        // Links are followed here, one at a time: the library must not resolve them for us.
        let config = Config::default().with_follow_symlinks(false);
        let watcher = RecommendedWatcher::new(handler(inbox), config).map_err(WatchError::Start)?;
        let shared = Arc::new(Shared::default());
        let outbox = Outbox { shared: shared.clone() };
        let run = move || run(Worker::new(watcher, outbox, timing), &queue, &missed);
        std::thread::Builder::new().name("watch".to_owned()).spawn(run).map_err(WatchError::Thread)?;
        Ok((Self { messages }, Changes { shared }))
    }

    /// The files that matter from now on, instead of the last ones. Every folder on the way to
    /// each (links and their targets included) is watched when this returns, so that a change made
    /// afterwards is reported. Neither a file nor its folder need exist.
    ///
    /// Returns what could not be watched. Waits for some system calls a folder.
    pub fn files(&self, files: impl IntoIterator<Item = PathBuf>) -> Vec<WatchProblem> {
        self.watch(Wanted::Files(files.into_iter().collect()))
    }

    /// As [`Watch::files`], in a set of their own, for files of which a part looks like a whole: one that
    /// is being written is reported when its writer closes it (where the system tells, as Linux does),
    /// however long that one pauses, up to half a minute.
    ///
    /// Returns what could not be watched.
    pub fn whole(&self, files: impl IntoIterator<Item = PathBuf>) -> Vec<WatchProblem> {
        self.watch(Wanted::Whole(files.into_iter().collect()))
    }

    /// The source trees that matter from now on, instead of the last ones and beside the files. A
    /// change anywhere in one is reported as its root, once it rests for a moment. What is built
    /// (`target`, `node_modules`, `*.wasm`), hidden or an editor's own does not count, and links
    /// in it are not followed.
    ///
    /// Returns what could not be watched.
    pub fn trees(&self, roots: impl IntoIterator<Item = PathBuf>) -> Vec<WatchProblem> {
        self.trees_without(roots, [])
    }

    /// As [`Watch::trees`], but for these files and folders in them: a data folder, settings.
    pub fn trees_without(
        &self,
        roots: impl IntoIterator<Item = PathBuf>,
        excluded: impl IntoIterator<Item = PathBuf>,
    ) -> Vec<WatchProblem> {
        self.watch(Wanted::Trees(roots.into_iter().collect(), excluded.into_iter().collect()))
    }

    fn watch(&self, wanted: Wanted) -> Vec<WatchProblem> {
        let (reply, problems) = mpsc::channel();
        let folder = wanted.first();
        let sent = self.messages.send(Message::Watch(wanted, reply));
        sent.ok().and_then(|()| problems.recv().ok()).unwrap_or_else(|| {
            let reason = "the watching thread has ended; restart the host, and report this".to_owned();
            vec![WatchProblem { folder, reason }]
        })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // It fails if the thread has ended already.
        let _ = self.messages.send(Message::Stop);
    }
}

/// The thread's loop, until it is stopped.
fn run(mut worker: Worker, queue: &Receiver<Message>, missed: &AtomicBool) {
    loop {
        let first = match worker.next_wake() {
            Some(wait) => queue.recv_timeout(wait),
            None => queue.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
        };
        let first = match first {
            Ok(message) => Some(message),
            Err(mpsc::RecvTimeoutError::Timeout) => None,
            Err(mpsc::RecvTimeoutError::Disconnected) => return,
        };
        // What came together is answered together; but no answer waits for ever.
        for message in first.into_iter().chain(queue.try_iter()).take(QUEUED_EVENTS) {
            match message {
                Message::Event(event) => worker.event(&event),
                Message::Watch(wanted, reply) => {
                    // The asker may have gone.
                    let _ = reply.send(worker.watch(wanted));
                }
                Message::Stop => return,
            }
        }
        if missed.swap(false, Ordering::SeqCst) {
            worker.rescan();
        }
        worker.report_due();
    }
}

/// What is known to have changed and was not taken yet.
#[derive(Default)]
struct Shared {
    changed: Mutex<BTreeSet<PathBuf>>,
    ended: AtomicBool,
    wake: Notify,
}

/// The thread's end of it.
struct Outbox {
    shared: Arc<Shared>,
}

impl Outbox {
    fn report(&self, path: PathBuf) {
        self.shared.changed.lock().insert(path);
        self.shared.wake.notify_one();
    }

    /// Removes a path that is not watched any more.
    fn withdraw(&self, path: &Path) {
        self.shared.changed.lock().remove(path);
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.shared.wake.notify_one();
    }
}

/// What changed. It holds each path once, so it is bounded by what is watched.
pub struct Changes {
    shared: Arc<Shared>,
}

impl Changes {
    /// The paths, as they were given to [`Watch::files`] and [`Watch::trees`], whose content may
    /// have changed since they were last in such an answer. `None` when the [`Watch`] is gone.
    /// Nothing is lost if this is dropped before it is ready.
    pub async fn next(&mut self) -> Option<BTreeSet<PathBuf>> {
        loop {
            let ended = self.shared.ended.load(Ordering::SeqCst);
            let changed = std::mem::take(&mut *self.shared.changed.lock());
            match (changed.is_empty(), ended) {
                (false, _) => return Some(changed),
                (true, true) => return None,
                (true, false) => self.shared.wake.notified().await,
            }
        }
    }
}
