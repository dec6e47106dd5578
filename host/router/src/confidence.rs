//! From scores to a confidence that means something.

use crate::query::Query;
use crate::score::Scores;

/// The confidence of each of the best candidates, 0..=1, never rising.
pub(crate) fn of(query: &Query, scores: &Scores) -> Vec<f64> {
    LAST.with(|l| *l.borrow_mut() = features(query, scores).to_vec());
    let best = scores.best.first().map_or(0.0, |scored| f64::from(scored.score));
    scores
        .best
        .iter()
        .map(|scored| {
            let own = 1.0 / (1.0 + (-2.0 * (best - 1.0)).exp());
            own * (-4.0 * (best - f64::from(scored.score))).exp()
        })
        .collect()
}

thread_local! { pub static LAST: std::cell::RefCell<Vec<f32>> = const { std::cell::RefCell::new(Vec::new()) }; }

fn features(query: &Query, scores: &Scores) -> [f32; 10] {
    let Some(best) = scores.best.first() else { return [0.0; 10] };
    let next = scores.best.get(1).copied().unwrap_or_default();
    let lead = (best.score - next.score).min(3.0);
    let known = query.content.len() as f32;
    let m = best.margin.unwrap_or(0.0);
    let m2 = scores.best[1..].iter().filter_map(|s| s.margin).fold(-1.0f32, f32::max);
    [best.lexical, best.bayes, lead, lead / best.score.max(0.3), scores.coverage, (1.0 + known).ln(), m, m - m2, if best.margin.is_some() { 1.0 } else { 0.0 }, scores.best.get(2).map_or(lead, |t| best.score - t.score).min(3.0)]
}
