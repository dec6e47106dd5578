//! Where an agent stands: which states there are, what each of them keeps, and which follows which. Pure.
//!
//! A state keeps only what belongs to it: there is a version where one serves, and a failure where a load
//! failed. Nothing else makes a state; the snapshot's entries hold one each.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::agent::AgentVersion;
use super::load::LoadFailure;
use crate::domain::{AgentStatus, Digest};

/// Where an agent stands. `V` is a version that serves.
#[derive(Debug, Clone)]
pub enum AgentState<V = Arc<AgentVersion>> {
    /// Its first load is under way, and nothing serves.
    Loading,
    /// A version serves.
    Active {
        /// That one.
        version: V,
        /// How the last load of its file ended; `None` until the first has.
        last_load: Option<FinishedLoad>,
    },
    /// A version waits for an operator's approval.
    PendingApproval {
        /// What served before it came serves on; `None` where nothing did.
        version: Option<V>,
        /// How the last load ended.
        last_load: FinishedLoad,
    },
    /// Nothing serves, because of this.
    Failed(FailedLoad),
}

/// An attempt to load an agent's code that has ended.
#[derive(Debug, Clone)]
pub struct LoadAttempt {
    /// When it ended.
    pub at: SystemTime,
    /// How long it took, from the news to the end.
    pub took: Duration,
    /// The SHA-256 of the component that it was about, where that was read.
    pub digest: Option<Digest>,
}

/// An attempt that failed.
#[derive(Debug, Clone)]
pub struct FailedLoad {
    attempt: LoadAttempt,
    reason: LoadFailure,
    /// Since when loads have failed.
    since: SystemTime,
}

/// How an attempt ended.
#[derive(Debug, Clone)]
pub enum FinishedLoad {
    /// What it brought serves, or waits.
    Succeeded(LoadAttempt),
    /// It brought nothing.
    Failed(FailedLoad),
}

/// What is known of an agent's last load, for whoever shows it.
#[derive(Debug, Clone, Copy)]
pub struct LoadReport<'a> {
    /// When it ended.
    pub at: SystemTime,
    /// How long it took, from the news to the end.
    pub took: Duration,
    /// The SHA-256 of the component that it was about, where that was read.
    pub digest: Option<Digest>,
    /// What failed, if something did.
    pub failure: Option<&'a LoadFailure>,
    /// Since when loads have failed, if the last one did.
    pub failing_since: Option<SystemTime>,
}

impl<'a> LoadReport<'a> {
    fn of_failed(load: &'a FailedLoad) -> Self {
        let FailedLoad { attempt: LoadAttempt { at, took, digest }, reason, since } = load;
        let (failure, failing_since) = (Some(reason), Some(*since));
        Self { at: *at, took: *took, digest: *digest, failure, failing_since }
    }

    fn of(load: &'a FinishedLoad) -> Self {
        match load {
            FinishedLoad::Failed(load) => Self::of_failed(load),
            FinishedLoad::Succeeded(LoadAttempt { at, took, digest }) => {
                Self { at: *at, took: *took, digest: *digest, failure: None, failing_since: None }
            }
        }
    }
}

impl<V> AgentState<V> {
    /// The word for it.
    pub fn status(&self) -> AgentStatus {
        match self {
            Self::Loading => AgentStatus::Loading,
            Self::Active { .. } => AgentStatus::Active,
            Self::PendingApproval { .. } => AgentStatus::PendingApproval,
            Self::Failed(load) => load.reason.status(),
        }
    }

    /// What serves.
    pub fn version(&self) -> Option<&V> {
        match self {
            Self::Active { version, .. } => Some(version),
            Self::PendingApproval { version, .. } => version.as_ref(),
            Self::Loading | Self::Failed(_) => None,
        }
    }

    /// How the last load ended; `None` while the first is under way.
    pub fn last_load(&self) -> Option<LoadReport<'_>> {
        match self {
            Self::Loading => None,
            Self::Active { last_load, .. } => last_load.as_ref().map(LoadReport::of),
            Self::PendingApproval { last_load, .. } => Some(LoadReport::of(last_load)),
            Self::Failed(load) => Some(LoadReport::of_failed(load)),
        }
    }

    /// A load ended. `pending` says whether a version waits for approval now.
    pub(super) fn load_finished(
        self,
        attempt: LoadAttempt,
        result: Result<(), LoadFailure>,
        pending: bool,
    ) -> Self {
        let failing = self.last_load().and_then(|last| last.failing_since);
        let last_load = match result {
            Ok(()) => FinishedLoad::Succeeded(attempt),
            Err(reason) => {
                let since = failing.unwrap_or(attempt.at);
                FinishedLoad::Failed(FailedLoad { attempt, reason, since })
            }
        };
        match self {
            Self::Loading | Self::Failed(_) => Self::without_version(last_load, pending),
            Self::Active { version, .. } => Self::with_version(version, Some(last_load), pending),
            Self::PendingApproval { version: Some(version), .. } => {
                Self::with_version(version, Some(last_load), pending)
            }
            Self::PendingApproval { version: None, .. } => Self::without_version(last_load, pending),
        }
    }

    /// This version serves from now on.
    pub(super) fn went_live(self, version: V, pending: bool) -> Self {
        let last_load = match self {
            Self::Loading => None,
            Self::Active { last_load, .. } => last_load,
            Self::PendingApproval { last_load, .. } => Some(last_load),
            Self::Failed(load) => Some(FinishedLoad::Failed(load)),
        };
        Self::with_version(version, last_load, pending)
    }

    /// A version came to wait for approval, or none waits any more.
    pub(super) fn approval_changed(self, pending: bool) -> Self {
        match self {
            Self::Loading => Self::Loading,
            Self::Active { version, last_load } => Self::with_version(version, last_load, pending),
            Self::PendingApproval { version: Some(version), last_load } => {
                Self::with_version(version, Some(last_load), pending)
            }
            Self::PendingApproval { version: None, last_load } => Self::without_version(last_load, pending),
            Self::Failed(load) => Self::without_version(FinishedLoad::Failed(load), pending),
        }
    }

    /// The version that serves is another form of itself.
    pub(super) fn map_version(self, change: impl FnOnce(V) -> V) -> Self {
        match self {
            Self::Active { version, last_load } => Self::Active { version: change(version), last_load },
            Self::PendingApproval { version, last_load } => {
                Self::PendingApproval { version: version.map(change), last_load }
            }
            Self::Loading | Self::Failed(_) => self,
        }
    }

    /// What waits is worth the operator's eye, once its file was loaded; what served serves on.
    fn with_version(version: V, last_load: Option<FinishedLoad>, pending: bool) -> Self {
        match last_load {
            Some(last_load) if pending => Self::PendingApproval { version: Some(version), last_load },
            last_load => Self::Active { version, last_load },
        }
    }

    fn without_version(last_load: FinishedLoad, pending: bool) -> Self {
        match last_load {
            last_load if pending => Self::PendingApproval { version: None, last_load },
            FinishedLoad::Failed(load) => Self::Failed(load),
            // What succeeded goes live, or waits: until it does either, it is under way.
            FinishedLoad::Succeeded(_) => Self::Loading,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type State = AgentState<u32>;

    fn at(second: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(second)
    }

    fn attempt(second: u64) -> LoadAttempt {
        LoadAttempt { at: at(second), took: Duration::ZERO, digest: None }
    }

    fn missing() -> Result<(), LoadFailure> {
        Err(LoadFailure::Missing { path: "a.wasm".to_owned() })
    }

    fn broken() -> Result<(), LoadFailure> {
        Err(LoadFailure::Broken { path: "a.wasm".to_owned() })
    }

    /// The status, the version that serves, when the last load ended, and since when loads fail.
    fn seen(state: &State) -> (AgentStatus, Option<u32>, Option<u64>, Option<u64>) {
        let second = |at: SystemTime| at.duration_since(SystemTime::UNIX_EPOCH).expect("later").as_secs();
        let last = state.last_load();
        let (ended, failing) = (last.map(|last| last.at), last.and_then(|last| last.failing_since));
        (state.status(), state.version().copied(), ended.map(second), failing.map(second))
    }

    fn active(version: u32) -> State {
        State::Loading.went_live(version, false).load_finished(attempt(1), Ok(()), false)
    }

    fn failed() -> State {
        State::Loading.load_finished(attempt(1), missing(), false)
    }

    fn pending(version: Option<u32>) -> State {
        match version {
            Some(version) => active(version).approval_changed(true),
            None => failed().approval_changed(true),
        }
    }

    #[test]
    fn a_first_load_ends_in_a_version_a_failure_or_a_wait() {
        assert_eq!(seen(&State::Loading), (AgentStatus::Loading, None, None, None));
        assert_eq!(seen(&active(7)), (AgentStatus::Active, Some(7), Some(1), None));
        assert_eq!(seen(&failed()), (AgentStatus::Missing, None, Some(1), Some(1)));
        let other = State::Loading.load_finished(attempt(1), broken(), false);
        assert_eq!(seen(&other), (AgentStatus::Failed, None, Some(1), Some(1)));
        let waits = State::Loading.load_finished(attempt(1), Ok(()), true);
        assert_eq!(seen(&waits), (AgentStatus::PendingApproval, None, Some(1), None));
    }

    #[test]
    fn what_resumes_serves_before_its_file_was_loaded_and_what_waits_shows_after_that() {
        let resumed = State::Loading.went_live(7, true);
        assert_eq!(seen(&resumed), (AgentStatus::Active, Some(7), None, None));
        let loaded = resumed.load_finished(attempt(1), Ok(()), true);
        assert_eq!(seen(&loaded), (AgentStatus::PendingApproval, Some(7), Some(1), None));
        assert_eq!(seen(&State::Loading.approval_changed(true)), (AgentStatus::Loading, None, None, None));
    }

    #[test]
    fn a_load_that_fails_takes_nothing_from_what_serves() {
        let state = active(7).load_finished(attempt(2), broken(), false);
        assert_eq!(seen(&state), (AgentStatus::Active, Some(7), Some(2), Some(2)));
        let state = state.load_finished(attempt(3), missing(), false);
        assert_eq!(
            seen(&state),
            (AgentStatus::Active, Some(7), Some(3), Some(2)),
            "it fails since the first"
        );
        let state = state.load_finished(attempt(4), Ok(()), false);
        assert_eq!(seen(&state), (AgentStatus::Active, Some(7), Some(4), None));
        let state = pending(Some(7)).load_finished(attempt(2), broken(), true);
        assert_eq!(seen(&state), (AgentStatus::PendingApproval, Some(7), Some(2), Some(2)));
    }

    #[test]
    fn what_goes_live_serves_wherever_the_agent_stood() {
        assert_eq!(seen(&active(7).went_live(8, false)), (AgentStatus::Active, Some(8), Some(1), None));
        assert_eq!(seen(&failed().went_live(8, false)), (AgentStatus::Active, Some(8), Some(1), Some(1)));
        assert_eq!(
            seen(&pending(None).went_live(8, false)),
            (AgentStatus::Active, Some(8), Some(1), Some(1))
        );
        assert_eq!(
            seen(&pending(Some(7)).went_live(8, false)),
            (AgentStatus::Active, Some(8), Some(1), None)
        );
        // Another version waits on, while this one came back in place of what served.
        let state = pending(Some(7)).went_live(6, true);
        assert_eq!(seen(&state), (AgentStatus::PendingApproval, Some(6), Some(1), None));
        let state = failed().went_live(6, true);
        assert_eq!(seen(&state), (AgentStatus::PendingApproval, Some(6), Some(1), Some(1)));
    }

    #[test]
    fn what_waits_no_longer_leaves_what_was() {
        assert_eq!(seen(&pending(Some(7)).approval_changed(false)), seen(&active(7)));
        assert_eq!(seen(&pending(None).approval_changed(false)), seen(&failed()));
        assert_eq!(seen(&active(7).approval_changed(false)), seen(&active(7)));
        assert_eq!(seen(&pending(Some(7)).approval_changed(true)), seen(&pending(Some(7))));
        let waited = State::Loading.load_finished(attempt(1), Ok(()), true);
        assert_eq!(waited.approval_changed(false).status(), AgentStatus::Loading);
    }

    #[test]
    fn only_a_version_that_serves_is_changed() {
        let change = |version: u32| version + 1;
        assert_eq!(seen(&active(7).map_version(change)), seen(&active(8)));
        assert_eq!(seen(&pending(Some(7)).map_version(change)), seen(&pending(Some(8))));
        for state in [State::Loading, failed(), pending(None)] {
            assert_eq!(seen(&state.clone().map_version(change)), seen(&state));
        }
    }
}
