//! A task, analysed among its candidates: words corrected, features listed, related words looked up.

use crate::Correction;
use crate::candidates::Candidates;
use crate::related::Related;
use crate::text::{Analyzer, Word, features};

/// How much of its worth a related word counts.
const RELATED: f32 = 0.45;

/// An analysed task.
pub(crate) struct Query {
    pub(crate) words: Vec<Word>,
    /// The stems of all words, in order.
    pub(crate) stems: Vec<u64>,
    /// The same, each once, in ascending order.
    sorted_stems: Vec<u64>,
    /// A bit for each of them, to see quickly that one is missing.
    stem_bits: u64,
    /// The stems of words that are neither function words nor unknown numbers, each once.
    pub(crate) content: Vec<u64>,
    /// Every key, each once.
    pub(crate) features: Vec<u64>,
    /// Stems related to some word, with how much of their worth counts.
    pub(crate) related: Vec<(u64, f32)>,
    pub(crate) corrections: Vec<Correction>,
    /// The stems of those words as corrected.
    pub(crate) corrected: Vec<u64>,
}

impl Query {
    pub(crate) fn new(task: &str, analyzer: &Analyzer, related: &Related, candidates: &Candidates) -> Self {
        let mut words = analyzer.words(task);
        let (mut corrections, mut corrected) = (Vec::new(), Vec::new());
        for word in &mut words {
            if word.function
                || candidates.knows(word.key)
                || candidates.knows(word.surface_key)
                || related.knows(word.key)
            {
                continue;
            }
            if let Some(better) = crate::spelling::correct(&word.surface, candidates) {
                corrections.push(Correction { from: word.surface.clone(), to: better.clone() });
                *word = analyzer.word(better);
                corrected.push(word.key);
            }
        }
        let stems: Vec<u64> = words.iter().map(|word| word.key).collect();
        let mut sorted_stems = stems.clone();
        sorted_stems.sort_unstable();
        sorted_stems.dedup();
        let stem_bits = sorted_stems.iter().fold(0, |bits, key| bits | bit(*key));
        // A number that nobody knows is a value to work with, not what the task is about.
        let says = |word: &&Word| {
            !word.function
                && (!word.surface.bytes().all(|b| b.is_ascii_digit()) || candidates.knows(word.key))
        };
        let mut content: Vec<u64> = words.iter().filter(says).map(|word| word.key).collect();
        content.sort_unstable();
        content.dedup();
        let mut more: Vec<(u64, f32)> = Vec::new();
        for key in &content {
            for other in related.of(*key) {
                if content.binary_search(other).is_err() && !more.iter().any(|(known, _)| known == other) {
                    more.push((*other, RELATED));
                }
            }
        }
        Self {
            features: features(&words),
            words,
            stems,
            sorted_stems,
            stem_bits,
            content,
            related: more,
            corrections,
            corrected,
        }
    }
}

impl Query {
    /// Whether the task has a word with this stem.
    pub(crate) fn has(&self, stem: u64) -> bool {
        self.stem_bits & bit(stem) != 0 && self.sorted_stems.binary_search(&stem).is_ok()
    }
}

fn bit(key: u64) -> u64 {
    1 << (key >> 58)
}
