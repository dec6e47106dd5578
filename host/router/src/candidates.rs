//! A set of agents that a caller may call.
//!
//! Holds the index it was made from, so that it can never meet another one.

use std::sync::{Arc, OnceLock};

use crate::index::{Index, Posting};
use crate::model::{ENOUGH, Model};
use crate::profile::Profile;
use crate::text::kind_weight;

/// The agents among which a task is decided. Made by [`Router::candidates`](crate::Router::candidates)
/// or [`Router::all`](crate::Router::all); cheap to clone; good for as long as you want decisions
/// about the agents of the router that made it.
#[derive(Clone)]
pub struct Candidates {
    pub(crate) index: Arc<Index>,
    members: Members,
    models: Arc<[OnceLock<Option<Arc<Model>>>]>,
    /// Inverse document frequencies of keys with few holders, by how many.
    rarities: Arc<[Rarity]>,
    examples: usize,
    documents: usize,
    spoken: f32,
}

/// How rare a key is among the candidates.
#[derive(Clone, Copy)]
pub(crate) struct Rarity {
    /// Probabilistic inverse document frequency, above 0.
    pub(crate) idf: f32,
    /// A dampened one for the models that see function words: at least 1.
    pub(crate) dampened: f32,
}

impl Rarity {
    fn new(holders: usize, all: usize) -> Self {
        let (with, all) = (holders as f32, all as f32 + BACKGROUND);
        Self {
            idf: (1.0 + (all - with + 0.5) / (with + 0.5)).ln(),
            dampened: (1.0 + (all / with.max(1.0)).ln()).sqrt(),
        }
    }
}

/// As many agents again are taken to be there that hold none of the words, so that a word which one of five
/// agents holds is worth about what it is worth among two hundred.
const BACKGROUND: f32 = 50.0;

/// How many rarities are worked out once for all tasks.
const RARITIES: usize = 256;

/// Which slots belong.
#[derive(Clone)]
enum Members {
    All,
    Some { bits: Arc<[u64]>, len: usize },
}

impl Candidates {
    pub(crate) fn all(index: Arc<Index>) -> Self {
        Self::new(index, Members::All)
    }

    pub(crate) fn of_slots(index: Arc<Index>, slots: impl Iterator<Item = u32>) -> Self {
        let mut bits = vec![0u64; index.slots().div_ceil(64)];
        let mut len = 0;
        for slot in slots {
            let (word, bit) = (slot as usize / 64, 1u64 << (slot % 64));
            if bits[word] & bit == 0 {
                bits[word] |= bit;
                len += 1;
            }
        }
        Self::new(index, Members::Some { bits: bits.into(), len })
    }

    fn new(index: Arc<Index>, members: Members) -> Self {
        let (models, rarities) = (Arc::new([]), Arc::new([]));
        let mut out = Self { index, members, models, rarities, examples: 0, documents: 0, spoken: 0.0 };
        let (mut examples, mut documents, mut triggers, mut phrases) = (0, 0, 0, 0);
        for (_, profile) in out.profiles() {
            examples += profile.examples;
            documents += profile.documents.len();
            triggers += profile.triggers.len();
            phrases += profile.phrases;
        }
        (out.examples, out.documents) = (examples, documents);
        out.spoken = phrases as f32 / triggers.max(1) as f32;
        let all = out.len();
        out.rarities = (0..=all.min(RARITIES)).map(|holders| Rarity::new(holders, all)).collect();
        if examples > 0 {
            out.models = (0..out.index.slots()).map(|_| OnceLock::new()).collect();
        }
        out
    }

    /// Learns from the members' examples now, rather than when a task first needs it. Takes up to some
    /// milliseconds for each member with examples; returns at once for those already learned from.
    pub fn warm(&self) {
        if self.has_examples() {
            for (slot, _) in self.profiles() {
                let _ = self.model(slot);
            }
        }
    }

    /// The members with their slots.
    pub(crate) fn profiles(&self) -> impl Iterator<Item = (u32, &Arc<Profile>)> {
        self.index.profiles().filter(|(slot, _)| self.has(*slot))
    }

    /// Whether some member has an example to learn from.
    pub(crate) fn has_examples(&self) -> bool {
        self.examples > 0
    }

    /// The share of the members' triggers that are phrases of several words, 0..=1.
    pub(crate) fn spoken(&self) -> f32 {
        self.spoken
    }

    /// How rare a key with this many holders is.
    pub(crate) fn rarity(&self, holders: usize) -> Rarity {
        self.rarities.get(holders).copied().unwrap_or_else(|| Rarity::new(holders, self.len()))
    }

    /// How many members hold a key.
    pub(crate) fn count(&self, key: u64) -> usize {
        self.count_of(self.index.get(key))
    }

    /// How many of these are members.
    pub(crate) fn count_of(&self, postings: &[Posting]) -> usize {
        match self.members {
            Members::All => postings.len(),
            Members::Some { .. } => postings.iter().filter(|posting| self.has(posting.slot)).count(),
        }
    }

    /// Whether some member holds a key.
    pub(crate) fn knows(&self, key: u64) -> bool {
        self.some_of(self.index.get(key))
    }

    /// Whether one of these is a member.
    pub(crate) fn some_of(&self, postings: &[Posting]) -> bool {
        postings.iter().any(|posting| self.has(posting.slot))
    }

    /// Calls `act` for every member that holds a key.
    pub(crate) fn each(&self, key: u64, act: impl FnMut(&Posting)) {
        self.each_of(self.index.get(key), act);
    }

    /// Calls `act` for every member among these.
    pub(crate) fn each_of(&self, postings: &[Posting], mut act: impl FnMut(&Posting)) {
        match self.members {
            Members::All => postings.iter().for_each(act),
            Members::Some { .. } => {
                for posting in postings {
                    if self.has(posting.slot) {
                        act(posting);
                    }
                }
            }
        }
    }

    /// The linear model of a member with examples, trained when first asked for.
    pub(crate) fn model(&self, slot: u32) -> Option<&Model> {
        let cell = self.models.get(slot as usize)?;
        let trained = cell.get_or_init(|| {
            let own = self.index.profile(slot)?;
            if own.examples == 0 {
                return None;
            }
            Some(Arc::new(Model::train(own, &self.rivals(slot, own))))
        });
        trained.as_deref()
    }

    /// The members most like one of them, until they bring enough documents to learn from.
    fn rivals(&self, slot: u32, own: &Profile) -> Vec<Arc<Profile>> {
        let mut others: Vec<(f32, &Arc<Profile>)> = if self.documents <= ENOUGH + own.documents.len() {
            self.profiles().filter(|(other, _)| *other != slot).map(|(_, profile)| (0.0, profile)).collect()
        } else {
            let mut like = vec![0.0f32; self.index.slots()];
            let common = (self.len() / 10).max(64);
            for (key, strength) in own.terms.iter().filter(|(_, strength)| strength.bayes > 0.0) {
                let count = self.count(*key);
                if count > 1 && count <= common {
                    let worth = kind_weight(*key).powi(2) * (1.0 + (self.len() as f32 / count as f32).ln());
                    self.each(*key, |posting| {
                        like[posting.slot as usize] += worth * strength.bayes * posting.strength.bayes;
                    });
                }
            }
            let scale = |profile: &Profile| (1.0 + profile.documents.len() as f32).sqrt();
            self.profiles()
                .filter(|(other, _)| *other != slot)
                .map(|(other, profile)| (like[other as usize] / scale(profile), profile))
                .collect()
        };
        others.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.agent.id.cmp(&b.1.agent.id)));
        let mut documents = 0;
        others
            .into_iter()
            .take_while(|(_, profile)| {
                let take = documents < ENOUGH;
                documents += profile.documents.len();
                take
            })
            .map(|(_, profile)| Arc::clone(profile))
            .collect()
    }

    /// How many agents there are to choose from.
    pub fn len(&self) -> usize {
        match &self.members {
            Members::All => self.index.len(),
            Members::Some { len, .. } => *len,
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the agent with this id is among them.
    pub fn contains(&self, id: &str) -> bool {
        self.index.slot(id).is_some_and(|slot| self.has(slot))
    }

    pub(crate) fn has(&self, slot: u32) -> bool {
        match &self.members {
            Members::All => true,
            Members::Some { bits, .. } => {
                bits.get(slot as usize / 64).is_some_and(|word| word >> (slot % 64) & 1 == 1)
            }
        }
    }
}

impl std::fmt::Debug for Candidates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Candidates").field("len", &self.len()).finish_non_exhaustive()
    }
}
