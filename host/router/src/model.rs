//! The linear model of one agent: its own texts against those of the candidates most like it.
//!
//! A support vector machine with squared hinge loss, solved in the dual by coordinate descent (Hsieh et al.,
//! A Dual Coordinate Descent Method for Large-scale Linear SVM, 2008), in an order that is always the same.
//! Depends on the agent and its rivals alone.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::profile::Profile;
use crate::text::kind_weight;

/// What a violated example costs (the C of the literature).
const COST: f32 = 1.0;
/// The same for a name, a description or a trigger, which are weaker evidence.
const WEAK_COST: f32 = 0.25;
/// How often every document is looked at.
const ROUNDS: usize = 8;
/// Rivals are taken until they bring this many documents.
pub(crate) const ENOUGH: usize = 8000;

/// What an agent's examples taught.
pub(crate) struct Model {
    weights: Weights,
    pub(crate) bias: f32,
}

struct Row {
    values: Vec<(u32, f32)>,
    sign: f32,
    cost: f32,
    alpha: f32,
}

impl Model {
    /// What a key adds, to be multiplied by the kind's weight and divided by the task's norm.
    pub(crate) fn weight(&self, key: u64) -> f32 {
        self.weights.get(key)
    }

    /// Learns to tell `own` from `rivals`.
    pub(crate) fn train(own: &Profile, rivals: &[Arc<Profile>]) -> Model {
        let mut ids: FxHashMap<u64, u32> = FxHashMap::default();
        let mut keys: Vec<u64> = Vec::new();
        let mut counts: Vec<f32> = Vec::new();
        let mut rows: Vec<Row> = Vec::new();
        let profiles = std::iter::once(own).chain(rivals.iter().map(|rival| &**rival));
        for (position, profile) in profiles.enumerate() {
            for document in &profile.documents {
                let values = document.features.iter().map(|key| {
                    let id = *ids.entry(*key).or_insert_with(|| {
                        keys.push(*key);
                        counts.push(0.0);
                        keys.len() as u32 - 1
                    });
                    counts[id as usize] += 1.0;
                    (id, kind_weight(*key))
                });
                rows.push(Row {
                    values: values.collect(),
                    sign: if position == 0 { 1.0 } else { -1.0 },
                    cost: if document.example { COST } else { WEAK_COST },
                    alpha: 0.0,
                });
            }
        }
        let all = rows.len() as f32;
        let idf: Vec<f32> = counts.iter().map(|count| (1.0 + (all / count).ln()).sqrt()).collect();
        for row in &mut rows {
            let mut square = 0.0;
            for (id, value) in &mut row.values {
                *value *= idf[*id as usize];
                square += *value * *value;
            }
            let norm = square.sqrt().max(1e-6);
            row.values.iter_mut().for_each(|(_, value)| *value /= norm);
        }
        let mut weights = vec![0.0f32; keys.len()];
        let mut bias = 0.0f32;
        let mut order: Vec<usize> = (0..rows.len()).collect();
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..ROUNDS {
            for last in (1..order.len()).rev() {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                order.swap(last, (random >> 33) as usize % (last + 1));
            }
            for at in &order {
                let row = &mut rows[*at];
                let product: f32 = row.values.iter().map(|(id, value)| weights[*id as usize] * value).sum();
                let slack = 1.0 / (2.0 * row.cost);
                let gradient = row.sign * (product + bias) - 1.0 + row.alpha * slack;
                let alpha = (row.alpha - gradient / (2.0 + slack)).max(0.0);
                let step = (alpha - row.alpha) * row.sign;
                row.alpha = alpha;
                if step != 0.0 {
                    bias += step;
                    row.values.iter().for_each(|(id, value)| weights[*id as usize] += step * value);
                }
            }
        }
        let kept = keys
            .iter()
            .zip(weights.iter().zip(&idf))
            .filter(|(_, (weight, _))| **weight != 0.0)
            .map(|(key, (weight, idf))| (*key, weight * idf));
        Model { weights: Weights::new(kept.collect()), bias }
    }
}

/// Weights by key, open addressing with linear probing: what a task asks for is mostly spread over more memory
/// than a cache has, so each answer should lie in one line of it. Key 0 marks a free place; no feature has it.
struct Weights {
    places: Box<[(u64, f32)]>,
    shift: u32,
}

impl Weights {
    fn new(entries: Vec<(u64, f32)>) -> Self {
        let size = (entries.len() * 3 / 2 + 2).next_power_of_two();
        let mut out = Self { places: vec![(0, 0.0); size].into(), shift: 64 - size.trailing_zeros() };
        for (key, weight) in entries {
            let at = out.place(key);
            out.places[at] = (key, weight);
        }
        out
    }

    /// Where a key is or would be. There is always a free place, so the search ends.
    fn place(&self, key: u64) -> usize {
        let mut at = (key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift) as usize;
        while self.places[at].0 != key && self.places[at].0 != 0 {
            at = (at + 1) & (self.places.len() - 1);
        }
        at
    }

    fn get(&self, key: u64) -> f32 {
        self.places[self.place(key)].1
    }
}
