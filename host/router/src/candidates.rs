//! A set of agents that a caller may call.
//!
//! Holds the index it was made from, so that it can never meet another one.

use std::sync::{Arc, OnceLock};

use crate::index::{Index, Posting};
use crate::model::{ENOUGH, Lesson, Model};
use crate::profile::Profile;
use crate::roster::{Roster, Totals};
use crate::text::kind_weight;

/// The agents among which a task is decided. Made by [`Router::candidates`](crate::Router::candidates)
/// or [`Router::all`](crate::Router::all); cheap to clone; good for as long as you want decisions
/// about the agents of the router that made it.
#[derive(Clone)]
pub struct Candidates {
    pub(crate) index: Arc<Index>,
    members: Members,
    /// What is learned of each card, by its place among the members' cards.
    lessons: Arc<[Learned]>,
    /// Inverse document frequencies of keys with few holders, by how many.
    rarities: Arc<[Rarity]>,
    totals: Totals,
    spoken: f32,
}

/// What is learned of a card when it is first needed.
#[derive(Default)]
struct Learned {
    /// One over the Euclidean length of each of its documents.
    scales: OnceLock<Box<[f32]>>,
    model: OnceLock<Option<Model>>,
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

/// Which agents belong.
#[derive(Clone)]
enum Members {
    All,
    Some(Arc<Chosen>),
}

/// Some agents, by their cards.
struct Chosen {
    /// A bit for each card that some of them has.
    bits: Box<[u64]>,
    /// How many bits are set before each word of them.
    ranks: Box<[u32]>,
    /// Where the agents of each of those cards begin, and where the last ones end.
    starts: Box<[u32]>,
    /// The agents, by card and then by id.
    agents: Box<[u32]>,
}

impl Chosen {
    fn new(roster: &Roster, agents: impl Iterator<Item = u32>) -> Self {
        let mut pairs: Vec<(u32, u32)> =
            agents.filter_map(|agent| Some((roster.member(agent)?.card, agent))).collect();
        pairs.sort_unstable();
        pairs.dedup();
        let mut bits = vec![0u64; roster.places().div_ceil(64)];
        let (mut starts, mut by_id) = (vec![0], Vec::with_capacity(pairs.len()));
        for group in pairs.chunk_by_mut(|a, b| a.0 == b.0) {
            let card = group[0].0;
            bits[card as usize / 64] |= 1 << (card % 64);
            if group.len() > 1 {
                group.sort_unstable_by(|a, b| roster.id(a.1).cmp(roster.id(b.1)));
            }
            by_id.extend(group.iter().map(|(_, agent)| *agent));
            starts.push(by_id.len() as u32);
        }
        let mut before = 0;
        let ranks = bits.iter().map(|word| {
            let rank = before;
            before += word.count_ones();
            rank
        });
        Self { ranks: ranks.collect(), bits: bits.into(), starts: starts.into(), agents: by_id.into() }
    }

    fn has(&self, card: u32) -> bool {
        self.bits.get(card as usize / 64).is_some_and(|word| word >> (card % 64) & 1 == 1)
    }

    /// The place of a card among those that belong.
    fn rank(&self, card: u32) -> Option<usize> {
        let word = self.bits.get(card as usize / 64)?;
        let before = (word & ((1 << (card % 64)) - 1)).count_ones();
        (word >> (card % 64) & 1 == 1).then(|| (self.ranks[card as usize / 64] + before) as usize)
    }

    fn agents(&self, card: u32) -> &[u32] {
        let Some(rank) = self.rank(card) else { return &[] };
        &self.agents[self.starts[rank] as usize..self.starts[rank + 1] as usize]
    }

    /// Whether some of them share a card.
    fn shares(&self) -> bool {
        self.agents.len() + 1 > self.starts.len()
    }
}

impl Candidates {
    pub(crate) fn all(index: Arc<Index>) -> Self {
        let totals = index.roster().totals();
        Self::new(index, Members::All, totals)
    }

    pub(crate) fn of_agents(index: Arc<Index>, agents: impl Iterator<Item = u32>) -> Self {
        let chosen = Chosen::new(index.roster(), agents);
        let mut totals = Totals::default();
        for (card, profile) in index.roster().cards().map(|(at, card)| (at, &card.profile)) {
            if chosen.has(card) {
                totals.add(profile, chosen.agents(card).len());
            }
        }
        Self::new(index, Members::Some(Arc::new(chosen)), totals)
    }

    fn new(index: Arc<Index>, members: Members, totals: Totals) -> Self {
        let spoken = totals.phrases as f32 / totals.triggers.max(1) as f32;
        let (lessons, rarities) = (Arc::new([]), Arc::new([]));
        let mut out = Self { index, members, lessons, rarities, totals, spoken };
        let all = out.len();
        out.rarities = (0..=all.min(RARITIES)).map(|holders| Rarity::new(holders, all)).collect();
        if out.has_examples() {
            let cards = match &out.members {
                Members::All => out.index.roster().places(),
                Members::Some(chosen) => chosen.starts.len() - 1,
            };
            out.lessons = (0..cards).map(|_| Learned::default()).collect();
        }
        out
    }

    /// Learns from the members' examples now, rather than when a task first needs it. Takes up to some
    /// milliseconds for each member with examples; returns at once for those already learned from.
    pub fn warm(&self) {
        if self.has_examples() {
            for (card, _) in self.profiles() {
                let _ = self.model(card);
            }
        }
    }

    /// The members' cards, with where they lie.
    pub(crate) fn profiles(&self) -> impl Iterator<Item = (u32, &Arc<Profile>)> {
        let cards = self.index.roster().cards().map(|(at, card)| (at, &card.profile));
        cards.filter(|(card, _)| self.has(*card))
    }

    /// The members that have a card, by their ids.
    pub(crate) fn agents(&self, card: u32) -> &[u32] {
        match &self.members {
            Members::All => self.index.roster().card(card).map_or(&[], |card| &card.agents),
            Members::Some(chosen) => chosen.agents(card),
        }
    }

    /// The first id of the members that have a card.
    pub(crate) fn first_id(&self, card: u32) -> &str {
        self.agents(card).first().map_or("", |agent| self.index.roster().id(*agent))
    }

    /// Whether some members share a card.
    pub(crate) fn shares(&self) -> bool {
        match &self.members {
            Members::All => self.index.roster().shares(),
            Members::Some(chosen) => chosen.shares(),
        }
    }

    /// Whether some member has an example to learn from.
    pub(crate) fn has_examples(&self) -> bool {
        self.totals.examples > 0
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

    /// How many members have these cards.
    pub(crate) fn count_of(&self, postings: &[Posting]) -> usize {
        match &self.members {
            Members::All if !self.index.roster().shares() => postings.len(),
            Members::All => {
                let traits = self.index.traits();
                postings.iter().map(|posting| traits[posting.card as usize].agents as usize).sum()
            }
            Members::Some(chosen) if !chosen.shares() => {
                postings.iter().filter(|posting| chosen.has(posting.card)).count()
            }
            Members::Some(chosen) => postings.iter().map(|posting| chosen.agents(posting.card).len()).sum(),
        }
    }

    /// Whether some member holds a key.
    pub(crate) fn knows(&self, key: u64) -> bool {
        self.some_of(self.index.get(key))
    }

    /// Whether one of these cards is a member's.
    pub(crate) fn some_of(&self, postings: &[Posting]) -> bool {
        postings.iter().any(|posting| self.has(posting.card))
    }

    /// Calls `act` for every card of a member among these.
    #[inline]
    pub(crate) fn each_of(&self, postings: &[Posting], mut act: impl FnMut(&Posting)) {
        match &self.members {
            Members::All => postings.iter().for_each(act),
            Members::Some(chosen) => {
                for posting in postings {
                    if chosen.has(posting.card) {
                        act(posting);
                    }
                }
            }
        }
    }

    fn lesson(&self, card: u32) -> Option<&Learned> {
        let place = match &self.members {
            Members::All => card as usize,
            Members::Some(chosen) => chosen.rank(card)?,
        };
        self.lessons.get(place)
    }

    /// Whether nothing is left to be learned of a card.
    pub(crate) fn has_learned(&self, card: u32) -> bool {
        self.lesson(card).is_none_or(|lesson| lesson.model.get().is_some())
    }

    /// The linear model of a card with examples, trained when first asked for.
    pub(crate) fn model(&self, card: u32) -> Option<&Model> {
        let trained = self.lesson(card)?.model.get_or_init(|| {
            let own = self.index.profile(card)?;
            if own.examples() == 0 {
                return None;
            }
            let weights: Vec<f32> = own.keys.iter().map(|key| self.learned_weight(*key)).collect();
            let rivals = self.rivals(card, own).into_iter().map(|(at, profile)| self.taught(at, profile));
            Some(Model::train(&weights, self.taught(card, own), rivals))
        });
        trained.as_ref()
    }

    /// What a key counts in a document.
    fn learned_weight(&self, key: u64) -> f32 {
        kind_weight(key) * self.rarity(self.count(key)).dampened
    }

    /// What a model learns from a card.
    fn taught<'a>(&'a self, card: u32, profile: &'a Profile) -> Lesson<'a> {
        let scales: &[f32] = self.lesson(card).map_or(&[], |learned| {
            learned.scales.get_or_init(|| {
                let squares: Vec<f32> =
                    profile.keys.iter().map(|key| self.learned_weight(*key).powi(2)).collect();
                let square =
                    |places: &[u32]| places.iter().map(|place| squares[*place as usize]).sum::<f32>();
                profile.documents().iter().map(|(places, _)| 1.0 / square(places).sqrt().max(1e-6)).collect()
            })
        });
        Lesson { profile, scales }
    }

    /// The members' cards most like one of them, until they bring enough documents to learn from.
    fn rivals(&self, card: u32, own: &Profile) -> Vec<(u32, &Arc<Profile>)> {
        let others = self.profiles().filter(|(other, _)| *other != card);
        let mut others: Vec<(f32, u32, &Arc<Profile>)> =
            if self.totals.documents <= ENOUGH + own.documents().len() {
                others.map(|(other, profile)| (0.0, other, profile)).collect()
            } else {
                let like = self.likeness(card, own);
                let scale = |profile: &Profile| (1.0 + profile.documents().len() as f32).sqrt();
                others.map(|(at, profile)| (like[at as usize] / scale(profile), at, profile)).collect()
            };
        others.sort_unstable_by(|a, b| {
            b.0.total_cmp(&a.0).then_with(|| self.first_id(a.1).cmp(self.first_id(b.1)))
        });
        let mut documents = 0;
        let rivals = others.into_iter().take_while(|(_, _, profile)| {
            let take = documents < ENOUGH;
            documents += profile.documents().len();
            take
        });
        rivals.map(|(_, at, profile)| (at, profile)).collect()
    }

    /// How much each card has in common with one of them.
    fn likeness(&self, card: u32, own: &Profile) -> Vec<f32> {
        let mut like = vec![0.0f32; self.index.roster().places()];
        let common = (self.len() / 10).max(64);
        for key in &own.keys {
            let postings = self.index.get(*key);
            let count = self.count_of(postings);
            let strength = crate::index::strength_of(postings, card).map_or(0.0, |strength| strength.bayes);
            if strength > 0.0 && count > 1 && count <= common {
                let worth = kind_weight(*key).powi(2) * (1.0 + (self.len() as f32 / count as f32).ln());
                self.each_of(postings, |posting| {
                    like[posting.card as usize] += worth * strength * posting.strength.bayes;
                });
            }
        }
        like
    }

    /// How small the fleet is, 1 for none and 0 for all there could be: the fewer agents, the more of what
    /// people ask is the business of none.
    pub(crate) fn smallness(&self) -> f32 {
        BACKGROUND / (BACKGROUND + self.len() as f32)
    }

    /// How many agents there are to choose from.
    pub fn len(&self) -> usize {
        match &self.members {
            Members::All => self.index.roster().len(),
            Members::Some(chosen) => chosen.agents.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether the agent with this id is among them.
    pub fn contains(&self, id: &str) -> bool {
        let roster = self.index.roster();
        let Some(agent) = roster.agent(id) else { return false };
        match &self.members {
            Members::All => true,
            Members::Some(chosen) => {
                roster.member(agent).is_some_and(|member| chosen.agents(member.card).contains(&agent))
            }
        }
    }

    /// Whether some member has the card.
    pub(crate) fn has(&self, card: u32) -> bool {
        match &self.members {
            Members::All => true,
            Members::Some(chosen) => chosen.has(card),
        }
    }
}

impl std::fmt::Debug for Candidates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Candidates").field("len", &self.len()).finish_non_exhaustive()
    }
}
