//! Words that mean nearly the same, so that a task and an author need not use the same one.
//!
//! A small table of everyday English, read once when a router is built. It knows nothing of agents.

use rustc_hash::FxHashMap;

use crate::Language;
use crate::text::Analyzer;

const ENGLISH: &str = include_str!("related_en.txt");

/// Stems by stem.
#[derive(Default)]
pub(crate) struct Related {
    groups: FxHashMap<u64, Vec<u64>>,
}

impl Related {
    pub(crate) fn new(language: Language, analyzer: &Analyzer) -> Self {
        let mut groups: FxHashMap<u64, Vec<u64>> = FxHashMap::default();
        let text = if language == Language::English { ENGLISH } else { "" };
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let stems: Vec<u64> = line.split_whitespace().map(|word| analyzer.stem(word)).collect();
            for stem in &stems {
                let list = groups.entry(*stem).or_default();
                for other in &stems {
                    if other != stem && !list.contains(other) {
                        list.push(*other);
                    }
                }
            }
        }
        Self { groups }
    }

    /// Stems that mean nearly the same as this one.
    pub(crate) fn of(&self, stem: u64) -> &[u64] {
        self.groups.get(&stem).map_or(&[], |list| list)
    }

    /// Whether the table has this stem: then it is no misspelling.
    pub(crate) fn knows(&self, stem: u64) -> bool {
        self.groups.contains_key(&stem)
    }
}

/// Every English word of the table.
pub(crate) fn words<'a>() -> impl Iterator<Item = &'a str> {
    ENGLISH.lines().filter(|line| !line.starts_with('#')).flat_map(str::split_whitespace)
}
