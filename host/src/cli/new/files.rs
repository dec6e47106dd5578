//! The files that `stockade new` writes, each embedded in the program.
//!
//! Templates are in `host/templates/`, valid projects of an agent named `my-agent`; the contract and the
//! SDK are the repository's own files.

use crate::cli::project::Language;

/// A file: where it goes, below the project's folder, and its text.
type File = (&'static str, &'static str);

/// Files below one folder of this repository.
macro_rules! files {
    ($folder:literal: $($path:literal),+ $(,)?) => {
        &[$(($path, include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $folder, "/", $path)))),+]
    };
}

const COMMON: &[File] = files!("templates/common": "agents.toml", "cases.toml");
const WORLD: File =
    ("wit/world.wit", include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/templates/common/world.wit")));
const RUST: &[File] = files!("templates/rust": "README.md", "Cargo.toml", "gitignore", "src/lib.rs");
const PYTHON: &[File] = files!(
    "templates/python": "README.md", "requirements.txt", "pyrightconfig.json", "gitignore", "src/agent.py",
);
const JAVASCRIPT: &[File] =
    files!("templates/javascript": "README.md", "package.json", "gitignore", "src/agent.js");
const C: &[File] = files!("templates/c": "README.md", "compile_flags.txt", "gitignore", "src/agent.c");

/// The contract, whole: an author adds an import without looking for its definition.
const CONTRACT: &[File] =
    files!("../wit": "agent/agent.wit", "config/config.wit", "logging/logging.wit", "system/system.wit");

const SDK: &[File] = files!(
    "../plugins/sdk": "Cargo.toml", "src/bindings.rs", "src/config.rs", "src/description.rs", "src/failure.rs",
    "src/lib.rs", "src/log.rs", "src/reply.rs", "src/system.rs", "src/task.rs",
);

/// The templates of a language.
pub(super) fn templates(language: Language) -> impl Iterator<Item = &'static File> {
    let own = match language {
        Language::Rust => RUST,
        Language::Python => PYTHON,
        Language::JavaScript => JAVASCRIPT,
        Language::C => C,
    };
    own.iter().chain(COMMON)
}

/// What goes into a project as it is.
pub(super) fn verbatim(language: Language) -> impl Iterator<Item = (String, &'static str)> {
    // Tools and editors look for the packages that a world uses in `deps`, next to it.
    let (sdk, contract, world) = match language {
        Language::Rust => (SDK, "stockade-sdk/wit", None),
        _ => (&[][..], "wit/deps", Some(WORLD)),
    };
    let below = |folder: &'static str| move |(path, text): &File| (format!("{folder}/{path}"), *text);
    let world = world.into_iter().map(|(path, text)| (path.to_owned(), text));
    sdk.iter().map(below("stockade-sdk")).chain(CONTRACT.iter().map(below(contract))).chain(world)
}
