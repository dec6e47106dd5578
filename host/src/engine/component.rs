//! A component that is compiled, checked against the contract, and linked.

use std::collections::BTreeSet;

use wasmtime::component::{Component, Linker};

use super::lines::Lines;
use super::meaning;
use crate::bindings::v0_1::GuestPre;
use crate::bindings::{AGENT_INTERFACE, HEALTH_INTERFACE};
use crate::capabilities::CallState;
use crate::capabilities::interfaces::{Decision, INTERFACES, decision};
use crate::domain::{Capability, Digest};

/// Why a component cannot serve. Each message says what to change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// Nothing in the file.
    #[error("the file is empty; build the plugin again (`stockade build`)")]
    Empty,
    /// Larger than allowed.
    #[error(
        "the component has {size} bytes, and `max_component_size` in [engine] allows {limit}; strip it, or raise the setting"
    )]
    TooLarge {
        /// Its bytes.
        size: u64,
        /// The bytes allowed.
        limit: u64,
    },
    /// Not a component but a core module.
    #[error(
        "this is a core WebAssembly module, not a component; build it for `wasm32-wasip2`, or wrap it with `wasm-tools component new`"
    )]
    CoreModule,
    /// Native code.
    #[error(
        "this is compiled native code, which is never taken from a file; give the component itself (.wasm)"
    )]
    Compiled,
    /// Something else altogether.
    #[error("this is not WebAssembly; give a component, which `stockade build` makes")]
    NotWebAssembly,
    /// wasmtime does not take it.
    #[error("the component is not valid: {0}; build it again, and with current tools if that does not help")]
    Invalid(String),
    /// It does not export the contract.
    #[error(
        "the component does not export `{AGENT_INTERFACE}`; it exports {found}. Implement the world `stockade:agent/plugin` (in Rust: `stockade_sdk::agent!`)"
    )]
    NotAnAgent {
        /// What it exports instead.
        found: String,
    },
    /// It imports what nobody here provides.
    #[error(
        "the component imports `{import}`, which this host does not provide; it provides {known}. Remove the import, or build against an interface from that list"
    )]
    UnknownImport {
        /// The import's name.
        import: String,
        /// What there is.
        known: String,
    },
    /// The contract's or an import's signature differs.
    #[error("the component does not fit the contract: {0}; build it against the WIT files of this host")]
    Mismatch(String),
    /// One instance can never fit the pool.
    #[error(
        "the component can never run: it does not fit the pool: {0}; raise `max_memory`, `max_core_instances`, `max_memories`, `max_tables` or `max_table_elements` in [engine], or make the component smaller"
    )]
    NeverFits(String),
    /// Compiling it took too much memory.
    #[error(
        "compiling took more than `compile_memory` ({limit} bytes); raise it in [engine], or make the component smaller"
    )]
    CompileMemory {
        /// Bytes allowed.
        limit: u64,
    },
    /// Compiling it took too long.
    #[error(
        "compiling took more than `compile_time` ({seconds} s of processor time); raise it in [engine], or make the component smaller"
    )]
    CompileTime {
        /// Seconds of processor time allowed.
        seconds: u64,
    },
    /// The compiler itself failed.
    #[error(
        "the compiler failed on the component: {0}; the host serves on. Build the component again with other tools or options, and please report it if that does not help"
    )]
    CompilerFailed(String),
    /// The host is stopping.
    #[error("loading was interrupted; the host is stopping")]
    Interrupted,
}

/// Compiled code in its place in memory.
pub(super) struct Loaded {
    pub(super) component: Component,
    pub(super) lines: Option<Lines>,
}

/// What a component says of itself without being run.
pub(super) struct Inspected {
    imports: Vec<String>,
    capabilities: BTreeSet<Capability>,
    exports_health: bool,
}

/// Checks imports and exports by name.
pub(super) fn inspect(engine: &wasmtime::Engine, component: &Component) -> Result<Inspected, LoadError> {
    let kind = component.component_type();
    let mut imports: Vec<String> = kind.imports(engine).map(|(name, _)| name.to_owned()).collect();
    imports.sort();
    let mut capabilities = BTreeSet::new();
    for import in &imports {
        match decision(import) {
            Some(Decision::Gated(capability)) => {
                capabilities.insert(capability);
            }
            Some(Decision::Contract | Decision::Ambient | Decision::Own) => {}
            None => {
                return Err(LoadError::UnknownImport { import: import.clone(), known: known_interfaces() });
            }
        }
    }
    let exports: Vec<&str> = kind.exports(engine).map(|(name, _)| name).collect();
    if !exports.contains(&AGENT_INTERFACE) {
        let found = if exports.is_empty() {
            "nothing".to_owned()
        } else {
            exports.iter().take(10).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        };
        return Err(LoadError::NotAnAgent { found });
    }
    let exports_health = exports.contains(&HEALTH_INTERFACE);
    Ok(Inspected { imports, capabilities, exports_health })
}

/// The interfaces that are not ambient, and a word for those that are.
fn known_interfaces() -> String {
    let shown = INTERFACES.iter().filter(|interface| match interface.decision {
        Decision::Own | Decision::Gated(_) => true,
        Decision::Contract | Decision::Ambient => false,
    });
    let mut names: Vec<&str> = shown.map(|interface| interface.name).collect();
    names.push("WASI 0.2's cli, clocks, filesystem, io, random and sockets (inert)");
    names.join(", ")
}

/// A component that is ready to be instantiated.
pub struct LinkedComponent {
    pub(super) linked: GuestPre<CallState>,
    /// Its instructions' places in its author's source, where they are known.
    pub(super) lines: Option<Lines>,
    component: Component,
    digest: Digest,
    size: u64,
    imports: Vec<String>,
    capabilities: BTreeSet<Capability>,
    exports_health: bool,
}

impl LinkedComponent {
    pub(super) fn link(
        linker: &Linker<CallState>,
        loaded: Loaded,
        inspected: Inspected,
        digest: Digest,
        size: u64,
    ) -> Result<Self, LoadError> {
        let mismatch = |error: wasmtime::Error| LoadError::Mismatch(meaning::words(&error, 500));
        let Loaded { component, lines } = loaded;
        let pre = linker.instantiate_pre(&component).map_err(mismatch)?;
        let linked = GuestPre::new(pre).map_err(mismatch)?;
        let Inspected { imports, capabilities, exports_health } = inspected;
        Ok(Self { linked, lines, component, digest, size, imports, capabilities, exports_health })
    }

    /// The SHA-256 of the component's bytes.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The size of the component's file, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The interfaces that it imports, sorted.
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// The gated capabilities among them.
    pub fn capabilities(&self) -> &BTreeSet<Capability> {
        &self.capabilities
    }

    /// Whether it exports `stockade:agent/health`.
    pub fn exports_health(&self) -> bool {
        self.exports_health
    }

    /// The memory that one instance needs at the least, in bytes, where that can be told.
    pub fn least_memory(&self) -> Option<u64> {
        let needs = self.component.resources_required()?;
        Some(needs.max_initial_memory_size.unwrap_or(0).saturating_mul(64 * 1024))
    }
}
