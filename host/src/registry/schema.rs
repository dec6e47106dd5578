//! The schema of `registry.db`: the steps from each form to the next.
//!
//! Holds nothing. A form that is published never changes: what is wanted otherwise is another step.

use std::path::Path;

use rusqlite::{Transaction, params};
use serde_json::{Map, Value};

use crate::domain::Digest;
use crate::storage::Schema;

/// The schema of `registry.db`. Files from before forms were counted have the form 0.
pub(super) static SCHEMA: Schema = Schema {
    steps: &[records, components_by_digest, records_by_tenant],
    if_damaged: "if it is damaged, restore it or move it away: agents of agents.toml are loaded again, those registered at run time are only there",
};

/// The name of the folder of components, as older forms have it in paths.
const COMPONENTS: &str = "components";

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
    use rusqlite::Connection;
    use tempfile::TempDir;

    use super::*;
    use crate::storage::{Database, PROGRAM};

    /// A database as programs made it that counted no forms.
    const FIRST: &str = include_str!("../../tests/registry-form-0.sql");

    /// A file that this script makes.
    fn file(script: &str) -> (TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("registry.db");
        Connection::open(&path).expect("a database").execute_batch(script).expect("the script");
        (folder, path)
    }

    fn text(database: &Database, query: &'static str) -> String {
        database
            .read_blocking(|connection| connection.query_row(query, [], |row| row.get(0)))
            .expect("a text")
    }

    fn record(database: &Database, id: &'static str) -> Value {
        let query = "SELECT record FROM agents WHERE id = ?1 AND tenant = 'default'";
        let text: String = database
            .read_blocking(|connection| connection.query_row(query, [id], |row| row.get(0)))
            .expect("a record");
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    }

    #[test]
    fn the_first_form_is_brought_to_this_one_and_then_left_alone() {
        let (_folder, path) = file(FIRST);
        let named = "SELECT record FROM agents WHERE id = 'named'";
        let before: String = Connection::open(&path)
            .and_then(|database| database.query_row(named, [], |row| row.get(0)))
            .expect("a record");
        for _ in 0..2 {
            let database = Database::open(&path, &SCHEMA).expect("it is brought to this form");
            assert_eq!(text(&database, named), before, "an agent of the file is as it was");
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
            assert_eq!(text(&database, "SELECT value FROM about WHERE key = 'program'"), PROGRAM);
            let own = "SELECT CAST(count(*) AS TEXT) FROM agents WHERE tenant = 'default'";
            assert_eq!(text(&database, own), "5", "all of them are the tenant's `default`");
        }
    }

    #[test]
    fn a_new_file_gets_this_form() {
        let (_folder, path) = file("");
        let database = Database::open(&path, &SCHEMA).expect("it is brought to this form");
        let insert = "INSERT INTO agents VALUES ('default', 'a', '{}'), ('acme', 'a', '{}')";
        database
            .write_blocking(move |transaction| transaction.execute_batch(insert))
            .expect("its table is there");
    }

    #[test]
    fn a_step_that_fails_leaves_the_form_that_was() {
        // `about` is there already: the second step cannot be taken.
        let (_folder, path) = file(&format!("{FIRST}; CREATE TABLE about (key TEXT)"));
        assert!(Database::open(&path, &SCHEMA).is_err());
        let database = Connection::open(&path).expect("a database");
        let form: i64 = database.pragma_query_value(None, "user_version", |row| row.get(0)).expect("a form");
        let query = "SELECT record FROM agents WHERE id = 'guest'";
        let guest: String = database.query_row(query, [], |row| row.get(0)).expect("a record");
        assert!(form == 0 && guest.contains("/srv/old/data"), "{form} {guest}");
    }
}
