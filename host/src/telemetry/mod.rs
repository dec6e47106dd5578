//! Logging: set up once, by the command that is run.
//!
//! Lines go to standard error from a thread of their own, so that no call waits for a slow
//! terminal or a full pipe; the queue to it is bounded in bytes, and past the bound lines are dropped
//! and counted. What guests and clients wrote is escaped and bounded as a line is made of it.
//! Secrets are never logged: keys appear by their names, tasks and answers not at all.

pub mod event;
mod lines;
mod live;
pub mod metrics;
mod queue;

use std::io::IsTerminal;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Layer, fmt};

use crate::config::LogFormat;
use lines::{JsonLines, TextFields};
pub use queue::lines_dropped;
use queue::{QueueGuard, queue};

/// Writes what is still queued as it is dropped: keep it until the end.
#[must_use]
pub struct Logging {
    guard: Guard,
}

/// What writes what is still queued as it is dropped.
enum Guard {
    Lines { _guard: QueueGuard },
    Live { guard: live::LiveGuard },
}

impl Logging {
    /// Waits until what was logged so far is on the screen of [`Format::Live`], so that what is
    /// written next comes after it.
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

/// Why there is no logging.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// It is set up already.
    #[error("logging is set up already")]
    Again(#[from] TryInitError),
    /// Its thread could not be started.
    #[error("cannot start the thread that writes the log: {0}")]
    Thread(#[from] std::io::Error),
}

/// Sets up logging for the process.
///
/// # Errors
/// If it is set up already, or there is no thread for it.
pub fn init(format: impl Into<Format>, level: tracing::Level) -> Result<Logging, InitError> {
    let format = format.into();
    let (layer, guard) = match format {
        Format::Log(format) => {
            let (writer, guard) = queue(std::io::stderr())?;
            let layer = fmt::layer().fmt_fields(TextFields).with_writer(move || writer.clone());
            let layer = match format {
                LogFormat::Text => layer.with_ansi(std::io::stderr().is_terminal()).boxed(),
                LogFormat::Json => layer.with_ansi(false).event_format(JsonLines).boxed(),
            };
            (layer, Guard::Lines { _guard: guard })
        }
        Format::Live => {
            let (layer, guard) = live::live(level);
            (layer.boxed(), Guard::Live { guard })
        }
    };
    // Of libraries, only warnings and errors.
    let ours = Targets::new()
        .with_default(LevelFilter::from_level(level.min(tracing::Level::WARN)))
        .with_target("stockade", level)
        .with_target(event::AGENT_LOG, level);
    tracing_subscriber::registry().with(layer.with_filter(ours)).try_init()?;
    Ok(Logging { guard })
}
