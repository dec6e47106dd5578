//! An agent, analysed: its weighted keys, and the short documents a model can learn from.
//!
//! Depends on that one agent alone, so that what others register never changes it.

use rustc_hash::FxHashMap;

use crate::Agent;
use crate::explain::Field;
use crate::text::{Analyzer, Kind, Word, features, key, kind_weight, sequence_key};
use crate::tune::t;

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
    /// Content words of name, description and category.
    pub(crate) words: Vec<(u64, Field, String)>,
    /// Distinct words as written that a typo may be corrected to.
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
        let mut mention = |found: &[Word], boost: f32, usual: f32| {
            let length = found.iter().filter(|word| !word.function).count() as f32;
            let norm = 1.0 - t(0) + t(0) * length / usual;
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
            (Field::Name, &agent.name, t(1), 3.0),
            (Field::Description, &agent.description, t(2), 12.0),
            (Field::Category, &agent.category, t(3), 3.0),
        ];
        for (field, text, boost, usual) in fields {
            let found = analyzer.words(text);
            mention(&found, boost, usual);
            if field != Field::Category {
                document(&found, false);
            }
            spellings.extend(found.iter().map(|word| word.surface.clone()));
            let content = found.into_iter().filter(|word| !word.function);
            words.extend(content.map(|word| (word.key, field, word.surface)));
        }
        let mut triggers = Vec::with_capacity(agent.triggers.len());
        let count = agent.triggers.len().max(1) as f32;
        for text in &agent.triggers {
            let (trigger, found) = trigger(text, analyzer);
            if trigger.demand != Demand::Forbidden {
                let boost = t(4) / (1.0 - t(5) + t(5) * count / 10.0);
                mention(&found, boost, 1.0);
                document(&found, false);
                spellings.extend(found.into_iter().map(|word| word.surface));
            }
            triggers.push(trigger);
        }
        for text in &agent.examples {
            let found = analyzer.words(text);
            document(&found, true);
            spellings.extend(found.into_iter().map(|word| word.surface));
        }
        let k1 = t(6);
        let mut strengths: FxHashMap<u64, Strength> = mentions
            .into_iter()
            .map(|(key, sum)| (key, Strength { lexical: sum * (k1 + 1.0) / (sum + k1), bayes: 0.0 }))
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
            strength.bayes = (1.0 + strength.bayes / t(7)).ln();
        }
        terms.sort_unstable_by_key(|(key, _)| *key);
        spellings.sort_unstable();
        spellings.dedup();
        spellings.retain(|word| word.chars().count() >= 4);
        Self {
            terms,
            bulk: (1.0 + total / t(8)).ln(),
            examples: documents.iter().filter(|d| d.example).count(),
            documents,
            demanding: triggers.iter().any(|t| t.demand != Demand::Wanted),
            triggers,
            words,
            spellings,
            agent,
        }
    }

    /// The key under which the profile is found by its id.
    pub(crate) fn id_key(&self) -> u64 {
        key(Kind::Id, &self.agent.id)
    }
}

fn trigger(text: &str, analyzer: &Analyzer) -> (Trigger, Vec<Word>) {
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
