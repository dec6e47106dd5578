//! The wall clock as a value that is handed in, so that tests and replays can hold it still.
//!
//! Durations are measured with `std::time::Instant` where they arise; this clock is for points
//! in time that people read.

use std::time::SystemTime;

/// Tells the time of day.
pub trait Clock: Send + Sync + 'static {
    /// Now, as the host believes it.
    fn now(&self) -> SystemTime;
}

/// The operating system's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }
}
