//! Connections that read beside the writer.
//!
//! Owns the connections that are not in use. In SQLite's WAL mode a reader waits for no writer and no writer
//! for a reader. A read is a transaction: all of its queries see one state.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};

use super::super::StorageError;
use super::{BUSY, Schema, failed};

/// Reads of one database that run at once on blocking threads.
pub(super) const READERS: usize = 4;

/// The connections of one database.
#[derive(Debug)]
pub(super) struct Readers {
    path: PathBuf,
    schema: &'static Schema,
    idle: Mutex<Vec<Connection>>,
}

impl Readers {
    pub(super) fn new(path: &Path, schema: &'static Schema) -> Self {
        Self { path: path.to_owned(), schema, idle: Mutex::default() }
    }

    /// Does `work` on a connection that cannot write.
    pub(super) fn run<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StorageError> {
        let failed = |reason| failed(&self.path, self.schema, reason);
        let known = self.idle.lock().pop();
        let connection = known.map_or_else(|| open(&self.path), Ok).map_err(failed)?;
        let read = AssertUnwindSafe(|| {
            let transaction = connection.unchecked_transaction()?;
            // It has nothing to commit: dropping it ends it.
            work(&transaction)
        });
        let Ok(result) = catch_unwind(read) else {
            // Its connection goes with it, whatever was open on it.
            return Err(StorageError::Panicked { path: self.path.display().to_string() });
        };
        let mut idle = self.idle.lock();
        if connection.is_autocommit() && idle.len() < READERS {
            idle.push(connection);
        }
        result.map_err(failed)
    }

    /// Closes the connections that are not in use.
    pub(super) fn close(&self) {
        self.idle.lock().clear();
    }
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}
