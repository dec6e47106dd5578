//! What counts as source in a tree: its folders and its files.
//!
//! Pure but for looking at the file system; holds nothing.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::resolved_path::ResolvedPath;

/// Folders of a tree at the most; what is past them is not watched.
const MAX_FOLDERS: usize = 4096;

/// Folders that hold what was built or fetched.
const BUILT: &[&str] = &["target", "node_modules", "__pycache__", "venv", "site-packages"];

/// Ends of names that are built, or that editors write beside a file while they save it.
const NOT_SOURCE: &[&str] = &[
    ".wasm", ".cwasm", ".pyc", "~", ".swp", ".swo", ".swx", ".tmp", ".bak", ".orig", ".part", ".log", ".pid",
    "___",
];

/// Whether something of this name in a source tree is source, or may hold some.
pub(super) fn is_source(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    let hidden = name.starts_with('.');
    // Emacs's saves begin with `#`; `4913` is how vim tries whether it may write.
    let editors = name.starts_with('#') || name == "4913";
    !hidden && !editors && !BUILT.contains(&&*name) && !NOT_SOURCE.iter().any(|end| name.ends_with(end))
}

/// A tree as it is now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Tree {
    /// Its folders, the root first.
    pub(super) folders: Vec<PathBuf>,
    /// A number that is another one when a source file came, went or was written.
    pub(super) stamp: u64,
}

impl Tree {
    /// Looks at the tree below `root`, a real path, but for what is at one of `without`.
    pub(super) fn at(root: &Path, excluded: &BTreeSet<PathBuf>) -> Self {
        let mut tree = Self::default();
        let mut hasher = DefaultHasher::new();
        walk(root, excluded, &mut |path, metadata| {
            if metadata.is_dir() {
                tree.folders.push(path.to_owned());
            } else {
                let times =
                    (metadata.mtime(), metadata.mtime_nsec(), metadata.ctime(), metadata.ctime_nsec());
                (path, metadata.len(), metadata.ino(), times).hash(&mut hasher);
            }
        });
        tree.stamp = hasher.finish();
        tree
    }
}

/// The source files of the tree below `root`, in a fixed order; what counts is as in
/// [`Watch::trees_without`](super::Watch::trees_without).
pub fn sources(root: &Path, excluded: &BTreeSet<PathBuf>) -> Vec<PathBuf> {
    let excluded = excluded.iter().map(|path| ResolvedPath::target_of(path)).collect();
    let mut files = Vec::new();
    walk(&ResolvedPath::target_of(root), &excluded, &mut |path, metadata| {
        if !metadata.is_dir() {
            files.push(path.to_owned());
        }
    });
    files
}

/// Sees each folder before what is in it. What vanishes meanwhile, or cannot be read, is left out.
fn walk(root: &Path, excluded: &BTreeSet<PathBuf>, see: &mut dyn FnMut(&Path, &fs::Metadata)) {
    let Ok(metadata) = fs::metadata(root) else { return };
    see(root, &metadata);
    let (mut folders, mut seen) = (vec![root.to_owned()], 1);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let mut entries: Vec<_> = entries.flatten().filter(|entry| is_source(&entry.file_name())).collect();
        entries.sort_by_key(fs::DirEntry::file_name);
        for entry in entries.into_iter().filter(|entry| !excluded.contains(&entry.path())) {
            // Not through links: a link to a folder above would never end.
            let Ok(metadata) = entry.metadata() else { continue };
            if metadata.is_dir() {
                seen += 1;
                if seen > MAX_FOLDERS {
                    continue;
                }
                folders.push(entry.path());
            }
            see(&entry.path(), &metadata);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_hidden_or_an_editors_own_does_not_count() {
        for source in ["lib.rs", "Cargo.toml", "app.py", "agent.js", "main.c", "world.wit", "src", "tests"] {
            assert!(is_source(OsStr::new(source)), "{source}");
        }
        for other in [
            "target",
            "node_modules",
            ".git",
            "__pycache__",
            ".venv",
            "agent.wasm",
            ".lib.rs.swp",
            "lib.rs~",
            "4913",
            "#lib.rs#",
            ".#lib.rs",
            "app.pyc",
            "lib.rs.tmp",
            "lib.rs___jb_tmp___",
        ] {
            assert!(!is_source(OsStr::new(other)), "{other}");
        }
    }

    #[test]
    fn a_tree_has_its_source_folders_and_another_stamp_after_a_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        for path in ["src/inner", "target/release", ".git/objects", "web/node_modules/left-pad"] {
            fs::create_dir_all(root.join(path)).expect("a folder");
        }
        fs::write(root.join("src/lib.rs"), "one").expect("a file");
        fs::write(root.join("target/release/x.d"), "one").expect("a file");
        let root = &ResolvedPath::target_of(root);
        let none = BTreeSet::new();
        let before = Tree::at(root, &none);
        let folders: Vec<_> = before.folders.iter().filter_map(|path| path.strip_prefix(root).ok()).collect();
        assert_eq!(folders, ["", "src", "web", "src/inner"].map(Path::new));
        fs::write(root.join("target/release/x.d"), "other").expect("a file");
        assert_eq!(Tree::at(root, &none), before);
        fs::write(root.join("src/lib.rs"), "other").expect("a file");
        assert_ne!(Tree::at(root, &none).stamp, before.stamp);
        assert_eq!(sources(root, &none), [root.join("src/lib.rs")]);
        assert!(sources(root, &[root.join("src")].into()).is_empty());
    }
}
