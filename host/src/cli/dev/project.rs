//! One plugin project, or a workspace of them: what it is made of, and how it is built.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::SystemTime;

use anyhow::Context;
use serde_json::Value;

use crate::domain::Digest;
use crate::registry::watch;

/// The most that is kept of a build's output, in bytes; compilers can write much.
const MAX_OUTPUT: usize = 256 * 1024;

/// How a build ended.
pub(super) enum Outcome {
    /// So many files were made. The compiler may have warned.
    Built { components: usize, output: Option<String> },
    /// It did not build, for these reasons.
    Failed { output: String },
}

/// The contents of files.
type Contents = BTreeMap<PathBuf, Digest>;

/// A project.
pub(super) struct Project {
    /// Its folder, as it was given.
    pub(super) root: PathBuf,
    /// Files outside of it that are part of its components: of neighbouring crates, and contracts.
    pub(super) outside: BTreeSet<PathBuf>,
    /// What in its folder is no source: the host's own folder, where the project holds it.
    without: BTreeSet<PathBuf>,
    /// What its sources were when it was built last.
    built: Option<Contents>,
    /// When that failed, if it did.
    failed: Option<SystemTime>,
}

impl Project {
    pub(super) fn new(root: PathBuf, without: BTreeSet<PathBuf>) -> Self {
        Self { root, without, outside: BTreeSet::new(), built: None, failed: None }
    }

    /// Whether it is to be built: a source is another one than at the last build, or was saved
    /// after that one failed. A file that was touched, or that the build itself wrote, is no reason.
    pub(super) async fn is_stale(&self) -> bool {
        let now = self.sources().await;
        let saved = |at: SystemTime| now.keys().any(|file| modified(file).is_some_and(|time| time > at));
        self.built.as_ref() != Some(&now) || self.failed.is_some_and(saved)
    }

    /// Builds it: in a process of its own, so that what compilers and package managers print can be
    /// kept together and shown in one piece.
    pub(super) async fn build(&mut self, colours: Colours) -> anyhow::Result<Outcome> {
        // Before it is built: what is saved from here on makes another build.
        let (began, before) = (SystemTime::now(), self.sources().await);
        let ran = self.run(colours).await?;
        let output = shown(&ran.stderr);
        if !ran.status.success() {
            self.note(before, began).await;
            self.failed = Some(SystemTime::now());
            return Ok(Outcome::Failed { output });
        }
        let built: Value = serde_json::from_slice(&ran.stdout).context("the build's list is not JSON")?;
        let components: Vec<PathBuf> = built
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|built| built["component"].as_str().map(PathBuf::from))
            .collect();
        self.outside = self.inputs(&components);
        self.note(before, began).await;
        self.failed = None;
        let output = output.contains("warning").then_some(output);
        Ok(Outcome::Built { components: components.len(), output })
    }

    async fn run(&self, colours: Colours) -> anyhow::Result<Output> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let mut command = tokio::process::Command::new(&program);
        command.args(["build", "--json"]).arg(&self.root);
        command.stdin(Stdio::null()).kill_on_drop(true);
        if colours == Colours::Yes {
            command.env("CARGO_TERM_COLOR", "always");
        }
        command.output().await.with_context(|| format!("cannot start {}", program.display()))
    }

    /// Notes what was built: the sources as they were before, and what could not be known before.
    async fn note(&mut self, before: Contents, began: SystemTime) {
        let mut built = before;
        let now = self.sources().await;
        built.retain(|file, _| now.contains_key(file) || !self.outside.contains(file));
        for (file, digest) in now {
            let lock = file.file_name().is_some_and(|name| LOCKS.iter().any(|lock| name == *lock));
            // A file that only the build reported, and that was saved meanwhile, may be part of the build or not.
            let found = self.outside.contains(&file) && modified(&file).is_some_and(|time| time < began);
            if lock || (found && !built.contains_key(&file)) {
                built.insert(file, digest);
            }
        }
        self.built = Some(built);
    }

    /// The files that cargo says went into these components, but for those in the project.
    fn inputs(&self, components: &[PathBuf]) -> BTreeSet<PathBuf> {
        let root = self.root.canonicalize().unwrap_or_else(|_| self.root.clone());
        let lists =
            components.iter().filter_map(|file| std::fs::read_to_string(file.with_extension("d")).ok());
        let inputs = lists.flat_map(|list| inputs(&list));
        inputs.filter(|file| file.is_absolute() && !file.starts_with(&root)).collect()
    }

    /// What its sources are now.
    async fn sources(&self) -> Contents {
        let (root, without) = (self.root.clone(), self.without.clone());
        let outside = self.outside.clone();
        let read = move || {
            let files = watch::sources(&root, &without).into_iter().chain(outside);
            // What cannot be read is not there.
            files
                .filter_map(|file| {
                    let digest = Digest::of(&std::fs::read(&file).ok()?);
                    Some((file, digest))
                })
                .collect()
        };
        tokio::task::spawn_blocking(read).await.unwrap_or_default()
    }
}

/// Files that builds write next to the sources to keep their versions.
const LOCKS: &[&str] = &["Cargo.lock", "package-lock.json", "uv.lock"];

fn modified(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|metadata| metadata.modified()).ok()
}

/// Whether compilers colour their output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colours {
    Yes,
    No,
}

/// What is shown of a build's output: all but the lines that only say that it runs.
fn shown(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    let progress = |line: &&str| {
        !line.starts_with("building ") && !line.starts_with("built ") && !line.contains(" did not build; ")
    };
    let mut lines: Vec<&str> = Vec::new();
    let mut length = 0;
    for line in text.lines().filter(progress) {
        length += line.len() + 1;
        if length > MAX_OUTPUT {
            lines.push("(and more: run `stockade build` to see all of it)");
            break;
        }
        lines.push(line);
    }
    lines.join("\n")
}

/// The files in a list of what went into a file, as `make` reads it.
fn inputs(list: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in list.lines() {
        let Some((_, files_of_it)) = line.split_once(": ") else { continue };
        let mut name = String::new();
        let mut letters = files_of_it.chars();
        while let Some(letter) = letters.next() {
            match letter {
                '\\' => name.extend(letters.next()),
                ' ' => files.push(std::mem::take(&mut name)),
                letter => name.push(letter),
            }
        }
        files.push(name);
    }
    files.into_iter().filter(|name| !name.is_empty()).map(PathBuf::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_a_list_are_found_spaces_in_their_names_too() {
        let list = "/t/a.wasm: /p/src/lib.rs /my\\ files/sdk/lib.rs\n\n/t/b.wasm: /p/b.rs\n";
        assert_eq!(inputs(list), ["/p/src/lib.rs", "/my files/sdk/lib.rs", "/p/b.rs"].map(PathBuf::from));
        assert!(inputs("").is_empty());
    }

    #[test]
    fn progress_is_not_what_a_build_has_to_say() {
        assert_eq!(
            shown(b"building plugins\nwarning: unused\nbuilt 4 components in 1 s\n"),
            "warning: unused"
        );
        assert!(shown(&b"error: x\n".repeat(100_000)).ends_with("to see all of it)"));
    }

    #[tokio::test]
    async fn a_project_is_stale_when_a_source_says_something_else() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("lib.rs"), "one").expect("a file");
        let mut project = Project::new(folder.path().to_owned(), BTreeSet::new());
        assert!(project.is_stale().await, "it was never built");
        project.note(project.sources().await, SystemTime::now()).await;
        std::fs::write(folder.path().join("lib.rs"), "one").expect("the same again");
        std::fs::create_dir(folder.path().join("target")).expect("a folder");
        std::fs::write(folder.path().join("target/lib.rs"), "built").expect("a file");
        assert!(!project.is_stale().await);
        project.failed = Some(SystemTime::UNIX_EPOCH);
        assert!(project.is_stale().await, "it was saved after the build failed");
        project.failed = None;
        std::fs::write(folder.path().join("lib.rs"), "two").expect("another");
        assert!(project.is_stale().await);
    }

    #[tokio::test]
    async fn a_source_that_is_saved_during_a_build_makes_another_one_and_a_lock_file_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("lib.rs"), "one").expect("a file");
        let mut project = Project::new(folder.path().to_owned(), BTreeSet::new());
        let (began, before) = (SystemTime::now(), project.sources().await);
        std::fs::write(folder.path().join("Cargo.lock"), "made by the build").expect("a file");
        project.note(before, began).await;
        assert!(!project.is_stale().await);
        let before = project.sources().await;
        std::fs::write(folder.path().join("new.rs"), "saved meanwhile").expect("a file");
        project.note(before, began).await;
        assert!(project.is_stale().await);
    }

    #[tokio::test]
    async fn a_file_outside_of_which_the_build_told_counts_from_then_on() {
        let (folder, beside) =
            (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("another"));
        let file = beside.path().join("lib.rs");
        std::fs::write(&file, "one").expect("a file");
        let old = std::fs::File::options().append(true).open(&file).expect("the file");
        old.set_modified(SystemTime::UNIX_EPOCH).expect("it is old");
        let mut project = Project::new(folder.path().to_owned(), BTreeSet::new());
        let before = project.sources().await;
        project.outside = [file.clone()].into();
        project.note(before, SystemTime::now()).await;
        assert!(!project.is_stale().await);
        std::fs::write(&file, "two").expect("another");
        assert!(project.is_stale().await);
    }
}
