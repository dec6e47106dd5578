//! Everything that an author of a Stockade agent needs: implement [`Agent`], name it in [`agent!`].
//!
//! Owns no state. It must know nothing of the host beyond the contracts in `wit/`.
//!
//! ```
//! use stockade_sdk::{Agent, Description, Failure, Reply, Task};
//!
//! struct Greeter;
//!
//! impl Agent for Greeter {
//!     fn describe() -> Description {
//!         Description::new("Greeter", "Greets whoever asks for it.")
//!             .version(env!("CARGO_PKG_VERSION"))
//!             .category("social")
//!             .triggers(["hello", "greet"])
//!             .examples(["Say hello to Ada"])
//!     }
//!
//!     fn handle(task: Task) -> Result<Reply, Failure> {
//!         Ok(Reply::text(format!("Hello! You said: {}", task.query)))
//!     }
//! }
//!
//! stockade_sdk::agent!(Greeter);
//! # fn main() {}
//! ```
//!
//! The crate that holds the agent is a `cdylib`; `cargo build --release --target wasm32-wasip2`
//! makes the component. What the agent uses of [`system`], [`config`] and [`log`] becomes its
//! imports, and so what has to be granted to it; what it does not use is not there.
//!
//! A panic ends the call. Its message goes to the agent's log and to whoever operates the host,
//! never to the caller: for the caller, return a [`Failure`].

#[doc(hidden)]
pub mod bindings;
pub mod config;
mod description;
mod failure;
pub mod log;
mod reply;
pub mod system;
mod task;

pub use bindings::exports::stockade::agent::agent::{Description, Example, Failure, Reply, Task};
pub use serde_json::{Value, json};

/// An agent: what it says about itself, and how it answers a task.
pub trait Agent {
    /// Says what this agent is. Called as the agent is loaded, with every gated capability refused
    /// and one second to answer in: state facts, look nothing up.
    fn describe() -> Description;

    /// Answers one task.
    ///
    /// Each call runs in a sandbox made for it: nothing that is kept in a static is there the next
    /// time (unless the operator turned reuse on), and no other call is disturbed by this one.
    ///
    /// # Errors
    /// A [`Failure`] says why there is no answer; its message is shown to the caller.
    fn handle(task: Task) -> Result<Reply, Failure>;
}

/// What an agent adds if it can tell whether it is fit to work: `agent!(X, health)`.
pub trait Health {
    /// Whether the agent could answer tasks now.
    ///
    /// # Errors
    /// Says, for the operator, why not.
    fn check() -> Result<(), String>;
}

/// Prints a panic on standard error as one line that begins with its place, without the advice on
/// backtraces that would follow: the host shows the end of standard error beside a trap.
#[doc(hidden)]
pub fn panics_in_one_line() {
    #[allow(clippy::print_stderr)]
    std::panic::set_hook(Box::new(|panic| {
        let message = panic.payload_as_str().unwrap_or("a panic whose message is no text");
        match panic.location() {
            Some(place) => eprintln!("panicked at {place}: {message}"),
            None => eprintln!("panicked: {message}"),
        }
    }));
}

/// Makes a component of a type that implements [`Agent`]; use it once in a crate.
///
/// `agent!(X)` exports the agent; `agent!(X, health)` exports its [`Health`] too.
#[macro_export]
macro_rules! agent {
    ($agent:ty) => {
        #[allow(unsafe_code)]
        const _: () = {
            struct Exported;

            impl $crate::bindings::exports::stockade::agent::agent::Guest for Exported {
                fn describe() -> $crate::Description {
                    $crate::panics_in_one_line();
                    <$agent as $crate::Agent>::describe()
                }

                fn handle(task: $crate::Task) -> ::core::result::Result<$crate::Reply, $crate::Failure> {
                    $crate::panics_in_one_line();
                    <$agent as $crate::Agent>::handle(task)
                }
            }

    $crate::bindings::export_agent!(Exported with_types_in $crate::bindings);
        };
    };
    ($agent:ty, health) => {
        $crate::agent!($agent);

        #[allow(unsafe_code)]
        const _: () = {
            struct Exported;

            impl $crate::bindings::health::exports::stockade::agent::health::Guest for Exported {
                fn check() -> ::core::result::Result<(), ::std::string::String> {
                    <$agent as $crate::Health>::check()
                }
            }

    $crate::bindings::health::export_health!(Exported with_types_in $crate::bindings::health);
        };
    };
}
