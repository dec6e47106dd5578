//! Where a guest was when it trapped, for its author: the guest's own functions first, with file
//! and line where they are known. Bounded, and safe to log.

use wasmtime::{FrameInfo, WasmBacktrace};

use super::lines::Lines;

/// How many functions are named.
const MAX_FRAMES: usize = 16;
/// How much of a function's name is shown, in characters.
const MAX_NAME: usize = 160;

/// What begins the names of functions that every program of a language has, and no author wrote.
const RUNTIME: &[&str] = &[
    "std::",
    "core::",
    "alloc::",
    "__rust",
    "rust_",
    "wasi_",
    "wit_bindgen",
    "abort",
    "dlmalloc",
    "wasip2::",
];

/// The error's own words without wasmtime's list of functions, then ours.
pub(super) fn describe(error: &wasmtime::Error, lines: Option<&Lines>) -> String {
    let words: Vec<String> = error
        .chain()
        .map(ToString::to_string)
        .filter(|text| !text.starts_with("error while executing at wasm backtrace"))
        .collect();
    let mut text = words.join(": ");
    if let Some(trace) = error.downcast_ref::<WasmBacktrace>() {
        text.push_str(&frames(trace, lines));
    }
    text
}

fn frames(trace: &WasmBacktrace, lines: Option<&Lines>) -> String {
    let all: Vec<Frame> = trace.frames().iter().map(|frame| Frame::new(frame, lines)).collect();
    // An author looks for their own code, which a panic buries under the runtime's.
    let (mut shown, runtime): (Vec<&Frame>, Vec<&Frame>) = all.iter().partition(|frame| !frame.is_runtime());
    let left_out = if shown.is_empty() {
        shown = runtime;
        0
    } else {
        runtime.len()
    };
    let cut = shown.len().saturating_sub(MAX_FRAMES);
    let mut text: String =
        shown.iter().take(MAX_FRAMES).map(|frame| format!("\n  at {}", frame.text())).collect();
    if cut > 0 {
        text.push_str(&format!("\n  and {cut} more"));
    }
    if left_out > 0 {
        text.push_str(&format!("\n  ({left_out} of the language's runtime are left out)"));
    }
    text
}

struct Frame {
    name: String,
    place: Option<String>,
}

impl Frame {
    fn new(frame: &FrameInfo, lines: Option<&Lines>) -> Self {
        let name = match frame.func_name() {
            Some(name) => format!("{:#}", rustc_demangle::demangle(name)),
            None => format!("function {}", frame.func_index()),
        };
        let offset = frame.module_offset().and_then(|offset| u32::try_from(offset).ok());
        let place = lines.zip(offset).and_then(|(lines, offset)| lines.find(offset));
        Self { name, place: place.map(|place| format!("{}:{}", place.file, place.line)) }
    }

    fn is_runtime(&self) -> bool {
        let name = self.name.trim_start_matches(['<', '&']);
        let library = |place: &String| place.starts_with("/rustc/") || place.contains("wasi-libc");
        RUNTIME.iter().any(|start| name.starts_with(start)) || self.place.as_ref().is_some_and(library)
    }

    fn text(&self) -> String {
        let name = printable(&self.name);
        match &self.place {
            Some(place) => format!("{} {name}", printable(place)),
            None => name,
        }
    }
}

/// A stranger's text in one line of bounded length.
fn printable(text: &str) -> String {
    let mut shown: String =
        text.chars().take(MAX_NAME * 2).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    if let Some((end, _)) = shown.char_indices().nth(MAX_NAME) {
        let rest = shown.split_off(end);
        if !rest.is_empty() {
            shown.push('…');
        }
    }
    shown
}
