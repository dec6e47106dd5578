//! The form of a database: which one a file has, and the steps from each form to the next.
//!
//! Holds nothing. The form is SQLite's `user_version`. A form that is published never changes: what is
//! wanted otherwise is another step. Every form has the table `about`, so that an older program can say who
//! wrote what it does not understand.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::super::PROGRAM;
use super::super::error::signed_by;

/// A step from one form to the next. It runs in the transaction of all steps.
pub type Step = fn(&Transaction<'_>) -> rusqlite::Result<()>;

/// What a database has in it, and what to do about one that is damaged.
#[derive(Debug)]
pub struct Schema {
    /// The step in each place leads from the form of that number to the next. A file without a form, a new
    /// one too, has the form 0.
    pub steps: &'static [Step],
    /// Ends the message of each of SQLite's errors: what to do if the file is damaged.
    pub if_damaged: &'static str,
}

/// Why a database was not brought to this program's form.
#[derive(Debug)]
pub(super) enum SchemaError {
    /// It has a newer form. Nothing in it was changed.
    Newer { form: i64, program: String },
    /// SQLite refuses.
    Database(rusqlite::Error),
}

impl From<rusqlite::Error> for SchemaError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl Schema {
    /// The form that this program reads and writes.
    pub(super) fn form(&self) -> i64 {
        self.steps.len() as i64
    }

    /// Refuses a database of a newer form; writes nothing.
    pub(super) fn check(&self, database: &Connection) -> Result<(), SchemaError> {
        let form = form_of(database)?;
        if (0..=self.form()).contains(&form) {
            return Ok(());
        }
        let query = "SELECT value FROM about WHERE key = 'program'";
        // A form that does not keep that promise is refused all the same.
        let program = database.query_row(query, [], |row| row.get(0)).optional().unwrap_or_default();
        Err(SchemaError::Newer { form, program: signed_by(program) })
    }

    /// Brings a database to this program's form: completely, or not at all.
    pub(super) fn migrate(&self, database: &mut Connection) -> Result<(), SchemaError> {
        self.check(database)?;
        let transaction = database.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let from = form_of(&transaction)?;
        let steps = usize::try_from(from).ok().and_then(|from| self.steps.get(from..)).unwrap_or_default();
        if steps.is_empty() {
            return Ok(());
        }
        for step in steps {
            step(&transaction)?;
        }
        transaction.execute_batch(
            "CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        )?;
        transaction.execute(
            "INSERT INTO about (key, value) VALUES ('program', ?1) \
             ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            [PROGRAM],
        )?;
        transaction.pragma_update(None, "user_version", self.form())?;
        transaction.commit()?;
        Ok(())
    }
}

fn form_of(database: &Connection) -> rusqlite::Result<i64> {
    database.pragma_query_value(None, "user_version", |row| row.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    static FIRST: Schema = Schema { steps: &[one], if_damaged: "" };
    static SECOND: Schema = Schema { steps: &[one, two], if_damaged: "" };

    fn one(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        transaction.execute_batch("CREATE TABLE things (name TEXT)")
    }

    fn two(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
        transaction.execute_batch("ALTER TABLE things ADD COLUMN size INTEGER; UPDATE things SET size = 1")
    }

    fn database(script: &str) -> Connection {
        let database = Connection::open_in_memory().expect("a database");
        database.execute_batch(script).expect("the script");
        database
    }

    fn program(database: &Connection) -> String {
        let query = "SELECT value FROM about WHERE key = 'program'";
        database.query_row(query, [], |row| row.get(0)).expect("who wrote it")
    }

    #[test]
    fn a_new_file_and_an_older_form_are_brought_to_this_one_and_then_left_alone() {
        let mut database = database("");
        FIRST.migrate(&mut database).expect("the first form");
        assert_eq!((form_of(&database).expect("a form"), program(&database).as_str()), (1, PROGRAM));
        database
            .execute_batch("INSERT INTO things VALUES ('a'); UPDATE about SET value = 'x'")
            .expect("a row");
        for wrote in [PROGRAM, "y"] {
            SECOND.migrate(&mut database).expect("the second form");
            let size = database.query_row("SELECT size FROM things", [], |row| row.get(0));
            assert_eq!((form_of(&database).expect("a form"), size), (2, Ok(1)));
            assert_eq!(program(&database), wrote);
            database.execute_batch("UPDATE about SET value = 'y'").expect("a row");
        }
    }

    #[test]
    fn a_newer_form_is_refused_with_who_wrote_it_and_not_changed() {
        for (about, wrote) in [
            (
                "CREATE TABLE about (key TEXT, value TEXT); INSERT INTO about VALUES ('program', 'stockade 9.1')",
                "stockade 9.1",
            ),
            ("CREATE TABLE other (key TEXT)", "a newer version of this program"),
        ] {
            let mut database = database(&format!("{about}; PRAGMA user_version = 3"));
            let refused = SECOND.migrate(&mut database).expect_err("it is refused");
            let SchemaError::Newer { form, program } = refused else { panic!("{refused:?}") };
            assert_eq!((form, program.as_str()), (3, wrote));
            let tables = "SELECT count(*) FROM sqlite_master";
            let tables: i64 = database.query_row(tables, [], |row| row.get(0)).expect("a count");
            assert_eq!((tables, form_of(&database).expect("a form")), (1, 3));
        }
    }

    #[test]
    fn a_step_that_fails_leaves_the_form_that_was() {
        let mut database = database("CREATE TABLE things (name TEXT, size INTEGER); PRAGMA user_version = 1");
        assert!(matches!(SECOND.migrate(&mut database), Err(SchemaError::Database(_))));
        assert_eq!(form_of(&database).expect("a form"), 1);
    }
}
