//! A path, resolved with every link on it: which names in which folders decide what it leads to.
//!
//! Pure but for looking at the file system; holds nothing.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Links in one path at the most, as in the kernel.
const MAX_LINKS: usize = 40;

/// The names that a path is resolved through.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct ResolvedPath {
    /// Each name that was looked up, by its real path; so each one's parent is a real folder.
    pub(super) names: BTreeSet<PathBuf>,
    /// Those folders that hold a link or the end of the path: unless they are watched, nothing is noticed.
    pub(super) link_folders: BTreeSet<PathBuf>,
    /// Where it ends: what is there, or the first name that is missing.
    pub(super) end: PathBuf,
}

impl ResolvedPath {
    /// Follows `path`, which is absolute, as far as it goes.
    pub(super) fn follow(path: &Path) -> Self {
        let mut at = PathBuf::from("/");
        let mut resolved = Self { end: at.clone(), ..Self::default() };
        let mut left: Vec<OsString> = Vec::new();
        push(&mut left, &mut at, path);
        let mut links = 0;
        while let Some(name) = left.pop() {
            if name == ".." {
                at.pop();
                continue;
            }
            let next = at.join(name);
            resolved.names.insert(next.clone());
            resolved.end.clone_from(&next);
            // It may vanish, or be out of reach: then the path ends here, for now.
            let kind = fs::symlink_metadata(&next).map(|metadata| metadata.file_type());
            match kind {
                Ok(kind) if kind.is_symlink() => {
                    resolved.link_folders.insert(at.clone());
                    links += 1;
                    match fs::read_link(&next) {
                        Ok(target) if links <= MAX_LINKS => push(&mut left, &mut at, &target),
                        _ => break,
                    }
                }
                Ok(kind) if kind.is_dir() && !left.is_empty() => at = next,
                _ => {
                    resolved.link_folders.insert(at.clone());
                    break;
                }
            }
        }
        resolved
    }

    /// Where a path leads, as far as it goes.
    pub(super) fn target_of(path: &Path) -> PathBuf {
        std::path::absolute(path).map_or_else(|_| path.to_owned(), |path| Self::follow(&path).end)
    }

    /// The folders of those names.
    pub(super) fn folders(&self) -> impl Iterator<Item = &Path> {
        self.names.iter().filter_map(|name| name.parent())
    }
}

/// Puts a path before what is left to walk.
fn push(left: &mut Vec<OsString>, at: &mut PathBuf, path: &Path) {
    if path.is_absolute() {
        *at = PathBuf::from("/");
    }
    for part in path.components().rev() {
        match part {
            Component::Normal(name) => left.push(name.to_owned()),
            Component::ParentDir => left.push("..".into()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn every_name_and_link_on_the_way_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("a real path");
        fs::create_dir_all(root.join("real/deep")).expect("folders");
        fs::write(root.join("real/deep/a.wasm"), "").expect("a file");
        symlink("real/deep", root.join("current")).expect("a link");
        symlink("../current/a.wasm", root.join("real/a.wasm")).expect("a link");
        let resolved = ResolvedPath::follow(&root.join("real/a.wasm"));
        assert_eq!(resolved.end, root.join("real/deep/a.wasm"));
        for name in ["real", "real/a.wasm", "current", "real/deep", "real/deep/a.wasm"] {
            assert!(resolved.names.contains(&root.join(name)), "{name}: {resolved:?}");
        }
        assert_eq!(resolved.link_folders, ["", "real", "real/deep"].map(|name| root.join(name)).into());
        assert!(resolved.folders().any(|folder| folder == Path::new("/")), "{resolved:?}");
    }

    #[test]
    fn a_way_that_ends_early_ends_at_the_missing_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path().canonicalize().expect("a real path");
        let resolved = ResolvedPath::follow(&root.join("not/there/a.wasm"));
        assert_eq!((resolved.end, resolved.link_folders), (root.join("not"), [root.clone()].into()));
        symlink("b", root.join("a")).expect("a link");
        symlink("a", root.join("b")).expect("a link");
        assert!(ResolvedPath::follow(&root.join("a/x")).names.contains(&root.join("b")), "a loop ends");
        fs::write(root.join("file"), "").expect("a file");
        assert_eq!(ResolvedPath::follow(&root.join("file/x")).end, root.join("file"));
    }
}
