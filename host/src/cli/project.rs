//! What an agent's project looks like in each language, and which projects lie in a folder.
//!
//! Looks at files only. `new` makes such projects and `build` builds them; what they agree on is here.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::ValueEnum;
use serde::Serialize;
use toml::de::DeTable;

/// A language that agents are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Language {
    /// Rust, with the SDK
    #[value(alias = "rs")]
    Rust,
    /// Python, through componentize-py
    #[value(alias = "py")]
    Python,
    /// JavaScript, through componentize-js
    #[value(name = "javascript", alias = "js")]
    JavaScript,
    /// C, with any compiler that makes WebAssembly
    C,
}

/// The component that is built of a project that is not Rust's, in its folder.
pub(super) const COMPONENT: &str = "agent.wasm";
/// What a build leaves besides, in a project's folder.
pub(super) const LEFTOVERS: &str = "target";
/// The contract, in a project's folder.
pub(super) const CONTRACT: &str = "wit";

impl Language {
    /// The language of the project in `folder`, if one is there.
    pub(super) fn of(folder: &Path) -> Option<Self> {
        if folder.join("Cargo.toml").is_file() {
            return Some(Self::Rust);
        }
        let others = [Self::Python, Self::JavaScript, Self::C];
        let here = |language: &Self| folder.join(language.entry()).is_file();
        others.into_iter().find(here).filter(|_| folder.join(CONTRACT).is_dir())
    }

    /// The file that a project begins with, below its folder.
    pub(super) fn entry(self) -> &'static str {
        match self {
            Self::Rust => "src/lib.rs",
            Self::Python => "src/agent.py",
            Self::JavaScript => "src/agent.js",
            Self::C => "src/agent.c",
        }
    }

    /// Its name, as people write it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::Python => "Python",
            Self::JavaScript => "JavaScript",
            Self::C => "C",
        }
    }
}

/// A project that can be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Project {
    /// Where it is.
    pub(super) folder: PathBuf,
    /// What it is written in.
    pub(super) language: Language,
}

/// The projects that `folder` stands for: the one in it, and those in the folders right below it, unless
/// they belong to it (members of a cargo workspace do).
///
/// # Errors
/// Where there is none: what a project looks like.
pub(super) fn find(folder: &Path) -> anyhow::Result<Vec<Project>> {
    let own = Language::of(folder);
    let mut found: Vec<Project> =
        own.into_iter().map(|language| Project { folder: folder.to_owned(), language }).collect();
    if matches!(own, None | Some(Language::Rust)) {
        for below in folders(folder)? {
            let Some(language) = Language::of(&below) else { continue };
            if own.is_none() || language != Language::Rust || is_workspace(&below) {
                found.push(Project { folder: below, language });
            }
        }
    }
    if found.is_empty() {
        bail!(
            "{} is not a plugin project, nor a folder of them: a project has a Cargo.toml, or `wit/` and one of \
             src/agent.py, src/agent.js and src/agent.c; give a project's folder, or make one with `stockade new`",
            folder.display()
        );
    }
    Ok(found)
}

/// A path as it can be typed into a shell.
pub(super) fn typed(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+@".contains(c);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

/// The folders below `folder` that could hold projects, by name.
fn folders(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("cannot look for projects in {}", folder.display()))?;
    let mut folders: Vec<PathBuf> =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.retain(|path| path.file_name().is_some_and(|name| !name.to_string_lossy().starts_with('.')));
    folders.sort();
    Ok(folders)
}

/// Whether a package of cargo's belongs to no workspace but its own.
fn is_workspace(folder: &Path) -> bool {
    let Ok(manifest) = std::fs::read_to_string(folder.join("Cargo.toml")) else { return false };
    DeTable::parse(&manifest).is_ok_and(|manifest| manifest.get_ref().contains_key("workspace"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        std::fs::write(path, text).expect("a file");
    }

    fn found(folder: &Path) -> Vec<(String, Language)> {
        let name = |project: &Project| {
            let relative = project.folder.strip_prefix(folder).unwrap_or(&project.folder);
            relative.display().to_string()
        };
        find(folder).expect("projects").iter().map(|project| (name(project), project.language)).collect()
    }

    #[test]
    fn paths_can_be_typed() {
        for (path, wanted) in
            [("a/b-c_1.d", "a/b-c_1.d"), ("my agents", "'my agents'"), ("it's", r"'it'\''s'")]
        {
            assert_eq!(typed(Path::new(path)), wanted);
        }
    }

    #[test]
    fn a_folder_stands_for_the_projects_in_it() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        assert!(find(root).is_err_and(|error| error.to_string().contains("stockade new")));
        for (language, entry) in [("py", "src/agent.py"), ("js", "src/agent.js"), ("c", "src/agent.c")] {
            write(root, &format!("fleet/{language}/{entry}"), "");
            write(root, &format!("fleet/{language}/wit/world.wit"), "");
        }
        write(root, "fleet/no-contract/src/agent.py", "");
        write(root, "fleet/rust/Cargo.toml", "[package]");
        write(root, "fleet/.hidden/Cargo.toml", "[package]");
        let (c, js, py, rust) = (
            ("c".to_owned(), Language::C),
            ("js".to_owned(), Language::JavaScript),
            ("py".to_owned(), Language::Python),
            ("rust".to_owned(), Language::Rust),
        );
        assert_eq!(found(&root.join("fleet")), [c.clone(), js.clone(), py.clone(), rust]);
        assert_eq!(found(&root.join("fleet/py")), [(String::new(), Language::Python)]);
        // A cargo workspace builds its members itself; what is no member is built besides.
        write(root, "fleet/Cargo.toml", "[workspace]\nmembers = [\"rust\"]\n");
        write(root, "fleet/alone/Cargo.toml", "[package]\n[workspace]\n");
        let own = (String::new(), Language::Rust);
        assert_eq!(found(&root.join("fleet")), [own, ("alone".to_owned(), Language::Rust), c, js, py]);
    }
}
