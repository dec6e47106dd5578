//! The host's own admin key, for a machine where no key is configured: `DATA/admin.key`. It is an
//! operator's.
//!
//! Made once, readable by its owner only, complete or not there at all, and used again at the next start.

use std::fs::{File, Permissions};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::{RandomError, Secret};
use crate::storage::{DataFolder, files};

/// The `key_id` of who sends this key.
pub const LOCAL_ADMIN: &str = "local-admin";

/// More than any key has; a longer file is not ours.
const MAX_FILE: u64 = 4_096;

/// The host's own key.
#[derive(Debug)]
pub struct AdminKey {
    /// The key.
    pub secret: Secret,
    /// Where it is kept.
    pub path: PathBuf,
    /// Whether it was made just now, and so is to be shown this once.
    pub created: bool,
}

/// Why there is no admin key.
#[derive(Debug, thiserror::Error)]
pub enum AdminKeyError {
    /// The file or its folder could not be used.
    #[error("could not {attempt} `{path}`: {error}", path = .path.display())]
    Io {
        /// What was tried.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// What is there is no key of ours.
    #[error("`{path}` holds no key: remove it, and the next start makes another", path = .0.display())]
    Malformed(PathBuf),
    /// No key could be made.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// Reads the admin key in the data folder, or makes it where there is none.
///
/// # Errors
/// [`AdminKeyError`] where the folder cannot be used or the file holds something else.
pub fn load_or_create(folder: &DataFolder) -> Result<AdminKey, AdminKeyError> {
    let path = folder.admin_key();
    if let Some(secret) = read(&path)? {
        return Ok(AdminKey { secret, path, created: false });
    }
    let secret = Secret::random()?;
    // Nobody's key is overwritten, and whoever looks sees all of it or none.
    match files::create(&path, format!("{}\n", secret.expose()).as_bytes()) {
        Ok(()) => Ok(AdminKey { secret, path, created: true }),
        // Another start was quicker: its key counts.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => match read(&path)? {
            Some(secret) => Ok(AdminKey { secret, path, created: false }),
            None => Err(io_error("read", &path, error)),
        },
        Err(error) => Err(io_error("write", &path, error)),
    }
}

fn io_error(attempt: &'static str, path: &Path, error: io::Error) -> AdminKeyError {
    AdminKeyError::Io { attempt, path: path.to_owned(), error }
}

/// The key in the file; `None` where there is no file.
fn read(path: &Path) -> Result<Option<Secret>, AdminKeyError> {
    let failed = |error| io_error("read", path, error);
    let file = match files::open_file(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    close_to_others(&file, path).map_err(|error| io_error("protect", path, error))?;
    let mut text = String::new();
    match file.take(MAX_FILE).read_to_string(&mut text) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            return Err(AdminKeyError::Malformed(path.to_owned()));
        }
        Err(error) => return Err(failed(error)),
    }
    let key = text.trim_ascii();
    let fits = (32..=crate::config::MAX_KEY_CHARS).contains(&key.len())
        && key.bytes().all(|byte| byte.is_ascii_graphic());
    if !fits {
        return Err(AdminKeyError::Malformed(path.to_owned()));
    }
    Ok(Some(Secret::new(key)))
}

/// Takes others' access to the file away, and says so in the log.
fn close_to_others(file: &File, path: &Path) -> io::Result<()> {
    if file.metadata()?.permissions().mode() & 0o077 != 0 {
        file.set_permissions(Permissions::from_mode(0o600))?;
        tracing::warn!(
            path = %path.display(),
            "others on this machine could read the admin key; they no longer can, but remove the file for a new one"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::storage::Access;

    fn data_folder(path: &Path) -> DataFolder {
        DataFolder::open(path, Access::Shared).expect("a data folder")
    }

    #[test]
    fn it_is_made_once_and_kept_for_its_owner() {
        let folder = tempfile::tempdir().expect("folder");
        let data = data_folder(&folder.path().join("deep/data"));
        let first = load_or_create(&data).expect("made");
        assert!(first.created);
        let again = load_or_create(&data).expect("kept");
        assert!(!again.created && again.secret == first.secret);
        assert_eq!(fs::read_dir(data.path()).expect("folder").count(), 1);
        assert!(!format!("{first:?}").contains(first.secret.expose()));
    }

    #[test]
    fn only_its_owner_may_read_it() {
        let folder = tempfile::tempdir().expect("folder");
        let data = data_folder(folder.path());
        let key = load_or_create(&data).expect("made");
        let mode = || fs::metadata(&key.path).expect("file").permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&key.path, fs::Permissions::from_mode(0o644)).expect("chmod");
        load_or_create(&data).expect("kept");
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn what_is_no_key_is_not_used() {
        for content in
            [b"".as_slice(), b"short", b"two words of more than thirty-two characters", b"\xff\xfe"]
        {
            let folder = tempfile::tempdir().expect("folder");
            let data = data_folder(folder.path());
            fs::write(data.admin_key(), content).expect("write");
            assert!(matches!(load_or_create(&data), Err(AdminKeyError::Malformed(_))));
        }
    }

    #[test]
    fn of_many_starts_at_once_one_makes_it() {
        let folder = tempfile::tempdir().expect("folder");
        let keys: Vec<AdminKey> = std::thread::scope(|scope| {
            let start = || load_or_create(&data_folder(folder.path()));
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            starts.into_iter().map(|start| start.join().expect("thread").expect("key")).collect()
        });
        assert_eq!(keys.iter().filter(|key| key.created).count(), 1);
        assert!(keys.iter().all(|key| key.secret == keys[0].secret));
    }
}
