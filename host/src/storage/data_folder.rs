//! The data folder: whose it is, who works in it, what lies where.
//!
//! Owns the lock that makes one host the folder's only writer, for as long as any clone lives. The layout
//! has a version, which is kept in the file `layout`: a folder of a newer program is refused before anything
//! in it is changed. A layout says where files are; what is in a database is its own schema's affair.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::error::signed_by;
use super::{Database, PROGRAM, Schema, StorageError, files};

/// The layout that this program reads and writes. Folders from before layouts were counted have the layout
/// 0, in which every part that they have lies where it lies in layout 1.
pub const LAYOUT: u32 = 1;

/// Names of parts.
const LAYOUT_FILE: &str = "layout";
const LOCK_FILE: &str = "lock";
const COMPONENTS: &str = "components";
const CACHE: &str = "cache";
const ADMIN_KEY: &str = "admin.key";

/// How long a host that was killed may take to release its lock: a compiler that it was just starting has
/// the descriptor until that runs.
const RELEASED_WITHIN: Duration = Duration::from_secs(2);
const TRY_AGAIN: Duration = Duration::from_millis(20);
/// More than any file of layouts has, in bytes.
const MAX_LAYOUT_FILE: u64 = 4_096;

/// What the folder is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// One command, beside others and beside a host that serves: it uses the cache and remembers nothing.
    Shared,
    /// A host that serves: it is the only one.
    Exclusive,
}

/// What the file `layout` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Layout {
    layout: u32,
    /// Who wrote it.
    program: Option<String>,
}

/// A data folder; cheap to clone.
#[derive(Debug, Clone)]
pub struct DataFolder {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// With [`Access::Exclusive`]: held as long as this lives.
    lock: Option<File>,
}

impl DataFolder {
    /// Opens the folder at `path`, which is made if need be, for this user alone. Waits up to two seconds
    /// for a host that is just going.
    ///
    /// # Errors
    /// [`StorageError`] where it is another user's or another host's, of a newer program, or the system
    /// refuses.
    pub fn open(path: &Path, access: Access) -> Result<Self, StorageError> {
        let failed = |reason| StorageError::folder(path, reason);
        // Nothing is changed before it is known whose layout it is.
        read_layout(path)?;
        if files::private_folder(path).map_err(failed)? {
            tracing::warn!(folder = %path.display(), "others could look into the data folder; it is this user's alone now");
        }
        let lock = match access {
            Access::Shared => None,
            Access::Exclusive => {
                let lock = lock(path)?;
                // Whoever had the lock before may have been a newer program.
                if read_layout(path)? < LAYOUT {
                    write_layout(path)?;
                }
                Some(lock)
            }
        };
        Ok(Self { inner: Arc::new(Inner { path: path.to_owned(), lock }) })
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The folder of compiled code, which several hosts and commands may share.
    pub fn cache(&self) -> PathBuf {
        self.path().join(CACHE)
    }

    /// The folder of components that are kept.
    pub fn components(&self) -> PathBuf {
        Self::components_in(self.path())
    }

    /// The same for a folder that is not open.
    pub fn components_in(data_dir: &Path) -> PathBuf {
        data_dir.join(COMPONENTS)
    }

    /// The file of the host's own key.
    pub fn admin_key(&self) -> PathBuf {
        Self::admin_key_in(self.path())
    }

    /// The same for a folder that is not open.
    pub fn admin_key_in(data_dir: &Path) -> PathBuf {
        data_dir.join(ADMIN_KEY)
    }

    /// Opens the database in the file `name`, which is made if need be. The folder stays locked as long as
    /// the database is open.
    ///
    /// # Errors
    /// As [`Database::open`]; or where the folder was opened with [`Access::Shared`].
    pub fn database(&self, name: &str, schema: &'static Schema) -> Result<Database, StorageError> {
        let path = self.path().join(name);
        if self.inner.lock.is_none() {
            let reason = io::Error::other("the data folder was opened without its lock");
            return Err(StorageError::io(&path, reason));
        }
        Database::open_in(&path, schema, Some(self.clone()))
    }
}

/// The layout that a folder has; 0 where it has none, or is not there.
fn read_layout(folder: &Path) -> Result<u32, StorageError> {
    let path = folder.join(LAYOUT_FILE);
    let text = match files::read_file(&path, MAX_LAYOUT_FILE) {
        Ok(text) => text,
        // What is no folder is found out right after this.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(0);
        }
        Err(error) => return Err(StorageError::folder(folder, error)),
    };
    let read: Layout = serde_json::from_slice(&text).map_err(|error| {
        let reason = format!("it does not say which layout the data folder has ({error}); restore it, or remove it if this program wrote the folder last");
        StorageError::io(&path, io::Error::other(reason))
    })?;
    if read.layout > LAYOUT {
        return Err(StorageError::NewerFolder {
            path: folder.display().to_string(),
            program: signed_by(read.program),
            layout: read.layout,
            supported: LAYOUT,
        });
    }
    Ok(read.layout)
}

fn write_layout(folder: &Path) -> Result<(), StorageError> {
    let path = folder.join(LAYOUT_FILE);
    let layout = Layout { layout: LAYOUT, program: Some(PROGRAM.to_owned()) };
    let text = serde_json::to_string(&layout).map_err(io::Error::other);
    let written = text.and_then(|text| files::replace(&path, format!("{text}\n").as_bytes()));
    written.map_err(|reason| StorageError::io(&path, reason))
}

fn lock(folder: &Path) -> Result<File, StorageError> {
    let path = folder.join(LOCK_FILE);
    let failed = |reason| StorageError::io(&path, reason);
    let file = File::create(&path).map_err(failed)?;
    let until = Instant::now() + RELEASED_WITHIN;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(TRY_AGAIN),
            Err(TryLockError::WouldBlock) => {
                return Err(StorageError::InUse { path: folder.display().to_string() });
            }
            Err(TryLockError::Error(reason)) => return Err(failed(reason)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    static SCHEMA: Schema = Schema { steps: &[], if_damaged: "restore it" };

    #[test]
    fn one_host_at_a_time_and_commands_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/data");
        let first = DataFolder::open(&path, Access::Exclusive).expect("it is made");
        assert_eq!(fs::metadata(&path).expect("a folder").permissions().mode() & 0o777, 0o700);
        assert!(matches!(DataFolder::open(&path, Access::Exclusive), Err(StorageError::InUse { .. })));
        let shared = DataFolder::open(&path, Access::Shared).expect("a command");
        assert!(shared.database("a.db", &SCHEMA).is_err() && !path.join("a.db").exists());
        // A database that is open keeps the lock.
        let database = first.database("a.db", &SCHEMA).expect("a database");
        drop(first);
        assert!(matches!(DataFolder::open(&path, Access::Exclusive), Err(StorageError::InUse { .. })));
        drop(database);
        DataFolder::open(&path, Access::Exclusive).expect("the next one");
    }

    #[test]
    fn a_folder_of_a_newer_program_is_refused_and_nothing_in_it_is_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("data");
        fs::create_dir(&path).expect("a folder");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("its mode");
        for (text, program) in [
            (r#"{"layout": 99, "program": "stockade 9.1", "more": {}}"#, "stockade 9.1"),
            (r#"{"layout": 99}"#, "a newer version"),
        ] {
            fs::write(path.join("layout"), text).expect("its layout");
            for access in [Access::Shared, Access::Exclusive] {
                let error = DataFolder::open(&path, access).expect_err("it is refused").to_string();
                for word in [program, "layout 99", PROGRAM, "changed nothing", "data_dir"] {
                    assert!(error.contains(word), "`{word}` is not in {error}");
                }
            }
            assert_eq!(fs::read_to_string(path.join("layout")).expect("its layout"), text);
            assert_eq!(fs::read_dir(&path).expect("a folder").count(), 1);
            assert_eq!(fs::metadata(&path).expect("a folder").permissions().mode() & 0o777, 0o755);
        }
        fs::write(path.join("layout"), "what is this").expect("its layout");
        let error = DataFolder::open(&path, Access::Exclusive).expect_err("it is refused").to_string();
        assert!(error.contains("layout") && error.contains("restore it"), "{error}");
    }

    #[test]
    fn a_folder_without_a_layout_gets_this_one_from_a_host_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let layout = folder.path().join("layout");
        DataFolder::open(folder.path(), Access::Shared).expect("a command");
        assert!(!layout.exists());
        for _ in 0..2 {
            DataFolder::open(folder.path(), Access::Exclusive).expect("a host");
            let text = fs::read_to_string(&layout).expect("its layout");
            assert!(text.contains("\"layout\":1") && text.contains(PROGRAM), "{text}");
        }
    }
}
