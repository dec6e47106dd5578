//! Counting: words, characters, lines, sentences, and how often each word occurs.
//!
//! Owns no state; pure. A character is what a person sees as one (a grapheme cluster).

use std::collections::HashMap;

use stockade_sdk::json;
use unicode_segmentation::UnicodeSegmentation;

use crate::{Answer, Problem};

/// How many words the wording of a frequency list tells of.
const LISTED: usize = 10;

pub(crate) fn count(text: &str) -> Result<Answer, Problem> {
    let words = text.unicode_words().count();
    let characters = text.graphemes(true).count();
    let letters = text.chars().filter(|c| c.is_alphabetic()).count();
    let lines = text.lines().count();
    let sentences = sentences(text);
    let response = [
        plural(words, "word"),
        plural(characters, "character"),
        plural(letters, "letter"),
        plural(lines, "line"),
        plural(sentences, "sentence"),
    ]
    .join(", ");
    let data = json!({
        "words": words,
        "characters": characters,
        "letters": letters,
        "lines": lines,
        "sentences": sentences,
        "bytes": text.len(),
    });
    Ok(Answer { response: response + ".", data })
}

pub(crate) fn frequency(text: &str) -> Result<Answer, Problem> {
    let mut counts: HashMap<String, usize> = HashMap::new();
    for word in text.unicode_words() {
        *counts.entry(word.to_lowercase()).or_default() += 1;
    }
    let mut ordered: Vec<(String, usize)> = counts.into_iter().collect();
    ordered.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    if ordered.is_empty() {
        return Err("There is no word in the text.".to_owned());
    }
    let response: Vec<String> =
        ordered.iter().take(LISTED).map(|(word, count)| format!("{word}: {count}")).collect();
    let words: Vec<_> = ordered.iter().map(|(word, count)| json!({ "word": word, "count": count })).collect();
    Ok(Answer { response: response.join("\n"), data: json!({ "words": words }) })
}

/// What ends in a full stop, a question mark or an exclamation mark, and whatever is left.
fn sentences(text: &str) -> usize {
    text.split_inclusive(char::is_whitespace)
        .collect::<Vec<_>>()
        .split_inclusive(|word| {
            word.trim_end().trim_end_matches(['"', '”', ')']).ends_with(['.', '!', '?', '…'])
        })
        .filter(|words| words.iter().any(|word| word.chars().any(char::is_alphanumeric)))
        .count()
}

fn plural(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_person_sees_is_counted() {
        let answer = count("Héllo wörld. It's e\u{301}!").map(|answer| answer.response);
        assert_eq!(answer, Ok("4 words, 20 characters, 14 letters, 1 line, 2 sentences.".to_owned()));
        let words = frequency("A rose is a rose").map(|answer| answer.response);
        assert_eq!(words, Ok("a: 2\nrose: 2\nis: 1".to_owned()));
    }
}
