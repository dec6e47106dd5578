//! Generated code for the contracts in `wit/`, one module per version.
//!
//! Published versions never change: when a contract gets a new one, its module comes beside
//! these and the old one delegates to it. What capabilities share with each version is converted in a file
//! a capability. No policy here.

mod system;

// Generated items have no docs of ours, and are public as the macro makes them.
#[allow(missing_docs, unreachable_pub, clippy::all)]
pub mod v0_1 {
    //! Version 0.1 of `stockade:agent` and of the capabilities that came with it.
    wasmtime::component::bindgen!({
        inline: "
            package stockade:host@0.1.0;
            world guest {
                import stockade:system/system@0.1.0;
                import wasi:logging/logging@0.1.0-draft;
                import wasi:config/store@0.2.0-rc.1;
                export stockade:agent/agent@0.1.0;
            }
        ",
        path: ["../wit/agent", "../wit/system", "../wit/logging", "../wit/config"],
        world: "stockade:host/guest",
        imports: {
            "stockade:system/system@0.1.0": async | trappable,
            default: trappable,
        },
        exports: { default: async },
    });
}

/// The interface that makes a component an agent.
pub const AGENT_INTERFACE: &str = "stockade:agent/agent@0.1.0";
/// The interface that an agent may export besides.
pub const HEALTH_INTERFACE: &str = "stockade:agent/health@0.1.0";
