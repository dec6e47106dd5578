//! From the words of a question to the words that mean something to a calculator.
//!
//! Owns no state; pure.

/// Words that only lead up to the question.
const OPENINGS: &[&str] = &[
    "please",
    "what is",
    "what's",
    "whats",
    "what are",
    "how much is",
    "how much are",
    "calculate",
    "compute",
    "evaluate",
    "work out",
    "solve",
    "tell me",
    "give me",
    "find",
    "can you",
    "could you",
    "the result of",
    "the value of",
    "convert",
    "the",
    "calculator",
    "hey",
    "express",
    "show me",
    "show",
    "i need",
    "do the math",
    "math",
    ":",
];

/// Words and signs, each with the sign that stands for it. Longer ones first where one holds another.
const SIGNS: &[(&str, &str)] = &[
    ("multiplied by", "*"),
    ("divided by", "/"),
    ("to the power of", "^"),
    ("raised to", "^"),
    ("square root", "sqrt"),
    ("cube root", "cbrt"),
    ("natural logarithm", "ln"),
    ("absolute value", "abs"),
    ("per cent", "percent"),
    ("percentage", "percent"),
    ("plus", "+"),
    ("minus", "-"),
    ("times", "*"),
    ("squared", "^2"),
    ("cubed", "^3"),
    ("modulo", "mod"),
    ("logarithm", "log"),
    ("a half", "half"),
    ("a third", "third"),
    ("a quarter", "quarter"),
    ("one half", "half"),
    ("one third", "third"),
    ("one quarter", "quarter"),
];

/// The question in lower case, without what leads up to it, its signs in one form.
pub(crate) fn question(query: &str) -> String {
    let mut text = bare(query).to_lowercase();
    for (from, to) in
        [('×', "*"), ('·', "*"), ('÷', "/"), ('−', "-"), ('–', "-"), ('√', " sqrt "), ('π', " pi ")]
    {
        text = text.replace(from, to);
    }
    // Money is calculated like anything else.
    text = text.replace(['$', '€', '£'], "");
    text = text.replace("**", "^").replace('²', "^2").replace('³', "^3");
    text = without_separators(&text).split_whitespace().collect::<Vec<_>>().join(" ");
    for (words, sign) in SIGNS {
        text = replace_words(&text, words, sign);
    }
    multiplied_by_x(&text)
}

/// The question as it is repeated in the answer: as it was typed, without what leads up to it.
pub(crate) fn shown(query: &str) -> String {
    bare(query).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Without openings and closing punctuation.
fn bare(query: &str) -> &str {
    let mut text = query.trim();
    loop {
        let before = text;
        text = text.trim_start_matches([',', ':']).trim_start();
        for opening in OPENINGS {
            let Some(start) = text.get(..opening.len()) else { continue };
            let rest = &text[opening.len()..];
            let whole = rest.is_empty() || rest.starts_with([' ', ':', ',']);
            if whole && start.eq_ignore_ascii_case(opening) {
                text = rest.trim_start();
            }
        }
        text = text.trim_end_matches(['?', '=', '.', '!', ' ']);
        if text.len() < before.len() && before.ends_with('!') && ends_in_factorial(before, text) {
            return before;
        }
        if text == before {
            return text;
        }
    }
}

/// Whether the mark that was cut off says factorial: `5!` is a number and exactly one mark.
fn ends_in_factorial(before: &str, text: &str) -> bool {
    before.len() == text.len() + 1 && text.ends_with(|last: char| last.is_ascii_digit() || last == ')')
}

/// `1,000,000` becomes `1000000`; a comma that separates values stays.
fn without_separators(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let digit = |at: usize| chars.get(at).is_some_and(char::is_ascii_digit);
    let group = |at: usize| digit(at + 1) && digit(at + 2) && digit(at + 3) && !digit(at + 4);
    chars
        .iter()
        .enumerate()
        .filter(|(at, c)| !(**c == ',' && *at > 0 && digit(at - 1) && group(*at)))
        .map(|(_, c)| *c)
        .collect()
}

/// Replaces whole words only.
fn replace_words(text: &str, words: &str, sign: &str) -> String {
    format!(" {text} ").replace(&format!(" {words} "), &format!(" {sign} ")).trim().to_owned()
}

/// `3 x 4` and `3x4` are products; an `x` elsewhere is left alone.
fn multiplied_by_x(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let near = |range: &mut dyn Iterator<Item = usize>| {
        range
            .map(|at| chars[at])
            .find(|c| *c != ' ')
            .is_some_and(|c| c.is_ascii_digit() || c == ')' || c == '(')
    };
    let hexadecimal =
        |at: usize| at > 0 && chars[at - 1] == '0' && (at < 2 || !chars[at - 2].is_ascii_digit());
    (0..chars.len())
        .map(|at| {
            let product = chars[at] == 'x'
                && !hexadecimal(at)
                && near(&mut (0..at).rev())
                && near(&mut (at + 1..chars.len()));
            if product { '*' } else { chars[at] }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_signs() {
        assert_eq!(question("What is 3 plus 4?"), "3 + 4");
        assert_eq!(question("Please calculate the square root of 16."), "sqrt of 16");
        assert_eq!(question("1,000,000 x 3"), "1000000 * 3");
        assert_eq!(question("max(1,2,3)"), "max(1,2,3)");
        assert_eq!(question("0xff"), "0xff");
        assert_eq!(question("20% tip on $64.50"), "20% tip on 64.50");
        assert_eq!(question("5!"), "5!");
        assert_eq!(question("5!!"), "5");
        assert_eq!(question("15 per cent of 3"), "15 percent of 3");
    }
}
