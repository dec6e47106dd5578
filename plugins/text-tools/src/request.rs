//! Finds in a question what to do and the text to do it with.
//!
//! Owns no state; pure. The text is, whichever comes first: what the context holds; what stands in
//! quotation marks; what follows a colon or the first line; what follows the phrase that names the
//! operation; what stands before it, as in `convert hello to uppercase`.

use crate::{Problem, operation::Operation};

/// What to do with which text.
#[derive(Debug, PartialEq)]
pub(crate) struct Request {
    /// The operation's place in the list that was given.
    pub(crate) operation: usize,
    pub(crate) text: String,
}

/// A word of the question: where it lies, and its lower case.
struct Word {
    start: usize,
    end: usize,
    lower: String,
}

/// A phrase that was found: its operation, and the words that it spans.
#[derive(Clone, Copy)]
struct Found {
    operation: usize,
    first: usize,
    last: usize,
}

/// Words that a phrase may hold in between without changing what it asks for.
const FILLERS: &[&str] = &["the", "all", "a", "of", "this", "these", "its"];
/// Words between a phrase and the text that are not part of the text.
const LEADS: &[&str] = &[
    "of",
    "in",
    "the",
    "text",
    "string",
    "this",
    "for",
    "from",
    "following",
    "sentence",
    "phrase",
    "words",
    "word",
    "are",
    "is",
    "there",
    "on",
    "hash",
    "checksum",
    "these",
    "lines",
    "value",
    "decoded",
    "encoded",
    "with",
];
/// Words before the text, where the phrase stands after it.
const VERBS: &[&str] = &[
    "please",
    "convert",
    "turn",
    "make",
    "change",
    "encode",
    "decode",
    "put",
    "write",
    "hash",
    "transform",
    "give",
    "me",
    "can",
    "you",
    "the",
    "text",
    "string",
    "what",
    "is",
    "say",
];
/// Words between the text and the phrase, where the phrase stands after it.
const LINKS: &[&str] = &["to", "into", "in", "as", "with", "using", "a", "an", "for", "the", "url"];

const HELP: &str = "Name an operation and a text, such as: slugify \"Hello, World!\"; count the words in \"to be or not\"; \
                    base64 encode hello; SHA-256 of \"abc\"; title case: the old man; pretty print this JSON: {\"a\":1}. \
                    The text may also come as `text` in the context.";

/// Reads a question.
pub(crate) fn read(query: &str, given: Option<&str>, operations: &[Operation]) -> Result<Request, Problem> {
    let (instruction, delimited) = split(query);
    let unclear = || format!("It is not clear what to do here. {HELP}");
    let words = words(instruction);
    let found = longest(&words, operations);
    let (found, words, instruction, text) = match (given, found) {
        (Some(given), Some(found)) => (found, words, instruction, Some(given)),
        (None, Some(found)) => (found, words, instruction, delimited),
        // What looked like a delimiter may have been part of the text.
        (_, None) => {
            let words = self::words(query);
            let found = longest(&words, operations).ok_or_else(unclear)?;
            (found, words, query, given)
        }
    };
    let text = match text {
        Some(text) => text.to_owned(),
        None => beside(instruction, &words, found)
            .ok_or_else(|| format!("There is no text to work on. {HELP}"))?,
    };
    Ok(Request { operation: found.operation, text })
}

/// The instruction, and the text where quotation marks, a colon or a line's end set it apart.
fn split(query: &str) -> (&str, Option<&str>) {
    let quote = [('"', '"'), ('“', '”'), ('«', '»'), ('`', '`')].into_iter().find_map(|(open, close)| {
        let start = query.match_indices(open).map(|(at, _)| at).find(|at| {
            query[..*at].chars().next_back().is_none_or(|c| c.is_whitespace() || ":(".contains(c))
        })?;
        let inner = start + open.len_utf8();
        let end = query.rfind(close).filter(|end| *end >= inner)?;
        // In a brace or bracket, quotation marks belong to the text.
        (!query[..start].contains(['{', '['])).then_some((start, inner, end))
    });
    let colon = query.match_indices(':').map(|(at, _)| at).find(|at| {
        let (before, rest) = (&query[..*at], &query[at + 1..]);
        before.ends_with(char::is_alphanumeric)
            && rest.starts_with(|c: char| c.is_whitespace() || "{[\"“".contains(c))
    });
    let line = query.find('\n');
    let apart = [colon, line].into_iter().flatten().min();
    match (quote, apart) {
        // A colon before the quotation marks: they belong to the text, unless they are all around it.
        (Some((start, inner, end)), Some(at)) if at < start => {
            let (text, around) = (&query[at + 1..], query[at + 1..start].trim().is_empty());
            let whole = around && query[end..].trim().chars().count() == 1 && start > at;
            (&query[..at], Some(if whole { &query[inner..end] } else { text.trim() }))
        }
        // The instruction may stand on both sides of the text, as in `convert "x" to uppercase`.
        (Some((start, inner, end)), _) => {
            let after = query[end..].trim_start_matches(['"', '”', '»', '`']);
            let both_sides = after.chars().any(char::is_alphanumeric);
            (if both_sides { query } else { &query[..start] }, Some(&query[inner..end]))
        }
        (None, Some(at)) => {
            let text = query[at + 1..].trim();
            (&query[..at], Some(text).filter(|text| !text.is_empty()))
        }
        (None, None) => (query, None),
    }
}

fn words(text: &str) -> Vec<Word> {
    let mut words = Vec::new();
    let mut start = None;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        match (c.is_alphanumeric() || c == '_', start) {
            (true, None) => start = Some(at),
            (false, Some(from)) => {
                words.push(Word { start: from, end: at, lower: text[from..at].to_lowercase() });
                start = None;
            }
            _ => {}
        }
    }
    words
}

/// The longest phrase of any operation; of two that are equally long, the one that comes first.
fn longest(words: &[Word], operations: &[Operation]) -> Option<Found> {
    let mut best: Option<(usize, Found)> = None;
    for (operation, known) in operations.iter().enumerate() {
        for phrase in known.phrases {
            let parts: Vec<&str> = phrase.split([' ', '-']).collect();
            for first in 0..words.len() {
                let Some(last) = matches(&words[first..], &parts) else { continue };
                let found = Found { operation, first, last: first + last };
                let better = best.is_none_or(|(length, other)| {
                    parts.len() > length || (parts.len() == length && first < other.first)
                });
                if better {
                    best = Some((parts.len(), found));
                }
            }
        }
    }
    best.map(|(_, found)| found)
}

/// The place of the last word of a phrase that begins with the first of these words.
fn matches(words: &[Word], parts: &[&str]) -> Option<usize> {
    let mut at = 0;
    for (place, part) in parts.iter().enumerate() {
        while place > 0
            && words.get(at).is_some_and(|word| word.lower != *part && FILLERS.contains(&&*word.lower))
        {
            at += 1;
        }
        if words.get(at)?.lower != *part {
            return None;
        }
        at += 1;
    }
    Some(at - 1)
}

/// The text after the phrase, or else before it.
fn beside(instruction: &str, words: &[Word], found: Found) -> Option<String> {
    let after = (found.last + 1..words.len()).find(|at| !LEADS.contains(&&*words[*at].lower));
    // A text may begin with signs that are no word, such as `<b>`: they belong to it.
    let start = words[after.map_or(found.last, |at| at - 1)].end;
    let rest = instruction[start..].trim_start_matches([':', ',', ';', ' ']).trim();
    // Signs alone, as in `base64 encode ***`, are a text; what closes a sentence is not.
    let text = if after.is_some() { rest } else { rest.trim_matches(['?', '.', '!', ',', ';', ':', ' ']) };
    let leads_only = after.is_none() && text.chars().any(char::is_alphanumeric);
    if !text.is_empty() && !leads_only {
        return Some(text.to_owned());
    }
    let before = &words[..found.first];
    let first = before.iter().position(|word| !VERBS.contains(&&*word.lower))?;
    let last = before.iter().rposition(|word| !LINKS.contains(&&*word.lower))?;
    (first <= last).then(|| instruction[before[first].start..before[last].end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::OPERATIONS;

    fn request(query: &str) -> (&'static str, String) {
        let request = read(query, None, OPERATIONS).unwrap_or_else(|problem| panic!("{query}: {problem}"));
        (OPERATIONS[request.operation].name, request.text)
    }

    #[test]
    fn operation_and_text_are_told_apart() {
        let cases = [
            ("slugify \"Hello, World!\"", "slug", "Hello, World!"),
            ("count the words in \"count the lines\"", "count", "count the lines"),
            ("uppercase: he said \"no\" twice", "uppercase", "he said \"no\" twice"),
            ("uppercase: \"quoted\"", "uppercase", "quoted"),
            ("Convert “old man” to title case", "title_case", "old man"),
            ("convert hello world to uppercase", "uppercase", "hello world"),
            ("What is the sha256 hash of hello", "sha256", "hello"),
            ("html escape <b>x</b>", "html_escape", "<b>x</b>"),
            ("Is this valid JSON: {\"a\": 1}", "validate_json", "{\"a\": 1}"),
            ("sort and dedupe:\nb\na\nb", "sort_unique_lines", "b\na\nb"),
            ("minify json { \"a\" : [1, 2] }", "minify_json", "{ \"a\" : [1, 2] }"),
            ("decode base64 aGk=", "base64_decode", "aGk="),
            ("extract all the links from https://a.example/b", "extract_urls", "https://a.example/b"),
        ];
        for (query, operation, text) in cases {
            assert_eq!(request(query), (operation, text.to_owned()), "{query}");
        }
    }
}
