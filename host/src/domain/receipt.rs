//! What a call spent.

use serde::Serialize;

/// What one call spent, whether it succeeded, trapped or was cancelled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Receipt {
    /// Fuel that the guest burnt: about one unit a WebAssembly instruction, and what its host calls were charged.
    pub fuel: u64,
    /// The most that all memories and tables of the instance held at once, in bytes.
    pub peak_memory_bytes: u64,
    /// Milliseconds in the sandbox, host calls included.
    pub wall_ms: f64,
    /// Milliseconds in the queue before that.
    pub queue_ms: f64,
    /// Milliseconds, of those after the queue, in which the call could have gone on and no thread for
    /// guests was free: before its first turn and between its turns. A call that never got a turn has
    /// these and no `wall_ms`.
    pub run_queue_ms: f64,
    /// Bytes of the answer: response, data and model.
    pub output_bytes: u64,
    /// Calls from the guest into a capability.
    pub host_calls: u64,
    /// Bytes that passed between the guest and capabilities, both ways.
    pub host_bytes: u64,
}
