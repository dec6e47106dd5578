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

/// The key of two stems side by side.
pub(crate) fn pair_key(first: u64, second: u64) -> u64 {
    sequence_key(Kind::Pair, [first, second].into_iter())
}

/// What stands before the first word of a task and behind the last.
const BEGIN: u64 = 1;
const END: u64 = 2;

/// How many words are kept worked out at most.
const MOST_KNOWN: usize = 200_000;

/// A word of a text: what it is compared by. Its letters are in the [`Words`] it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Word {
    /// The key of the word as written, of kind [`Kind::Surface`].
    pub(crate) surface_key: u64,
    /// The key of its stem, of kind [`Kind::Word`].
    pub(crate) key: u64,
    /// The keys of its first four and five letters, where it has as many.
    pub(crate) prefixes: [Option<u64>; 2],
    /// A function word: says how a sentence is built, not what it is about.
    pub(crate) function: bool,
    start: u32,
    end: u32,
}

/// The words of a text, in order, and their letters side by side: two allocations however many there are.
#[derive(Default)]
pub(crate) struct Words {
    letters: String,
    list: Vec<Word>,
}

impl Words {
    /// A word as written, in lower case.
    pub(crate) fn surface(&self, word: &Word) -> &str {
        &self.letters[word.start as usize..word.end as usize]
    }

    /// Each word as written, in order.
    pub(crate) fn surfaces(&self) -> impl Iterator<Item = &str> {
        self.list.iter().map(|word| self.surface(word))
    }

    /// Puts another word, in lower case, in the place of one of them.
    pub(crate) fn replace(&mut self, at: usize, surface: &str, analyzer: &Analyzer) {
        self.list[at] = analyzer.word(surface, self.letters.len());
        self.letters.push_str(surface);
    }
}

impl std::ops::Deref for Words {
    type Target = [Word];

    fn deref(&self) -> &[Word] {
        &self.list
    }
}

/// Splits and stems text of one language.
#[derive(Clone)]
pub(crate) struct Analyzer {
    stemmer: Option<Stemmer>,
    function_words: &'static [&'static str],
    /// What was worked out before, by the key of the word: saves time and changes nothing. Where it has
    /// anything, it has every function word.
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

    /// The same analyzer, with these words and all function words worked out as well.
    pub(crate) fn knowing<'a>(mut self, words: impl Iterator<Item = &'a str>) -> Self {
        let functions = if self.known.is_empty() { self.function_words } else { &[] };
        let mut more: FxHashMap<u64, (u64, bool)> = FxHashMap::default();
        for text in words.chain(functions.iter().copied()) {
            let surface_key = key(Kind::Surface, text);
            if !self.known.contains_key(&surface_key) && self.known.len() + more.len() < MOST_KNOWN {
                more.entry(surface_key).or_insert_with(|| self.work_out(text));
            }
        }
        functions.iter().for_each(|text| {
            more.insert(key(Kind::Surface, text), self.work_out(text));
        });
        if !more.is_empty() {
            Arc::make_mut(&mut self.known).extend(more);
        }
        self
    }

    /// The words of `text`, in order.
    pub(crate) fn words(&self, text: &str) -> Words {
        let list = Vec::with_capacity(text.len() / 5 + 1);
        let mut words = Words { letters: String::with_capacity(text.len()), list };
        split(text, |surface| {
            words.list.push(self.word(surface, words.letters.len()));
            words.letters.push_str(surface);
        });
        words
    }

    /// The key of the stem of a word in lower case.
    pub(crate) fn stem(&self, surface: &str) -> u64 {
        self.work_out(surface).0
    }

    /// A word that is already in lower case, and where its letters start.
    fn word(&self, surface: &str, start: usize) -> Word {
        let surface_key = key(Kind::Surface, surface);
        let known = self.known.get(&surface_key).copied();
        let (stem, function) = known.unwrap_or_else(|| self.work_out(surface));
        let prefix = |count, kind| prefix(surface, count).map(|prefix| key(kind, prefix));
        Word {
            surface_key,
            key: stem,
            prefixes: [prefix(4, Kind::Prefix4), prefix(5, Kind::Prefix5)],
            function,
            start: start as u32,
            end: (start + surface.len()) as u32,
        }
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
        out.extend(word.prefixes.iter().flatten());
    }
    out.extend(words.windows(2).map(|pair| pair_key(pair[0].key, pair[1].key)));
    out.sort_unstable();
    out.dedup();
    out
}

/// The keys of how a task begins and ends: its first word and its last one.
pub(crate) fn edges(words: &[Word]) -> impl Iterator<Item = u64> {
    let first = words.first().map(|word| pair_key(BEGIN, word.key));
    first.into_iter().chain(words.last().map(|word| pair_key(word.key, END)))
}

/// How much a key counts beside the others, by its kind.
pub(crate) fn kind_weight(key: u64) -> f32 {
    const WEIGHTS: [f32; 8] = [0.0, 1.0, 1.0, 1.0, 0.5, 0.7, 0.0, 0.0];
    WEIGHTS[(key & 7) as usize]
}

fn prefix(text: &str, count: usize) -> Option<&str> {
    if text.is_ascii() {
        return text.get(..count);
    }
    let (last, c) = text.char_indices().nth(count - 1)?;
    Some(&text[..last + c.len_utf8()])
}

/// Calls `each` with every word in lower case. `camelCase` is split, apostrophes are dropped, and
/// scripts written without spaces give overlapping pairs of characters.
fn split(text: &str, mut each: impl FnMut(&str)) {
    let mut current = String::new();
    let mut before: Option<char> = None;
    let mut unspaced: Option<char> = None;
    let mut alone = false;
    for c in text.chars() {
        if c.is_ascii_lowercase() && unspaced.is_none() {
            current.push(c);
            before = Some(c);
            continue;
        }
        if c == ' ' && unspaced.is_none() {
            flush(&mut current, &mut each);
            before = None;
            continue;
        }
        if is_unspaced(c) {
            flush(&mut current, &mut each);
            if let Some(first) = unspaced {
                current.extend([first, c]);
                flush(&mut current, &mut each);
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
            each(first.encode_utf8(&mut [0; 4]));
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
        each(first.encode_utf8(&mut [0; 4]));
    }
}

/// Hands a word on and makes room for the next.
fn flush(current: &mut String, each: &mut impl FnMut(&str)) {
    if !current.is_empty() {
        each(current);
        current.clear();
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
