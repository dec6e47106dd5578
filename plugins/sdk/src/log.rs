//! Writing to the agent's own log: `log::info!("{count} rows read")`.
//!
//! `trace!`, `debug!`, `info!`, `warn!`, `error!` and `critical!` are each written as `format!` is;
//! [`write()`] takes a word that groups messages as well.
//!
//! Owns no state. What is printed to stdout or stderr reaches the log as well; this keeps its level.
//! The log is bounded: past a limit the host counts messages and leaves them out.

pub use crate::bindings::wasi::logging::logging::Level;
pub use crate::{
    __log_critical as critical, __log_debug as debug, __log_error as error, __log_info as info,
    __log_trace as trace, __log_warn as warn,
};

/// Writes one message; `context` is a word that groups messages and may be empty.
pub fn write(level: Level, context: &str, message: &str) {
    crate::bindings::wasi::logging::logging::log(level, context, message);
}

/// Logs every step, for finding a fault; written as `format!` is.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_trace {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Trace, "", &::std::format!($($message)+)) };
}

/// Logs what helps whoever writes the agent; written as `format!` is.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_debug {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Debug, "", &::std::format!($($message)+)) };
}

/// Logs what happened; written as `format!` is.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_info {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Info, "", &::std::format!($($message)+)) };
}

/// Logs what may become a fault; written as `format!` is.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_warn {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Warn, "", &::std::format!($($message)+)) };
}

/// Logs what went wrong; written as `format!` is.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_error {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Error, "", &::std::format!($($message)+)) };
}

/// Logs what made the agent give up; written as `format!` is.
#[doc(hidden)]
#[macro_export]
macro_rules! __log_critical {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Critical, "", &::std::format!($($message)+)) };
}
