//! From text to words: lower case, split, stem, and tell function words from those that mean something.
//!
//! Pure functions. Knows nothing of agents or scores.

use std::hash::Hasher;
use std::sync::Arc;

use frostem::Stemmer;
use rustc_hash::{FxHashMap, FxHasher};

use crate::Language;

/// What a key stands for: its lowest three bits. Keys of different kinds never meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An agent's id.
    Id = 0,
    /// A stem.
    Word = 1,
    /// A word as written.
    Surface = 2,
    /// Two stems side by side, function words included.
    Pair = 3,
    /// The first four letters of a word.
    Prefix4 = 4,
    /// The first five letters of a word.
    Prefix5 = 5,
    /// The stems of a whole trigger.
    Phrase = 6,
    /// A word with one letter left out.
    Gap = 7,
}

/// A 64-bit key for a text of a kind. The same on every machine and in every run.
pub(crate) fn key(kind: Kind, text: &str) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(text.as_bytes());
    hasher.finish() & !7 | kind as u64
}

/// The key of stems in a row.
pub(crate) fn sequence_key(kind: Kind, stems: impl Iterator<Item = u64>) -> u64 {
    let mut hasher = FxHasher::default();
    for stem in stems {
        hasher.write_u64(stem);
    }
    hasher.finish() & !7 | kind as u64
}

/// A word of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    /// As written, in lower case.
    pub(crate) surface: String,
    /// The key of that, of kind [`Kind::Surface`].
    pub(crate) surface_key: u64,
    /// The key of its stem, of kind [`Kind::Word`].
    pub(crate) key: u64,
    /// A function word: says how a sentence is built, not what it is about.
    pub(crate) function: bool,
}

/// Splits and stems text of one language.
#[derive(Clone)]
pub(crate) struct Analyzer {
    stemmer: Option<Stemmer>,
    function_words: &'static [&'static str],
    /// What was worked out before, by the key of the word: saves time and changes nothing.
    known: Arc<FxHashMap<u64, (u64, bool)>>,
}

impl Analyzer {
    pub(crate) fn new(language: Language) -> Self {
        Self {
            stemmer: language.algorithm().map(Stemmer::new),
            function_words: crate::function_words::of(language),
            known: Arc::default(),
        }
    }

    /// The same analyzer, with these words and all function words worked out.
    pub(crate) fn knowing<'a>(self, words: impl Iterator<Item = &'a str>) -> Self {
        let mut known = FxHashMap::default();
        for text in words.chain(self.function_words.iter().copied()) {
            let surface_key = key(Kind::Surface, text);
            known.entry(surface_key).or_insert_with(|| self.work_out(text));
        }
        Self { known: Arc::new(known), ..self }
    }

    /// The words of `text`, in order.
    pub(crate) fn words(&self, text: &str) -> Vec<Word> {
        let mut words = Vec::with_capacity(text.len() / 5 + 1);
        split(text, |surface| words.push(self.word(surface)));
        words
    }

    /// A word that is already in lower case.
    pub(crate) fn word(&self, surface: String) -> Word {
        let surface_key = key(Kind::Surface, &surface);
        let known = self.known.get(&surface_key).copied();
        let (key, function) = known.unwrap_or_else(|| self.work_out(&surface));
        Word { surface, surface_key, key, function }
    }

    /// The key of a word's stem, and whether it is a function word. Those are not stemmed.
    fn work_out(&self, surface: &str) -> (u64, bool) {
        let function = self.function_words.binary_search(&surface).is_ok();
        match self.stemmer {
            Some(stemmer) if !function => (key(Kind::Word, &stemmer.stem(surface)), false),
            _ => (key(Kind::Word, surface), function),
        }
    }
}

/// Everything that a text is compared by, each key once, in ascending order.
pub(crate) fn features(words: &[Word]) -> Vec<u64> {
    let mut out = Vec::with_capacity(words.len() * 5);
    for word in words {
        out.push(word.key);
        out.push(word.surface_key);
        for (count, kind) in [(4, Kind::Prefix4), (5, Kind::Prefix5)] {
            if let Some(prefix) = prefix(&word.surface, count) {
                out.push(key(kind, prefix));
            }
        }
    }
    for pair in words.windows(2) {
        out.push(sequence_key(Kind::Pair, pair.iter().map(|word| word.key)));
    }
    out.sort_unstable();
    out.dedup();
    out
}

/// How much a key counts beside the others, by its kind.
pub(crate) fn kind_weight(key: u64) -> f32 {
    const WEIGHTS: [f32; 8] = [0.0, 1.0, 1.0, 1.0, 0.5, 0.7, 0.0, 0.0];
    WEIGHTS[(key & 7) as usize]
}

fn prefix(text: &str, count: usize) -> Option<&str> {
    let (last, c) = text.char_indices().nth(count - 1)?;
    Some(&text[..last + c.len_utf8()])
}

/// Calls `each` with every word in lower case. `camelCase` is split, apostrophes are dropped, and
/// scripts written without spaces give overlapping pairs of characters.
fn split(text: &str, mut each: impl FnMut(String)) {
    let mut current = String::new();
    let mut before: Option<char> = None;
    let mut unspaced: Option<char> = None;
    let mut alone = false;
    let flush = |current: &mut String, each: &mut dyn FnMut(String)| {
        if !current.is_empty() {
            each(std::mem::take(current));
        }
    };
    for c in text.chars() {
        if c.is_ascii_lowercase() && unspaced.is_none() {
            current.push(c);
            before = Some(c);
            continue;
        }
        if is_unspaced(c) {
            flush(&mut current, &mut each);
            if let Some(first) = unspaced {
                each([first, c].iter().collect());
                alone = false;
            } else {
                alone = true;
            }
            unspaced = Some(c);
            before = None;
            continue;
        }
        if let Some(first) = unspaced.take()
            && alone
        {
            each(first.to_string());
        }
        if c.is_alphanumeric() || is_mark(c) {
            if c.is_uppercase() && before.is_some_and(char::is_lowercase) {
                flush(&mut current, &mut each);
            }
            current.extend(c.to_lowercase());
            before = Some(c);
        } else if is_apostrophe(c) && before.is_some() {
            before = Some(c);
        } else {
            flush(&mut current, &mut each);
            before = None;
        }
    }
    flush(&mut current, &mut each);
    if let Some(first) = unspaced
        && alone
    {
        each(first.to_string());
    }
}

fn is_apostrophe(c: char) -> bool {
    matches!(c, '\'' | '\u{2019}' | '\u{2bc}')
}

/// Combining marks, which belong to the letter before them.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{93a}'..='\u{94f}' | '\u{bbe}'..='\u{bcd}')
}

/// Scripts that put no spaces between words: Han, kana, Thai, Lao, Myanmar, Khmer.
fn is_unspaced(c: char) -> bool {
    matches!(c,
        '\u{0e00}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        | '\u{3040}'..='\u{30ff}' | '\u{31f0}'..='\u{31ff}' | '\u{3400}'..='\u{4dbf}'
        | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{ff66}'..='\u{ff9d}'
        | '\u{20000}'..='\u{323af}')
}
