//! Components: the shipped plugins and the guests of `tests/guests`, built once a run by the
//! program's own `build`; and those written by hand, assembled here.
//!
//! Owns the folder [`folder`], which lives as long as the build does.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock};

use super::command::stockade;
use super::root;

/// Where what is made here is kept.
pub(crate) fn folder() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR"))
}

/// A shipped agent's component, such as `vps_monitor`.
pub(crate) fn plugin(name: &str) -> PathBuf {
    static BUILT: OnceLock<Vec<PathBuf>> = OnceLock::new();
    find(BUILT.get_or_init(|| build("plugins")), name)
}

/// A guest's component: `echo`, `fragile`, `health`, `hostile` or `storied`.
pub(crate) fn guest(name: &str) -> PathBuf {
    static BUILT: OnceLock<Vec<PathBuf>> = OnceLock::new();
    find(BUILT.get_or_init(|| build("tests/guests")), &format!("guest_{name}"))
}

fn build(project: &str) -> Vec<PathBuf> {
    let built = stockade(["build", "--json", root().join(project).to_str().expect("a path in UTF-8")]);
    let built = built.expect_json(0);
    let components = built.as_array().expect("a list of components");
    components.iter().map(|one| one["component"].as_str().expect("a component's path").into()).collect()
}

fn find(built: &[PathBuf], name: &str) -> PathBuf {
    let named = |path: &&PathBuf| path.file_stem().is_some_and(|stem| stem == name);
    built.iter().find(named).unwrap_or_else(|| panic!("{name} was not built: {built:?}")).clone()
}

/// A component written by hand: one of `text/cores`, or a whole text.
pub(crate) fn text(name: &str) -> PathBuf {
    let texts = root().join("tests/guests/text");
    let read = |path: &str| fs::read_to_string(texts.join(path)).expect("a guest's text");
    let framed = |core: &str| read("frame.wat").replace(";; CORE", &read(&format!("cores/{core}.wat")));
    let source = match name {
        "core-module" | "no-agent" | "wrong-agent" | "lying-export" => read(&format!("{name}.wat")),
        "unknown-import" => framed("plain").replace(";; IMPORTS", &read("unknown-import.wat")),
        "transcode" => framed("transcode")
            .replace(";; IMPORTS", &read("stranger.wat"))
            .replace("(instantiate $agent)", "(instantiate $agent (with \"stranger\" (instance $stranger)))"),
        "describe-waits" => framed("describe-waits")
            .replace(";; IMPORTS", &read("waiter.wat"))
            .replace("(instantiate $agent)", "(instantiate $agent (with \"wait\" (func $wait)))"),
        "answers-at-length" => framed("answers-at-length").replace(
            "(core func $core-handle) (memory $memory) (realloc $realloc)",
            "(core func $core-handle) (memory $memory) (realloc $realloc) (post-return $after)",
        ),
        "trap-cpp-name" => framed("trap-under-a-name").replace("NAME", &cpp_name(12)),
        "trap-rust-name" => framed("trap-under-a-name").replace("NAME", &rust_name(1 << 20)),
        "trap-limit-name" => {
            let limits = "fuel allocated for hostcalls has been exhausted: store handle limit exceeded";
            framed("trap-under-a-name").replace("NAME", limits)
        }
        "describe-traps-cpp-name" => {
            framed("trap-under-a-name").replace("NAME", &cpp_name(12)).replace(";; DESCRIBE", "(call $named)")
        }
        core => framed(core),
    };
    let bytes = wat::parse_str(source).unwrap_or_else(|error| panic!("{name}: {error}"));
    file(&format!("{name}.wasm"), &bytes)
}

/// The guest `storied`, told what its `describe` does and says.
pub(crate) fn storied(told: &serde_json::Value) -> Vec<u8> {
    let mut bytes = fs::read(guest("storied")).expect("a component");
    let mark = b"what-is-told:";
    let at = bytes.windows(mark.len()).position(|window| window == mark).expect("its mark") + mark.len();
    let told = told.to_string();
    let room = bytes[at..].iter().take_while(|byte| **byte == b' ').count();
    assert!(told.len() <= room, "only {room} bytes can be told");
    bytes[at..at + told.len()].copy_from_slice(told.as_bytes());
    bytes
}

/// A name that is short as it is written, and eight times longer with each of its levels once it is
/// unfolded.
fn cpp_name(levels: u32) -> String {
    // `S_`, `S0_`, ... are what came before: the number in base 36, from the second on.
    let before = |number: u32| match number {
        0 => "S_".to_owned(),
        number => {
            format!("S{}_", char::from_digit(number - 1, 36).expect("fewer than 36 levels")).to_uppercase()
        }
    };
    let level = |number| format!("S_I{}E", before(number).repeat(8));
    format!("_Z1f4pairIiiE{}", (1..=levels).map(level).collect::<String>())
}

/// A name of so many bytes, in as many parts as it can have.
fn rust_name(bytes: usize) -> String {
    format!("_ZN{}17h0123456789abcdefE", "1a".repeat(bytes / 2))
}

/// The component around this core module's text.
pub(crate) fn framed(core: &str) -> Vec<u8> {
    let frame = fs::read_to_string(root().join("tests/guests/text/frame.wat")).expect("the frame");
    wat::parse_str(frame.replace(";; CORE", core)).expect("a guest's text")
}

/// A file with these bytes, complete or not there at all.
pub(crate) fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder().join(name);
    if fs::read(&path).is_ok_and(|known| known == bytes) {
        return path;
    }
    let file = tempfile::NamedTempFile::new_in(folder()).expect("a temporary file");
    fs::write(file.path(), bytes).expect("a component's bytes");
    file.persist(&path).expect("a component's file");
    path
}

/// Settings with each `<NAME>` replaced by the path of that component.
pub(crate) fn settings(template: &str) -> String {
    let mut text = template.to_owned();
    while let Some(start) = text.find('<') {
        let end = start + text[start..].find('>').expect("a component's name ends with `>`");
        let path = match &text[start + 1..end] {
            name @ ("echo" | "health" | "hostile" | "storied") => guest(name),
            name @ ("vps_monitor" | "calculator" | "calendar" | "text_tools") => plugin(name),
            name => self::text(name),
        };
        text.replace_range(start..=end, path.to_str().expect("a path in UTF-8"));
    }
    text
}

/// A data folder in which what is in use everywhere is compiled already: tests that are not about
/// the cache start at once.
pub(crate) fn warm(data_dir: &Path) {
    static WARM: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut warm = WARM.lock().expect("nobody failed here");
    let source = warm.get_or_insert_with(|| {
        let source = folder().join("warm");
        let fleet = settings(
            "[agents.a]\ncomponent = \"<echo>\"\n[agents.b]\ncomponent = \"<hostile>\"\n\
             [agents.c]\ncomponent = \"<vps_monitor>\"\n[agents.d]\ncomponent = \"<calculator>\"\n\
             [agents.e]\ncomponent = \"<calendar>\"\n[agents.f]\ncomponent = \"<text_tools>\"\n",
        );
        let config = file("warm.toml", format!("server.data_dir = {source:?}\n{fleet}").as_bytes());
        let config = config.to_str().expect("a path in UTF-8");
        stockade(["agents", "--local", "--json", "--config", config]).expect(0);
        source.join("cache")
    });
    copy(source, &data_dir.join("cache"));
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder's entries") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.path().extension().is_some_and(|extension| extension == "cwasm") {
            fs::copy(entry.path(), target).expect("a copy");
        }
    }
}
