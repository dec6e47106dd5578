//! `[defaults.limits]` and an agent's `limits`: what one call may spend.

use std::time::Duration;

use super::EngineConfig;
use super::key::{HOUR, Key, PAGE, WASM32, count, size, time};
use super::quantity::{GIB, KIB, MIB, show_size};
use super::report::Report;
use super::section::Section;

/// What one call may spend. Sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// `fuel`: units; about one a WebAssembly instruction. Default 1,000,000,000.
    pub fuel: u64,
    /// `timeout`: from acceptance to answer, the queue and host calls included. Default 30 s.
    pub timeout: Duration,
    /// `memory`: all linear memories and tables of the instance together. Default 64 MiB.
    pub memory: u64,
    /// `output`: response, data and model together. Default 1 MiB.
    pub output: u64,
    /// `host_calls`: calls into capabilities. Default 10,000.
    pub host_calls: u64,
    /// `host_bytes`: bytes to and from capabilities. Default 16 MiB.
    pub host_bytes: u64,
    /// `handles`: resources that the guest may hold at once. Default 1,000.
    pub handles: u32,
    /// `log`: bytes of log, stdout and stderr together, that are kept of one call. Default 64 KiB.
    pub log: u64,
}

/// The keys of `[defaults.limits]` and of an agent's `limits`.
pub(super) const KEYS: &[Key] = &[
    Key::new(
        "fuel",
        count(1_000, 1_000_000_000_000_000, 1_000_000_000),
        "computing: about one unit a WebAssembly instruction",
    ),
    Key::new(
        "timeout",
        time(1, 24 * HOUR, 30_000),
        "from acceptance to answer, the queue and host calls included",
    ),
    Key::new(
        "memory",
        size(PAGE, WASM32, 64 * MIB),
        "all linear memories and tables of one instance together; at most `engine.max_memory`, which also caps the default",
    ),
    Key::new("output", size(1, GIB, MIB), "response, data and model together"),
    Key::new("host_calls", count(0, 1_000_000_000, 10_000), "calls into capabilities"),
    Key::new("host_bytes", size(0, 1_024 * GIB, 16 * MIB), "bytes to and from capabilities"),
    Key::new("handles", count(1, 1_000_000, 1_000), "resources that an agent may hold at once"),
    Key::new("log", size(0, GIB, 64 * KIB), "log, stdout and stderr that are kept of one call"),
];

/// Reads limits over `base`.
pub(super) fn read(
    report: &mut Report<'_>,
    section: &Section<'_, '_>,
    base: Limits,
    engine: &EngineConfig,
) -> Limits {
    let Limits { fuel, timeout, memory, output, host_calls, host_bytes, handles, log } = base;
    let limits = Limits {
        fuel: section.number_if_set(report, "fuel").unwrap_or(fuel),
        timeout: section.duration_if_set(report, "timeout").unwrap_or(timeout),
        memory: section.number_if_set(report, "memory").unwrap_or(memory),
        output: section.number_if_set(report, "output").unwrap_or(output),
        host_calls: section.number_if_set(report, "host_calls").unwrap_or(host_calls),
        host_bytes: section.number_if_set(report, "host_bytes").unwrap_or(host_bytes),
        handles: section.count_if_set(report, "handles").unwrap_or(handles),
        log: section.number_if_set(report, "log").unwrap_or(log),
    };
    if let Some(entry) = section.get("memory")
        && !report.is_wrong(&entry.path)
        && !report.is_wrong("engine.max_memory")
        && limits.memory > engine.max_memory
    {
        let (wanted, most) = (show_size(limits.memory), show_size(engine.max_memory));
        report.wrong_in_context(
            entry.value.span(),
            &entry.path,
            format!("`{}` is {wanted}, but `engine.max_memory` is {most}", entry.path),
            format!("lower it to {most}, or raise `max_memory` in [engine] to {wanted}"),
        );
    }
    limits
}

/// What one call may spend without any settings.
pub(super) fn built_in(report: &mut Report<'_>, engine: &EngineConfig) -> Limits {
    let section = &Section::absent(KEYS);
    Limits {
        fuel: section.number(report, "fuel"),
        timeout: section.duration(report, "timeout"),
        memory: section.number(report, "memory").min(engine.max_memory),
        output: section.number(report, "output"),
        host_calls: section.number(report, "host_calls"),
        host_bytes: section.number(report, "host_bytes"),
        handles: section.count(report, "handles"),
        log: section.number(report, "log"),
    }
}
