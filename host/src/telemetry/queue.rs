//! The queue of log lines, bounded in bytes, and the thread that writes them.
//!
//! Owns both. No call waits for a slow terminal or a full pipe: what does not fit is dropped, counted,
//! and reported once there is room again. A batch of lines is one write.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Bytes that wait to be written at the most; as many again may be on their way.
const QUEUED_BYTES: usize = 4 * 1024 * 1024;
/// What is kept of the memory of a large batch.
const KEPT: usize = 64 * 1024;
/// How long the thread collects lines before it writes them: woken for each, it would take processor time
/// from the threads that log them.
const GATHER: Duration = Duration::from_millis(2);
/// How long the end of the process waits for what is still queued: the reader may be gone.
const LAST: Duration = Duration::from_secs(1);

/// Lines that were dropped since the start. The log is the process's, and so is this.
static DROPPED: AtomicU64 = AtomicU64::new(0);

/// How many lines of the log were dropped since the start, because they were not read fast enough.
pub fn lines_dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// Counts a line that was dropped.
pub(super) fn drop_line() {
    DROPPED.fetch_add(1, Ordering::Relaxed);
}

/// Takes lines. Cheap to clone.
#[derive(Clone)]
pub(super) struct Queue {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    /// There is something to do for the thread.
    work: Condvar,
    /// The thread has ended.
    ended: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// Lines that were dropped and not yet reported.
    dropped: u64,
    closed: bool,
    ended: bool,
}

/// Ends the thread as it is dropped; what is queued is written first.
pub(super) struct QueueGuard {
    shared: Arc<Shared>,
}

/// A queue to `out`, and what ends it.
pub(super) fn queue(out: impl Write + Send + 'static) -> io::Result<(Queue, QueueGuard)> {
    let shared = Arc::new(Shared::default());
    let thread = std::thread::Builder::new().name("log".to_owned());
    thread.spawn({
        let shared = shared.clone();
        move || {
            shared.write_to(out);
            shared.state.lock().ended = true;
            shared.ended.notify_all();
        }
    })?;
    Ok((Queue { shared: shared.clone() }, QueueGuard { shared }))
}

impl Write for Queue {
    /// Takes a line whole or not at all.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.shared.state.lock();
        if state.waiting.len() + line.len() > QUEUED_BYTES {
            state.dropped += 1;
            drop_line();
            return Ok(line.len());
        }
        let wake = state.waiting.is_empty();
        state.waiting.extend_from_slice(line);
        drop(state);
        if wake {
            self.shared.work.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Shared {
    fn write_to(&self, mut out: impl Write) {
        let mut batch = Vec::new();
        loop {
            let (dropped, closed) = {
                let mut state = self.state.lock();
                while state.waiting.is_empty() && !state.closed {
                    self.work.wait(&mut state);
                }
                // Nobody wakes it where something waits already, but the end.
                if !state.closed {
                    self.work.wait_for(&mut state, GATHER);
                }
                std::mem::swap(&mut batch, &mut state.waiting);
                (std::mem::take(&mut state.dropped), state.closed)
            };
            if batch.is_empty() && closed {
                return;
            }
            // If it is closed the lines are lost.
            let _ = out.write_all(&batch).and_then(|()| out.flush());
            batch.clear();
            batch.shrink_to(KEPT);
            if dropped > 0 {
                tracing::warn!(
                    lines = dropped,
                    "lines of the log were dropped: they came faster than they were read"
                );
            }
        }
    }
}

impl Drop for QueueGuard {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.closed = true;
        self.shared.work.notify_one();
        let last = Instant::now() + LAST;
        while !state.ended {
            if self.shared.ended.wait_until(&mut state, last).timed_out() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    /// A writer that accepts a batch when the test says so.
    struct Slow {
        turns: Receiver<()>,
        taken: Sender<Vec<u8>>,
    }

    impl Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.turns.recv().map_err(|_| io::ErrorKind::BrokenPipe)?;
            self.taken.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn it_is_bounded_in_bytes_and_counts_what_it_drops() {
        let (turn, turns) = channel();
        let (taken, batches) = channel();
        let (mut queue, guard) = queue(Slow { turns, taken }).expect("a thread");
        let line = vec![b'x'; 1024 * 1024];
        queue.write_all(&line).expect("a queue takes everything");
        turn.send(()).expect("its thread");
        assert_eq!(batches.recv().expect("a batch").len(), line.len());
        let before = lines_dropped();
        // Four wait, as many are on their way at the most, the others are dropped.
        for _ in 0..9 {
            queue.write_all(&line).expect("a queue takes everything");
        }
        let kept = 9 - (lines_dropped() - before) as usize;
        assert!((4..=8).contains(&kept), "{kept}");
        assert!(queue.shared.state.lock().waiting.len() <= QUEUED_BYTES);
        turn.send(()).expect("its thread");
        turn.send(()).expect("its thread");
        drop(guard);
        drop(turn);
        assert_eq!(batches.iter().map(|batch| batch.len()).sum::<usize>(), kept * line.len());
    }
}
