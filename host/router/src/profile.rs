//! An agent, analysed: its weighted keys, and the short documents a model can learn from.
//!
//! Depends on that one agent alone, so that what others register never changes it.

use rustc_hash::FxHashMap;

use crate::Agent;
use crate::explain::Field;
use crate::text::{Analyzer, Kind, Word, Words, features, key, kind_weight, sequence_key};

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
const PRIOR: f32 = 0.01;
/// Naive Bayes: what every agent is taken to have of all keys together.
const MASS: f32 = 200.0;

/// How strongly an agent holds a key.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Strength {
    /// Saturated, weighted mentions over all fields: BM25F's part that does not depend on other agents.
    pub(crate) lexical: f32,
    /// `ln(1 + count / PRIOR)` of the naive Bayes model.
    pub(crate) bayes: f32,
}

/// A text that speaks for the agent.
pub(crate) struct Document {
    pub(crate) features: Box<[u64]>,
    pub(crate) example: bool,
}

/// An analysed agent.
pub(crate) struct Profile {
    pub(crate) agent: Agent,
    /// Ascending by key, each key once.
    pub(crate) terms: Vec<(u64, Strength)>,
    /// Naive Bayes' penalty for having much text: `ln((mass + total) / mass)`.
    pub(crate) bulk: f32,
    pub(crate) documents: Vec<Document>,
    pub(crate) examples: usize,
    pub(crate) triggers: Vec<Trigger>,
    /// For each of them the first of its content that a task must have for it to be matched; 0 where none can.
    pub(crate) heads: Vec<u64>,
    /// How many of them have several words.
    pub(crate) phrases: usize,
    /// Content words of name, description and category.
    pub(crate) words: Vec<(u64, Field, String)>,
    /// Distinct words as written.
    pub(crate) spellings: Vec<String>,
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

/// A trigger, analysed.
pub(crate) struct Trigger {
    pub(crate) demand: Demand,
    pub(crate) text: String,
    /// All its words, in order.
    pub(crate) keys: Vec<u64>,
    /// Those that are not function words, or all when there are no others.
    pub(crate) content: Vec<u64>,
}

impl Trigger {
    fn head(&self) -> u64 {
        if self.demand == Demand::Forbidden { 0 } else { self.content.first().copied().unwrap_or(0) }
    }
}

impl Profile {
    pub(crate) fn new(agent: Agent, analyzer: &Analyzer) -> Self {
        let mut mentions: FxHashMap<u64, f32> = FxHashMap::default();
        let mut words = Vec::new();
        let mut spellings = Vec::new();
        let mut documents = Vec::new();
        let mut document = |found: &[Word], example| {
            if !found.is_empty() {
                documents.push(Document { features: features(found).into(), example });
            }
        };
        let mut mention = |found: &[Word], (boost, usual): (f32, f32)| {
            let length = found.iter().filter(|word| !word.function).count() as f32;
            let norm = 1.0 - LENGTH + LENGTH * length / usual;
            for word in found.iter().filter(|word| !word.function) {
                *mentions.entry(word.key).or_default() += boost / norm;
                for key in features(std::slice::from_ref(word)) {
                    if key != word.key && key & 7 != Kind::Surface as u64 {
                        *mentions.entry(key).or_default() += boost / norm;
                    }
                }
            }
        };
        let fields = [
            (Field::Name, &agent.name, NAME),
            (Field::Description, &agent.description, DESCRIPTION),
            (Field::Category, &agent.category, CATEGORY),
        ];
        for (field, text, weight) in fields {
            let found = analyzer.words(text);
            mention(&found, weight);
            spellings.extend(found.surfaces().map(str::to_owned));
            // How an author builds a sentence says nothing about how people will ask.
            let content: Vec<Word> = found.iter().copied().filter(|word| !word.function).collect();
            if field != Field::Category {
                document(&content, false);
            }
            words.extend(content.iter().map(|word| (word.key, field, found.surface(word).to_owned())));
        }
        let mut triggers = Vec::with_capacity(agent.triggers.len());
        let many = agent.triggers.len().min(MANY_TRIGGERS) as f32;
        let boost = TRIGGER.0 / (1.0 - TRIGGER_LENGTH + TRIGGER_LENGTH * many / TRIGGER.1);
        for text in &agent.triggers {
            let (trigger, found) = trigger(text, analyzer);
            if trigger.demand != Demand::Forbidden {
                mention(&found, (boost, 1.0));
                document(&found, false);
                spellings.extend(found.surfaces().map(str::to_owned));
            }
            triggers.push(trigger);
        }
        for text in &agent.examples {
            let found = analyzer.words(text);
            document(&found, true);
            spellings.extend(found.surfaces().map(str::to_owned));
        }
        let mut strengths: FxHashMap<u64, Strength> = mentions
            .into_iter()
            .map(|(key, sum)| {
                (key, Strength { lexical: sum * (SATURATION + 1.0) / (sum + SATURATION), bayes: 0.0 })
            })
            .collect();
        for trigger in &triggers {
            if trigger.keys.len() > 1 && trigger.demand != Demand::Forbidden {
                let key = sequence_key(Kind::Phrase, trigger.keys.iter().copied());
                strengths.entry(key).or_default().lexical = 1.0;
            }
        }
        let mut total = 0.0;
        for document in &documents {
            let norm = document.features.iter().map(|key| kind_weight(*key).powi(2)).sum::<f32>().sqrt();
            for key in &document.features {
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
        spellings.sort_unstable();
        spellings.dedup();
        Self {
            terms,
            bulk: (1.0 + total / MASS).ln(),
            examples: documents.iter().filter(|d| d.example).count(),
            documents,
            demanding: triggers.iter().any(|t| t.demand != Demand::Wanted),
            phrases: triggers.iter().filter(|trigger| trigger.keys.len() > 1).count(),
            heads: triggers.iter().map(Trigger::head).collect(),
            triggers,
            words,
            spellings,
            agent,
        }
    }

    /// Whether the agent has a key.
    pub(crate) fn holds(&self, key: u64) -> bool {
        self.strength(key).is_some()
    }

    /// How strongly the agent has a key.
    pub(crate) fn strength(&self, key: u64) -> Option<Strength> {
        let at = self.terms.binary_search_by_key(&key, |(key, _)| *key).ok()?;
        Some(self.terms[at].1)
    }

    /// The key under which the profile is found by its id.
    pub(crate) fn id_key(&self) -> u64 {
        key(Kind::Id, &self.agent.id)
    }
}

fn trigger(text: &str, analyzer: &Analyzer) -> (Trigger, Words) {
    let trimmed = text.trim();
    let (demand, body) = match trimmed.as_bytes().first() {
        Some(b'!') => (Demand::Forbidden, &trimmed[1..]),
        Some(b'+') => (Demand::Required, &trimmed[1..]),
        _ => (Demand::Wanted, trimmed),
    };
    let words = analyzer.words(body);
    let keys: Vec<u64> = words.iter().map(|w| w.key).collect();
    let content: Vec<u64> = words.iter().filter(|w| !w.function).map(|w| w.key).collect();
    let trigger = Trigger {
        demand,
        text: text.to_owned(),
        content: if content.is_empty() { keys.clone() } else { content },
        keys,
    };
    (trigger, words)
}
