//! The one place where guests are polled: threads apart from HTTP's own, and one queue.
//!
//! A guest that has burnt its share of fuel yields and goes to the back of its agent's lane, and lanes
//! have the same time (`turns.rs`): however many guests of one agent spin, those of another wait for a
//! share and no more. A share that holds its thread for long all the same gets a spare thread beside
//! it, which goes when that share ends.
//!
//! A call that is known to be short may have its first turn on the thread that accepted it
//! ([`GuestThreads::begin`]): waking a thread and being woken by it takes longer than such a call. That
//! turn is bounded (`crossing.rs`), nobody waits while it is given, and one thread of the runtime is
//! always left for others. Every later turn is on the guests' threads.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_task::Runnable;
use parking_lot::{Condvar, Mutex};
use tokio::runtime::RuntimeFlavor;

use super::clock::{self, RunClock};
use super::turns::Turns;

/// A share that takes longer than this holds its thread.
const HELD_AFTER: Duration = Duration::from_millis(20);
/// How often the watcher looks while guests run.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// A turn on a thread that accepts calls that takes longer than this holds it.
const INLINE_HELD_AFTER: Duration = Duration::from_millis(5);
/// How often the watcher finds nothing before it sleeps until a guest runs.
const LOOKS_IN_VAIN: u32 = 100;
/// Spare threads for each thread, at the most.
const SPARES_EACH: usize = 2;
/// How long closing waits for threads that are held.
const CLOSING: Duration = Duration::from_secs(1);
/// What a call that finds too many others counts, where one that does not counts one the other way.
const CROWDED: u32 = 4;
/// The most that all of them count.
const MOST_CROWDED: u32 = 64;
/// How much lower the priority of guests is than that of who answers; compiling is lower still.
#[cfg(target_os = "linux")]
const NICE: i32 = 3;

/// One turn of a guest on a thread.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    /// Counts up; 0 where no guest has its turn.
    pub(super) number: u64,
    /// Whether this is the thread that accepted the call, which others need.
    pub(super) inline: bool,
    began: Option<Instant>,
}

impl Run {
    const NONE: Self = Self { number: 0, inline: false, began: None };

    /// Whether it has taken longer than `time` by now.
    pub(super) fn is_longer(&self, time: Duration) -> bool {
        self.began.is_some_and(|began| began.elapsed() > time)
    }
}

thread_local! {
    static CURRENT: Cell<Run> = const { Cell::new(Run::NONE) };
}

/// The turn that runs on this thread.
pub(super) fn current_run() -> Run {
    CURRENT.get()
}

type Guest = Runnable<Arc<RunClock>>;

/// Guests that are ready to be polled.
struct Queue {
    made: Instant,
    state: Mutex<QueueState>,
    ready: Condvar,
    /// A thread has ended, or the watcher has something to do.
    changed: Condvar,
    /// Whether the watcher looks by itself.
    watched: AtomicBool,
    refused_priority: AtomicBool,
    /// Turns on threads that accept calls, as many as there may be at once.
    inline: Box<[Slot]>,
}

#[derive(Default)]
struct QueueState {
    runnable: Turns<Guest>,
    idle: usize,
    closed: bool,
    runs: u64,
    threads: Vec<Arc<Slot>>,
    /// Threads whose share takes too long.
    held: usize,
    spares: usize,
    /// Which places of [`Queue::inline`] are taken, a bit each.
    inline: u64,
    /// How many turns there were on threads that accept calls.
    inline_turns: u64,
    /// How often of late there were too many for one more: such times count more than others.
    crowd: u32,
}

/// A turn that has ended.
struct Ran {
    clock: Arc<RunClock>,
    took: Duration,
}

/// What the watcher sees of a thread.
#[derive(Default)]
struct Slot {
    is_spare: bool,
    /// Nanoseconds after the queue was made, plus one, since when a share runs; 0 if none does.
    since: AtomicU64,
    held: AtomicBool,
}

impl Slot {
    fn is_running(&self) -> bool {
        self.since.load(Ordering::SeqCst) > 0
    }

    /// Whether its share takes longer than `time` at `now`, and that was not known.
    fn is_found_held(&self, now: u64, time: Duration) -> bool {
        let since = self.since.load(Ordering::SeqCst);
        let is_long = since > 0 && u128::from(now.saturating_sub(since - 1)) > time.as_nanos();
        is_long && !self.held.swap(true, Ordering::AcqRel)
    }
}

impl Queue {
    fn push(&self, guest: Guest) {
        guest.metadata().is_ready();
        let mut state = self.state.lock();
        if state.closed {
            // Dropping a runnable cancels its guest.
            drop(state);
            return drop(guest);
        }
        let clock = guest.metadata().clone();
        state.runnable.push(clock.lane(), guest);
        let wake = state.idle > 0;
        drop(state);
        if wake {
            self.ready.notify_one();
        }
    }

    /// The next guest and the number of its turn, after the turn that this thread ran last; `None` once
    /// it is to end.
    fn pop(&self, slot: &Slot, last: Option<Ran>) -> Option<(Guest, u64)> {
        let mut state = self.state.lock();
        if let Some(Ran { clock, took }) = last {
            state.runnable.ended(clock.lane(), took);
        }
        if slot.held.swap(false, Ordering::AcqRel) {
            state.held -= 1;
            // Spares that are idle go.
            self.ready.notify_all();
        }
        loop {
            if state.closed || (slot.is_spare && state.spares > state.held) {
                return None;
            }
            if let Some(guest) = state.runnable.pop() {
                state.runs += 1;
                return Some((guest, state.runs));
            }
            state.idle += 1;
            self.ready.wait(&mut state);
            state.idle -= 1;
        }
    }

    /// Takes a place for a turn on this thread, and gives its number, if nobody waits for one and so few have
    /// theirs that a thread is left for others. Where many come at once, the guests' threads serve them better:
    /// nobody sleeps there then, and each thread stays with what it does.
    fn begin_inline(&self, clock: &RunClock) -> Option<(usize, u64)> {
        // A guest's host call is no thread that accepts calls.
        if current_run().number > 0 {
            return None;
        }
        let mut state = self.state.lock();
        let busy = state.threads.len().saturating_sub(state.idle) + state.inline.count_ones() as usize;
        if state.closed || busy >= self.inline.len() || !state.runnable.is_empty() {
            state.crowd = MOST_CROWDED.min(state.crowd + CROWDED);
            return None;
        }
        state.crowd = state.crowd.saturating_sub(1);
        if state.crowd > CROWDED {
            return None;
        }
        let place = (!state.inline).trailing_zeros() as usize;
        state.inline |= 1 << place;
        state.inline_turns += 1;
        state.runnable.begins(clock.lane());
        state.runs += 1;
        Some((place, state.runs))
    }

    /// Gives a guest its first turn on this thread.
    fn run_inline(&self, guest: Guest, place: usize, number: u64) {
        let slot = &self.inline[place];
        let Ran { clock, took } = self.run(slot, (guest, number), true);
        slot.held.store(false, Ordering::Release);
        let mut state = self.state.lock();
        state.inline &= !(1 << place);
        state.runnable.ended(clock.lane(), took);
    }

    fn run(&self, slot: &Slot, (guest, number): (Guest, u64), inline: bool) -> Ran {
        let clock = guest.metadata().clone();
        clock::set(Some(clock.clone()));
        let began = Instant::now();
        clock.begins(began, number);
        let since = began.saturating_duration_since(self.made).as_nanos();
        slot.since.store(u64::try_from(since).unwrap_or(u64::MAX - 1) + 1, Ordering::SeqCst);
        if !self.watched.load(Ordering::SeqCst) {
            let _state = self.state.lock();
            self.watched.store(true, Ordering::SeqCst);
            self.changed.notify_all();
        }
        CURRENT.set(Run { number, inline, began: Some(began) });
        // A panic is a fault of the host's own code; it is passed on to whoever awaits the task, and
        // this thread goes on.
        if catch_unwind(AssertUnwindSafe(|| guest.run())).is_err() {
            tracing::error!("a guest's host code panicked");
        }
        CURRENT.set(Run::NONE);
        clock::set(None);
        slot.since.store(0, Ordering::SeqCst);
        let took = began.elapsed();
        clock.ends(took, number);
        Ran { clock, took }
    }

    fn close(&self) {
        let mut state = self.state.lock();
        state.closed = true;
        let rest = std::mem::take(&mut state.runnable);
        drop(state);
        self.ready.notify_all();
        self.changed.notify_all();
        drop(rest);
    }

    /// Starts a thread, which counts from now on.
    fn start(
        self: &Arc<Self>,
        state: &mut QueueState,
        name: String,
        is_spare: bool,
        runtime: &tokio::runtime::Handle,
    ) -> std::io::Result<JoinHandle<()>> {
        let slot = Arc::new(Slot { is_spare, ..Slot::default() });
        let worker = Worker { queue: self.clone(), slot: slot.clone() };
        let runtime = runtime.clone();
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let _entered = runtime.enter();
            worker.queue.lower_priority();
            let mut last = None;
            while let Some(next) = worker.queue.pop(&worker.slot, last) {
                last = Some(worker.queue.run(&worker.slot, next, false));
            }
        })?;
        state.spares += usize::from(is_spare);
        state.threads.push(slot);
        Ok(thread)
    }

    /// Guests give way to who answers. Where that is not allowed, all are equal.
    fn lower_priority(&self) {
        // Elsewhere a priority is the whole process's.
        #[cfg(target_os = "linux")]
        if let Err(error) = rustix::process::setpriority_process(None, NICE)
            && !self.refused_priority.swap(true, Ordering::Relaxed)
        {
            tracing::warn!(%error, "guests run at the same priority as who answers");
        }
    }

    /// Gives each held thread a spare one, as long as the queue is open. It sleeps while no guest runs.
    fn watch(self: &Arc<Self>, most: usize, runtime: &tokio::runtime::Handle) {
        let mut in_vain = 0;
        let mut started = 0_u64;
        let mut state = self.state.lock();
        while !state.closed {
            if in_vain < LOOKS_IN_VAIN {
                self.changed.wait_for(&mut state, LOOK_EVERY);
            } else {
                self.watched.store(false, Ordering::SeqCst);
                let mut slots = self.inline.iter().chain(state.threads.iter().map(|slot| &**slot));
                if slots.all(|slot| slot.since.load(Ordering::SeqCst) == 0) {
                    self.changed.wait(&mut state);
                }
                self.watched.store(true, Ordering::SeqCst);
                in_vain = 0;
            }
            let now = u64::try_from(self.made.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let (mut runs, mut held) = (false, 0);
            for slot in &state.threads {
                runs |= slot.is_running();
                held += usize::from(slot.is_found_held(now, HELD_AFTER));
            }
            state.held += held;
            for slot in &self.inline {
                runs |= slot.is_running();
                if slot.is_found_held(now, INLINE_HELD_AFTER) {
                    // What else this thread was to do goes to another, if one is awake: the runtime's own
                    // way to notice sockets and timers may have been this thread's to go.
                    runtime.spawn(std::future::ready(()));
                    tracing::debug!("a guest holds a thread that accepts calls");
                }
            }
            in_vain = if runs { 0 } else { in_vain + 1 };
            while !state.closed && state.spares < state.held.min(most) {
                started += 1;
                let thread = self.start(&mut state, format!("guest-spare-{started}"), true, runtime);
                if let Err(error) = thread {
                    tracing::warn!(%error, "a guest holds its thread, and no spare one can be started");
                    break;
                }
                tracing::debug!(held = state.held, spares = state.spares, "a guest holds its thread");
            }
        }
    }
}

/// A thread's place, given up as the thread ends however it does.
struct Worker {
    queue: Arc<Queue>,
    slot: Arc<Slot>,
}

impl Drop for Worker {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        state.threads.retain(|slot| !Arc::ptr_eq(slot, &self.slot));
        state.spares -= usize::from(self.slot.is_spare);
        drop(state);
        self.queue.changed.notify_all();
    }
}

/// The threads. Dropping them cancels what is left and waits for them, but not for one that is held.
pub(super) struct GuestThreads {
    queue: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

impl GuestThreads {
    /// Starts `count` threads, in which `runtime` is entered: guests' host calls use its timers.
    pub(super) fn start(count: u32, runtime: tokio::runtime::Handle) -> std::io::Result<Self> {
        let queue = Arc::new(Queue {
            made: Instant::now(),
            state: Mutex::default(),
            ready: Condvar::new(),
            changed: Condvar::new(),
            watched: AtomicBool::new(true),
            refused_priority: AtomicBool::new(false),
            inline: (0..most_inline(&runtime)).map(|_| Slot::default()).collect(),
        });
        let mut started = Self { queue: queue.clone(), threads: Vec::new() };
        let count = count.max(1);
        for number in 0..count {
            let thread = queue.start(&mut queue.state.lock(), format!("guest-{number}"), false, &runtime)?;
            started.threads.push(thread);
        }
        let most = SPARES_EACH.saturating_mul(count as usize);
        let watcher = std::thread::Builder::new().name("guest-watch".to_owned());
        started.threads.push(watcher.spawn(move || queue.watch(most, &runtime))?);
        Ok(started)
    }

    pub(super) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
        clock: Arc<RunClock>,
    ) -> GuestTask<T> {
        let (runnable, task) = self.make(future, clock);
        runnable.schedule();
        task
    }

    /// The same, but the future may have its first turn here and now, where nobody waits for a turn and
    /// another thread of the runtime is left. What this thread's task has to do besides waits meanwhile.
    pub(super) fn begin<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
        clock: Arc<RunClock>,
    ) -> GuestTask<T> {
        let place = self.queue.begin_inline(&clock);
        let (runnable, task) = self.make(future, clock);
        match place {
            Some((place, number)) => self.queue.run_inline(runnable, place, number),
            None => runnable.schedule(),
        }
        task
    }

    /// How many turns there were on threads that accept calls.
    pub(super) fn inline_turns(&self) -> u64 {
        self.queue.state.lock().inline_turns
    }

    fn make<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
        clock: Arc<RunClock>,
    ) -> (Guest, GuestTask<T>) {
        let queue = self.queue.clone();
        let (runnable, task) = async_task::Builder::new()
            .propagate_panic(true)
            .metadata(clock)
            .spawn(move |_| future, move |runnable| queue.push(runnable));
        (runnable, GuestTask { task: task.fallible() })
    }
}

/// How many calls may have their first turns on threads of `runtime` at once: one is always left for others.
fn most_inline(runtime: &tokio::runtime::Handle) -> usize {
    match runtime.runtime_flavor() {
        RuntimeFlavor::MultiThread => (runtime.metrics().num_workers() - 1).min(63),
        // Its one thread answers everybody.
        _ => 0,
    }
}

impl Drop for GuestThreads {
    fn drop(&mut self) {
        self.queue.close();
        // The last guest may be what held the engine: its thread, if it is one of these, cannot wait for itself.
        let own = usize::from(current_run().number > 0 && !current_run().inline);
        let until = Instant::now() + CLOSING;
        let mut state = self.queue.state.lock();
        while state.threads.len() > own && !self.queue.changed.wait_until(&mut state, until).timed_out() {}
        let held = state.threads.len().saturating_sub(own);
        drop(state);
        if held > 0 {
            tracing::warn!(held, "threads of guests are left to end by themselves: a guest holds each");
        }
        for thread in self.threads.drain(..) {
            if thread.is_finished() && thread.join().is_err() {
                tracing::error!("a thread of guests ended with a panic");
            }
        }
    }
}

/// A future on the guests' threads. Gives `None` if the threads were closed before it ended.
#[must_use = "dropping it cancels the guest"]
pub struct GuestTask<T> {
    task: async_task::FallibleTask<T, Arc<RunClock>>,
}

impl<T> Future for GuestTask<T> {
    type Output = Option<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<T>> {
        Pin::new(&mut self.task).poll(context)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::sync::atomic::AtomicI64;
    use std::sync::mpsc;
    use std::thread::{self, ThreadId};

    use futures_util::FutureExt;
    use tokio::io::AsyncWriteExt;

    use super::super::Slot;
    use super::*;
    use crate::capabilities::next_turn;

    const LONG: Duration = Duration::from_secs(60);

    /// Waits until something is so; a hang is a failure.
    fn until(what: &str, is_so: impl Fn() -> bool) {
        let last = Instant::now() + LONG;
        while !is_so() {
            assert!(Instant::now() < last, "{what}");
            std::thread::yield_now();
        }
    }

    /// A guest that holds its thread until it is let go, and says when it has begun.
    fn holder(threads: &GuestThreads) -> (GuestTask<()>, mpsc::Receiver<()>, mpsc::Sender<()>) {
        let (begun, has_begun) = mpsc::channel();
        let (let_go, go) = mpsc::channel::<()>();
        let task = threads.spawn(
            async move {
                let _ = begun.send(());
                let _ = go.recv();
            },
            Arc::default(),
        );
        (task, has_begun, let_go)
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_held_thread_gets_a_spare_one_which_goes_with_it() {
        let threads = GuestThreads::start(1, tokio::runtime::Handle::current()).expect("threads");
        let (held, begun, let_go) = holder(&threads);
        begun.recv_timeout(LONG).expect("it runs");
        let clock = Arc::<RunClock>::default();
        let beside = threads.spawn(async { 7 }, clock.clone());
        let answer = tokio::time::timeout(LONG, beside).await.expect("a spare thread runs it");
        assert_eq!(answer, Some(7));
        assert!(clock.has_begun() && clock.waited() > Duration::ZERO);
        let spares = || threads.queue.state.lock().spares;
        assert_eq!(spares(), 1);
        let_go.send(()).expect("it waits");
        held.await.expect("it ends");
        until("the spare thread goes", || spares() == 0);
        assert_eq!(threads.queue.state.lock().held, 0);
    }

    /// Where a future has its first turn, and where its second.
    async fn two_turns() -> (ThreadId, ThreadId) {
        let first = thread::current().id();
        next_turn().await;
        (first, thread::current().id())
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_first_turn_is_had_at_once_and_the_next_on_the_guests_threads() {
        let threads = GuestThreads::start(1, tokio::runtime::Handle::current()).expect("threads");
        until("the guests' thread sleeps", || threads.queue.state.lock().idle == 1);
        let (clock, here) = (Arc::<RunClock>::default(), thread::current().id());
        let at_once = threads.begin(async { thread::current().id() }, clock.clone()).now_or_never();
        assert_eq!(at_once, Some(Some(here)));
        assert_eq!((clock.turns(), clock.waited()), (1, Duration::ZERO));
        assert_eq!((current_run().number, threads.queue.state.lock().inline), (0, 0));
        let clock = Arc::<RunClock>::default();
        let (first, second) = threads.begin(two_turns(), clock.clone()).await.expect("it ends");
        assert_eq!((first, second == here, clock.turns()), (here, false, 2));
        assert_eq!(threads.inline_turns(), 2);
        // A guest has its host's calls on its own threads, whatever they are.
        let nested = threads.spawn(async { current_run().number > 0 }, Arc::default());
        assert_eq!(nested.await, Some(true));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_turn_is_had_at_once_where_others_have_theirs_or_wait() {
        let threads = GuestThreads::start(1, tokio::runtime::Handle::current()).expect("threads");
        let (held, begun, let_go) = holder(&threads);
        begun.recv_timeout(LONG).expect("it runs");
        let here = thread::current().id();
        let first = async move { thread::current().id() == here };
        assert_eq!(threads.begin(first, Arc::default()).await, Some(false));
        let_go.send(()).expect("it waits");
        held.await.expect("it ends");
        until("it is quiet", || {
            let state = threads.queue.state.lock();
            state.idle == state.threads.len() && state.spares == 0
        });
        let first = async move { thread::current().id() == here };
        assert_eq!(threads.begin(first, Arc::default()).await, Some(true));
    }

    #[tokio::test]
    async fn no_turn_is_had_on_the_only_thread_that_answers() {
        let threads = GuestThreads::start(1, tokio::runtime::Handle::current()).expect("threads");
        let here = thread::current().id();
        let first = async move { thread::current().id() == here };
        assert_eq!(threads.begin(first, Arc::default()).await, Some(false));
    }

    /// Nothing that is known lets a turn on such a thread hold it: this one does, on the thread that looked
    /// after sockets last.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_turn_that_holds_the_thread_it_was_given_at_once_holds_nothing_else() {
        let runtime = tokio::runtime::Handle::current();
        let threads = Arc::new(GuestThreads::start(1, runtime.clone()).expect("threads"));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("its address");
        let client = || {
            let client = std::net::TcpStream::connect(address).expect("a connection");
            client.set_read_timeout(Some(LONG)).expect("a time limit");
            client
        };
        let mut first = client();
        let (waits, _) = listener.accept().await.expect("a connection");
        let (begun, has_begun) = mpsc::channel();
        let (let_go, go) = mpsc::channel::<()>();
        let holding = tokio::spawn({
            let threads = threads.clone();
            async move {
                // Whether it is readable may be reported too early.
                waits.peek(&mut [0]).await.expect("a byte");
                let hold = async move {
                    let _ = begun.send(current_run().inline);
                    let _ = go.recv();
                };
                threads.begin(hold, Arc::default()).await
            }
        });
        let answering = tokio::spawn(async move {
            let (mut other, _) = listener.accept().await.expect("somebody else");
            other.write_all(b"!").await
        });
        until("the guests' thread sleeps", || threads.queue.state.lock().idle == 1);
        first.write_all(b"!").expect("a connection");
        assert!(has_begun.recv_timeout(LONG).expect("it has its turn"), "at once");
        client().read_exact(&mut [0]).expect("somebody else is answered");
        let beside = threads.begin(async { 7 }, Arc::default());
        assert_eq!(beside.await, Some(7));
        let_go.send(()).expect("it is still held");
        holding.await.expect("a task").expect("it ends");
        answering.await.expect("a task").expect("it was answered");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn spare_threads_are_bounded_and_closing_does_not_wait_for_held_ones() {
        let threads = GuestThreads::start(1, tokio::runtime::Handle::current()).expect("threads");
        let held: Vec<_> = (0..1 + SPARES_EACH).map(|_| holder(&threads)).collect();
        for (_, begun, _) in &held {
            begun.recv_timeout(LONG).expect("each runs");
        }
        let (_waiting, begun, _let_go) = holder(&threads);
        until("all are held", || threads.queue.state.lock().held == 1 + SPARES_EACH);
        assert!(begun.try_recv().is_err(), "no thread is left");
        assert_eq!(threads.queue.state.lock().spares, SPARES_EACH);
        drop(threads);
        drop(held);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_never_had_a_turn_knows_how_long_it_waited() {
        let threads = GuestThreads::start(1, tokio::runtime::Handle::current()).expect("threads");
        let held: Vec<_> = (0..1 + SPARES_EACH).map(|_| holder(&threads)).collect();
        for (_, begun, _) in &held {
            begun.recv_timeout(LONG).expect("each runs");
        }
        let clock = Arc::<RunClock>::default();
        let waiting = threads.spawn(async {}, clock.clone());
        until("it waits", || clock.waited() > Duration::from_millis(1));
        assert!(!clock.has_begun());
        drop((waiting, held));
    }

    /// The slots that futures have, and how often that changed.
    #[derive(Default)]
    struct Slots {
        taken: AtomicI64,
        changes: AtomicU64,
    }

    impl Slot for Slots {
        fn release(&self) {
            self.changes.fetch_add(1, Ordering::SeqCst);
            self.taken.fetch_sub(1, Ordering::SeqCst);
        }

        fn acquire(&self) {
            self.changes.fetch_add(1, Ordering::SeqCst);
            self.taken.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// A clock of a future that has one of these slots.
    fn in_slot(slots: &Arc<Slots>) -> Arc<RunClock> {
        slots.taken.fetch_add(1, Ordering::SeqCst);
        Arc::new(RunClock::of(Arc::default(), Some(slots.clone())))
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_future_that_waits_has_no_slot_and_one_that_yields_keeps_it() {
        let threads = GuestThreads::start(1, tokio::runtime::Handle::current()).expect("threads");
        let slots = Arc::<Slots>::default();
        let taken = || slots.taken.load(Ordering::SeqCst);
        let (wake, woken) = tokio::sync::oneshot::channel::<()>();
        let (held, go) = mpsc::channel::<()>();
        let waits = async move {
            let _ = woken.await;
            let _ = go.recv();
        };
        let waits = threads.spawn(waits, in_slot(&slots));
        until("it waits", || taken() == 0);
        wake.send(()).expect("it waits");
        until("it is woken", || taken() == 1);
        held.send(()).expect("it computes");
        waits.await.expect("it ends");
        until("what has ended has none", || taken() == 0);
        let before = slots.changes.load(Ordering::SeqCst);
        let yields = async {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        };
        threads.spawn(yields, in_slot(&slots)).await.expect("it ends");
        until("it has ended", || taken() == 0);
        assert_eq!(slots.changes.load(Ordering::SeqCst), before + 1, "yielding is not waiting");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn slots_add_up_however_waking_and_waiting_meet() {
        let threads = GuestThreads::start(3, tokio::runtime::Handle::current()).expect("threads");
        let slots = Arc::<Slots>::default();
        let guests: Vec<_> = (0..20)
            .map(|_| {
                let (wake, mut woken) = tokio::sync::mpsc::channel::<()>(1);
                tokio::spawn(async move { while wake.send(()).await.is_ok() {} });
                let waits = async move {
                    for _ in 0..500 {
                        woken.recv().await;
                    }
                };
                threads.spawn(waits, in_slot(&slots))
            })
            .collect();
        for guest in guests {
            guest.await.expect("it ends");
        }
        until("none is left", || slots.taken.load(Ordering::SeqCst) == 0);
    }
}
