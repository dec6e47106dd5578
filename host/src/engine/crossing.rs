//! What happens as a guest crosses to the host and back: it pays for what the host did, and its turn
//! ends where that was long. A turn on a thread that accepts calls is shorter, and ends before its guest can
//! touch more memory than a short call has.
//!
//! Owns the account of one call's turn. What is charged is a function of the arguments alone; only
//! when a guest yields may depend on the clock, since yielding spends no fuel.

use std::future::ready;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use parking_lot::Mutex;
use wasmtime::{AsContextMut, CallHook, CallHookHandler, StoreContextMut, Trap};

use super::clock::{self, Progress};
use super::pace::{SHORT_FUEL, SHORT_MEMORY, SHORT_TIME};
use super::threads::{self, Run};
use crate::capabilities::{CallState, next_turn};

/// How long a turn may be before it ends at the next crossing, whatever fuel it burnt: a crossing that
/// is not a host function (strings between two components, memory that grows) charges nothing.
const LONG_TURN: Duration = Duration::from_millis(2);

/// The account of one call's turn.
pub(super) struct Crossing {
    /// Units of fuel that are a turn.
    slice: u64,
    /// Bytes that the guest's own answer may have.
    result_bytes: usize,
    /// The fuel of the call.
    all_fuel: u64,
    turn: Mutex<Turn>,
}

struct Turn {
    /// Calls from the guest into the host that have not returned. Above one, the guest allocates for
    /// what the host gives it.
    depth: u32,
    /// The run of the guests' threads that this turn is.
    run: u64,
    /// The fuel that was left as the turn began.
    fuel: u64,
    /// Whether the guest yields as often as on a thread that accepts calls.
    short: bool,
}

enum Then {
    GoOn,
    Yield,
}

impl Crossing {
    /// The account of a call with this much fuel.
    pub(super) fn new(slice: u64, fuel: u64, result_bytes: usize) -> Self {
        let run = threads::current_run();
        let turn = Turn { depth: 0, run: run.number, fuel, short: run.inline };
        Self { slice, result_bytes, all_fuel: fuel, turn: Mutex::new(turn) }
    }

    fn cross(&self, mut store: StoreContextMut<'_, CallState>, way: CallHook) -> wasmtime::Result<Then> {
        // Nobody waits for this lock: a call is polled by one thread at a time.
        let mut turn = self.turn.lock();
        match way {
            CallHook::CallingHost => turn.depth += 1,
            CallHook::CallingWasm if turn.depth == 0 => {
                clock::note_guest();
                allow_one_call(&mut store);
            }
            CallHook::ReturningFromWasm if turn.depth == 0 => store.set_hostcall_fuel(self.result_bytes),
            CallHook::ReturningFromHost => {
                turn.depth = turn.depth.saturating_sub(1);
                return self.returned(&mut turn, store);
            }
            CallHook::CallingWasm | CallHook::ReturningFromWasm => {}
        }
        Ok(Then::GoOn)
    }

    fn returned(&self, turn: &mut Turn, mut store: StoreContextMut<'_, CallState>) -> wasmtime::Result<Then> {
        let run = threads::current_run();
        let mut left = store.get_fuel()?;
        if turn.run != run.number {
            (turn.run, turn.fuel) = (run.number, left);
            store.data_mut().inline = run.inline;
        }
        // Only a function of ours owes, and only there may the fuel be set: a guest in the middle of
        // growing its memory has not written down what it burnt.
        let owed = if turn.depth == 0 { store.data_mut().take_owed() } else { 0 };
        if owed > 0 {
            let paid = left.checked_sub(owed);
            left = paid.unwrap_or(0);
            store.set_fuel(left)?;
            if paid.is_none() {
                return Err(Trap::OutOfFuel.into());
            }
            if turn.short && !run.inline {
                turn.short = false;
                store.fuel_async_yield_interval(Some(self.slice))?;
            }
            allow_one_call(&mut store);
        }
        let meter = &store.data().meter;
        clock::note_progress(Progress {
            fuel: self.all_fuel.saturating_sub(left),
            peak_memory: meter.peak_memory(),
            host_calls: meter.host_calls(),
            host_bytes: meter.host_bytes(),
        });
        let burnt = turn.fuel.saturating_sub(left);
        if self.is_over(run, burnt, owed, meter.peak_memory()) {
            turn.fuel = left;
            return Ok(Then::Yield);
        }
        Ok(Then::GoOn)
    }

    /// Whether a turn is over that burnt so much fuel, and now owed so much for one host function.
    fn is_over(&self, run: Run, burnt: u64, owed: u64, memory: u64) -> bool {
        if run.inline {
            return burnt >= SHORT_FUEL || memory > SHORT_MEMORY || (owed == 0 && run.is_longer(SHORT_TIME));
        }
        burnt >= self.slice || (owed == 0 && run.is_longer(LONG_TURN))
    }
}

/// Bounds what the next host function is given: it is copied before the function runs.
fn allow_one_call(store: &mut StoreContextMut<'_, CallState>) {
    let bytes = store.data().meter.one_call_bytes();
    store.as_context_mut().set_hostcall_fuel(usize::try_from(bytes).unwrap_or(usize::MAX));
}

type Crossed<'a> = Pin<Box<dyn Future<Output = wasmtime::Result<()>> + Send + 'a>>;

// Written without the macro: going on, which is nearly always, allocates nothing.
impl CallHookHandler<CallState> for Crossing {
    fn handle_call_event<'handler, 'store, 'crossed>(
        &'handler self,
        store: StoreContextMut<'store, CallState>,
        way: CallHook,
    ) -> Crossed<'crossed>
    where
        'handler: 'crossed,
        'store: 'crossed,
        Self: 'crossed,
    {
        match self.cross(store, way) {
            Ok(Then::GoOn) => Box::pin(GoOn),
            Ok(Then::Yield) => Box::pin(async {
                next_turn().await;
                Ok(())
            }),
            Err(error) => Box::pin(ready(Err(error))),
        }
    }
}

/// Ready at once, and without a size.
struct GoOn;

impl Future for GoOn {
    type Output = wasmtime::Result<()>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok(()))
    }
}
