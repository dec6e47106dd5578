//! Why a decision came out as it did, in words a person can check. Plain data.

use serde::Serialize;

use crate::agent::shown_id;
use crate::candidates::Candidates;
use crate::profile::Profile;
use crate::query::Query;
use crate::score::{Scores, Worth, lexical_weight};
use crate::text::features;
use crate::{Decision, Settings, Verdict};

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
    /// The decision that [`Router::decide`](crate::Router::decide) gives for the same task, its agents named as
    /// they are shown: see [`Agent::id`](crate::Agent::id).
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
    /// Its id, as it is shown.
    pub agent: String,
    /// Its confidence, 0..=1.
    pub confidence: f64,
    /// What it was ranked by; comparable within this decision only.
    pub score: f64,
    /// The part of the score that words, prefixes, phrases and related words make (BM25F).
    pub words: f64,
    /// How well the task reads like all of the agent's texts (naive Bayes); its sign says nothing by itself.
    pub texts: f64,
    /// How clearly the agent's examples say yes (above 0) or no (below 0); none for an agent without examples.
    pub learned: Option<f64>,
    /// What `words` is made of, largest first.
    pub evidence: Vec<Evidence>,
}

/// One reason for a candidate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evidence {
    /// The word or phrase, as the task has it.
    pub text: String,
    /// Where the agent has it.
    pub fields: Vec<Field>,
    /// What it adds to `words`.
    pub weight: f64,
    /// The agent's word, where the task has only one that is related to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub through: Option<String>,
}

/// What of an agent's own words the task has, as written: triggers, then words of name and description.
pub(crate) fn keywords(profile: &Profile, query: &Query<'_>) -> Vec<String> {
    let has = |key: &u64| query.has(*key);
    let mut out: Vec<String> = Vec::new();
    for (at, head) in profile.heads.iter().enumerate() {
        if has(head) && profile.content(&profile.triggers[at]).iter().all(has) {
            out.push(profile.texts.trigger(at).to_owned());
        }
    }
    for (said, text) in profile.said() {
        if said.field != Field::Category && has(&said.key) && !out.iter().any(|known| known == text) {
            out.push(text.to_owned());
        }
    }
    out
}

pub(crate) fn explain(
    mut decision: Decision,
    query: &Query<'_>,
    scores: &Scores<'_>,
    candidates: &Candidates,
    settings: &Settings,
) -> Explanation {
    for choice in &mut decision.ranked {
        choice.agent = shown_id(&choice.agent).to_owned();
    }
    let mut explained = Vec::new();
    for (scored, choice) in scores.best.iter().zip(&decision.ranked) {
        let Some(profile) = candidates.index.profile(scored.card) else { continue };
        explained.push(CandidateExplanation {
            agent: choice.agent.clone(),
            confidence: choice.confidence,
            score: f64::from(scored.score),
            words: f64::from(scored.lexical),
            texts: f64::from(scored.bayes),
            learned: scored.margin.map(f64::from),
            evidence: evidence(scored.card, profile, query, scores, candidates),
        });
    }
    let unknown = query.words.iter().filter(|word| !word.function && scores.worth(word.key).is_none());
    let mut unknown: Vec<String> = unknown.map(|word| query.words.surface(word).to_owned()).collect();
    unknown.dedup();
    Explanation {
        reason: reason(&decision, &explained, settings),
        decision,
        corrections: query.corrections.clone(),
        unknown,
        candidates: explained,
    }
}

/// Which words of the task the agent has, and words related to them, by what they add to the words' score.
fn evidence(
    card: u32,
    profile: &Profile,
    query: &Query<'_>,
    scores: &Scores<'_>,
    candidates: &Candidates,
) -> Vec<Evidence> {
    let mut out: Vec<Evidence> = Vec::new();
    for word in query.words.iter().filter(|word| !word.function) {
        let text = query.words.surface(word);
        if out.iter().any(|known| known.text == text) {
            continue;
        }
        let mut weight = 0.0;
        for key in features(std::slice::from_ref(word)) {
            if let (Some(strength), Some(worth)) = (candidates.index.strength(key, card), scores.worth(key)) {
                weight += lexical_weight(key) * worth.idf * strength.lexical / scores.length;
            }
        }
        if weight > 0.0 {
            let fields = fields_of(profile, word.key);
            out.push(Evidence { text: text.to_owned(), fields, weight: f64::from(weight), through: None });
        }
    }
    for (key, factor) in &query.related {
        let Some(strength) = candidates.index.strength(*key, card) else { continue };
        let weight = factor * Worth::of(*key, candidates).idf * strength.lexical / scores.length;
        let said = profile.said().find(|(said, _)| said.key == *key).map(|(_, text)| text);
        let trigger = || {
            let at = profile.triggers.iter().position(|t| profile.content(t).contains(key))?;
            Some(profile.texts.trigger(at))
        };
        let Some(text) = said.or_else(trigger).map(str::to_owned) else { continue };
        let fields = fields_of(profile, *key);
        out.push(Evidence { text: text.clone(), fields, weight: f64::from(weight), through: Some(text) });
    }
    out.sort_by(|a, b| b.weight.total_cmp(&a.weight));
    out
}

fn fields_of(profile: &Profile, key: u64) -> Vec<Field> {
    let mut out: Vec<Field> = Vec::new();
    for (said, _) in profile.said() {
        if said.key == key && !out.contains(&said.field) {
            out.push(said.field);
        }
    }
    if profile.triggers.iter().any(|trigger| profile.content(trigger).contains(&key)) {
        out.push(Field::Trigger);
    }
    if let Some(place) = profile.place(key) {
        let mut examples = profile.documents().iter().filter(|(_, example)| *example);
        if examples.any(|(places, _)| places.binary_search(&(place as u32)).is_ok()) {
            out.push(Field::Example);
        }
    }
    out
}

fn reason(decision: &Decision, explained: &[CandidateExplanation], settings: &Settings) -> String {
    let Some(best) = explained.first() else {
        return "no candidate has any word of the task".to_owned();
    };
    let words: Vec<String> = best.evidence.iter().take(3).map(|word| format!("`{}`", word.text)).collect();
    let because = match (words.is_empty(), best.learned.is_some_and(|margin| margin > 0.0)) {
        (false, true) => format!("it has {}, and its examples read like this task", words.join(", ")),
        (false, false) => format!("it has {}", words.join(", ")),
        (true, true) => "its examples read like this task".to_owned(),
        (true, false) => "nothing but the turn of phrase speaks for it".to_owned(),
    };
    match decision.verdict {
        Verdict::Routed => format!("`{}` won with {:.2}: {because}", best.agent, best.confidence),
        Verdict::Ambiguous => {
            let next = explained.get(1).map_or("", |next| &next.agent);
            format!("`{}` and `{next}` are within {} of each other", best.agent, settings.margin)
        }
        Verdict::NoMatch => format!(
            "the best, `{}`, has {:.2}, below the threshold of {}: {because}",
            best.agent, best.confidence, settings.threshold
        ),
    }
}
