//! What is remembered of an agent across restarts, and what follows for a version that wants to
//! serve. Pure: it reads no clock and writes nothing.
//!
//! A generation belongs to an agent, only grows, and is never given twice: it is written down
//! before the version that has it serves.

use std::collections::BTreeSet;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::domain::Digest;

/// The most blocked digests that are remembered of an agent; the oldest are forgotten.
const MAX_BLOCKED: usize = 16;

/// What is remembered of an agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The last generation that was given; 0 where none was.
    pub generation: u64,
    /// What serves.
    pub serving: Option<Release>,
    /// What served before, the latest first.
    pub previous: Vec<Release>,
    /// What waits for the operator.
    pub pending: Option<Pending>,
    /// Code that was taken back and is not tried again by itself, the latest first.
    pub blocked: Vec<Blocked>,
    /// Gated capabilities that an operator approved.
    pub approved: BTreeSet<String>,
    /// The settings of an agent that was registered while the host ran, as JSON text.
    pub registered: Option<String>,
}

/// A version that served, or serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// The SHA-256 of its component.
    pub digest: Digest,
    /// Its generation.
    pub generation: u64,
    /// A digest of the settings that it serves under.
    pub settings: Digest,
    /// The version that the component states.
    pub version: String,
    /// The gated capabilities that it imports.
    pub capabilities: BTreeSet<String>,
    /// The category that it was let in under, where its settings say none; it stays in that one whatever it
    /// says of itself later.
    #[serde(default)]
    pub category: Option<String>,
    /// When it went live.
    pub since: SystemTime,
}

/// A version that asks for more than its agent is granted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The SHA-256 of its component.
    pub digest: Digest,
    /// The gated capabilities that it imports and is not granted.
    pub wants: Vec<String>,
    /// The category that it says it is of, where that is another than the serving one's: it would move into
    /// other keys' scopes.
    #[serde(default)]
    pub category: Option<String>,
    /// Since when it waits.
    pub since: SystemTime,
}

impl Pending {
    /// Everything that it wants, in words.
    pub fn wants_in_words(&self) -> Vec<String> {
        let category = self.category.iter().map(|category| match category.as_str() {
            "" => "no category".to_owned(),
            category => format!("category: {category}"),
        });
        self.wants.iter().cloned().chain(category).collect()
    }
}

/// A version that was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// The SHA-256 of its component.
    pub digest: Digest,
    /// Why.
    pub reason: String,
}

/// A version that is ready and wants to serve.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) digest: Digest,
    /// A digest of the settings that it would serve under.
    pub(super) settings: Digest,
    /// The version that the component states.
    pub(super) version: String,
    /// The gated capabilities that it imports.
    pub(super) capabilities: BTreeSet<String>,
    /// Those of them that it is not granted.
    pub(super) ungranted: Vec<String>,
    /// The category that it says it is of; `None` where its settings say one.
    pub(super) category: Option<String>,
}

/// What brought a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cause {
    /// A file, settings, or somebody who registers it.
    Proposed,
    /// An operator let it in, with these capabilities.
    Approved(BTreeSet<String>),
    /// What served last, at a start at which the proposal cannot serve.
    Resumed,
    /// An earlier version comes back in place of this code, for this reason.
    RolledBack { from: Digest, reason: String },
}

/// What follows for a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ruling {
    /// It is what serves already, under the same settings and generation.
    Same(Record),
    /// It goes live, as `record.generation`.
    Live(Record),
    /// It waits for the operator.
    Waits(Record),
    /// It was taken back before.
    Blocked(String),
}

impl Record {
    /// Decides about `candidate`; at most `keep` earlier versions are remembered.
    pub(super) fn judge(&self, candidate: &Candidate, cause: &Cause, keep: usize, now: SystemTime) -> Ruling {
        let serving = self.serving.as_ref();
        let same_code = serving.is_some_and(|serving| serving.digest == candidate.digest);
        if *cause == Cause::Proposed && !same_code {
            if let Some(blocked) = self.blocked(&candidate.digest) {
                return Ruling::Blocked(blocked.reason.clone());
            }
            let known = |name: &String| serving.is_some_and(|old| old.capabilities.contains(name));
            let news = |name: &&String| !known(name);
            let wants: Vec<String> = candidate.ungranted.iter().filter(news).cloned().collect();
            let category = self.moves_to(candidate);
            // The first version was named by the operator together with its grants.
            if serving.is_some() && (!wants.is_empty() || category.is_some()) {
                let waiting = self.pending.as_ref();
                let since = waiting
                    .filter(|pending| pending.digest == candidate.digest)
                    .map_or(now, |pending| pending.since);
                let pending = Some(Pending { digest: candidate.digest, wants, category, since });
                return Ruling::Waits(Self { pending, ..self.clone() });
            }
        }
        let category = self.category_of(candidate, cause);
        let mut record = self.clone();
        match cause {
            Cause::Proposed | Cause::Approved(_) => record.pending = None,
            // What serves for now is no word on what waits.
            Cause::Resumed | Cause::RolledBack { .. } => {
                record.pending.take_if(|pending| pending.digest == candidate.digest);
            }
        }
        if let Cause::Approved(capabilities) = cause {
            record.approved.extend(capabilities.iter().cloned());
        }
        if let Some(serving) = serving
            && same_code
            && serving.settings == candidate.settings
            && !matches!(cause, Cause::RolledBack { .. })
        {
            if let Some(serving) = &mut record.serving {
                serving.category = category;
            }
            return Ruling::Same(record);
        }
        record.generation += 1;
        let release = Release {
            digest: candidate.digest,
            generation: record.generation,
            settings: candidate.settings,
            version: candidate.version.clone(),
            capabilities: candidate.capabilities.clone(),
            category,
            since: now,
        };
        let was = record.serving.replace(release);
        match cause {
            Cause::RolledBack { from, reason } => {
                record
                    .previous
                    .retain(|release| release.digest != candidate.digest && release.digest != *from);
                record.block(*from, reason.clone());
            }
            Cause::Proposed | Cause::Approved(_) | Cause::Resumed => {
                record.blocked.retain(|blocked| blocked.digest != candidate.digest);
                // Other settings are no other code: what comes back by a rollback is code.
                record.previous.retain(|release| release.digest != candidate.digest);
                record.previous.splice(0..0, was.filter(|was| was.digest != candidate.digest));
                record.previous.truncate(keep);
            }
        }
        Ruling::Live(record)
    }

    /// The category into which this new code would move the agent by its own word. Where no word of a guest
    /// was let in before, that cannot be told, and it is asked as well.
    fn moves_to(&self, candidate: &Candidate) -> Option<String> {
        let serving = self.serving.as_ref()?;
        candidate.category.clone().filter(|said| serving.category.as_ref() != Some(said))
    }

    /// The category that a candidate serves in, as far as that is not its settings' to say. Other code moves
    /// by an operator's word alone, and code that serves does not move at all: what it says of itself can
    /// change with its limits, or with the clock.
    fn category_of(&self, candidate: &Candidate, cause: &Cause) -> Option<String> {
        let said = candidate.category.clone()?;
        let let_in = |release: &Release| release.category.clone();
        let stays = || self.serving.as_ref().and_then(let_in);
        let decided = match cause {
            Cause::Proposed | Cause::Resumed => stays(),
            Cause::Approved(_) => {
                let asked = self.pending.as_ref().filter(|pending| pending.digest == candidate.digest);
                asked.and_then(|pending| pending.category.clone()).or_else(stays)
            }
            Cause::RolledBack { .. } => {
                let before = self.previous.iter().find(|release| release.digest == candidate.digest);
                before.and_then(let_in).or_else(stays)
            }
        };
        Some(decided.unwrap_or(said))
    }

    /// Whether this code is, was or would be this agent's.
    pub fn names(&self, digest: &Digest) -> bool {
        self.digests().any(|own| own == *digest)
    }

    /// Whether this code waits for an operator's word: for rights, or because it was taken back.
    pub(super) fn waits(&self, digest: &Digest) -> bool {
        match &self.pending {
            Some(pending) => pending.digest == *digest,
            None => self.blocked(digest).is_some(),
        }
    }

    /// Why this code is not tried again, if it was taken back.
    pub(super) fn blocked(&self, digest: &Digest) -> Option<&Blocked> {
        self.blocked.iter().find(|blocked| blocked.digest == *digest)
    }

    fn block(&mut self, digest: Digest, reason: String) {
        self.blocked.retain(|blocked| blocked.digest != digest);
        self.blocked.insert(0, Blocked { digest, reason });
        self.blocked.truncate(MAX_BLOCKED);
    }

    /// What is left of an agent that is removed: its generations go on if it comes back.
    pub(super) fn removed(&self) -> Self {
        Self { generation: self.generation, ..Self::default() }
    }

    /// The components that this agent may still need.
    pub(super) fn digests(&self) -> impl Iterator<Item = Digest> + '_ {
        let releases = self.serving.iter().chain(&self.previous).map(|release| release.digest);
        let pending = self.pending.iter().map(|pending| pending.digest);
        // The last one that was taken back may be let in again.
        releases.chain(pending).chain(self.blocked.first().map(|blocked| blocked.digest))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    fn digest(number: u8) -> Digest {
        Digest::from_bytes([number; 32])
    }

    fn candidate(code: u8, settings: u8) -> Candidate {
        Candidate {
            digest: digest(code),
            settings: digest(settings),
            version: code.to_string(),
            capabilities: BTreeSet::new(),
            ungranted: Vec::new(),
            category: Some("plain".to_owned()),
        }
    }

    fn saying(code: u8, category: &str) -> Candidate {
        Candidate { category: Some(category.to_owned()), ..candidate(code, 0) }
    }

    fn category(record: &Record) -> Option<&str> {
        record.serving.as_ref().and_then(|serving| serving.category.as_deref())
    }

    fn wanting(code: u8) -> Candidate {
        let system = || "system".to_owned();
        Candidate { ungranted: vec![system()], capabilities: [system()].into(), ..candidate(code, 0) }
    }

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    fn live(record: &Record, candidate: &Candidate, cause: &Cause) -> Record {
        match record.judge(candidate, cause, 3, NOW) {
            Ruling::Live(record) => record,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_version_has_the_next_generation_and_the_old_one_is_kept() {
        let record = live(&Record::default(), &candidate(1, 0), &Cause::Proposed);
        let record = live(&record, &candidate(2, 0), &Cause::Proposed);
        assert_eq!(record.generation, 2);
        assert_eq!(record.previous.iter().map(|release| release.digest).collect::<Vec<_>>(), [digest(1)]);
    }

    #[test]
    fn the_same_code_under_the_same_settings_keeps_its_generation() {
        let record = live(&Record::default(), &candidate(1, 0), &Cause::Proposed);
        assert_eq!(record.judge(&candidate(1, 0), &Cause::Proposed, 3, NOW), Ruling::Same(record.clone()));
        let other = live(&record, &candidate(1, 9), &Cause::Proposed);
        assert_eq!((other.generation, other.previous.len()), (2, 0));
    }

    #[test]
    fn more_rights_wait_for_the_operator_but_not_at_first() {
        let first = live(&Record::default(), &wanting(1), &Cause::Proposed);
        let plain = live(&Record::default(), &candidate(1, 0), &Cause::Proposed);
        let Ruling::Waits(waiting) = plain.judge(&wanting(2), &Cause::Proposed, 3, NOW) else {
            panic!("it waits");
        };
        assert_eq!(waiting.serving, plain.serving);
        let again = waiting.judge(&wanting(2), &Cause::Proposed, 3, NOW + Duration::from_secs(9));
        assert_eq!(again, Ruling::Waits(waiting.clone()), "it waits since it first came");
        let approved = live(&waiting, &wanting(2), &Cause::Approved(["system".to_owned()].into()));
        assert_eq!((&approved.pending, approved.generation), (&None, 2));
        assert!(approved.approved.contains("system"));
        // What the old version imports as well was decided when that went live.
        assert_eq!(live(&first, &wanting(2), &Cause::Proposed).generation, 2);
    }

    #[test]
    fn code_that_was_taken_back_stays_out_until_it_is_let_in() {
        let record = live(&Record::default(), &candidate(1, 0), &Cause::Proposed);
        let record = live(&record, &candidate(2, 0), &Cause::Proposed);
        let back = Cause::RolledBack { from: digest(2), reason: "it failed".to_owned() };
        let record = live(&record, &candidate(1, 0), &back);
        assert_eq!((record.generation, record.previous.len()), (3, 0));
        let refused = record.judge(&candidate(2, 0), &Cause::Proposed, 3, NOW);
        assert_eq!(refused, Ruling::Blocked("it failed".to_owned()));
        let again = live(&record, &candidate(2, 0), &Cause::Approved(BTreeSet::new()));
        assert_eq!((again.generation, again.blocked.len()), (4, 0));
    }

    #[test]
    fn new_code_moves_into_another_category_by_an_operators_word_alone() {
        let first = live(&Record::default(), &saying(1, "plain"), &Cause::Proposed);
        assert_eq!(category(&first), Some("plain"), "the first one's word counts");
        let Ruling::Waits(waiting) = first.judge(&saying(2, "finance"), &Cause::Proposed, 3, NOW) else {
            panic!("it waits");
        };
        assert_eq!(waiting.serving, first.serving);
        let pending = waiting.pending.clone().expect("it waits");
        assert_eq!(pending.wants_in_words(), ["category: finance"]);
        let approved = live(&waiting, &saying(2, "finance"), &Cause::Approved(BTreeSet::new()));
        assert_eq!((category(&approved), &approved.pending), (Some("finance"), &None));
        // By then it says something else: what was seen is what is let in.
        let turned = live(&waiting, &saying(2, "secret"), &Cause::Approved(BTreeSet::new()));
        assert_eq!(category(&turned), Some("finance"));
        // Back to the code before is back to its place.
        let back = Cause::RolledBack { from: digest(2), reason: String::new() };
        assert_eq!(category(&live(&approved, &saying(1, "other"), &back)), Some("plain"));
        // Settings that say a category leave nothing to ask.
        let told = Candidate { category: None, ..saying(2, "") };
        assert_eq!(category(&live(&first, &told, &Cause::Proposed)), None);
    }

    #[test]
    fn code_that_serves_stays_in_its_category_whatever_it_says_later() {
        let first = live(&Record::default(), &saying(1, "plain"), &Cause::Proposed);
        for cause in [Cause::Proposed, Cause::Resumed, Cause::Approved(BTreeSet::new())] {
            let same = first.judge(&saying(1, "finance"), &cause, 3, NOW);
            assert_eq!(same, Ruling::Same(first.clone()), "{cause:?}");
            let other_settings = Candidate { settings: digest(9), ..saying(1, "finance") };
            assert_eq!(category(&live(&first, &other_settings, &cause)), Some("plain"), "{cause:?}");
        }
        // Code that was taken back and is let in again was not asked about.
        let again = live(&first, &saying(2, "finance"), &Cause::Approved(BTreeSet::new()));
        assert_eq!(category(&again), Some("plain"));
    }

    #[test]
    fn a_record_from_before_categories_takes_what_serves_at_its_word_and_asks_about_new_code() {
        let mut old = live(&Record::default(), &saying(1, "plain"), &Cause::Proposed);
        old.serving.as_mut().expect("it serves").category = None;
        let text = serde_json::to_string(&old).expect("text").replace("\"category\":null,", "");
        let old: Record = serde_json::from_str(&text).expect("a record");
        let Ruling::Same(known) = old.judge(&saying(1, "plain"), &Cause::Proposed, 3, NOW) else {
            panic!("it serves already");
        };
        assert_eq!(category(&known), Some("plain"));
        assert!(matches!(old.judge(&saying(2, "plain"), &Cause::Proposed, 3, NOW), Ruling::Waits(_)));
    }

    #[test]
    fn what_waits_waits_on_when_another_version_is_taken_back() {
        let record = live(&Record::default(), &candidate(1, 0), &Cause::Proposed);
        let record = live(&record, &candidate(2, 0), &Cause::Proposed);
        let Ruling::Waits(record) = record.judge(&wanting(3), &Cause::Proposed, 3, NOW) else {
            panic!("it waits");
        };
        let back = Cause::RolledBack { from: digest(2), reason: "it failed".to_owned() };
        let record = live(&record, &candidate(1, 0), &back);
        assert!(record.waits(&digest(3)) && !record.waits(&digest(2)), "{record:?}");
    }

    #[test]
    fn a_record_survives_its_text() {
        let record = live(&Record::default(), &candidate(1, 0), &Cause::Proposed);
        let record = live(&record, &candidate(2, 0), &Cause::Proposed);
        let text = serde_json::to_string(&record).expect("text");
        assert_eq!(serde_json::from_str::<Record>(&text).expect("a record"), record);
    }

    proptest! {
        #[test]
        fn generations_only_grow_and_what_serves_is_never_lost(
            steps in prop::collection::vec((1_u8..6, 0_u8..3, 0_u8..4, any::<bool>()), 1..40)
        ) {
            let mut record = Record::default();
            for (code, settings, cause, wants) in steps {
                let mut candidate = candidate(code, settings);
                if wants {
                    candidate.ungranted.push("system".to_owned());
                }
                let from = record.serving.as_ref().map_or(digest(0), |serving| serving.digest);
                let cause = match cause {
                    0 => Cause::Proposed,
                    1 => Cause::Approved(BTreeSet::new()),
                    2 => Cause::Resumed,
                    _ => Cause::RolledBack { from, reason: String::new() },
                };
                let before = record.clone();
                match record.judge(&candidate, &cause, 3, NOW) {
                    Ruling::Live(next) => {
                        prop_assert_eq!(next.generation, before.generation + 1);
                        let serving = next.serving.as_ref().expect("it serves");
                        prop_assert_eq!((serving.generation, serving.digest), (next.generation, candidate.digest));
                        record = next;
                    }
                    Ruling::Same(next) | Ruling::Waits(next) => {
                        prop_assert_eq!(next.generation, before.generation);
                        prop_assert_eq!(&next.serving, &before.serving);
                        record = next;
                    }
                    Ruling::Blocked(_) => {}
                }
                prop_assert!(record.previous.len() <= 3);
                prop_assert!(record.serving.is_some() || before.serving.is_none());
            }
        }
    }
}
