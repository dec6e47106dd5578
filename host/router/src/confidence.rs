//! From scores to a confidence that means something.
//!
//! Logistic regression over how well the best candidate fits, how far it leads, how many of the task's words it
//! knows, how much text it has to fit with, and how small the fleet is. What examples taught tells agents from
//! each other: in a fleet of four it says little of whether any of them fits, so that words known count beside
//! it and a small fleet needs more of both. The coefficients were fitted on public routing tasks, in whole fleets
//! and in random ones of three to twenty agents, where most tasks have no right answer (Platt, Probabilistic
//! Outputs for Support Vector Machines, 1999).

use crate::query::Query;
use crate::score::{Scored, Scores};

/// Leads beyond this say nothing more.
const MOST_LEAD: f32 = 3.0;
/// How fast the confidence of those behind the best falls with their distance.
const DECAY: f32 = 1.5;

/// What rests on one corrected word alone gets no more than this, times its share of the task.
const GUESSED: f32 = 0.6;

/// Where two candidates lie closer than this, both speak, so that the confidence does not jump when they
/// change places.
const CLOSE: f32 = 0.05;

/// The confidence of each of the best candidates, 0..=1, never rising.
pub(crate) fn of(query: &Query<'_>, scores: &Scores<'_>, smallness: f32) -> Vec<f64> {
    let [best, rest @ ..] = scores.best.as_slice() else { return Vec::new() };
    let mut log_odds = log_odds_of(best, 0, query, scores, smallness);
    if let Some(next) = rest.first() {
        let share = 0.5 * (1.0 - (best.score - next.score) / CLOSE).max(0.0);
        if share > 0.0 {
            log_odds += share * (log_odds_of(next, 1, query, scores, smallness) - log_odds);
        }
    }
    let mut first = logistic(log_odds);
    if scores.guessed {
        first = first.min(f64::from(GUESSED * scores.coverage[0]));
    }
    let behind = |scored: &Scored| f64::from(-DECAY * (best.score - scored.score)).exp();
    scores.best.iter().map(|scored| first * behind(scored)).collect()
}

/// The log odds that the best candidate is right, were it the one at `place`.
fn log_odds_of(own: &Scored, place: usize, query: &Query<'_>, scores: &Scores<'_>, smallness: f32) -> f32 {
    let top = scores.best.first().map_or(0.0, |scored| scored.score);
    let lead_over = |place: usize| {
        let score = scores.best.get(place).map_or(0.0, |scored| scored.score);
        (top - score).clamp(0.0, MOST_LEAD)
    };
    let lead = lead_over(1);
    let relative = lead / top.max(0.3);
    let second_lead = if scores.best.len() > 2 { lead_over(2) } else { lead };
    let words = (1.0 + query.content.len() as f32).ln();
    let coverage = scores.coverage[place];
    let texts = scores.texts[place];
    match own.margin {
        None => {
            -3.029 + 0.822 * own.lexical + 0.088 * own.bayes - 0.320 * lead
                + 0.761 * relative
                + 0.337 * coverage
                + 0.530 * words
                + 0.543 * second_lead
                - 0.300 * texts
                - 0.250 * smallness
        }
        Some(margin) => {
            let others = scores.best.iter().filter(|other| other.agent != own.agent);
            let margin_lead = margin - others.filter_map(|other| other.margin).fold(-1.0, f32::max);
            let known = scores.known[place] as f32;
            -0.275 + 0.222 * own.lexical + 0.446 * lead - 0.497 * relative
                + 0.882 * known.min(2.0)
                + 0.459 * known.ln_1p()
                - 0.404 * words
                + 1.490 * margin
                + 0.725 * margin_lead
                + 0.112 * second_lead
                - 0.450 * texts
                - smallness * (2.199 - 2.242 * coverage)
        }
    }
}

fn logistic(log_odds: f32) -> f64 {
    1.0 / (1.0 + (-f64::from(log_odds)).exp())
}
