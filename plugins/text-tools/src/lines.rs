//! Tools for lists of lines. A text of one line that holds commas is taken as a list of those parts.
//!
//! Owns no state; pure.

use std::collections::HashSet;

use unicode_segmentation::UnicodeSegmentation;

use crate::{Answer, Problem};

pub(crate) fn sort(text: &str) -> Result<Answer, Problem> {
    listed(text, |mut items| {
        items.sort_by_cached_key(|item| (item.to_lowercase(), (*item).to_owned()));
        items
    })
}

pub(crate) fn sort_unique(text: &str) -> Result<Answer, Problem> {
    listed(text, |mut items| {
        items.sort_by_cached_key(|item| (item.to_lowercase(), (*item).to_owned()));
        items.dedup();
        items
    })
}

/// Keeps the first of each.
pub(crate) fn deduplicate(text: &str) -> Result<Answer, Problem> {
    listed(text, |mut items| {
        let mut seen = HashSet::new();
        items.retain(|item| seen.insert(*item));
        items
    })
}

pub(crate) fn reverse(text: &str) -> Result<Answer, Problem> {
    listed(text, |mut items| {
        items.reverse();
        items
    })
}

pub(crate) fn number(text: &str) -> Result<Answer, Problem> {
    let lines: Vec<String> =
        text.lines().enumerate().map(|(place, line)| format!("{}. {line}", place + 1)).collect();
    Ok(Answer::result(lines.join("\n")))
}

/// One space between words, no space at either end of a line, no empty lines.
pub(crate) fn trim(text: &str) -> Result<Answer, Problem> {
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.is_empty())
        .collect();
    Ok(Answer::result(lines.join("\n")))
}

/// The characters that a person sees, last first.
pub(crate) fn reverse_text(text: &str) -> Result<Answer, Problem> {
    Ok(Answer::result(text.graphemes(true).rev().collect()))
}

fn listed<'a>(text: &'a str, change: impl FnOnce(Vec<&'a str>) -> Vec<&'a str>) -> Result<Answer, Problem> {
    let one_line = !text.trim().contains('\n');
    let (items, separator): (Vec<&str>, &str) = if one_line && text.contains(',') {
        (text.split(',').map(str::trim).collect(), ", ")
    } else if one_line {
        (text.split_whitespace().collect(), " ")
    } else {
        (text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect(), "\n")
    };
    let before = items.len();
    let changed = change(items);
    let mut answer = Answer::result(changed.join(separator));
    if let Some(data) = answer.data.as_object_mut() {
        data.insert("items".to_owned(), changed.clone().into());
        data.insert("removed".to_owned(), (before - changed.len()).into());
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_taken_as_they_come() {
        let result =
            |answer: Result<Answer, Problem>| answer.map(|answer| answer.response).unwrap_or_default();
        assert_eq!(result(sort("b\nA\nc")), "A\nb\nc");
        assert_eq!(result(sort("pear, apple, fig")), "apple, fig, pear");
        assert_eq!(result(sort_unique("b a b")), "a b");
        assert_eq!(result(deduplicate("b\na\nb")), "b\na");
        assert_eq!(result(trim("  a   b \n\n c ")), "a b\nc");
        assert_eq!(result(number("a\nb")), "1. a\n2. b");
        assert_eq!(result(reverse_text("ae\u{301}")), "e\u{301}a");
    }
}
