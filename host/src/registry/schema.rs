//! The form of `registry.db`: which one a file has, and the steps from each form to the next.
//!
//! Holds nothing. The form is SQLite's `user_version`. A form that is published never changes: what is
//! wanted otherwise is another step. Every form keeps the table `about`, so that an older program can
//! say who wrote what it does not understand.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};
use serde_json::{Map, Value};

use super::store::COMPONENTS;
use crate::domain::Digest;

/// This program, as it signs what it writes.
pub(super) const PROGRAM: &str = concat!(env!("CARGO_PKG_NAME"), " ", env!("CARGO_PKG_VERSION"));

/// A step from one form to the next.
type Step = fn(&Transaction<'_>) -> rusqlite::Result<()>;

/// The step in each place leads from the form of that number to the next. A file without a form, a
/// new one too, has the form 0.
const STEPS: &[Step] = &[records, components_by_digest, records_by_tenant];

/// The form that this program reads and writes.
pub(super) const FORM: i64 = STEPS.len() as i64;

/// Why a database was not brought to this program's form.
#[derive(Debug)]
pub(super) enum SchemaError {
    /// It has a later form. Nothing of it was changed.
    Later { form: i64, program: Option<String> },
    /// SQLite refuses.
    Database(rusqlite::Error),
}

impl From<rusqlite::Error> for SchemaError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

/// Refuses a database of a later form; writes nothing.
pub(super) fn check(database: &Connection) -> Result<(), SchemaError> {
    let form = form(database)?;
    if (0..=FORM).contains(&form) {
        return Ok(());
    }
    let query = "SELECT value FROM about WHERE key = 'program'";
    // A form that broke its promise to keep that table is refused all the same.
    let program = database.query_row(query, [], |row| row.get(0)).optional().unwrap_or_default();
    Err(SchemaError::Later { form, program })
}

/// Brings a database to this program's form: completely, or not at all.
pub(super) fn migrate(database: &mut Connection) -> Result<(), SchemaError> {
    check(database)?;
    let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let from = form(&transaction)?;
    let steps = usize::try_from(from).ok().and_then(|from| STEPS.get(from..)).unwrap_or_default();
    if steps.is_empty() {
        return Ok(());
    }
    for step in steps {
        step(&transaction)?;
    }
    transaction.execute(
        "INSERT INTO about (key, value) VALUES ('program', ?1) \
         ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        [PROGRAM],
    )?;
    transaction.pragma_update(None, "user_version", FORM)?;
    transaction.commit()?;
    Ok(())
}

fn form(database: &Connection) -> rusqlite::Result<i64> {
    database.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Form 1: a record for each agent, as JSON. Files from before forms were counted have the table.
fn records(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "CREATE TABLE IF NOT EXISTS agents (id TEXT PRIMARY KEY, record TEXT NOT NULL) WITHOUT ROWID",
    )
}

/// Form 2: `about`; and settings name a component that the data folder keeps by its digest. They named
/// its path, which is another one as soon as the folder moves.
fn components_by_digest(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction
        .execute_batch("CREATE TABLE about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID")?;
    let mut rows = transaction.prepare("SELECT id, record FROM agents")?;
    let rows: Vec<(String, String)> =
        rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect::<rusqlite::Result<_>>()?;
    for (id, record) in rows {
        // What is no record is left as it is, for whoever reads it to say so.
        if let Some(record) = by_digest(&record) {
            transaction.execute("UPDATE agents SET record = ?2 WHERE id = ?1", params![id, record])?;
        }
    }
    Ok(())
}

/// Form 3: a record is by tenant and id. What was there is the tenant's `default`.
fn records_by_tenant(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    transaction.execute_batch(
        "ALTER TABLE agents RENAME TO agents_by_id;
         CREATE TABLE agents (
             tenant TEXT NOT NULL, id TEXT NOT NULL, record TEXT NOT NULL, PRIMARY KEY (tenant, id)
         ) WITHOUT ROWID;
         INSERT INTO agents (tenant, id, record) SELECT 'default', id, record FROM agents_by_id;
         DROP TABLE agents_by_id",
    )
}

/// Where a record has settings as JSON text: those of a registered agent, those that an agent of
/// agents.toml serves under, and those that wait.
const SETTINGS: [&str; 3] = ["/registered", "/under", "/pending/settings"];

/// The record with every component that the data folder keeps by its digest; `None` where none is
/// otherwise.
fn by_digest(record: &str) -> Option<String> {
    let mut record: Value = serde_json::from_str(record).ok()?;
    let mut changed = false;
    for place in SETTINGS {
        let Some(text) = record.pointer_mut(place) else { continue };
        if let Some(settings) = text.as_str().and_then(settings_by_digest) {
            *text = settings.into();
            changed = true;
        }
    }
    changed.then(|| record.to_string())
}

/// These settings with their component by digest, if they name one in a data folder by its path.
fn settings_by_digest(text: &str) -> Option<String> {
    let mut settings: Map<String, Value> = serde_json::from_str(text).ok()?;
    let path = Path::new(settings.get("component")?.as_str()?);
    path.parent()?.file_name().filter(|folder| *folder == COMPONENTS)?;
    let digest = Digest::from_hex(path.file_name()?.to_str()?)?;
    settings.insert("component".to_owned(), digest.to_string().into());
    Some(Value::Object(settings).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database as programs made it that counted no forms.
    const FIRST: &str = include_str!("../../tests/registry-form-0.sql");

    fn database(script: &str) -> Connection {
        let database = Connection::open_in_memory().expect("a database");
        database.execute_batch(script).expect("the script");
        database
    }

    fn record(database: &Connection, id: &str) -> Value {
        let query = "SELECT record FROM agents WHERE id = ?1";
        let text: String = database.query_row(query, [id], |row| row.get(0)).expect("a record");
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    }

    #[test]
    fn the_first_form_is_brought_to_this_one_and_then_left_alone() {
        let mut database = database(FIRST);
        let named = record(&database, "named");
        for _ in 0..2 {
            migrate(&mut database).expect("it is brought to this form");
            assert_eq!(form(&database).expect("a form"), FORM);
            assert_eq!(record(&database, "named"), named, "an agent of the file is as it was");
            let settings = record(&database, "guest")["registered"].as_str().expect("settings").to_owned();
            let settings: Value = serde_json::from_str(&settings).expect("JSON");
            assert_eq!(
                (&settings["component"], &settings["name"]),
                (&"c".repeat(64).into(), &"Guest".into())
            );
            let component = |settings: &Value| {
                let settings = settings.as_str().expect("settings");
                serde_json::from_str::<Value>(settings).expect("JSON")["component"].clone()
            };
            let waits = record(&database, "waits");
            assert_eq!(component(&waits["registered"]), Value::from("c".repeat(64)));
            assert_eq!(component(&waits["pending"]["settings"]), Value::from("d".repeat(64)));
            let adopted = record(&database, "adopted");
            assert_eq!(component(&adopted["under"]), Value::from("c".repeat(64)));
            assert_eq!(component(&adopted["pending"]["settings"]), "/srv/old/plugins/adopted.wasm");
            assert_eq!(record(&database, "odd"), Value::String("no record".to_owned()));
            let query = "SELECT value FROM about WHERE key = 'program'";
            let program: String = database.query_row(query, [], |row| row.get(0)).expect("who wrote it");
            assert_eq!(program, PROGRAM);
            let query = "SELECT count(*) FROM agents WHERE tenant = 'default'";
            let own: i64 = database.query_row(query, [], |row| row.get(0)).expect("a count");
            assert_eq!(own, 5, "all of them are the tenant's `default`");
        }
    }

    #[test]
    fn a_new_file_gets_this_form() {
        let mut database = database("");
        migrate(&mut database).expect("it is brought to this form");
        assert_eq!(form(&database).expect("a form"), FORM);
        database
            .execute_batch("INSERT INTO agents VALUES ('default', 'a', '{}'), ('acme', 'a', '{}')")
            .expect("its table is there");
    }

    #[test]
    fn a_later_form_is_refused_with_who_wrote_it_and_not_touched() {
        for (about, wrote) in [
            (
                "CREATE TABLE about (key TEXT, value TEXT); INSERT INTO about VALUES ('program', 'stockade 9.1')",
                Some("stockade 9.1"),
            ),
            ("CREATE TABLE other (key TEXT)", None),
        ] {
            let mut database = database(&format!("{about}; PRAGMA user_version = {}", FORM + 1));
            let refused = migrate(&mut database).expect_err("it is refused");
            let SchemaError::Later { form: later, program } = refused else { panic!("{refused:?}") };
            assert_eq!((later, program.as_deref()), (FORM + 1, wrote));
            let tables = "SELECT count(*) FROM sqlite_master";
            let tables: i64 = database.query_row(tables, [], |row| row.get(0)).expect("a count");
            assert_eq!((tables, form(&database).expect("a form")), (1, FORM + 1));
        }
    }

    #[test]
    fn a_step_that_fails_leaves_the_form_that_was() {
        // `about` is there already: the second step cannot be taken.
        let mut database = database(&format!("{FIRST}; CREATE TABLE about (key TEXT)"));
        assert!(matches!(migrate(&mut database), Err(SchemaError::Database(_))));
        assert_eq!(form(&database).expect("a form"), 0);
        let settings = record(&database, "guest")["registered"].to_string();
        assert!(settings.contains("/srv/old/data"), "{settings}");
    }
}
