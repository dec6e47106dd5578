//! `[engine]`: the pool that instances come from, and compiling. A change needs a restart.

use std::time::Duration;

use super::key::{HOUR, Key, PAGE, WASM32, count, count_otherwise, flag, size, time};
use super::quantity::{GIB, KIB, MIB};
use super::report::Report;
use super::section::Section;

/// `[engine]`. Sizes in bytes.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineConfig {
    /// `max_instances`: sandboxes that can exist at once. Default 256.
    pub max_instances: u32,
    /// `trial_instances`: sandboxes in addition to those, for trying new versions. Default 16.
    pub trial_instances: u32,
    /// `max_memory`: the most that any agent's `limits.memory` may ask for. Default 256 MiB.
    pub max_memory: u64,
    /// `max_core_instances`: core modules in one component. Default 32.
    pub max_core_instances: u32,
    /// `max_memories`: linear memories in one component. Default 8.
    pub max_memories: u32,
    /// `max_tables`: tables in one component. Default 32.
    pub max_tables: u32,
    /// `max_table_elements`: elements in one table. Default 100,000.
    pub max_table_elements: u32,
    /// `max_core_instance_size`: the engine's own bookkeeping for one core instance. Default 1 MiB.
    pub max_core_instance_size: u64,
    /// `max_component_size`: the largest component file. Default 64 MiB.
    pub max_component_size: u64,
    /// `guest_threads`: threads that run guests. Default: the number of processors.
    pub guest_threads: u32,
    /// `compile_jobs`: components compiled at once. Default: the number of processors, at most 4.
    pub compile_jobs: u32,
    /// `compile_memory`: memory that compiling one component may take. Default 2 GiB.
    pub compile_memory: u64,
    /// `compile_time`: processor time that compiling one component may take. Default 60 s.
    pub compile_time: Duration,
    /// `fuel_yield_interval`: units of fuel after which a guest lets others run. Default 100,000.
    pub fuel_yield_interval: u64,
    /// `cache`: whether compiled code is kept on disk. Default true.
    pub cache: bool,
    /// `cache_size`: how many bytes of compiled code are kept. Default 8 GiB.
    pub cache_size: u64,
}

/// The keys of `[engine]`.
pub(super) const KEYS: &[Key] = &[
    Key::new(
        "max_instances",
        count(1, 65_536, 256),
        "sandboxes that can exist at once, of calls that compute and of calls that wait for the host; one in eight is kept for agents that have none",
    )
    .at_restart(),
    Key::new(
        "trial_instances",
        count(1, 1_024, 16),
        "sandboxes in addition to those, in which new versions describe and test themselves: so many at once",
    )
    .at_restart(),
    Key::new("max_memory", size(PAGE, WASM32, 256 * MIB), "the most that any agent's `limits.memory` may be")
        .at_restart(),
    Key::new("max_core_instances", count(1, 1_000, 32), "core modules in one component").at_restart(),
    Key::new("max_memories", count(1, 1_000, 8), "linear memories in one component").at_restart(),
    Key::new("max_tables", count(1, 10_000, 32), "tables in one component").at_restart(),
    Key::new("max_table_elements", count(1, 10_000_000, 100_000), "elements in one table").at_restart(),
    Key::new(
        "max_core_instance_size",
        size(PAGE, 64 * MIB, MIB),
        "the engine's own bookkeeping for one core module",
    )
    .at_restart(),
    Key::new("max_component_size", size(KIB, GIB, 64 * MIB), "the largest component file").at_restart(),
    Key::new("guest_threads", count_otherwise(1, 1_024), "threads that run agents")
        .default_in_words("the number of processors")
        .at_restart(),
    Key::new("compile_jobs", count_otherwise(1, 256), "components compiled at once")
        .default_in_words("the number of processors, at most 4")
        .at_restart(),
    Key::new(
        "compile_memory",
        size(256 * MIB, 256 * GIB, 2 * GIB),
        "memory that compiling one component may take, where `serve` does it in a process of its own",
    )
    .at_restart(),
    Key::new(
        "compile_time",
        time(1_000, HOUR, 60_000),
        "processor time that it may take, in whole seconds; four times that by the clock",
    )
    .at_restart(),
    Key::new(
        "fuel_yield_interval",
        count(1_000, 1_000_000_000, 100_000),
        "units of fuel after which an agent lets others run",
    )
    .at_restart(),
    Key::new("cache", flag(true), "whether compiled code is kept on disk").at_restart(),
    Key::new(
        "cache_size",
        size(64 * MIB, 1024 * GIB, 8 * GIB),
        "how much compiled code is kept on disk; what was not used for longest goes first",
    )
    .at_restart(),
];

/// Reads `[engine]`.
pub(super) fn read(report: &mut Report<'_>, section: &Section<'_, '_>) -> EngineConfig {
    let processors =
        std::thread::available_parallelism().map_or(1, |n| u32::try_from(n.get()).unwrap_or(1_024));
    EngineConfig {
        max_instances: section.count(report, "max_instances"),
        trial_instances: section.count(report, "trial_instances"),
        max_memory: section.number(report, "max_memory"),
        max_core_instances: section.count(report, "max_core_instances"),
        max_memories: section.count(report, "max_memories"),
        max_tables: section.count(report, "max_tables"),
        max_table_elements: section.count(report, "max_table_elements"),
        max_core_instance_size: section.number(report, "max_core_instance_size"),
        max_component_size: section.number(report, "max_component_size"),
        guest_threads: section.count_if_set(report, "guest_threads").unwrap_or(processors.min(1_024)),
        compile_jobs: section.count_if_set(report, "compile_jobs").unwrap_or(processors.min(4)),
        compile_memory: section.number(report, "compile_memory"),
        compile_time: section.duration(report, "compile_time"),
        fuel_yield_interval: section.number(report, "fuel_yield_interval"),
        cache: section.flag(report, "cache"),
        cache_size: section.number(report, "cache_size"),
    }
}
