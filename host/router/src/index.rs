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

impl Index {
    /// An index of `profiles`. Of several with the same id the last one stays.
    pub(crate) fn build(profiles: Vec<Profile>) -> Self {
        let mut last = FxHashMap::default();
        for (position, profile) in profiles.iter().enumerate() {
            last.insert(profile.agent.id.clone(), position);
        }
        let slots: Vec<Option<Arc<Profile>>> = profiles
            .into_iter()
            .enumerate()
            .filter(|(position, profile)| last.get(&profile.agent.id) == Some(position))
            .map(|(_, profile)| Some(Arc::new(profile)))
            .collect();
        let mut entries: Vec<(u64, Posting)> = Vec::new();
        for (slot, profile) in slots.iter().enumerate() {
            if let Some(profile) = profile {
                entries.extend(postings_of(profile, slot as u32));
            }
        }
        entries.sort_unstable_by_key(|(key, posting)| (*key, posting.slot));
        let mut shards: Vec<Shard> = vec![Shard::default(); SHARDS];
        for group in entries.chunk_by(|a, b| a.0 == b.0) {
            let key = group[0].0;
            let list: Arc<[Posting]> = group.iter().map(|(_, posting)| *posting).collect();
            shards[shard_of(key)].insert(key, list);
        }
        let mut words: Vec<&str> =
            slots.iter().flatten().flat_map(|profile| profile.spellings.iter().map(String::as_str)).collect();
        words.sort_unstable();
        words.dedup();
        let mut entries: Vec<(u64, Arc<str>)> = Vec::with_capacity(words.len() * 9);
        for word in words {
            let word: Arc<str> = word.into();
            entries.extend(gaps(&word).into_iter().map(|gap| (gap, Arc::clone(&word))));
        }
        entries.sort_by_key(|(gap, _)| *gap);
        let mut spellings: Vec<Spellings> = vec![Spellings::default(); SHARDS];
        for group in entries.chunk_by(|a, b| a.0 == b.0) {
            let list = group.iter().map(|(_, word)| Arc::clone(word)).collect();
            spellings[shard_of(group[0].0)].insert(group[0].0, list);
        }
        Self {
            len: slots.len(),
            traits: slots.iter().flatten().map(|profile| Traits::of(profile)).collect(),
            slots,
            spellings: spellings.into_iter().map(Arc::new).collect(),
            free: Vec::new(),
            shards: shards.into_iter().map(Arc::new).collect(),
        }
    }

    /// Adds a profile, or replaces the one with its id.
    pub(crate) fn put(&mut self, profile: Profile) {
        self.remove(&profile.agent.id);
        let slot = self.free.pop().unwrap_or(self.slots.len() as u32);
        if slot as usize == self.slots.len() {
            self.slots.push(None);
            self.traits.push(Traits::default());
        }
        for (key, posting) in postings_of(&profile, slot) {
            let shard = Arc::make_mut(&mut self.shards[shard_of(key)]);
            let old = shard.get(&key).map_or(&[][..], |list| list);
            let at = old.partition_point(|other| other.slot < slot);
            let list = old[..at].iter().copied().chain([posting]).chain(old[at..].iter().copied());
            let list: Arc<[Posting]> = list.collect();
            shard.insert(key, list);
        }
        for word in &profile.spellings {
            if self.get(key(Kind::Surface, word)).len() == 1 {
                self.spell(word, true);
            }
        }
        self.traits[slot as usize] = Traits::of(&profile);
        self.slots[slot as usize] = Some(Arc::new(profile));
        self.len += 1;
    }

    /// Removes the profile with this id, if there is one.
    pub(crate) fn remove(&mut self, id: &str) {
        let Some(slot) = self.slot(id) else { return };
        let Some(profile) = self.slots[slot as usize].take() else {
            return;
        };
        for (key, _) in postings_of(&profile, slot) {
            let shard = Arc::make_mut(&mut self.shards[shard_of(key)]);
            let Some(old) = shard.get(&key) else { continue };
            let list: Arc<[Posting]> = old.iter().copied().filter(|p| p.slot != slot).collect();
            if list.is_empty() {
                shard.remove(&key);
            } else {
                shard.insert(key, list);
            }
        }
        for word in &profile.spellings {
            if self.get(key(Kind::Surface, word)).is_empty() {
                self.spell(word, false);
            }
        }
        self.free.push(slot);
        self.len -= 1;
    }

    /// Makes a word one that typos are corrected to, or no longer.
    fn spell(&mut self, word: &str, known: bool) {
        let word: Arc<str> = word.into();
        for gap in gaps(&word) {
            let shard = Arc::make_mut(&mut self.spellings[shard_of(gap)]);
            let old = shard.get(&gap).map_or(&[][..], |list| list);
            let mut list: Vec<Arc<str>> = old.iter().filter(|other| **other != word).cloned().collect();
            if known {
                list.push(Arc::clone(&word));
                list.sort_unstable();
            }
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

fn postings_of(profile: &Profile, slot: u32) -> impl Iterator<Item = (u64, Posting)> {
    let id = (profile.id_key(), Strength::default());
    let terms = profile.terms.iter().copied();
    std::iter::once(id).chain(terms).map(move |(key, strength)| (key, Posting { slot, strength }))
}
