//! Why something in the data folder cannot be used. Each message says what to do.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::PROGRAM;

/// Why the data folder, a file or a database in it cannot be used. Cheap to clone: many callers get the
/// reason for which one transaction failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StorageError {
    /// Another host works there.
    #[error(
        "the data folder {path} is in use by another host; stop that one, or give this one a `data_dir` of its own"
    )]
    InUse {
        /// The data folder.
        path: String,
    },
    /// The data folder cannot be used.
    #[error(
        "cannot use the data folder {path}: {reason}; set `data_dir` in [server] to one that this user can write"
    )]
    Folder {
        /// The data folder.
        path: String,
        /// The operating system's message.
        reason: Arc<io::Error>,
    },
    /// The operating system refuses.
    #[error("cannot use {path}: {reason}; the user that runs the host must be able to write there")]
    Io {
        /// The file or folder.
        path: String,
        /// The operating system's message.
        reason: Arc<io::Error>,
    },
    /// SQLite refuses.
    #[error("cannot use {path}: {reason}; {if_damaged}")]
    Database {
        /// The file.
        path: String,
        /// SQLite's message.
        reason: Arc<rusqlite::Error>,
        /// What to do if the file is damaged.
        if_damaged: &'static str,
    },
    /// A newer version of the program made the folder.
    #[error(
        "the data folder {path} was written by {program}, in layout {layout}; this is {PROGRAM}, which reads layouts up to {supported}, and changed nothing: start that program, or give this one a `data_dir` of its own"
    )]
    NewerFolder {
        /// The data folder.
        path: String,
        /// The program that wrote it.
        program: String,
        /// The layout that it has.
        layout: u32,
        /// The newest layout that this program knows.
        supported: u32,
    },
    /// A newer version of the program wrote the database.
    #[error(
        "{path} was written by {program}, in form {form}; this is {PROGRAM}, which reads forms up to {supported}, and changed nothing: start that program, or give this one a `data_dir` of its own"
    )]
    NewerDatabase {
        /// The file.
        path: String,
        /// The program that wrote it.
        program: String,
        /// The form that it has.
        form: i64,
        /// The newest form that this program knows.
        supported: i64,
    },
    /// The host itself failed on a piece of work; nothing of it was written.
    #[error("the host failed while it used {path}; its log says how. Please report it")]
    Panicked {
        /// The file.
        path: String,
    },
    /// The database is closed: the host is stopping.
    #[error("{path} is closed; the host is stopping")]
    Closed {
        /// The file.
        path: String,
    },
}

impl StorageError {
    pub(super) fn io(path: &Path, reason: io::Error) -> Self {
        Self::Io { path: path.display().to_string(), reason: Arc::new(reason) }
    }

    pub(super) fn folder(path: &Path, reason: io::Error) -> Self {
        Self::Folder { path: path.display().to_string(), reason: Arc::new(reason) }
    }
}

/// Who wrote what is too new, as far as it says.
pub(super) fn signed_by(program: Option<String>) -> String {
    program.unwrap_or_else(|| "a newer version of this program".to_owned())
}
