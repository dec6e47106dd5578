//! Logging: set up once, by the command that is run.
//!
//! Lines go to standard error from a thread of their own, so that no call waits for a slow
//! terminal or a full pipe; the queue to it is bounded, and past the bound lines are dropped.
//! What is secret never gets here: keys are logged by their names, tasks and answers not at all.

mod live;
pub mod metrics;

use std::io::{BufWriter, IsTerminal};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, fmt};

use crate::config::LogFormat;

/// Lines that wait to be written at the most.
const QUEUED_LINES: usize = 16_384;

/// Writes what is still queued as it is dropped: keep it until the end.
#[must_use]
pub struct Logging {
    guard: Guard,
}

/// What writes what is still queued as it is dropped.
enum Guard {
    Lines { _guard: WorkerGuard },
    Live { guard: live::LiveGuard },
}

impl Logging {
    /// Waits until what was logged so far stands on the screen of [`Format::Live`], so that what is
    /// written beside it comes after it.
    pub fn flush(&self) {
        if let Guard::Live { guard } = &self.guard {
            guard.flush();
        }
    }
}

/// How the log looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As a service's log.
    Log(LogFormat),
    /// What an author wants to see while they work: a line for what happened to their agents.
    Live,
}

impl From<LogFormat> for Format {
    fn from(format: LogFormat) -> Self {
        Self::Log(format)
    }
}

/// Sets up logging for the process.
///
/// # Errors
/// If it is set up already.
pub fn init(format: impl Into<Format>, level: tracing::Level) -> Result<Logging, TryInitError> {
    let format = format.into();
    let colours = format == Format::Log(LogFormat::Text) && std::io::stderr().is_terminal();
    let lines = || {
        // A batch of lines is one write; the thread flushes whenever its queue is empty.
        let output = BufWriter::with_capacity(64 * 1024, std::io::stderr());
        let (writer, guard) = NonBlockingBuilder::default().buffered_lines_limit(QUEUED_LINES).finish(output);
        (writer, Guard::Lines { _guard: guard })
    };
    let (layer, guard) = match format {
        Format::Log(LogFormat::Text) => {
            let (writer, guard) = lines();
            (fmt::layer().with_ansi(colours).with_writer(writer).boxed(), guard)
        }
        Format::Log(LogFormat::Json) => {
            let (writer, guard) = lines();
            (fmt::layer().json().flatten_event(true).with_writer(writer).boxed(), guard)
        }
        Format::Live => {
            let (layer, guard) = live::live(QUEUED_LINES, level);
            (layer.boxed(), Guard::Live { guard })
        }
    };
    // Libraries speak only of trouble.
    let ours = Targets::new()
        .with_default(LevelFilter::from_level(level.min(tracing::Level::WARN)))
        .with_target("stockade", level)
        .with_target("agent", level);
    tracing_subscriber::registry().with(layer.with_filter(ours)).try_init()?;
    Ok(Logging { guard })
}
