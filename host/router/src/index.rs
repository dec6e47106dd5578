//! The inverted index: which cards hold a key, and how strongly. Copy-on-write.
//!
//! Owns the roster and the postings. A change copies the shards it touches and shares the rest. Nothing here
//! knows what a key means.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::profile::{Profile, Strength, Texts};
use crate::roster::Roster;
use crate::spelling::gaps;
use crate::store::{List, Sharded};
use crate::text::{Analyzer, Kind, key};

/// How many shards postings and spellings are kept in.
const SHARDS: usize = 1024;

/// The least length, in characters, of a word that typos are corrected to.
const LEAST_SPELLED: usize = 4;

/// A row is kept of a key that so many cards hold or more, where that is one of so many or more...
const LEAST_ROW: usize = 16;
const SPARSE: usize = 6;
/// ...of no more than so many: a change to one card copies its rows.
const MOST_ROW: usize = 2048;

/// One card that holds a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Posting {
    /// Where the card lies.
    pub(crate) card: u32,
    /// How strongly it holds the key.
    pub(crate) strength: Strength,
}

/// Who holds a key.
#[derive(Clone)]
pub(crate) enum Postings {
    Few(List<Posting>),
    /// A good part of all cards: in a row of them as well, which is added up many times as fast.
    Many(Arc<Row>),
}

/// The postings of a key, and every card's strength or zero side by side, as far as the last that has it.
pub(crate) struct Row {
    list: Box<[Posting]>,
    /// Empty where all are zero.
    pub(crate) lexical: Box<[f32]>,
    pub(crate) bayes: Box<[f32]>,
}

impl Postings {
    fn new(list: Vec<Posting>, cards: usize) -> Option<Self> {
        if list.len() < LEAST_ROW || list.len() * SPARSE < cards || cards > MOST_ROW {
            return List::new(list).map(Postings::Few);
        }
        let length = list.last().map_or(0, |posting| posting.card as usize + 1);
        let row = |strength: fn(&Posting) -> f32| {
            let mut row = vec![0.0; length];
            list.iter().for_each(|posting| row[posting.card as usize] = strength(posting));
            if row.iter().all(|strength| *strength == 0.0) { Box::default() } else { row.into() }
        };
        let lexical = row(|posting| posting.strength.lexical);
        let bayes = row(|posting| posting.strength.bayes);
        Some(Postings::Many(Arc::new(Row { lexical, bayes, list: list.into() })))
    }

    /// One by one, by ascending place.
    pub(crate) fn list(&self) -> &[Posting] {
        match self {
            Postings::Few(list) => list,
            Postings::Many(row) => &row.list,
        }
    }

    /// As a row, where there is one.
    pub(crate) fn row(&self) -> Option<&Row> {
        match self {
            Postings::Few(_) => None,
            Postings::Many(row) => Some(row),
        }
    }
}

/// What scoring needs of every card that has some word, kept side by side.
#[derive(Clone, Copy, Default)]
pub(crate) struct Traits {
    /// See [`Profile::bulk`].
    pub(crate) bulk: f32,
    /// How many agents have it.
    pub(crate) agents: u32,
    /// See [`Profile::demanding`].
    pub(crate) demanding: bool,
    /// Whether it has examples.
    pub(crate) taught: bool,
}

/// Agents, their cards, and postings by key.
#[derive(Clone)]
pub(crate) struct Index {
    roster: Roster,
    traits: Vec<Traits>,
    postings: Sharded<Postings>,
    /// Words by the key of what is left when one letter is left out.
    spellings: Sharded<List<Arc<str>>>,
}

/// What becomes of one card's hold on a key: none where it loses it.
struct Edit {
    key: u64,
    card: u32,
    strength: Option<Strength>,
}

/// Words that typos may be corrected to, and whether somebody had them before.
type Noted = FxHashMap<u64, (Arc<str>, bool)>;

impl Default for Index {
    fn default() -> Self {
        Self {
            roster: Roster::default(),
            traits: Vec::new(),
            postings: Sharded::new(SHARDS),
            spellings: Sharded::new(SHARDS),
        }
    }
}

impl Index {
    /// Removes the agents with these ids and adds or replaces these; each id at most once in all. Writes each
    /// list that changes once, however many agents change it, and no list that stays as it is. What had to be
    /// analysed comes back.
    pub(crate) fn change(
        &mut self,
        removed: &[&str],
        put: Vec<(&str, Texts)>,
        analyzer: &Analyzer,
    ) -> Vec<Arc<Profile>> {
        let (mut edits, mut noted, mut new) = (Vec::new(), Noted::default(), Vec::new());
        // Cards that nobody has any more, and those that saw a change of their agents.
        let mut dead: FxHashMap<u32, Arc<Profile>> = FxHashMap::default();
        let mut seen: Vec<u32> = Vec::new();
        for id in removed {
            let Some(agent) = self.roster.agent(id) else { continue };
            seen.extend(self.roster.member(agent).map(|member| member.card));
            if let Some((card, old)) = self.roster.leave(agent) {
                self.note(&old, &mut noted);
                dead.insert(card, old);
            }
            self.roster.forget(agent);
        }
        for (id, texts) in put {
            let agent = self.roster.agent(id);
            let same = self.roster.like(&texts);
            if let Some(agent) = agent {
                let card = self.roster.member(agent).map(|member| member.card);
                if card.is_some() && card == same {
                    continue;
                }
                seen.extend(card);
                if let Some((card, old)) = self.roster.leave(agent) {
                    self.note(&old, &mut noted);
                    dead.insert(card, old);
                }
            }
            if let Some(card) = same {
                self.roster.join(id, agent, card);
                seen.push(card);
                continue;
            }
            let (profile, terms) = Profile::new(texts, analyzer);
            let profile = Arc::new(profile);
            self.note(&profile, &mut noted);
            new.push(Arc::clone(&profile));
            let card = self.roster.found(id, agent, Arc::clone(&profile));
            seen.push(card);
            if let Some(old) = dead.remove(&card) {
                self.differences(&old, &profile, &terms, card, &mut edits);
            } else {
                let held = terms.into_iter();
                edits.extend(held.map(|(key, strength)| Edit { key, card, strength: Some(strength) }));
            }
        }
        for (card, old) in dead {
            edits.extend(old.keys.iter().map(|key| Edit { key: *key, card, strength: None }));
        }
        self.traits.resize(self.roster.places(), Traits::default());
        for at in seen {
            self.traits[at as usize] = self.roster.card(at).map_or_else(Traits::default, |card| Traits {
                bulk: card.profile.bulk,
                agents: card.agents.len() as u32,
                demanding: card.profile.demanding,
                taught: card.profile.examples() > 0,
            });
        }
        edits.sort_unstable_by_key(|edit| (edit.key, edit.card));
        for group in edits.chunk_by(|a, b| a.key == b.key) {
            let key = group[0].key;
            let list = merged(self.get(key), group);
            self.postings.set(key, Postings::new(list, self.roster.places()));
        }
        self.respell(noted);
        new
    }

    /// What turns one card into the next one in its place.
    fn differences(
        &self,
        old: &Profile,
        new: &Profile,
        terms: &[(u64, Strength)],
        card: u32,
        edits: &mut Vec<Edit>,
    ) {
        for (key, strength) in terms {
            if self.strength(*key, card) != Some(*strength) {
                edits.push(Edit { key: *key, card, strength: Some(*strength) });
            }
        }
        let lost = old.keys.iter().filter(|key| !new.holds(**key));
        edits.extend(lost.map(|key| Edit { key: *key, card, strength: None }));
    }

    /// Notes a card's words that typos may be corrected to, and whether somebody has them so far.
    fn note(&self, profile: &Profile, noted: &mut Noted) {
        for word in profile.spellings() {
            let key = key(Kind::Surface, word);
            noted.entry(key).or_insert_with(|| (word.into(), !self.get(key).is_empty()));
        }
    }

    /// Makes words that somebody has now ones that typos are corrected to, and those that nobody has any more
    /// no longer.
    fn respell(&mut self, noted: Noted) {
        let mut edits: Vec<(u64, Arc<str>, bool)> = Vec::new();
        for (key, (word, before)) in noted {
            let now = !self.get(key).is_empty();
            if now != before && word.chars().count() >= LEAST_SPELLED {
                edits.extend(gaps(&word).into_iter().map(|gap| (gap, Arc::clone(&word), now)));
            }
        }
        edits.sort_unstable_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
        for group in edits.chunk_by(|a, b| a.0 == b.0) {
            let gap = group[0].0;
            let old = self.spelled(gap).iter();
            let stays = |word: &&Arc<str>| !group.iter().any(|(_, other, _)| other == *word);
            let mut list: Vec<Arc<str>> = old.filter(stays).cloned().collect();
            list.extend(group.iter().filter(|(_, _, now)| *now).map(|(_, word, _)| Arc::clone(word)));
            list.sort_unstable();
            self.spellings.set_list(gap, list);
        }
    }

    /// Who there is.
    pub(crate) fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The words that a gap may stand for.
    pub(crate) fn spelled(&self, gap: u64) -> &[Arc<str>] {
        self.spellings.list(gap)
    }

    /// What the card in a place says.
    pub(crate) fn profile(&self, card: u32) -> Option<&Arc<Profile>> {
        self.roster.card(card).map(|card| &card.profile)
    }

    /// The traits of every place; those of a free one mean nothing.
    pub(crate) fn traits(&self) -> &[Traits] {
        &self.traits
    }

    /// Who holds a key, by ascending place.
    pub(crate) fn get(&self, key: u64) -> &[Posting] {
        self.postings.get(key).map_or(&[], Postings::list)
    }

    /// The same, as a whole.
    pub(crate) fn postings(&self, key: u64) -> Option<&Postings> {
        self.postings.get(key)
    }

    /// How strongly a card holds a key.
    pub(crate) fn strength(&self, key: u64, card: u32) -> Option<Strength> {
        strength_of(self.get(key), card)
    }
}

/// How strongly a card holds the key of these postings.
pub(crate) fn strength_of(postings: &[Posting], card: u32) -> Option<Strength> {
    let at = postings.binary_search_by_key(&card, |posting| posting.card).ok()?;
    Some(postings[at].strength)
}

/// A list by ascending place with edits by ascending place made, one a place.
fn merged(mut old: &[Posting], edits: &[Edit]) -> Vec<Posting> {
    let mut list = Vec::with_capacity(old.len() + edits.len());
    for edit in edits {
        let (before, rest) = old.split_at(old.partition_point(|posting| posting.card < edit.card));
        list.extend_from_slice(before);
        old = if rest.first().is_some_and(|posting| posting.card == edit.card) { &rest[1..] } else { rest };
        if let Some(strength) = edit.strength {
            list.push(Posting { card: edit.card, strength });
        }
    }
    list.extend_from_slice(old);
    list
}
