//! The one place where guests are polled: threads apart from HTTP's own, and one queue.
//!
//! A guest that has burnt its share of fuel yields and goes to the back of the queue, so that
//! a spinning guest delays others by a share and no more. A gate that is fair between tenants
//! belongs where [`Queue`] hands out the next guest.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread::JoinHandle;

use async_task::Runnable;
use parking_lot::{Condvar, Mutex};

/// Guests that are ready to be polled, first come first served.
#[derive(Default)]
struct Queue {
    state: Mutex<QueueState>,
    ready: Condvar,
}

#[derive(Default)]
struct QueueState {
    runnable: VecDeque<Runnable>,
    idle: usize,
    closed: bool,
}

impl Queue {
    fn push(&self, runnable: Runnable) {
        let mut state = self.state.lock();
        if state.closed {
            // Dropping a runnable cancels its guest.
            drop(state);
            return drop(runnable);
        }
        state.runnable.push_back(runnable);
        let wake = state.idle > 0;
        drop(state);
        if wake {
            self.ready.notify_one();
        }
    }

    fn pop(&self) -> Option<Runnable> {
        let mut state = self.state.lock();
        loop {
            if let Some(runnable) = state.runnable.pop_front() {
                return Some(runnable);
            }
            if state.closed {
                return None;
            }
            state.idle += 1;
            self.ready.wait(&mut state);
            state.idle -= 1;
        }
    }

    fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let rest = std::mem::take(&mut state.runnable);
        drop(state);
        self.ready.notify_all();
        drop(rest);
    }
}

/// The threads. Dropping them cancels what is left and joins them.
pub(super) struct GuestThreads {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

impl GuestThreads {
    /// Starts `count` threads, in which `runtime` is entered: guests' host calls use its timers.
    pub(super) fn start(count: u32, runtime: tokio::runtime::Handle) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let mut started = Self { queue: queue.clone(), threads: Vec::new() };
        for number in 0..count.max(1) {
            let (queue, runtime) = (queue.clone(), runtime.clone());
            let thread = std::thread::Builder::new().name(format!("guest-{number}"));
            started.threads.push(thread.spawn(move || {
                let _entered = runtime.enter();
                while let Some(runnable) = queue.pop() {
                    // A panic is a fault of the host's own code; it is passed on to whoever
                    // awaits the task, and this thread goes on.
                    if catch_unwind(AssertUnwindSafe(|| runnable.run())).is_err() {
                        tracing::error!("a guest's host code panicked");
                    }
                }
            })?);
        }
        Ok(started)
    }

    pub(super) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> GuestTask<T> {
        let queue = self.queue.clone();
        let (runnable, task) = async_task::Builder::new()
            .propagate_panic(true)
            .spawn(move |()| future, move |runnable| queue.push(runnable));
        runnable.schedule();
        GuestTask { task: task.fallible() }
    }
}

impl Drop for GuestThreads {
    fn drop(&mut self) {
        self.queue.close();
        let me = std::thread::current().id();
        for thread in self.threads.drain(..) {
            // The last guest may be what held the engine: its thread cannot wait for itself.
            if thread.thread().id() == me {
                continue;
            }
            if thread.join().is_err() {
                tracing::error!("a thread of guests ended with a panic");
            }
        }
    }
}

/// A future on the guests' threads. Gives `None` if the threads were closed before it ended.
#[must_use = "dropping it cancels the guest"]
pub struct GuestTask<T> {
    task: async_task::FallibleTask<T>,
}

impl<T> Future for GuestTask<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.task).poll(context)
    }
}
