//! The agent's own log: `wasi:logging`, stdout and stderr, bounded for each call.
//!
//! The call owns its lines until it ends; then the host writes them to its log under the
//! agent's id. Past the bound, lines are counted and left out.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamError, StreamResult};

use super::meter::{BYTE_FUEL, LINE_FUEL};
use super::{CallState, HostLimit};
use crate::bindings::v0_1::wasi::logging::logging::{Host, Level};

/// Where a line came from, or how much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// Through `wasi:logging`.
    Logged(tracing::Level),
    /// Written to stdout.
    Stdout,
    /// Written to stderr.
    Stderr,
}

/// One line of an agent's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Where it came from.
    pub source: Source,
    /// The message, without its line end.
    pub text: String,
}

/// What one call logged.
#[derive(Debug, Default)]
pub struct GuestLog {
    lines: Vec<Line>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// The last lines of stderr, kept even past the bound: they are how a panic ends.
    last_stderr: VecDeque<String>,
    room: u64,
    left_out: u64,
    /// Bytes written to stdout and stderr, kept or not.
    written: u64,
    write_limit: u64,
    /// Fuel for what was done here and is not charged yet.
    work: u64,
}

/// The longest line that is kept whole, in bytes.
const MAX_LINE: usize = 4096;
/// What a line costs of the bound besides its text: about what the host's log adds to it.
const LINE_COST: u64 = 128;
/// The most bytes that a stream takes at once: some lines' worth, so that no write is long.
const PERMIT: usize = 16 * 1024;
/// The lines of stderr that join the message of a trap.
const LAST_LINES: usize = 10;
/// How much of each of them does, in characters: that message is beside the bound of a call's log.
const LAST_LINE: usize = 500;

impl GuestLog {
    /// Keeps at most `room` bytes, and lets the guest write `write_limit` to its streams.
    pub fn new(room: u64, write_limit: u64) -> Self {
        Self { room, write_limit, ..Self::default() }
    }

    /// How many lines it keeps so far.
    pub fn count(&self) -> usize {
        self.lines.len()
    }

    /// Ends the unfinished lines and gives everything: the lines, and how many were left out.
    pub fn finish(&mut self) -> (Vec<Line>, u64) {
        for source in [Source::Stdout, Source::Stderr] {
            let rest = std::mem::take(self.buffer(source));
            if !rest.is_empty() {
                self.push_line(source, &rest);
            }
        }
        (std::mem::take(&mut self.lines), self.left_out)
    }

    /// The last lines of stderr that say something, for the message of a trap. One would not
    /// do: interpreters end with a line of their own after the exception's.
    pub fn last_stderr(&self) -> Option<String> {
        let rest = String::from_utf8_lossy(&self.stderr);
        let rest = Some(rest.trim()).filter(|rest| !rest.is_empty());
        let lines: Vec<&str> = self.last_stderr.iter().map(String::as_str).chain(rest.map(cut)).collect();
        (!lines.is_empty()).then(|| lines.join(" | "))
    }

    fn buffer(&mut self, source: Source) -> &mut Vec<u8> {
        match source {
            Source::Stderr => &mut self.stderr,
            Source::Stdout | Source::Logged(_) => &mut self.stdout,
        }
    }

    /// The fuel for what was written since this was asked last.
    pub(super) fn take_work(&mut self) -> u64 {
        std::mem::take(&mut self.work)
    }

    fn push_line(&mut self, source: Source, line: &[u8]) {
        self.work += LINE_FUEL;
        if source != Source::Stderr && self.room < LINE_COST {
            self.left_out += 1;
            return;
        }
        // What shows it escapes it.
        let text = String::from_utf8_lossy(line).trim_end().to_owned();
        if source == Source::Stderr && !text.trim().is_empty() && !is_advice(&text) {
            if self.last_stderr.len() == LAST_LINES {
                self.last_stderr.pop_front();
            }
            self.last_stderr.push_back(cut(text.trim()).to_owned());
        }
        let size = text.len() as u64 + LINE_COST;
        if size > self.room {
            self.left_out += 1;
            return;
        }
        self.room -= size;
        self.lines.push(Line { source, text });
    }

    fn write(&mut self, source: Source, mut bytes: &[u8]) {
        self.work += bytes.len() as u64 * BYTE_FUEL;
        while !bytes.is_empty() {
            let end = bytes.iter().position(|byte| *byte == b'\n');
            let (part, rest) = match end {
                Some(end) => (&bytes[..end], &bytes[end + 1..]),
                None => (bytes, &bytes[bytes.len()..]),
            };
            let buffer = self.buffer(source);
            let fits = MAX_LINE.saturating_sub(buffer.len()).min(part.len());
            buffer.extend_from_slice(&part[..fits]);
            if end.is_some() {
                let line = std::mem::take(buffer);
                self.push_line(source, &line);
            }
            bytes = rest;
        }
    }
}

/// The beginning of a line.
fn cut(line: &str) -> &str {
    line.char_indices().nth(LAST_LINE).map_or(line, |(end, _)| &line[..end])
}

/// What Rust's runtime prints after a panic's own message.
fn is_advice(line: &str) -> bool {
    line.starts_with("note: ")
}

/// One of the two standard streams, writing into the call's log.
#[derive(Clone)]
pub(super) struct LogStream {
    log: Arc<Mutex<GuestLog>>,
    source: Source,
    /// Bytes that `check-write` allowed and no write has used.
    permit: usize,
}

impl LogStream {
    pub(super) fn new(log: Arc<Mutex<GuestLog>>, source: Source) -> Self {
        Self { log, source, permit: 0 }
    }
}

impl IsTerminal for LogStream {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogStream {
    fn async_stream(&self) -> Box<dyn tokio::io::AsyncWrite + Send + Sync> {
        // Only the 0.2 interfaces are linked, and they take the stream below.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[async_trait::async_trait]
impl Pollable for LogStream {
    async fn ready(&mut self) {}
}

impl OutputStream for LogStream {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        // `wasi:io`: a write that was not allowed traps.
        let Some(left) = self.permit.checked_sub(bytes.len()) else {
            let limit = self.permit as u64;
            let what = "bytes in this write to a stream, which is what `check-write` allowed";
            return Err(StreamError::Trap(HostLimit { what, limit }.into()));
        };
        self.permit = left;
        let mut log = self.log.lock();
        log.written = log.written.saturating_add(bytes.len() as u64);
        if log.written > log.write_limit {
            let limit = log.write_limit;
            return Err(StreamError::Trap(HostLimit { what: "bytes of output streams", limit }.into()));
        }
        log.write(self.source, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        self.permit = PERMIT;
        Ok(PERMIT)
    }
}

impl Host for CallState {
    fn log(&mut self, level: Level, context: String, message: String) -> wasmtime::Result<()> {
        self.meter.charge_call(context.len() + message.len())?;
        let level = match level {
            Level::Trace => tracing::Level::TRACE,
            Level::Debug => tracing::Level::DEBUG,
            Level::Info => tracing::Level::INFO,
            Level::Warn => tracing::Level::WARN,
            Level::Error | Level::Critical => tracing::Level::ERROR,
        };
        let text = if context.is_empty() { message } else { format!("{context}: {message}") };
        let mut end = text.len().min(MAX_LINE);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        let mut log = self.log.lock();
        for line in text[..end].split('\n') {
            log.push_line(Source::Logged(level), line.as_bytes());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(log: &mut GuestLog) -> (Vec<String>, u64) {
        let (lines, left_out) = log.finish();
        (lines.into_iter().map(|line| line.text).collect(), left_out)
    }

    #[test]
    fn pieces_join_into_lines_and_streams_stay_apart() {
        let mut log = GuestLog::new(10_000, 1000);
        log.write(Source::Stdout, b"a");
        log.write(Source::Stderr, b"x\ny");
        log.write(Source::Stdout, b"b\nc");
        assert_eq!(log.last_stderr().as_deref(), Some("x | y"));
        assert_eq!(texts(&mut log).0, ["x", "ab", "c", "y"]);
    }

    #[test]
    fn past_the_bound_lines_are_counted_but_the_last_of_stderr_is_kept() {
        let mut log = GuestLog::new(2 * (LINE_COST + 3), 1000);
        for _ in 0..100 {
            log.write(Source::Stderr, b"abc\n");
        }
        log.write(Source::Stderr, b"panicked: boom\nnote: run with RUST_BACKTRACE=1\n");
        let last = log.last_stderr().unwrap_or_default();
        assert!(last.ends_with("abc | panicked: boom"), "{last}");
        let (lines, left_out) = texts(&mut log);
        assert_eq!((lines.len(), left_out), (2, 100));
    }

    #[test]
    fn the_last_of_stderr_is_bounded_too() {
        let mut log = GuestLog::new(0, 1_000_000);
        for _ in 0..=LAST_LINES {
            log.write(Source::Stderr, &[b'x'; MAX_LINE]);
            log.write(Source::Stderr, b"\n");
        }
        log.write(Source::Stderr, &[b'y'; MAX_LINE]);
        let last = log.last_stderr().unwrap_or_default();
        assert!(last.len() < (LAST_LINES + 1) * (LAST_LINE + 3) && last.ends_with('y'), "{}", last.len());
    }

    #[test]
    fn an_endless_line_is_cut() {
        let mut log = GuestLog::new(1_000_000, 1_000_000);
        for _ in 0..100 {
            log.write(Source::Stdout, &[b'x'; 1000]);
        }
        assert_eq!(texts(&mut log).0[0].len(), MAX_LINE);
    }
}
