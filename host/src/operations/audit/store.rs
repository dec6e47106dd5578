//! The audit's SQL.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, Row, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::Page;
use super::record::{AuditRecord, Filter, NewRecord, State, SubjectKind};
use crate::domain::{Role, TenantId};
use crate::storage::Schema;

/// The form of audit.db.
pub const SCHEMA: Schema = Schema {
    steps: &[
        |transaction| {
            transaction.execute_batch(
                "CREATE TABLE changes (
                 id INTEGER PRIMARY KEY AUTOINCREMENT,
                 done INTEGER NOT NULL,
                 at INTEGER NOT NULL,
                 tenant TEXT NOT NULL,
                 who TEXT NOT NULL,
                 role TEXT,
                 operation TEXT NOT NULL,
                 kind TEXT NOT NULL,
                 subject TEXT NOT NULL,
                 category TEXT NOT NULL,
                 was TEXT,
                 now TEXT,
                 reason TEXT,
                 request TEXT
             );
             CREATE INDEX changes_unfinished ON changes (id) WHERE NOT done;",
            )
        },
        |transaction| {
            // What is counted is not read as a whole.
            transaction.execute_batch("CREATE INDEX changes_done ON changes (id) WHERE done")
        },
    ],
    if_damaged: "move it away to begin another: what changed so far is told by it alone",
};

/// A change that was begun and not finished.
pub(super) struct Unfinished {
    pub(super) id: i64,
    pub(super) tenant: TenantId,
    pub(super) operation: String,
    pub(super) subject: String,
    pub(super) from: Option<State>,
    /// What it was to come to, where that was known before.
    pub(super) to: Option<State>,
}

/// Writes a record; returns its id.
pub(super) fn insert(transaction: &Transaction<'_>, record: &NewRecord, done: bool) -> rusqlite::Result<i64> {
    let NewRecord { at, tenant, who, role, operation, kind, subject, category, from, to, reason, request } =
        record;
    transaction
        .prepare(
            "INSERT INTO changes
                 (done, at, tenant, who, role, operation, kind, subject, category, was, now, reason, request)
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?
        .execute(params![
            done,
            millis(*at),
            tenant.as_str(),
            who,
            role.map(Role::as_str),
            operation,
            json(kind),
            subject,
            category,
            from.as_ref().map(json),
            to.as_ref().map(json),
            reason,
            request.as_ref().map(|request| request.as_str()),
        ])?;
    Ok(transaction.last_insert_rowid())
}

/// The change was made, on this, and came to that.
pub(super) fn finish(
    transaction: &Transaction<'_>,
    id: i64,
    from: Option<&State>,
    to: Option<&State>,
) -> rusqlite::Result<()> {
    // An agent that is new has its category by now.
    let category = to.map(|to| to.category.as_str());
    transaction
        .prepare(
            "UPDATE changes SET done = 1, now = ?2, was = ?4,
                 category = CASE WHEN category = '' THEN coalesce(?3, '') ELSE category END
             WHERE id = ?1",
        )?
        .execute(params![id, to.map(json), category, from.map(json)])
        .map(drop)
}

/// Says something of a record that says no reason.
pub(super) fn explain(transaction: &Transaction<'_>, id: i64, reason: &str) -> rusqlite::Result<()> {
    let explain = "UPDATE changes SET reason = ?2 WHERE id = ?1 AND reason IS NULL";
    transaction.prepare(explain)?.execute(params![id, reason]).map(drop)
}

/// The change was not made.
pub(super) fn discard(transaction: &Transaction<'_>, id: i64) -> rusqlite::Result<()> {
    transaction.prepare("DELETE FROM changes WHERE id = ? AND NOT done")?.execute([id]).map(drop)
}

/// Keeps the newest `keep` records of changes that were made.
pub(super) fn trim(transaction: &Transaction<'_>, keep: u64) -> rusqlite::Result<()> {
    let keep = i64::try_from(keep).unwrap_or(i64::MAX);
    transaction.prepare(TRIM)?.execute([keep]).map(drop)
}

const TRIM: &str = "DELETE FROM changes WHERE done AND id <=
     (SELECT id FROM changes WHERE done ORDER BY id DESC LIMIT 1 OFFSET ?)";

/// The changes that were begun and not finished.
pub(super) fn unfinished(connection: &Connection) -> rusqlite::Result<Vec<Unfinished>> {
    let mut rows = connection
        .prepare("SELECT id, operation, subject, was, tenant, now FROM changes WHERE NOT done ORDER BY id")?;
    let rows = rows.query_map([], |row| {
        Ok(Unfinished {
            id: row.get(0)?,
            operation: row.get(1)?,
            subject: row.get(2)?,
            from: state(row.get(3)?),
            tenant: tenant(&row.get::<_, String>(4)?),
            to: state(row.get(5)?),
        })
    })?;
    rows.collect()
}

/// The generations that agents of these left by changes that are finished, for each of these. A generation that
/// was left does not come back.
pub(super) fn left(
    connection: &Connection,
    unfinished: &[Unfinished],
) -> rusqlite::Result<BTreeMap<i64, BTreeSet<u64>>> {
    let mut statement = connection.prepare(
        "SELECT was FROM changes
         WHERE done AND tenant = ?1 AND subject = ?2 AND kind = '\"agent\"'
             AND operation NOT IN ('generate', 'settings')
             AND json_extract(was, '$.generation') IS NOT json_extract(now, '$.generation')",
    )?;
    let mut left = BTreeMap::new();
    for Unfinished { id, tenant, subject, .. } in unfinished {
        let states = statement.query_map([tenant.as_str(), subject], |row| row.get(0).map(state))?;
        let states: Vec<Option<State>> = states.collect::<rusqlite::Result<_>>()?;
        let generations = states.into_iter().filter_map(|state| state?.generation);
        left.insert(*id, generations.collect());
    }
    Ok(left)
}

/// Reads a piece, the newest first, of what `filter` and `may_see` let through.
pub(super) fn read(
    connection: &Connection,
    filter: &Filter,
    limit: usize,
    may_see: impl Fn(&AuditRecord) -> bool,
) -> rusqlite::Result<Page<AuditRecord>> {
    let Filter { from, to, operation, agent, below } = filter;
    let mut statement = connection.prepare(
        "SELECT id, at, tenant, who, role, operation, kind, subject, category, was, now, reason, request
         FROM changes
         WHERE done AND id < coalesce(?1, 9223372036854775807)
             AND (?2 IS NULL OR at >= ?2) AND (?3 IS NULL OR at < ?3)
             AND (?4 IS NULL OR operation = ?4)
             AND (?5 IS NULL OR (subject = ?5 AND kind = '\"agent\"'))
         ORDER BY id DESC",
    )?;
    let mut rows = statement.query(params![below, from, to, operation, agent])?;
    let mut items: Vec<AuditRecord> = Vec::new();
    while let Some(row) = rows.next()? {
        let record = record(row)?;
        if !may_see(&record) {
            continue;
        }
        if items.len() == limit {
            let next = items.last().map(|last| last.id.to_string());
            return Ok(Page { items, next });
        }
        items.push(record);
    }
    Ok(Page { items, next: None })
}

fn record(row: &Row<'_>) -> rusqlite::Result<AuditRecord> {
    let (of, role, kind): (String, Option<String>, String) = (row.get(2)?, row.get(4)?, row.get(6)?);
    let known = |word: String| {
        [Role::Call, Role::Admin, Role::Operator].into_iter().find(|role| role.as_str() == word)
    };
    Ok(AuditRecord {
        id: row.get(0)?,
        at: UNIX_EPOCH + Duration::from_millis(row.get::<_, i64>(1)?.unsigned_abs()),
        tenant: tenant(&of),
        who: row.get(3)?,
        role: role.and_then(known),
        operation: row.get(5)?,
        kind: parsed(&kind).unwrap_or(SubjectKind::Settings),
        subject: row.get(7)?,
        category: row.get(8)?,
        from: state(row.get(9)?),
        to: state(row.get(10)?),
        reason: row.get(11)?,
        request_id: row.get(12)?,
    })
}

/// What was written here is a tenant's name: the fallback is for the compiler.
fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap_or_else(|_| TenantId::default_tenant())
}

fn state(text: Option<String>) -> Option<State> {
    parsed(&text?)
}

fn parsed<T: DeserializeOwned>(text: &str) -> Option<T> {
    serde_json::from_str(text).ok()
}

/// These types have no value that is not JSON: the fallback is for the compiler.
fn json<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn millis(at: SystemTime) -> i64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Connection {
        let mut connection = Connection::open_in_memory().expect("a database");
        let transaction = connection.transaction().expect("a transaction");
        SCHEMA.steps.iter().for_each(|step| step(&transaction).expect("its form"));
        transaction.commit().expect("it is there");
        connection
    }

    fn new(subject: &str, second: u64) -> NewRecord {
        NewRecord {
            at: UNIX_EPOCH + Duration::from_secs(second),
            tenant: TenantId::default_tenant(),
            who: "key".to_owned(),
            role: Some(Role::Admin),
            operation: "approve",
            kind: SubjectKind::Agent,
            subject: subject.to_owned(),
            category: "a".to_owned(),
            from: None,
            to: Some(State { generation: Some(second), ..State::default() }),
            reason: Some("why".to_owned()),
            request: None,
        }
    }

    fn subjects(page: &Page<AuditRecord>) -> Vec<&str> {
        page.items.iter().map(|record| record.subject.as_str()).collect()
    }

    #[test]
    fn records_come_back_newest_first_in_pieces() {
        let mut connection = connection();
        let transaction = connection.transaction().expect("a transaction");
        for second in 0..5 {
            insert(&transaction, &new(&format!("a{second}"), second), true).expect("a record");
        }
        transaction.commit().expect("written");
        let mut filter = Filter::default();
        let mut seen = Vec::new();
        loop {
            // One that may not be seen takes no place.
            let page = read(&connection, &filter, 2, |record| record.subject != "a3").expect("a piece");
            seen.extend(subjects(&page).into_iter().map(str::to_owned));
            match page.next {
                Some(next) => filter.below = Some(next.parse().expect("an id")),
                None => break,
            }
        }
        assert_eq!(seen, ["a4", "a2", "a1", "a0"]);
        let between = Filter { from: Some(1_000), to: Some(3_000), ..Filter::default() };
        assert_eq!(subjects(&read(&connection, &between, 9, |_| true).expect("a piece")), ["a2", "a1"]);
        let one = Filter { agent: Some("a4".to_owned()), ..Filter::default() };
        let page = read(&connection, &one, 9, |_| true).expect("a piece");
        assert_eq!(page.items[0].to.as_ref().and_then(|to| to.generation), Some(4));
        assert_eq!((page.items[0].role, page.items[0].reason.as_deref()), (Some(Role::Admin), Some("why")));
        let other = Filter { operation: Some("remove".to_owned()), ..Filter::default() };
        assert!(read(&connection, &other, 9, |_| true).expect("a piece").items.is_empty());
    }

    #[test]
    fn records_are_counted_without_reading_them() {
        let connection = connection();
        let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {TRIM}")).expect("a plan");
        let steps = plan.query_map([1], |row| row.get::<_, String>(3)).expect("steps");
        let steps: Vec<String> = steps.collect::<rusqlite::Result<_>>().expect("steps");
        assert!(steps.iter().any(|step| step.contains("changes_done")), "{steps:?}");
    }

    #[test]
    fn the_oldest_go_and_attempts_push_nothing_out() {
        let mut connection = connection();
        let transaction = connection.transaction().expect("a transaction");
        for second in 0..5 {
            insert(&transaction, &new(&format!("a{second}"), second), true).expect("a record");
            for _ in 0..10 {
                let begun = insert(&transaction, &new("attempt", second), false).expect("a record");
                trim(&transaction, 3).expect("trimmed");
                discard(&transaction, begun).expect("gone");
            }
        }
        let begun = insert(&transaction, &new("a5", 5), false).expect("a record");
        let page = read(&transaction, &Filter::default(), 9, |_| true).expect("a piece");
        assert_eq!(subjects(&page), ["a4", "a3", "a2"], "one that is only begun is not shown");
        finish(&transaction, begun, None, None).expect("finished");
        trim(&transaction, 3).expect("trimmed");
        let page = read(&transaction, &Filter::default(), 9, |_| true).expect("a piece");
        assert_eq!(subjects(&page), ["a5", "a4", "a3"]);
        assert_eq!(page.items[0].to, None);
        discard(&transaction, begun).expect("a change that was made stays");
        assert_eq!(read(&transaction, &Filter::default(), 9, |_| true).expect("a piece").items.len(), 3);
    }
}
