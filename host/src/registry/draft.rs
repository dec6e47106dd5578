//! What follows from attempts to change what agents serve: the entries that come next. Pure.
//!
//! It reads one snapshot and what is remembered of agents that are gone, and publishes and writes nothing:
//! whoever commits does. Whether a version is admitted is for the agent's record to say.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::agent::LoadedVersion;
use super::load::LoadFailure;
use super::outcome::Outcome;
use super::probation::{Callers, Probation, Threshold};
use super::record::{Admission, Candidate, Cause, Pending, Record, settings_text};
use super::retired::Retired;
use super::snapshot::{AgentEntry, Snapshot};
use super::state::LoadAttempt;
use crate::config::{AgentConfig, ReloadConfig};
use crate::domain::{AgentKey, Approved, Digest};

/// A version that was loaded for an agent, or why none could be.
pub(super) struct Attempt {
    /// The settings that it was loaded under.
    pub(super) config: Arc<AgentConfig>,
    pub(super) cause: Cause,
    pub(super) basis: Basis,
    /// When it was asked for.
    pub(super) began: Instant,
    /// The component, where it could be read.
    pub(super) digest: Option<Digest>,
    pub(super) result: Result<LoadedVersion, LoadFailure>,
}

/// Whether an attempt's settings are the agent's already.
#[derive(Clone)]
pub(super) enum Basis {
    /// They were when it began; if they are no longer, somebody else makes another attempt.
    Standing,
    /// They wait with the code, as this JSON text.
    Waiting { settings: Arc<str> },
    /// They come with it, as this JSON text, in the place of `over`.
    Registered { settings: Arc<str>, over: Option<Arc<AgentConfig>> },
}

/// The entries that attempts lead to, one attempt after another.
pub(super) struct Draft<'a> {
    pub(super) current: &'a Snapshot,
    pub(super) retired: &'a Retired,
    pub(super) config: &'a ReloadConfig,
    pub(super) now: SystemTime,
    /// The component that the data folder keeps at a path, if that is one of its own.
    pub(super) kept: &'a dyn Fn(&Path) -> Option<Digest>,
    /// The entries so far.
    pub(super) entries: BTreeMap<AgentKey, AgentEntry>,
}

impl Draft<'_> {
    /// Decides what follows from one more attempt.
    pub(super) fn apply(&mut self, attempt: Attempt) -> Outcome {
        let Some((entry, stored)) = self.based_on(&attempt) else { return Outcome::Stale };
        let Attempt { config, cause, basis: _, began, digest, result } = attempt;
        if !entry.record().stands(&cause, digest) {
            return Outcome::Stale;
        }
        let load = LoadAttempt { at: self.now, took: began.elapsed(), digest };
        // The answer to whoever registers is no report on the agent's page.
        let reported = stored.is_none();
        let version = match result {
            Ok(version) => version,
            Err(failure) => return self.refuse(entry, load, failure, reported),
        };
        let grants = config.grants.with_approved(&approved_after(entry.record(), &cause));
        if config.fingerprint(&grants) != version.settings {
            // Something was approved since the version was loaded: it would serve without.
            return Outcome::Stale;
        }
        let settings = Settings { kept: (self.kept)(&config.component), config, stored };
        let candidate = Candidate { with: settings.waiting(&entry), ..version.candidate(&settings.config) };
        let keep = self.config.keep_versions as usize;
        let (mut record, release, is_new) = match entry.record().admit(&candidate, &cause, keep, self.now) {
            Admission::Same(record, release) => (record, release, false),
            Admission::Live(record, release) => (record, release, true),
            Admission::Waits(record) => return self.wait(entry, record, load),
            Admission::Blocked(reason) => {
                let path = settings.config.component.display().to_string();
                let failure = LoadFailure::TakenBack { path, agent: entry.key.id.to_string(), reason };
                return self.refuse(entry, load, failure, reported);
            }
            Admission::Stale => return Outcome::Stale,
        };
        let resumed = cause == Cause::Resumed && !entry.is_registered();
        let probation = self.probation(&entry, candidate.digest, &cause);
        let entry = settings.adopt(entry, &mut record, resumed);
        let entry = if is_new || entry.version().is_none() {
            if is_new {
                record.probation = probation.progress(candidate.digest);
                record.many_callers |= probation.callers().are_many();
            }
            entry.went_live(Arc::new(version.publish(&release, probation)), record)
        } else {
            entry.with_record(record)
        };
        // What was resumed is not what was asked for: the report stays.
        let entry = if resumed { entry } else { entry.load_finished(load, Ok(())) };
        self.entries.insert(entry.key.clone(), entry);
        if is_new { Outcome::Live(release.generation) } else { Outcome::Same }
    }

    /// The entry that an attempt is for, and the text under which its settings are to be stored, if it brings
    /// some. `None` if the agent is no longer what the attempt was based on.
    fn based_on(&self, attempt: &Attempt) -> Option<(AgentEntry, Option<Arc<str>>)> {
        let Attempt { config, cause, basis, .. } = attempt;
        let standing = self.entries.get(&config.key);
        let standing = standing.or_else(|| self.current.agent(&config.key).map(|entry| &**entry));
        match (standing, basis) {
            (Some(entry), Basis::Standing) => {
                let is_latest = Arc::ptr_eq(entry.latest_config(), config);
                let stands = match cause {
                    // What a file holds is proposed with the latest settings.
                    Cause::Proposed { .. } => is_latest,
                    Cause::Registered
                    | Cause::Approved { .. }
                    | Cause::Resumed
                    | Cause::RolledBack { .. } => is_latest || Arc::ptr_eq(&entry.config, config),
                };
                stands.then(|| (entry.clone(), None))
            }
            // The operator has seen what waits, with the settings that wait with it.
            (Some(entry), Basis::Waiting { settings }) => {
                let waiting = entry.record().pending.as_ref().and_then(|pending| pending.settings.as_deref());
                let stands = entry.is_registered() && waiting == Some(&**settings);
                stands.then(|| (entry.clone(), Some(settings.clone())))
            }
            // The file may name it by now, or its settings mean something else.
            (Some(entry), Basis::Registered { settings, over: Some(over) }) => {
                let stands = entry.is_registered() && Arc::ptr_eq(entry.latest_config(), over);
                stands.then(|| (entry.clone(), Some(settings.clone())))
            }
            (None, Basis::Registered { settings, over: None }) => {
                let record = self.retired.registered(&config.key);
                Some((AgentEntry::loading(config.clone(), Arc::new(record)), Some(settings.clone())))
            }
            (Some(_), Basis::Registered { over: None, .. })
            | (None, Basis::Standing | Basis::Waiting { .. } | Basis::Registered { over: Some(_), .. }) => {
                None
            }
        }
    }

    /// What served serves on; the failure stands on the agent's page, where it is to be reported there.
    fn refuse(
        &mut self,
        entry: AgentEntry,
        load: LoadAttempt,
        failure: LoadFailure,
        reported: bool,
    ) -> Outcome {
        if reported {
            let entry = entry.load_finished(load, Err(failure.clone())).proposal_waits_with_code();
            self.entries.insert(entry.key.clone(), entry);
        }
        Outcome::Failed(failure)
    }

    /// Its settings wait with it: what serves keeps its own.
    fn wait(&mut self, entry: AgentEntry, record: Record, load: LoadAttempt) -> Outcome {
        let wants = record.pending.as_ref().map(Pending::wants_in_words).unwrap_or_default();
        let entry = entry.with_record(record).load_finished(load, Ok(())).proposal_waits_with_code();
        self.entries.insert(entry.key.clone(), entry);
        Outcome::Waits(wants)
    }

    /// The probation of a version with this code that serves from now on in the place of what `entry` serves.
    fn probation(&self, entry: &AgentEntry, digest: Digest, cause: &Cause) -> Arc<Probation> {
        let record = entry.record();
        let Some(old) = entry.version() else {
            let callers = Arc::new(Callers::restored(record.many_callers));
            return Arc::new(match &record.probation {
                // The start of a host ends no probation.
                Some(saved) if saved.digest == digest => {
                    Probation::resumed(Threshold::new(self.config), callers, saved)
                }
                _ => Probation::new(None, callers),
            });
        };
        if old.digest == digest {
            // Under other settings it is the same code: what was counted so far stays.
            return old.probation.clone();
        }
        // Other code than what served, in the place of code that did well, is on probation.
        let watched = match cause {
            Cause::Proposed { .. } | Cause::Registered | Cause::Approved { .. } => {
                old.probation.is_healthy(self.config)
            }
            Cause::Resumed | Cause::RolledBack { .. } => false,
        };
        let threshold = Threshold::new(self.config).filter(|_| watched);
        Arc::new(Probation::new(threshold, old.probation.callers().clone()))
    }
}

/// What is approved of an agent if a version is admitted because of this.
fn approved_after(record: &Record, cause: &Cause) -> Approved {
    let mut approved = record.approved.clone();
    if let Cause::Approved { grants, .. } = cause {
        approved.extend(grants.clone());
    }
    approved
}

/// The settings that come with a version.
struct Settings {
    config: Arc<AgentConfig>,
    /// The text under which they are stored, of an agent that is registered with them.
    stored: Option<Arc<str>>,
    /// Their component, where the data folder keeps it.
    kept: Option<Digest>,
}

impl Settings {
    /// As text, if they would have to wait with the version.
    fn waiting(&self, entry: &AgentEntry) -> Option<String> {
        match &self.stored {
            Some(stored) => Some(stored.to_string()),
            None => (*self.config != *entry.config).then(|| settings_text(&self.config, self.kept)),
        }
    }

    /// The entry under these settings; `record` is to remember them.
    fn adopt(self, mut entry: AgentEntry, record: &mut Record, resumed: bool) -> AgentEntry {
        if self.stored.is_some() || Arc::ptr_eq(entry.latest_config(), &self.config) {
            entry.proposed = None;
            if resumed && let Some(pending) = &mut record.pending {
                // What waits has no settings of its own any more: they serve.
                pending.settings = None;
            }
        }
        match self.stored {
            Some(stored) => record.registered = Some(stored.to_string()),
            None => record.remember(&self.config, self.kept),
        }
        entry.config = self.config;
        entry
    }
}
