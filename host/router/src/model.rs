//! The linear model of one card: its own texts against those of the candidates most like it.
//!
//! A support vector machine with squared hinge loss, solved in the dual by coordinate descent (Hsieh et al.,
//! A Dual Coordinate Descent Method for Large-scale Linear SVM, 2008), in an order that is always the same.
//! Only the card's own keys have weights, a few kilobytes: that what a card has never said speaks against it
//! is left to those that have said it. Depends on the card and its rivals alone.

use crate::profile::Profile;

/// What a violated example costs (the C of the literature).
const COST: f32 = 3.0;
/// The same for a name, a description or a trigger, which are weaker evidence.
const WEAK_COST: f32 = 0.25;
/// How often every document is looked at.
const ROUNDS: usize = 8;
/// Rivals are taken until they bring this many documents.
pub(crate) const ENOUGH: usize = 8000;

/// What an agent's examples taught.
pub(crate) struct Model {
    /// By the card's keys.
    weights: Box<[f32]>,
    /// Where the keys of each bucket begin, and where the last ones end. The first bits of a key say which.
    /// Empty where there are too many keys to say so in 16 bits.
    buckets: Box<[u16]>,
    shift: u32,
    pub(crate) bias: f32,
}

/// What is learned from a card: its documents, and what each is divided by to have length one.
pub(crate) struct Lesson<'a> {
    pub(crate) profile: &'a Profile,
    pub(crate) scales: &'a [f32],
}

/// A document, as far as the card whose model this is has its keys.
struct Row {
    start: usize,
    end: usize,
    sign: f32,
    cost: f32,
    alpha: f32,
}

/// What stands for a key that the card does not have.
const FOREIGN: u32 = u32::MAX;

impl Model {
    /// What a key of the card adds, to be multiplied by what the key counts in the task.
    pub(crate) fn weight(&self, own: &Profile, key: u64) -> f32 {
        if self.buckets.is_empty() {
            return own.place(key).map_or(0.0, |place| self.weights[place]);
        }
        let bucket = (key >> self.shift) as usize;
        let (start, end) = (self.buckets[bucket] as usize, self.buckets[bucket + 1] as usize);
        let at = own.keys[start..end].iter().position(|other| *other == key);
        at.map_or(0.0, |at| self.weights[start + at])
    }

    /// Learns to tell `own` from `rivals`; `counts` is what each of the card's keys counts in a document.
    pub(crate) fn train<'a>(
        counts: &[f32],
        own: Lesson<'a>,
        rivals: impl Iterator<Item = Lesson<'a>>,
    ) -> Model {
        let mut values: Vec<(u32, f32)> = Vec::new();
        let mut rows: Vec<Row> = Vec::new();
        let keys = &own.profile.keys;
        for (position, lesson) in std::iter::once(own).chain(rivals).enumerate() {
            let places = common(&lesson.profile.keys, keys);
            for ((document, example), scale) in lesson.profile.documents().iter().zip(lesson.scales) {
                let start = values.len();
                let held = document.iter().map(|place| places[*place as usize]);
                let held = held.filter(|place| *place != FOREIGN);
                values.extend(held.map(|place| (place, counts[place as usize] * scale)));
                rows.push(Row {
                    start,
                    end: values.len(),
                    sign: if position == 0 { 1.0 } else { -1.0 },
                    cost: if example { COST } else { WEAK_COST },
                    alpha: 0.0,
                });
            }
        }
        let mut weights = vec![0.0f32; keys.len()];
        let mut bias = 0.0f32;
        let mut order: Vec<u32> = (0..rows.len() as u32).collect();
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..ROUNDS {
            for last in (1..order.len()).rev() {
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                order.swap(last, (random >> 33) as usize % (last + 1));
            }
            for at in &order {
                let row = &mut rows[*at as usize];
                let held = &values[row.start..row.end];
                let product: f32 = held.iter().map(|(place, value)| weights[*place as usize] * value).sum();
                let slack = 1.0 / (2.0 * row.cost);
                let gradient = row.sign * (product + bias) - 1.0 + row.alpha * slack;
                let alpha = (row.alpha - gradient / (2.0 + slack)).max(0.0);
                let step = (alpha - row.alpha) * row.sign;
                row.alpha = alpha;
                if step != 0.0 {
                    bias += step;
                    held.iter().for_each(|(place, value)| weights[*place as usize] += step * value);
                }
            }
        }
        // About two keys a bucket.
        let shift = 65 - keys.len().next_power_of_two().trailing_zeros().clamp(2, 16);
        let begin = |bucket: u64| keys.partition_point(|key| *key >> shift < bucket) as u16;
        let buckets = if keys.len() > usize::from(u16::MAX) { 0..0 } else { 0..(1 << (64 - shift)) + 1 };
        Model { weights: weights.into(), buckets: buckets.map(begin).collect(), shift, bias }
    }
}

/// For each key of one card its place in the other. Both ascend.
fn common(keys: &[u64], other: &[u64]) -> Vec<u32> {
    let mut rest = other.iter().enumerate().peekable();
    let place = |key: &u64| {
        while rest.next_if(|(_, known)| *known < key).is_some() {}
        rest.peek().filter(|(_, known)| *known == key).map_or(FOREIGN, |(place, _)| *place as u32)
    };
    keys.iter().map(place).collect()
}
