//! A task, analysed among its candidates: words corrected, features listed, related words looked up.

use crate::Correction;
use crate::candidates::Candidates;
use crate::index::Postings;
use crate::related::Related;
use crate::text::{Analyzer, Word, Words, edges, pair_key};

/// How much of its worth a related word counts.
const RELATED: f32 = 0.45;

/// An analysed task.
pub(crate) struct Query<'a> {
    pub(crate) words: Words,
    /// The stems of all words, in order.
    pub(crate) stems: Vec<u64>,
    /// The same, each once, in ascending order.
    sorted_stems: Vec<u64>,
    /// A bit for each of them, to see quickly that one is missing.
    stem_bits: [u64; 16],
    /// The stems of words that are neither function words nor unknown numbers, each once.
    pub(crate) content: Vec<u64>,
    /// Every key that some agent has, each once, ascending, and who has it.
    pub(crate) held: Vec<(u64, &'a Postings)>,
    /// Where two words stand that some agent has side by side.
    pub(crate) pairs: Vec<usize>,
    /// Stems related to some word, with how much of their worth counts.
    pub(crate) related: Vec<(u64, f32)>,
    pub(crate) corrections: Vec<Correction>,
    /// The stems of those words as corrected.
    pub(crate) corrected: Vec<u64>,
}

impl<'a> Query<'a> {
    pub(crate) fn new(
        task: &str,
        analyzer: &Analyzer,
        related: &Related,
        candidates: &'a Candidates,
    ) -> Self {
        let mut words = analyzer.words(task);
        let (mut corrections, mut corrected) = (Vec::new(), Vec::new());
        let mut held: Vec<(u64, &'a Postings)> = Vec::with_capacity(words.len() * 3);
        let hold = |key: u64, held: &mut Vec<(u64, &'a Postings)>| {
            let Some(postings) = candidates.index.postings(key) else { return false };
            held.push((key, postings));
            candidates.some_of(postings.list())
        };
        for at in 0..words.len() {
            let word = words[at];
            let known = hold(word.key, &mut held) | hold(word.surface_key, &mut held);
            if !known
                && !word.function
                && !related.knows(word.key)
                && let Some(better) = crate::spelling::correct(words.surface(&word), candidates)
            {
                let from = words.surface(&word).to_owned();
                corrections.push(Correction { from, to: better.to_owned() });
                words.replace(at, better, analyzer);
                corrected.push(words[at].key);
                hold(words[at].key, &mut held);
                hold(words[at].surface_key, &mut held);
            }
            for prefix in words[at].prefixes.into_iter().flatten() {
                hold(prefix, &mut held);
            }
        }
        let stems: Vec<u64> = words.iter().map(|word| word.key).collect();
        let mut pairs = Vec::new();
        for (at, pair) in stems.windows(2).enumerate() {
            if hold(pair_key(pair[0], pair[1]), &mut held) {
                pairs.push(at);
            }
        }
        for edge in edges(&words) {
            hold(edge, &mut held);
        }
        held.sort_unstable_by_key(|(key, _)| *key);
        held.dedup_by_key(|(key, _)| *key);
        let mut sorted_stems = stems.clone();
        sorted_stems.sort_unstable();
        sorted_stems.dedup();
        let mut stem_bits = [0; 16];
        for stem in &sorted_stems {
            let (word, bit) = bit(*stem);
            stem_bits[word] |= bit;
        }
        // A number that nobody knows is a value to work with, not what the task is about.
        let says = |word: &&Word| {
            !word.function
                && (!words.surface(word).bytes().all(|b| b.is_ascii_digit()) || candidates.knows(word.key))
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
            held,
            pairs,
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

impl Query<'_> {
    /// Whether the task has a word with this stem.
    pub(crate) fn has(&self, stem: u64) -> bool {
        let (word, bit) = bit(stem);
        self.stem_bits[word] & bit != 0 && self.sorted_stems.binary_search(&stem).is_ok()
    }
}

fn bit(key: u64) -> (usize, u64) {
    ((key >> 60) as usize, 1 << (key >> 54 & 63))
}
