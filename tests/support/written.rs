//! Components whose words a test chooses: what they say of themselves, and how they answer.

use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use super::{guests, root};

/// What a component says.
#[derive(Default)]
pub(crate) struct Words<'w> {
    /// Name, description, version, category; an empty name or version becomes `written`.
    pub(crate) texts: [&'w str; 4],
    pub(crate) triggers: &'w [&'w str],
    /// Each with the text that its answer must contain.
    pub(crate) examples: &'w [(&'w str, Option<&'w str>)],
    pub(crate) schema: Option<&'w str>,
    /// The answer to every task, and its `data`.
    pub(crate) response: &'w str,
    pub(crate) data: Option<&'w str>,
    /// A failure's message, which is given instead.
    pub(crate) failure: Option<&'w str>,
}

/// Where the texts begin.
const TEXTS: usize = 8192;

/// Memory as the component finds it.
#[derive(Default)]
struct Memory {
    /// Words of four bytes, by address.
    words: Vec<(usize, usize)>,
    texts: Vec<u8>,
}

impl Memory {
    fn word(&mut self, at: usize, value: usize) {
        self.words.push((at, value));
    }

    fn text(&mut self, at: usize, text: &str) {
        self.word(at, TEXTS + self.texts.len());
        self.word(at + 4, text.len());
        self.texts.extend(text.bytes());
    }

    fn option(&mut self, at: usize, text: Option<&str>) {
        if let Some(text) = text {
            self.word(at, 1);
            self.text(at + 4, text);
        }
    }
}

/// The component, in a file of this name.
pub(crate) fn component(name: &str, words: &Words<'_>) -> PathBuf {
    const DESCRIPTION: usize = 512;
    const REPLY: usize = 616;
    const LISTS: usize = 1024;
    let mut memory = Memory::default();
    for (number, text) in words.texts.into_iter().enumerate() {
        let needed = text.is_empty() && number % 2 == 0 && number < 4;
        memory.text(DESCRIPTION + 8 * number, if needed { "written" } else { text });
    }
    let (triggers, examples) = (words.triggers.len(), words.examples.len());
    for (at, (list, count)) in [(32, (LISTS, triggers)), (40, (LISTS + 8 * triggers, examples))] {
        memory.word(DESCRIPTION + at, list);
        memory.word(DESCRIPTION + at + 4, count);
    }
    for (number, trigger) in words.triggers.iter().enumerate() {
        memory.text(LISTS + 8 * number, trigger);
    }
    for (number, (task, expected)) in words.examples.iter().enumerate() {
        let at = LISTS + 8 * triggers + 20 * number;
        memory.text(at, task);
        memory.option(at + 8, *expected);
    }
    memory.option(DESCRIPTION + 48, words.schema);
    match words.failure {
        Some(message) => {
            memory.word(REPLY, 1);
            memory.word(REPLY + 4, 3);
            memory.text(REPLY + 8, message);
        }
        None => {
            memory.text(REPLY + 4, words.response);
            memory.option(REPLY + 12, words.data);
        }
    }
    let frame = fs::read_to_string(root().join("tests/guests/text/frame.wat")).expect("the frame");
    let bytes = wat::parse_str(frame.replace(";; CORE", &core(&memory, DESCRIPTION, REPLY)));
    guests::file(&format!("{name}.wasm"), &bytes.unwrap_or_else(|error| panic!("{name}: {error}")))
}

fn core(memory: &Memory, description: usize, reply: usize) -> String {
    let mut data = String::new();
    for (at, value) in &memory.words {
        let [a, b, c, d] = u32::try_from(*value).expect("an address").to_le_bytes();
        writeln!(data, "(data (i32.const {at}) \"\\{a:02x}\\{b:02x}\\{c:02x}\\{d:02x}\")").expect("memory");
    }
    let texts: String = memory.texts.iter().map(|byte| format!("\\{byte:02x}")).collect();
    let end = TEXTS + memory.texts.len();
    // A task may bring a context of a mebibyte.
    let pages = end / 65_536 + 40;
    format!(
        "(core module $module
            (memory (export \"memory\") {pages})
            {data}
            (data (i32.const {TEXTS}) \"{texts}\")
            (global $free (mut i32) (i32.const {free}))
            (func (export \"realloc\") (param i32 i32 i32 i32) (result i32)
              (local $block i32)
              (local.set $block (global.get $free))
              (global.set $free (i32.and (i32.add (i32.add (global.get $free) (local.get 3)) (i32.const 7)) (i32.const -8)))
              (local.get $block))
            (func (export \"describe\") (result i32) (i32.const {description}))
            (func (export \"handle\") (param i32 i32 i32 i32 i32 i32 i32 i64) (result i32) (i32.const {reply})))
        (core instance $core (instantiate $module))",
        free = end.next_multiple_of(8),
    )
}
