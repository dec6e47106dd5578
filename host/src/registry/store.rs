//! What the registry keeps on disk: a record of each agent, and the components that records name.
//!
//! Owns `DATA/registry.db`, `DATA/components/` and the lock that makes one host the folder's only
//! writer. A component is there completely or not at all (written aside, flushed, renamed), and it
//! is there before a record names it. Blocking: call it on the blocking threads.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::{Connection, params};

use super::record::Record;
use crate::domain::{AgentId, Digest};

/// How long a host that was killed may take to let go of its folder: a compiler that it was just
/// starting has what it had until that runs.
const LETS_GO: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Why the registry's own files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another host works there.
    #[error(
        "the data folder {0} is in use by another host; stop that one, or give this one a `data_dir` of its own"
    )]
    InUse(String),
    /// The operating system refuses.
    #[error("cannot use {path}: {reason}; the user that runs the host must be able to write there")]
    Io {
        /// The file or folder.
        path: String,
        /// The operating system's words.
        reason: std::io::Error,
    },
    /// The database refuses.
    #[error(
        "cannot use {path}: {reason}; if it is damaged, restore it or move it away: agents of agents.toml are loaded again, those registered at run time are only there"
    )]
    Database {
        /// The file.
        path: String,
        /// The database's words.
        reason: rusqlite::Error,
    },
    /// A record that this version of the program does not understand.
    #[error("cannot read the record of `{agent}` in {path}: {reason}; was it written by a newer version?")]
    Record {
        /// The agent.
        agent: String,
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Records and components.
pub struct Store {
    path: PathBuf,
    components: PathBuf,
    database: Mutex<Connection>,
    /// Held as long as the host lives.
    _lock: File,
}

impl Store {
    /// Opens the registry's files below `data_dir`, making them if need be.
    ///
    /// # Errors
    /// [`StoreError`] says what is in the way.
    pub fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let components = data_dir.join("components");
        let io = |path: &Path| {
            let path = path.display().to_string();
            move |reason| StoreError::Io { path, reason }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&components).map_err(io(&components))?;
        let lock_path = data_dir.join("lock");
        let lock = File::create(&lock_path).map_err(io(&lock_path))?;
        let until = Instant::now() + LETS_GO;
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(LOOK_AGAIN),
                Err(TryLockError::WouldBlock) => {
                    return Err(StoreError::InUse(data_dir.display().to_string()));
                }
                Err(TryLockError::Error(reason)) => return Err(io(&lock_path)(reason)),
            }
        }
        let path = data_dir.join("registry.db");
        let database = open_database(&path)
            .map_err(|reason| StoreError::Database { path: path.display().to_string(), reason })?;
        Ok(Self { path, components, database: Mutex::new(database), _lock: lock })
    }

    /// Every record.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub(super) fn records(&self) -> Result<BTreeMap<AgentId, Record>, StoreError> {
        let database = self.database.lock();
        let mut statement =
            database.prepare("SELECT id, record FROM agents").map_err(|reason| self.fault(reason))?;
        let rows = statement
            .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
            .map_err(|reason| self.fault(reason))?;
        let mut records = BTreeMap::new();
        for row in rows {
            let (id, text) = row.map_err(|reason| self.fault(reason))?;
            let odd = |reason: String| StoreError::Record {
                agent: id.clone(),
                path: self.path.display().to_string(),
                reason,
            };
            let record = serde_json::from_str(&text).map_err(|error| odd(error.to_string()))?;
            records.insert(AgentId::parse(&id).map_err(|error| odd(error.to_string()))?, record);
        }
        Ok(records)
    }

    /// Writes these records, all or none; they are on disk when it returns.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub(super) fn write<'a>(
        &self,
        records: impl IntoIterator<Item = (&'a AgentId, &'a Record)>,
    ) -> Result<(), StoreError> {
        let mut database = self.database.lock();
        let write = || -> rusqlite::Result<()> {
            let transaction = database.transaction()?;
            {
                let mut statement = transaction.prepare(
                    "INSERT INTO agents (id, record) VALUES (?1, ?2) \
                     ON CONFLICT (id) DO UPDATE SET record = excluded.record",
                )?;
                for (id, record) in records {
                    // A record of texts, numbers and lists always has a JSON form.
                    let text = serde_json::to_string(record).unwrap_or_default();
                    statement.execute(params![id.as_str(), text])?;
                }
            }
            transaction.commit()
        };
        write().map_err(|reason| self.fault(reason))
    }

    /// Keeps a component's bytes under their digest.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(super) fn keep(&self, digest: &Digest, bytes: &[u8]) -> Result<(), StoreError> {
        let path = self.component(digest);
        if fs::metadata(&path).is_ok_and(|known| known.len() == bytes.len() as u64) {
            return Ok(());
        }
        let write = || -> std::io::Result<()> {
            let mut file = tempfile::Builder::new().prefix(".writing-").tempfile_in(&self.components)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            // The name is on disk when the folder is.
            File::open(&self.components)?.sync_all()
        };
        write().map_err(|reason| StoreError::Io { path: path.display().to_string(), reason })
    }

    /// Where the component with this digest is kept.
    pub(super) fn component(&self, digest: &Digest) -> PathBuf {
        self.components.join(digest.to_string())
    }

    /// Removes the components that are not in `needed`, and what a crash left half-written; returns
    /// the digests that went.
    pub(super) fn sweep(&self, needed: &HashSet<Digest>) -> Vec<Digest> {
        let Ok(entries) = fs::read_dir(&self.components) else { return Vec::new() };
        let mut gone = Vec::new();
        for entry in entries.flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            match Digest::from_hex(&name) {
                Some(digest) if !needed.contains(&digest) => {
                    // What cannot be removed now is removed next time.
                    if fs::remove_file(entry.path()).is_ok() {
                        gone.push(digest);
                    }
                }
                Some(_) | None => {}
            }
        }
        gone
    }

    /// Removes what a crash left half-written. Only right before anything is kept.
    pub(super) fn clear_leftovers(&self) {
        let entries = fs::read_dir(&self.components).into_iter().flatten().flatten();
        for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(".writing-")) {
            // What cannot be removed costs room, nothing else.
            let _ = fs::remove_file(entry.path());
        }
    }

    fn fault(&self, reason: rusqlite::Error) -> StoreError {
        StoreError::Database { path: self.path.display().to_string(), reason }
    }
}

fn open_database(path: &Path) -> rusqlite::Result<Connection> {
    let database = Connection::open(path)?;
    // A committed record outlives a crash of the machine, too.
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    database.execute_batch(
        "CREATE TABLE IF NOT EXISTS agents (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID",
    )?;
    Ok(database)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> AgentId {
        AgentId::parse(text).expect("an id")
    }

    #[test]
    fn records_and_components_are_there_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        let record = Record { generation: 7, ..Record::default() };
        store.write([(&id("a"), &record), (&id("b"), &Record::default())]).expect("written");
        let digest = Digest::of(b"code");
        store.keep(&digest, b"code").expect("kept");
        drop(store);
        let store = Store::open(folder.path()).expect("a store");
        assert_eq!(store.records().expect("records").get("a"), Some(&record));
        assert_eq!(fs::read(store.component(&digest)).expect("bytes"), b"code");
        assert_eq!(store.sweep(&HashSet::new()), [digest]);
        assert!(!store.component(&digest).exists());
    }

    #[test]
    fn one_host_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let _store = Store::open(folder.path()).expect("a store");
        assert!(matches!(Store::open(folder.path()), Err(StoreError::InUse(_))));
    }

    #[test]
    fn a_damaged_database_is_said_with_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("registry.db"), "this is no database, whatever its name says")
            .expect("written");
        let error = Store::open(folder.path()).err().expect("an error").to_string();
        assert!(error.contains("registry.db") && error.contains("restore it"), "{error}");
    }
}
