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
    let mut out = vec![key(Kind::Gap, word)];
    if word.len() > MOST {
        return out;
    }
    let mut shorter = String::with_capacity(word.len());
    for (at, c) in word.char_indices() {
        shorter.clear();
        shorter.push_str(&word[..at]);
        shorter.push_str(&word[at + c.len_utf8()..]);
        out.push(key(Kind::Gap, &shorter));
    }
    out.sort_unstable();
    out.dedup();
    out
}

/// The commonest word among the candidates at edit distance one, the first in the alphabet of equals.
pub(crate) fn correct(word: &str, candidates: &Candidates) -> Option<String> {
    if word.len() > MOST || word.chars().count() < LEAST || word.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut best: Option<(usize, &str)> = None;
    for gap in gaps(word) {
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
    }
    best.map(|(_, text)| text.to_owned())
}

/// Whether one letter inserted, left out, changed, or swapped with its neighbour makes `a` of `b`.
fn one_edit(a: &str, b: &str) -> bool {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let (short, long) = if a.len() <= b.len() { (&a, &b) } else { (&b, &a) };
    let same = short.iter().zip(long).take_while(|(x, y)| x == y).count();
    match long.len() - short.len() {
        0 if same == short.len() => false,
        0 => {
            let swapped = same + 1 < short.len()
                && short[same] == long[same + 1]
                && short[same + 1] == long[same]
                && short[same + 2..] == long[same + 2..];
            swapped || short[same + 1..] == long[same + 1..]
        }
        1 => short[same..] == long[same + 1..],
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_edit_is_insert_delete_change_or_swap() {
        for (a, b) in [("weather", "wether"), ("weather", "weathers"), ("weather", "weathfr"), ("weather", "waether")] {
            assert!(one_edit(a, b) && one_edit(b, a), "{a} {b}");
        }
        assert!(!one_edit("weather", "weather"));
        assert!(!one_edit("weather", "whether"), "that is two");
    }
}
