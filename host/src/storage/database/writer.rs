//! The one thread that writes a database.
//!
//! Owns the connection that writes. Pieces of work come over a queue; what waits when it looks is done in one
//! transaction, so that many callers share one flush to disk. Each piece has a savepoint of its own: one that
//! fails or panics undoes nothing of its neighbours. Each caller is answered when its work is on disk.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::super::StorageError;
use super::{Schema, failed};

/// Pieces of work that are done in one transaction at the most.
const GROUP: usize = 256;

/// A piece of work whose caller waits.
pub(super) trait Piece: Send {
    /// Does it within its savepoint; what comes of it is kept until it is answered.
    ///
    /// # Errors
    /// If it failed and is to be undone.
    fn run(&mut self, transaction: &Transaction<'_>) -> Result<(), Undo>;

    /// Tells the caller what came of it; with an error where the transaction failed around it.
    fn answer(self: Box<Self>, transaction: Result<(), StorageError>);
}

/// A piece of work failed for this reason: its savepoint is rolled back.
pub(super) struct Undo(StorageError);

/// Work, what came of it, and who is told.
pub(super) struct Work<T, W, A> {
    path: PathBuf,
    schema: &'static Schema,
    work: Option<W>,
    result: Option<Result<T, StorageError>>,
    answer: A,
}

impl<T, W, A> Work<T, W, A> {
    pub(super) fn new(path: &Path, schema: &'static Schema, work: W, answer: A) -> Self {
        Self { path: path.to_owned(), schema, work: Some(work), result: None, answer }
    }
}

impl<T, W, A> Piece for Work<T, W, A>
where
    T: Send,
    W: FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send,
    A: FnOnce(Result<T, StorageError>) + Send,
{
    fn run(&mut self, transaction: &Transaction<'_>) -> Result<(), Undo> {
        // It is done once.
        let Some(work) = self.work.take() else { return Ok(()) };
        let result = match catch_unwind(AssertUnwindSafe(|| work(transaction))) {
            Ok(result) => result.map_err(|reason| failed(&self.path, self.schema, reason)),
            Err(_) => Err(StorageError::Panicked { path: self.path.display().to_string() }),
        };
        let undo = result.as_ref().err().cloned();
        self.result = Some(result);
        undo.map_or(Ok(()), |reason| Err(Undo(reason)))
    }

    fn answer(self: Box<Self>, transaction: Result<(), StorageError>) {
        let closed = || StorageError::Closed { path: self.path.display().to_string() };
        let result = match transaction {
            Ok(()) => self.result.unwrap_or_else(|| Err(closed())),
            // What failed by itself says why.
            Err(error) => Err(self.result.and_then(Result::err).unwrap_or(error)),
        };
        (self.answer)(result);
    }
}

/// Does what comes over `queue` until nobody can send any more and nothing is left.
pub(super) fn run(
    mut connection: Connection,
    path: &Path,
    schema: &'static Schema,
    queue: &Receiver<Box<dyn Piece>>,
) {
    while let Ok(first) = queue.recv() {
        let mut waiting: VecDeque<_> = [first].into();
        waiting.extend(queue.try_iter().take(GROUP - 1));
        while !waiting.is_empty() {
            group(&mut connection, path, schema, &mut waiting);
        }
    }
    if let Err((_, error)) = connection.close() {
        tracing::warn!(path = %path.display(), %error, "a database could not be closed");
    }
}

/// Does all that waits in one transaction, or less where SQLite gives that up on the way.
fn group(
    connection: &mut Connection,
    path: &Path,
    schema: &'static Schema,
    waiting: &mut VecDeque<Box<dyn Piece>>,
) {
    let failed = |reason| failed(path, schema, reason);
    let transaction = match connection.transaction_with_behavior(TransactionBehavior::Immediate) {
        Ok(transaction) => transaction,
        Err(reason) => {
            let error = failed(reason);
            return waiting.drain(..).for_each(|piece| piece.answer(Err(error.clone())));
        }
    };
    let mut done = Vec::with_capacity(waiting.len());
    let mut lost = None;
    while let Some(mut piece) = waiting.pop_front() {
        let result = in_savepoint(&transaction, &mut *piece);
        done.push(piece);
        if let Err(reason) = result {
            lost = Some(reason);
            break;
        }
    }
    let ended = match lost {
        Some(Lost::Because(error)) => Err(error),
        Some(Lost::Sqlite(reason)) => Err(failed(reason)),
        None => transaction.commit().map_err(failed),
    };
    for piece in done {
        piece.answer(ended.clone());
    }
}

/// Why the whole transaction is lost.
enum Lost {
    Because(StorageError),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Lost {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Does one piece; what it wrote is undone if it fails.
fn in_savepoint(transaction: &Transaction<'_>, piece: &mut dyn Piece) -> Result<(), Lost> {
    transaction.execute_batch("SAVEPOINT piece")?;
    if let Err(Undo(reason)) = piece.run(transaction) {
        // A full disk, say, can make SQLite roll back all of it, whatever savepoints there are.
        if transaction.is_autocommit() {
            return Err(Lost::Because(reason));
        }
        transaction.execute_batch("ROLLBACK TO piece")?;
    }
    Ok(transaction.execute_batch("RELEASE piece")?)
}
