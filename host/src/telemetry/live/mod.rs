//! The log as an author wants it while they work: a line for what happened to their agents.
//!
//! Owns the thread that writes it, so that no call waits for a terminal. It knows the host's events
//! by their names and fields; one without a name becomes a plain line.

mod message;
mod screen;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::event::Event as Known;
use super::lines::{MAX_VALUE, shortened};
use super::queue::drop_line;
use screen::Screen;

/// Events that wait to be shown at the most.
const QUEUED_EVENTS: usize = 16_384;
/// Bytes of all of them together.
const QUEUED_BYTES: usize = 8 * 1024 * 1024;
/// The most that is shown of a compiler's output, in bytes.
const MAX_OUTPUT: usize = 256 * 1024;

/// An event as it was logged.
#[derive(Debug)]
struct Logged {
    /// Which event it is; `None` if it has no name.
    event: Option<Known>,
    level: Level,
    target: &'static str,
    message: String,
    fields: BTreeMap<&'static str, String>,
}

impl Logged {
    fn of(event: &Event<'_>) -> Self {
        let metadata = event.metadata();
        let mut logged = Self {
            event: Known::of(metadata.name()),
            level: *metadata.level(),
            target: metadata.target(),
            message: String::new(),
            fields: BTreeMap::new(),
        };
        event.record(&mut logged);
        logged
    }

    /// About the memory that it takes, in bytes.
    fn size(&self) -> usize {
        let fields: usize = self.fields.values().map(|value| value.len() + 64).sum();
        self.message.len() + fields + 128
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.field(name)?.parse().ok()
    }
}

impl Visit for Logged {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = shortened(value, MAX_VALUE),
            name => {
                let most = if name == "output" { MAX_OUTPUT } else { MAX_VALUE };
                self.fields.insert(name, shortened(value, most));
            }
        }
    }
}

/// What the thread gets.
enum Item {
    Event(Logged),
    /// Answers when everything before it is written.
    Flush(Sender<()>),
    End,
}

/// Hands events to the thread that writes them.
pub(super) struct Live {
    queue: SyncSender<Item>,
    counts: Arc<Counts>,
}

/// What waits in the queue, and what found no room in it.
#[derive(Default)]
struct Counts {
    bytes: AtomicUsize,
    dropped: AtomicU64,
}

impl<S: Subscriber> Layer<S> for Live {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let logged = Logged::of(event);
        let size = logged.size();
        let bytes = self.counts.bytes.fetch_add(size, Ordering::Relaxed);
        // A terminal that does not read loses lines; it blocks no call.
        if bytes + size > QUEUED_BYTES || self.queue.try_send(Item::Event(logged)).is_err() {
            self.counts.bytes.fetch_sub(size, Ordering::Relaxed);
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
            drop_line();
        }
    }
}

/// Writes what is still queued as it is dropped.
pub(super) struct LiveGuard {
    queue: SyncSender<Item>,
    thread: Option<JoinHandle<()>>,
}

impl LiveGuard {
    /// Waits until all that was logged so far is written.
    pub(super) fn flush(&self) {
        let (done, wait) = channel();
        if self.queue.send(Item::Flush(done)).is_ok() {
            // It ends with an answer or with the thread.
            let _ = wait.recv();
        }
    }
}

impl Drop for LiveGuard {
    fn drop(&mut self) {
        if self.queue.send(Item::End).is_ok()
            && let Some(thread) = self.thread.take()
        {
            // There is no log left to report its panic in.
            let _ = thread.join();
        }
    }
}

/// Where events go, and what ends it.
pub(super) fn live(level: Level) -> (Live, LiveGuard) {
    let (queue, events) = sync_channel(QUEUED_EVENTS);
    let counts = Arc::new(Counts::default());
    let shown = counts.clone();
    let write = move || {
        let mut screen = Screen::new();
        for item in events {
            match item {
                Item::Event(logged) => {
                    shown.bytes.fetch_sub(logged.size(), Ordering::Relaxed);
                    let dropped = shown.dropped.swap(0, Ordering::Relaxed);
                    if dropped > 0 {
                        screen.show(&message::dropped(dropped));
                    }
                    if let Some(message) = message::of(&logged, level) {
                        screen.show(&message);
                    }
                }
                // Whoever asked may have gone.
                Item::Flush(done) => drop(done.send(())),
                Item::End => break,
            }
        }
        screen.end();
    };
    let thread = std::thread::Builder::new().name("log".to_owned()).spawn(write).ok();
    (Live { queue: queue.clone(), counts }, LiveGuard { queue, thread })
}
