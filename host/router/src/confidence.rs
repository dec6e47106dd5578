//! From scores to a confidence that means something.
//!
//! Logistic regression over what does not depend on how many agents there are: how well the best candidate
//! fits, how far it leads, how much of the task it accounts for, and how much text it has to fit with. The
//! coefficients were fitted on public routing tasks, those without a right answer weighing as much as the
//! others, and then scaled, for agents without and with examples each, so that fleets of five to thousands
//! agree with the share of right answers at one threshold (Platt, Probabilistic Outputs for Support Vector
//! Machines, 1999).

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
pub(crate) fn of(query: &Query<'_>, scores: &Scores<'_>) -> Vec<f64> {
    let [best, rest @ ..] = scores.best.as_slice() else { return Vec::new() };
    let mut log_odds = log_odds_of(best, 0, query, scores);
    if let Some(next) = rest.first() {
        let share = 0.5 * (1.0 - (best.score - next.score) / CLOSE).max(0.0);
        if share > 0.0 {
            log_odds += share * (log_odds_of(next, 1, query, scores) - log_odds);
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
fn log_odds_of(own: &Scored, place: usize, query: &Query<'_>, scores: &Scores<'_>) -> f32 {
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
            -3.059 + 0.822 * own.lexical + 0.088 * own.bayes - 0.320 * lead
                + 0.761 * relative
                + 0.337 * coverage
                + 0.530 * words
                + 0.543 * second_lead
                - 0.300 * texts
        }
        Some(margin) => {
            let others = scores.best.iter().filter(|other| other.agent != own.agent);
            let margin_lead = margin - others.filter_map(|other| other.margin).fold(-1.0, f32::max);
            -2.200 + 0.326 * own.lexical + 0.016 * own.bayes + 0.294 * lead - 0.340 * relative
                + 2.029 * coverage
                + 0.645 * words
                + 1.245 * margin
                + 0.536 * margin_lead
                + 0.294 * second_lead
                - 0.352 * texts
        }
    }
}

fn logistic(log_odds: f32) -> f64 {
    1.0 / (1.0 + (-f64::from(log_odds)).exp())
}
