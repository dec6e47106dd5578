//! Why a decision came out as it did, in words a person can check. Plain data.

use serde::Serialize;

use crate::candidates::Candidates;
use crate::profile::{Demand, Profile};
use crate::query::Query;
use crate::score::{Scores, lexical_weight};
use crate::{Decision, Verdict};

/// The part of an agent's description that a word was found in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// Its name.
    Name,
    /// Its description.
    Description,
    /// Its triggers.
    Trigger,
    /// Its category.
    Category,
    /// Its example tasks.
    Example,
}

/// A decision with its reasons.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The decision that [`Router::decide`](crate::Router::decide) gives for the same task.
    pub decision: Decision,
    /// Words of the task that were taken for others.
    pub corrections: Vec<Correction>,
    /// Words of the task that no candidate knows.
    pub unknown: Vec<String>,
    /// The ranked candidates, best first.
    pub candidates: Vec<CandidateExplanation>,
    /// One sentence: why the winner won, or why nobody did.
    pub reason: String,
}

/// A misspelt word and what it was taken for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Correction {
    /// As the task has it.
    pub from: String,
    /// As some candidate has it.
    pub to: String,
}

/// What spoke for one candidate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CandidateExplanation {
    /// Its id.
    pub agent: String,
    /// Its confidence, 0..=1.
    pub confidence: f64,
    /// Its score; comparable within this decision only.
    pub score: f64,
    /// What the score is made of, largest first.
    pub evidence: Vec<Evidence>,
}

/// One reason for (or, below zero, against) a candidate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evidence {
    /// The word or phrase, as the task has it.
    pub text: String,
    /// Where the agent has it.
    pub fields: Vec<Field>,
    /// What it adds to the score.
    pub weight: f64,
}

/// What of an agent's own words the task has, as written: triggers, then words of name and description.
pub(crate) fn keywords(profile: &Profile, task: &[u64]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for trigger in &profile.triggers {
        let present = !trigger.keys.is_empty() && trigger.content.iter().all(|key| task.contains(key));
        if present && trigger.demand != Demand::Forbidden {
            out.push(trigger.text.clone());
        }
    }
    for (key, field, text) in &profile.words {
        if *field != Field::Category && task.contains(key) && !out.contains(text) {
            out.push(text.clone());
        }
    }
    out
}

pub(crate) fn explain(decision: Decision, query: &Query, scores: &Scores, candidates: &Candidates) -> Explanation {
    let mut explained = Vec::new();
    for (scored, choice) in scores.best.iter().zip(&decision.ranked) {
        let Some(profile) = candidates.index.profile(scored.slot) else { continue };
        let mut evidence = Vec::new();
        for word in query.words.iter().filter(|word| !word.function) {
            let fields = fields_of(profile, word.key);
            let Ok(at) = profile.terms.binary_search_by_key(&word.key, |(key, _)| *key) else { continue };
            let worth = crate::score::worth(candidates, word.key);
            let weight = lexical_weight(word.key) * worth.idf * profile.terms[at].1.lexical / scores.length;
            evidence.push(Evidence { text: word.surface.clone(), fields, weight: f64::from(weight) });
        }
        evidence.sort_by(|a, b| b.weight.total_cmp(&a.weight));
        explained.push(CandidateExplanation {
            agent: choice.agent.clone(),
            confidence: choice.confidence,
            score: f64::from(scored.score),
            evidence,
        });
    }
    let reason = match decision.verdict {
        Verdict::Routed => "the best candidate is clearly ahead".to_owned(),
        Verdict::Ambiguous => "the two best candidates are too close to call".to_owned(),
        Verdict::NoMatch => "no candidate is likely enough".to_owned(),
    };
    Explanation {
        decision,
        corrections: query.corrections.clone(),
        unknown: Vec::new(),
        candidates: explained,
        reason,
    }
}

fn fields_of(profile: &Profile, key: u64) -> Vec<Field> {
    let mut out: Vec<Field> = Vec::new();
    for (word, field, _) in &profile.words {
        if *word == key && !out.contains(field) {
            out.push(*field);
        }
    }
    if profile.triggers.iter().any(|trigger| trigger.content.contains(&key)) {
        out.push(Field::Trigger);
    }
    out
}
