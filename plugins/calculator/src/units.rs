//! Converts an amount from one unit to another of the same kind.
//!
//! Owns no state; pure. The units themselves are in [`table`].

mod table;

use stockade_sdk::json;

use crate::{Answer, Problem, expression::evaluate, number};
use table::{Unit, find};

/// Answers a question about units; none where it names none.
pub(crate) fn answer(question: &str) -> Option<Result<Answer, Problem>> {
    let (amount, target) = turned_around(question).or_else(|| in_order(question))?;
    Some(convert(amount, target))
}

/// `how many ounces in 2 pounds`
fn turned_around(question: &str) -> Option<(&str, &'static Unit)> {
    let rest = ["how many ", "how much "].iter().find_map(|opening| question.strip_prefix(opening))?;
    let separators = [" are there in ", " are in ", " is in ", " is ", " are ", " make ", " in "];
    separators.iter().find_map(|separator| {
        let (target, amount) = rest.split_once(separator)?;
        Some((amount.trim(), find(target)?))
    })
}

/// `5 miles in km`
fn in_order(question: &str) -> Option<(&str, &'static Unit)> {
    [" into ", " to ", " in ", " as ", " = "].iter().find_map(|separator| {
        let (amount, target) = question.rsplit_once(separator)?;
        Some((amount.trim(), find(target)?)).filter(|(amount, _)| mentions_unit(amount))
    })
}

fn mentions_unit(text: &str) -> bool {
    trailing_unit(&spaced(text)).is_some()
}

fn convert(amount: &str, target: &Unit) -> Result<Answer, Problem> {
    let (value, source) = quantity(&spaced(amount))?;
    if source.kind != target.kind {
        return Err(format!(
            "{} measures {} and {} measures {}: one does not convert into the other.",
            source.symbol, source.kind, target.symbol, target.kind
        ));
    }
    let result = (value * source.factor + source.offset - target.offset) / target.factor;
    Ok(Answer {
        text: format!("{} = {}", amount_of(value, source), amount_of(result, target)),
        data: json!({
            "kind": "conversion",
            "measure": source.kind,
            "from": { "value": number::json(value), "unit": source.symbol },
            "value": number::json(result),
            "unit": target.symbol,
        }),
    })
}

/// An amount as people write it: of the symbols, only whole words have a plural.
fn amount_of(value: f64, unit: &Unit) -> String {
    let plural =
        matches!(unit.symbol, "day" | "week" | "month" | "year" | "cup" | "acre" | "bit") && value != 1.0;
    format!("{} {}{}", number::written(value), unit.symbol, if plural { "s" } else { "" })
}

/// An amount with its unit; several, such as `5 ft 10 in`, are added up in the last one.
fn quantity(text: &str) -> Result<(f64, &'static Unit), Problem> {
    let (rest, unit) =
        trailing_unit(text).ok_or_else(|| format!("`{text}` does not end in a known unit."))?;
    if matches!(rest, "" | "a" | "an" | "one") {
        return Ok((1.0, unit));
    }
    if let Some((before, last)) = rest.rsplit_once(' ')
        && let Some((_, larger)) = trailing_unit(before.trim_end_matches(" and"))
        && larger.kind == unit.kind
        && unit.offset == 0.0
    {
        let (value, larger) = quantity(before.trim_end_matches(" and"))?;
        return Ok((value * larger.factor / unit.factor + evaluate(last)?, unit));
    }
    Ok((evaluate(rest)?, unit))
}

/// The longest unit that a text ends in, and what stands before it.
fn trailing_unit(text: &str) -> Option<(&str, &'static Unit)> {
    let starts: Vec<usize> =
        std::iter::once(0).chain(text.match_indices(' ').map(|(at, _)| at + 1)).collect();
    let first = starts.len().saturating_sub(4);
    starts[first..].iter().find_map(|start| Some((text[..*start].trim_end(), find(&text[*start..])?)))
}

/// With a space between a number and the letters that follow: `5km` becomes `5 km`.
fn spaced(text: &str) -> String {
    let mut spaced = String::with_capacity(text.len() + 4);
    let mut last = ' ';
    for c in text.chars() {
        if last.is_ascii_digit() && (c.is_alphabetic() || matches!(c, '°' | '"' | '\'')) {
            spaced.push(' ');
        }
        spaced.push(c);
        last = c;
    }
    spaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_converted() {
        let cases = [
            ("5 miles in km", "5 mi = 8.04672 km"),
            ("how many ounces are in 2 pounds", "2 lb = 32 oz"),
            ("72 fahrenheit to celsius", "72 °F = 22.2222222222 °C"),
            ("-40 c in f", "-40 °C = -40 °F"),
            ("0 c to kelvin", "0 °C = 273.15 K"),
            ("5 ft 10 in in cm", "70 in = 177.8 cm"),
            ("5km to m", "5 km = 5000 m"),
            ("100 km/h in mph", "100 km/h = 62.1371192237 mph"),
            ("3 gib to mb", "3 GiB = 3221.225472 MB"),
            ("2 * 3 hours in minutes", "6 h = 360 min"),
            ("a mile in feet", "1 mi = 5280 ft"),
            ("1 hour and 30 minutes in seconds", "90 min = 5400 s"),
            ("2 square meters in square feet", "2 m² = 21.5278208334 ft²"),
            ("how many seconds in a week", "1 week = 604800 s"),
            ("how many days in 3 weeks", "3 weeks = 21 days"),
        ];
        for (question, wanted) in cases {
            let text = answer(question).map(|answer| answer.map(|answer| answer.text));
            assert_eq!(text, Some(Ok(wanted.to_owned())), "{question}");
        }
    }

    #[test]
    fn what_is_no_conversion_is_left_to_others() {
        assert!(answer("12 + 3").is_none());
        assert!(answer("255 in hex").is_none());
        assert!(answer("leeks in km").is_none());
        assert!(answer("5 miles in kg").is_some_and(|answer| answer.is_err()));
    }
}
