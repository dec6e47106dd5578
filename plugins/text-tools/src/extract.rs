//! Finds email addresses, links and numbers in a text, each once, in the order of the text.
//!
//! Owns no state; pure. An address is what people write in running text, not all that RFC 5322 allows.

use std::collections::HashSet;

use stockade_sdk::json;

use crate::{Answer, Problem};

pub(crate) fn emails(text: &str) -> Result<Answer, Problem> {
    let part = |c: char| c.is_alphanumeric() || "._%+-@".contains(c);
    let found =
        text.split(|c| !part(c)).map(|word| word.trim_matches(['.', '-'])).filter(|word| is_email(word));
    Ok(list("email address", "email addresses", found))
}

pub(crate) fn urls(text: &str) -> Result<Answer, Problem> {
    let found = text
        .split(|c: char| c.is_whitespace() || "<>\"'`“”«»|\\^{}".contains(c))
        .filter_map(|word| {
            let starts = ["https://", "http://", "ftp://", "www."];
            starts.iter().filter_map(|start| word.find(start)).min().map(|at| &word[at..])
        })
        .map(without_closing)
        .filter(|link| {
            link.trim_start_matches("https://").trim_start_matches("http://").contains(['.', ':', 'l'])
        });
    Ok(list("link", "links", found))
}

pub(crate) fn numbers(text: &str) -> Result<Answer, Problem> {
    let part = |c: char| c.is_ascii_digit() || ".,-+".contains(c);
    let found = text
        .split(|c| !part(c))
        .map(|word| word.trim_end_matches(['.', ',', '-', '+']).trim_start_matches(['.', ',', '+']))
        .filter(|word| word.replace(',', "").parse::<f64>().is_ok());
    Ok(list("number", "numbers", found))
}

fn is_email(word: &str) -> bool {
    let Some((user, host)) = word.split_once('@') else { return false };
    let labels: Vec<&str> = host.split('.').collect();
    !user.is_empty()
        && labels.len() > 1
        && labels
            .iter()
            .all(|label| !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-'))
        && labels.last().is_some_and(|last| last.chars().count() > 1 && last.chars().all(char::is_alphabetic))
}

/// Without what closes the sentence, but with a bracket that the link itself opened.
fn without_closing(link: &str) -> &str {
    let link = link.trim_end_matches(['.', ',', ';', ':', '!', '?']);
    let unopened = |open: char, close: char| {
        link.ends_with(close) && link.matches(close).count() > link.matches(open).count()
    };
    if unopened('(', ')') || unopened('[', ']') { without_closing(&link[..link.len() - 1]) } else { link }
}

fn list<'a>(one: &str, many: &str, found: impl Iterator<Item = &'a str>) -> Answer {
    let mut seen = HashSet::new();
    let items: Vec<&str> = found.filter(|item| seen.insert(*item)).collect();
    let response = match items.len() {
        0 => format!("There are no {many} in this text."),
        1 => format!("1 {one}:\n{}", items[0]),
        count => format!("{count} {many}:\n{}", items.join("\n")),
    };
    Answer { response, data: json!({ "items": items, "count": items.len() }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(answer: Result<Answer, Problem>) -> String {
        answer.map(|answer| answer.data["items"].to_string()).unwrap_or_default()
    }

    #[test]
    fn what_people_write_is_found() {
        let text = "Write to ada@example.com, <Bob.B+x@mail.example.org>. Not @me, a@b or x@y..z; ada@example.com again.";
        assert_eq!(items(emails(text)), r#"["ada@example.com","Bob.B+x@mail.example.org"]"#);
        let text = "See (https://example.com/a_(b)), http://localhost:8001/x?y=1. And www.example.org!";
        assert_eq!(
            items(urls(text)),
            r#"["https://example.com/a_(b)","http://localhost:8001/x?y=1","www.example.org"]"#
        );
        assert_eq!(items(numbers("3 apples, -2.5 or 1,000. v1")), r#"["3","-2.5","1,000","1"]"#);
        assert_eq!(items(emails("none")), "[]");
    }
}
