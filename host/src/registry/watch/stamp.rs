//! What tells without reading it that a file, a folder or a tree is another one, or was written.
//!
//! Pure but for looking at the file system; holds nothing.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::tree::Tree;

/// A folder or a file, whatever it is called.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    /// Of what is at `path`, links followed.
    pub(super) fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata| Self::from(&metadata))
    }
}

impl From<&fs::Metadata> for Identity {
    fn from(metadata: &fs::Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }
}

/// What tells a file or a tree that was touched from one that was not.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    identity: Identity,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    tree: u64,
}

impl Stamp {
    /// Of a file, links followed; `None` if it is not there.
    pub(super) fn of_file(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            identity: Identity::from(&metadata),
            size: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            tree: 0,
        })
    }

    /// Of all sources below `root`; `None` if it is not there.
    pub(super) fn of_tree(root: &Path, excluded: &BTreeSet<PathBuf>) -> Option<Self> {
        let identity = Identity::of(root)?;
        Some(Self { identity, tree: Tree::at(root, excluded).stamp, ..Self::default() })
    }
}
