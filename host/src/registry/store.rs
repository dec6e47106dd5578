//! What the registry keeps on disk: a record of each agent, and the components that records name.
//!
//! Knows the SQL of `DATA/registry.db`; the file is `storage`'s, and so is the folder of components. A
//! component is on disk before a record names it.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use super::record::Record;
use super::schema::SCHEMA;
use crate::domain::{AgentId, AgentKey, Digest, TenantId};
use crate::storage::{BlobError, Blobs, DataFolder, Database, Kept, StorageError};

/// The file of records in the data folder.
const DATABASE: &str = "registry.db";

/// Why the registry's own files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The data folder cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
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

/// Where the component with this digest is kept below a data folder.
pub fn component_in(data_dir: &Path, digest: &Digest) -> PathBuf {
    DataFolder::components_in(data_dir).join(digest.to_string())
}

/// Records in the form in which they are written. Making them costs more than writing them, and is done
/// before the writer's turn.
#[derive(Debug, Clone, Default)]
pub(super) struct Rows(Arc<[(AgentKey, String)]>);

impl Rows {
    pub(super) fn of<'a>(records: impl IntoIterator<Item = (&'a AgentKey, &'a Record)>) -> Self {
        // A record of texts, numbers and lists always has a JSON form.
        let row = |(key, record): (&AgentKey, &Record)| {
            (key.clone(), serde_json::to_string(record).unwrap_or_default())
        };
        Self(records.into_iter().map(row).collect())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn put(&self, transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        let mut statement = transaction.prepare(
            "INSERT INTO agents (tenant, id, record) VALUES (?1, ?2, ?3) \
             ON CONFLICT (tenant, id) DO UPDATE SET record = excluded.record",
        )?;
        for (key, text) in &*self.0 {
            statement.execute(params![key.tenant.as_str(), key.id.as_str(), text])?;
        }
        Ok(())
    }

    /// Whether all of them are what is there.
    fn are_in(&self, connection: &Connection) -> rusqlite::Result<bool> {
        let query = "SELECT count(*) FROM agents WHERE tenant = ?1 AND id = ?2 AND record = ?3";
        let mut statement = connection.prepare(query)?;
        for (key, text) in &*self.0 {
            let there: i64 =
                statement.query_row(params![key.tenant.as_str(), key.id.as_str(), text], |row| row.get(0))?;
            if there == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Records and components.
pub struct Store {
    database: Database,
    components: Blobs,
}

impl Store {
    /// Opens the registry's files in the data folder, making them if need be. Blocking.
    ///
    /// # Errors
    /// [`StoreError`] says what is in the way.
    pub fn open(folder: &DataFolder) -> Result<Self, StoreError> {
        // A database of a newer program is refused before anything else is made.
        let database = folder.database(DATABASE, &SCHEMA)?;
        Ok(Self { database, components: Blobs::open(folder.components())? })
    }

    /// Every record. Blocking.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub(super) fn records(&self) -> Result<BTreeMap<AgentKey, Record>, StoreError> {
        let rows = self.database.read_blocking(|connection| {
            let mut statement = connection.prepare("SELECT tenant, id, record FROM agents")?;
            let rows = statement.query_map([], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, String>(2)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        })?;
        let mut records = BTreeMap::new();
        // Agents of one tenant share its name.
        let mut tenants: BTreeMap<String, TenantId> = BTreeMap::new();
        for (tenant, id, text) in rows {
            let unreadable = |reason: String| StoreError::Record {
                tenant: tenant.clone(),
                agent: id.clone(),
                path: self.database.path().display().to_string(),
                reason,
            };
            let record = serde_json::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
            let id = AgentId::parse(&id).map_err(|error| unreadable(error.to_string()))?;
            let known = match tenants.get(&tenant) {
                Some(known) => known.clone(),
                None => {
                    let parsed = TenantId::parse(&tenant).map_err(|error| unreadable(error.to_string()))?;
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
    /// If they cannot be written; then none of them is on disk.
    pub(super) async fn write(&self, rows: Rows) -> Result<(), StoreError> {
        tracing::debug!(records = rows.0.len(), "records are being written");
        let put = rows.clone();
        let Err(error) = self.database.write(move |transaction| put.put(transaction)).await else {
            return Ok(());
        };
        // A write that fails at its end may be there all the same: what is on disk counts.
        if self.database.read(move |connection| rows.are_in(connection)).await.unwrap_or(false) {
            tracing::warn!(%error, "writing records was reported as failed, and they are on disk");
            return Ok(());
        }
        Err(error.into())
    }

    /// The same at the start. Blocking.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(super) fn write_at_start(&self, rows: Rows) -> Result<(), StoreError> {
        Ok(self.database.write_blocking(move |transaction| rows.put(transaction))?)
    }

    /// The generation from which agents count that nothing is remembered of: the highest that was
    /// forgotten. Blocking.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub(super) fn floor(&self) -> Result<u64, StoreError> {
        let query = "SELECT value FROM about WHERE key = 'floor'";
        let floor: Option<String> = self
            .database
            .read_blocking(|connection| connection.query_row(query, [], |row| row.get(0)).optional())?;
        Ok(floor.and_then(|floor| floor.parse().ok()).unwrap_or_default())
    }

    /// Writes `rows` and forgets `forgotten` altogether, all or nothing; agents that nothing is remembered
    /// of count from `floor`.
    ///
    /// # Errors
    /// If the database cannot be written.
    pub(super) async fn forget(
        &self,
        rows: Rows,
        forgotten: Vec<AgentKey>,
        floor: u64,
    ) -> Result<(), StoreError> {
        let forget = move |transaction: &Transaction<'_>| {
            rows.put(transaction)?;
            transaction.execute(
                "INSERT INTO about (key, value) VALUES ('floor', ?1) \
                 ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                [floor.to_string()],
            )?;
            let mut delete = transaction.prepare("DELETE FROM agents WHERE tenant = ?1 AND id = ?2")?;
            for AgentKey { tenant, id } in forgotten {
                delete.execute([tenant.as_str(), id.as_str()])?;
            }
            Ok(())
        };
        Ok(self.database.write(forget).await?)
    }

    /// Keeps a component's bytes under their digest. Blocking.
    ///
    /// # Errors
    /// If they cannot be written.
    pub(super) fn keep(&self, digest: &Digest, bytes: &[u8]) -> Result<Kept, StoreError> {
        Ok(self.components.keep(digest, bytes)?)
    }

    /// The component of this digest, of at most `limit` bytes. Blocking.
    ///
    /// # Errors
    /// [`BlobError`] where it is not there, or not whole.
    pub(super) fn read(&self, digest: &Digest, limit: u64) -> Result<Vec<u8>, BlobError> {
        self.components.read(digest, limit)
    }

    /// The digest of the component that this path is for, if it is one of the store's.
    pub(super) fn digest_at(&self, path: &Path) -> Option<Digest> {
        self.components.digest_at(path)
    }

    /// Where the component with this digest is kept.
    pub(super) fn component(&self, digest: &Digest) -> PathBuf {
        self.components.path(digest)
    }

    /// Removes the components that are not in `needed`; returns the digests of those that went. Blocking.
    pub(super) fn sweep(&self, needed: &HashSet<Digest>) -> Vec<Digest> {
        self.components.sweep(needed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Access;

    fn id(text: &str) -> AgentKey {
        of("default", text)
    }

    fn of(tenant: &str, id: &str) -> AgentKey {
        let tenant = TenantId::parse(tenant).expect("a tenant");
        AgentKey { tenant, id: AgentId::parse(id).expect("an id") }
    }

    fn open(folder: &tempfile::TempDir) -> Store {
        let folder = DataFolder::open(folder.path(), Access::Exclusive).expect("a data folder");
        Store::open(&folder).expect("a store")
    }

    #[tokio::test]
    async fn records_and_components_are_there_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(&folder);
        let record = Record { generation: 7, ..Record::default() };
        store.write(Rows::of([(&id("a"), &record), (&id("b"), &Record::default())])).await.expect("written");
        let digest = Digest::of(b"code");
        assert_eq!(store.keep(&digest, b"code").expect("kept"), Kept::New);
        drop(store);
        let store = open(&folder);
        assert_eq!(store.records().expect("records").get(&id("a")), Some(&record));
        assert_eq!(store.read(&digest, 100).expect("bytes"), b"code");
        assert_eq!(component_in(folder.path(), &digest), store.component(&digest));
        assert_eq!(store.sweep(&HashSet::new()), [digest]);
    }

    #[tokio::test]
    async fn two_tenants_agents_of_one_id_have_each_their_own_record() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(&folder);
        let record = |generation| Record { generation, ..Record::default() };
        let both = [(&id("a"), &record(1)), (&of("acme", "a"), &record(2))];
        store.write(Rows::of(both)).await.expect("written");
        store.write_at_start(Rows::of([(&of("acme", "a"), &record(3))])).expect("written");
        drop(store);
        let store = open(&folder);
        let known = store.records().expect("records");
        assert_eq!(known, [(id("a"), record(1)), (of("acme", "a"), record(3))].into());
        store.forget(Rows::default(), vec![id("a")], 1).await.expect("forgotten");
        assert_eq!(store.records().expect("records"), [(of("acme", "a"), record(3))].into());
    }

    #[tokio::test]
    async fn what_is_forgotten_is_gone_and_its_generation_is_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(&folder);
        assert_eq!(store.floor().expect("a floor"), 0);
        let whole = Record { generation: 3, many_callers: true, ..Record::default() };
        store.write(Rows::of([(&id("a"), &whole), (&id("b"), &whole)])).await.expect("written");
        let bare = Record { generation: 3, ..Record::default() };
        store.forget(Rows::of([(&id("b"), &bare)]), vec![id("a")], 7).await.expect("forgotten");
        drop(store);
        let store = open(&folder);
        assert_eq!(store.floor().expect("a floor"), 7);
        assert_eq!(store.records().expect("records"), [(id("b"), bare)].into());
    }

    #[tokio::test]
    async fn a_write_that_was_reported_as_failed_counts_if_it_is_there() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(&folder);
        let rows = Rows::of([(&id("a"), &Record::default())]);
        // Nobody may change anything any more.
        let refuse = "CREATE TRIGGER no BEFORE INSERT ON agents BEGIN SELECT RAISE(FAIL, 'no'); END";
        store.database.write_blocking(move |transaction| transaction.execute_batch(refuse)).expect("refused");
        assert!(store.write(rows.clone()).await.is_err());
        let put = rows.clone();
        let allow = move |transaction: &Transaction<'_>| {
            transaction.execute_batch("DROP TRIGGER no")?;
            put.put(transaction)?;
            transaction.execute_batch(refuse)
        };
        store.database.write_blocking(allow).expect("it is there");
        store.write(rows).await.expect("it is there");
    }

    #[test]
    fn a_damaged_database_is_reported_with_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join(DATABASE), "this is no database, whatever its name says")
            .expect("written");
        let folder = DataFolder::open(folder.path(), Access::Exclusive).expect("a data folder");
        let error = Store::open(&folder).err().expect("an error").to_string();
        assert!(error.contains("registry.db") && error.contains("restore it"), "{error}");
    }
}
