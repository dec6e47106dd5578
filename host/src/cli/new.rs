//! `stockade new`: an agent's project in a chosen language, which builds at once.
//!
//! Everything that the project needs of Stockade goes into it: the contract and, for Rust, the SDK's own
//! source. Writes below the new folder only; what is there already is left alone.

mod files;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Args;
use serde_json::json;

use super::output::{self, Output};
use super::project::{self, COMPONENT, Language};
use super::{Exit, Global};
use crate::domain::AgentId;

/// Arguments of `stockade new`.
#[derive(Debug, Args)]
pub(super) struct NewArgs {
    /// The agent's id: 1 to 64 of a-z, 0-9, `-` and `_`, beginning with a letter or digit
    name: String,
    /// What it is written in
    #[arg(long, value_name = "LANGUAGE")]
    lang: Language,
    /// The folder to make, instead of one of the agent's name here
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

/// Runs it.
pub(super) fn run(global: &Global, args: &NewArgs) -> anyhow::Result<Exit> {
    let id = match AgentId::parse(&args.name) {
        Ok(id) => id,
        Err(error) => return refuse(global, &error.to_string()),
    };
    let folder = args.path.clone().unwrap_or_else(|| PathBuf::from(id.as_str()));
    if folder.symlink_metadata().is_ok() {
        let shown = folder.display();
        let message = format!(
            "{shown} exists already, and nothing in it was touched; give another folder with `--path`, or remove it"
        );
        return refuse(global, &message);
    }
    let files = fill(&id, args.lang);
    write(&folder, &files)?;
    let commands = next(&id, args.lang, &folder);
    match global.output() {
        Output::Json => global.output().json(&json!({
            "id": id,
            "language": args.lang,
            "folder": folder,
            "files": files.iter().map(|(path, _)| path).collect::<Vec<_>>(),
            "component": folder.join(component(&id, args.lang)),
            "next": commands,
        }))?,
        Output::Text => {
            output::note(&format!("made {} for an agent in {}; next:", folder.display(), args.lang.name()));
            output::print(&commands.iter().map(|command| format!("  {command}\n")).collect::<String>())?;
        }
    }
    Ok(Exit::Done)
}

/// Says what is wrong with the arguments; nothing was done.
fn refuse(global: &Global, message: &str) -> anyhow::Result<Exit> {
    match global.output() {
        Output::Json => global.output().json(&json!([{ "message": message }]))?,
        Output::Text => output::note(&format!("error: {message}")),
    }
    Ok(Exit::Usage)
}

/// The commands that come next.
fn next(id: &AgentId, language: Language, folder: &Path) -> Vec<String> {
    let mut commands = vec![format!("cd {}", project::typed(folder))];
    if language == Language::Python {
        commands.push("python3 -m venv .venv && .venv/bin/pip install -r requirements.txt".to_owned());
    }
    commands.push("stockade build".to_owned());
    commands.push("stockade test .".to_owned());
    commands.push(format!("stockade call {id} \"Greet Ada\""));
    commands
}

/// Where the component is built, below the project's folder.
fn component(id: &AgentId, language: Language) -> String {
    match language {
        Language::Rust => format!("target/wasm32-wasip2/release/{}.wasm", package(id).replace('-', "_")),
        _ => COMPONENT.to_owned(),
    }
}

/// The files of a project: the templates with this agent's names in them, and what goes in as it is.
fn fill(id: &AgentId, language: Language) -> Vec<(String, String)> {
    let title = title(id);
    let component = component(id, language);
    let package = package(id);
    let filled = files::templates(language).map(|(path, text)| {
        // The name of a cargo package has rules of its own.
        let name = if *path == "Cargo.toml" { &package } else { id.as_str() };
        let text = text.replace("target/wasm32-wasip2/release/my_agent.wasm", &component);
        let text = text.replace("COMPONENT", &component);
        // In the repository it has no dot, so that it hides nothing there.
        let path = if *path == "gitignore" { ".gitignore" } else { *path };
        (path.to_owned(), text.replace("My Agent", &title).replace("my-agent", name))
    });
    let verbatim = files::verbatim(language);
    filled.chain(verbatim.map(|(path, text)| (path, text.to_owned()))).collect()
}

/// The agent's name for people: `vps-monitor` becomes `Vps Monitor`.
fn title(id: &AgentId) -> String {
    let words = id.as_str().split(['-', '_']).filter(|word| !word.is_empty());
    let capital = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    words.map(capital).collect::<Vec<_>>().join(" ")
}

/// The agent's name as a cargo package: it may not begin with a digit, and must not be one that
/// Rust or the project's own dependencies have taken.
fn package(id: &AgentId) -> String {
    const TAKEN: &[&str] = &[
        "abstract",
        "alloc",
        "as",
        "async",
        "await",
        "become",
        "box",
        "break",
        "build",
        "const",
        "continue",
        "core",
        "crate",
        "deps",
        "do",
        "dyn",
        "else",
        "enum",
        "examples",
        "extern",
        "false",
        "final",
        "fn",
        "for",
        "gen",
        "if",
        "impl",
        "in",
        "incremental",
        "let",
        "loop",
        "macro",
        "match",
        "mod",
        "move",
        "mut",
        "override",
        "priv",
        "proc_macro",
        "pub",
        "ref",
        "return",
        "self",
        "serde",
        "serde_json",
        "static",
        "std",
        "stockade-sdk",
        "stockade_sdk",
        "struct",
        "super",
        "test",
        "trait",
        "true",
        "try",
        "type",
        "typeof",
        "unsafe",
        "unsized",
        "use",
        "virtual",
        "where",
        "while",
        "wit-bindgen",
        "yield",
    ];
    let text = id.as_str();
    if text.starts_with(|first: char| first.is_ascii_digit()) || TAKEN.contains(&text) {
        return format!("agent-{text}");
    }
    text.to_owned()
}

/// Writes all files into a new folder; if one cannot be written, the folder goes again.
fn write(folder: &Path, files: &[(String, String)]) -> anyhow::Result<()> {
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    std::fs::create_dir(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for (path, text) in files {
        let path = folder.join(path);
        let put = || {
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent)?;
            }
            std::fs::write(&path, text)
        };
        if let Err(error) = put() {
            // It was made just now, and holds nothing else.
            let _ = std::fs::remove_dir_all(folder);
            bail!("cannot write {}: {error}; nothing was left behind", path.display());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> AgentId {
        AgentId::parse(text).expect("an id")
    }

    #[test]
    fn names_are_made_of_the_id() {
        assert_eq!(title(&id("vps-monitor_2")), "Vps Monitor 2");
        assert_eq!(title(&id("a--b-")), "A B");
        for (given, wanted) in [("greeter", "greeter"), ("7zip", "agent-7zip"), ("serde", "agent-serde")] {
            assert_eq!(package(&id(given)), wanted);
        }
        assert_eq!(component(&id("7-up"), Language::Rust), "target/wasm32-wasip2/release/agent_7_up.wasm");
        assert_eq!(component(&id("7-up"), Language::C), "agent.wasm");
    }

    #[test]
    fn nothing_of_the_template_is_left_over() {
        for language in [Language::Rust, Language::Python, Language::JavaScript, Language::C] {
            let files = fill(&id("7-up"), language);
            assert!(files.iter().any(|(path, _)| path == language.entry()), "{language:?}");
            // The contract's own example of a world has such a name.
            for (path, text) in files.iter().filter(|(path, _)| !path.ends_with("agent/agent.wit")) {
                for word in ["my-agent", "my_agent", "My Agent", "COMPONENT"] {
                    assert!(!text.contains(word), "{language:?}: {path} has {word}");
                }
            }
        }
    }
}
