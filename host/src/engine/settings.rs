//! wasmtime's settings, from ours. The figures behind them are in `benches/README.md`.

use std::num::NonZeroUsize;

use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig, WasmBacktraceDetails};

use super::frames;
use crate::config::EngineConfig;

/// What stays mapped in a slot between two calls, in bytes. More is zeroed for nothing, less
/// faults pages in again.
const MEMORY_KEEP_RESIDENT: usize = 128 * 1024;
const TABLE_KEEP_RESIDENT: usize = 8 * 1024;
const STACK_KEEP_RESIDENT: usize = 64 * 1024;

/// The engine's settings: components, fuel, and a pool in which every component that the
/// limits allow fits `max_instances` times.
pub(super) fn running(config: &EngineConfig) -> Config {
    let mut wasmtime = compiling();
    wasmtime.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(config)));
    wasmtime
}

/// What compiled code depends on: the same wherever it is compiled. The pool is no part of it,
/// and costs a process that only compiles its start.
pub(super) fn compiling() -> Config {
    let mut wasmtime = Config::new();
    wasmtime.wasm_component_model(true);
    wasmtime.consume_fuel(true);
    wasmtime.memory_init_cow(true);
    // Said here, or it would depend on the environment, which a compiling child has not.
    wasmtime.wasm_backtrace_details(WasmBacktraceDetails::Disable);
    wasmtime.wasm_backtrace_max_frames(NonZeroUsize::new(frames::EXAMINED));
    // The same code computes the same on every machine, to the same fuel.
    wasmtime.cranelift_nan_canonicalization(true);
    wasmtime.relaxed_simd_deterministic(true);
    wasmtime
}

fn pool(config: &EngineConfig) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    let all = config.max_instances.saturating_add(config.trial_instances);
    pool.total_component_instances(all)
        .total_core_instances(all.saturating_mul(config.max_core_instances))
        .total_memories(all.saturating_mul(config.max_memories))
        .total_tables(all.saturating_mul(config.max_tables))
        .total_stacks(all)
        .max_core_instances_per_component(config.max_core_instances)
        .max_memories_per_component(config.max_memories)
        .max_tables_per_component(config.max_tables)
        .max_memories_per_module(config.max_memories)
        .max_tables_per_module(config.max_tables)
        .table_elements(config.max_table_elements as usize)
        .max_memory_size(usize::try_from(config.max_memory).unwrap_or(usize::MAX))
        .max_core_instance_size(usize::try_from(config.max_core_instance_size).unwrap_or(usize::MAX))
        .max_component_instance_size(usize::try_from(config.max_core_instance_size).unwrap_or(usize::MAX))
        .linear_memory_keep_resident(MEMORY_KEEP_RESIDENT)
        .table_keep_resident(TABLE_KEEP_RESIDENT)
        .async_stack_keep_resident(STACK_KEEP_RESIDENT)
        .pagemap_scan(Enabled::Auto);
    pool
}

#[cfg(test)]
mod tests {
    use std::hash::{DefaultHasher, Hash, Hasher};

    use super::*;

    fn compatibility(config: &Config) -> u64 {
        let engine = wasmtime::Engine::new(config).expect("an engine");
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        hasher.finish()
    }

    #[test]
    fn code_of_other_settings_is_other_code() {
        let ours = compatibility(&compiling());
        assert_eq!(ours, compatibility(&compiling()));
        let mut loose = compiling();
        loose.cranelift_nan_canonicalization(false);
        assert_ne!(ours, compatibility(&loose));
        let mut loose = compiling();
        loose.relaxed_simd_deterministic(false);
        assert_ne!(ours, compatibility(&loose));
    }
}
