//! What one call has spent so far, and where it must stop.
//!
//! Owned by the call's store. The engine's limiter and hooks feed it; capabilities charge it.

use crate::config::Limits;

/// A bound that the guest ran into. As an error it becomes the trap that ends the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {limit} {what}")]
pub struct HostLimit {
    /// What there was too much of, in the plural.
    pub what: &'static str,
    /// How much is allowed.
    pub limit: u64,
}

/// Counters of one call against its limits.
#[derive(Debug)]
pub struct Meter {
    memory: u64,
    memory_limit: u64,
    memory_refused: bool,
    host_calls: u64,
    host_calls_limit: u64,
    host_bytes: u64,
    host_bytes_limit: u64,
}

/// The size of a table's element in the host's memory, in bytes.
const TABLE_ELEMENT: u64 = 8;

impl Meter {
    /// Starts at zero.
    pub fn new(limits: &Limits) -> Self {
        Self {
            memory: 0,
            memory_limit: limits.memory,
            memory_refused: false,
            host_calls: 0,
            host_calls_limit: limits.host_calls,
            host_bytes: 0,
            host_bytes_limit: limits.host_bytes,
        }
    }

    /// The most bytes that memories and tables held at once. They never shrink.
    pub fn peak_memory(&self) -> u64 {
        self.memory
    }

    /// Whether growth was refused: a trap that follows is the guest's way of saying so.
    pub fn memory_refused(&self) -> bool {
        self.memory_refused
    }

    /// Calls from the guest into capabilities.
    pub fn host_calls(&self) -> u64 {
        self.host_calls
    }

    /// Bytes between guest and capabilities.
    pub fn host_bytes(&self) -> u64 {
        self.host_bytes
    }

    /// Counts a call into a capability that passes `bytes`.
    ///
    /// # Errors
    /// The limit that this call exceeds; as a trap it ends the guest.
    pub(crate) fn charge_call(&mut self, bytes: usize) -> Result<(), HostLimit> {
        self.host_calls += 1;
        if self.host_calls > self.host_calls_limit {
            return Err(HostLimit { what: "host calls", limit: self.host_calls_limit });
        }
        self.charge_bytes(bytes)
    }

    /// Charges bytes that passed between the guest and a capability.
    ///
    /// # Errors
    /// As [`Meter::charge_call`].
    pub(crate) fn charge_bytes(&mut self, bytes: usize) -> Result<(), HostLimit> {
        self.host_bytes = self.host_bytes.saturating_add(bytes as u64);
        if self.host_bytes > self.host_bytes_limit {
            return Err(HostLimit { what: "host-call bytes", limit: self.host_bytes_limit });
        }
        Ok(())
    }

    /// Whether a memory or table may grow from `current` to `desired` units of `unit` bytes. The
    /// maximum is the smaller of the guest's own and the pool's.
    fn growing(&mut self, current: usize, desired: usize, maximum: Option<usize>, unit: u64) -> bool {
        let bytes = (desired.saturating_sub(current) as u64).saturating_mul(unit);
        let wanted = self.memory.saturating_add(bytes);
        let fits = maximum.is_none_or(|maximum| desired <= maximum) && wanted <= self.memory_limit;
        if fits {
            self.memory = wanted;
        } else {
            self.memory_refused = true;
        }
        fits
    }
}

/// Sums over all memories and tables of the instance; wasmtime's own limits are for each alone.
impl wasmtime::ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.growing(current, desired, maximum, 1))
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory_refused = true;
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(self.growing(current, desired, maximum, TABLE_ELEMENT))
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        self.memory_refused = true;
        Ok(())
    }
}
