//! The log as an author wants it while they work: a line for what happened to their agents.
//!
//! Owns the thread that writes it, so that no call waits for a terminal. It knows the host's events
//! by their messages and fields; one that it does not know becomes a plain line.

mod screen;
mod words;

use std::collections::BTreeMap;
use std::fmt::{Debug, Write};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::thread::JoinHandle;

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use screen::Screen;

/// An event as it was logged.
#[derive(Debug)]
struct Seen {
    level: Level,
    target: &'static str,
    message: String,
    fields: BTreeMap<&'static str, String>,
}

impl Seen {
    fn of(event: &Event<'_>) -> Self {
        let metadata = event.metadata();
        let mut seen = Self {
            level: *metadata.level(),
            target: metadata.target(),
            message: String::new(),
            fields: BTreeMap::new(),
        };
        event.record(&mut seen);
        seen
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name).map(String::as_str)
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.field(name)?.parse().ok()
    }
}

impl Visit for Seen {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "message" => value.clone_into(&mut self.message),
            name => {
                self.fields.insert(name, value.to_owned());
            }
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let mut text = String::new();
        // Writing to memory does not fail.
        let _ = write!(text, "{value:?}");
        self.record_str(field, &text);
    }
}

/// What the thread is told.
enum Item {
    Event(Seen),
    /// Everything before it is written: say so.
    Flush(Sender<()>),
    End,
}

/// Hands events to the thread that writes them.
pub(super) struct Live {
    queue: SyncSender<Item>,
}

impl<S: Subscriber> Layer<S> for Live {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        // A terminal that stands still loses lines; it holds nobody up.
        let _ = self.queue.try_send(Item::Event(Seen::of(event)));
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
            // What it failed on cannot be told any more.
            let _ = thread.join();
        }
    }
}

/// Where events go, and what ends it. At most `queued` of them wait to be written.
pub(super) fn live(queued: usize, level: Level) -> (Live, LiveGuard) {
    let (queue, events) = sync_channel(queued);
    let write = move || {
        let mut screen = Screen::new();
        for item in events {
            match item {
                Item::Event(seen) => {
                    if let Some(news) = words::news(&seen, level) {
                        screen.show(&news);
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
    (Live { queue: queue.clone() }, LiveGuard { queue, thread })
}
