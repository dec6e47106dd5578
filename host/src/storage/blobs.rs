//! Files that are named by the digest of their content.
//!
//! Owns one folder. A blob is there completely or not at all: it is written aside, flushed and renamed. It
//! is believed by its digest alone: what is read is checked, what is damaged is reported, and written again
//! as soon as somebody brings the right bytes. Everything here blocks.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{StorageError, files};
use crate::domain::Digest;

/// What became of a blob that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It was there, whole.
    Existing,
    /// It was not there.
    New,
    /// What was there was damaged, and was replaced.
    Repaired,
}

/// Why a blob cannot be read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BlobError {
    /// It is not there.
    #[error("{path} is not there")]
    Missing {
        /// Its file.
        path: String,
    },
    /// Its content is not what its name says.
    #[error("{path} is damaged: its content does not match its name")]
    Damaged {
        /// Its file.
        path: String,
    },
    /// It is longer than was asked for. Whether it is damaged is not known.
    #[error("{path} has {size} bytes, and at most {limit} are allowed")]
    TooLarge {
        /// Its file.
        path: String,
        /// Its length in bytes.
        size: u64,
        /// The most that was asked for, in bytes.
        limit: u64,
    },
    /// The operating system refuses.
    #[error("cannot read {path}: {reason}")]
    Unreadable {
        /// Its file.
        path: String,
        /// The operating system's message.
        reason: Arc<io::Error>,
    },
}

/// A folder of blobs.
#[derive(Debug)]
pub struct Blobs {
    folder: PathBuf,
}

impl Blobs {
    /// Opens a folder, which is made if need be, and clears what a crash left in it. Nobody else may use it
    /// meanwhile.
    ///
    /// # Errors
    /// If the folder is another user's, or the system refuses.
    pub fn open(folder: PathBuf) -> Result<Self, StorageError> {
        files::private_folder(&folder).map_err(|reason| StorageError::io(&folder, reason))?;
        files::clear_leftovers(&folder);
        Ok(Self { folder })
    }

    /// Where the blob of this digest is kept.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(digest.to_string())
    }

    /// The digest of the blob that this path is for, if it is one of this folder's.
    pub fn digest_at(&self, path: &Path) -> Option<Digest> {
        let name = path.file_name().filter(|_| path.parent() == Some(&self.folder))?;
        Digest::from_hex(name.to_str()?)
    }

    /// Keeps these bytes under their digest; they are on disk when it returns. What is there already is
    /// read, and replaced where it is not these bytes.
    ///
    /// # Errors
    /// If they cannot be written.
    pub fn keep(&self, digest: &Digest, bytes: &[u8]) -> Result<Kept, StorageError> {
        let path = self.path(digest);
        let kept = match File::open(&path) {
            // What cannot be read is replaced, too.
            Ok(mut known) => match files::is_same(&mut known, bytes).unwrap_or(false) {
                true => return Ok(Kept::Existing),
                false => Kept::Repaired,
            },
            Err(_) => Kept::New,
        };
        files::replace(&path, bytes).map_err(|reason| StorageError::io(&path, reason))?;
        if kept == Kept::Repaired {
            tracing::warn!(%digest, path = %path.display(), "a file that was kept was damaged; it is written again");
        }
        Ok(kept)
    }

    /// The bytes of the blob of this digest, at most `limit` of them, checked against the digest.
    ///
    /// # Errors
    /// [`BlobError`] where it is not there, damaged, longer, or cannot be read.
    pub fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, BlobError> {
        let path = self.path(digest);
        let shown = || path.display().to_string();
        let unreadable = |reason: io::Error| match reason.kind() {
            io::ErrorKind::NotFound => BlobError::Missing { path: shown() },
            _ => BlobError::Unreadable { path: shown(), reason: Arc::new(reason) },
        };
        let file = files::open_file(&path).map_err(unreadable)?;
        let size = file.metadata().map_err(unreadable)?.len();
        if size > limit {
            return Err(BlobError::TooLarge { path: shown(), size, limit });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or(0).saturating_add(1));
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(unreadable)?;
        if Digest::of(&bytes) != *digest {
            return Err(BlobError::Damaged { path: shown() });
        }
        Ok(bytes)
    }

    /// Removes the blobs that are not in `needed`; returns the digests of those that went.
    pub fn sweep(&self, needed: &HashSet<Digest>) -> Vec<Digest> {
        let Ok(entries) = fs::read_dir(&self.folder) else { return Vec::new() };
        let mut removed = Vec::new();
        for entry in entries.flatten() {
            let Some(digest) = Digest::from_hex(&entry.file_name().to_string_lossy()) else { continue };
            // What cannot be removed now is removed next time.
            if !needed.contains(&digest) && fs::remove_file(entry.path()).is_ok() {
                removed.push(digest);
            }
        }
        removed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1_000;

    fn blobs() -> (tempfile::TempDir, Blobs) {
        let folder = tempfile::tempdir().expect("a folder");
        let blobs = Blobs::open(folder.path().join("blobs")).expect("a folder of blobs");
        (folder, blobs)
    }

    #[test]
    fn what_is_kept_is_read_until_it_is_swept() {
        let (_folder, blobs) = blobs();
        let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
        assert!(matches!(blobs.read(&one, LIMIT), Err(BlobError::Missing { .. })));
        assert_eq!(blobs.keep(&one, b"one").expect("kept"), Kept::New);
        assert_eq!(blobs.keep(&two, b"two").expect("kept"), Kept::New);
        assert_eq!(blobs.keep(&two, b"two").expect("kept"), Kept::Existing);
        assert_eq!(blobs.sweep(&[two].into()), [one]);
        assert!(matches!(blobs.read(&one, LIMIT), Err(BlobError::Missing { .. })));
        assert_eq!(blobs.read(&two, LIMIT).expect("its bytes"), b"two");
        assert!(matches!(blobs.read(&two, 2), Err(BlobError::TooLarge { size: 3, limit: 2, .. })));
    }

    #[test]
    fn what_is_damaged_is_not_read_and_is_repaired_by_the_right_bytes() {
        let (_folder, blobs) = blobs();
        let digest = Digest::of(b"code");
        blobs.keep(&digest, b"code").expect("kept");
        for damaged in ["c0de", "cod", "codes", ""] {
            fs::write(blobs.path(&digest), damaged).expect("damaged");
            assert!(matches!(blobs.read(&digest, LIMIT), Err(BlobError::Damaged { .. })), "{damaged}");
            assert_eq!(blobs.keep(&digest, b"code").expect("kept"), Kept::Repaired, "{damaged}");
            assert_eq!(blobs.read(&digest, LIMIT).expect("its bytes"), b"code");
        }
    }

    #[test]
    fn what_a_crash_left_is_gone_at_the_next_start_and_is_never_a_blob() {
        let (folder, blobs) = blobs();
        let digest = Digest::of(b"code");
        blobs.keep(&digest, b"code").expect("kept");
        let path = folder.path().join("blobs");
        let left = files::writing_in(&path).expect("a file").keep().expect("it stays").1;
        assert_eq!(blobs.digest_at(&left), None);
        assert!(blobs.sweep(&[digest].into()).is_empty() && left.exists());
        let blobs = Blobs::open(path).expect("the next start");
        assert!(!left.exists());
        assert_eq!(blobs.read(&digest, LIMIT).expect("its bytes"), b"code");
    }

    #[test]
    fn only_its_own_paths_are_for_a_digest() {
        let (folder, blobs) = blobs();
        let digest = Digest::of(b"code");
        assert_eq!(blobs.digest_at(&blobs.path(&digest)), Some(digest));
        assert_eq!(blobs.digest_at(&folder.path().join(digest.to_string())), None);
        assert_eq!(blobs.digest_at(&folder.path().join("blobs/a.wasm")), None);
    }
}
