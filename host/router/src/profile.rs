//! A card, analysed: its keys, and the short documents a model can learn from.
//!
//! Depends on its texts alone, so that what others register never changes it. Kept small: what is needed only
//! while it is made is not kept, and what is kept lies side by side.

use std::hash::{Hash, Hasher};

use rustc_hash::{FxHashMap, FxHasher};

use crate::Agent;
use crate::explain::Field;
use crate::text::{Analyzer, Kind, Word, edges, features, kind_weight, sequence_key};

/// How much a longer field dilutes a word: BM25's b.
const LENGTH: f32 = 0.4;
/// The same for a longer list of triggers, and how many are as bad as more.
const TRIGGER_LENGTH: f32 = 0.3;
const MANY_TRIGGERS: usize = 20;
/// How fast more mentions of a word stop adding: BM25's k1.
const SATURATION: f32 = 5.0;
/// What one mention counts in each field, and how many words that field usually has.
const NAME: (f32, f32) = (2.5, 3.0);
const DESCRIPTION: (f32, f32) = (1.0, 12.0);
const CATEGORY: (f32, f32) = (0.3, 3.0);
/// What one mention counts in a trigger, and how many triggers there usually are.
const TRIGGER: (f32, f32) = (0.5, 10.0);
/// Naive Bayes: what an agent that lacks a key is taken to have of it.
const PRIOR: f32 = 0.005;
/// Naive Bayes: what every agent is taken to have of all keys together.
const MASS: f32 = 200.0;

/// How far from where it is likely a key is looked for first.
const NEAR: usize = 16;

/// How strongly a card holds a key.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Strength {
    /// Saturated, weighted mentions over all fields: BM25F's part that does not depend on other agents.
    pub(crate) lexical: f32,
    /// `ln(1 + count / PRIOR)` of the naive Bayes model.
    pub(crate) bayes: f32,
}

/// All that an author says of an agent, one text after another.
#[derive(PartialEq, Eq, Hash)]
pub(crate) struct Texts {
    all: Box<str>,
    /// Where each ends: name, description, category, triggers, examples.
    ends: Box<[u32]>,
    triggers: u32,
}

impl Texts {
    pub(crate) fn of(agent: &Agent) -> Self {
        let (mut all, mut ends) = (String::new(), Vec::new());
        let fields = [&agent.name, &agent.description, &agent.category];
        for text in fields.into_iter().chain(&agent.triggers).chain(&agent.examples) {
            all.push_str(text);
            ends.push(all.len() as u32);
        }
        Self { all: all.into(), ends: ends.into(), triggers: agent.triggers.len() as u32 }
    }

    /// The same for texts that are the same; others may have it, too.
    pub(crate) fn key(&self) -> u64 {
        let mut hasher = FxHasher::default();
        self.hash(&mut hasher);
        hasher.finish() & !7 | Kind::Id as u64
    }

    fn part(&self, at: usize) -> &str {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.all[start as usize..self.ends[at] as usize]
    }

    /// A trigger as written.
    pub(crate) fn trigger(&self, at: usize) -> &str {
        self.part(3 + at)
    }

    fn triggers(&self) -> impl Iterator<Item = &str> {
        (0..self.triggers as usize).map(|at| self.trigger(at))
    }

    fn examples(&self) -> impl Iterator<Item = &str> {
        (3 + self.triggers as usize..self.ends.len()).map(|at| self.part(at))
    }
}

/// The texts that speak for the agent, as what they are compared by. Examples come last.
pub(crate) struct Documents {
    /// Places in the card's keys, ascending in each document.
    places: Box<[u32]>,
    /// Where each document ends.
    ends: Box<[u32]>,
    /// How many are no examples.
    plain: u32,
}

impl Documents {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Each of them, and whether it is an example.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u32], bool)> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let ranges = starts.zip(self.ends.iter().copied()).enumerate();
        ranges
            .map(|(at, (start, end))| (&self.places[start as usize..end as usize], at >= self.plain as usize))
    }
}

/// A content word of name, description or category.
pub(crate) struct Said {
    pub(crate) key: u64,
    pub(crate) field: Field,
    start: u32,
    end: u32,
}

/// An analysed card.
pub(crate) struct Profile {
    pub(crate) texts: Texts,
    /// Every key that finds it, ascending.
    pub(crate) keys: Box<[u64]>,
    /// Naive Bayes' penalty for having much text: `ln((mass + total) / mass)`.
    pub(crate) bulk: f32,
    documents: Documents,
    pub(crate) triggers: Box<[Trigger]>,
    /// For each of them the first of its content that a task must have for it to be matched; 0 where none can.
    pub(crate) heads: Box<[u64]>,
    /// The stems of the triggers.
    stems: Box<[u64]>,
    /// How many triggers have several words.
    pub(crate) phrases: usize,
    said: Box<[Said]>,
    /// What they are written in, in lower case.
    letters: Box<str>,
    /// Distinct words as written, a space between them.
    spellings: Box<str>,
    /// Whether some trigger forbids or requires.
    pub(crate) demanding: bool,
}

/// What a trigger asks of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// Counts when present.
    Wanted,
    /// Must be present.
    Required,
    /// Must be absent.
    Forbidden,
}

/// A trigger, analysed: where its stems lie.
pub(crate) struct Trigger {
    pub(crate) demand: Demand,
    start: u32,
    /// Where all its words end, and those begin that are not function words, where that is not all or none.
    middle: u32,
    end: u32,
}

impl Profile {
    /// The analysed card, and how strongly it holds each of its keys.
    pub(crate) fn new(texts: Texts, analyzer: &Analyzer) -> (Self, Vec<(u64, Strength)>) {
        let mut draft = Draft::default();
        let (mut said, mut letters) = (Vec::new(), String::new());
        let fields =
            [(Field::Name, 0, NAME), (Field::Description, 1, DESCRIPTION), (Field::Category, 2, CATEGORY)];
        for (field, part, weight) in fields {
            let found = analyzer.words(texts.part(part));
            draft.mention(&found, weight);
            draft.spellings.extend(found.surfaces().map(str::to_owned));
            // How an author builds a sentence says nothing about how people will ask.
            let content: Vec<Word> = found.iter().copied().filter(|word| !word.function).collect();
            if field != Field::Category {
                draft.document(&content);
            }
            for word in &content {
                let start = letters.len() as u32;
                letters.push_str(found.surface(word));
                said.push(Said { key: word.key, field, start, end: letters.len() as u32 });
            }
        }
        let (mut triggers, mut stems): (Vec<Trigger>, Vec<u64>) = (Vec::new(), Vec::new());
        let many = (texts.triggers as usize).min(MANY_TRIGGERS) as f32;
        let boost = TRIGGER.0 / (1.0 - TRIGGER_LENGTH + TRIGGER_LENGTH * many / TRIGGER.1);
        for text in texts.triggers() {
            let (demand, body) = demand(text);
            let found = analyzer.words(body);
            triggers.push(trigger(demand, &found, &mut stems));
            if demand != Demand::Forbidden {
                draft.mention(&found, (boost, 1.0));
                draft.document(&found);
                draft.spellings.extend(found.surfaces().map(str::to_owned));
            }
        }
        let plain = draft.documents.len() as u32;
        for text in texts.examples() {
            let found = analyzer.words(text);
            draft.example(&found);
            draft.spellings.extend(found.surfaces().map(str::to_owned));
        }
        let phrase = |trigger: &&Trigger| trigger.middle - trigger.start > 1;
        for trigger in triggers.iter().filter(phrase).filter(|trigger| trigger.demand != Demand::Forbidden) {
            draft.phrase(&stems[trigger.start as usize..trigger.middle as usize]);
        }
        let (terms, total) = draft.terms();
        let keys: Box<[u64]> = terms.iter().map(|(key, _)| *key).collect();
        let head = |trigger: &Trigger| match trigger.demand {
            Demand::Forbidden => 0,
            _ => trigger.content_in(&stems).first().copied().unwrap_or(0),
        };
        draft.spellings.sort_unstable();
        draft.spellings.dedup();
        let profile = Self {
            bulk: (1.0 + total / MASS).ln(),
            documents: draft.documents_in(&keys, plain),
            demanding: triggers.iter().any(|trigger| trigger.demand != Demand::Wanted),
            phrases: triggers.iter().filter(phrase).count(),
            heads: triggers.iter().map(head).collect(),
            keys,
            triggers: triggers.into(),
            stems: stems.into(),
            said: said.into(),
            letters: letters.into(),
            spellings: draft.spellings.join(" ").into(),
            texts,
        };
        (profile, terms)
    }

    /// Whether the card has a key.
    pub(crate) fn holds(&self, key: u64) -> bool {
        self.place(key).is_some()
    }

    /// The place of a key among the card's. Keys are spread evenly, so it lies near where their share of all
    /// numbers says.
    pub(crate) fn place(&self, key: u64) -> Option<usize> {
        let likely = (((key >> 32) * self.keys.len() as u64) >> 32) as usize;
        let (start, end) = (likely.saturating_sub(NEAR), (likely + NEAR).min(self.keys.len()));
        let near = &self.keys[start..end];
        if near.first().is_some_and(|first| *first <= key) && near.last().is_some_and(|last| *last >= key) {
            let at = near.iter().filter(|other| **other < key).count();
            return (near[at] == key).then_some(start + at);
        }
        self.keys.binary_search(&key).ok()
    }

    /// How many examples it has that say anything.
    pub(crate) fn examples(&self) -> usize {
        self.documents.len() - self.documents.plain as usize
    }

    /// What a model can learn from.
    pub(crate) fn documents(&self) -> &Documents {
        &self.documents
    }

    /// All words of a trigger, in order.
    pub(crate) fn stems(&self, trigger: &Trigger) -> &[u64] {
        &self.stems[trigger.start as usize..trigger.middle as usize]
    }

    /// Those that are not function words, or all when there are no others.
    pub(crate) fn content(&self, trigger: &Trigger) -> &[u64] {
        trigger.content_in(&self.stems)
    }

    /// The content words of name, description and category, and how they are written in lower case.
    pub(crate) fn said(&self) -> impl Iterator<Item = (&Said, &str)> {
        self.said.iter().map(|said| (said, &self.letters[said.start as usize..said.end as usize]))
    }

    /// Distinct words as written.
    pub(crate) fn spellings(&self) -> impl Iterator<Item = &str> {
        self.spellings.split(' ').filter(|word| !word.is_empty())
    }
}

impl Trigger {
    fn content_in<'a>(&self, stems: &'a [u64]) -> &'a [u64] {
        let start = if self.middle < self.end { self.middle } else { self.start };
        &stems[start as usize..self.end as usize]
    }
}

/// What is counted while a card is analysed.
#[derive(Default)]
struct Draft {
    mentions: FxHashMap<u64, f32>,
    phrases: Vec<u64>,
    documents: Vec<Vec<u64>>,
    spellings: Vec<String>,
}

impl Draft {
    fn mention(&mut self, found: &[Word], (boost, usual): (f32, f32)) {
        let length = found.iter().filter(|word| !word.function).count() as f32;
        let norm = 1.0 - LENGTH + LENGTH * length / usual;
        for word in found.iter().filter(|word| !word.function) {
            for key in std::iter::once(word.key).chain(word.prefixes.into_iter().flatten()) {
                *self.mentions.entry(key).or_default() += boost / norm;
            }
        }
    }

    fn document(&mut self, found: &[Word]) {
        if !found.is_empty() {
            self.documents.push(features(found));
        }
    }

    /// How people begin and end what they ask says what they ask for; how an author builds a text does not.
    fn example(&mut self, found: &[Word]) {
        if !found.is_empty() {
            let mut keys = features(found);
            keys.extend(edges(found));
            keys.sort_unstable();
            keys.dedup();
            self.documents.push(keys);
        }
    }

    fn phrase(&mut self, stems: &[u64]) {
        self.phrases.push(sequence_key(Kind::Phrase, stems.iter().copied()));
    }

    /// Every key, ascending, with its strength; and naive Bayes' count of all.
    fn terms(&mut self) -> (Vec<(u64, Strength)>, f32) {
        let mut strengths: FxHashMap<u64, Strength> = std::mem::take(&mut self.mentions)
            .into_iter()
            .map(|(key, sum)| {
                (key, Strength { lexical: sum * (SATURATION + 1.0) / (sum + SATURATION), bayes: 0.0 })
            })
            .collect();
        for key in &self.phrases {
            strengths.entry(*key).or_default().lexical = 1.0;
        }
        let mut total = 0.0;
        for document in &self.documents {
            let norm = document.iter().map(|key| kind_weight(*key).powi(2)).sum::<f32>().sqrt();
            for key in document {
                let count = kind_weight(*key) / norm;
                strengths.entry(*key).or_default().bayes += count;
                total += count;
            }
        }
        let mut terms: Vec<(u64, Strength)> = strengths.into_iter().collect();
        for (_, strength) in &mut terms {
            strength.bayes = (1.0 + strength.bayes / PRIOR).ln();
        }
        terms.sort_unstable_by_key(|(key, _)| *key);
        (terms, total)
    }

    fn documents_in(&self, keys: &[u64], plain: u32) -> Documents {
        let (mut places, mut ends) = (Vec::new(), Vec::with_capacity(self.documents.len()));
        for document in &self.documents {
            places.extend(document.iter().filter_map(|key| Some(keys.binary_search(key).ok()? as u32)));
            ends.push(places.len() as u32);
        }
        Documents { places: places.into(), ends: ends.into(), plain }
    }
}

/// What a trigger asks, and what for.
fn demand(text: &str) -> (Demand, &str) {
    let trimmed = text.trim();
    match trimmed.as_bytes().first() {
        Some(b'!') => (Demand::Forbidden, &trimmed[1..]),
        Some(b'+') => (Demand::Required, &trimmed[1..]),
        _ => (Demand::Wanted, trimmed),
    }
}

/// Adds a trigger's stems to the others.
fn trigger(demand: Demand, words: &[Word], stems: &mut Vec<u64>) -> Trigger {
    let start = stems.len() as u32;
    stems.extend(words.iter().map(|word| word.key));
    let middle = stems.len() as u32;
    let content = words.iter().filter(|word| !word.function);
    if content.clone().count() < words.len() {
        stems.extend(content.map(|word| word.key));
    }
    Trigger { demand, start, middle, end: stems.len() as u32 }
}
