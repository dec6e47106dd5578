//! Splits a question into words that can be matched, and reads spans such as `three weeks`.
//!
//! Owns no state; pure.

use jiff::Span;

use crate::Problem;

/// The words in lower case, without punctuation and without endings such as `1st`.
pub(crate) fn words(query: &str) -> Vec<String> {
    query
        .to_lowercase()
        .split(|c: char| c.is_whitespace() || ",?!;()\"'’".contains(c))
        .map(|word| word.trim_end_matches('.').trim_start_matches('@'))
        .filter(|word| !word.is_empty())
        .map(|word| {
            let digits = word.trim_end_matches(|c: char| c.is_ascii_alphabetic());
            let ordinal = matches!(&word[digits.len()..], "st" | "nd" | "rd" | "th");
            if ordinal && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
                digits.to_owned()
            } else {
                word.to_owned()
            }
        })
        .collect()
}

/// A whole number in digits or as a word.
pub(crate) fn number(word: &str) -> Option<i64> {
    const NAMES: [&str; 13] = [
        "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
        "twelve",
    ];
    if matches!(word, "a" | "an") {
        return Some(1);
    }
    let named = NAMES.iter().position(|name| *name == word).and_then(|value| i64::try_from(value).ok());
    named.or_else(|| word.parse().ok().filter(|_| word.bytes().all(|byte| byte.is_ascii_digit())))
}

/// One part of a span: how many, of what.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unit {
    Day,
    Workday,
    Week,
    Month,
    Year,
}

/// The unit that a word names.
pub(crate) fn unit(word: &str) -> Option<Unit> {
    Some(match word {
        "day" | "days" => Unit::Day,
        "weekday" | "weekdays" | "workday" | "workdays" => Unit::Workday,
        "week" | "weeks" => Unit::Week,
        "month" | "months" => Unit::Month,
        "year" | "years" => Unit::Year,
        _ => return None,
    })
}

/// A span at the beginning of some words, such as `1 year and 2 months`, and how many words it takes.
pub(crate) fn span(words: &[String]) -> Option<Result<(Span, usize), Problem>> {
    let mut parts = [0_i64; 4];
    let mut taken = 0;
    loop {
        let rest = &words[taken..];
        let skip = usize::from(taken > 0 && rest.first().is_some_and(|word| word == "and"));
        let Some((count, unit)) =
            rest.get(skip).and_then(|word| number(word)).zip(rest.get(skip + 1).and_then(|word| unit(word)))
        else {
            break;
        };
        let place = match unit {
            Unit::Day => 3,
            Unit::Week => 2,
            Unit::Month => 1,
            Unit::Year => 0,
            Unit::Workday => {
                return Some(Err("Working days are not counted here; ask for days or weeks.".to_owned()));
            }
        };
        parts[place] = i64::saturating_add(parts[place], count);
        taken += skip + 2;
    }
    if taken == 0 {
        return None;
    }
    let [years, months, weeks, days] = parts;
    let span = Span::new()
        .try_years(years)
        .and_then(|span| span.try_months(months))
        .and_then(|span| span.try_weeks(weeks))
        .and_then(|span| span.try_days(days));
    Some(span.map(|span| (span, taken)).map_err(|_| "This span is longer than the calendar.".to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_lose_what_does_not_matter() {
        assert_eq!(words("What's on March 3rd, 2025?"), ["what", "s", "on", "march", "3", "2025"]);
    }

    #[test]
    fn spans_add_up() {
        let read = |text: &str| {
            span(&words(text)).and_then(Result::ok).map(|(span, taken)| (span.to_string(), taken))
        };
        assert_eq!(read("1 year and two months from now"), Some(("P1Y2M".to_owned(), 5)));
        assert_eq!(read("a week"), Some(("P1W".to_owned(), 2)));
        assert_eq!(read("days"), None);
        assert!(span(&words("99999999999 years")).is_some_and(|span| span.is_err()));
        assert!(
            span(&words("9223372036854775807 days 9223372036854775807 days"))
                .is_some_and(|span| span.is_err())
        );
    }
}
