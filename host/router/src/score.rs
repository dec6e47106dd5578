//! How well each candidate fits a task.
//!
//! Two models that know each agent alone are combined with statistics of the candidates at the time
//! of asking: BM25F (Robertson, Zaragoza, Taylor: Simple BM25 Extension to Multiple Weighted Fields, 2004)
//! over words, prefixes and phrases, and naive Bayes over every text of the agent. Agents with examples
//! are then judged by a linear model (see `model`). Nothing here is kept between tasks.

use crate::candidates::Candidates;
use crate::index::Posting;
use crate::profile::{Demand, Profile};
use crate::query::Query;
use crate::text::{Kind, kind_weight, sequence_key};
use crate::tune::t;

/// A candidate and what speaks for it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scored {
    pub(crate) slot: u32,
    /// What candidates are ranked by.
    pub(crate) score: f32,
    pub(crate) lexical: f32,
    pub(crate) bayes: f32,
    /// What the linear model says, where there is one: above zero for its own tasks.
    pub(crate) margin: Option<f32>,
}

/// What a key of the task is worth among the candidates.
#[derive(Clone, Copy)]
pub(crate) struct Worth {
    pub(crate) key: u64,
    /// Probabilistic inverse document frequency, above 0.
    pub(crate) idf: f32,
    /// The same, dampened, for the models that see function words: at least 1.
    pub(crate) dampened: f32,
    pub(crate) known: bool,
}

/// The best candidates, best first, and what the task's keys are worth.
pub(crate) struct Scores {
    pub(crate) best: Vec<Scored>,
    pub(crate) worths: Vec<Worth>,
    /// Euclidean length of the content words' worth.
    pub(crate) length: f32,
    /// The same for every feature.
    pub(crate) norm: f32,
    /// Share of the content words' worth that the best candidate holds, 0..=1.
    pub(crate) coverage: f32,
}

pub(crate) fn worth(candidates: &Candidates, key: u64) -> Worth {
    let with = candidates.count(key) as f32;
    let all = candidates.len() as f32;
    Worth {
        key,
        idf: (1.0 + (all - with + 0.5) / (with + 0.5)).ln(),
        dampened: (1.0 + (all / with.max(1.0)).ln()).sqrt(),
        known: with > 0.0,
    }
}

/// How much a kind of key adds to the lexical score.
pub(crate) fn lexical_weight(key: u64) -> f32 {
    match key & 7 {
        k if k == Kind::Word as u64 => 1.0,
        k if k == Kind::Prefix4 as u64 => t(9),
        k if k == Kind::Prefix5 as u64 => t(10),
        k if k == Kind::Phrase as u64 => t(11),
        _ => 0.0,
    }
}

/// Ranks the candidates for a task, keeping the `keep` best.
pub(crate) fn rank(query: &Query, candidates: &Candidates, keep: usize) -> Scores {
    let worths: Vec<Worth> = query.features.iter().map(|key| worth(candidates, *key)).collect();
    let mut lexical = vec![0.0f32; candidates.index.slots()];
    let mut bayes = vec![0.0f32; candidates.index.slots()];
    let mut touched = vec![false; candidates.index.slots()];
    let square = worths.iter().filter(|w| w.known).map(|w| (kind_weight(w.key) * w.dampened).powi(2)).sum::<f32>();
    let norm = square.sqrt().max(1e-6);
    let mut mass = 0.0;
    for worth in worths.iter().filter(|w| w.known) {
        let from_words = lexical_weight(worth.key) * worth.idf;
        let from_bayes = kind_weight(worth.key) * worth.dampened / norm;
        mass += from_bayes;
        candidates.each(worth.key, |posting: &Posting| {
            let slot = posting.slot as usize;
            lexical[slot] += from_words * posting.strength.lexical;
            bayes[slot] += from_bayes * posting.strength.bayes;
            touched[slot] = true;
        });
    }
    for (key, factor) in &query.related {
        let worth = worth(candidates, *key);
        if worth.known {
            candidates.each(*key, |posting: &Posting| {
                lexical[posting.slot as usize] += factor * worth.idf * posting.strength.lexical;
                touched[posting.slot as usize] = true;
            });
        }
    }
    for phrase in phrases(query) {
        let worth = worth(candidates, phrase);
        if worth.known {
            candidates.each(phrase, |posting: &Posting| {
                lexical[posting.slot as usize] += t(11) * worth.idf * posting.strength.lexical;
            });
        }
    }
    let length = query
        .content
        .iter()
        .map(|key| worth(candidates, *key).idf.powi(2))
        .sum::<f32>()
        .sqrt()
        .max(t(21));
    let mut best: Vec<Scored> = Vec::new();
    for (slot, _) in touched.iter().enumerate().filter(|(_, touched)| **touched) {
        let Some(profile) = candidates.index.profile(slot as u32) else { continue };
        let (lexical, bayes) = (lexical[slot] / length, bayes[slot] - mass * profile.bulk);
        let score = t(13) * lexical + t(12) * bayes;
        best.push(Scored { slot: slot as u32, score, lexical, bayes, margin: None });
    }
    sort(&mut best, candidates, keep);
    if candidates.has_examples() {
        for scored in &mut best {
            let margin = candidates.model(scored.slot).map(|model| {
                let sum: f32 = worths.iter().map(|w| model.weight(w.key) * kind_weight(w.key)).sum();
                model.bias + sum / norm
            });
            scored.margin = margin;
            scored.score += match margin {
                Some(margin) => (t(25) - t(12)) * scored.bayes + t(14) * margin,
                None => t(22) + t(23) * scored.lexical + t(24) * scored.bayes,
            };
        }
        sort(&mut best, candidates, keep);
    }
    best.retain(|scored| {
        candidates.index.profile(scored.slot).is_some_and(|profile| admits(profile, &query.stems))
    });
    let coverage = best.first().and_then(|s| candidates.index.profile(s.slot)).map_or(0.0, |p| coverage(query, p, candidates));
    Scores { best, worths, length, norm, coverage }
}

fn coverage(query: &Query, profile: &Profile, candidates: &Candidates) -> f32 {
    let (mut held, mut all) = (0.0, 0.0);
    for key in &query.content {
        let idf = worth(candidates, *key).idf;
        all += idf;
        if profile.terms.binary_search_by_key(key, |(key, _)| *key).is_ok() {
            held += idf;
        }
    }
    if all > 0.0 { held / all } else { 0.0 }
}

/// Best first, by id where equal; only the `keep` best and those whose triggers admit the task.
fn sort(best: &mut Vec<Scored>, candidates: &Candidates, keep: usize) {
    let id = |scored: &Scored| candidates.index.profile(scored.slot).map(|p| p.agent.id.as_str());
    let order = |a: &Scored, b: &Scored| b.score.total_cmp(&a.score).then_with(|| id(a).cmp(&id(b)));
    if best.len() > keep {
        best.select_nth_unstable_by(keep, order);
        best.truncate(keep);
    }
    best.sort_unstable_by(order);
}

/// Every run of two to five words, as the key of a trigger.
fn phrases(query: &Query) -> impl Iterator<Item = u64> {
    (2..=5).flat_map(move |size| {
        query
            .stems
            .windows(size)
            .map(|window| sequence_key(Kind::Phrase, window.iter().copied()))
    })
}

/// Whether `task` holds the words of `phrase` side by side.
pub(crate) fn holds(task: &[u64], phrase: &[u64]) -> bool {
    !phrase.is_empty() && task.windows(phrase.len()).any(|window| window == phrase)
}

fn admits(profile: &Profile, task: &[u64]) -> bool {
    !profile.demanding
        || profile.triggers.iter().all(|trigger| match trigger.demand {
            Demand::Wanted => true,
            Demand::Required => holds(task, &trigger.keys),
            Demand::Forbidden => !holds(task, &trigger.keys),
        })
}
