//! One SQLite database: one thread that writes it, a few connections that read beside it.
//!
//! Owns the file as long as any clone of the handle lives. What is written is on disk when its caller is
//! answered (WAL mode, flushed at each commit), also if the machine crashes then.

mod readers;
mod schema;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, Transaction};
use tokio::sync::{Semaphore, oneshot};

use super::{DataFolder, StorageError};
use readers::{READERS, Readers};
use schema::SchemaError;
pub use schema::{Schema, Step};
use writer::{Piece, Work};

/// Pieces of work of asynchronous callers that wait for the writer at the most; who comes then waits for a
/// place. A caller that blocks has one each.
const QUEUE: usize = 1_024;

/// How long another program (a backup, a shell) may hold the database before what waits for it fails.
const BUSY: Duration = Duration::from_secs(30);

/// What the file of the write-ahead log is cut down to when its content is in the database, in bytes.
const LOG_KEPT: i64 = 8 << 20;

/// A database; cheap to clone. It is closed when the last clone goes, after all that is queued is written.
#[derive(Clone)]
pub struct Database {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    schema: &'static Schema,
    readers: Readers,
    reading: Semaphore,
    /// Places in the writer's queue.
    queued: Arc<Semaphore>,
    writer: Mutex<Option<Writer>>,
}

struct Writer {
    queue: mpsc::Sender<Box<dyn Piece>>,
    thread: JoinHandle<()>,
}

impl Database {
    /// Opens the database in the file `path`, which is made if need be, and brings it to the form that
    /// `schema` leads to. Blocking.
    ///
    /// # Errors
    /// [`StorageError`]; a newer form is refused before anything is written.
    pub fn open(path: &Path, schema: &'static Schema) -> Result<Self, StorageError> {
        Self::open_in(path, schema, None)
    }

    /// The same in a data folder that stays locked until the last write is done.
    pub(super) fn open_in(
        path: &Path,
        schema: &'static Schema,
        folder: Option<DataFolder>,
    ) -> Result<Self, StorageError> {
        let connection = connect(path, schema).map_err(|error| match error {
            SchemaError::Database(reason) => failed(path, schema, reason),
            SchemaError::Newer { form, program } => StorageError::NewerDatabase {
                path: path.display().to_string(),
                program,
                form,
                supported: schema.form(),
            },
        })?;
        let (queue, pieces) = mpsc::channel();
        let write = {
            let path = path.to_owned();
            move || {
                writer::run(connection, &path, schema, &pieces);
                drop(folder);
            }
        };
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let thread = std::thread::Builder::new().name(name).spawn(write);
        let thread = thread.map_err(|reason| StorageError::io(path, reason))?;
        let inner = Inner {
            path: path.to_owned(),
            schema,
            readers: Readers::new(path, schema),
            reading: Semaphore::new(READERS),
            queued: Arc::new(Semaphore::new(QUEUE)),
            writer: Mutex::new(Some(Writer { queue, thread })),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Does `work` in the order of the queue, as a transaction of its own: all of it is on disk when this
    /// returns, or nothing. What is queued is done, whether or not the caller still waits; so drop this
    /// future only where either is right.
    ///
    /// Waits where the queue is full. Work that sees itself commit or roll back is wrong: the transaction
    /// may be shared with others.
    ///
    /// # Errors
    /// What `work` failed with, or why it could not be committed.
    pub async fn write<T, W>(&self, work: W) -> Result<T, StorageError>
    where
        W: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let place = self.inner.queued.clone().acquire_owned().await.map_err(|_| self.closed())?;
        let (sender, receiver) = oneshot::channel();
        self.send(work, move |result| {
            drop(place);
            // Who does not wait any more does not hear of it.
            let _ = sender.send(result);
        })?;
        receiver.await.unwrap_or_else(|_| Err(self.closed()))
    }

    /// The same for callers that may block: at the start, and on blocking threads.
    ///
    /// # Errors
    /// As [`Database::write`].
    pub fn write_blocking<T, W>(&self, work: W) -> Result<T, StorageError>
    where
        W: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let (sender, receiver): (SyncSender<_>, Receiver<_>) = sync_channel(1);
        self.send(work, move |result| {
            let _ = sender.send(result);
        })?;
        receiver.recv().unwrap_or_else(|_| Err(self.closed()))
    }

    fn send<T, W>(
        &self,
        work: W,
        answer: impl FnOnce(Result<T, StorageError>) + Send + 'static,
    ) -> Result<(), StorageError>
    where
        W: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let piece = Box::new(Work::new(&self.inner.path, self.inner.schema, work, answer));
        let writer = self.inner.writer.lock();
        let sent = writer.as_ref().is_some_and(|writer| writer.queue.send(piece).is_ok());
        if sent { Ok(()) } else { Err(self.closed()) }
    }

    /// Does `work` on a blocking thread, on a connection that cannot write. All of its queries see one
    /// state: what was on disk when the first one began. It waits for no write.
    ///
    /// # Errors
    /// What `work` failed with, or why there is no connection.
    pub async fn read<T, R>(&self, work: R) -> Result<T, StorageError>
    where
        R: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
        T: Send + 'static,
    {
        let _place = self.inner.reading.acquire().await.map_err(|_| self.closed())?;
        let database = self.clone();
        let read = tokio::task::spawn_blocking(move || database.inner.readers.run(work));
        read.await.unwrap_or_else(|_| Err(self.closed()))
    }

    /// The same on this thread.
    ///
    /// # Errors
    /// As [`Database::read`].
    pub fn read_blocking<T>(
        &self,
        work: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StorageError> {
        if self.inner.reading.is_closed() {
            return Err(self.closed());
        }
        self.inner.readers.run(work)
    }

    /// Takes no more work, and returns when all that was queued is written and the file is closed.
    pub async fn close(&self) {
        let database = self.clone();
        // Where the runtime is going, the last clone closes it.
        let _ = tokio::task::spawn_blocking(move || database.inner.close()).await;
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    fn closed(&self) -> StorageError {
        StorageError::Closed { path: self.inner.path.display().to_string() }
    }
}

impl Inner {
    fn close(&self) {
        self.queued.close();
        self.reading.close();
        self.readers.close();
        let writer = self.writer.lock().take();
        if let Some(Writer { queue, thread }) = writer {
            drop(queue);
            // A piece of work may hold the last clone: its thread cannot wait for itself.
            if thread.thread().id() != std::thread::current().id() {
                // A panic of the writer itself is in the log.
                let _ = thread.join();
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// The connection that writes, in this program's form.
fn connect(path: &Path, schema: &'static Schema) -> Result<Connection, SchemaError> {
    let mut database = Connection::open(path)?;
    database.busy_timeout(BUSY)?;
    // Before anything is set: what another program wrote is its own.
    schema.check(&database)?;
    // What is committed outlives a crash of the machine, too.
    database.pragma_update(None, "journal_mode", "WAL")?;
    database.pragma_update(None, "synchronous", "FULL")?;
    database.pragma_update_and_check(None, "journal_size_limit", LOG_KEPT, |_| Ok(()))?;
    schema.migrate(&mut database)?;
    Ok(database)
}

/// SQLite's error with the file, and what to do.
fn failed(path: &Path, schema: &Schema, reason: rusqlite::Error) -> StorageError {
    StorageError::Database {
        path: path.display().to_string(),
        reason: Arc::new(reason),
        if_damaged: schema.if_damaged,
    }
}

#[cfg(test)]
mod tests;
