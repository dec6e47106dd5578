//! How well each candidate fits a task.
//!
//! Two models that know each agent alone meet the statistics of the candidates at the time of asking: BM25F
//! (Robertson, Zaragoza, Taylor: Simple BM25 Extension to Multiple Weighted Fields, 2004) over words,
//! prefixes and phrases, and naive Bayes over every text of the agent. The best of them are then judged by
//! what their examples taught (see `model`). Nothing here is kept between tasks.

use std::cmp::Ordering;

use crate::candidates::{Candidates, Rarity};
use crate::index::{Posting, Postings, Row, strength_of};
use crate::model::Model;
use crate::profile::{Demand, Profile};
use crate::query::Query;
use crate::text::{Kind, kind_weight, sequence_key};

/// What naive Bayes counts beside the words' score: for agents without examples, and what that gains where
/// all triggers are phrases, which read like tasks.
const BAYES: f32 = 0.06;
const SPOKEN: f32 = 0.2;
/// The same for agents with examples.
const TAUGHT_BAYES: f32 = 0.4;
/// What the linear model's margin counts.
const MARGIN: f32 = 3.0;
/// The score of agents without examples among others that have some, so that having none is no handicap: a
/// constant, and factors of the words' score and of naive Bayes.
const UNTAUGHT: (f32, f32, f32) = (-0.6, 1.9, 0.4);
/// How many of the best cards with examples their linear models judge, at least.
const JUDGED: usize = 10;
/// What a phrase and the first letters of a word count beside a whole word.
const PHRASE: f32 = 0.5;
const PREFIX4: f32 = 0.15;
const PREFIX5: f32 = 0.3;
/// A task is not taken to say less than this, so that one common word is no certainty.
const LEAST_LENGTH: f32 = 3.0;
/// The longest trigger, in words, that counts as a phrase.
const LONGEST_PHRASE: usize = 5;

/// A candidate and what speaks for it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Scored {
    /// Where the card lies.
    pub(crate) card: u32,
    /// Where an agent that has it lies.
    pub(crate) agent: u32,
    /// What candidates are ranked by.
    pub(crate) score: f32,
    pub(crate) lexical: f32,
    pub(crate) bayes: f32,
    /// What the linear model says, where there is one: above zero for its own tasks.
    pub(crate) margin: Option<f32>,
}

/// What a key of the task is worth among the candidates.
#[derive(Clone, Copy)]
pub(crate) struct Worth<'a> {
    pub(crate) key: u64,
    /// How many candidates hold it.
    pub(crate) holders: usize,
    /// Probabilistic inverse document frequency, above 0.
    pub(crate) idf: f32,
    /// The same, dampened, for the models that see function words: at least 1.
    pub(crate) dampened: f32,
    /// Who holds it, candidate or not.
    postings: &'a [Posting],
    /// The same as a row, where there is one.
    row: Option<&'a Row>,
}

impl<'a> Worth<'a> {
    pub(crate) fn of(key: u64, candidates: &'a Candidates) -> Self {
        Self::held(key, candidates.index.postings(key), candidates)
    }

    fn held(key: u64, postings: Option<&'a Postings>, candidates: &Candidates) -> Self {
        let (postings, row) = postings.map_or((&[][..], None), |held| (held.list(), held.row()));
        let holders = candidates.count_of(postings);
        let Rarity { idf, dampened } = candidates.rarity(holders);
        Self { key, holders, idf, dampened, postings, row }
    }
}

/// The best candidates, best first, and what the task's keys are worth.
#[derive(Default)]
pub(crate) struct Scores<'a> {
    pub(crate) best: Vec<Scored>,
    /// Of the keys of the task that some candidate holds, ascending.
    pub(crate) worths: Vec<Worth<'a>>,
    /// Euclidean length of the content words' worth, by which the words' score is divided.
    pub(crate) length: f32,
    /// Share of the content words' worth that the best candidate and the next one hold, 0..=1.
    pub(crate) coverage: [f32; 2],
    /// How many of the content words they hold.
    pub(crate) known: [usize; 2],
    /// How much text they have: `ln(1 + documents)`.
    pub(crate) texts: [f32; 2],
    /// Whether the only content word that the best candidate holds is a corrected one.
    pub(crate) guessed: bool,
}

impl<'a> Scores<'a> {
    /// What one of the task's features is worth.
    pub(crate) fn worth(&self, key: u64) -> Option<&Worth<'a>> {
        find(&self.worths, key)
    }
}

fn find<'w, 'a>(worths: &'w [Worth<'a>], key: u64) -> Option<&'w Worth<'a>> {
    worths.binary_search_by_key(&key, |worth| worth.key).ok().map(|at| &worths[at])
}

/// How much a kind of key adds to the words' score.
pub(crate) fn lexical_weight(key: u64) -> f32 {
    match key & 7 {
        kind if kind == Kind::Word as u64 => 1.0,
        kind if kind == Kind::Prefix4 as u64 => PREFIX4,
        kind if kind == Kind::Prefix5 as u64 => PREFIX5,
        kind if kind == Kind::Phrase as u64 => PHRASE,
        _ => 0.0,
    }
}

/// Whether what is not learned of a card yet may be learned now, which takes some milliseconds each.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Learning {
    Allowed,
    No,
}

/// Ranks the candidates for a task, keeping the `keep` best. `None` where something would have to be learned
/// and may not.
pub(crate) fn rank<'a>(
    query: &Query<'a>,
    candidates: &'a Candidates,
    keep: usize,
    learning: Learning,
) -> Option<Scores<'a>> {
    let mut worths: Vec<Worth<'a>> = Vec::with_capacity(query.held.len());
    let held = query.held.iter().map(|(key, postings)| Worth::held(*key, Some(postings), candidates));
    worths.extend(held.filter(|worth| worth.holders > 0));
    let norm = worths.iter().map(|w| (kind_weight(w.key) * w.dampened).powi(2)).sum::<f32>().sqrt().max(1e-6);
    // Both ascend, so one walk finds them all.
    let mut rest = worths.as_slice();
    let mut worth_of = |key: u64| {
        while rest.first().is_some_and(|worth| worth.key < key) {
            rest = &rest[1..];
        }
        let found = rest.first().filter(|worth| worth.key == key).copied();
        found.unwrap_or_else(|| Worth::held(key, None, candidates))
    };
    let content: Vec<Worth<'_>> = query.content.iter().map(|key| worth_of(*key)).collect();
    let length = content.iter().map(|w| w.idf.powi(2)).sum::<f32>().sqrt().max(LEAST_LENGTH);

    let mut sums = Sums::new(candidates);
    let mut mass = 0.0;
    for worth in &worths {
        let from_words = lexical_weight(worth.key) * worth.idf / length;
        let from_bayes = kind_weight(worth.key) * worth.dampened / norm;
        mass += from_bayes;
        sums.add(worth, from_words, from_bayes);
    }
    let phrases = phrases(query).map(|key| (key, PHRASE));
    for (key, factor) in query.related.iter().copied().chain(phrases) {
        let worth = Worth::of(key, candidates);
        if worth.holders > 0 {
            sums.add(&worth, factor * worth.idf / length, 0.0);
        }
    }

    let of_bayes = BAYES + SPOKEN * candidates.spoken();
    let mut taught = Best::new(keep.max(JUDGED), candidates);
    let mut others = Best::new(keep, candidates);
    let all = sums.lexical.iter().zip(&sums.bayes).zip(candidates.index.traits()).enumerate();
    let some = all.filter(|(_, ((lexical, bayes), _))| **lexical > 0.0 || **bayes > 0.0);
    for (card, ((lexical, bayes), traits)) in some.map(|(card, sums)| (card as u32, sums)) {
        let (lexical, bayes) = (*lexical, bayes - mass * traits.bulk);
        let (best, score) = match (traits.taught, candidates.has_examples()) {
            (true, _) => (&mut taught, lexical + TAUGHT_BAYES * bayes),
            (false, true) => (&mut others, UNTAUGHT.0 + UNTAUGHT.1 * lexical + UNTAUGHT.2 * bayes),
            (false, false) => (&mut others, lexical + of_bayes * bayes),
        };
        if score < best.least || !candidates.has(card) {
            continue;
        }
        if traits.demanding && !candidates.index.profile(card).is_some_and(|p| admits(p, &query.stems)) {
            continue;
        }
        best.push(Scored { card, agent: 0, score, lexical, bayes, margin: None });
    }
    let mut best = taught.finish();
    if learning == Learning::No && !best.iter().all(|scored| candidates.has_learned(scored.card)) {
        return None;
    }
    judge(&mut best, candidates, &worths, norm);
    best.append(&mut others.finish());
    sort(&mut best, candidates, keep);
    let best = agents_of(&best, candidates, keep);
    let all: f32 = content.iter().map(|worth| worth.idf).sum();
    let (mut coverage, mut known, mut texts, mut guessed) = ([0.0; 2], [0; 2], [0.0; 2], false);
    for (place, scored) in best.iter().take(2).enumerate() {
        let (mut held, mut words, mut corrected) = (0.0, 0, 0);
        let held_by = |worth: &&Worth<'_>| strength_of(worth.postings, scored.card).is_some();
        for worth in content.iter().filter(held_by) {
            held += worth.idf;
            words += 1;
            corrected += usize::from(query.corrected.contains(&worth.key));
        }
        coverage[place] = held / all.max(1e-6);
        known[place] = words;
        let documents = candidates.index.profile(scored.card).map_or(0, |profile| profile.documents().len());
        texts[place] = (1.0 + documents as f32).ln();
        guessed |= place == 0 && words == 1 && corrected == 1;
    }
    Some(Scores { best, worths, length, coverage, known, texts, guessed })
}

/// What each card adds up to, candidate or not.
struct Sums<'a> {
    candidates: &'a Candidates,
    lexical: Vec<f32>,
    bayes: Vec<f32>,
}

impl<'a> Sums<'a> {
    fn new(candidates: &'a Candidates) -> Self {
        let cards = candidates.index.traits().len();
        Self { candidates, lexical: vec![0.0; cards], bayes: vec![0.0; cards] }
    }

    /// Adds so much of what each card has of a key.
    fn add(&mut self, worth: &Worth<'_>, from_words: f32, from_bayes: f32) {
        if let Some(row) = worth.row {
            if from_words > 0.0 {
                add_row(&mut self.lexical, &row.lexical, from_words);
            }
            if from_bayes > 0.0 {
                add_row(&mut self.bayes, &row.bayes, from_bayes);
            }
            return;
        }
        let (lexical, bayes) = (&mut self.lexical, &mut self.bayes);
        self.candidates.each_of(worth.postings, |posting| {
            lexical[posting.card as usize] += from_words * posting.strength.lexical;
            bayes[posting.card as usize] += from_bayes * posting.strength.bayes;
        });
    }
}

fn add_row(sums: &mut [f32], row: &[f32], factor: f32) {
    sums.iter_mut().zip(row).for_each(|(sum, strength)| *sum += factor * strength);
}

/// Adds what the examples taught.
fn judge(best: &mut [Scored], candidates: &Candidates, worths: &[Worth<'_>], norm: f32) {
    let counts: Vec<(u64, f32)> =
        worths.iter().map(|worth| (worth.key, kind_weight(worth.key) * worth.dampened / norm)).collect();
    let models: Vec<Option<(&Model, &Profile)>> = best
        .iter_mut()
        .map(|scored| {
            let model = candidates.model(scored.card)?;
            scored.margin = Some(model.bias);
            Some((model, &**candidates.index.profile(scored.card)?))
        })
        .collect();
    for (scored, model) in best.iter_mut().zip(&models) {
        if let (Some((model, profile)), Some(margin)) = (model, &mut scored.margin) {
            for (key, count) in &counts {
                *margin += count * model.weight(profile, *key);
            }
        }
    }
    for scored in best {
        scored.score += MARGIN * scored.margin.unwrap_or_default();
    }
}

/// The best of many, found without ever sorting them all.
struct Best<'a> {
    candidates: &'a Candidates,
    keep: usize,
    list: Vec<Scored>,
    /// What has less is not among them.
    least: f32,
}

impl<'a> Best<'a> {
    fn new(keep: usize, candidates: &'a Candidates) -> Self {
        Self { candidates, keep, list: Vec::new(), least: f32::NEG_INFINITY }
    }

    fn push(&mut self, scored: Scored) {
        self.list.push(scored);
        if self.list.len() == 8 * self.keep {
            cut(&mut self.list, self.candidates, self.keep);
            self.least = self.list[self.keep - 1].score;
        }
    }

    fn finish(mut self) -> Vec<Scored> {
        cut(&mut self.list, self.candidates, self.keep);
        self.list
    }
}

/// Best first, by the first id of those that have it where equal; only the `keep` best.
fn sort(best: &mut Vec<Scored>, candidates: &Candidates, keep: usize) {
    cut(best, candidates, keep);
    best.sort_unstable_by(|a, b| order(a, b, candidates));
}

/// The `keep` best, of which the last is the least.
fn cut(best: &mut Vec<Scored>, candidates: &Candidates, keep: usize) {
    if best.len() > keep {
        best.select_nth_unstable_by(keep - 1, |a, b| order(a, b, candidates));
        best.truncate(keep);
    }
}

fn order(a: &Scored, b: &Scored, candidates: &Candidates) -> Ordering {
    let id = |scored: &Scored| candidates.first_id(scored.card);
    b.score.total_cmp(&a.score).then_with(|| id(a).cmp(id(b)))
}

/// The agents that have these cards, best first, by id where equal; only the `keep` best.
fn agents_of(cards: &[Scored], candidates: &Candidates, keep: usize) -> Vec<Scored> {
    let each = cards.iter().flat_map(|scored| {
        let agents = candidates.agents(scored.card).iter().take(keep);
        agents.map(|agent| Scored { agent: *agent, ..*scored })
    });
    let mut agents: Vec<Scored> = each.collect();
    if candidates.shares() {
        let id = |scored: &Scored| candidates.index.roster().id(scored.agent);
        agents.sort_by(|a, b| b.score.total_cmp(&a.score).then_with(|| id(a).cmp(id(b))));
        agents.truncate(keep);
    }
    agents
}

/// Every run of two to five words that may be a trigger, as its key. Where no candidate has the first two
/// words side by side, none has the run.
fn phrases(query: &Query<'_>) -> impl Iterator<Item = u64> {
    query.pairs.iter().flat_map(|at| {
        let rest = &query.stems[*at..];
        (2..=LONGEST_PHRASE.min(rest.len()))
            .map(|size| sequence_key(Kind::Phrase, rest[..size].iter().copied()))
    })
}

/// Whether no required trigger is missing and no forbidden one present.
fn admits(profile: &Profile, task: &[u64]) -> bool {
    let present =
        |phrase: &[u64]| !phrase.is_empty() && task.windows(phrase.len()).any(|window| window == phrase);
    profile.triggers.iter().all(|trigger| match trigger.demand {
        Demand::Wanted => true,
        Demand::Required => present(profile.stems(trigger)),
        Demand::Forbidden => !present(profile.stems(trigger)),
    })
}
