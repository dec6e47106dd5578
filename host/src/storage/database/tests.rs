//! A database as its callers see it: what is answered is on disk, and nobody undoes another's work.

use std::fs;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;

static SCHEMA: Schema = Schema { steps: &[numbers], if_damaged: "restore it" };

fn numbers(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch("CREATE TABLE numbers (number INTEGER PRIMARY KEY)")
}

fn open() -> (TempDir, Database) {
    let folder = tempfile::tempdir().expect("a folder");
    let database = Database::open(&folder.path().join("a.db"), &SCHEMA).expect("a database");
    (folder, database)
}

fn insert(number: i64) -> impl FnOnce(&Transaction<'_>) -> rusqlite::Result<()> + Send + 'static {
    move |transaction| transaction.execute("INSERT INTO numbers VALUES (?1)", [number]).map(drop)
}

fn all(connection: &Connection) -> rusqlite::Result<Vec<i64>> {
    let mut statement = connection.prepare("SELECT number FROM numbers ORDER BY number")?;
    statement.query_map([], |row| row.get(0))?.collect()
}

/// Keeps the writer busy: it is told when the writer has come to it, and goes on when it may.
fn hold(database: &Database) -> (Receiver<()>, Sender<()>) {
    let ((began, begun), (release, released)) = (channel::<()>(), channel::<()>());
    let database = database.clone();
    std::thread::spawn(move || {
        database.write_blocking(move |_| {
            let _ = began.send(());
            let _ = released.recv();
            Ok(())
        })
    });
    (begun, release)
}

/// Waits until so many pieces of asynchronous callers are in the queue.
async fn queued(database: &Database, pieces: usize) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while database.inner.queued.available_permits() != QUEUE - pieces {
        assert!(Instant::now() < deadline, "they are not queued");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_answered_is_there_after_it_is_opened_again() {
    let (folder, database) = open();
    database.write(insert(1)).await.expect("written");
    database.write_blocking(insert(2)).expect("written");
    assert_eq!(database.read(all).await.expect("read"), [1, 2]);
    drop(database);
    let database = Database::open(&folder.path().join("a.db"), &SCHEMA).expect("a database");
    assert_eq!(database.read_blocking(all).expect("read"), [1, 2]);
}

#[tokio::test]
async fn what_waits_is_one_transaction_and_one_that_fails_undoes_no_other() {
    let (_folder, database) = open();
    let (begun, release) = hold(&database);
    begun.recv().expect("the writer is busy");
    let beside = database.clone();
    let count = move |transaction: &Transaction<'_>| {
        // What another connection sees is what is committed.
        let committed = beside.read_blocking(all).expect("read").len();
        Ok((all(transaction)?.len(), committed))
    };
    let half = |transaction: &Transaction<'_>| {
        insert(3)(transaction)?;
        insert(1)(transaction)
    };
    let panics = |transaction: &Transaction<'_>| -> rusqlite::Result<()> {
        insert(4)(transaction)?;
        panic!("a fault of our own")
    };
    let all_at_once = async {
        tokio::join!(
            database.write(insert(1)),
            database.write(half),
            database.write(panics),
            database.write(insert(2)),
            database.write(count),
        )
    };
    let go_on = async {
        queued(&database, 5).await;
        release.send(()).expect("the writer goes on");
    };
    let ((one, half, panicked, two, counts), ()) = tokio::join!(all_at_once, go_on);
    one.expect("it is written");
    two.expect("it is written");
    assert!(matches!(half, Err(StorageError::Database { .. })), "{half:?}");
    assert!(matches!(panicked, Err(StorageError::Panicked { .. })), "{panicked:?}");
    assert_eq!(counts.expect("counted"), (2, 0), "all of them are in one transaction");
    assert_eq!(database.read(all).await.expect("read"), [1, 2]);
    database.write(insert(3)).await.expect("it goes on");
}

#[tokio::test]
async fn a_read_waits_for_no_write_and_sees_one_state() {
    let (_folder, database) = open();
    database.write(insert(1)).await.expect("written");
    let (begun, release) = hold(&database);
    begun.recv().expect("the writer is busy");
    assert_eq!(database.read(all).await.expect("read"), [1]);
    release.send(()).expect("the writer goes on");
    let writer = database.clone();
    let twice = move |connection: &Connection| {
        let before = all(connection)?;
        writer.write_blocking(insert(2)).expect("a write waits for no read");
        Ok((before, all(connection)?))
    };
    assert_eq!(database.read(twice).await.expect("read"), (vec![1], vec![1]));
    assert_eq!(database.read(all).await.expect("read"), [1, 2]);
}

#[tokio::test]
async fn a_read_cannot_write_and_one_that_panics_fails_alone() {
    let (_folder, database) = open();
    let write = |connection: &Connection| connection.execute("INSERT INTO numbers VALUES (1)", []);
    assert!(matches!(database.read(write).await, Err(StorageError::Database { .. })));
    let panics = |_: &Connection| -> rusqlite::Result<()> { panic!("a fault of our own") };
    for _ in 0..READERS + 1 {
        assert!(matches!(database.read(panics).await, Err(StorageError::Panicked { .. })));
    }
    assert_eq!(database.read(all).await.expect("read"), [0; 0]);
}

#[tokio::test]
async fn closing_writes_what_is_queued_and_takes_no_more() {
    let (folder, database) = open();
    let (begun, release) = hold(&database);
    begun.recv().expect("the writer is busy");
    let writes: Vec<_> = (0..50)
        .map(|number| {
            let database = database.clone();
            tokio::spawn(async move { database.write(insert(number)).await })
        })
        .collect();
    queued(&database, 50).await;
    let closing = tokio::spawn({
        let database = database.clone();
        async move { database.close().await }
    });
    let deadline = Instant::now() + Duration::from_secs(60);
    while !database.inner.queued.is_closed() {
        assert!(Instant::now() < deadline, "it is not closed");
        tokio::task::yield_now().await;
    }
    assert!(matches!(database.write(insert(99)).await, Err(StorageError::Closed { .. })));
    release.send(()).expect("the writer goes on");
    closing.await.expect("it closes");
    for write in writes {
        write.await.expect("a task").expect("it was queued before");
    }
    assert!(matches!(database.read(all).await, Err(StorageError::Closed { .. })));
    assert!(matches!(database.write_blocking(insert(99)), Err(StorageError::Closed { .. })));
    let again = Database::open(&folder.path().join("a.db"), &SCHEMA).expect("a database");
    assert_eq!(again.read_blocking(all).expect("read"), (0..50).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_is_queued_is_written_though_nobody_waits_any_more() {
    let (_folder, database) = open();
    let (begun, release) = hold(&database);
    begun.recv().expect("the writer is busy");
    let write = tokio::spawn({
        let database = database.clone();
        async move { database.write(insert(1)).await }
    });
    queued(&database, 1).await;
    write.abort();
    assert!(write.await.is_err());
    release.send(()).expect("the writer goes on");
    database.write(insert(2)).await.expect("written");
    assert_eq!(database.read(all).await.expect("read"), [1, 2]);
}

#[tokio::test]
async fn a_full_queue_makes_callers_wait_and_loses_nobody() {
    const MORE: usize = 10;
    let (_folder, database) = open();
    let (begun, release) = hold(&database);
    begun.recv().expect("the writer is busy");
    let writes: Vec<_> = (0..QUEUE + MORE)
        .map(|number| {
            let database = database.clone();
            tokio::spawn(async move { database.write(insert(number as i64)).await })
        })
        .collect();
    queued(&database, QUEUE).await;
    assert!(writes.iter().all(|write| !write.is_finished()));
    release.send(()).expect("the writer goes on");
    for write in writes {
        write.await.expect("a task").expect("written");
    }
    assert_eq!(database.read(all).await.expect("read").len(), QUEUE + MORE);
}

#[tokio::test]
async fn where_there_is_no_room_whoever_was_told_so_is_right() {
    let (_folder, database) = open();
    let bound = |transaction: &Transaction<'_>| {
        transaction.execute_batch("CREATE TABLE texts (number INTEGER, text BLOB)")?;
        transaction.pragma_update_and_check(None, "max_page_count", 40, |_| Ok(()))
    };
    database.write(bound).await.expect("the file is bounded");
    let (begun, release) = hold(&database);
    begun.recv().expect("the writer is busy");
    let writes: Vec<_> = (0..40)
        .map(|number| {
            let database = database.clone();
            let write = move |transaction: &Transaction<'_>| {
                let insert = "INSERT INTO texts VALUES (?1, zeroblob(?2))";
                transaction.execute(insert, [number, if number % 2 == 0 { 10 } else { 12_000 }])
            };
            tokio::spawn(async move { (number, database.write(write).await.is_ok()) })
        })
        .collect();
    queued(&database, 40).await;
    release.send(()).expect("the writer goes on");
    let mut told = Vec::new();
    for write in writes {
        let (number, ok) = write.await.expect("a task");
        told.extend(ok.then_some(number));
    }
    let there = |connection: &Connection| {
        let mut statement = connection.prepare("SELECT number FROM texts ORDER BY number")?;
        statement.query_map([], |row| row.get::<_, i64>(0))?.collect::<rusqlite::Result<Vec<_>>>()
    };
    assert!(told.len() < 40, "it never was full");
    assert_eq!(database.read(there).await.expect("read"), told);
}

#[tokio::test]
async fn another_program_that_holds_the_file_is_waited_for() {
    let (folder, database) = open();
    let other = Connection::open(folder.path().join("a.db")).expect("another program");
    other.execute_batch("BEGIN IMMEDIATE; INSERT INTO numbers VALUES (1)").expect("it writes");
    let write = tokio::spawn({
        let database = database.clone();
        async move { database.write(insert(2)).await }
    });
    queued(&database, 1).await;
    assert_eq!(database.read(all).await.expect("reads go on"), [0; 0]);
    assert!(!write.is_finished());
    other.execute_batch("COMMIT").expect("it is done");
    write.await.expect("a task").expect("written");
    assert_eq!(database.read(all).await.expect("read"), [1, 2]);
}

#[test]
fn a_newer_database_is_refused_with_who_wrote_it_and_not_changed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    let database = Connection::open(&path).expect("a database");
    database
        .execute_batch(
            "CREATE TABLE about (key TEXT, value TEXT); PRAGMA user_version = 99; \
             INSERT INTO about VALUES ('program', 'stockade 9.1')",
        )
        .expect("a newer form");
    drop(database);
    let before = fs::read(&path).expect("bytes");
    let error = Database::open(&path, &SCHEMA).err().expect("an error").to_string();
    for word in ["stockade 9.1", "form 99", super::super::PROGRAM, "data_dir", "changed nothing"] {
        assert!(error.contains(word), "`{word}` is not in {error}");
    }
    assert_eq!(fs::read(&path).expect("bytes"), before);
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 1);
}

#[test]
fn a_damaged_file_is_reported_with_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.db");
    fs::write(&path, "this is no database, whatever its name says").expect("written");
    let error = Database::open(&path, &SCHEMA).err().expect("an error").to_string();
    assert!(error.contains("a.db") && error.contains("restore it"), "{error}");
}
