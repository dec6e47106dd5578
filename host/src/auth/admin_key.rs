//! The host's own admin key, for a machine where no key is configured: `DATA/admin.key`. It is an
//! operator's.
//!
//! Made once, readable by its owner only, complete or not there at all, and used again at the next start.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use super::{RandomError, Secret};

/// The `key_id` of who sends this key.
pub const LOCAL_ADMIN: &str = "local-admin";

/// The file's name in the data folder.
pub const ADMIN_KEY_FILE: &str = "admin.key";
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

/// Reads the admin key in the folder `data_dir`, or makes it, and the folder, where there is none.
///
/// # Errors
/// [`AdminKeyError`] where the folder cannot be used or the file holds something else.
pub fn load_or_create(data_dir: &Path) -> Result<AdminKey, AdminKeyError> {
    let path = data_dir.join(ADMIN_KEY_FILE);
    if let Some(secret) = read(&path)? {
        return Ok(AdminKey { secret, path, created: false });
    }
    let secret = Secret::random()?;
    create_folder(data_dir).map_err(|error| io_error("create", data_dir, error))?;
    match write(data_dir, &path, &secret) {
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
    let file = match File::open(path) {
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

/// Writes the file under another name and links it: a reader sees all of it or none, and nobody's
/// key is overwritten.
fn write(folder: &Path, path: &Path, secret: &Secret) -> io::Result<()> {
    // Temporary files are 0600 from the beginning.
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(file, "{}", secret.expose())?;
    file.as_file().sync_all()?;
    file.persist_noclobber(path).map_err(|error| error.error)?;
    // The name is on disk only when its folder is.
    File::open(folder)?.sync_all()
}

#[cfg(unix)]
fn create_folder(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn create_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

/// Takes others' access to the file away, and says so in the log.
#[cfg(unix)]
fn close_to_others(file: &File, path: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut permissions = file.metadata()?.permissions();
    if permissions.mode() & 0o077 != 0 {
        permissions.set_mode(0o600);
        file.set_permissions(permissions)?;
        tracing::warn!(
            path = %path.display(),
            "others on this machine could read the admin key; they no longer can, but remove the file for a new one"
        );
    }
    Ok(())
}

#[cfg(not(unix))]
fn close_to_others(_file: &File, _path: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_once_and_kept_for_its_owner() {
        let folder = tempfile::tempdir().expect("folder");
        let data = folder.path().join("deep/data");
        let first = load_or_create(&data).expect("made");
        assert!(first.created);
        let again = load_or_create(&data).expect("kept");
        assert!(!again.created && again.secret == first.secret);
        assert_eq!(fs::read_dir(&data).expect("folder").count(), 1);
        assert!(!format!("{first:?}").contains(first.secret.expose()));
    }

    #[cfg(unix)]
    #[test]
    fn only_its_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("folder");
        let key = load_or_create(folder.path()).expect("made");
        let mode = || fs::metadata(&key.path).expect("file").permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&key.path, fs::Permissions::from_mode(0o644)).expect("chmod");
        load_or_create(folder.path()).expect("kept");
        assert_eq!(mode(), 0o600);
    }

    #[test]
    fn what_is_no_key_is_not_used() {
        for content in
            [b"".as_slice(), b"short", b"two words of more than thirty-two characters", b"\xff\xfe"]
        {
            let folder = tempfile::tempdir().expect("folder");
            fs::write(folder.path().join(ADMIN_KEY_FILE), content).expect("write");
            assert!(matches!(load_or_create(folder.path()), Err(AdminKeyError::Malformed(_))));
        }
    }

    #[test]
    fn of_many_starts_at_once_one_makes_it() {
        let folder = tempfile::tempdir().expect("folder");
        let keys: Vec<AdminKey> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| load_or_create(folder.path()))).collect();
            starts.into_iter().map(|start| start.join().expect("thread").expect("key")).collect()
        });
        assert_eq!(keys.iter().filter(|key| key.created).count(), 1);
        assert!(keys.iter().all(|key| key.secret == keys[0].secret));
    }
}
