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
    /// Fuel for host work that is not paid yet.
    owed: u64,
}

/// Fuel for a call into the host, whatever it does: what entering and leaving costs.
pub(crate) const CALL_FUEL: u64 = 100;
/// Fuel for each byte that a host call is given, gives or makes.
pub(crate) const BYTE_FUEL: u64 = 1;
/// Fuel for each handle that is waited for.
pub(crate) const HANDLE_FUEL: u64 = 300;
/// Fuel for each line that is told apart from the next.
pub(crate) const LINE_FUEL: u64 = 30;
/// The most bytes that one call into the host may pass: they are copied before a host function
/// runs, so that nothing else bounds them.
pub(crate) const ONE_CALL_BYTES: u64 = 256 * 1024;
/// What one call may always pass, since the host's own interfaces need a little.
const LEAST_CALL_BYTES: u64 = 4 * 1024;

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
            owed: 0,
        }
    }

    /// Charges fuel for work of the host. It is paid as the host call returns, so the amount must
    /// depend on the call's arguments alone: a call that is run again costs the same.
    pub(crate) fn owe(&mut self, fuel: u64) {
        self.owed = self.owed.saturating_add(fuel);
    }

    /// What is to be paid now.
    pub(super) fn take_owed(&mut self) -> u64 {
        std::mem::take(&mut self.owed)
    }

    /// The most bytes that the next call into the host may pass.
    pub fn one_call_bytes(&self) -> u64 {
        let left = self.host_bytes_limit.saturating_sub(self.host_bytes);
        left.clamp(LEAST_CALL_BYTES, ONE_CALL_BYTES)
    }

    /// The most bytes that memories and tables held at once. They never shrink.
    pub fn peak_memory(&self) -> u64 {
        self.memory
    }

    /// Whether growth was refused, and none was granted since: a guest that ends itself then had no
    /// way to go on.
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
        self.owe(CALL_FUEL);
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
        self.owe((bytes as u64).saturating_mul(BYTE_FUEL));
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
            self.memory_refused = false;
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
