//! Approvals and rollbacks: an operator's, and the host's own, which rolls back a version whose first
//! calls fail.
//!
//! Each makes one attempt and has it committed. The progress of probations is saved from here, in one
//! transaction for all that gathers within a pause.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::agent::{AgentVersion, LoadedVersion};
use super::change::{Change, Changed, ChangedBy};
use super::commit::{Amendment, Atomicity, Committed};
use super::draft::{Attempt, Basis};
use super::load::LoadFailure;
use super::outcome::Outcome;
use super::probation::{CallReport, NextStep};
use super::record::{Cause, Pending, Release};
use super::register::{MayPlace, Placing, StoredSettingsError, allowed};
use super::retired::Retired;
use super::snapshot::{AgentEntry, Snapshot};
use super::{CHANGED_PROBATIONS, Inner, Registry};
use crate::config::AgentConfig;
use crate::domain::rights::Decision;
use crate::domain::{AgentId, AgentKey, Approved, Digest, Failure, Policy};

/// The category that a version will be in: its settings' word, or that of its record, or the agent's as it is.
fn category_in<'a>(
    config: &AgentConfig,
    version: &'a LoadedVersion,
    recorded: Option<&'a str>,
    entry: &'a AgentEntry,
) -> &'a str {
    match config.overlay.category {
        Some(_) => &version.card.category,
        None => recorded.unwrap_or(&entry.card.category),
    }
}

/// How long the progress of probations gathers before it is saved.
const SAVE_PAUSE: Duration = Duration::from_secs(1);

/// Why an operator's word changed nothing.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChangeError {
    /// There is no such agent.
    #[error("there is no agent `{0}`")]
    Unknown(AgentId),
    /// Nothing of it waits, nor was anything taken back.
    #[error("nothing of agent `{0}` waits for approval, and none of its versions was taken back")]
    NothingWaits(AgentId),
    /// Whoever says so may not.
    #[error("this may not be done with agent `{0}`")]
    NotAllowed(AgentId, Decision),
    /// The code that was meant waits, but not as it was seen.
    #[error(
        "{digest} waits of agent `{agent}` still, but with other settings, or for other rights, than those that you have seen. Look at it again, and approve it with the `stamp` that it has now"
    )]
    OtherStamp {
        /// The agent.
        agent: AgentId,
        /// The digest that was named.
        digest: Digest,
    },
    /// The settings that wait cannot be used any more.
    #[error("what waits cannot be approved: {0}")]
    Settings(#[from] StoredSettingsError),
    /// Something else waits than what was meant.
    #[error(
        "{asked} is not what waits of agent `{agent}`: {waits} waits by now. Look at that one, and approve its digest"
    )]
    OtherWaits {
        /// The agent.
        agent: AgentId,
        /// The digest that was named.
        asked: Digest,
        /// The digest that waits.
        waits: Digest,
    },
    /// What was named is no earlier version.
    #[error("{to} is no earlier version of agent `{agent}` that is kept{}", serves(.serving))]
    NotKept {
        /// The agent.
        agent: AgentId,
        /// The digest that was named.
        to: Digest,
        /// The digest that serves.
        serving: Option<Digest>,
    },
    /// There is no earlier version.
    #[error("no earlier version of agent `{0}` is kept: there is nothing to go back to")]
    NoEarlierVersion(AgentId),
    /// It is registered in agents.toml.
    #[error("agent `{0}` is of agents.toml: change it there")]
    OfTheFile(AgentId),
    /// The version that was meant cannot serve.
    #[error("{0}")]
    Failed(LoadFailure),
    /// Something else changed the agent at the same time.
    #[error("agent `{0}` was changed by somebody else at the same time; look at it, and try again")]
    Overtaken(AgentId),
}

fn serves(serving: &Option<Digest>) -> String {
    serving.map(|digest| format!("; {digest} serves now")).unwrap_or_default()
}

/// A version that failed its probation.
pub(super) struct FailedProbation {
    agent: AgentKey,
    digest: Digest,
    reason: String,
}

impl Registry {
    /// Lets in the version of this digest, which waits or was taken back, with the settings that wait
    /// with it: `read` is [`stored_settings`](super::stored_settings) under the settings file. With a `stamp`,
    /// only if all that waits is what it was when that was seen.
    ///
    /// # Errors
    /// [`ChangeError`] says why nothing changed.
    pub(crate) async fn approve(
        &self,
        key: &AgentKey,
        digest: Digest,
        stamp: Option<Digest>,
        read: impl FnOnce(&AgentKey, &str) -> Result<AgentConfig, StoredSettingsError>,
        may_place: MayPlace,
    ) -> Result<Changed, ChangeError> {
        let began = Instant::now();
        let (id, entry) = (&key.id, self.entry(key)?);
        let record = entry.record();
        let pending = match &record.pending {
            Some(pending) if pending.digest != digest => {
                return Err(ChangeError::OtherWaits {
                    agent: id.clone(),
                    asked: digest,
                    waits: pending.digest,
                });
            }
            None if record.blocked(&digest).is_none() => {
                return Err(match record.blocked.first() {
                    Some(blocked) => {
                        ChangeError::OtherWaits { agent: id.clone(), asked: digest, waits: blocked.digest }
                    }
                    None => ChangeError::NothingWaits(id.clone()),
                });
            }
            pending => pending.as_ref(),
        };
        let seen = pending.map(Pending::stamp);
        if stamp.is_some_and(|stamp| seen != Some(stamp)) {
            return Err(ChangeError::OtherStamp { agent: id.clone(), digest });
        }
        let settings = pending.and_then(|pending| pending.settings.as_deref());
        let (config, basis) = match settings {
            Some(text) if entry.is_registered() => {
                let config = read(key, text)?;
                (Arc::new(config), Basis::Waiting { settings: text.into() })
            }
            Some(_) => (entry.latest_config().clone(), Basis::Standing),
            None => (entry.config.clone(), Basis::Standing),
        };
        // What was taken back may be gone from the store: then it comes from its file.
        let prepared = match self.stored(&digest).await {
            Ok(prepared) => prepared,
            Err(_) => match self.read(&entry.latest_config().component).await {
                Ok(prepared) if prepared.digest() == digest => prepared,
                Ok(_) => return Err(ChangeError::NothingWaits(id.clone())),
                Err(failure) => return Err(ChangeError::Failed(failure)),
            },
        };
        let wants = pending.map(|pending| pending.wants.clone()).unwrap_or_default();
        // An import tells a capability, and not how much of it.
        let grants: Approved = wants.iter().map(|one| (*one, Policy::whole(*one))).collect();
        let mut approved = record.approved.clone();
        approved.extend(grants.clone());
        let result = self.inner.loader.version(&config, &approved, &prepared).await;
        if let Ok(version) = &result {
            let moves = pending.and_then(|pending| pending.category.as_deref());
            let category = category_in(&config, version, moves, &entry);
            let over = Some(entry.card.category.as_str());
            allowed(&may_place, &Placing { key, over, category, granted: wants })?;
        }
        let cause = Cause::Approved { grants, seen };
        let attempt = self.attempt(&config, cause, Some(digest), result, began);
        self.settle(key, Attempt { basis, ..attempt }).await
    }

    /// Brings the earlier version of this digest back, or without one the version that served before
    /// this one, and keeps this one out.
    ///
    /// # Errors
    /// [`ChangeError`] says why nothing changed.
    pub(crate) async fn rollback(
        &self,
        key: &AgentKey,
        to: Option<Digest>,
        reason: &str,
        may_place: MayPlace,
    ) -> Result<Changed, ChangeError> {
        let (id, entry) = (&key.id, self.entry(key)?);
        let serving = entry.record().serving_digest();
        if let Some(to) = to
            && !entry.record().previous.iter().any(|release| release.digest == to)
        {
            return Err(ChangeError::NotKept { agent: id.clone(), to, serving });
        }
        let from = serving.ok_or_else(|| ChangeError::NoEarlierVersion(id.clone()))?;
        self.go_back(&entry, from, to, reason, &*may_place).await
    }

    async fn go_back(
        &self,
        entry: &AgentEntry,
        from: Digest,
        to: Option<Digest>,
        reason: &str,
        may_place: &(dyn Fn(&Placing<'_>) -> Decision + Send + Sync),
    ) -> Result<Changed, ChangeError> {
        let began = Instant::now();
        let mut last = ChangeError::NoEarlierVersion(entry.key.id.clone());
        let wanted = |release: &&Release| to.is_none_or(|to| to == release.digest);
        for release in entry.record().previous.iter().filter(wanted) {
            let loader = &self.inner.loader;
            let version = match self.stored(&release.digest).await {
                Ok(prepared) => loader.version(&entry.config, &entry.record().approved, &prepared).await,
                Err(failure) => Err(failure),
            };
            match version {
                Ok(version) => {
                    let category = category_in(&entry.config, &version, release.category.as_deref(), entry);
                    let over = Some(entry.card.category.as_str());
                    // It was let in before, with what it was granted then.
                    let granted = Vec::new();
                    allowed(may_place, &Placing { key: &entry.key, over, category, granted })?;
                    let cause = Cause::RolledBack { from, reason: reason.to_owned() };
                    let attempt =
                        self.attempt(&entry.config, cause, Some(release.digest), Ok(version), began);
                    return self.settle(&entry.key, attempt).await;
                }
                Err(failure) => last = ChangeError::Failed(failure),
            }
        }
        Err(last)
    }

    /// Commits one attempt of an operator's.
    async fn settle(&self, key: &AgentKey, attempt: Attempt) -> Result<Changed, ChangeError> {
        match self.commit(vec![attempt], Atomicity::Independent).await.pop() {
            Some(Committed {
                outcome: Outcome::Live(_) | Outcome::Same | Outcome::Waits(_),
                before,
                after: Some(after),
            }) => {
                self.learn_ahead();
                Ok(Changed { before, after })
            }
            Some(Committed { outcome: Outcome::Failed(failure), .. }) => Err(ChangeError::Failed(failure)),
            Some(_) => Err(ChangeError::Overtaken(key.id.clone())),
            None => Err(ChangeError::Failed(LoadFailure::Interrupted)),
        }
    }

    /// Counts how a call of `version` ended: a version whose first calls fail is rolled back.
    pub fn call_ended(&self, version: &AgentVersion, call: &CallReport<'_>) {
        let (key, digest) = (&version.key, version.digest);
        match version.probation.count(call) {
            NextStep::Continue => {}
            // Where the queue is full, it is saved with the next.
            NextStep::Save => drop(self.inner.changed_probations.try_send(key.clone())),
            NextStep::RollBack if !self.inner.reload.load().rollback => {}
            NextStep::RollBack => {
                let (faults, calls, callers) = version.probation.summary();
                let code = call.failure.map_or("", Failure::code);
                let callers = if callers > 1 { format!(" for {callers} callers") } else { String::new() };
                let reason =
                    format!("{faults} of its first {calls} calls failed{callers}, the last one with {code}");
                let failed = FailedProbation { agent: key.clone(), digest, reason };
                if self.inner.failed_probations.try_send(failed).is_err() {
                    version.probation.reopen();
                    tracing::error!(tenant = %key.tenant, agent = %key.id, "too many versions fail at once: this one is taken back at its next fault");
                }
            }
        }
    }

    /// Saves how versions on probation do, so that a start goes on from there. Of all agents, or of
    /// those named.
    pub async fn save_probations(&self, agents: Option<BTreeSet<AgentKey>>) {
        let agents =
            agents.unwrap_or_else(|| self.snapshot().agents().map(|entry| entry.key.clone()).collect());
        let touches: Vec<_> = agents.iter().cloned().collect();
        let amendment = move |current: &Snapshot, _: &Retired| {
            let changed = agents.iter().filter_map(|key| current.agent(key)).filter_map(|entry| {
                let version = entry.version()?;
                let mut record = (**entry.record()).clone();
                record.probation = version.probation.progress(version.digest);
                record.many_callers |= version.probation.callers().are_many();
                (record != **entry.record()).then(|| (**entry).clone().with_record(record))
            });
            Amendment { put: changed.collect(), ..Amendment::default() }
        };
        if self.inner.store.is_some()
            && let Err(failure) = self.amend(touches, amendment).await
        {
            tracing::error!(reason = %failure, "how new versions do could not be written down");
        }
    }
}

/// Saves how versions on probation do, as long as the registry is there: what gathers within a pause
/// costs one transaction.
pub(super) fn save_changed_probations(registry: &Registry, mut changed: mpsc::Receiver<AgentKey>) {
    let inner = Arc::downgrade(&registry.inner);
    tokio::spawn(async move {
        let mut agents = Vec::new();
        while changed.recv_many(&mut agents, CHANGED_PROBATIONS).await > 0 {
            let Some(inner): Option<Arc<Inner>> = inner.upgrade() else { return };
            Registry { inner }.save_probations(Some(agents.drain(..).collect())).await;
            tokio::time::sleep(SAVE_PAUSE).await;
        }
    });
}

/// Rolls back each version that fails its probation, as long as the registry is there.
pub(super) fn roll_back_failed(registry: &Registry, mut failed: mpsc::Receiver<FailedProbation>) {
    let inner = Arc::downgrade(&registry.inner);
    tokio::spawn(async move {
        while let Some(FailedProbation { agent, digest, reason }) = failed.recv().await {
            let Some(inner): Option<Arc<Inner>> = inner.upgrade() else { return };
            Registry { inner }.roll_back_version(&agent, digest, &reason).await;
        }
    });
}

impl Registry {
    /// Rolls `digest` back, if it serves still.
    async fn roll_back_version(&self, key: &AgentKey, digest: Digest, reason: &str) {
        loop {
            let Ok(entry) = self.entry(key) else { return };
            if entry.record().serving.as_ref().is_none_or(|serving| serving.digest != digest) {
                return;
            }
            match self.go_back(&entry, digest, None, reason, &|_| Decision::Allowed).await {
                Ok(Changed { before, after }) => {
                    let (key, by) = (key.clone(), ChangedBy::Probation(reason.to_owned()));
                    let change = Change { key, by, before, after: Some(after) };
                    return self.note_changes(vec![change]);
                }
                // Other settings, most likely: they change nothing about the code.
                Err(ChangeError::Overtaken(_)) => {}
                Err(error) => {
                    tracing::error!(tenant = %key.tenant, agent = %key.id, %digest, reason, %error, "a version that fails cannot be taken back");
                    return;
                }
            }
        }
    }
}
