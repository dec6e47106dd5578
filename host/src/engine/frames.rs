//! Where a guest was when it trapped, for its author: the guest's own functions first, with file
//! and line where they are known. Bounded, and safe to log.

use std::fmt::Write;

use wasmtime::{FrameInfo, WasmBacktrace};

use super::lines::Lines;
use super::meaning::{self, bounded};
use crate::domain::text::Escaper;

/// How many functions are looked at, from the innermost: wasmtime takes no more.
pub(super) const EXAMINED: usize = 20;
/// How many functions are named.
const MAX_FRAMES: usize = 16;
/// How much of a function's name is shown, in bytes.
const MAX_NAME: usize = 160;
/// The longest name that is unfolded, in bytes. A short name can stand for an endless one, too: no
/// more is unfolded than is shown.
const MAX_FOLDED: usize = 4 * 1024;
/// How much of each of an error's own words is shown, in characters.
const MAX_WORDS: usize = 500;

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
    let mut text = meaning::words(error, MAX_WORDS);
    if let Some(trace) = error.downcast_ref::<WasmBacktrace>() {
        text.push_str(&frames(trace, lines));
    }
    text
}

fn frames(trace: &WasmBacktrace, lines: Option<&Lines>) -> String {
    let all: Vec<Frame> =
        trace.frames().iter().take(EXAMINED).map(|frame| Frame::new(frame, lines)).collect();
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
            Some(name) => unfolded(name),
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

/// The beginning of what a name stands for, and one character more than is shown.
fn unfolded(name: &str) -> String {
    if name.len() > MAX_FOLDED {
        return bounded(name, MAX_NAME + 1);
    }
    bounded(format_args!("{:#}", rustc_demangle::demangle(name)), MAX_NAME + 1)
}

/// A stranger's text in one line of bounded length.
fn printable(text: &str) -> String {
    let mut shown = Escaper::new(String::new(), MAX_NAME);
    // What is too long is cut, which is no failure here.
    let _ = shown.write_str(text);
    shown.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_unfolded_as_far_as_it_is_shown() {
        assert_eq!(unfolded("_ZN5guest6handle17h0123456789abcdefE"), "guest::handle");
        assert_eq!(unfolded("_RNvCs1234_5guest6handle"), "guest::handle");
        assert_eq!(unfolded("plain"), "plain");
        // Each type is a tuple of two of the type before: the last has 16 million numbers.
        let (mut name, mut before) = ("_RIC1aTllE".to_owned(), 4);
        for _ in 0..24 {
            // Places count from behind `_R`, and in another way for each digit but the first.
            let (here, back) = (name.len() - 2, format!("B{}_", base62(before - 1)));
            name.push_str(&format!("T{back}{back}E"));
            before = here;
        }
        name.push('E');
        let shown = unfolded(&name);
        assert!(shown.starts_with("a::<(i32, i32), ((i32, i32), (i32, i32))"), "{shown}");
        assert_eq!(shown.chars().count(), MAX_NAME + 1);
        let long = format!("_ZN{}E", "1a".repeat(MAX_FOLDED));
        assert_eq!(unfolded(&long), long[..=MAX_NAME]);
    }

    fn base62(mut value: usize) -> String {
        const DIGITS: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
        let mut text = Vec::new();
        loop {
            text.insert(0, DIGITS[value % 62]);
            value /= 62;
            if value == 0 {
                return String::from_utf8(text).expect("letters");
            }
        }
    }
}
