//! `wasi:io/poll`, metered: what waiting costs grows with the handles, and the library charges nothing.
//!
//! Replaces the library's own in front of it. A handle that is in the list twice is charged twice.

use wasmtime::component::{HasSelf, Linker, Resource};
use wasmtime_wasi::p2::DynPollable;
use wasmtime_wasi::p2::bindings::io::poll::{self, Host, HostPollable};

use super::CallState;
use super::meter::{CALL_FUEL, HANDLE_FUEL};

/// So many handles are looked at in a moment.
const FEW: usize = 64;

impl Host for CallState {
    async fn poll(&mut self, handles: Vec<Resource<DynPollable>>) -> wasmtime::Result<Vec<u32>> {
        self.meter.owe(CALL_FUEL.saturating_add(HANDLE_FUEL.saturating_mul(handles.len() as u64)));
        if handles.len() > FEW {
            self.leave_inline().await;
        }
        self.table.poll(handles).await
    }
}

impl HostPollable for CallState {
    async fn block(&mut self, handle: Resource<DynPollable>) -> wasmtime::Result<()> {
        self.meter.owe(CALL_FUEL + HANDLE_FUEL);
        self.table.block(handle).await
    }

    async fn ready(&mut self, handle: Resource<DynPollable>) -> wasmtime::Result<bool> {
        self.meter.owe(CALL_FUEL + HANDLE_FUEL);
        self.table.ready(handle).await
    }

    fn drop(&mut self, handle: Resource<DynPollable>) -> wasmtime::Result<()> {
        self.meter.owe(CALL_FUEL);
        HostPollable::drop(&mut self.table, handle)
    }
}

/// Puts this in the place of the library's.
pub(super) fn add_to_linker(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    poll::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    linker.allow_shadowing(false);
    Ok(())
}
