//! The rules, one by one, for every two events that overlap, and over any interleaving of them.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::system::{Figure, SystemPolicy};

const NOW: SystemTime = SystemTime::UNIX_EPOCH;
const KEEP: usize = 3;
const SYSTEM: Capability = Capability::System;

fn digest(number: u8) -> Digest {
    Digest::from_bytes([number; 32])
}

fn candidate(code: u8, settings: u8) -> Candidate {
    Candidate {
        digest: digest(code),
        settings: digest(settings),
        settings_of_0_1: None,
        with: None,
        version: code.to_string(),
        capabilities: BTreeSet::new(),
        ungranted: Vec::new(),
        category: Some("plain".to_owned()),
    }
}

fn saying(code: u8, category: &str) -> Candidate {
    Candidate { category: Some(category.to_owned()), ..candidate(code, 0) }
}

/// Nothing changes of this record.
fn same(record: &Record) -> Admission {
    Admission::Same(record.clone(), record.serving.clone().expect("it serves"))
}

fn category(record: &Record) -> Option<&str> {
    record.serving.as_ref().and_then(|serving| serving.category.as_deref())
}

/// An operator's word on what waits of `record` now.
fn approved_with(record: &Record, capabilities: &[Capability]) -> Cause {
    let grants = capabilities.iter().map(|one| (*one, Policy::whole(*one))).collect();
    Cause::Approved { grants, seen: record.pending.as_ref().map(Pending::stamp) }
}

fn wanting(code: u8) -> Candidate {
    Candidate { ungranted: vec![SYSTEM], capabilities: [SYSTEM].into(), ..candidate(code, 0) }
}

/// A file's proposal that was made beside what serves now.
fn proposed(record: &Record) -> Cause {
    Cause::Proposed { beside: record.serving_digest() }
}

fn back(from: u8) -> Cause {
    Cause::RolledBack { from: digest(from), reason: "it failed".to_owned() }
}

fn live(record: &Record, candidate: &Candidate, cause: &Cause) -> Record {
    match record.admit(candidate, cause, KEEP, NOW) {
        Admission::Live(record, _) => record,
        other => panic!("{other:?}"),
    }
}

fn propose(record: &Record, candidate: &Candidate) -> Record {
    live(record, candidate, &proposed(record))
}

/// Versions 1 to `last`, one after the other.
fn up_to(last: u8) -> Record {
    (1..=last).fold(Record::default(), |record, code| propose(&record, &candidate(code, 0)))
}

fn waiting(record: &Record, candidate: &Candidate) -> Record {
    match record.admit(candidate, &proposed(record), KEEP, NOW) {
        Admission::Waits(record) => record,
        other => panic!("{other:?}"),
    }
}

fn previous(record: &Record) -> Vec<Digest> {
    record.previous.iter().map(|release| release.digest).collect()
}

#[test]
fn each_version_has_the_next_generation_and_the_old_one_is_kept() {
    let record = up_to(2);
    assert_eq!((record.generation, previous(&record)), (2, vec![digest(1)]));
}

#[test]
fn the_same_code_under_the_same_settings_keeps_its_generation() {
    let record = up_to(1);
    assert_eq!(record.admit(&candidate(1, 0), &proposed(&record), KEEP, NOW), same(&record));
    let other = propose(&record, &candidate(1, 9));
    assert_eq!((other.generation, other.previous.len()), (2, 0));
}

#[test]
fn more_rights_wait_for_the_operator_but_not_at_first() {
    let first = propose(&Record::default(), &wanting(1));
    let plain = up_to(1);
    let waits = waiting(&plain, &wanting(2));
    assert_eq!(waits.serving, plain.serving);
    let again = waits.admit(&wanting(2), &proposed(&waits), KEEP, NOW + Duration::from_secs(9));
    assert_eq!(again, Admission::Waits(waits.clone()), "it waits since it first came");
    let approved = live(&waits, &wanting(2), &approved_with(&waits, &[SYSTEM]));
    assert_eq!((&approved.pending, approved.generation), (&None, 2));
    assert!(approved.approved[&SYSTEM] == Policy::whole(SYSTEM));
    // What the old version imports as well was decided when that went live.
    assert_eq!(propose(&first, &wanting(2)).generation, 2);
}

#[test]
fn settings_wait_with_their_code_and_what_comes_later_takes_their_place() {
    let with = |code: u8, text: &str| Candidate { with: Some(text.to_owned()), ..wanting(code) };
    let plain = up_to(1);
    let waits = waiting(&plain, &with(2, "two"));
    assert_eq!(waits.serving, plain.serving, "what serves keeps its own");
    let next = waiting(&waits, &with(3, "three"));
    let pending = next.pending.as_ref().expect("one that waits");
    assert_eq!((pending.digest, pending.settings.as_deref()), (digest(3), Some("three")));
    // Going on as it is, under other settings or the same, says nothing of what waits.
    for settings in [0, 7] {
        let cause = Cause::Resumed;
        let (Admission::Same(on, _) | Admission::Live(on, _)) =
            next.admit(&candidate(1, settings), &cause, KEEP, NOW)
        else {
            panic!("it goes on");
        };
        assert_eq!(on.pending, next.pending);
    }
}

#[test]
fn code_that_was_taken_back_stays_out_until_it_is_let_in() {
    let record = live(&up_to(2), &candidate(1, 0), &back(2));
    assert_eq!((record.generation, record.previous.len()), (3, 0));
    for cause in [proposed(&record), Cause::Registered] {
        let refused = record.admit(&candidate(2, 0), &cause, KEEP, NOW);
        assert_eq!(refused, Admission::Blocked("it failed".to_owned()));
    }
    assert_eq!(record.admit(&candidate(2, 0), &Cause::Resumed, KEEP, NOW), Admission::Stale);
    let again = live(&record, &candidate(2, 0), &approved_with(&record, &[]));
    assert_eq!((again.generation, again.blocked.len()), (4, 0));
}

#[test]
fn an_approval_of_older_code_holds_while_its_file_is_the_newer() {
    // 3 serves from its file; 2 was taken back before.
    let record = propose(&live(&up_to(2), &candidate(1, 0), &back(2)), &candidate(3, 0));
    let record = live(&record, &candidate(2, 0), &approved_with(&record, &[]));
    let Admission::Blocked(reason) = record.admit(&candidate(3, 0), &proposed(&record), KEEP, NOW) else {
        panic!("the next start must not undo it: {record:?}");
    };
    assert!(reason.contains("an operator let"), "{reason}");
    // Going back leads to it again.
    let record = live(&record, &candidate(3, 0), &back(2));
    assert_eq!(record.blocked.iter().map(|blocked| blocked.digest).collect::<Vec<_>>(), [digest(2)]);
    // Where the file holds what is let in, nothing else is kept out.
    let waits = waiting(&up_to(1), &wanting(2));
    let record = live(&waits, &wanting(2), &approved_with(&waits, &[]));
    assert_eq!(record.blocked, []);
    assert_eq!(propose(&record, &candidate(1, 0)).generation, 3);
}

#[test]
fn new_code_moves_into_another_category_by_an_operators_word_alone() {
    let first = propose(&Record::default(), &saying(1, "plain"));
    assert_eq!(category(&first), Some("plain"), "the first one's word counts");
    let Admission::Waits(waiting) = first.admit(&saying(2, "finance"), &proposed(&first), KEEP, NOW) else {
        panic!("it waits");
    };
    assert_eq!(waiting.serving, first.serving);
    let pending = waiting.pending.clone().expect("it waits");
    assert_eq!(pending.wants_in_words(), ["category: finance"]);
    let approved = live(&waiting, &saying(2, "finance"), &approved_with(&waiting, &[]));
    assert_eq!((category(&approved), &approved.pending), (Some("finance"), &None));
    // By then it says something else: what was seen is what is let in.
    let turned = live(&waiting, &saying(2, "secret"), &approved_with(&waiting, &[]));
    assert_eq!(category(&turned), Some("finance"));
    // Back to the code before is back to its place.
    let back = Cause::RolledBack { from: digest(2), reason: String::new() };
    assert_eq!(category(&live(&approved, &saying(1, "other"), &back)), Some("plain"));
    // Settings that say a category leave nothing to ask.
    let told = Candidate { category: None, ..saying(2, "") };
    assert_eq!(category(&propose(&first, &told)), None);
}

#[test]
fn code_that_serves_stays_in_its_category_whatever_it_says_later() {
    let first = propose(&Record::default(), &saying(1, "plain"));
    for cause in [proposed(&first), Cause::Registered, Cause::Resumed] {
        let admission = first.admit(&saying(1, "finance"), &cause, 3, NOW);
        assert_eq!(admission, same(&first), "{cause:?}");
        let other_settings = Candidate { settings: digest(9), ..saying(1, "finance") };
        assert_eq!(category(&live(&first, &other_settings, &cause)), Some("plain"), "{cause:?}");
    }
    // Code that was taken back and is let in again was not asked about.
    let back = live(&propose(&first, &candidate(2, 0)), &candidate(1, 0), &back(2));
    let again = live(&back, &saying(2, "finance"), &approved_with(&back, &[]));
    assert_eq!(category(&again), Some("plain"));
}

#[test]
fn a_record_from_before_categories_takes_what_serves_at_its_word_and_asks_about_new_code() {
    let mut old = propose(&Record::default(), &saying(1, "plain"));
    old.serving.as_mut().expect("it serves").category = None;
    let text = serde_json::to_string(&old).expect("text").replace("\"category\":null,", "");
    let old: Record = serde_json::from_str(&text).expect("a record");
    let Admission::Same(known, _) = old.admit(&saying(1, "plain"), &proposed(&old), KEEP, NOW) else {
        panic!("it serves already");
    };
    assert_eq!(category(&known), Some("plain"));
    assert!(matches!(old.admit(&saying(2, "plain"), &proposed(&old), KEEP, NOW), Admission::Waits(_)));
}

#[test]
fn what_waits_waits_on_when_another_version_is_taken_back() {
    let record = live(&waiting(&up_to(2), &wanting(3)), &candidate(1, 0), &back(2));
    assert!(record.waits(&digest(3)) && !record.waits(&digest(2)), "{record:?}");
}

#[test]
fn going_back_further_forgets_what_came_between() {
    let record = live(&up_to(4), &candidate(2, 0), &back(4));
    assert_eq!(previous(&record), [digest(1)]);
    assert!(record.blocked(&digest(4)).is_some() && record.blocked(&digest(3)).is_none(), "{record:?}");
}

#[test]
fn fewer_rights_are_a_generation_of_the_same_code() {
    let record = waiting(&up_to(2), &wanting(3));
    let fewer = record.restricted(digest(9), NOW);
    let serving = fewer.serving.as_ref().expect("it serves");
    assert_eq!((serving.digest, serving.generation, serving.settings), (digest(2), 3, digest(9)));
    assert_eq!((&fewer.pending, &fewer.previous), (&record.pending, &record.previous));
    assert_eq!(fewer.restricted(digest(9), NOW), fewer);
}

#[test]
fn a_record_survives_its_text_and_an_older_one_is_read() {
    let record = waiting(&up_to(2), &wanting(3));
    let text = serde_json::to_string(&record).expect("text");
    assert_eq!(serde_json::from_str::<Record>(&text).expect("a record"), record);
    let older = r#"{"generation": 4, "pending": {"digest": "0303030303030303030303030303030303030303030303030303030303030303",
        "wants": ["system"], "since": {"secs_since_epoch": 0, "nanos_since_epoch": 0}}}"#;
    let older: Record = serde_json::from_str(older).expect("a record");
    let pending = older.pending.expect("what waits");
    assert_eq!((pending.digest, pending.settings, older.probation), (digest(3), None, None));
}

#[test]
fn a_record_of_the_program_before_serves_on_as_the_same_version() {
    // Its digests of settings are others; its approvals are names.
    let before = Candidate { settings: digest(77), ..wanting(1) };
    let now = Candidate { settings_of_0_1: Some(digest(77)), ..wanting(1) };
    let mut record = waiting(&propose(&propose(&Record::default(), &wanting(2)), &before), &saying(9, "x"));
    record.blocked = up_to(2).blocked;
    let mut text = serde_json::to_value(&record).expect("JSON");
    text["approved"] = serde_json::json!(["system", "of-a-later-program"]);
    let record: Record = serde_json::from_value(text).expect("a record");
    assert_eq!(record.approved, [(SYSTEM, Policy::whole(SYSTEM))].into());
    for cause in [proposed(&record), Cause::Resumed] {
        let Admission::Same(next, _) = record.admit(&now, &cause, KEEP, NOW) else {
            panic!("it goes on: {cause:?}")
        };
        let serving = next.serving.as_ref().expect("it serves");
        assert_eq!((serving.generation, next.generation, serving.settings), (2, 2, now.settings));
        assert_eq!((&next.blocked, &next.approved), (&record.blocked, &record.approved));
        assert_eq!(next.admit(&now, &Cause::Resumed, KEEP, NOW), same(&next), "and it is known");
    }
    // Other settings are another generation, by either digest.
    let other = Candidate { settings: digest(5), settings_of_0_1: Some(digest(6)), ..wanting(1) };
    assert_eq!(live(&record, &other, &Cause::Resumed).generation, 3);
}

#[test]
fn an_approval_keeps_what_was_granted() {
    let cpu = SystemPolicy::only(Figure::Cpu);
    let granted: Approved = [(SYSTEM, Policy::System(cpu))].into();
    let record = Record { approved: granted.clone(), ..up_to(1) };
    let text = serde_json::to_value(&record).expect("JSON");
    assert_eq!(text["approved"], serde_json::json!({ "system": { "figures": ["cpu"] } }));
    assert_eq!(serde_json::from_value::<Record>(text).expect("a record").approved, granted);
}

/// Everything that happens to an agent, as it is begun and as it is decided on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    /// Its file is saved with this code, wanting more or not.
    Save(u8, bool),
    /// It is put with this code.
    Put(u8, bool),
    /// The operator lets in what waits.
    Approve,
    /// The operator, or a failed probation, goes back.
    RollBack,
    /// Other settings of agents.toml, or a start: what serves goes on under them.
    Resume(u8),
    /// It is removed.
    Remove,
}

/// An event that was begun: what it will ask for.
struct Begun {
    event: Event,
    ask: Option<(Candidate, Cause)>,
}

fn begin(record: &Record, event: Event) -> Begun {
    let code = |code: u8, wants: bool| if wants { wanting(code) } else { candidate(code, 0) };
    let of = |digest: Digest, settings: u8| candidate(digest.as_bytes()[0], settings);
    let ask = match event {
        Event::Save(number, wants) => Some((code(number, wants), proposed(record))),
        Event::Put(number, wants) => Some((code(number, wants), Cause::Registered)),
        Event::Approve => {
            let pending = record.pending.as_ref().map(|pending| pending.digest);
            let seen = pending.or_else(|| record.blocked.first().map(|blocked| blocked.digest));
            seen.map(|seen| (of(seen, 0), approved_with(record, &[])))
        }
        Event::RollBack => {
            let to = record.previous.first().map(|release| of(release.digest, 0));
            let from = record.serving_digest();
            to.zip(from).map(|(to, from)| (to, Cause::RolledBack { from, reason: "it failed".to_owned() }))
        }
        Event::Resume(settings) => {
            record.serving_digest().map(|serving| (of(serving, settings), Cause::Resumed))
        }
        Event::Remove => None,
    };
    Begun { event, ask }
}

/// Decides on what was begun, and checks everything that has to be so after it.
fn decide(record: &mut Record, begun: &Begun) {
    let before = record.clone();
    if begun.event == Event::Remove {
        assert_eq!(before.removed(NOW).returned(), before, "an agent of the file comes back to everything");
        let registered = Record { registered: Some("{}".to_owned()), ..before.clone() };
        *record = registered.removed(NOW).returned();
        assert_eq!(*record, Record { generation: before.generation, ..Record::default() });
        return;
    }
    let Some((candidate, cause)) = &begun.ask else { return };
    let (was, code) = (before.serving_digest(), candidate.digest);
    match record.admit(candidate, cause, KEEP, NOW) {
        Admission::Live(next, _) => {
            let serving = next.serving.as_ref().expect("it serves");
            assert_eq!((serving.digest, serving.generation), (code, next.generation));
            assert_eq!(next.generation, before.generation + 1);
            let kept_out = before.blocked(&code).is_some();
            let waited = before.pending.as_ref().is_some_and(|pending| pending.digest == code);
            match cause {
                Cause::Proposed { .. } | Cause::Registered => {
                    assert!(!kept_out, "what was taken back comes back by itself");
                    assert!(was == Some(code) || before.waiting(candidate, NOW).is_none());
                    assert_eq!(next.pending, None);
                }
                Cause::Approved { .. } => assert!(kept_out || waited, "nobody had seen it"),
                Cause::Resumed => {
                    assert_eq!(was, Some(code), "it undoes what was decided meanwhile");
                    assert_eq!(next.pending, before.pending);
                    assert_eq!(next.blocked, before.blocked);
                }
                Cause::RolledBack { from, .. } => {
                    assert_eq!(was, Some(*from));
                    assert!(next.blocked(from).is_some(), "what was taken back is not kept out");
                }
            }
            *record = next;
        }
        Admission::Same(next, _) => {
            assert_eq!((next.generation, &next.serving), (before.generation, &before.serving));
            assert_eq!(was, Some(code));
            *record = next;
        }
        Admission::Waits(next) => {
            assert_eq!((next.generation, &next.serving), (before.generation, &before.serving));
            assert_eq!(next.pending.as_ref().map(|pending| pending.digest), Some(code));
            *record = next;
        }
        Admission::Blocked(_) => assert!(before.blocked(&code).is_some()),
        Admission::Stale => {}
    }
    assert!(record.previous.len() <= KEEP && record.blocked.len() <= MAX_BLOCKED);
    if let Some(serving) = record.serving_digest() {
        assert!(record.blocked(&serving).is_none(), "what serves is kept out: {record:?}");
        assert!(!record.waits(&serving), "what serves waits: {record:?}");
        assert!(!previous(record).contains(&serving));
    }
}

const EVENTS: [Event; 8] = [
    Event::Save(4, false),
    Event::Save(5, true),
    Event::Put(6, false),
    Event::Put(7, true),
    Event::Approve,
    Event::RollBack,
    Event::Resume(8),
    Event::Remove,
];

#[test]
fn any_two_events_that_overlap_leave_what_either_order_may_leave() {
    // With something that serves, something to go back to, something that was taken back, and with
    // or without something that waits.
    let plain = propose(&live(&up_to(2), &candidate(1, 0), &back(2)), &candidate(3, 0));
    for start in [plain.clone(), waiting(&plain, &wanting(9))] {
        for one in EVENTS {
            for two in EVENTS {
                let mut record = start.clone();
                let (one, two) = (begin(&record, one), begin(&record, two));
                decide(&mut record, &one);
                decide(&mut record, &two);
                // A start after it: what serves goes on.
                if let Some(serving) = record.serving.clone() {
                    let resumed = begin(&record, Event::Resume(serving.settings.as_bytes()[0]));
                    decide(&mut record, &resumed);
                    assert_eq!(record.serving, Some(serving));
                }
            }
        }
    }
}

#[test]
fn what_was_begun_before_a_rollback_does_not_bring_back_what_was_taken_back() {
    let record = up_to(2);
    let begun: Vec<Begun> =
        [Event::Save(2, false), Event::Put(2, false), Event::Approve, Event::Resume(8), Event::RollBack]
            .map(|event| begin(&record, event))
            .into();
    for begun in begun {
        let mut taken_back = live(&record, &candidate(1, 0), &back(2));
        decide(&mut taken_back, &begun);
        assert_eq!(taken_back.serving_digest(), Some(digest(1)), "{:?}", begun.event);
        assert!(taken_back.blocked(&digest(2)).is_some(), "{:?}", begun.event);
    }
}

#[test]
fn an_approval_lets_in_nothing_that_came_while_it_was_under_way() {
    let first = propose(&Record::default(), &saying(1, "plain"));
    let seen = waiting(&first, &saying(2, "games"));
    let word = approved_with(&seen, &[]);
    for other in [
        saying(2, "finance"),
        Candidate { with: Some("{}".to_owned()), ..saying(2, "games") },
        Candidate { category: Some("games".to_owned()), ..wanting(2) },
    ] {
        let now = waiting(&seen, &other);
        assert_eq!(now.admit(&other, &word, KEEP, NOW), Admission::Stale, "{other:?}");
    }
    assert_eq!(live(&seen, &saying(2, "games"), &word).pending, None);
}

#[test]
fn what_was_begun_before_an_approval_does_not_undo_it() {
    let record = waiting(&up_to(1), &wanting(2));
    for event in [Event::Save(1, false), Event::Resume(8), Event::RollBack, Event::Approve] {
        let begun = begin(&record, event);
        let mut approved = live(&record, &wanting(2), &approved_with(&record, &[]));
        decide(&mut approved, &begun);
        assert_eq!(approved.serving_digest(), Some(digest(2)), "{event:?}");
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (1_u8..7, any::<bool>()).prop_map(|(code, wants)| Event::Save(code, wants)),
        (1_u8..7, any::<bool>()).prop_map(|(code, wants)| Event::Put(code, wants)),
        Just(Event::Approve),
        Just(Event::RollBack),
        (0_u8..4).prop_map(Event::Resume),
        prop::sample::select(vec![Event::Remove]),
    ]
}

proptest! {
    /// Events are begun at any time and decided on at any later one, in any order.
    #[test]
    fn no_interleaving_breaks_a_rule(
        steps in prop::collection::vec((any_event(), any::<bool>(), any::<prop::sample::Index>()), 1..60)
    ) {
        let mut record = Record::default();
        let mut begun = Vec::new();
        for (event, wait, which) in steps {
            begun.push(begin(&record, event));
            if !wait {
                decide(&mut record, &begun.swap_remove(which.index(begun.len())));
            }
        }
        for late in begun {
            decide(&mut record, &late);
        }
    }
}
