//! The audit: who changed what, when, from what to what. Kept across restarts, the newest so many.
//!
//! A change that somebody asks for is written down twice: begun, before anything is changed, and finished, once
//! it is. Where the first cannot be written, nothing is changed. A host that is killed in between finds at its
//! next start a change that was only begun; what the agent is by then tells whether it was made. An attempt that
//! changed nothing leaves no record.
//!
//! What the host does by itself, and what a file brings, takes effect also where it cannot be written down: a
//! right that ends waits for no disk, and neither does what comes after it. The log has it then.
//!
//! Owns DATA/audit.db. No secret gets here: a key is its name. What a component says of itself is bounded here,
//! and escaped where it is shown.

mod record;
mod store;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use tokio::sync::Semaphore;

pub use record::{AuditRecord, AuditRequest, State, SubjectKind};
pub use store::SCHEMA;

use super::{Failure, Held, Operation, Operations, Page, Request, agents};
use crate::config::Config;
use crate::config::diff::Diff;
use crate::domain::rights::{self, Action, Decision};
use crate::domain::{AgentId, AgentKey, Clock, Principal, RequestId, Role, TenantId};
use crate::registry::{AgentEntry, Change, ChangeLog, Changed, ChangedBy, Registry};
use crate::storage::{Database, StorageError};
use record::NewRecord;

/// Who changed something that nobody asked for over a door.
pub const HOST: &str = "host";
/// Who changed something by saving a file.
pub const FILE: &str = "file";

/// What agents.toml brings, as the audit calls it.
const SETTINGS: &str = "settings";
/// A file's new version that went live, as the audit calls it.
const RELOAD: &str = "reload";

/// Changes that nobody asked for and that wait to be written, at the most: of more, the log alone tells. Fewer
/// than the database's queue takes.
const UNWRITTEN: usize = 500;

/// Keeps the records. A handle, cheap to clone.
#[derive(Clone)]
pub struct Audit {
    /// `None` for a command, which changes nothing that lasts.
    database: Option<Database>,
    config: Arc<ArcSwap<Config>>,
    clock: Arc<dyn Clock>,
    /// Records that came since the oldest were taken away.
    untrimmed: Arc<AtomicU64>,
    /// Places for changes that nobody asked for, until they are written.
    unwritten: Arc<Semaphore>,
}

/// A change that was begun.
#[must_use]
pub(super) struct Begun {
    audit: Audit,
    id: i64,
}

impl Audit {
    /// Keeps records in `database`, as many as the settings say; none without one.
    pub fn new(database: Option<Database>, config: Arc<ArcSwap<Config>>, clock: Arc<dyn Clock>) -> Self {
        // How many an earlier host left is not known.
        let untrimmed = Arc::new(AtomicU64::new(u64::from(u32::MAX)));
        let unwritten = Arc::new(Semaphore::new(UNWRITTEN));
        Self { database, config, clock, untrimmed, unwritten }
    }

    /// Writes down that a change begins.
    async fn begin(&self, record: NewRecord) -> Result<Begun, Failure> {
        let begun = |id| Begun { audit: self.clone(), id };
        let Some(database) = &self.database else { return Ok(begun(0)) };
        let id = database.write(move |transaction| store::insert(transaction, &record, false)).await;
        id.map(begun).map_err(|error| Failure::NotAudited { internal: format!("writing the audit: {error}") })
    }

    /// Has changes written down that were made, in the order of these calls. It waits for no disk: whoever makes
    /// such changes may have the next one to make, which may end somebody's right.
    fn record(&self, records: Vec<NewRecord>) {
        let Some(database) = &self.database else { return };
        if records.is_empty() {
            return;
        }
        let keep = self.trims(records.len());
        let names: Vec<_> = records.iter().map(|record| record.subject.clone()).collect();
        let Ok(place) = self.unwritten.clone().try_acquire_owned() else {
            return not_recorded(&"too many others wait to be written", &names);
        };
        let database = database.clone();
        let mut write = Box::pin(async move {
            let write = database.write(move |transaction| {
                for record in &records {
                    store::insert(transaction, record, true)?;
                }
                keep.map_or(Ok(()), |keep| store::trim(transaction, keep))
            });
            if let Err(error) = write.await {
                not_recorded(&error, &names);
            }
            drop(place);
        });
        // It is queued at once, so that what comes next is written next.
        if (&mut write).now_or_never().is_none() {
            tokio::spawn(write);
        }
    }

    /// How many records are kept.
    fn keep(&self) -> u64 {
        self.config.load().server.audit_records.into()
    }

    /// How many records are kept, where it is time to take away the oldest. To count them takes longer the more
    /// there are: they may be one in a hundred too many before.
    fn trims(&self, more: usize) -> Option<u64> {
        let (keep, more) = (self.keep(), u64::try_from(more).unwrap_or(u64::MAX));
        let untrimmed = self.untrimmed.fetch_add(more, Ordering::Relaxed).saturating_add(more);
        is_due(untrimmed, keep).then(|| {
            self.untrimmed.store(0, Ordering::Relaxed);
            keep
        })
    }

    /// What a change that was begun and never finished came to: as what the registry has now says.
    ///
    /// # Errors
    /// If the database cannot be read or written.
    pub fn settle(&self, registry: &Registry) -> Result<(), StorageError> {
        let Some(database) = &self.database else { return Ok(()) };
        let snapshot = registry.snapshot();
        let unfinished = database.read_blocking(store::unfinished)?;
        if unfinished.is_empty() {
            return Ok(());
        }
        let left = database.read_blocking(|connection| store::left(connection, &unfinished))?;
        let mut under_way: BTreeMap<(TenantId, String), usize> = BTreeMap::new();
        for begun in &unfinished {
            *under_way.entry((begun.tenant.clone(), begun.subject.clone())).or_default() += 1;
        }
        let settled: Vec<_> = unfinished
            .into_iter()
            .map(|begun| {
                let entry = snapshot.find(&begun.tenant, &begun.subject);
                let now = entry.map(|entry| State::of(entry));
                // What a component says of itself is not known before it is loaded; settings may mean something else
                // by now, and others come with another generation.
                let version = |state: &State| State {
                    category: String::new(),
                    settings: BTreeMap::new(),
                    ..state.clone()
                };
                // It was begun on what another change was made on: that one made the difference.
                let on = begun.from.as_ref().and_then(|from| from.generation);
                let by_another = on.is_some_and(|on| left[&begun.id].contains(&on));
                let changed = now.as_ref().map(version) != begun.from.as_ref().map(version) && !by_another;
                if begun.operation == Operation::Generate.name() {
                    // All of them were made, or none: the first tells.
                    let first = begun.to.as_ref().and_then(State::first_made);
                    let made = first.is_some_and(|id| snapshot.find(&begun.tenant, id).is_some());
                    return (begun.id, made.then_some((begun.from, begun.to, None)));
                }
                // Which of several it was is known to nobody.
                let several = under_way.get(&(begun.tenant, begun.subject)).filter(|several| **several > 1);
                let doubt = several.map(|several| {
                    format!("the host was killed while {several} changes of this agent were under way: at least one of them was made")
                });
                (begun.id, changed.then_some((begun.from, now, doubt)))
            })
            .collect();
        let keep = self.keep();
        database.write_blocking(move |transaction| {
            for (id, made) in &settled {
                match made {
                    Some((from, to, doubt)) => {
                        store::finish(transaction, *id, from.as_ref(), to.as_ref())?;
                        doubt.iter().try_for_each(|doubt| store::explain(transaction, *id, doubt))?;
                    }
                    None => store::discard(transaction, *id)?,
                }
            }
            store::trim(transaction, keep)
        })
    }
}

/// Whether so many new records are enough to look for those that are too many.
fn is_due(untrimmed: u64, keep: u64) -> bool {
    untrimmed > keep / 100
}

fn not_recorded(error: &dyn std::fmt::Display, subjects: &[String]) {
    let subjects = subjects.join(", ");
    tracing::error!(%error, subjects, "changes were made that could not be written to the audit");
}

impl Begun {
    /// The change was made.
    async fn finish(self, from: Option<State>, to: Option<State>) {
        let Self { audit, id } = self;
        let Some(database) = &audit.database else { return };
        let keep = audit.trims(1);
        let written = database.write(move |transaction| {
            store::finish(transaction, id, from.as_ref(), to.as_ref())?;
            keep.map_or(Ok(()), |keep| store::trim(transaction, keep))
        });
        // The record is there already, as begun: the next start finishes it.
        if let Err(error) = written.await {
            not_recorded(&error, &[format!("record {id}")]);
        }
    }

    /// Nothing was changed.
    async fn discard(self) {
        let Self { audit, id } = self;
        let Some(database) = &audit.database else { return };
        let discarded = database.write(move |transaction| store::discard(transaction, id)).await;
        if let Err(error) = discarded {
            tracing::warn!(%error, record = id, "a change that was not made stands in the audit as begun, until the next start");
        }
    }
}

/// A change that somebody asks for, before it is made.
pub(super) struct Asked {
    pub(super) operation: Operation,
    pub(super) agent: AgentId,
    pub(super) request: RequestId,
    /// What the request says of itself, bounded: `None` if there is nothing to say.
    pub(super) reason: Option<String>,
    /// What it will come to, where that is known before.
    pub(super) to: Option<State>,
    /// What the request holds of the door that it came through, until the change is made.
    pub(super) held: Held,
}

impl Asked {
    /// A change of this agent.
    pub(super) fn new(operation: Operation, agent: &AgentId, request: RequestId, held: Held) -> Self {
        Self { operation, agent: agent.clone(), request, reason: None, to: None, held }
    }
}

/// A change that was made.
pub(super) struct Made<T> {
    /// What its caller is answered.
    pub(super) answer: T,
    /// What it was made on: not what there was when it was asked for, which may be something else.
    pub(super) from: Option<State>,
    /// What it came to.
    pub(super) to: Option<State>,
}

impl<T> Made<T> {
    /// An agent was changed.
    pub(super) fn of(changed: &Changed, answer: T) -> Self {
        let Changed { before, after } = changed;
        Self { answer, from: before.as_deref().map(State::of), to: Some(State::of(after)) }
    }
}

impl Operations {
    /// Makes a change and writes it down in the same breath. The change is made to its end, whether or not its
    /// caller still waits: so what the audit says is what happened.
    pub(super) async fn change<T, F>(
        &self,
        who: &Arc<Principal>,
        asked: Asked,
        made: impl FnOnce(Self, Arc<Principal>) -> F,
    ) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: Future<Output = Result<Made<T>, Failure>> + Send + 'static,
    {
        let Asked { operation, agent, request, reason, to, held } = asked;
        let key = AgentKey::new(&who.tenant, &agent);
        // Should the host be killed before it is known on what the change was made.
        let from = self.registry().snapshot().agent(&key).map(|entry| State::of(entry));
        let category = from.as_ref().map(|from| from.category.clone()).unwrap_or_default();
        let record = NewRecord {
            at: self.handles.audit.clock.now(),
            tenant: who.tenant.clone(),
            who: who.key_id.to_string(),
            role: Some(who.role),
            operation: operation.name(),
            kind: SubjectKind::Agent,
            subject: agent.to_string(),
            category,
            from,
            to,
            reason,
            request: Some(request),
        };
        let audit = self.handles.audit.clone();
        let work = made(self.clone(), Arc::clone(who));
        let change = tokio::spawn(async move {
            let _held = held;
            let begun = audit.begin(record).await?;
            match work.await {
                Ok(Made { answer, from, to }) => {
                    begun.finish(from, to).await;
                    Ok(answer)
                }
                Err(failure) => {
                    begun.discard().await;
                    Err(failure)
                }
            }
        });
        change.await.unwrap_or_else(|error| {
            Err(Failure::Internal { internal: format!("a change did not come to its end: {error}") })
        })
    }

    /// The records that `who` may see, the newest first: an operator all of them, an admin those of the agents
    /// in its scope.
    ///
    /// # Errors
    /// For whoever is no admin, and if a bound or the limit cannot be read.
    pub async fn audit(
        &self,
        who: &Arc<Principal>,
        request: Request<AuditRequest>,
    ) -> Result<Page<AuditRecord>, Failure> {
        self.admit(who, Operation::Audit, None)?;
        let filter = request.body.filter()?;
        let limit = agents::page_size(request.body.limit)?;
        let Some(database) = &self.handles.audit.database else {
            return Ok(Page { items: Vec::new(), next: None });
        };
        let who = Arc::clone(who);
        let read = database
            .read(move |connection| store::read(connection, &filter, limit, |record| may_see(&who, record)));
        read.await.map_err(|error| Failure::Internal { internal: format!("reading the audit: {error}") })
    }

    /// Writes down what changed from one agents.toml to the next, as far as it is somebody's right or bound: keys,
    /// settings of the host, agents. Called once it holds.
    pub fn settings_changed(&self, old: &Config, new: &Config, diff: &Diff) {
        let audit = &self.handles.audit;
        audit.record(record::of_settings(audit.clock.now(), old, new, diff));
    }
}

/// Whether `who` may see this record.
fn may_see(who: &Principal, record: &AuditRecord) -> bool {
    if who.role == Role::Operator {
        return true;
    }
    let SubjectKind::Agent = record.kind else { return false };
    let Ok(id) = AgentId::parse(&record.subject) else { return false };
    let category = Some(record.category.as_str());
    rights::of_agent(who, Action::Inspect, &AgentKey::new(&record.tenant, &id), category) == Decision::Allowed
}

impl ChangeLog for Audit {
    fn changed(&self, changes: Vec<Change>) {
        let at = self.clock.now();
        let records = changes.into_iter().map(|change| {
            let state = |entry: Option<Arc<AgentEntry>>| entry.map(|entry| State::of(&entry));
            let Change { key, by, before, after } = change;
            let (who, operation, reason) = match by {
                ChangedBy::File => (FILE, RELOAD, None),
                ChangedBy::Probation(reason) => (HOST, Operation::RollBack.name(), Some(reason)),
            };
            let to = state(after);
            NewRecord {
                at,
                tenant: key.tenant,
                who: who.to_owned(),
                role: None,
                operation,
                kind: SubjectKind::Agent,
                subject: key.id.to_string(),
                category: to.as_ref().map(|to| to.category.clone()).unwrap_or_default(),
                from: state(before),
                to,
                reason,
                request: None,
            }
        });
        self.record(records.collect());
    }
}

#[cfg(test)]
mod tests {
    use super::is_due;

    #[test]
    fn the_oldest_are_looked_for_once_in_a_hundredth_of_what_is_kept() {
        assert!(is_due(1, 5) && is_due(1, 99) && !is_due(1, 100));
        assert!(!is_due(1_000, 100_000) && is_due(1_001, 100_000));
        assert!(is_due(u64::from(u32::MAX), 10_000_000), "at the start");
    }
}
