//! The inverted index: which agents hold a key, and how strongly. Copy-on-write.
//!
//! Owns the slots (a small number for each agent) and the postings. A change copies the shards
//! it touches and shares the rest. Nothing here knows what a key means.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::profile::{Profile, Strength};
use crate::spelling::gaps;
use crate::text::{Kind, key};

/// A power of two: small enough to copy the list of them, many enough that each is small.
const SHARDS: usize = 1024;

/// The least length, in characters, of a word that typos are corrected to.
const LEAST_SPELLED: usize = 4;

/// One agent that holds a key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Posting {
    /// Where the agent's profile lives.
    pub(crate) slot: u32,
    /// How strongly it holds the key.
    pub(crate) strength: Strength,
}

type Shard = FxHashMap<u64, Arc<[Posting]>>;
/// Words by the key of what is left when one letter is left out.
type Spellings = FxHashMap<u64, Arc<[Arc<str>]>>;

/// What scoring needs of every agent that has some word, kept side by side.
#[derive(Clone, Copy, Default)]
pub(crate) struct Traits {
    /// See [`Profile::bulk`].
    pub(crate) bulk: f32,
    /// See [`Profile::demanding`].
    pub(crate) demanding: bool,
}

impl Traits {
    fn of(profile: &Profile) -> Self {
        Self { bulk: profile.bulk, demanding: profile.demanding }
    }
}

/// Profiles by slot, and postings by key.
#[derive(Clone, Default)]
pub(crate) struct Index {
    slots: Vec<Option<Arc<Profile>>>,
    traits: Vec<Traits>,
    free: Vec<u32>,
    shards: Vec<Arc<Shard>>,
    spellings: Vec<Arc<Spellings>>,
    len: usize,
}

/// What becomes of one agent's hold on a key: none where it loses it.
struct Edit {
    key: u64,
    slot: u32,
    strength: Option<Strength>,
}

impl Index {
    /// Removes the agents with these ids and adds or replaces these profiles; each id at most once in all.
    /// Writes each list that changes once, however many agents change it, and no list that stays as it is.
    pub(crate) fn change(&mut self, removed: &[&str], put: Vec<Arc<Profile>>) {
        self.shards.resize_with(SHARDS, Arc::default);
        self.spellings.resize_with(SHARDS, Arc::default);
        let mut edits: Vec<Edit> = Vec::new();
        let mut words: FxHashMap<u64, (Arc<str>, bool)> = FxHashMap::default();
        for id in removed {
            let Some(slot) = self.slot(id) else { continue };
            let Some(old) = self.slots[slot as usize].take() else { continue };
            self.note(&old, &mut words);
            edits.extend(terms_of(&old).map(|(key, _)| Edit { key, slot, strength: None }));
            self.free.push(slot);
            self.len -= 1;
        }
        for profile in put {
            self.note(&profile, &mut words);
            let slot = if let Some(slot) = self.slot(&profile.agent.id) {
                if let Some(old) = self.slots[slot as usize].take() {
                    self.note(&old, &mut words);
                    differences(&old, &profile, slot, &mut edits);
                }
                slot
            } else {
                let slot = self.free.pop().unwrap_or(self.slots.len() as u32);
                if slot as usize == self.slots.len() {
                    self.slots.push(None);
                    self.traits.push(Traits::default());
                }
                let held = terms_of(&profile);
                edits.extend(held.map(|(key, strength)| Edit { key, slot, strength: Some(strength) }));
                self.len += 1;
                slot
            };
            self.traits[slot as usize] = Traits::of(&profile);
            self.slots[slot as usize] = Some(profile);
        }
        // Where one agent leaves a slot to another, what the other holds comes last and stays.
        edits.sort_unstable_by_key(|edit| (edit.key, edit.slot, edit.strength.is_some()));
        for group in edits.chunk_by(|a, b| a.key == b.key) {
            let key = group[0].key;
            let list = merged(self.get(key), group);
            let shard = Arc::make_mut(&mut self.shards[shard_of(key)]);
            if list.is_empty() {
                shard.remove(&key);
            } else {
                shard.insert(key, list.into());
            }
        }
        self.respell(words);
    }

    /// Notes a profile's words that typos may be corrected to, and whether somebody has them so far.
    fn note(&self, profile: &Profile, words: &mut FxHashMap<u64, (Arc<str>, bool)>) {
        for word in &profile.spellings {
            let key = key(Kind::Surface, word);
            words.entry(key).or_insert_with(|| (word.as_str().into(), !self.get(key).is_empty()));
        }
    }

    /// Makes words that somebody has now ones that typos are corrected to, and those that nobody has any more
    /// no longer.
    fn respell(&mut self, words: FxHashMap<u64, (Arc<str>, bool)>) {
        let mut edits: Vec<(u64, Arc<str>, bool)> = Vec::new();
        for (key, (word, before)) in words {
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
            let shard = Arc::make_mut(&mut self.spellings[shard_of(gap)]);
            if list.is_empty() {
                shard.remove(&gap);
            } else {
                shard.insert(gap, list.into());
            }
        }
    }

    /// The words that a gap may stand for.
    pub(crate) fn spelled(&self, gap: u64) -> &[Arc<str>] {
        self.spellings.get(shard_of(gap)).and_then(|shard| shard.get(&gap)).map_or(&[], |list| list)
    }

    /// How many agents there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// One more than the highest slot.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The slot of the agent with this id.
    pub(crate) fn slot(&self, id: &str) -> Option<u32> {
        self.get(key(Kind::Id, id)).first().map(|posting| posting.slot)
    }

    /// The profile in a slot.
    pub(crate) fn profile(&self, slot: u32) -> Option<&Arc<Profile>> {
        self.slots.get(slot as usize)?.as_ref()
    }

    /// The traits of every slot; those of a free one mean nothing.
    pub(crate) fn traits(&self) -> &[Traits] {
        &self.traits
    }

    /// Every profile with its slot.
    pub(crate) fn profiles(&self) -> impl Iterator<Item = (u32, &Arc<Profile>)> {
        self.slots.iter().enumerate().filter_map(|(slot, profile)| Some((slot as u32, profile.as_ref()?)))
    }

    /// Who holds a key, by ascending slot.
    pub(crate) fn get(&self, key: u64) -> &[Posting] {
        self.shards.get(shard_of(key)).and_then(|shard| shard.get(&key)).map_or(&[], |list| list)
    }
}

fn shard_of(key: u64) -> usize {
    (key >> 32) as usize & (SHARDS - 1)
}

/// Every key that finds a profile: its id's, then the others ascending.
fn terms_of(profile: &Profile) -> impl Iterator<Item = (u64, Strength)> {
    std::iter::once((profile.id_key(), Strength::default())).chain(profile.terms.iter().copied())
}

/// What turns one profile of an agent into the next.
fn differences(old: &Profile, new: &Profile, slot: u32, edits: &mut Vec<Edit>) {
    for (key, strength) in &new.terms {
        if old.strength(*key) != Some(*strength) {
            edits.push(Edit { key: *key, slot, strength: Some(*strength) });
        }
    }
    let lost = old.terms.iter().filter(|(key, _)| !new.holds(*key));
    edits.extend(lost.map(|(key, _)| Edit { key: *key, slot, strength: None }));
}

/// A list by ascending slot with edits by ascending slot made; of several to one slot the last counts.
fn merged(mut old: &[Posting], edits: &[Edit]) -> Vec<Posting> {
    let mut list = Vec::with_capacity(old.len() + edits.len());
    for run in edits.chunk_by(|a, b| a.slot == b.slot) {
        let slot = run[0].slot;
        let (before, rest) = old.split_at(old.partition_point(|posting| posting.slot < slot));
        list.extend_from_slice(before);
        old = if rest.first().is_some_and(|posting| posting.slot == slot) { &rest[1..] } else { rest };
        if let Some(Edit { strength: Some(strength), .. }) = run.last() {
            list.push(Posting { slot, strength: *strength });
        }
    }
    list.extend_from_slice(old);
    list
}
