//! `wasi:random`, metered: making random bytes costs the host what it costs the guest nothing.
//!
//! Replaces the library's own, which bounds one call but not their number.

use wasmtime::StoreContextMut;
use wasmtime::component::{HasSelf, Linker};
use wasmtime_wasi::p2::bindings::random::{insecure, random};

use super::CallState;
use super::meter::CALL_FUEL;

/// Fuel for a random number: each asks the operating system.
const NUMBER_FUEL: u64 = 3 * CALL_FUEL;

/// So many bytes are made in a moment.
const FEW: u64 = 4 * 1024;

/// The functions that make as many bytes as they are asked for: each has to wait for its turn first where
/// it would take long, which the generated ones cannot.
const OF_BYTES: &[(&str, &str)] = &[
    ("wasi:random/random@0.2.12", "get-random-bytes"),
    ("wasi:random/insecure@0.2.12", "get-insecure-random-bytes"),
];

impl CallState {
    fn random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        // Charged before they are made: a request beyond the limit allocates nothing.
        self.meter.owe(CALL_FUEL);
        self.meter.charge_bytes(usize::try_from(length).unwrap_or(usize::MAX))?;
        let mut bytes = vec![0; length as usize];
        getrandom::fill(&mut bytes)?;
        Ok(bytes)
    }

    fn random_number(&mut self) -> wasmtime::Result<u64> {
        self.meter.owe(NUMBER_FUEL);
        self.meter.charge_bytes(size_of::<u64>())?;
        Ok(getrandom::u64()?)
    }
}

impl random::Host for CallState {
    fn get_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        self.random_bytes(length)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.random_number()
    }
}

impl insecure::Host for CallState {
    fn get_insecure_random_bytes(&mut self, length: u64) -> wasmtime::Result<Vec<u8>> {
        self.random_bytes(length)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.random_number()
    }
}

/// Puts these in the place of the library's.
pub(super) fn add_to_linker(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    random::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    insecure::add_to_linker::<_, HasSelf<_>>(linker, |state| state)?;
    for (interface, function) in OF_BYTES {
        linker.instance(interface)?.func_wrap_async(
            function,
            |mut store: StoreContextMut<'_, CallState>, (length,): (u64,)| {
                Box::new(async move {
                    let state = store.data_mut();
                    if length > FEW {
                        state.leave_inline().await;
                    }
                    Ok((state.random_bytes(length)?,))
                })
            },
        )?;
    }
    linker.allow_shadowing(false);
    Ok(())
}
