//! Correction of misspelt words at edit distance one.
//!
//! Words that lose a letter the same way are close: SymSpell's symmetric deletes
//! (Garbe, <https://github.com/wolfgarbe/SymSpell>). Only words of the candidates are offered.

use crate::candidates::Candidates;
use crate::text::{Kind, key};

/// The least length, in characters, of a word that is corrected.
const LEAST: usize = 5;
/// Longer words are no misspelling of anything.
const MOST: usize = 32;

/// The keys under which a word can be found by its misspellings: itself and each way to leave out one letter.
pub(crate) fn gaps(word: &str) -> Vec<u64> {
    let mut out = Vec::with_capacity(word.len() + 1);
    each_gap(word, |gap| out.push(gap));
    out.sort_unstable();
    out.dedup();
    out
}

/// Calls `each` with those keys; with some of them twice where a letter is doubled.
fn each_gap(word: &str, mut each: impl FnMut(u64)) {
    let letters = word.chars().count();
    if letters > MOST {
        return;
    }
    // A polynomial hash, so that the hash without a letter follows from those of what is before and behind it.
    let values = || word.chars().map(|c| u64::from(u32::from(c)) + 1);
    let whole = values().fold(0u64, |hash, value| hash.wrapping_mul(BASE).wrapping_add(value));
    each(finish(whole));
    let mut power = (1..letters).fold(1u64, |power, _| power.wrapping_mul(BASE));
    let (mut before, mut behind) = (0u64, whole);
    for value in values() {
        behind = behind.wrapping_sub(value.wrapping_mul(power));
        // `before` holds the letters so far; without this one they stand one place lower.
        each(finish(before.wrapping_mul(power).wrapping_add(behind)));
        before = before.wrapping_mul(BASE).wrapping_add(value);
        power = power.wrapping_mul(INVERSE);
    }
}

/// An odd number, and its inverse modulo 2^64.
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;
const INVERSE: u64 = inverse(BASE);

/// Newton's iteration for the inverse of an odd number; each step doubles the bits that are right.
const fn inverse(odd: u64) -> u64 {
    let mut inverse = odd;
    let mut step = 0;
    while step < 6 {
        inverse = inverse.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(inverse)));
        step += 1;
    }
    inverse
}

/// Spreads a hash over all bits and marks its kind.
fn finish(hash: u64) -> u64 {
    let mixed = (hash ^ (hash >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed ^ (mixed >> 29)) & !7 | Kind::Gap as u64
}

/// The commonest word among the candidates at edit distance one, the first in the alphabet of equals.
pub(crate) fn correct<'a>(word: &str, candidates: &'a Candidates) -> Option<&'a str> {
    if !(LEAST..=MOST).contains(&word.chars().count()) || word.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut best: Option<(usize, &'a str)> = None;
    each_gap(word, |gap| {
        for other in candidates.index.spelled(gap) {
            if !one_edit(word, other) {
                continue;
            }
            let count = candidates.count(key(Kind::Surface, other));
            let better = best.is_none_or(|(most, text)| count > most || count == most && **other < *text);
            if count > 0 && better {
                best = Some((count, other));
            }
        }
    });
    best.map(|(_, text)| text)
}

/// Whether one letter inserted, left out, changed, or swapped with its neighbour makes `a` of `b`. Another first
/// letter makes another word ("night" and "right", "leeks" and "weeks"): people seldom mistype that one.
fn one_edit(a: &str, b: &str) -> bool {
    if a.is_ascii() && b.is_ascii() {
        return one_letter(a.as_bytes(), b.as_bytes());
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    one_letter(&a, &b)
}

fn one_letter<T: PartialEq>(a: &[T], b: &[T]) -> bool {
    let (short, long) = if a.len() <= b.len() { (a, b) } else { (b, a) };
    let same = short.iter().zip(long).take_while(|(x, y)| x == y).count();
    match long.len() - short.len() {
        0 if same == short.len() => false,
        0 => {
            let swapped = same + 1 < short.len()
                && short[same] == long[same + 1]
                && short[same + 1] == long[same]
                && short[same + 2..] == long[same + 2..];
            swapped || same > 0 && short[same + 1..] == long[same + 1..]
        }
        1 => short[same..] == long[same + 1..],
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_meet_where_one_letter_differs() {
        let meet = |a: &str, b: &str| gaps(a).iter().any(|gap| gaps(b).contains(gap));
        assert!(meet("weather", "wether") && meet("weather", "weathex") && meet("wxeather", "weather"));
        assert!(meet("weather", "waether") && meet("größe", "grösse") == meet("grösse", "größe"));
        assert!(!meet("weather", "climate"));
    }

    #[test]
    fn one_edit_is_insert_delete_change_or_swap() {
        for (a, b) in
            [("weather", "wether"), ("weather", "weathers"), ("weather", "weathfr"), ("weather", "waether")]
        {
            assert!(one_edit(a, b) && one_edit(b, a), "{a} {b}");
        }
        assert!(!one_edit("weather", "weather"));
        assert!(!one_edit("weather", "whether"), "that is two");
        assert!(
            !one_edit("weather", "leather")
                && one_edit("weather", "ewather")
                && one_edit("weather", "eather")
        );
    }
}
