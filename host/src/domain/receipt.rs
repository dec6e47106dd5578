//! What a call spent. Whole numbers only: receipts are added up and compared.

use serde::{Deserialize, Serialize};

use super::Micros;

/// What one call spent, whether it succeeded, trapped or was cancelled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Receipt {
    /// Fuel that the guest burnt: about one unit a WebAssembly instruction, and what its host calls were charged.
    pub fuel: u64,
    /// The most that all memories and tables of the instance held at once, in bytes.
    pub peak_memory_bytes: u64,
    /// Milliseconds in the sandbox, host calls included.
    #[serde(rename = "wall_ms")]
    pub wall: Micros,
    /// Milliseconds in the queue before that.
    #[serde(rename = "queue_ms")]
    pub queue: Micros,
    /// Milliseconds, of those after the queue, in which the call could have gone on and no thread for
    /// guests was free: before its first turn and between its turns. A call that never got a turn has
    /// these and no `wall_ms`.
    #[serde(rename = "run_queue_ms")]
    pub run_queue: Micros,
    /// Bytes of the answer: response, data and model.
    pub output_bytes: u64,
    /// Calls from the guest into a capability.
    pub host_calls: u64,
    /// Bytes that passed between the guest and capabilities, both ways.
    pub host_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_has_the_promised_names_and_is_read_again() {
        let receipt = Receipt {
            fuel: u64::MAX,
            peak_memory_bytes: 2,
            wall: Micros::new(1_001),
            queue: Micros::new(7),
            run_queue: Micros::new(30_000_000),
            output_bytes: 3,
            host_calls: 4,
            host_bytes: 5,
        };
        let json = serde_json::to_value(receipt).expect("JSON");
        let expected = serde_json::json!({
            "fuel": u64::MAX, "peak_memory_bytes": 2, "wall_ms": 1.001, "queue_ms": 0.007,
            "run_queue_ms": 30_000.0, "output_bytes": 3, "host_calls": 4, "host_bytes": 5,
        });
        assert_eq!(json, expected);
        assert_eq!(serde_json::from_value::<Receipt>(json).expect("a receipt"), receipt);
    }
}
