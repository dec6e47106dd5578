//! What wasmtime's errors mean where they have no type of their own. The one place that reads the
//! library's texts.
//!
//! Only the root cause is compared, with whole texts that the library writes itself. A guest names
//! functions, exports and modules, and errors are rendered with those names: nothing is ever looked
//! for within a text. The tests here fail when another version of the library says it otherwise.

use wasmtime::Error;

/// Too much was passed between guest and host in one host call. Its type is private.
const TRANSFER: &str = "too much data is being copied between the host and the guest: \
                        fuel allocated for hostcalls has been exhausted";
/// The guest holds as many handles as it may. These have no type.
const HANDLES: &[&str] = &[
    "cannot allocate another handle: store handle limit exceeded",
    "cannot lend resource: store handle limit exceeded",
];
/// A text of the library is no longer than this.
const LONGEST: usize = 200;

/// A limit of wasmtime's own that a guest met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Limit {
    /// What one host call may pass.
    Transfer,
    /// How many handles a store may hold.
    Handles,
}

/// Which limit of wasmtime's own an error is, if it is one.
pub(super) fn limit(error: &Error) -> Option<Limit> {
    let root = bounded(error.root_cause(), LONGEST);
    if root == TRANSFER {
        Some(Limit::Transfer)
    } else if HANDLES.contains(&root.as_str()) {
        Some(Limit::Handles)
    } else {
        None
    }
}

/// An error's own words and those of what caused it, at most `chars` characters of each, without the
/// layer that is the guest's functions: rendering it would render their names. `frames.rs` shows them.
pub(super) fn words(error: &Error, chars: usize) -> String {
    let frames = error.downcast_ref::<wasmtime::WasmBacktrace>();
    let are_frames = |layer: &(dyn std::error::Error + 'static)| {
        frames.is_some_and(|frames| std::ptr::addr_eq(std::ptr::from_ref(layer), std::ptr::from_ref(frames)))
    };
    let words: Vec<String> =
        error.chain().filter(|layer| !are_frames(*layer)).map(|layer| bounded(layer, chars)).collect();
    words.join(": ")
}

/// The first `chars` characters of what is shown; what comes after them is never made.
pub(super) fn bounded(shown: impl std::fmt::Display, chars: usize) -> String {
    use std::fmt::Write;

    let mut text = Bounded { text: String::new(), left: chars };
    // Its only error is that it is full.
    let _ = write!(text, "{shown}");
    text.text
}

/// A writer that stops whoever writes to it once it is full.
struct Bounded {
    text: String,
    left: usize,
}

impl std::fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        match text.char_indices().nth(self.left) {
            None => {
                self.left -= text.chars().count();
                self.text.push_str(text);
                Ok(())
            }
            Some((end, _)) => {
                self.left = 0;
                self.text.push_str(&text[..end]);
                Err(std::fmt::Error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use wasmtime::component::{Component, Linker};
    use wasmtime::{Config, Engine, Store, Trap, WasmBacktrace};

    use super::*;

    /// Runs `run` of a component in a store with tight limits of wasmtime's own.
    fn ended(text: &str) -> Error {
        let mut config = Config::new();
        config.wasm_component_model(true);
        let engine = Engine::new(&config).expect("an engine");
        let bytes = wat::parse_str(text).expect("a text");
        let component = Component::new(&engine, bytes).expect("a component");
        let mut linker = Linker::<()>::new(&engine);
        linker.root().func_wrap("take", |_, (_text,): (String,)| Ok(())).expect("an import");
        let mut store = Store::new(&engine, ());
        store.set_hostcall_fuel(1_000);
        store.set_max_component_handles(10);
        let instance = linker.instantiate(&mut store, &component).expect("an instance");
        let run = instance.get_typed_func::<(), ()>(&mut store, "run").expect("a function");
        run.call(&mut store, ()).expect_err("an error")
    }

    /// A component that passes a text of so many bytes to the host, in a function of this name.
    fn passes(bytes: u32, name: &str) -> String {
        format!(
            r#"(component
                (import "take" (func $take (param "text" string)))
                (core module $libc (memory (export "memory") 1))
                (core instance $libc (instantiate $libc))
                (alias core export $libc "memory" (core memory $memory))
                (core func $take' (canon lower (func $take) (memory $memory)))
                (core module $m
                    (import "" "take" (func $take (param i32 i32)))
                    (func ${name:?} (export "run") i32.const 0 i32.const {bytes} call $take unreachable))
                (core instance $i (instantiate $m (with "" (instance (export "take" (func $take'))))))
                (func (export "run") (canon lift (core func $i "run"))))"#
        )
    }

    #[test]
    fn the_librarys_texts_are_as_they_were() {
        assert_eq!(limit(&ended(&passes(10_000, "run"))), Some(Limit::Transfer));
        let handles = r#"(component
            (type $r (resource (rep i32)))
            (core func $new (canon resource.new $r))
            (core module $m
                (import "" "new" (func $new (param i32) (result i32)))
                (func (export "run") (loop (drop (call $new (i32.const 7))) (br 0))))
            (core instance $i (instantiate $m (with "" (instance (export "new" (func $new))))))
            (func (export "run") (canon lift (core func $i "run"))))"#;
        assert_eq!(limit(&ended(handles)), Some(Limit::Handles));
    }

    #[test]
    fn a_guests_names_mean_nothing() {
        for name in HANDLES.iter().chain([&TRANSFER]) {
            let error = ended(&passes(1, name));
            assert_eq!(limit(&error), None, "{name}");
            assert_eq!(error.downcast_ref::<Trap>(), Some(&Trap::UnreachableCodeReached));
            let frames = error.downcast_ref::<WasmBacktrace>().expect("frames");
            assert_eq!(frames.frames()[0].func_name(), Some(*name));
        }
    }

    #[test]
    fn the_words_are_the_errors_own() {
        let error = ended(&passes(1, "a name of the guest")).context("while it ran");
        assert_eq!(words(&error, 100), "while it ran: wasm trap: wasm `unreachable` instruction executed");
        assert_eq!(words(&error, 5), "while: wasm ");
    }

    #[test]
    fn what_is_not_shown_is_not_made() {
        struct Endless;
        impl fmt::Display for Endless {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                loop {
                    f.write_str("ab\u{e9}")?;
                }
            }
        }
        assert_eq!(bounded(Endless, 7), "ab\u{e9}ab\u{e9}a");
        assert_eq!(bounded("short", 7), "short");
    }
}
