//! Logging: set up once, by the command that is run.
//!
//! Lines go to standard error from a thread of their own, so that no call waits for a slow
//! terminal or a full pipe; the queue to it is bounded, and past the bound lines are dropped.
//! What is secret never gets here: keys are logged by their names, tasks and answers not at all.

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
    _guard: WorkerGuard,
}

/// Sets up logging for the process.
///
/// # Errors
/// If it is set up already.
pub fn init(format: LogFormat, level: tracing::Level) -> Result<Logging, TryInitError> {
    let colours = format == LogFormat::Text && std::io::stderr().is_terminal();
    // A batch of lines is one write; the thread flushes whenever its queue is empty.
    let output = BufWriter::with_capacity(64 * 1024, std::io::stderr());
    let (writer, guard) = NonBlockingBuilder::default().buffered_lines_limit(QUEUED_LINES).finish(output);
    let layer = match format {
        LogFormat::Text => fmt::layer().with_ansi(colours).with_writer(writer).boxed(),
        LogFormat::Json => fmt::layer().json().flatten_event(true).with_writer(writer).boxed(),
    };
    // Libraries speak only of trouble.
    let ours = Targets::new()
        .with_default(LevelFilter::from_level(level.min(tracing::Level::WARN)))
        .with_target("stockade", level)
        .with_target("agent", level);
    tracing_subscriber::registry().with(layer.with_filter(ours)).try_init()?;
    Ok(Logging { _guard: guard })
}
