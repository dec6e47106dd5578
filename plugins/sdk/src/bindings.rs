//! What `wit-bindgen` makes of the contracts in `wit/`: types, imports and the export macros.
//!
//! Owns no state. Nothing here is written by hand; the friendly face of it is the rest of this
//! crate. An import that an agent never calls is absent from its component.
#![allow(missing_docs, unsafe_code, unreachable_pub, clippy::all)]

wit_bindgen::generate!({
    inline: "
        package stockade:sdk;

        world sdk {
            include stockade:agent/plugin@0.1.0;
            include stockade:system/imports@0.1.0;
            include wasi:logging/imports@0.1.0-draft;
            include wasi:config/imports@0.2.0-rc.1;
        }
    ",
    path: ["wit/agent", "wit/system", "wit/logging", "wit/config"],
    world: "stockade:sdk/sdk",
    pub_export_macro: true,
    export_macro_name: "export_agent",
    default_bindings_module: "stockade_sdk::bindings",
    additional_derives: [PartialEq],
    generate_all,
});

/// The optional interface `health`, apart from the rest so that only an agent that has it exports it.
pub mod health {
    wit_bindgen::generate!({
        inline: "
            package stockade:sdk-health;

            world sdk-health {
                export stockade:agent/health@0.1.0;
            }
        ",
        path: ["wit/agent"],
        world: "stockade:sdk-health/sdk-health",
        pub_export_macro: true,
        export_macro_name: "export_health",
        default_bindings_module: "stockade_sdk::bindings::health",
        generate_all,
    });
}
