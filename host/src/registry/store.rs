//! What the registry keeps on disk: a record of each agent, and the components that records name.
//!
//! Owns `DATA/registry.db`, `DATA/components/` and the lock that makes one host the folder's only
//! writer. A component is there completely or not at all (written aside, flushed, renamed), and it
//! is there before a record names it. What is read back is judged by whoever asked for it; what is
//! damaged is written anew as soon as somebody brings the right bytes. Blocking: call it on the
//! blocking threads.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, params};

use super::record::Record;
use super::schema::{self, FORM, PROGRAM, SchemaError};
use crate::domain::{AgentId, AgentKey, Digest, TenantId};

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
    /// A later version of the program wrote it.
    #[error(
        "{path} was written by {program}, in form {form}; this is {PROGRAM}, which reads forms up to {FORM}, and changed nothing: start that program, or give this one a `data_dir` of its own"
    )]
    Later {
        /// The file.
        path: String,
        /// The program that wrote it.
        program: String,
        /// The form that it has.
        form: i64,
    },
    /// A record that this version of the program does not understand.
    #[error(
        "cannot read the record of `{agent}` (tenant `{tenant}`) in {path}: {reason}; was it written by a newer version?"
    )]
    Record {
        /// Whose agent it is.
        tenant: String,
        /// The agent.
        agent: String,
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// What became of a component that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// It was there, whole.
    Known,
    /// It was not there.
    New,
    /// What was there was damaged.
    Mended,
}

/// Where the component with this digest is kept below a data folder.
pub fn component_in(data_dir: &Path, digest: &Digest) -> PathBuf {
    data_dir.join(COMPONENTS).join(digest.to_string())
}

/// The folder of components in a data folder.
pub(super) const COMPONENTS: &str = "components";

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
        let components = data_dir.join(COMPONENTS);
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
        let database = open_database(&path).map_err(|error| {
            let path = path.display().to_string();
            match error {
                SchemaError::Database(reason) => StoreError::Database { path, reason },
                SchemaError::Later { form, program } => {
                    let program = program.unwrap_or_else(|| "a later version of this program".to_owned());
                    StoreError::Later { path, program, form }
                }
            }
        })?;
        Ok(Self { path, components, database: Mutex::new(database), _lock: lock })
    }

    /// Every record.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub(super) fn records(&self) -> Result<BTreeMap<AgentKey, Record>, StoreError> {
        let database = self.database.lock();
        let query = "SELECT tenant, id, record FROM agents";
        let mut statement = database.prepare(query).map_err(|reason| self.fault(reason))?;
        let rows = statement
            .query_map([], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
            })
            .map_err(|reason| self.fault(reason))?;
        let mut records = BTreeMap::new();
        // Agents of one tenant share its name.
        let mut tenants: BTreeMap<String, TenantId> = BTreeMap::new();
        for row in rows {
            let (tenant, id, text) = row.map_err(|reason| self.fault(reason))?;
            let odd = |reason: String| StoreError::Record {
                tenant: tenant.clone(),
                agent: id.clone(),
                path: self.path.display().to_string(),
                reason,
            };
            let record = serde_json::from_str(&text).map_err(|error| odd(error.to_string()))?;
            let id = AgentId::parse(&id).map_err(|error| odd(error.to_string()))?;
            let known = match tenants.get(&tenant) {
                Some(known) => known.clone(),
                None => {
                    let parsed = TenantId::parse(&tenant).map_err(|error| odd(error.to_string()))?;
                    tenants.entry(tenant).or_insert(parsed).clone()
                }
            };
            records.insert(AgentKey { tenant: known, id }, record);
        }
        Ok(records)
    }

    /// Writes these records, all or none; they are on disk when it returns.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub(super) fn write<'a>(
        &self,
        records: impl IntoIterator<Item = (&'a AgentKey, &'a Record)>,
    ) -> Result<(), StoreError> {
        let mut database = self.database.lock();
        let write = || -> rusqlite::Result<()> {
            let transaction = database.transaction()?;
            {
                let mut statement = transaction.prepare(
                    "INSERT INTO agents (tenant, id, record) VALUES (?1, ?2, ?3) \
                     ON CONFLICT (tenant, id) DO UPDATE SET record = excluded.record",
                )?;
                for (key, record) in records {
                    // A record of texts, numbers and lists always has a JSON form.
                    let text = serde_json::to_string(record).unwrap_or_default();
                    statement.execute(params![key.tenant.as_str(), key.id.as_str(), text])?;
                }
            }
            transaction.commit()
        };
        write().map_err(|reason| self.fault(reason))
    }

    /// The generation from which agents count that nothing is remembered of: the highest that was
    /// forgotten.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub(super) fn floor(&self) -> Result<u64, StoreError> {
        let query = "SELECT value FROM about WHERE key = 'floor'";
        let floor: Option<String> = self
            .database
            .lock()
            .query_row(query, [], |row| row.get(0))
            .optional()
            .map_err(|reason| self.fault(reason))?;
        Ok(floor.and_then(|floor| floor.parse().ok()).unwrap_or_default())
    }

    /// Forgets these records altogether; agents that nothing is remembered of count from `floor`.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub(super) fn forget<'a>(
        &self,
        keys: impl IntoIterator<Item = &'a AgentKey>,
        floor: u64,
    ) -> Result<(), StoreError> {
        let mut database = self.database.lock();
        let forget = || -> rusqlite::Result<()> {
            let transaction = database.transaction()?;
            transaction.execute(
                "INSERT INTO about (key, value) VALUES ('floor', ?1) \
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                [floor.to_string()],
            )?;
            for AgentKey { tenant, id } in keys {
                let delete = "DELETE FROM agents WHERE tenant = ?1 AND id = ?2";
                transaction.execute(delete, [tenant.as_str(), id.as_str()])?;
            }
            transaction.commit()
        };
        forget().map_err(|reason| self.fault(reason))
    }

    /// Keeps a component's bytes under their digest. What is there already is read, and written anew
    /// where it is not these bytes.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(super) fn keep(&self, digest: &Digest, bytes: &[u8]) -> Result<Kept, StoreError> {
        let path = self.component(digest);
        let kept = match File::open(&path) {
            Ok(mut known) => match is_same(&mut known, bytes) {
                true => return Ok(Kept::Known),
                false => Kept::Mended,
            },
            Err(_) => Kept::New,
        };
        let write = || -> std::io::Result<()> {
            let mut file = tempfile::Builder::new().prefix(".writing-").tempfile_in(&self.components)?;
            file.write_all(bytes)?;
            file.as_file().sync_all()?;
            file.persist(&path)?;
            // The name is on disk when the folder is.
            File::open(&self.components)?.sync_all()
        };
        write().map_err(|reason| StoreError::Io { path: path.display().to_string(), reason })?;
        if kept == Kept::Mended {
            tracing::warn!(%digest, path = %path.display(), "a component that was kept was damaged; it is written anew");
        }
        Ok(kept)
    }

    /// The digest of the component that this path is for, if it is one of the store's.
    pub(super) fn digest_at(&self, path: &Path) -> Option<Digest> {
        let name = path.file_name().filter(|_| path.parent() == Some(&self.components))?;
        Digest::from_hex(name.to_str()?)
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

fn open_database(path: &Path) -> Result<Connection, SchemaError> {
    let mut database = Connection::open(path)?;
    // Before anything is set: what another program wrote is its own.
    schema::check(&database)?;
    // A committed record outlives a crash of the machine, too.
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    schema::migrate(&mut database)?;
    Ok(database)
}

/// Whether a file holds these bytes and no others. One that cannot be read does not.
fn is_same(file: &mut File, bytes: &[u8]) -> bool {
    let mut buffer = vec![0; 64 * 1024];
    let mut left = bytes;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => return left.is_empty(),
            Ok(count) => match left.strip_prefix(&buffer[..count]) {
                Some(rest) => left = rest,
                None => return false,
            },
            Err(_) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(text: &str) -> AgentKey {
        of("default", text)
    }

    fn of(tenant: &str, id: &str) -> AgentKey {
        let tenant = TenantId::parse(tenant).expect("a tenant");
        AgentKey { tenant, id: AgentId::parse(id).expect("an id") }
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
        assert_eq!(store.records().expect("records").get(&id("a")), Some(&record));
        assert_eq!(fs::read(store.component(&digest)).expect("bytes"), b"code");
        assert_eq!(store.sweep(&HashSet::new()), [digest]);
        assert!(!store.component(&digest).exists());
    }

    #[test]
    fn two_tenants_agents_of_one_id_have_each_their_own_record() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        let record = |generation| Record { generation, ..Record::default() };
        store.write([(&id("a"), &record(1)), (&of("acme", "a"), &record(2))]).expect("written");
        store.write([(&of("acme", "a"), &record(3))]).expect("written");
        drop(store);
        let store = Store::open(folder.path()).expect("a store");
        let known = store.records().expect("records");
        assert_eq!(known, [(id("a"), record(1)), (of("acme", "a"), record(3))].into());
        store.forget([&id("a")], 1).expect("forgotten");
        assert_eq!(store.records().expect("records"), [(of("acme", "a"), record(3))].into());
    }

    #[test]
    fn a_component_of_the_right_length_and_other_bytes_is_written_anew() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        let digest = Digest::of(b"code");
        assert_eq!(store.keep(&digest, b"code").expect("kept"), Kept::New);
        assert_eq!(store.keep(&digest, b"code").expect("kept"), Kept::Known);
        for damaged in ["c0de", "cod", "codes", ""] {
            fs::write(store.component(&digest), damaged).expect("damaged");
            assert_eq!(store.keep(&digest, b"code").expect("kept"), Kept::Mended, "{damaged}");
            assert_eq!(fs::read(store.component(&digest)).expect("bytes"), b"code");
        }
    }

    #[test]
    fn only_the_stores_own_paths_are_for_a_digest() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        let digest = Digest::of(b"code");
        assert_eq!(component_in(folder.path(), &digest), store.component(&digest));
        assert_eq!(store.digest_at(&store.component(&digest)), Some(digest));
        assert_eq!(store.digest_at(&folder.path().join(digest.to_string())), None);
        assert_eq!(store.digest_at(&folder.path().join("components/a.wasm")), None);
    }

    #[test]
    fn what_is_forgotten_is_gone_and_its_generation_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open(folder.path()).expect("a store");
        assert_eq!(store.floor().expect("a floor"), 0);
        store.write([(&id("a"), &Record::default()), (&id("b"), &Record::default())]).expect("written");
        store.forget([&id("a")], 7).expect("forgotten");
        drop(store);
        let store = Store::open(folder.path()).expect("a store");
        assert_eq!(store.floor().expect("a floor"), 7);
        assert_eq!(store.records().expect("records").into_keys().collect::<Vec<_>>(), [id("b")]);
    }

    #[test]
    fn a_folder_of_a_later_program_is_refused_and_not_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("registry.db");
        let database = Connection::open(&path).expect("a database");
        database
            .execute_batch(
                "CREATE TABLE about (key TEXT, value TEXT); PRAGMA user_version = 99; \
                 INSERT INTO about VALUES ('program', 'stockade 9.1')",
            )
            .expect("a later form");
        drop(database);
        let before = fs::read(&path).expect("bytes");
        let error = Store::open(folder.path()).err().expect("an error").to_string();
        for word in ["stockade 9.1", "99", PROGRAM, "data_dir"] {
            assert!(error.contains(word), "`{word}` is not in {error}");
        }
        assert_eq!(fs::read(&path).expect("bytes"), before);
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
